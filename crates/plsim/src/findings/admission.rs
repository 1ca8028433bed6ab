use plsim_observe::Finding;

use super::Reader;
use crate::numbers::grouped;

impl Reader<'_> {
    /// Backend VMs that had no room for connections in the queues of their ports, one finding for each
    /// group.
    pub(super) fn full_servers(&self) -> Vec<Finding> {
        let groups = self.scenario.backend_vm.iter();
        let full = groups.filter_map(|group| {
            let names: Vec<String> = group.machines().collect();
            let rows = || {
                let rows = self.summary.backends.iter();
                rows.filter(|row| names.contains(&row.name))
            };
            let accept: u64 = rows().map(|row| row.accept_queue_overflows).sum();
            let handshakes: u64 = rows().map(|row| row.syn_queue_overflows).sum();
            let waiting: u64 = rows().map(|row| row.waiting).sum();
            let cookies: u64 = rows().map(|row| row.syn_cookies.sent).sum();
            if accept + handshakes + cookies == 0 {
                return None;
            }
            let mut what = Vec::new();
            let mut help = Vec::new();
            if let (Some(limit), true) = (group.max_connections.0, accept > 0) {
                let (limit, accept) = (grouped(limit.into()), grouped(accept));
                what.push(format!(
                    "its application had {limit} connections open and its queue was full: {accept} SYNs \
                     and ACKs got no answer, and {} connections wait at the end",
                    grouped(waiting)
                ));
                help.push("Let the application accept more (max_connections), or add VMs.".to_owned());
                help.push("A longer backlog turns errors into waiting and serves nobody more.".to_owned());
            }
            if handshakes > 0 {
                let handshakes = grouped(handshakes);
                what.push(format!(
                    "{handshakes} SYNs found as many handshakes under way as its backlog allows"
                ));
                help.push("Raise backlog: bursts need room for their handshakes.".to_owned());
            }
            if cookies > 0 {
                let accepted: u64 = rows().map(|row| row.syn_cookies.accepted).sum();
                what.push(format!(
                    "{} SYNs found as many handshakes under way as its backlog allows, and got SYN cookies; \
                     {} of these made a connection",
                    grouped(cookies),
                    grouped(accepted)
                ));
                help.push(
                    "Raise backlog if these are customers; if they are a flood, each holds a NAT port as \
                     long as a connection does."
                        .to_owned(),
                );
            }
            Some(Finding {
                what: format!("{}: {}.", group.name, what.join("; ")),
                help,
            })
        });
        full.collect()
    }
}
