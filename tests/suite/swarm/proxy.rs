//! What a PROXY header may change of a segment, and nothing else (N9).

use super::wire::{ACK, RST, SYN, Wire};

/// Bytes of the header.
const LENGTH: u32 = 36;

/// Tells whether the first segment, as a client sent it, may have become the second before the
/// server: shifted behind the header, or with the header in front.
pub(super) fn is_outward(before: &Wire, client: &[u8], after: &Wire, server: &[u8]) -> bool {
    let shift = after.tcp.sequence.wrapping_sub(before.tcp.sequence);
    let rest = |bytes: &[u8]| same(bytes, &[2..4, 24..28]);
    let (payload, beyond) = (&client[40.min(client.len())..], server.get(40..));
    if rest(&client[..client.len().min(40)]) != rest(&server[..server.len().min(40)]) {
        return false;
    }
    if before.tcp.has(SYN) {
        return shift == 0 && client[40..] == server[40..];
    }
    let Some(beyond) = beyond else { return false };
    match beyond.strip_prefix(&header(before)[..28]) {
        // A keepalive of before the first byte brings the header alone.
        Some(own) if shift == 1 => own.len() == 8 && payload.len() <= 1,
        Some(own) if shift == 0 => own.get(8..) == Some(payload),
        _ => payload == beyond && (shift == LENGTH || shift < LENGTH && before.tcp.has(RST)),
    }
}

/// Tells whether the first segment, as a server sent it, may have become the second before the
/// client: without what the header takes of acknowledgement, window and segment size.
pub(super) fn is_inward(before: &Wire, server: &[u8], after: &Wire, client: &[u8]) -> bool {
    let back = before
        .tcp
        .acknowledgement
        .wrapping_sub(after.tcp.acknowledgement);
    let window = |bytes: &[u8]| u32::from(bytes[34]) << 8 | u32::from(bytes[35]);
    let smaller = window(server).wrapping_sub(window(client));
    if before.tcp.has(SYN) {
        let size = |bytes: &[u8]| u32::from(bytes[42]) << 8 | u32::from(bytes[43]);
        let changed = [28..32, 34..36, 42..44];
        return same(server, &changed) == same(client, &changed)
            && (back == 0 || back == LENGTH)
            && smaller <= LENGTH
            && size(server) - size(client) == LENGTH;
    }
    let (mut changed, blocks) = (vec![28..32, 34..36], sack_edges(server));
    changed.extend(blocks.iter().map(|&at| at..at + 4));
    let moved_back = |&at: &usize| {
        let edge = |bytes: &[u8]| u32::from_be_bytes([0, 1, 2, 3].map(|byte| bytes[at + byte]));
        edge(server).wrapping_sub(edge(client)) <= LENGTH
    };
    // What the header lacks of an acknowledgement is missing in the window.
    same(server, &changed) == same(client, &changed)
        && blocks.iter().all(moved_back)
        && if before.tcp.has(ACK) {
            back <= LENGTH && (smaller == 0 || smaller == LENGTH - back)
        } else {
            (back, smaller) == (0, 0)
        }
}

/// Returns the header of a client's segment up to its LINKID, which no capture shows elsewhere.
fn header(segment: &Wire) -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x14".to_vec();
    bytes.extend(segment.source.ip().octets());
    bytes.extend(segment.destination.ip().octets());
    bytes.extend(segment.source.port().to_be_bytes());
    bytes.extend(segment.destination.port().to_be_bytes());
    bytes
}

/// Returns where the edges of SACK blocks stand (RFC 2018 §3).
fn sack_edges(bytes: &[u8]) -> Vec<usize> {
    let end = (20 + 4 * usize::from(bytes[32] >> 4)).min(bytes.len());
    let (mut at, mut edges) = (40, Vec::new());
    while at + 1 < end {
        let length = match bytes[at] {
            0 => break,
            1 => 1,
            _ => usize::from(bytes[at + 1]).max(2),
        };
        if bytes[at] == 5 {
            edges.extend((at + 2..(at + length).min(end)).step_by(4));
        }
        at += length;
    }
    edges
}

/// Sets what a NAT may change to zero, and these fields.
fn same(bytes: &[u8], changed: &[std::ops::Range<usize>]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for range in [8..9, 10..24, 36..38].iter().chain(changed) {
        bytes[range.clone()].fill(0);
    }
    bytes
}
