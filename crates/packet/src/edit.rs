//! Changes to a TCP segment beyond addresses and ports: what inserting bytes into a stream takes.

use alloc::vec::Vec;

use plsim_types::TcpFlags;

use crate::checksum::Sum;
use crate::form::Form;
use crate::packet::{Packet, long, set_word, word};
use crate::payload::Payload;

/// Offsets in a TCP header (RFC 9293 §3.1).
const SEQUENCE: usize = 4;
const ACKNOWLEDGEMENT: usize = 8;
const FLAGS: usize = 13;
const WINDOW: usize = 14;
const CHECKSUM: usize = 16;
const URGENT: usize = 18;

/// The urgent pointer is valid.
const URG: u8 = 0x20;

/// The most bytes of an IPv4 packet.
const LONGEST: usize = 65_535;

impl Packet {
    /// Sets the sequence number of a whole TCP segment and its checksum.
    pub fn set_sequence(&mut self, sequence: u32) {
        self.set_tcp_long(SEQUENCE, sequence);
    }

    /// Sets the acknowledgement of a whole TCP segment and its checksum.
    pub fn set_acknowledgement(&mut self, acknowledgement: u32) {
        self.set_tcp_long(ACKNOWLEDGEMENT, acknowledgement);
    }

    /// Sets the window of a whole TCP segment, as it stands on the wire, and its checksum.
    pub fn set_window(&mut self, window: u16) {
        if self.form != Form::Tcp {
            return;
        }
        let tcp = self.transport_mut();
        let change = Sum::ZERO.replaced_word(word(tcp, WINDOW), window);
        set_word(tcp, WINDOW, window);
        set_word(tcp, CHECKSUM, change.update(word(tcp, CHECKSUM)));
    }

    /// Sets the flag byte of a whole TCP segment and its checksum.
    pub fn set_flags(&mut self, flags: TcpFlags) {
        if self.form != Form::Tcp {
            return;
        }
        let tcp = self.transport_mut();
        let old = word(tcp, FLAGS - 1);
        tcp[FLAGS] = flags.0;
        let change = Sum::ZERO.replaced_word(old, word(tcp, FLAGS - 1));
        set_word(tcp, CHECKSUM, change.update(word(tcp, CHECKSUM)));
    }

    /// Puts bytes before the payload of a whole TCP segment; moves the urgent pointer on, and
    /// updates lengths and checksums.
    ///
    /// Returns false, and changes nothing, if it is no such segment or would be longer than an IPv4
    /// packet may be.
    #[must_use]
    pub fn prepend(&mut self, bytes: &[u8]) -> bool {
        if self.form != Form::Tcp || self.wire_len() + bytes.len() > LONGEST {
            return false;
        }
        let mut joined = Vec::with_capacity(bytes.len() + self.payload_len());
        joined.extend_from_slice(bytes);
        self.payload.write_to(&mut joined, LONGEST);
        self.payload = Payload::Bytes(joined.into());
        let tcp = self.transport_mut();
        if tcp[FLAGS] & URG != 0 {
            let urgent = word(tcp, URGENT).saturating_add(bytes.len() as u16);
            set_word(tcp, URGENT, urgent);
        }
        self.refresh_tcp();
        true
    }

    /// Takes the payload off a whole TCP segment and updates lengths and checksums.
    pub fn clear_payload(&mut self) {
        if self.form == Form::Tcp {
            self.payload = Payload::Zeros(0);
            self.refresh_tcp();
        }
    }

    /// Recomputes the total length and both checksums after an edit.
    pub(crate) fn refresh_tcp(&mut self) {
        let total = self.wire_len() as u16;
        let change = Sum::ZERO.replaced_word(word(&self.header, 2), total);
        let checksum = change.update(word(&self.header, 10));
        set_word(&mut self.header, 2, total);
        set_word(&mut self.header, 10, checksum);
        let offset = self.transport_offset();
        let end = usize::from(self.header_len);
        set_word(&mut self.header, offset + CHECKSUM, 0);
        let sum = Sum::ZERO
            .long(long(&self.header, 12))
            .long(long(&self.header, 16))
            .word(u16::from(self.header[9]))
            .word(total - offset as u16)
            .bytes(&self.header[offset..end]);
        let checksum = self.payload.add_to(sum).checksum();
        set_word(&mut self.header, offset + CHECKSUM, checksum);
    }

    fn set_tcp_long(&mut self, at: usize, value: u32) {
        if self.form != Form::Tcp {
            return;
        }
        let tcp = self.transport_mut();
        let change = Sum::ZERO.replaced_long(long(tcp, at), value);
        tcp[at..at + 4].copy_from_slice(&value.to_be_bytes());
        set_word(tcp, CHECKSUM, change.update(word(tcp, CHECKSUM)));
    }
}
