use plsim_packet::Payload;
use plsim_sim::{Distribution, Stream};

/// The head of a request: what client and server agree on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Request {
    /// Bytes of the whole request, these included.
    pub(crate) request: u32,
    /// Bytes of the response.
    pub(crate) response: u32,
}

impl Request {
    /// Bytes of the head.
    pub(crate) const LENGTH: u32 = 8;
    /// The largest request or response: half of what sequence numbers can tell apart.
    pub(crate) const LONGEST: u32 = 1 << 30;

    /// Draws the sizes of a request, of at most `longest` bytes, and of its response.
    pub(crate) fn draw(
        request: &Distribution,
        response: &Distribution,
        longest: u32,
        random: &mut Stream,
    ) -> Self {
        let mut size = |law: &Distribution, least: u32, most: u32| {
            law.draw(random).clamp(u64::from(least), u64::from(most)) as u32
        };
        Self {
            request: size(request, Self::LENGTH, longest),
            response: size(response, 0, Self::LONGEST),
        }
    }

    /// Packs both sizes into a word.
    pub(crate) const fn to_word(self) -> u64 {
        (self.request as u64) << 32 | self.response as u64
    }

    /// Unpacks what [`Request::to_word`] has packed.
    pub(crate) const fn from_word(word: u64) -> Self {
        Self {
            request: (word >> 32) as u32,
            response: word as u32,
        }
    }

    /// Builds the first `length` bytes of the request, at least 8.
    pub(crate) fn to_payload(self, length: u16) -> Payload {
        let mut bytes = vec![0; usize::from(length)].into_boxed_slice();
        bytes[..4].copy_from_slice(&self.request.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.response.to_be_bytes());
        Payload::Bytes(bytes)
    }

    /// Reads the head; `None` if there is none or it claims an impossible length.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let (request, rest) = bytes.split_first_chunk()?;
        let (response, _) = rest.split_first_chunk()?;
        let head = Self {
            request: u32::from_be_bytes(*request),
            response: u32::from_be_bytes(*response),
        };
        let sane = (Self::LENGTH..=Self::LONGEST).contains(&head.request)
            && head.response <= Self::LONGEST;
        sane.then_some(head)
    }
}
