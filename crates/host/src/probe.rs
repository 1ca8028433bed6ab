use std::collections::BTreeMap;

use plsim_packet::{Payload, probe};

use crate::segment::Segment;

/// What a health probe says in one segment, as far as a VM must understand it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    /// A GET request.
    Http,
    /// A TLS record.
    Tls,
}

impl Word {
    /// Reads a segment's bytes; `None` if no probe says that.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        if probe::is_http_request(bytes) {
            Some(Self::Http)
        } else {
            probe::is_tls_record(bytes).then_some(Self::Tls)
        }
    }
}

/// What a VM says to its health probes: the connections whose bytes are not all zeros.
///
/// One row for each probe connection that lives, so a few for each probe of the VM.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    rows: BTreeMap<u32, Answer>,
}

#[derive(Debug)]
struct Answer {
    /// The sequence number of the first byte.
    first: u32,
    bytes: Vec<u8>,
    /// Records of the client so far.
    records: usize,
}

impl Answers {
    /// Takes a word of the connection at `position`, whose next byte to write has the number `end`;
    /// returns how many bytes the VM answers and whether they are the response.
    pub(crate) fn hear(&mut self, position: u32, word: Word, end: u32, status: u16) -> (u32, bool) {
        let answer = self.rows.entry(position).or_insert(Answer {
            first: end,
            bytes: Vec::new(),
            records: 0,
        });
        let response = probe::http_response(status);
        let (text, is_response) = match word {
            Word::Http => (response, true),
            Word::Tls => {
                let handshake = probe::tls_server().into_iter().nth(answer.records);
                answer.records += 1;
                let is_response = handshake.is_none();
                let text = handshake.unwrap_or_else(|| probe::tls_record(&response));
                (text, is_response)
            }
        };
        answer.bytes.extend_from_slice(&text);
        (text.len() as u32, is_response)
    }

    /// Returns the bytes of a segment; `None` where they are zeros.
    pub(crate) fn payload(&self, position: u32, segment: &Segment) -> Option<Payload> {
        let answer = self.rows.get(&position)?;
        let start = segment.sequence.wrapping_sub(answer.first) as usize;
        let end = start.checked_add(usize::from(segment.length))?;
        let bytes = answer.bytes.get(start..end)?;
        (!bytes.is_empty()).then(|| Payload::Bytes(bytes.into()))
    }

    /// Tells whether the connection at `position` is that of a probe.
    pub(crate) fn has(&self, position: u32) -> bool {
        self.rows.contains_key(&position)
    }

    /// Forgets a connection that is gone.
    pub(crate) fn forget(&mut self, position: u32) {
        self.rows.remove(&position);
    }
}
