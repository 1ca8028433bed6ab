//! One end of a TCP connection, slow and obvious: streams are vectors, time is chance.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;

use plsim_packet::Packet;

use crate::random::Random;
use crate::wire::{ACK, FIN, RST, SYN, Segment, option, payload, tcp};

/// What an end is like.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    is_client: bool,
    /// What it writes.
    bytes: Vec<u8>,
    /// Its receive buffer, in bytes; its window is what is free of it.
    buffer: u32,
    /// A buffer of this size until the first few steps are over.
    tight: Option<u32>,
    scale: Option<u8>,
    mss: Option<u16>,
    /// Writes only after so many bytes have come, or the FIN.
    waits_for: usize,
    /// Data with the SYN, and the option that asks for it.
    fast_open: Option<u8>,
    /// The chance to read, in percent for each step.
    reads: u64,
}

impl Shape {
    fn draw(random: &mut Random, is_client: bool) -> Self {
        let length = random.pick(&[0, 1, 5, 40, 300, 1_500, 4_000]);
        let buffer = random.pick(&[100_u32, 600, 1_460, 5_000, 65_535, 100_000]);
        // A window that rounds to nothing would stay shut.
        let most = u64::from((buffer / 64).ilog2().min(9));
        let small = random.pick(&[0, 1, 20, 35, 36, 37, 50, 100, 536]);
        Self {
            is_client,
            bytes: random.bytes(length),
            buffer,
            tight: random.percent(30).then_some(small),
            scale: random.percent(50).then(|| random.below(most + 1) as u8),
            mss: random
                .percent(90)
                .then(|| random.pick(&[20, 35, 36, 40, 71, 72, 100, 536, 1_460])),
            waits_for: 0,
            fast_open: (is_client && random.percent(20)).then(|| random.pick(&[34, 254])),
            reads: random.pick(&[2, 20, 100]),
        }
    }
}

/// Draws who speaks first: a client, a server that waits for the header or for the client's first
/// byte behind it, or a server that waits for nothing.
pub(crate) fn draw(random: &mut Random) -> [Shape; 2] {
    let [mut client, mut server] = [true, false].map(|is_client| Shape::draw(random, is_client));
    match random.below(4) {
        0 => server.waits_for = 37,
        1 => server.waits_for = 1,
        2 => client.waits_for = 1,
        _ => {}
    }
    [client, server]
}

/// The end itself. Sequence numbers are kept as offsets from the own and the other's first byte.
#[derive(Debug)]
pub(crate) struct End {
    shape: Shape,
    local: SocketAddrV4,
    remote: SocketAddrV4,
    isn: u32,
    other_isn: u32,
    is_open: bool,
    /// A server that has seen the SYN.
    is_asked: bool,
    /// Offsets of the first byte that is not acknowledged, and of the end of all that was sent.
    acknowledged: u32,
    sent: u32,
    /// The right edge that the other end allows.
    edge: u32,
    other_mss: u16,
    other_scale: u8,
    /// Whether both ends scale.
    scales: bool,
    /// In order, and read by the application so far.
    received: Vec<u8>,
    read: usize,
    /// Out of order.
    islands: BTreeMap<u32, u8>,
    /// Where the other's FIN stands.
    other_fin: Option<u32>,
    /// The furthest edge ever allowed to the other.
    allowed: u32,
    must_acknowledge: bool,
    /// What was received twice, for a D-SACK.
    repeated: Option<(u32, u32)>,
    age: u32,
}

impl End {
    pub(crate) fn new(
        shape: Shape,
        local: SocketAddrV4,
        remote: SocketAddrV4,
        random: &mut Random,
    ) -> Self {
        // Near the wrap every other time.
        let near = 0_u32.wrapping_sub(random.below(3_000) as u32);
        let anywhere = random.next() as u32;
        let isn = random.pick(&[near, anywhere]);
        Self {
            shape,
            local,
            remote,
            isn,
            other_isn: 0,
            is_open: false,
            is_asked: false,
            acknowledged: 0,
            sent: 0,
            edge: 0,
            other_mss: 536,
            other_scale: 0,
            scales: false,
            received: Vec::new(),
            read: 0,
            islands: BTreeMap::new(),
            other_fin: None,
            allowed: 0,
            must_acknowledge: false,
            repeated: None,
            age: 0,
        }
    }

    pub(crate) fn isn(&self) -> u32 {
        self.isn
    }

    pub(crate) fn mss(&self) -> u16 {
        self.shape.mss.unwrap_or(536)
    }

    pub(crate) fn written(&self) -> &[u8] {
        &self.shape.bytes
    }

    pub(crate) fn read(&self) -> &[u8] {
        &self.received
    }

    /// Everything is sent and acknowledged, and the other's FIN is here.
    pub(crate) fn is_done(&self) -> bool {
        self.acknowledged == self.fin() + 1 && self.next() > self.received.len() as u32
    }

    /// The offset of the own FIN.
    fn fin(&self) -> u32 {
        self.shape.bytes.len() as u32
    }

    /// The offset expected next; one more once the FIN is here.
    fn next(&self) -> u32 {
        let length = self.received.len() as u32;
        length + u32::from(self.other_fin == Some(length))
    }

    /// The bytes that are free for the other end.
    fn room(&self) -> u32 {
        let tight = self.shape.tight.filter(|_| self.age < 200);
        let buffer = tight.unwrap_or(self.shape.buffer);
        let waiting = (self.received.len() - self.read) as u32;
        // A window never shrinks from the right (RFC 9293 §3.8.6.2.1).
        let room = buffer.saturating_sub(waiting);
        room.max(self.allowed.saturating_sub(self.next()))
    }

    /// The window as it goes on the wire.
    fn window(&mut self, is_syn: bool) -> u16 {
        let scale = if self.scales && !is_syn {
            self.shape.scale.unwrap_or(0)
        } else {
            0
        };
        let window = (self.room() >> scale).min(65_535);
        self.allowed = self.allowed.max(self.next() + (window << scale));
        window as u16
    }

    pub(crate) fn receive(&mut self, packet: &Packet) {
        let segment = tcp(packet);
        let flags = segment.flags.0;
        assert_eq!(flags & RST, 0, "nobody resets");
        if flags & SYN != 0 {
            self.receive_syn(packet, flags);
        }
        if !self.is_asked {
            return;
        }
        if flags & ACK != 0 && flags & SYN == 0 {
            let at = segment
                .sequence
                .wrapping_sub(self.other_isn)
                .wrapping_sub(1) as i32;
            if !self.is_acceptable(at, packet) {
                self.must_acknowledge = true;
                return;
            }
            self.is_open = true;
            self.receive_ack(packet);
            self.receive_bytes(at, packet, flags);
        }
    }

    fn receive_syn(&mut self, packet: &Packet, flags: u8) {
        let segment = tcp(packet);
        if self.shape.is_client {
            assert_eq!(
                segment.acknowledgement,
                self.isn.wrapping_add(1),
                "{packet}"
            );
            self.must_acknowledge = true;
            if self.is_open {
                return;
            }
            assert!(flags & ACK != 0);
            self.edge = u32::from(segment.window);
            self.is_open = true;
        } else if self.is_asked {
            return;
        } else {
            assert_eq!(option(packet, 34), None, "fast open must be stripped");
            assert!(
                payload(packet).is_empty(),
                "the SYN's data must be stripped"
            );
            self.edge = u32::from(segment.window);
        }
        self.is_asked = true;
        self.other_isn = segment.sequence;
        self.other_mss = packet.mss().unwrap_or(536).max(1);
        self.scales = self.shape.scale.is_some() && option(packet, 3).is_some();
        if let Some(scale) = option(packet, 3).filter(|_| self.scales) {
            self.other_scale = scale[0];
        }
    }

    /// RFC 9293 §3.10.7.4, the four cases; nothing lies beyond what was ever allowed, but a byte
    /// that asks for the window.
    fn is_acceptable(&self, at: i32, packet: &Packet) -> bool {
        let segment = tcp(packet);
        let length = i32::from(segment.length) + i32::from(segment.flags.0 & FIN != 0);
        let (next, room) = (self.next() as i32, self.room() as i32);
        let end = at + length;
        // The header is not the client's: where it does not fit, what follows lies beyond.
        let allowed = self.allowed.max(36) as i32;
        let beyond = at + i32::from(segment.length) - allowed;
        assert!(beyond <= 1, "{packet} lies {beyond} beyond the window");
        match (length, room) {
            (0, 0) => at == next,
            (0, _) => (next..next + room).contains(&at),
            (_, 0) => false,
            _ => at < next + room && end > next,
        }
    }

    fn receive_ack(&mut self, packet: &Packet) {
        let segment = tcp(packet);
        let first = self.isn.wrapping_add(1);
        let acknowledged = segment.acknowledgement.wrapping_sub(first);
        assert!(
            acknowledged <= self.sent,
            "{packet} acknowledges what was never sent"
        );
        self.acknowledged = self.acknowledged.max(acknowledged);
        let window = u32::from(segment.window) << if self.scales { self.other_scale } else { 0 };
        self.edge = self.edge.max(acknowledged + window);
        for block in option(packet, 5).unwrap_or_default().chunks(8) {
            let edge = |at: usize| {
                let bytes = [block[at], block[at + 1], block[at + 2], block[at + 3]];
                u32::from_be_bytes(bytes).wrapping_sub(first)
            };
            let (left, right) = (edge(0), edge(4));
            assert!(
                left < right && right <= self.sent,
                "SACK {left}..{right}: {packet}"
            );
        }
    }

    fn receive_bytes(&mut self, at: i32, packet: &Packet, flags: u8) {
        let bytes = payload(packet);
        if bytes.is_empty() && flags & FIN == 0 {
            return;
        }
        self.must_acknowledge = true;
        let limit = (self.next() + self.room()) as i32;
        let end = at + bytes.len() as i32;
        if end <= self.received.len() as i32 && at >= 0 && !bytes.is_empty() {
            self.repeated = Some((at as u32, end as u32));
        }
        for (place, byte) in (at..).zip(bytes) {
            if place >= self.received.len() as i32 && place < limit {
                self.islands.insert(place as u32, byte);
            }
        }
        if flags & FIN != 0 && end <= limit {
            self.other_fin = Some(end as u32);
        }
        while let Some(byte) = self.islands.remove(&(self.received.len() as u32)) {
            self.received.push(byte);
        }
    }

    /// Reads, and sends what is due or what chance says.
    pub(crate) fn act(&mut self, random: &mut Random) -> Vec<Packet> {
        self.age += 1;
        if random.percent(self.shape.reads) {
            let before = self.room();
            self.read = self.received.len();
            // The window opens: an update is due.
            self.must_acknowledge |= self.is_open && self.room() > before;
        }
        let mut out = Vec::new();
        if !self.is_open {
            if (self.shape.is_client || self.is_asked) && random.percent(10) {
                out.push(self.open());
            }
            return out;
        }
        out.extend(self.send_new(random));
        if random.percent(3) && self.acknowledged < self.sent {
            // Time out: from the first byte that is missing, in other pieces than before.
            out.extend(self.piece(self.acknowledged, self.sent, random));
        }
        if random.percent(2) {
            // A keepalive, with the byte of the old kind or without.
            let mut probe = self.segment(0_u32.wrapping_sub(1));
            if self.acknowledged > 0 {
                probe = self.segment(self.acknowledged - 1);
            }
            if random.percent(50) {
                probe.payload = vec![0];
            }
            // Old data must be what it was.
            if probe.payload.len() == 1 && (1..=self.fin()).contains(&self.acknowledged) {
                probe.payload[0] = self.shape.bytes[self.acknowledged as usize - 1];
            } else if self.acknowledged > 0 {
                probe.payload.clear();
            }
            out.push(self.wrap(&probe));
        }
        if std::mem::take(&mut self.must_acknowledge) {
            let pure = self.segment(self.sent);
            out.push(self.wrap(&pure));
        }
        out
    }

    fn send_new(&mut self, random: &mut Random) -> Option<Packet> {
        let is_early = self.received.len() < self.shape.waits_for && self.other_fin.is_none();
        if is_early || self.sent > self.fin() {
            return None;
        }
        if !random.percent(30) {
            return None;
        }
        let mut end = self.edge;
        if end <= self.sent {
            // One byte beyond asks for the window, seldom.
            if end < self.sent || !random.percent(5) {
                return None;
            }
            end += 1;
        }
        self.piece(self.sent, end.min(self.fin() + 1), random)
    }

    /// Sends something of a range, as long as the other end takes.
    fn piece(&mut self, from: u32, to: u32, random: &mut Random) -> Option<Packet> {
        let most = u64::from((to - from).min(u32::from(self.other_mss)));
        let length = 1 + random.below(most.max(1)).max(random.below(most.max(1)));
        let end = (from + length as u32).min(to);
        let mut segment = self.segment(from);
        let bytes = from.min(self.fin()) as usize..end.min(self.fin()) as usize;
        segment.payload = self.shape.bytes[bytes].to_vec();
        if end > self.fin() {
            segment.flags |= FIN;
        }
        self.sent = self.sent.max(end);
        Some(self.wrap(&segment))
    }

    fn open(&mut self) -> Packet {
        let mut segment = Segment {
            sequence: self.isn,
            flags: SYN,
            window: self.window(true),
            ..Segment::default()
        };
        if let Some(mss) = self.shape.mss {
            segment.options.extend([2, 4]);
            segment.options.extend(mss.to_be_bytes());
        }
        let asked = self.is_asked && !self.scales;
        if let Some(scale) = self.shape.scale.filter(|_| !asked) {
            segment.options.extend([3, 3, scale, 1]);
        }
        if self.is_asked {
            segment.flags |= ACK;
            segment.acknowledgement = self.other_isn.wrapping_add(1);
        }
        match self.shape.fast_open {
            Some(34) => segment.options.extend([34, 6, 1, 2, 3, 4, 1, 1]),
            Some(kind) => segment.options.extend([kind, 6, 0xF9, 0x89, 3, 4, 1, 1]),
            None => {}
        }
        if self.shape.fast_open.is_some() {
            let most = self.fin().min(100) as usize;
            segment.payload = self.shape.bytes[..most].to_vec();
        }
        segment.packet(self.local, self.remote)
    }

    /// Begins a segment at an offset.
    fn segment(&mut self, at: u32) -> Segment {
        let window = self.window(false);
        Segment {
            sequence: self.isn.wrapping_add(1).wrapping_add(at),
            acknowledgement: self.other_isn.wrapping_add(1).wrapping_add(self.next()),
            flags: ACK,
            window,
            options: self.sack(),
            payload: Vec::new(),
        }
    }

    /// The D-SACK first (RFC 2883), then what lies behind holes.
    fn sack(&mut self) -> Vec<u8> {
        let mut blocks: Vec<(u32, u32)> = self.repeated.take().into_iter().collect();
        for &at in self.islands.keys() {
            match blocks.last_mut() {
                Some((_, end)) if *end == at && *end > self.next() => *end += 1,
                _ => blocks.push((at, at + 1)),
            }
        }
        blocks.truncate(3);
        if blocks.is_empty() {
            return Vec::new();
        }
        let mut option = vec![1, 1, 5, 2 + 8 * blocks.len() as u8];
        for (left, right) in blocks {
            for edge in [left, right] {
                let number = self.other_isn.wrapping_add(1).wrapping_add(edge);
                option.extend(number.to_be_bytes());
            }
        }
        option
    }

    fn wrap(&self, segment: &Segment) -> Packet {
        segment.packet(self.local, self.remote)
    }
}
