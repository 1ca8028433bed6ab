use core::ops::Range;

use plsim_types::TcpFlags;

use crate::form::Form;
use crate::packet::{Packet, set_word};

/// The fixed part of a TCP header; options follow, up to 40 bytes.
const FIXED: usize = 20;
const MOST: usize = 60;

/// Kinds of options: RFC 9293 §3.2, RFC 7323 §2.2, RFC 2018 §3, RFC 7413 §4.1.1, RFC 6994.
const END: u8 = 0;
const NO_OPERATION: u8 = 1;
const MAXIMUM_SEGMENT_SIZE: u8 = 2;
const WINDOW_SCALE: u8 = 3;
const SACK: u8 = 5;
const FAST_OPEN: u8 = 34;
const EXPERIMENT: u8 = 254;
/// The experiment that fast open was before it got a number (RFC 7413 §4.1.1).
const FAST_OPEN_EXPERIMENT: [u8; 2] = [0xF9, 0x89];

impl Packet {
    /// Returns the window scale that a SYN offers, 0..=14 (RFC 7323 §2.3: more counts as 14).
    ///
    /// `None` without the option, without SYN and for anything but a whole TCP segment.
    #[must_use]
    pub fn window_scale(&self) -> Option<u8> {
        if !self.is_syn() {
            return None;
        }
        let at = self.tcp_option(WINDOW_SCALE)?;
        match self.header[at] {
            [_, 3, shift] => Some(shift.min(14)),
            _ => None,
        }
    }

    /// Sets the maximum segment size of a SYN, in bytes, and the checksums; a SYN without the
    /// option gets it if its header has room. Anything else stays as it is.
    pub fn set_mss(&mut self, mss: u16) {
        if !self.is_syn() {
            return;
        }
        let at = match self.tcp_option(MAXIMUM_SEGMENT_SIZE) {
            Some(at) if at.len() == 4 => at.start,
            Some(_) => return,
            None => {
                let options = self.transport_offset() + FIXED;
                let end = usize::from(self.header_len);
                if end + 4 > self.transport_offset() + MOST {
                    return;
                }
                // In front: behind an end-of-options nobody would read it.
                self.header.copy_within(options..end, options + 4);
                self.header_len += 4;
                self.header[options - 8] += 1 << 4;
                self.header[options..options + 2].copy_from_slice(&[MAXIMUM_SEGMENT_SIZE, 4]);
                options
            }
        };
        set_word(&mut self.header, at + 2, mss);
        self.refresh_tcp();
    }

    /// Gives the edges of the SACK blocks (RFC 2018) other sequence numbers; a block that becomes
    /// empty is taken out. Updates the checksum.
    pub fn map_sack(&mut self, mut edge: impl FnMut(u32) -> u32) {
        let Some(at) = self.tcp_option(SACK) else {
            return;
        };
        let option = &mut self.header[at];
        let mut kept = 2;
        let (blocks, _) = option[2..].as_chunks::<8>();
        let mut mapped = [[0; 8]; 4];
        for &[a, b, c, d, e, f, g, h] in blocks {
            let left = edge(u32::from_be_bytes([a, b, c, d]));
            let right = edge(u32::from_be_bytes([e, f, g, h]));
            if left != right
                && let Some(block) = mapped.get_mut(kept / 8)
            {
                block[..4].copy_from_slice(&left.to_be_bytes());
                block[4..].copy_from_slice(&right.to_be_bytes());
                kept += 8;
            }
        }
        if kept == 2 {
            option.fill(NO_OPERATION);
        } else {
            option[2..kept].copy_from_slice(&mapped.as_flattened()[..kept - 2]);
            option[1] = kept as u8;
            option[kept..].fill(NO_OPERATION);
        }
        self.refresh_tcp();
    }

    /// Takes the fast open option and the data out of a SYN, so that the peer falls back to the
    /// plain handshake (RFC 7413 §3); returns whether there was any.
    pub fn strip_fast_open(&mut self) -> bool {
        if !self.is_syn() {
            return false;
        }
        let mut stripped = self.payload_len() > 0;
        while let Some(at) = self.fast_open_option() {
            self.header[at].fill(NO_OPERATION);
            stripped = true;
        }
        if stripped {
            self.clear_payload();
        }
        stripped
    }

    fn fast_open_option(&self) -> Option<Range<usize>> {
        let experiment = || {
            let at = self.tcp_option(EXPERIMENT)?;
            let is_ours = self.header[at.clone()].get(2..4) == Some(&FAST_OPEN_EXPERIMENT);
            is_ours.then_some(at)
        };
        self.tcp_option(FAST_OPEN).or_else(experiment)
    }

    fn is_syn(&self) -> bool {
        self.form == Form::Tcp
            && self
                .tcp_segment()
                .is_some_and(|segment| segment.flags.has(TcpFlags::SYN))
    }

    /// Finds an option of a whole TCP segment in the header bytes. Malformed options end the
    /// search.
    fn tcp_option(&self, wanted: u8) -> Option<Range<usize>> {
        if self.form != Form::Tcp {
            return None;
        }
        let end = usize::from(self.header_len);
        let mut at = self.transport_offset() + FIXED;
        while at < end {
            let length = match (self.header[at], self.header[..end].get(at + 1)) {
                (END, _) => return None,
                (NO_OPERATION, _) => 1,
                (_, Some(&length)) if length >= 2 && at + usize::from(length) <= end => {
                    usize::from(length)
                }
                _ => return None,
            };
            if self.header[at] == wanted {
                return Some(at..at + length);
            }
            at += length;
        }
        None
    }
}
