use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use crate::checksum::Sum;

/// What a packet carries after its headers.
///
/// Two payloads are equal if their wire bytes are: `Zeros(2)` equals two real zero bytes.
#[derive(Clone)]
pub enum Payload {
    /// So many zero bytes, which exist only once the packet is written out.
    Zeros(u16),
    /// Real bytes.
    Bytes(Box<[u8]>),
}

impl Payload {
    /// Returns the number of bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Zeros(length) => usize::from(*length),
            Self::Bytes(bytes) => bytes.len(),
        }
    }

    /// Tells whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes wire bytes, at most 65 535; all zeros become a virtual run.
    pub(crate) fn from_wire(bytes: &[u8]) -> Self {
        match u16::try_from(bytes.len()) {
            Ok(length) if bytes.iter().all(|&byte| byte == 0) => Self::Zeros(length),
            Ok(_) | Err(_) => Self::Bytes(bytes.into()),
        }
    }

    /// Adds the payload to a checksum, at an even offset as TCP and UDP headers end.
    pub(crate) fn add_to(&self, sum: Sum) -> Sum {
        match self {
            Self::Zeros(_) => sum,
            Self::Bytes(bytes) => sum.bytes(bytes),
        }
    }

    /// Appends the first `limit` bytes.
    pub(crate) fn write_to(&self, out: &mut Vec<u8>, limit: usize) {
        let length = self.len().min(limit);
        match self {
            Self::Zeros(_) => out.resize(out.len() + length, 0),
            Self::Bytes(bytes) => out.extend_from_slice(&bytes[..length]),
        }
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Zeros(one), Self::Zeros(other)) => one == other,
            (Self::Bytes(one), Self::Bytes(other)) => one == other,
            (Self::Zeros(length), Self::Bytes(bytes))
            | (Self::Bytes(bytes), Self::Zeros(length)) => {
                bytes.len() == usize::from(*length) && bytes.iter().all(|&byte| byte == 0)
            }
        }
    }
}

impl Eq for Payload {}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zeros(length) => write!(f, "{length} zeros"),
            Self::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Payload;

    #[test]
    fn a_run_of_zeros_equals_as_many_real_zero_bytes() {
        let real = Payload::Bytes([0; 3].into());
        assert_eq!(Payload::Zeros(3), real);
        assert_eq!(real, Payload::Zeros(3));
        assert_ne!(Payload::Zeros(2), real);
        assert_ne!(Payload::Zeros(3), Payload::Bytes([0, 0, 1].into()));
        assert_eq!(Payload::Zeros(0), Payload::Bytes([].into()));
        assert!(matches!(Payload::from_wire(&[0; 5]), Payload::Zeros(5)));
        assert!(matches!(Payload::from_wire(&[0, 1]), Payload::Bytes(_)));
    }
}
