//! What a health probe and a VM say to each other.

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use core::net::Ipv4Addr;
use core::str;

/// The address that all health probes come from (D-PRB23).
pub const SOURCE: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);

/// The type of a TLS record with application data, its version (1.2), and the bytes of the header
/// with the length (RFC 5246 §6.2.1).
const RECORD: [u8; 3] = [23, 3, 3];
const RECORD_HEADER: usize = 5;

/// What AES-GCM adds to a record: 8 bytes of nonce before the text, 16 of tag behind it (RFC 5288).
const NONCE: usize = 8;
const TAG: usize = 16;

/// Bytes of the client's hello, without records' headers: what a plain client without extensions
/// for names sends (I#97795: the prober names no server).
const CLIENT_HELLO: usize = 192;
/// The server's hello, its certificates (an RSA leaf and one intermediate), key exchange, done.
const SERVER_FLIGHT: usize = 3_200;
/// The client's key exchange, change of cipher, finished.
const CLIENT_FINISHED: usize = 121;
/// The server's change of cipher, finished.
const SERVER_FINISHED: usize = 46;

/// Returns the GET request of an HTTP probe: the host is the VM's address (I#97795).
#[must_use]
pub fn http_request(vm: Ipv4Addr, port: u16, path: &str) -> Vec<u8> {
    let host = match port {
        80 => format!("{vm}"),
        _ => format!("{vm}:{port}"),
    };
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: Load Balancer Agent\r\n\r\n")
        .into_bytes()
}

/// Returns the response of a VM to an HTTP probe.
#[must_use]
pub fn http_response(status: u16) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status} {}\r\nContent-Length: 0\r\n\r\n",
        reason(status)
    )
    .into_bytes()
}

/// Tells whether a payload begins an HTTP request.
#[must_use]
pub fn is_http_request(payload: &[u8]) -> bool {
    payload.starts_with(b"GET ")
}

/// Returns the status of the HTTP response that a payload begins, in the clear or in a record of
/// [`tls_record`].
#[must_use]
pub fn http_status(payload: &[u8]) -> Option<u16> {
    let text = match payload.strip_prefix(&RECORD) {
        Some(record) => record.get(RECORD_HEADER - RECORD.len() + NONCE..)?,
        None => payload,
    };
    let digits = text.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
    str::from_utf8(digits).ok()?.parse().ok()
}

/// Wraps a text in one TLS record as AES-GCM would. Only the sizes are those of TLS: the text stays
/// readable, nonce and tag are zeros.
#[must_use]
pub fn tls_record(text: &[u8]) -> Vec<u8> {
    let mut record = opaque_record(NONCE + text.len() + TAG);
    let start = RECORD_HEADER + NONCE;
    record[start..start + text.len()].copy_from_slice(text);
    record
}

/// Returns what a TLS 1.2 client says before its first request: hello, then finished.
#[must_use]
pub fn tls_client() -> [Vec<u8>; 2] {
    [CLIENT_HELLO, CLIENT_FINISHED].map(opaque_record)
}

/// Returns what a TLS 1.2 server answers to each of them.
#[must_use]
pub fn tls_server() -> [Vec<u8>; 2] {
    [SERVER_FLIGHT, SERVER_FINISHED].map(opaque_record)
}

/// Tells whether a payload is one whole TLS record.
#[must_use]
pub fn is_tls_record(payload: &[u8]) -> bool {
    let length = payload.len().checked_sub(RECORD_HEADER);
    let told = payload.get(RECORD.len()..RECORD_HEADER);
    payload.starts_with(&RECORD)
        && told.is_some_and(|told| length == Some(usize::from(told[0]) << 8 | usize::from(told[1])))
}

/// Returns a record of zeros.
fn opaque_record(length: usize) -> Vec<u8> {
    let mut record = vec![0; RECORD_HEADER + length];
    record[..RECORD.len()].copy_from_slice(&RECORD);
    record[RECORD.len()..RECORD_HEADER].copy_from_slice(&(length as u16).to_be_bytes());
    record
}

/// Returns the words that go with a status (RFC 9110 §15), for those that probes meet.
const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        301 => "Moved Permanently",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Other",
    }
}

#[cfg(test)]
mod tests {
    use super::{
        http_request, http_response, http_status, is_http_request, is_tls_record, tls_client,
        tls_record, tls_server,
    };
    use core::net::Ipv4Addr;

    #[test]
    fn a_request_names_the_vm_and_the_port_where_it_is_not_80() {
        let vm = Ipv4Addr::new(10, 2, 1, 4);
        let request = http_request(vm, 80, "/healthz");
        assert!(request.starts_with(b"GET /healthz HTTP/1.1\r\nHost: 10.2.1.4\r\n"));
        assert!(request.ends_with(b"\r\n\r\n") && is_http_request(&request));
        let request = http_request(vm, 8080, "/");
        assert!(request.starts_with(b"GET / HTTP/1.1\r\nHost: 10.2.1.4:8080\r\n"));
    }

    #[test]
    fn a_status_is_read_in_the_clear_and_in_a_record_and_nowhere_else() {
        let response = http_response(503);
        assert_eq!(
            response,
            b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
        );
        assert_eq!(http_status(&response), Some(503));
        let record = tls_record(&response);
        assert_eq!(record.len(), response.len() + 29);
        assert_eq!(http_status(&record), Some(503));
        for other in [
            &b"HTTP/1.1 2"[..],
            b"HTTP/1.1 x00",
            b"\r\n\r\n",
            b"",
            b"\x17\x03\x03",
        ] {
            assert_eq!(http_status(other), None, "{other:?}");
        }
    }

    #[test]
    fn a_record_is_one_only_if_its_length_is_right() {
        for record in tls_client().into_iter().chain(tls_server()) {
            assert!(is_tls_record(&record));
            assert!(!is_tls_record(&record[..record.len() - 1]));
        }
        assert!(!is_tls_record(b"GET / HTTP/1.1"));
        assert!(!is_tls_record(&[]));
    }
}
