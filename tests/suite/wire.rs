//! Packets by hand: every field can be wrong.

/// The client VM, its private endpoint, and what lies behind it, as [`crate::support::SMALL`] has
/// them.
pub(crate) const CLIENT: [u8; 4] = [10, 1, 0, 4];
pub(crate) const ENDPOINT: [u8; 4] = [10, 1, 0, 10];
pub(crate) const NAT_IP: [u8; 4] = [10, 2, 0, 10];
pub(crate) const BACKEND: [u8; 4] = [10, 2, 1, 5];

pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const PSH: u8 = 0x08;
pub(crate) const ACK: u8 = 0x10;
pub(crate) const URG: u8 = 0x20;

/// An IP packet; what is `None` is computed.
#[derive(Clone)]
pub(crate) struct Ip {
    pub(crate) first: Option<u8>,
    pub(crate) service: u8,
    pub(crate) total: Option<u16>,
    /// Flags and fragment offset.
    pub(crate) fragment: u16,
    pub(crate) ttl: u8,
    pub(crate) protocol: u8,
    pub(crate) checksum: Option<u16>,
    pub(crate) source: [u8; 4],
    pub(crate) destination: [u8; 4],
    pub(crate) options: Vec<u8>,
    pub(crate) body: Body,
}

#[derive(Clone)]
pub(crate) enum Body {
    Tcp(Tcp),
    Udp(Udp),
    Raw(Vec<u8>),
}

#[derive(Clone)]
pub(crate) struct Tcp {
    pub(crate) ports: (u16, u16),
    pub(crate) sequence: u32,
    pub(crate) acknowledgement: u32,
    /// The header length in words.
    pub(crate) offset: Option<u8>,
    pub(crate) flags: u8,
    pub(crate) checksum: Option<u16>,
    pub(crate) options: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

#[derive(Clone)]
pub(crate) struct Udp {
    pub(crate) ports: (u16, u16),
    pub(crate) length: Option<u16>,
    pub(crate) checksum: Option<u16>,
    pub(crate) payload: Vec<u8>,
}

impl Ip {
    /// A datagram of the client to the endpoint, after a change.
    pub(crate) fn udp(change: impl FnOnce(&mut Udp)) -> Self {
        let mut udp = Udp {
            ports: (40_000, 443),
            length: None,
            checksum: None,
            payload: b"packet".to_vec(),
        };
        change(&mut udp);
        Self::new(17, Body::Udp(udp))
    }

    /// A SYN of the client to the endpoint, after a change.
    pub(crate) fn tcp(change: impl FnOnce(&mut Tcp)) -> Self {
        let mut tcp = Tcp {
            ports: (40_000, 443),
            sequence: 1_000,
            acknowledgement: 0,
            offset: None,
            flags: SYN,
            checksum: None,
            options: Vec::new(),
            payload: Vec::new(),
        };
        change(&mut tcp);
        Self::new(6, Body::Tcp(tcp))
    }

    pub(crate) fn raw(protocol: u8, body: Vec<u8>) -> Self {
        Self::new(protocol, Body::Raw(body))
    }

    fn new(protocol: u8, body: Body) -> Self {
        Self {
            first: None,
            service: 0,
            total: None,
            fragment: 0x4000,
            ttl: 64,
            protocol,
            checksum: None,
            source: CLIENT,
            destination: ENDPOINT,
            options: Vec::new(),
            body,
        }
    }

    /// Changes a field of the IP header.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.around(&self.transport())
    }

    /// The bytes after the IP header.
    pub(crate) fn transport(&self) -> Vec<u8> {
        match &self.body {
            Body::Tcp(tcp) => {
                let options = tcp.options.len().div_ceil(4) * 4;
                let mut out = Vec::new();
                out.extend(tcp.ports.0.to_be_bytes());
                out.extend(tcp.ports.1.to_be_bytes());
                out.extend(tcp.sequence.to_be_bytes());
                out.extend(tcp.acknowledgement.to_be_bytes());
                out.push(tcp.offset.unwrap_or(5 + (options / 4) as u8) << 4);
                out.push(tcp.flags);
                out.extend([0xFF, 0xFF, 0, 0, 0, 0]);
                out.extend(&tcp.options);
                out.resize(20 + options, 0);
                out.extend(&tcp.payload);
                let checksum = tcp.checksum.unwrap_or_else(|| self.pseudo(&out));
                out[16..18].copy_from_slice(&checksum.to_be_bytes());
                out
            }
            Body::Udp(udp) => {
                let mut out = Vec::new();
                out.extend(udp.ports.0.to_be_bytes());
                out.extend(udp.ports.1.to_be_bytes());
                let length = 8 + udp.payload.len() as u16;
                out.extend(udp.length.unwrap_or(length).to_be_bytes());
                out.extend([0, 0]);
                out.extend(&udp.payload);
                let checksum = udp.checksum.unwrap_or_else(|| match self.pseudo(&out) {
                    0 => 0xFFFF,
                    sum => sum,
                });
                out[6..8].copy_from_slice(&checksum.to_be_bytes());
                out
            }
            Body::Raw(bytes) => bytes.clone(),
        }
    }

    /// The IP header around any bytes.
    pub(crate) fn around(&self, body: &[u8]) -> Vec<u8> {
        let options = self.options.len().div_ceil(4) * 4;
        let first = self.first.unwrap_or(0x45 + (options / 4) as u8);
        let total = self.total.unwrap_or((20 + options + body.len()) as u16);
        let mut out = vec![first, self.service];
        out.extend(total.to_be_bytes());
        out.extend([0x12, 0x34]);
        out.extend(self.fragment.to_be_bytes());
        out.extend([self.ttl, self.protocol, 0, 0]);
        out.extend(self.source);
        out.extend(self.destination);
        out.extend(&self.options);
        out.resize(20 + options, 0);
        let checksum = self.checksum.unwrap_or_else(|| !sum(0, &out));
        out[10..12].copy_from_slice(&checksum.to_be_bytes());
        out.extend(body);
        out
    }

    /// One fragment: the bytes `range` of what follows the IP header.
    pub(crate) fn fragment(&self, range: std::ops::Range<usize>) -> Vec<u8> {
        let whole = self.transport();
        let more = u16::from(range.end < whole.len()) << 13;
        self.clone()
            .with(|ip| ip.fragment = more | (range.start / 8) as u16)
            .around(&whole[range])
    }

    fn pseudo(&self, transport: &[u8]) -> u16 {
        let start = u32::from(self.protocol) + transport.len() as u32;
        let start = sum(start, &[self.source, self.destination].concat());
        !sum(start.into(), transport)
    }
}

/// An ICMP message with the right checksum.
pub(crate) fn icmp(kind: u8, code: u8, rest: &[u8]) -> Vec<u8> {
    let mut out = vec![kind, code, 0, 0];
    out.extend(rest);
    let checksum = !sum(0, &out);
    out[2..4].copy_from_slice(&checksum.to_be_bytes());
    out
}

/// Sums byte pairs as the text of RFC 1071 has it.
pub(crate) fn sum(start: u32, bytes: &[u8]) -> u16 {
    let sum = bytes.chunks(2).fold(start, |sum, pair| {
        let sum = sum + (u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |&low| u32::from(low)));
        (sum >> 16) + (sum & 0xFFFF)
    });
    ((sum >> 16) + (sum & 0xFFFF)) as u16
}

/// An event that sends bytes from a machine, such as `client_vm = "client"`.
pub(crate) fn inject(at: &str, sender: &str, bytes: &[u8]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("\n[[event]]\nat = \"{at}\"\naction = \"inject-packet\"\n{sender}\nbytes = \"{hex}\"\n")
}
