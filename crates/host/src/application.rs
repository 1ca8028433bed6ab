use plsim_packet::{Payload, ProxyError, ProxyHeader};

use crate::probe::Word;
use crate::request::Request;

/// What the application of a server makes of a PROXY protocol header before the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Application {
    /// It knows no such header: the bytes are garbage to it (PP-5).
    #[default]
    Plain,
    /// It wants one on every connection, and fails without (PP-6): HAProxy's `accept-proxy`, nginx's
    /// `listen ... proxy_protocol`.
    ProxyRequired,
    /// It reads one if there is one.
    ProxyOptional,
}

/// Why an application resets a connection instead of answering its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// There is a PROXY header that it does not know.
    UnexpectedHeader,
    /// There is no PROXY header, which it wants.
    MissingHeader,
    /// Neither a header nor a request.
    Unreadable,
}

/// What the first bytes of a connection are, or the first behind its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Opening {
    /// Bytes of the PROXY header.
    pub(crate) header: u32,
    /// What stands behind it; `None` if that is still to come.
    pub(crate) said: Option<Said>,
}

/// What a client says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said {
    Request(Request),
    Probe(Word),
}

impl Application {
    /// Reads what comes first, from byte `from` of a segment's payload; `is_greeted` if a header came
    /// before.
    pub(crate) fn open(
        self,
        payload: &Payload,
        from: usize,
        is_greeted: bool,
    ) -> Result<Opening, Failure> {
        let bytes = match payload {
            Payload::Bytes(bytes) => bytes.get(from..).unwrap_or_default(),
            Payload::Zeros(_) => &[],
        };
        let header = match (self, ProxyHeader::parse(bytes)) {
            // A second header is nobody's.
            (_, Err(ProxyError::NoSignature)) if is_greeted => 0,
            (Self::Plain | Self::ProxyOptional, Err(ProxyError::NoSignature)) => 0,
            (Self::Plain, _) => return Err(Failure::UnexpectedHeader),
            (Self::ProxyRequired, Err(ProxyError::NoSignature)) => {
                return Err(Failure::MissingHeader);
            }
            (_, Ok((_, length))) if !is_greeted => length,
            _ => return Err(Failure::Unreadable),
        };
        let rest = &bytes[header..];
        if rest.is_empty() && header > 0 {
            return Ok(Opening {
                header: header as u32,
                said: None,
            });
        }
        let said = match Word::read(rest) {
            Some(word) => Said::Probe(word),
            None => Said::Request(Request::parse(rest).ok_or(Failure::Unreadable)?),
        };
        Ok(Opening {
            header: header as u32,
            said: Some(said),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Application, Failure, Opening, Said};
    use crate::request::{Extra, Request};
    use plsim_packet::{Payload, ProxyHeader};
    use plsim_types::Duration;

    const REQUEST: Request = Request {
        request: 100,
        response: 200,
        extra: Extra {
            service_time: Duration::ZERO,
            closes: false,
            one_way: false,
            subject: None,
        },
    };

    fn payload(header: &[u8], request: bool) -> Payload {
        let mut bytes = header.to_vec();
        if let (true, Payload::Bytes(request)) = (request, REQUEST.to_payload(20)) {
            bytes.extend(request);
        }
        Payload::Bytes(bytes.into())
    }

    fn opening(header: u32, request: bool) -> Result<Opening, Failure> {
        Ok(Opening {
            header,
            said: request.then_some(Said::Request(REQUEST)),
        })
    }

    #[test]
    fn pp_5_and_pp_6_an_application_takes_only_what_it_is_made_for() {
        let (local, bare) = (ProxyHeader::local(), payload(&[], true));
        let open =
            |application: Application, payload: &Payload| application.open(payload, 0, false);
        let (plain, required, optional) = (
            Application::Plain,
            Application::ProxyRequired,
            Application::ProxyOptional,
        );
        assert_eq!(open(plain, &bare), opening(0, true));
        assert_eq!(open(required, &bare), Err(Failure::MissingHeader));
        assert_eq!(open(optional, &bare), opening(0, true));
        for with_request in [false, true] {
            let payload = payload(&local, with_request);
            assert_eq!(open(plain, &payload), Err(Failure::UnexpectedHeader));
            assert_eq!(open(required, &payload), opening(16, with_request));
            assert_eq!(open(optional, &payload), opening(16, with_request));
        }
        // Half a header is nobody's.
        let half = payload(&local[..14], false);
        assert_eq!(open(plain, &half), Err(Failure::UnexpectedHeader));
        assert_eq!(open(required, &half), Err(Failure::Unreadable));
        assert_eq!(open(optional, &half), Err(Failure::Unreadable));
    }

    #[test]
    fn a_header_is_read_once_and_old_bytes_are_skipped() {
        let both = payload(&ProxyHeader::local(), true);
        let application = Application::ProxyRequired;
        assert_eq!(application.open(&both, 16, true), opening(0, true));
        assert_eq!(
            application.open(&both, 16, false),
            Err(Failure::MissingHeader)
        );
        assert_eq!(application.open(&both, 0, true), Err(Failure::Unreadable));
        let nothing = application.open(&Payload::Zeros(5), 0, true);
        assert_eq!(nothing, Err(Failure::Unreadable));
    }
}
