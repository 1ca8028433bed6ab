//! The blocks of a pcapng file (draft-ietf-opsawg-pcapng), little-endian.
//!
//! ```text
//!  type | total length | body, padded to 4 bytes | options ... end | total length
//! ```

/// Raw IP: the bytes begin with the IP header (LINKTYPE_RAW of the link-type registry).
pub(crate) const LINKTYPE_RAW: u16 = 101;

const SECTION_HEADER: u32 = 0x0A0D_0D0A;
const INTERFACE_DESCRIPTION: u32 = 1;
const ENHANCED_PACKET: u32 = 6;

const BYTE_ORDER_MAGIC: u32 = 0x1A2B_3C4D;
const VERSION: [u16; 2] = [1, 0];
const UNKNOWN_SECTION_LENGTH: u64 = u64::MAX;

const OPT_END: u16 = 0;
const OPT_COMMENT: u16 = 1;
const SHB_USERAPPL: u16 = 4;
const IF_NAME: u16 = 2;
const IF_DESCRIPTION: u16 = 3;
const IF_TSRESOL: u16 = 9;
const EPB_PACKETID: u16 = 5;

/// 10^-9 s.
const NANOSECONDS: u8 = 9;

/// Appends the section header: it opens a file.
pub(crate) fn section_header(out: &mut Vec<u8>, application: &str) {
    block(out, SECTION_HEADER, |out| {
        out.extend_from_slice(&BYTE_ORDER_MAGIC.to_le_bytes());
        out.extend_from_slice(&VERSION[0].to_le_bytes());
        out.extend_from_slice(&VERSION[1].to_le_bytes());
        out.extend_from_slice(&UNKNOWN_SECTION_LENGTH.to_le_bytes());
        option(out, SHB_USERAPPL, application.as_bytes());
        option(out, OPT_END, &[]);
    });
}

/// Appends one interface; its number is its position among the interfaces of the file.
pub(crate) fn interface(out: &mut Vec<u8>, name: &str, description: &str, snap_length: u32) {
    block(out, INTERFACE_DESCRIPTION, |out| {
        out.extend_from_slice(&LINKTYPE_RAW.to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&snap_length.to_le_bytes());
        option(out, IF_NAME, name.as_bytes());
        if !description.is_empty() {
            option(out, IF_DESCRIPTION, description.as_bytes());
        }
        option(out, IF_TSRESOL, &[NANOSECONDS]);
        option(out, OPT_END, &[]);
    });
}

/// What stands around the bytes of one packet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame<'a> {
    pub(crate) interface: u32,
    pub(crate) nanos: u64,
    pub(crate) original_length: u32,
    pub(crate) packet_id: u64,
    pub(crate) comment: Option<&'a str>,
}

/// Appends one packet; `bytes` appends what was captured of it.
#[inline]
pub(crate) fn packet(out: &mut Vec<u8>, frame: &Frame<'_>, bytes: impl FnOnce(&mut Vec<u8>)) {
    block(out, ENHANCED_PACKET, |out| {
        out.extend_from_slice(&frame.interface.to_le_bytes());
        out.extend_from_slice(&((frame.nanos >> 32) as u32).to_le_bytes());
        out.extend_from_slice(&(frame.nanos as u32).to_le_bytes());
        let length_at = out.len();
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&frame.original_length.to_le_bytes());
        let start = out.len();
        bytes(out);
        let captured = (out.len() - start) as u32;
        out[length_at..length_at + 4].copy_from_slice(&captured.to_le_bytes());
        pad(out, captured as usize);
        option(out, EPB_PACKETID, &frame.packet_id.to_le_bytes());
        if let Some(comment) = frame.comment {
            option(out, OPT_COMMENT, comment.as_bytes());
        }
        option(out, OPT_END, &[]);
    });
}

/// Appends a block and fills in its length at both ends.
#[inline]
fn block(out: &mut Vec<u8>, kind: u32, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    body(out);
    let length = ((out.len() - start + 4) as u32).to_le_bytes();
    out.extend_from_slice(&length);
    out[start + 4..start + 8].copy_from_slice(&length);
}

/// Appends an option; callers keep values below 65 536 bytes.
#[inline]
fn option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    let length = u16::try_from(value.len()).expect("broken invariant: options are short");
    out.extend_from_slice(&code.to_le_bytes());
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(value);
    pad(out, value.len());
}

/// Pads something of this length to a multiple of 4.
#[inline]
fn pad(out: &mut Vec<u8>, length: usize) {
    out.extend_from_slice(&[0; 3][..length.wrapping_neg() % 4]);
}

#[cfg(test)]
mod tests {
    use super::{Frame, interface, packet, section_header};

    #[test]
    fn a_section_header_is_these_bytes() {
        let mut out = Vec::new();
        section_header(&mut out, "plsim");
        let expected = [
            0x0A, 0x0D, 0x0D, 0x0A, 44, 0, 0, 0, // type, total length
            0x4D, 0x3C, 0x2B, 0x1A, 1, 0, 0, 0, // byte order, version 1.0
            0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, // section length: not given
            4, 0, 5, 0, b'p', b'l', b's', b'i', b'm', 0, 0, 0, // shb_userappl, padded
            0, 0, 0, 0, // opt_endofopt
            44, 0, 0, 0, // total length again
        ];
        assert_eq!(out, expected);
    }

    #[test]
    fn an_interface_is_these_bytes() {
        let mut out = Vec::new();
        interface(&mut out, "pe", "", 0x0004_0000);
        let expected = [
            1, 0, 0, 0, 40, 0, 0, 0, // type, total length
            101, 0, 0, 0, 0, 0, 4, 0, // LINKTYPE_RAW, reserved, snap length 262144
            2, 0, 2, 0, b'p', b'e', 0, 0, // if_name
            9, 0, 1, 0, 9, 0, 0, 0, // if_tsresol: 10^-9
            0, 0, 0, 0, // opt_endofopt
            40, 0, 0, 0,
        ];
        assert_eq!(out, expected);
        out.clear();
        interface(&mut out, "pe", "NIC", 96);
        assert_eq!(out[24..32], [3, 0, 3, 0, b'N', b'I', b'C', 0]);
    }

    #[test]
    fn a_packet_is_these_bytes() {
        let mut out = Vec::new();
        let frame = Frame {
            interface: 2,
            nanos: 0x0102_0304_0506_0708,
            original_length: 1500,
            packet_id: 17,
            comment: Some("lost"),
        };
        packet(&mut out, &frame, |out| {
            out.extend_from_slice(&[0x45, 1, 2, 3, 4])
        });
        let expected = [
            6, 0, 0, 0, 64, 0, 0, 0, // type, total length
            2, 0, 0, 0, // interface
            4, 3, 2, 1, 8, 7, 6, 5, // time, high word first
            5, 0, 0, 0, 0xDC, 5, 0, 0, // captured, original length
            0x45, 1, 2, 3, 4, 0, 0, 0, // bytes, padded
            5, 0, 8, 0, 17, 0, 0, 0, 0, 0, 0, 0, // epb_packetid
            1, 0, 4, 0, b'l', b'o', b's', b't', // opt_comment
            0, 0, 0, 0, // opt_endofopt
            64, 0, 0, 0,
        ];
        assert_eq!(out, expected);
    }
}
