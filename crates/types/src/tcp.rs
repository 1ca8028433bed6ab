use core::fmt;
use core::ops::BitOr;

/// The flag byte of a TCP header (RFC 9293 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// No more data from the sender.
    pub const FIN: Self = Self(0x01);
    /// Synchronise sequence numbers.
    pub const SYN: Self = Self(0x02);
    /// Reset the connection.
    pub const RST: Self = Self(0x04);
    /// Push.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgement field is valid.
    pub const ACK: Self = Self(0x10);

    /// Tells whether every flag of `other` is set.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Tells whether this neither opens nor closes a connection: no SYN, FIN or RST.
    #[must_use]
    #[inline]
    pub const fn is_plain(self) -> bool {
        self.0 & 0x07 == 0
    }

    /// Tells whether these are the flags of no segment, which has SYN, RST or ACK, but of the rest of
    /// one: a fragment after the first, as [`TcpSegment`] says.
    #[must_use]
    pub const fn is_rest(self) -> bool {
        self.0 & 0x16 == 0
    }

    /// Tells whether this opens a connection: SYN without ACK, RST or FIN.
    #[must_use]
    pub const fn opens(self) -> bool {
        self.0 & 0x17 == Self::SYN.0
    }
}

impl BitOr for TcpFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Display for TcpFlags {
    /// Writes `SYN|ACK`, or `none`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 8] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];
        let mut first = true;
        for (bit, name) in NAMES.iter().enumerate() {
            if self.0 & (1 << bit) != 0 {
                if !first {
                    f.write_str("|")?;
                }
                f.write_str(name)?;
                first = false;
            }
        }
        if first { f.write_str("none") } else { Ok(()) }
    }
}

/// What a middlebox reads of a TCP segment, or of a part of one.
///
/// Of a segment in fragments the first tells all but how long the others are. Each of those tells where
/// it is and how long; its acknowledgement is the first one's, its [flags](TcpFlags::is_rest) are none, but
/// FIN for the last if the segment has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpSegment {
    /// Control bits.
    pub flags: TcpFlags,
    /// Sequence number of the first byte (of the SYN, if set).
    pub sequence: u32,
    /// Next byte expected from the other side; valid with ACK.
    pub acknowledgement: u32,
    /// Receive window as sent, unscaled.
    pub window: u16,
    /// Payload bytes.
    pub length: u16,
}

impl TcpSegment {
    /// Returns the sequence number after this segment: SYN and FIN count one each (RFC 9293 §3.4).
    #[must_use]
    pub const fn end(&self) -> u32 {
        self.sequence
            .wrapping_add(self.length as u32)
            .wrapping_add(self.flags.has(TcpFlags::SYN) as u32)
            .wrapping_add(self.flags.has(TcpFlags::FIN) as u32)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::{TcpFlags, TcpSegment};
    use std::string::ToString;

    #[test]
    fn syn_and_fin_count_one_each_and_the_end_wraps() {
        let flags = TcpFlags::FIN | TcpFlags::ACK;
        let segment = TcpSegment {
            flags,
            sequence: u32::MAX,
            acknowledgement: 0,
            window: 0,
            length: 10,
        };
        assert_eq!(segment.end(), 10);
        assert_eq!((TcpFlags::SYN | TcpFlags::ACK).to_string(), "SYN|ACK");
        assert!(TcpFlags::SYN.opens() && !(TcpFlags::SYN | TcpFlags::ACK).opens());
    }
}
