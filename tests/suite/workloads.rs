//! Workload models through the whole path: everything counted once, and the truth told.

use plsim::{Report, WorkloadSummary};

use crate::support::{SMALL, simulate};

fn workload(name: &str, rest: &str) -> String {
    format!(
        "[[workload]]\nname = \"{name}\"\nclient_vm = \"client\"\nprivate_endpoint = \"endpoint\"\n\
         port = 443\n{rest}\n"
    )
}

/// One workload of each model, all at once.
fn every_model() -> String {
    let several = "requests = 3\ninterval = \"2s\"\nresponse_timeout = \"1s\"\nclose = \"server\"";
    let held = "model = \"constant-concurrency\"\nconnections = 20\nhold = \"3s\"\nclose = \"rst\"";
    let closed = "model = \"closed-loop\"\nclients = 20\nthink_time = \"1s\"\nresponse_timeout = \"500ms\"\n\
                  connect_timeout = \"1s\"\nretry = { max_attempts = 3 }\nkeep_connection = false";
    let pool = "model = \"pool\"\nrate = \"20/s\"\nresponse_timeout = \"1s\"\nservice_time = \"200ms\"\n\
                pool = { size = 4, min_idle = 2, validation = true, validate_after_idle = \"100ms\", \
                validation_timeout = \"500ms\", borrow_timeout = \"1s\", max_lifetime = \"5s\" }";
    let news = "model = \"pub-sub\"\nconnections = 10\ninterval = \"1s\"\nkeepalive = \"3s\"";
    let own = "model = \"pub-sub\"\npublisher = \"client\"\nconnections = 10\ninterval = \"1s\"";
    let udp = "model = \"closed-loop\"\nprotocol = \"udp\"\nclients = 10\nthink_time = \"1s\"\n\
               response_timeout = \"500ms\"\nresponse_size = \"100B\"";
    let stream = "model = \"udp-stream\"\nprotocol = \"udp\"\nconnections = 5\nrate = \"1/s\"\n\
                  interval = \"20ms\"\nhold = \"10s\"\necho = true";
    let models = [
        ("several", &format!("rate = \"10/s\"\n{several}")),
        ("held", &held.to_owned()),
        ("closed", &closed.to_owned()),
        ("pool", &pool.to_owned()),
        ("news", &news.to_owned()),
        ("own", &own.to_owned()),
        ("udp", &udp.to_owned()),
        ("stream", &stream.to_owned()),
    ];
    let texts = models.iter().map(|(name, rest)| workload(name, rest));
    format!("{SMALL}{}", texts.collect::<String>())
}

fn row<'a>(report: &'a Report, name: &str) -> &'a WorkloadSummary {
    let mut rows = report.summary.workloads.iter();
    rows.find(|row| row.name == name).unwrap()
}

#[test]
fn connections_requests_operations_and_borrows_are_each_in_one_place() {
    for loss in ["0.0", "0.05"] {
        let loss = format!("link.endpoint_edge.loss={loss}");
        let report = simulate(&every_model(), &[&loss]);
        for row in &report.summary.workloads {
            assert!(row.connections.is_partition(), "{row:?}");
            let [only] = &row.destinations[..] else {
                panic!("one destination: {row:?}")
            };
            let all = (row.connections.attempted, row.connections.failed);
            assert_eq!((only.attempted, only.failed), all, "{row:?}");
            let answered = row.responses + row.awaiting + row.lost_by.total();
            assert_eq!(row.requests, answered, "{row:?}");
            assert!(row.detection.count >= row.lost_by.total(), "{row:?}");
            assert_eq!(row.request_latency.count, row.responses);
            let operations = &row.operations;
            assert_eq!(
                operations.attempted,
                operations.succeeded + operations.failed + operations.pending
            );
            assert_eq!(
                operations.failed,
                operations.failed_by_connect
                    + operations.failed_by_reset
                    + operations.failed_by_timeout
                    + operations.failed_by_borrow_timeout
            );
            if let Some(pool) = row.pool {
                let given_up = operations.failed_by_borrow_timeout;
                assert_eq!(pool.borrows, pool.lent + pool.waiting + given_up);
            }
        }
        assert!(row(&report, "closed").operations.succeeded > 100);
        assert!(row(&report, "pool").operations.succeeded > 100);
        assert!(row(&report, "news").messages > 100);
        assert!(row(&report, "stream").packets_echoed > 1_000);
    }
}

#[test]
fn connections_go_to_the_destinations_by_their_skew() {
    let endpoint = SMALL.split("[[private_endpoint]]").nth(1).unwrap();
    let endpoint = endpoint.split("\n\n").next().unwrap();
    let second = endpoint.replace("\"endpoint\"", "\"second\"");
    let second = second.replace("10.1.0.10", "10.1.0.11");
    let own = "[[workload]]\nname = \"w\"\nclient_vm = \"client\"\nport = 443\n\
               private_endpoints = [\"endpoint\", \"second\"]\narrival = \"at-once\"\n\
               connections_per_vm = 500\n";
    let text = format!("{SMALL}[[private_endpoint]]{second}\n\n{own}")
        .replace("ip_address = \"10.1.0.4\"", "count = 2");
    let attempted = |skew: &str| {
        let skew = format!("workload.w.skew={skew}");
        let report = simulate(&text, &[&skew]);
        let row = row(&report, "w");
        assert_eq!(row.connections.closed, 1_000, "500 for each of two VMs");
        // What the endpoints saw agrees with what the clients say.
        let seen = report.summary.endpoints.iter().map(|row| row.packets_in);
        let counts: Vec<u64> = row.destinations.iter().map(|row| row.attempted).collect();
        for (packets, count) in seen.zip(&counts) {
            assert_eq!(packets % 5, 0, "SYN, ACK, request, ACK, FIN");
            assert!(packets / 5 == *count, "{packets} of {count} connections");
        }
        counts
    };
    assert_eq!(attempted("{ weights = [0, 1] }"), [0, 1_000]);
    let even = attempted("uniform");
    let zipf = attempted("{ zipf = { exponent = 1 } }");
    // Four standard deviations of chance.
    assert!(even[0].abs_diff(500) <= 63, "{even:?}");
    assert!(zipf[0].abs_diff(667) <= 60, "{zipf:?}");
}

#[test]
fn a_client_vm_that_crashes_leaves_its_ports_in_use() {
    let held = "model = \"constant-concurrency\"\nconnections = 10\nhold = \"1h\"";
    let event = |at, state| {
        format!(
            "[[event]]\nat = \"{at}s\"\naction = \"change-vm\"\nclient_vm = \"client\"\n\
             state = \"{state}\"\n"
        )
    };
    let own = workload("held", held);
    for (state, in_use) in [("crashed", 20), ("stopped", 10)] {
        let events = event(5, state) + &event(10, "running");
        let report = simulate(&format!("{SMALL}{own}{events}"), &[]);
        let row = row(&report, "held");
        let ends = &row.connections;
        assert_eq!((ends.vm_down, ends.established, ends.failed), (10, 10, 0));
        assert!(ends.is_partition());
        let nat = &report.summary.nat[0];
        // A port that saw a reset has rested for 16 s, and is free again.
        assert_eq!((nat.in_use, nat.held), (in_use, 0), "{state}");
        let findings = &report.summary.findings;
        let told = findings
            .iter()
            .find(|found| found.what.starts_with("client: "));
        let expected = "client: 10 connections ended with their VM, which crashed (client at 5 s). Nobody \
                        was told: the NAT keeps their ports until they have been silent for up to 300 s.";
        match state {
            "crashed" => assert_eq!(told.unwrap().what, expected),
            _ => assert_eq!(told, None),
        }
    }
}

#[test]
fn the_order_of_subscriptions_in_a_file_does_not_show() {
    let subscribers = "model = \"pub-sub\"\nconnections = 2\n";
    let one = workload("a", &format!("{subscribers}interval = \"1s\""));
    // Not at the same instant: there the order of the file decides who gets which port.
    let two = format!("{subscribers}interval = \"2s\"\nstart = \"500ms\"");
    let two = workload("b", &two);
    let digest = |text: String| simulate(&text, &[]).summary.digest.to_string();
    assert_eq!(
        digest(format!("{SMALL}{one}{two}")),
        digest(format!("{SMALL}{two}{one}"))
    );
}

/// The small service with a rule that drops flows after 240 s.
fn four_minutes() -> String {
    SMALL.replace("idle_timeout = \"30min\"", "idle_timeout = \"4min\"")
}

/// A pool of three connections, each used every 6 min, in a run of an hour.
fn rarely_used(pool: &str) -> String {
    let rest = format!(
        "model = \"pool\"\nrate = \"30/h\"\nresponse_timeout = \"10s\"\n\
         pool = {{ size = 3, min_idle = 3, order = \"fifo\"{pool} }}"
    );
    format!("{}{}", four_minutes(), workload("db", &rest))
}

fn told(text: &str, overrides: &[&str]) -> Option<String> {
    let duration = ["run.duration=1h"];
    let all: Vec<&str> = duration.iter().chain(overrides).copied().collect();
    let findings = simulate(text, &all).summary.findings;
    findings
        .into_iter()
        .map(|finding| finding.what)
        .find(|what| what.starts_with("db: "))
}

#[test]
fn the_safe_max_idle_is_told_with_the_timer_that_binds() {
    let untested = rarely_used("");
    let found = told(&untested, &[]).unwrap();
    assert!(found.contains("of borrows hit a dead socket"), "{found}");
    assert!(found.contains("requests, which failed"), "{found}");
    let rule = "the largest safe max_idle is 239 s because the load-balancing rule's idle timeout of \
                240 s binds.";
    assert!(found.ends_with(rule), "{found}");
    let longer = "load_balancer.balancer.rule.tcp.idle_timeout=30min";
    let found = told(&untested, &[longer]).unwrap();
    let service = "the largest safe max_idle is 299 s because the Private Link Service's idle timeout \
                   of 300 s binds.";
    assert!(found.ends_with(service), "{found}");
    let tested = rarely_used(", validation = true, validation_timeout = \"1s\"");
    let found = told(&tested, &[]).unwrap();
    assert!(found.contains("; tests found all "), "{found}");
}

#[test]
fn a_pool_that_stays_below_the_ceiling_is_told_nothing() {
    for safe in [", keepalive_time = \"239s\"", ", max_lifetime = \"239s\""] {
        assert_eq!(told(&rarely_used(safe), &[]), None);
    }
    assert_eq!(
        told(&rarely_used(""), &["workload.db.keepalive=200s"]),
        None
    );
}

#[test]
fn long_queries_and_rare_messages_are_told_the_longest_silence() {
    let safe = "the largest safe silence is 239 s because the load-balancing rule's idle timeout of 240 s \
                binds.";
    let query = "arrival = \"at-once\"\nconnections = 2\nservice_time = \"300s\"";
    let think =
        "model = \"closed-loop\"\nclients = 2\nthink_time = \"300s\"\nresponse_timeout = \"5s\"";
    let messages =
        "model = \"pub-sub\"\nconnections = 2\ninterval = \"300s\"\npublisher = \"client\"";
    for rest in [query, think, messages] {
        let found = told(&format!("{}{}", four_minutes(), workload("db", rest)), &[]).unwrap();
        assert!(found.ends_with(safe), "{found}");
        let kept = format!("{rest}\nkeepalive = \"100s\"");
        assert_eq!(
            told(&format!("{}{}", four_minutes(), workload("db", &kept)), &[]),
            None
        );
    }
    let news = "model = \"pub-sub\"\nconnections = 2\ninterval = \"300s\"";
    let found = told(&format!("{}{}", four_minutes(), workload("db", news)), &[]).unwrap();
    assert!(found.contains("messages that cannot reach them"), "{found}");
}
