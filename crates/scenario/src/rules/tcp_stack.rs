use super::Rules;
use super::lints::{PL140, PL141, PL142, PL200};
use crate::model::{BackendVm, OnIdle, TcpStackKeys, Transport};
use crate::units::ByteSize;
use plsim_types::Duration;
use std::ops::RangeInclusive;

/// What a buffer may have: less than a segment would stand still, more than this is nobody's default.
const BUFFERS: RangeInclusive<u64> = 1 << 10..=16 << 20;

impl Rules<'_> {
    /// The TCP of client and backend VMs.
    pub(super) fn tcp_stacks(&mut self) {
        let scenario = self.scenario;
        for (index, group) in scenario.client_vm.iter().enumerate() {
            self.tcp_stack(&format!("client_vm[{index}]"), group.tcp_keys());
        }
        for (index, group) in scenario.backend_vm.iter().enumerate() {
            self.tcp_stack(&format!("backend_vm[{index}]"), group.tcp_keys());
            self.syn_cookies(index, group);
        }
        for (index, workload) in scenario.workload.iter().enumerate() {
            let is_full =
                workload.protocol == Transport::Tcp && scenario.full_clients(workload).is_some();
            let rtos = [
                (
                    "initial_rto",
                    workload.initial_rto.0,
                    Duration::from_secs(1),
                ),
                ("min_rto", workload.min_rto.0, Duration::from_millis(200)),
            ];
            for (key, _, _) in rtos
                .iter()
                .filter(|(_, own, usual)| is_full && own != usual)
            {
                let message = "the full TCP measures its retransmission timeout, from 1 s on";
                self.report(PL141, &format!("workload[{index}].{key}"), message)
                    .label("means nothing to these clients")
                    .help("remove it, or give the clients tcp_stack = \"light\"");
            }
        }
        self.stale_connections();
    }

    fn tcp_stack(&mut self, path: &str, keys: TcpStackKeys) {
        let given = [
            ("receive_buffer", keys.receive_buffer.is_some()),
            ("send_buffer", keys.send_buffer.is_some()),
            ("no_delay", keys.no_delay.is_some()),
        ];
        let is_full = keys.full().is_some();
        for (key, _) in given.into_iter().filter(|(_, given)| *given && !is_full) {
            let message = format!("`{key}` belongs to the full TCP");
            self.report(PL140, &format!("{path}.{key}"), message).help(
                "add tcp_stack = \"full\", or remove it: the light TCP has a window of 65535 bytes",
            );
        }
        let buffers = [
            ("receive_buffer", keys.receive_buffer),
            ("send_buffer", keys.send_buffer),
        ];
        for (key, size) in buffers {
            if let Some(size) = size.filter(|size: &ByteSize| !BUFFERS.contains(&size.0)) {
                let message = format!("`{key}` cannot be {size}");
                self.report(PL140, &format!("{path}.{key}"), message)
                    .label("not 1 KiB to 16 MiB")
                    .help("16KiB is the default; more than 64KiB also announces a scaled window (RFC 7323)");
            }
        }
    }

    fn syn_cookies(&mut self, index: usize, group: &BackendVm) {
        if group.syn_cookies != Some(true) {
            return;
        }
        let path = format!("backend_vm[{index}].syn_cookies");
        if group.full_tcp().is_some() {
            self.report(PL140, &path, "the full TCP has no SYN cookies")
                .label("belongs to the light TCP")
                .help("remove it, or add tcp_stack = \"light\"");
        } else if group.effective_backlog().is_none() {
            self.report(
                PL200,
                &path,
                "without a backlog no handshake is one too many",
            )
            .label("no cookie is ever sent")
            .help("add backlog = 4096, or another limit");
        }
    }

    /// A service that forgets silently leaves connections behind at servers; the next client on such a
    /// NAT port is challenged by a light server, and waits in vain for a full one.
    fn stale_connections(&mut self) {
        let mut groups = self.scenario.backend_vm.iter();
        let Some(group) = groups.position(|group| group.full_tcp().is_some()) else {
            return;
        };
        for (index, service) in self.scenario.private_link_service.iter().enumerate() {
            if service.on_idle == Some(OnIdle::Silent) {
                let message = "a port that is used again meets the old connection at a full TCP, which \
                               drops its SYNs without an answer";
                self.report(
                    PL142,
                    &format!("private_link_service[{index}].on_idle"),
                    message,
                )
                .label("leaves old connections behind")
                .see(
                    &format!("backend_vm[{group}].tcp_stack"),
                    "this one has no challenge ACK",
                )
                .help(
                    "servers with keepalive notice; the light TCP answers as Linux does (RFC 5961)",
                );
            }
        }
    }
}
