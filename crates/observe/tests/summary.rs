//! The summary's bytes, and the questions one may ask it.

use std::net::Ipv4Addr;

use plsim_observe::{
    BackendSummary, Connections, DestinationSummary, EndpointSummary, Expectation, FailedBy,
    Latency, LbSummary, Ledger, LinkSummary, LostBy, MembershipSummary, NatSummary, Number, Over,
    Path, QueryError, RefusalSummary, RequestFailedBy, SkewSummary, Summary, SynCookies, Test,
    Value, Verdict, WorkloadSummary,
};
use plsim_packet::Origin;
use plsim_sim::{LinkStats, Shards};
use plsim_types::{DropReason, Duration, Instant, LinkId, Protocol};

/// A run in which `vm-0` ran out of TCP ports.
fn summary() -> Summary {
    let connections = Connections {
        attempted: 10,
        connecting: 1,
        established: 4,
        closed: 1,
        idle_expired: 1,
        failed: 3,
        established_total: 6,
        ..Connections::default()
    };
    Summary {
        plsim_version: "0.1.0".to_owned(),
        scenario: "port-exhaustion".to_owned(),
        title: "How long do 64 512 ports last?".to_owned(),
        scenario_hash: "00ff".to_owned(),
        overrides: vec!["run.duration=70s".to_owned()],
        seed: u64::MAX,
        complete: true,
        virtual_time: Instant::from_nanos(70_000_000_000),
        shards: Shards {
            count: 3,
            look_ahead: Some(Duration::from_micros(100)),
        },
        ledger: ledger(),
        in_flight: 1,
        connections,
        nat: vec![
            nat("vm-0", Protocol::Tcp, 4),
            nat("vm-1", Protocol::Tcp, 3),
            {
                let udp = nat("vm-0", Protocol::Udp, 0);
                NatSummary {
                    first_exhausted: None,
                    bind_failures: 0,
                    gave_up: 0,
                    probes: 0,
                    ..udp
                }
            },
        ],
        refusals: vec![RefusalSummary {
            pls: "orders".to_owned(),
            backend: Some("vm-0".to_owned()),
            protocol: Protocol::Tcp,
            reason: DropReason::NatPortsExhausted,
            packets: 3,
            connections: 2,
            first: Instant::from_nanos(64_512_650_000),
        }],
        expectations: vec![Verdict {
            text: "connections.failed = 0".to_owned(),
            passed: false,
            actual: 3.into(),
            note: None,
            is_time: false,
        }],
        workloads: vec![workload(connections)],
        endpoints: vec![EndpointSummary {
            name: "pe-1".to_owned(),
            link_id: LinkId(553_665_985),
            state: "Approved".to_owned(),
            packets_in: 5,
            bytes_in: 220,
            packets_out: 4,
            bytes_out: 176,
        }],
        backends: vec![BackendSummary {
            name: "vm-0".to_owned(),
            flows: 4,
            peak: 5,
            bindings_peak: 6,
            new_flows: 6,
            frontend_flows: 2,
            frontend_lb_idle: 1,
            requests: 3,
            messages: 2,
            failed_by: RequestFailedBy {
                proxy_unexpected: 2,
                proxy_missing: 0,
                unreadable: 0,
            },
            time_wait: 7,
            waiting: 8,
            syn_queue_overflows: 9,
            syn_cookies: SynCookies {
                sent: 5,
                accepted: 4,
                failed: 1,
            },
            accept_queue_overflows: 10,
            proxy_headers: 6,
            proxy_withheld: 0,
            icmp_answers: 0,
            icmp_suppressed: 0,
        }],
        lb: LbSummary { flows: 0, syns: 6 },
        skew: vec![SkewSummary {
            pls: "orders".to_owned(),
            protocol: Protocol::Tcp,
            over: Over::Backends,
            shares: vec![("vm-0".to_owned(), 7), ("vm-1".to_owned(), 5)],
        }],
        links: vec![LinkSummary {
            link: "endpoint_edge",
            name: "endpoint".to_owned(),
            direction: "to-client",
            stats: LinkStats {
                packets: 40,
                link_down: 1,
                queue_full: 2,
                lost: 6,
                loss_runs: 3,
                duplicated: 4,
                corrupted: 5,
                reordered: 7,
                overtook: 8,
                queue_peak: 4_500,
            },
        }],
        membership_changes: vec![MembershipSummary {
            load_balancer: "balancer".to_owned(),
            backend_pool: "pool".to_owned(),
            at: Instant::from_nanos(5_000_000_000),
            cause: "removed",
            backend: Some("vm-1".to_owned()),
            rule: None,
            eligible: 1,
            kept: 3,
            reset: 0,
            moved: 2,
        }],
        ..Summary::default()
    }
}

fn ledger() -> Ledger {
    let mut ledger = Ledger::default();
    for _ in 0..7 {
        ledger.inject(Origin::Host);
    }
    ledger.inject(Origin::Nat);
    ledger.delivered = 4;
    for _ in 0..3 {
        ledger.drop(DropReason::NatPortsExhausted);
    }
    ledger
}

fn nat(backend: &str, protocol: Protocol, in_use: u32) -> NatSummary {
    NatSummary {
        pls: "orders".to_owned(),
        nat_ip: Ipv4Addr::new(10, 2, 0, 4),
        backend: backend.to_owned(),
        protocol,
        capacity: 64_512,
        spaces: 1,
        fullest: in_use + 1,
        fullest_peak: 5,
        fullest_backend_port: None,
        in_use,
        held: 1,
        peak: 5,
        peak_at: None,
        binds: 6,
        bind_failures: 2,
        gave_up: 0,
        probes: 0,
        expired_idle: 1,
        expired_half_closed: 0,
        expired_half_open: 0,
        lb_idle: 0,
        reused_held: 0,
        first_exhausted: Some(Instant::from_nanos(64_511_650_000)),
        held_when_exhausted: 0,
        first_expired: None,
        first_lb_idle: None,
        reserved: 0,
        reserved_peak: 0,
        doublings: 0,
        halvings: 0,
    }
}

fn workload(connections: Connections) -> WorkloadSummary {
    WorkloadSummary {
        name: "orders".to_owned(),
        model: "open-loop",
        protocol: "tcp",
        connections,
        closing: 2,
        failed_by: FailedBy {
            timeout: 2,
            refused: 1,
            client_ports: 0,
            unreachable: 0,
        },
        destinations: vec![DestinationSummary {
            name: "endpoint".to_owned(),
            attempted: 8,
            failed: 3,
        }],
        requests: 6,
        responses: 5,
        awaiting: 0,
        lost_by: LostBy {
            timeout: 1,
            ..LostBy::default()
        },
        syn_retransmissions: 4,
        retransmissions: 0,
        connect_latency: Latency {
            count: 6,
            min: Duration::from_nanos(1),
            mean: Duration::from_nanos(2),
            p50: Duration::from_nanos(3),
            p90: Duration::from_nanos(4),
            p99: Duration::from_nanos(4),
            p999: Duration::from_nanos(4),
            max: Duration::from_nanos(5),
            buckets: vec![(1, 4), (4, 1), (5, 1)],
        },
        ..WorkloadSummary::default()
    }
}

#[test]
fn the_summary_is_these_bytes() {
    let json = summary().to_json();
    assert_eq!(
        json,
        include_str!("golden/summary.json"),
        "readers rely on every key"
    );
}

#[test]
fn a_summary_of_nothing_has_every_key_and_empty_lists() {
    let value = Summary::default().to_value();
    for list in [
        "nat",
        "idle",
        "refusals",
        "expectations",
        "workloads",
        "endpoints",
        "backends",
    ] {
        assert_eq!(value[list], Value::Array(Vec::new()), "{list}");
    }
    assert_eq!(value["ledger"]["drops"].to_string(), "{}");
    assert_eq!(value["schema"], "plsim-summary/1");
}

fn ask(text: &str) -> Result<Value, QueryError> {
    Path::parse(text)?.evaluate(&summary().to_value())
}

#[test]
fn a_question_has_this_answer() {
    let answers: [(&str, Value); 31] = [
        ("backends[name=vm-0].failed_by.proxy_unexpected", 2.into()),
        ("sum(backends.proxy_headers)", 6.into()),
        ("connections.failed", 3.into()),
        ("scenario", "port-exhaustion".into()),
        ("complete", true.into()),
        ("seed", u64::MAX.into()),
        ("virtual_time_ns", 70_000_000_000_u64.into()),
        ("ledger.drops.nat-ports-exhausted", 3.into()),
        ("ledger.drops.vm-flow-limit", 0.into()),
        ("ledger.injected_by.nat", 1.into()),
        (
            "nat[nat_ip=10.2.0.4,backend=vm-0,protocol=tcp].peak",
            5.into(),
        ),
        (" nat[ backend = vm-1 , protocol=tcp ].in_use ", 3.into()),
        ("nat[backend=\"vm-1\"].backend", "vm-1".into()),
        (
            "nat[in_use=3].first_exhausted_ns",
            64_511_650_000_u64.into(),
        ),
        ("nat[protocol=udp].first_exhausted_ns", Value::Null),
        ("sum(nat.in_use)", 7.into()),
        ("max(nat[pls=orders].in_use)", 4.into()),
        ("min( nat[pls=orders].in_use )", 0.into()),
        ("min(nat.first_exhausted_ns)", 64_511_650_000_u64.into()),
        ("max(nat[protocol=udp].first_exhausted_ns)", Value::Null),
        ("count(nat)", 3.into()),
        ("count(nat[protocol=tcp])", 2.into()),
        ("count(nat.first_exhausted_ns)", 2.into()),
        ("refusals.packets", 3.into()),
        ("count(refusals[reason=vm-flow-limit])", 0.into()),
        ("sum(refusals[reason=vm-flow-limit].connections)", 0.into()),
        (
            "sum(refusals[reason=nat-ports-exhausted].connections)",
            2.into(),
        ),
        ("workloads[name=orders].connect_latency.p99_ns", 4.into()),
        ("workloads[name=orders].failed_by.timeout", 2.into()),
        ("endpoints[link_id=553665985].state", "Approved".into()),
        ("sum(connections.failed)", 3.into()),
    ];
    for (text, answer) in answers {
        assert_eq!(ask(text), Ok(answer), "{text}");
    }
}

#[test]
fn a_question_that_breaks_the_grammar_says_where_and_what_was_expected() {
    for (text, at, expected) in [
        ("", 0, "a key"),
        ("connections.", 12, "a key"),
        ("connections..failed", 12, "a key"),
        ("connections failed", 12, "`.` or the end"),
        ("nat[", 4, "a key"),
        ("nat[pls", 7, "`=`"),
        ("nat[pls=", 8, "`]`"),
        ("nat[pls=]", 8, "a value"),
        ("nat[pls=a,]", 10, "a key"),
        ("nat[pls=\"a].peak", 16, "a closing `\"`"),
        ("nat[pls=\"a\"b].peak", 11, "`,` or `]`"),
        ("sum(nat.peak", 12, "`.` or `)`"),
        ("sum(nat.peak) ]", 14, "the end"),
        (
            "mean(nat.peak)",
            0,
            "one of the functions sum, min, max, count",
        ),
        ("näme", 1, "`.` or the end"),
    ] {
        assert_eq!(
            Path::parse(text),
            Err(QueryError::Syntax { at, expected }),
            "{text}"
        );
    }
}

#[test]
fn a_question_without_an_answer_teaches() {
    for (text, lesson) in [
        (
            "connections.faild",
            "there is no `faild`; known: `attempted`, `established`, `failed`, `closed`, `reset`, \
             `idle_expired`, `timed_out`, `vm_down`, `connecting`, `established_total`",
        ),
        ("lb.size", "there is no `size`; known: `flows`, `syns`"),
        ("expectations", "`expectations` cannot be asked for"),
        ("count(overrides)", "`overrides` cannot be asked for"),
        (
            "lb",
            "`lb` is not a single value; add one of: `flows`, `syns`",
        ),
        (
            "sum(lb)",
            "`lb` is not a single value; add one of: `flows`, `syns`",
        ),
        (
            "lb[a=1].flows",
            "`lb` is no list, so no brackets may follow it",
        ),
        ("sum(nat.pls)", "`pls` is not a number"),
        (
            "nat[protocol=sctp].peak",
            "`sctp` is no protocol; known: `tcp`, `udp`",
        ),
        (
            "nat[pls=orders].peak",
            "3 of the 3 rows of `nat` match, but one must; wrap it in sum(), min(), max() or \
             count(), or pick rows by: `pls`, `nat_ip`, `backend`, `protocol`",
        ),
        (
            "sum(nat[backend=vm-7].peak)",
            "0 of the 3 rows of `nat` match; backend is one of `vm-0`, `vm-1`; pick rows by: \
             `pls`, `nat_ip`, `backend`, `protocol`",
        ),
        (
            "nat[backend=vm-1,protocol=udp].peak",
            "0 of the 3 rows of `nat` match; pick rows by: `pls`, `nat_ip`, `backend`, `protocol`",
        ),
    ] {
        assert_eq!(ask(text).unwrap_err().to_string(), lesson, "{text}");
    }
    let unknown = ask("schemas").unwrap_err().to_string();
    assert!(
        unknown.contains("`connections`") && !unknown.contains("expectations"),
        "{unknown}"
    );
    let typo = ask("sum(refusals[reason=nat-port-exhausted].packets)")
        .unwrap_err()
        .to_string();
    assert!(
        typo.starts_with("`nat-port-exhausted` is no reason; known: `no-route`"),
        "{typo}"
    );
    let typo = Path::parse("sum(refusals.conections)")
        .unwrap_err()
        .to_string();
    assert!(
        typo.starts_with("there is no `conections`"),
        "an empty list must not hide it: {typo}"
    );
    let typo = Path::parse("ledger.drops.nat-port-exhausted").unwrap_err();
    assert_eq!(typo.at(), Some(13));
}

#[test]
fn a_sum_beyond_64_bits_is_told() {
    let mut summary = summary();
    for nat in &mut summary.nat {
        nat.binds = u64::MAX;
    }
    let path = Path::parse("sum(nat.binds)").unwrap();
    assert_eq!(
        path.evaluate(&summary.to_value()),
        Err(QueryError::Overflow)
    );
}

fn judge(path: &str, test: Test, within: Option<Number>) -> Verdict {
    let path = Path::parse(path).expect("a question of the tests");
    let expectation = Expectation {
        path,
        test,
        within,
        at: None,
    };
    expectation.judge(&summary().to_value())
}

fn whole(number: u64) -> Number {
    Number::from(number)
}

fn float(number: f64) -> Number {
    Number::from_f64(number).expect("a finite number")
}

#[test]
fn an_expectation_holds_up_to_its_bounds() {
    let failed = "connections.failed";
    for (test, within, passed, text) in [
        (Test::Equals(3.into()), None, true, "connections.failed = 3"),
        (
            Test::Equals(Value::Number(float(3.0))),
            None,
            true,
            "connections.failed = 3.0",
        ),
        (
            Test::Equals(2.into()),
            None,
            false,
            "connections.failed = 2",
        ),
        (
            Test::Equals(2.into()),
            Some(whole(1)),
            true,
            "connections.failed = 2 within 1",
        ),
        (
            Test::Equals(4.into()),
            Some(whole(1)),
            true,
            "connections.failed = 4 within 1",
        ),
        (
            Test::Equals(5.into()),
            Some(whole(1)),
            false,
            "connections.failed = 5 within 1",
        ),
        (
            Test::Equals(4.into()),
            Some(float(0.5)),
            false,
            "connections.failed = 4 within 0.5",
        ),
        (
            Test::AtLeast(whole(3)),
            None,
            true,
            "connections.failed >= 3",
        ),
        (
            Test::AtLeast(whole(4)),
            None,
            false,
            "connections.failed >= 4",
        ),
        (
            Test::AtLeast(whole(4)),
            Some(whole(1)),
            true,
            "connections.failed >= 4 within 1",
        ),
        (
            Test::AtMost(whole(3)),
            None,
            true,
            "connections.failed <= 3",
        ),
        (
            Test::AtMost(float(2.5)),
            None,
            false,
            "connections.failed <= 2.5",
        ),
        (
            Test::Between(whole(1), whole(3)),
            None,
            true,
            "connections.failed between 1 and 3",
        ),
        (
            Test::Between(whole(4), whole(9)),
            None,
            false,
            "connections.failed between 4 and 9",
        ),
    ] {
        let verdict = judge(failed, test, within);
        assert_eq!((verdict.text.as_str(), verdict.passed), (text, passed));
        assert_eq!(verdict.actual, 3);
    }
}

#[test]
fn large_whole_numbers_are_compared_without_rounding() {
    assert!(!judge("seed", Test::AtMost(whole(u64::MAX - 1)), None).passed);
    assert!(judge("seed", Test::Equals(u64::MAX.into()), None).passed);
    assert!(!judge("seed", Test::Equals((u64::MAX - 1).into()), None).passed);
}

#[test]
fn texts_and_null_are_compared_and_another_kind_is_explained() {
    assert!(judge("complete", Test::Equals(true.into()), None).passed);
    assert!(judge("endpoints.state", Test::Equals("Approved".into()), None).passed);
    let exhausted = "nat[protocol=udp].first_exhausted_ns";
    assert!(judge(exhausted, Test::Equals(Value::Null), None).passed);
    let never = judge(exhausted, Test::AtLeast(whole(1)), None);
    assert!(!never.passed);
    assert_eq!(
        never.note.as_deref(),
        Some("the answer is null, but a number was expected")
    );
    let text = judge("connections.failed", Test::Equals("3".into()), None);
    assert!(!text.passed && text.note.is_some());
}

#[test]
fn an_expectation_without_an_answer_fails_and_says_why() {
    let verdict = judge("nat.peak", Test::AtLeast(whole(0)), None);
    assert!(!verdict.passed && verdict.actual.is_null());
    assert!(
        verdict
            .note
            .unwrap()
            .starts_with("3 of the 3 rows of `nat` match")
    );
}
