//! The backend host's part of clients that dial a frontend themselves: the address of the VM for that
//! of the frontend, and back. Their own address stays (D-CON).

use std::net::SocketAddrV4;

use plsim_nat::FrontendPacket;
use plsim_packet::{Form, Packet, Rewrite};
use plsim_types::{DropReason, Instant};

use crate::backend_host::BackendHost;

impl BackendHost {
    /// Gives a packet of a client that dialled a frontend itself the VM for its destination.
    pub(crate) fn pass_in(&mut self, packet: &mut Packet, now: Instant) -> Result<(), DropReason> {
        let config = &mut self.config;
        let (client, frontend) = (packet.source(), packet.destination());
        if *client.ip() == config.address {
            return Err(DropReason::LbHairpin);
        }
        let protocol = packet.protocol();
        let vm = SocketAddrV4::new(config.address, packet.encap.backend_port);
        let server = config.floating_ips.dialled(*frontend.ip(), protocol, vm);
        let flows = &mut config.frontend_flows;
        if packet.form() == Form::IcmpError {
            let known = flows.error(protocol, server, client, now);
            known.ok_or(DropReason::NoFlow)??;
        } else {
            let original = FrontendPacket {
                client,
                frontend,
                server,
                protocol,
                segment: packet.tracked_segment(),
            };
            flows.original(&original, now)?;
        }
        packet.rewrite(Rewrite {
            source: client,
            destination: server,
        });
        Ok(())
    }

    /// Gives a packet of the VM the frontend for its source that its client dialled; returns whether
    /// it is one of those.
    pub(crate) fn pass_out(
        &mut self,
        packet: &mut Packet,
        now: Instant,
    ) -> Result<bool, DropReason> {
        let (server, client) = (packet.source(), packet.destination());
        let (flows, protocol) = (&mut self.config.frontend_flows, packet.protocol());
        let frontend = if packet.form() == Form::IcmpError {
            flows.error(protocol, server, client, now)
        } else {
            flows.reply(protocol, server, client, packet.tracked_segment(), now)
        };
        let Some(frontend) = frontend else {
            return Ok(false);
        };
        packet.rewrite(Rewrite {
            source: frontend?,
            destination: client,
        });
        Ok(true)
    }
}
