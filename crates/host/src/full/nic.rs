use std::collections::VecDeque;

use plsim_packet::Packet;
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;

/// The longest packet, in bytes: Ethernet's.
const MTU: usize = 1_500;

/// What passes between smoltcp and the network, one packet in and any number out at a time.
#[derive(Debug, Default)]
pub(crate) struct Nic {
    received: Vec<u8>,
    has_received: bool,
    scratch: Vec<u8>,
    sent: VecDeque<Packet>,
}

impl Nic {
    /// Hands in a packet.
    pub(crate) fn put(&mut self, packet: &Packet) {
        self.received.clear();
        packet.write_to(&mut self.received, usize::MAX);
        self.has_received = true;
    }

    /// Takes the next packet that leaves.
    pub(crate) fn take(&mut self) -> Option<Packet> {
        self.sent.pop_front()
    }
}

#[derive(Debug)]
pub(crate) struct Received<'n>(&'n [u8]);

#[derive(Debug)]
pub(crate) struct Sending<'n> {
    scratch: &'n mut Vec<u8>,
    sent: &'n mut VecDeque<Packet>,
}

impl RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(self.0)
    }
}

impl TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        self.scratch.clear();
        self.scratch.resize(length, 0);
        let result = write(self.scratch);
        let packet = Packet::parse(self.scratch);
        self.sent
            .push_back(packet.expect("broken invariant: smoltcp sends whole TCP packets"));
        result
    }
}

impl Device for Nic {
    type RxToken<'n> = Received<'n>;
    type TxToken<'n> = Sending<'n>;

    fn receive(&mut self, _now: Instant) -> Option<(Received<'_>, Sending<'_>)> {
        let Self {
            received,
            has_received,
            scratch,
            sent,
        } = self;
        std::mem::take(has_received).then_some((Received(received), Sending { scratch, sent }))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Sending<'_>> {
        let Self { scratch, sent, .. } = self;
        Some(Sending { scratch, sent })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = MTU;
        capabilities
    }
}
