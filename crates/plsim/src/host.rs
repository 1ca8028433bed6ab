//! What the operating systems of client and backend VMs make of TCP.

use plsim_host::{Admission, EphemeralPorts, FullStack, TcpKeepalive, TcpParameters};
use plsim_scenario as file;
use plsim_scenario::{EphemeralPortOrder, Scenario};

use crate::layout::ClientGroup;

/// Returns the source ports of a group of VMs: as the file says, for backend VMs Linux's own.
pub(crate) fn ephemeral_ports(scenario: &Scenario, group: ClientGroup) -> EphemeralPorts {
    match group {
        ClientGroup::Client(index) => {
            let group = &scenario.client_vm[index];
            let ports = group.effective_ephemeral_ports();
            let order = group.effective_ephemeral_port_order();
            EphemeralPorts {
                range: ports.first()..=ports.last(),
                even_first: order == EphemeralPortOrder::EvenFirst,
                shared: group.shares_ephemeral_ports(),
            }
        }
        ClientGroup::Backend(_) => EphemeralPorts {
            range: 32_768..=60_999,
            even_first: false,
            shared: false,
        },
    }
}

/// Returns the client side of a workload that starts at a group of VMs.
pub(crate) fn client_tcp(
    scenario: &Scenario,
    group: ClientGroup,
    workload: &file::Workload,
) -> TcpParameters {
    TcpParameters {
        initial_rto: workload.initial_rto.0,
        min_rto: workload.min_rto.0,
        open_retries: workload.syn_retries,
        syn_linear_timeouts: match group {
            ClientGroup::Client(index) => scenario.client_vm[index].effective_syn_linear_timeouts(),
            ClientGroup::Backend(_) => 0,
        },
        retries: workload.retries,
        orphan_retries: workload.orphan_retries,
        keepalive: keepalive(workload.keepalive),
        user_timeout: workload.user_timeout.0,
        delayed_ack: workload.delayed_ack.0,
        time_wait: match group {
            ClientGroup::Client(index) => scenario.client_vm[index].effective_time_wait(),
            ClientGroup::Backend(index) => scenario.backend_vm[index].time_wait.0,
        },
    }
}

/// Returns the server side of a group of backend VMs.
pub(crate) fn server_tcp(group: &file::BackendVm) -> TcpParameters {
    TcpParameters {
        keepalive: keepalive(group.keepalive),
        delayed_ack: group.delayed_ack.0,
        time_wait: group.time_wait.0,
        ..TcpParameters::LINUX_SERVER
    }
}

/// Returns the full TCP of a group of VMs with workloads, if they have it.
pub(crate) fn client_stack(scenario: &Scenario, group: ClientGroup) -> Option<FullStack> {
    match group {
        ClientGroup::Client(index) => scenario.client_vm[index].full_tcp().map(full_stack),
        ClientGroup::Backend(index) => server_stack(&scenario.backend_vm[index]),
    }
}

/// Returns the full TCP of a group of backend VMs, if they have it.
pub(crate) fn server_stack(group: &file::BackendVm) -> Option<FullStack> {
    group.full_tcp().map(full_stack)
}

fn full_stack(full: file::FullTcp) -> FullStack {
    let bytes = |size: file::ByteSize| usize::try_from(size.0).unwrap_or(usize::MAX);
    FullStack {
        receive_buffer: bytes(full.receive_buffer),
        send_buffer: bytes(full.send_buffer),
        no_delay: full.no_delay,
    }
}

/// Returns how many connections a backend VM takes.
pub(crate) fn admission(group: &file::BackendVm) -> Admission {
    Admission {
        backlog: group.effective_backlog(),
        max_connections: group.max_connections.0,
        syn_cookies: group.has_syn_cookies(),
    }
}

fn keepalive(keepalive: file::Keepalive) -> Option<TcpKeepalive> {
    keepalive.0.map(|probing| TcpKeepalive {
        time: probing.time.0,
        interval: probing.interval.0,
        probes: probing.probes,
    })
}
