use plsim_packet::Payload;
use plsim_sim::{Distribution, Stream};
use plsim_types::Duration;

use crate::request_id::RequestId;

/// Marks a head that is followed by an [`Extra`].
const EXTENDED: u32 = 1 << 31;
const CLOSES: u64 = 1 << 63;
const ONE_WAY: u64 = 1 << 62;
const SUBSCRIBES: u64 = 1 << 61;
/// The bits of a datagram's length, above which those of its ID stand.
const DATAGRAM_BITS: u32 = 31 - RequestId::BITS;
/// The bits of the service time, which is 78 h at most, or of the number of a subject.
const VALUE: u64 = (1 << 48) - 1;

/// The head of a request: what client and server agree on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Request {
    /// Bytes of the whole request, these included.
    pub(crate) request: u32,
    /// Bytes of the response.
    pub(crate) response: u32,
    /// What is asked for beyond a response at once.
    pub(crate) extra: Extra,
}

/// A [`Request`] in 16 bytes, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct PackedRequest {
    /// Zero: there is none.
    request: u32,
    response: u32,
    extra: u64,
}

/// What a request asks for beyond a response at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Extra {
    /// How long the server works on it.
    pub(crate) service_time: Duration,
    /// The server closes the connection behind the response.
    pub(crate) closes: bool,
    /// Nobody waits for a response (UDP).
    pub(crate) one_way: bool,
    /// Instead of one response, the server is to send one whenever it has news of this subject.
    pub(crate) subject: Option<u16>,
}

impl Request {
    /// Bytes of the plain head.
    pub(crate) const LENGTH: u32 = 8;
    /// The largest request or response: half of what sequence numbers can tell apart.
    pub(crate) const LONGEST: u32 = 1 << 30;
    /// Bytes of the head with an [`Extra`].
    pub(crate) const EXTENDED_LENGTH: u32 = 16;

    /// Draws the sizes of a request, of at most `longest` bytes, and of its response, for a head that
    /// asks for this.
    pub(crate) fn draw(
        request: &Distribution,
        response: &Distribution,
        (extra, longest): (Extra, u32),
        random: &mut Stream,
    ) -> Self {
        let mut size = |law: &Distribution, least: u32, most: u32| {
            law.draw(random).clamp(u64::from(least), u64::from(most)) as u32
        };
        let mut head = Self {
            request: 0,
            response: 0,
            extra,
        };
        head.request = size(request, head.head_length(), longest);
        head.response = size(response, 0, Self::LONGEST);
        head
    }

    /// Builds the first `length` bytes of the request, at least those of its head.
    pub(crate) fn to_payload(self, length: u16) -> Payload {
        self.build(self.request, length)
    }

    /// Builds the request as one datagram.
    pub(crate) fn to_datagram(self, id: RequestId) -> Payload {
        self.build(
            self.request | id.to_bits() << DATAGRAM_BITS,
            self.request as u16,
        )
    }

    fn build(self, word: u32, length: u16) -> Payload {
        let mut bytes = vec![0; usize::from(length)].into_boxed_slice();
        let mark = if self.is_plain() { 0 } else { EXTENDED };
        bytes[..4].copy_from_slice(&(word | mark).to_be_bytes());
        bytes[4..8].copy_from_slice(&self.response.to_be_bytes());
        if !self.is_plain() {
            bytes[8..16].copy_from_slice(&self.extra.to_bits().to_be_bytes());
        }
        Payload::Bytes(bytes)
    }

    /// Reads the head; `None` if there is none or it claims an impossible length.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let (word, rest) = bytes.split_first_chunk()?;
        Self::read(u32::from_be_bytes(*word), rest)
    }

    /// Reads the head of a datagram.
    pub(crate) fn parse_datagram(bytes: &[u8]) -> Option<(RequestId, Self)> {
        let (word, rest) = bytes.split_first_chunk()?;
        let word = u32::from_be_bytes(*word);
        let head = Self::read(word & (EXTENDED | ((1 << DATAGRAM_BITS) - 1)), rest)?;
        Some((RequestId::from_bits(word >> DATAGRAM_BITS), head))
    }

    fn read(request: u32, rest: &[u8]) -> Option<Self> {
        let (response, rest) = rest.split_first_chunk()?;
        let response = u32::from_be_bytes(*response);
        let extra = match request & EXTENDED {
            0 => Extra::default(),
            _ => Extra::from_bits(u64::from_be_bytes(*rest.first_chunk()?)),
        };
        let head = Self {
            request: request & !EXTENDED,
            response,
            extra,
        };
        let sane = (head.head_length()..=Self::LONGEST).contains(&head.request)
            && response <= Self::LONGEST;
        sane.then_some(head)
    }

    /// Returns the bytes that the head takes.
    pub(crate) fn head_length(&self) -> u32 {
        if self.is_plain() {
            Self::LENGTH
        } else {
            Self::EXTENDED_LENGTH
        }
    }

    fn is_plain(&self) -> bool {
        self.extra == Extra::default()
    }
}

impl PackedRequest {
    pub(crate) fn new(head: &Request) -> Self {
        Self {
            request: head.request,
            response: head.response,
            extra: head.extra.to_bits(),
        }
    }

    #[inline]
    pub(crate) fn unpack(self) -> Option<Request> {
        (self.request > 0).then(|| Request {
            request: self.request,
            response: self.response,
            extra: Extra::from_bits(self.extra),
        })
    }
}

impl Extra {
    fn to_bits(self) -> u64 {
        let flag = |is: bool, bit| if is { bit } else { 0 };
        let value = match self.subject {
            Some(subject) => SUBSCRIBES | u64::from(subject),
            None => self.service_time.as_nanos().min(VALUE),
        };
        flag(self.closes, CLOSES) | flag(self.one_way, ONE_WAY) | value
    }

    fn from_bits(bits: u64) -> Self {
        let subject = (bits & SUBSCRIBES != 0).then_some(bits as u16);
        let service_time = match subject {
            Some(_) => Duration::ZERO,
            None => Duration::from_nanos(bits & VALUE),
        };
        Self {
            service_time,
            closes: bits & CLOSES != 0,
            one_way: bits & ONE_WAY != 0,
            subject,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{DATAGRAM_BITS, Extra, Request};
    use crate::config::MAX_DATAGRAM;
    use crate::request_id::RequestId;
    use plsim_packet::Payload;
    use plsim_types::Duration;

    #[test]
    fn a_head_is_read_as_it_was_written() {
        let plain = Extra::default();
        let extras = [
            plain,
            Extra {
                service_time: Duration::from_secs(300),
                ..plain
            },
            Extra {
                service_time: Duration::from_nanos((1 << 48) - 1),
                closes: true,
                ..plain
            },
            Extra {
                one_way: true,
                ..plain
            },
            Extra {
                subject: Some(65_535),
                ..plain
            },
        ];
        for extra in extras {
            let head = Request {
                request: 200,
                response: 1_000,
                extra,
            };
            let Payload::Bytes(bytes) = head.to_payload(100) else {
                panic!("a head is no zeros")
            };
            assert_eq!(Request::parse(&bytes), Some(head));
            let id = RequestId::from_bits(u32::MAX);
            let Payload::Bytes(datagram) = head.to_datagram(id) else {
                panic!("a head is no zeros")
            };
            assert_eq!(Request::parse_datagram(&datagram), Some((id, head)));
            assert_eq!(datagram.len(), 200);
            let short = head.head_length() as usize - 1;
            assert_eq!(Request::parse(&bytes[..short]), None);
        }
    }

    #[test]
    fn the_length_of_every_datagram_leaves_room_for_its_id() {
        assert!(u32::from(MAX_DATAGRAM) < 1 << DATAGRAM_BITS);
    }

    #[test]
    fn a_head_that_needs_more_than_the_request_has_is_none() {
        let head = Request {
            request: 15,
            response: 1,
            extra: Extra {
                closes: true,
                ..Extra::default()
            },
        };
        let Payload::Bytes(bytes) = head.to_payload(16) else {
            panic!("a head is no zeros")
        };
        assert_eq!(Request::parse(&bytes), None);
    }
}
