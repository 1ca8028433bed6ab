//! What goes wrong on links, through the whole path.

use plsim::{LinkStats, Summary};

use crate::support::{SMALL, simulate};
use crate::swarm::journey::FAULTS;

const STEADY: &str = r#"
[[workload]]
name = "steady"
client_vm = "client"
private_endpoint = "endpoint"
port = 443
rate = "50/s"
stop = "20s"
request_size = "5kB"
response_size = "5kB"
"#;

/// Everything at once, on every link.
const STORM: &str = r#"
[link.client_endpoint]
latency = "5ms"
gemodel = { p = 0.02, r = 0.4 }
jitter = "4ms"
jitter_may_reorder = true
duplicate = 0.05

[link.endpoint_edge]
loss = 0.02
corrupt = 0.02
reorder = { probability = 0.05, delay = "2ms" }
bandwidth = "20Mbps"
queue_limit = "20kB"
down = [["4s", "5s"], ["12s", "12.5s"]]

[link.edge_host]
jitter = "30us"
jitter_distribution = "normal"
duplicate = 0.05
corrupt = 0.01

[link.host_vm]
gemodel = { p = 0.01, r = 0.5, loss_in_bad = 0.8, loss_in_good = 0.005 }
reorder = { probability = 0.2, delay = "1ms", gap = 3 }
"#;

fn all(summary: &Summary) -> LinkStats {
    let mut sum = LinkStats::default();
    for row in &summary.links {
        sum.add(&row.stats);
    }
    sum
}

fn dropped(summary: &Summary, reasons: &[&str]) -> u64 {
    let drops = summary.ledger.drops();
    let drops = drops.filter(|(reason, _)| reasons.contains(&reason.name()));
    drops.map(|(_, packets)| packets).sum()
}

/// Says of one endpoint's link what an event does to it.
fn event(at: &str, action: &str, rest: &str) -> String {
    format!("\n[[event]]\nat = \"{at}\"\naction = \"{action}\"\n{rest}\n")
}

#[test]
fn tcp_gets_through_everything_at_once_in_good_order_or_says_that_it_did_not() {
    let text = format!("{SMALL}{STORM}{STEADY}");
    let mut closed = 0;
    for seed in 0..6 {
        let seed = format!("run.seed={seed}");
        let summary = simulate(&text, &["run.duration=900s", &seed]).summary;
        let row = &summary.workloads[0];
        let ends = &row.connections;
        assert_eq!((ends.established, ends.connecting), (0, 0), "{ends:?}");
        assert_eq!(
            ends.attempted,
            ends.closed + ends.reset + ends.timed_out + ends.idle_expired + ends.failed
        );
        // Who closed had its whole response; a server that read another request than was sent would
        // have found it unreadable, or answered in another size.
        let vm = &summary.backends[0];
        assert!(ends.closed <= row.responses && row.responses <= row.requests);
        assert!(row.responses <= vm.requests && vm.requests <= row.requests);
        assert_eq!(vm.failed_by.unreadable, 0);
        closed += ends.closed;
        let stats = all(&summary);
        assert_eq!(dropped(&summary, &["link-loss"]), stats.lost);
        assert_eq!(dropped(&summary, &["link-down"]), stats.link_down);
        assert_eq!(dropped(&summary, &["link-queue-full"]), stats.queue_full);
        assert_eq!(dropped(&summary, &FAULTS), stats.corrupted);
        assert_eq!(summary.ledger.injected_by.duplicate, stats.duplicated);
        let hit = [
            stats.lost,
            stats.link_down,
            stats.corrupted,
            stats.duplicated,
            stats.reordered,
            stats.overtook,
            stats.queue_peak,
        ];
        assert!(hit.into_iter().all(|count| count > 0), "{stats:?}");
        assert!(
            summary
                .nat
                .iter()
                .all(|space| space.in_use + space.held == 0)
        );
    }
    assert!(closed > 6 * 500, "{closed} of 6 000");
}

#[test]
fn two_runs_of_a_storm_are_one() {
    let text = format!("{SMALL}{STORM}{STEADY}");
    let digest = |seed: &str| simulate(&text, &[seed]).summary.digest.to_string();
    assert_eq!(digest("run.seed=3"), digest("run.seed=3"));
    assert_ne!(digest("run.seed=3"), digest("run.seed=4"));
}

#[test]
fn a_copy_of_every_packet_harms_nobody() {
    let text = format!("{SMALL}{STEADY}");
    let twice = ["link.host_vm.duplicate=1", "run.duration=60s"];
    let summary = simulate(&text, &twice).summary;
    let ends = &summary.workloads[0].connections;
    assert_eq!((ends.attempted, ends.closed), (1_000, 1_000));
    assert_eq!(summary.backends[0].requests, 1_000, "none was served twice");
    let stats = all(&summary);
    assert_eq!(stats.duplicated, stats.packets);
}

#[test]
fn an_outage_in_a_section_is_the_same_as_two_events() {
    let text = format!("{SMALL}{STEADY}");
    let section = simulate(&text, &["link.endpoint_edge.down=[[\"3s\", \"5s\"]]"]).summary;
    let link = "link = \"endpoint_edge\"";
    let events = event("3s", "link-down", link) + &event("5s", "link-up", link);
    let events = simulate(&format!("{text}{events}"), &[]).summary;
    assert_eq!(section.digest.to_string(), events.digest.to_string());
    assert_eq!(section.links, events.links);
    assert_eq!(section.outages, events.outages);
    let [outage] = section.outages.as_slice() else {
        panic!("{:?}", section.outages);
    };
    let named = (outage.backend.as_str(), outage.ailment.name());
    assert_eq!(named, ("endpoint_edge", "link-down"));
    let seconds = |at: plsim_types::Instant| at.as_nanos() / 1_000_000_000;
    assert_eq!(
        (seconds(outage.from), outage.until.map(seconds)),
        (3, Some(5))
    );
    // 100 connections start while it is down. Half of them try again, a second later, while it still
    // is; and so do the ones that had started in the first second once more, at 3 s.
    assert_eq!(all(&section).link_down, 150);
    let latency = &section.workloads[0].connect_latency;
    assert_eq!(latency.max.as_nanos(), 3_001_340_000);
}

#[test]
fn an_event_is_about_the_direction_and_the_machine_it_names() {
    let second = r#"
[[private_endpoint]]
name = "other"
subnet = "consumer/default"
private_link_service = "service"
"#;
    let other = STEADY
        .replace("steady", "other")
        .replace("\"endpoint\"", "\"other\"");
    let text = format!("{SMALL}{second}{STEADY}{other}");
    let calm = simulate(&text, &[]).summary;
    let target = "link = \"endpoint_edge\"\nprivate_endpoint = \"other\"\n";
    let settings = "direction = \"to-client\"\nloss = 0.3\nduplicate = 0.1\njitter = \"100us\"";
    let events = event("1s", "change-link", &format!("{target}{settings}"));
    let harmed = simulate(&format!("{text}{events}"), &[]).summary;
    let [row] = harmed.links.as_slice() else {
        panic!("{:?}", harmed.links);
    };
    let named = (row.link, row.name.as_str(), row.direction);
    assert_eq!(named, ("endpoint_edge", "other", "to-client"));
    assert!(row.stats.lost > 100 && row.stats.duplicated > 10);
    assert_eq!(
        harmed.workloads[0], calm.workloads[0],
        "nothing else changes"
    );
    assert_ne!(harmed.workloads[1], calm.workloads[1]);
}

#[test]
fn a_change_that_changes_nothing_changes_nothing() {
    let text = format!("{SMALL}{STEADY}");
    let plain = simulate(&text, &[]).summary;
    let changed = ["0s", "5s"].map(|at| {
        let same = event(at, "change-link", "link = \"host_vm\"\nlatency = \"20us\"");
        simulate(&format!("{text}{same}"), &[]).summary
    });
    assert_eq!(plain.digest.to_string(), changed[1].digest.to_string());
    assert_eq!((plain.links.len(), changed[1].links.len()), (0, 2));
    assert_eq!(
        changed[0].links, changed[1].links,
        "counted from the beginning on"
    );
}

#[test]
fn jitter_without_reordering_keeps_the_order_of_every_link() {
    let text = format!("{SMALL}{STEADY}");
    let overtook = |jitter: &[&str]| all(&simulate(&text, jitter).summary).overtook;
    let fifo = ["link.endpoint_edge.jitter=400us"];
    assert_eq!(overtook(&fifo), 0);
    assert!(overtook(&[fifo[0], "link.endpoint_edge.jitter_may_reorder=true"]) > 100);
}
