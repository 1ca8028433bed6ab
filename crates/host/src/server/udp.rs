use std::net::SocketAddrV4;

use plsim_packet::{Packet, Payload};
use plsim_sim::Context;
use plsim_types::{DropReason, Protocol};

use super::ServerVm;
use super::late::Late;
use crate::config::MAX_DATAGRAM;
use crate::request::Request;
use crate::request_id::RequestId;

impl ServerVm {
    /// Answers a UDP request.
    pub(super) fn on_udp(&mut self, packet: Box<Packet>, cx: &mut Context<'_>) {
        let (local, remote) = (packet.destination(), packet.source());
        if !self.listens(Protocol::Udp, local.port()) {
            return cx.drop(packet, DropReason::NoListener);
        }
        let head = match packet.payload() {
            Payload::Bytes(bytes) => Request::parse_datagram(bytes),
            Payload::Zeros(_) => None,
        };
        let length = packet.payload_len() as u64;
        cx.deliver(packet);
        let Some((id, head)) = head else { return };
        self.stats.requests += 1;
        self.stats.request_bytes += length;
        if head.extra.one_way {
            return;
        }
        let delay = self.behaviour.response_delay + head.extra.service_time;
        if delay.is_zero() {
            return self.send_datagrams((local, remote), id, head.response, cx);
        }
        let late = Late::Datagrams {
            remote,
            local,
            id,
            response: head.response,
        };
        self.delay(delay, late, cx);
    }

    pub(super) fn send_datagrams(
        &self,
        (local, remote): (SocketAddrV4, SocketAddrV4),
        id: RequestId,
        response: u32,
        cx: &mut Context<'_>,
    ) {
        let mut left = response;
        loop {
            let length = left.min(u32::from(MAX_DATAGRAM));
            let datagram = Packet::udp(local, remote, id.to_payload(length as u16));
            let datagram = cx.inject(datagram);
            cx.send(self.out, datagram);
            left -= length;
            if left == 0 {
                return;
            }
        }
    }
}
