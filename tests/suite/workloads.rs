//! Workload models through the whole path: everything counted once, and the truth told.

use plsim::{Report, WorkloadSummary};

use crate::support::{SMALL, simulate, workload};

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
            if let Some(pool) = &row.pool {
                let unserved = operations.failed_by_borrow_timeout + operations.failed_by_connect;
                assert_eq!(pool.borrows, pool.lent + pool.waiting + unserved);
            }
            for latency in [&row.connect_latency, &row.request_latency, &row.detection] {
                let counts = latency.buckets.iter().map(|(_, count)| count);
                assert_eq!(counts.sum::<u64>(), latency.count);
                assert!(latency.p50 <= latency.p90 && latency.p90 <= latency.p99);
                assert!(latency.p99 <= latency.p999 && latency.p999 <= latency.max);
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
        let expected = "client: 10 connections ended with their VM (client crashed at 5 s). Nobody was \
                        told: the NAT keeps their ports until they have been silent for 300 s.";
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

#[test]
fn what_is_in_flight_or_was_lost_otherwise_is_not_put_down_to_silence() {
    let told = |rest: &str| told(&format!("{}{}", four_minutes(), workload("db", rest)), &[]);
    // Each query takes 5 min, and many are under way at the end.
    assert_eq!(
        told("rate = \"1/s\"\nservice_time = \"5min\"\nkeepalive = \"60s\""),
        None
    );
    // A VM that crashes under clients that think for less than 4 min.
    let think = "model = \"closed-loop\"\nclients = 20\nthink_time = \"100s\"\n\
                 response_timeout = \"5s\"";
    let crash = "[[event]]\nat = \"1000s\"\naction = \"change-vm\"\nbackend_vm = \"vm\"\n\
                 state = \"crashed\"\n[[event]]\nat = \"1300s\"\naction = \"change-vm\"\n\
                 backend_vm = \"vm\"\nstate = \"running\"";
    assert_eq!(told(&format!("{think}\n{crash}")), None);
}

#[test]
fn a_tail_that_is_too_long_is_told_whatever_the_mean_is() {
    let think = "model = \"closed-loop\"\nclients = 50\nthink_time = { exponential = \"120s\" }\n\
                 response_timeout = \"10s\"\nretry = { max_attempts = 1 }";
    let text = format!("{}{}", four_minutes(), workload("db", think));
    let found = told(&text, &[]).unwrap();
    assert!(found.contains("it took up to 10 s to notice"), "{found}");
    assert!(
        found.contains("13.5 % of think_time is 240 s or more"),
        "{found}"
    );
    let (_, warnings) = plsim_scenario::parse("a.toml", text.as_bytes(), &[]).unwrap();
    let warned = warnings.iter().map(plsim_scenario::Diagnostic::message);
    let warned: Vec<&str> = warned
        .filter(|message| message.contains("13.5 %"))
        .collect();
    assert_eq!(warned.len(), 1, "{warned:?}");
    // One in 3 000 is no reason to warn.
    let short = text.replace("\"120s\"", "\"30s\"");
    let (_, warnings) = plsim_scenario::parse("a.toml", short.as_bytes(), &[]).unwrap();
    assert!(
        !warnings
            .iter()
            .any(|warning| warning.message().contains('%'))
    );
}

#[test]
fn a_pool_is_told_the_safe_max_idle_also_where_one_connection_died_otherwise() {
    let crash = "[[event]]\nat = \"110s\"\naction = \"change-vm\"\nbackend_vm = \"vm\"\n\
                 state = \"crashed\"\n[[event]]\nat = \"125s\"\naction = \"change-vm\"\n\
                 backend_vm = \"vm\"\nstate = \"running\"\n";
    let text = format!("{}{crash}", rarely_used(""));
    let found = told(&text, &[]).unwrap();
    assert!(
        found.contains("had not rested long enough for an idle timeout"),
        "{found}"
    );
    assert!(
        found.contains("the largest safe max_idle is 239 s"),
        "{found}"
    );
    // A crash alone names no idle timeout.
    let often = text.replace("rate = \"30/h\"", "rate = \"120/h\"");
    let found = told(&often, &[]).unwrap();
    assert!(
        found.ends_with("None had rested long enough for an idle timeout."),
        "{found}"
    );
}

#[test]
fn a_pool_in_front_of_a_closed_port_fails_as_its_client_does() {
    let refused = "[[event]]\nat = \"0s\"\naction = \"change-vm\"\nbackend_vm = \"vm\"\n\
                   state = \"not-listening\"\n";
    for (profile, connect) in [("go-net-http", 100), ("pgjdbc-hikari", 0)] {
        let keys = format!("profile = \"{profile}\"\nrate = \"1/s\"\nconnections = 100");
        let keys = keys.replace("\nconnections = 100", "\nstop = \"100s\"");
        let text = format!("{SMALL}{}{refused}", workload("calls", &keys));
        let report = simulate(&text, &["run.duration=200s"]);
        let row = row(&report, "calls");
        let operations = &row.operations;
        assert_eq!(operations.attempted, 100);
        assert_eq!(
            (operations.failed, operations.failed_by_connect),
            (100, connect)
        );
        if connect > 0 {
            assert_eq!(row.connections.attempted, 100, "no storm");
            assert!(row.connect_failure.max.as_nanos() < 10_000_000);
        }
    }
}

#[test]
fn times_are_measured_after_the_warm_up_and_counts_are_not() {
    let text = format!(
        "{SMALL}{}",
        workload("calls", "rate = \"10/s\"\nstop = \"20s\"")
    );
    let measured = |warm_up: &[&str]| {
        let report = simulate(&text, &[&["run.duration=30s"], warm_up].concat());
        let row = row(&report, "calls");
        assert_eq!(row.responses, 200);
        (row.request_latency.count, row.connect_latency.count)
    };
    assert_eq!(measured(&[]), (200, 200));
    // The connection that starts at 5 s itself is measured.
    assert_eq!(measured(&["run.warm_up=5s"]), (150, 150));
}

/// Each example of the page, as a workload of its own.
fn examples() -> Vec<String> {
    let page = std::fs::read_to_string(crate::support::root().join("docs/workloads.md")).unwrap();
    let blocks = page.split("```toml\n").skip(1);
    blocks
        .map(|block| block.split("```").next().unwrap().to_owned())
        .collect()
}

#[test]
fn the_page_has_an_example_of_each_model_that_runs() {
    let examples = examples();
    let models = [
        "open-loop",
        "constant-concurrency",
        "closed-loop",
        "pool",
        "pub-sub",
        "udp-stream",
    ];
    assert_eq!(examples.len(), models.len());
    for (example, model) in examples.iter().zip(models) {
        let text = format!("{SMALL}{}", workload("example", example));
        let report = simulate(&text, &["run.duration=5min"]);
        let row = row(&report, "example");
        assert_eq!(row.model, model);
        assert!(row.connections.established_total > 0, "{model}");
        assert_eq!(
            (row.connections.failed, row.lost_by.total()),
            (0, 0),
            "{model}"
        );
    }
}
