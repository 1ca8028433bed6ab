use plsim_types::Duration;

use crate::connection::Asked;
use crate::request::PackedRequest;
use crate::side_table::SideTable;

/// The bits of [`Packed::wait`] that are a time in nanoseconds; all set: without end.
const SPAN: u64 = (1 << 62) - 1;
const AFTER_SILENCE: u64 = 1 << 62;
const NOT_AWAITED: u64 = 1 << 63;

/// The latest requests of connections, by position. One that is the workload's usual one is not kept; others
/// take 24 bytes.
#[derive(Debug)]
pub(crate) struct Requests {
    unusual: SideTable<Packed>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Packed {
    head: PackedRequest,
    wait: u64,
}

const _: () = assert!(size_of::<Packed>() == 24);

impl Requests {
    pub(crate) const fn new() -> Self {
        Self {
            unusual: SideTable::new(),
        }
    }

    /// Returns the latest request at a position.
    #[inline]
    pub(crate) fn get(&self, position: u32, usual: &Asked) -> Asked {
        self.unusual.get(position).unpack().unwrap_or(*usual)
    }

    pub(crate) fn set(&mut self, position: u32, asked: &Asked, usual: &Asked) {
        if asked == usual {
            self.unusual.remove(position);
        } else {
            *self.unusual.entry(position) = Packed::new(asked);
        }
    }

    pub(crate) fn forget(&mut self, position: u32) {
        self.unusual.remove(position);
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.unusual.memory_bytes()
    }
}

impl Packed {
    fn new(asked: &Asked) -> Self {
        let span = asked.timeout.map_or(SPAN, |span| span.as_nanos().min(SPAN));
        let flag = |is: bool, bit| if is { bit } else { 0 };
        Self {
            head: PackedRequest::new(&asked.request),
            wait: span
                | flag(asked.after_silence, AFTER_SILENCE)
                | flag(!asked.is_awaited, NOT_AWAITED),
        }
    }

    #[inline]
    fn unpack(self) -> Option<Asked> {
        let request = self.head.unpack()?;
        let span = self.wait & SPAN;
        Some(Asked {
            request,
            timeout: (span != SPAN).then(|| Duration::from_nanos(span)),
            is_awaited: self.wait & NOT_AWAITED == 0,
            after_silence: self.wait & AFTER_SILENCE != 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Requests;
    use crate::connection::Asked;
    use crate::request::{Extra, Request};
    use plsim_types::Duration;

    #[test]
    fn a_request_is_read_as_it_was_noted_and_the_usual_one_takes_no_room() {
        let usual = Asked {
            request: Request {
                request: 100,
                response: 1_000,
                extra: Extra::default(),
            },
            timeout: None,
            is_awaited: true,
            after_silence: false,
        };
        let slow = Extra {
            service_time: Duration::from_secs(300),
            closes: true,
            ..Extra::default()
        };
        let mut others = [usual; 4];
        others[0].timeout = Some(Duration::ZERO);
        others[1].is_awaited = false;
        others[2].after_silence = true;
        others[3].request.extra = slow;
        let mut requests = Requests::new();
        requests.set(5, &usual, &usual);
        assert_eq!(requests.memory_bytes(), 0);
        for asked in others {
            requests.set(5, &asked, &usual);
            assert_eq!(requests.get(5, &usual), asked);
        }
        assert_eq!(requests.get(4, &usual), usual);
        requests.set(5, &usual, &usual);
        assert_eq!(requests.get(5, &usual), usual);
        requests.set(5, &others[0], &usual);
        requests.forget(5);
        assert_eq!(requests.get(5, &usual), usual);
    }
}
