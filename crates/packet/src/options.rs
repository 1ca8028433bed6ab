use crate::packet::Packet;

/// The least length of an IP header: without options.
const PLAIN: u8 = 20;

/// End of options, no operation, loose and strict source route (RFC 791 §3.1).
const END: u8 = 0;
const NO_OPERATION: u8 = 1;
const LOOSE_SOURCE_ROUTE: u8 = 131;
const STRICT_SOURCE_ROUTE: u8 = 137;

impl Packet {
    /// Tells whether the IP options are well formed and no source route is among them (RFC 7126
    /// §4.3 and §4.4 advise to drop those); others may stay.
    #[must_use]
    #[inline]
    pub fn has_plain_options(&self) -> bool {
        self.ip_header_len <= PLAIN || self.fault().is_some() || self.are_options_plain()
    }

    #[cold]
    fn are_options_plain(&self) -> bool {
        let mut rest = &self.header[usize::from(PLAIN)..self.transport_offset()];
        while let Some((&kind, tail)) = rest.split_first() {
            let length = match (kind, tail.first()) {
                (END, _) => return true,
                (NO_OPERATION, _) => 1,
                (LOOSE_SOURCE_ROUTE | STRICT_SOURCE_ROUTE, _) | (_, None | Some(0 | 1)) => {
                    return false;
                }
                (_, Some(&length)) => usize::from(length),
            };
            match rest.get(length..) {
                Some(tail) => rest = tail,
                None => return false,
            }
        }
        true
    }
}
