use plsim_packet::Payload;

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
        let sane = (Self::LENGTH..=1 << 30).contains(&head.request) && head.response <= 1 << 30;
        sane.then_some(head)
    }
}
