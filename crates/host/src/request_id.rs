use plsim_packet::Payload;
use plsim_types::Instant;

/// Which request a UDP datagram belongs to, as the ID of a DNS message tells (RFC 1035 §4.1.1): a
/// socket may still get the answer to one that was given up.
///
/// It follows from when the request was sent, so that nobody has to remember it: two requests
/// of a socket have the same one in a million times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RequestId(u32);

impl RequestId {
    /// For what nobody waits for.
    pub(crate) const NONE: Self = Self(0);
    /// The bits of an ID.
    pub(crate) const BITS: u32 = 20;

    /// Returns the ID of the request that a socket sends at an instant.
    pub(crate) const fn at(sent: Instant) -> Self {
        // 2^64 over the golden ratio scatters instants that follow each other (Knuth, TAOCP 6.4).
        let scattered = sent.as_nanos().wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Self((scattered >> (64 - Self::BITS)) as u32)
    }

    pub(crate) const fn from_bits(bits: u32) -> Self {
        Self(bits & ((1 << Self::BITS) - 1))
    }

    pub(crate) const fn to_bits(self) -> u32 {
        self.0
    }

    /// Builds a datagram of the response: it begins with the ID, the low byte first, as far as there is
    /// room.
    pub(crate) fn to_payload(self, length: u16) -> Payload {
        if self == Self::NONE {
            return Payload::Zeros(length);
        }
        let mut bytes = vec![0; usize::from(length)].into_boxed_slice();
        for (byte, part) in bytes.iter_mut().zip(self.0.to_le_bytes()) {
            *byte = part;
        }
        Payload::Bytes(bytes)
    }

    /// Tells whether a datagram can be of the response to this request.
    pub(crate) fn is_of(self, payload: &Payload) -> bool {
        let room = payload.len().min(size_of::<u32>());
        match payload {
            Payload::Zeros(_) => self.0.to_le_bytes()[..room].iter().all(|&part| part == 0),
            Payload::Bytes(bytes) => bytes[..room] == self.0.to_le_bytes()[..room],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::RequestId;
    use plsim_types::Instant;

    #[test]
    fn a_response_is_of_its_request_and_as_far_as_there_is_room_of_no_other() {
        let (one, other) = (
            RequestId::from_bits(0x1_0203),
            RequestId::from_bits(0x2_0203),
        );
        for length in 0..6 {
            let payload = one.to_payload(length);
            assert_eq!(payload.len(), usize::from(length));
            assert!(one.is_of(&payload));
            assert_eq!(other.is_of(&payload), length < 3, "{length}");
            assert_eq!(RequestId::NONE.is_of(&payload), length == 0, "{length}");
            assert!(RequestId::NONE.is_of(&RequestId::NONE.to_payload(length)));
        }
    }

    #[test]
    fn requests_of_one_socket_have_different_ids() {
        for gap in [1, 1_000, 1_000_000, 1_000_000_000] {
            let id = |k: u64| RequestId::at(Instant::from_nanos(5_000_000_000 + k * gap));
            assert!((1..1_000).all(|k| id(k) != id(k - 1)), "{gap}");
            assert!((0..1_000).all(|k| RequestId::from_bits(id(k).to_bits()) == id(k)));
        }
    }
}
