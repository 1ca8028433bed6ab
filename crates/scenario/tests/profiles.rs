//! Client profiles: documented defaults for what a workload does not say (HIKARI, PGJDBC, NPGSQL,
//! PGBOUNCER, RDKAFKA, LIBPQ, DOTNET, GO, NODE, CURL).

use plsim_scenario::{Profile, Scenario, TimeSpan, WorkloadModel, parse};
use plsim_types::Duration;

const GOOD: &str = include_str!("good.toml");

fn scenario(keys: &str) -> Scenario {
    let text = GOOD.replace("close = \"abandon\"", keys);
    match parse("profiles.toml", text.as_bytes(), &[]) {
        Ok((scenario, _)) => scenario,
        Err(problems) => panic!("{}", problems.render(false)),
    }
}

fn secs(secs: u64) -> Option<TimeSpan> {
    Some(TimeSpan(Duration::from_secs(secs)))
}

#[test]
fn every_profile_fills_a_workload_that_says_nothing() {
    // Size, longest rest and longest life of pools.
    let pools = [
        ("npgsql", (100, secs(300), None)),
        ("pgjdbc-hikari", (10, secs(600), secs(1_800))),
        ("pgbouncer", (20, secs(600), secs(3_600))),
        ("dotnet-httpclient", (100_000, secs(60), None)),
        ("go-net-http", (100_000, secs(90), None)),
        ("node-http", (100_000, secs(5), None)),
    ];
    for (name, expected) in pools {
        let scenario = scenario(&format!("profile = \"{name}\""));
        let workload = &scenario.workload[0];
        assert_eq!(workload.model, WorkloadModel::Pool, "{name}");
        let pool = workload.pool.as_ref().unwrap();
        assert_eq!(
            (pool.size, pool.max_idle, pool.max_lifetime),
            expected,
            "{name}"
        );
    }
    let keepalive = |name: &str| {
        let probing = scenario(&format!("profile = \"{name}\"")).workload[0]
            .keepalive
            .0;
        probing.map(|probing| (probing.time.0, probing.interval.0))
    };
    let after = |time, interval| Some((Duration::from_secs(time), Duration::from_secs(interval)));
    assert_eq!(keepalive("libpq"), after(7_200, 75));
    assert_eq!(keepalive("pgbouncer"), after(7_200, 75));
    assert_eq!(keepalive("go-net-http"), after(30, 30));
    assert_eq!(keepalive("curl"), after(60, 60));
    for name in ["npgsql", "pgjdbc-hikari", "dotnet-httpclient", "node-http"] {
        assert_eq!(keepalive(name), None, "{name}");
    }
    let kafka = scenario("profile = \"librdkafka\"\nconnections = 3");
    let workload = &kafka.workload[0];
    assert_eq!(workload.model, WorkloadModel::ConstantConcurrency);
    assert_eq!(
        (workload.keepalive.0, workload.response_timeout),
        (None, secs(60))
    );
}

#[test]
fn pools_lend_and_fail_as_their_clients_do() {
    use plsim_scenario::{OnConnectFailure, PoolOrder};
    let (wait, fail) = (OnConnectFailure::Wait, OnConnectFailure::Fail);
    // The order, what a failed connect does, how long a request waits for a connection, and lives in all.
    let pools = [
        ("npgsql", PoolOrder::Fifo, fail, 15, None),
        ("pgjdbc-hikari", PoolOrder::Oldest, wait, 30, None),
        ("pgbouncer", PoolOrder::Lifo, wait, 120, None),
        ("dotnet-httpclient", PoolOrder::Lifo, fail, 0, secs(100)),
        ("go-net-http", PoolOrder::Lifo, fail, 0, None),
        ("node-http", PoolOrder::Lifo, fail, 0, None),
    ];
    for (name, order, on_connect_failure, borrow, total) in pools {
        let scenario = scenario(&format!("profile = \"{name}\""));
        let pool = scenario.workload[0].pool.as_ref().unwrap();
        assert_eq!(
            (pool.order, pool.on_connect_failure),
            (order, on_connect_failure),
            "{name}"
        );
        assert_eq!(
            (Some(pool.borrow_timeout), pool.total_timeout),
            (secs(borrow), total),
            "{name}"
        );
    }
    let hikari = |keys: &str| {
        let scenario = scenario(&format!("profile = \"pgjdbc-hikari\"\n{keys}"));
        scenario.workload[0].pool.as_ref().unwrap().keepalives()
    };
    assert_eq!(hikari(""), secs(120));
    assert_eq!(
        hikari("pool = { keepalive_time = \"0s\" }"),
        None,
        "as up to 6.0"
    );
}

#[test]
fn what_is_written_stays_and_the_rest_is_told() {
    let scenario = scenario(
        "profile = \"npgsql\"\nkeepalive = \"60s\"\npool = { size = 5, max_idle = \"200s\" }",
    );
    let workload = &scenario.workload[0];
    let pool = workload.pool.as_ref().unwrap();
    assert_eq!((pool.size, pool.max_idle), (5, secs(200)));
    assert_eq!(pool.borrow_timeout, TimeSpan(Duration::from_secs(15)));
    assert_eq!(workload.profile, Some(Profile::Npgsql));
    let filled = scenario.filled(0).unwrap();
    assert_eq!(filled.profile, "npgsql");
    assert_eq!(
        filled.keys,
        [
            "connect_timeout = \"15s\"",
            "model = \"pool\"",
            "pool.borrow_timeout = \"15s\"",
            "pool.min_idle = 0",
            "pool.on_connect_failure = \"fail\"",
            "pool.order = \"fifo\"",
            "response_timeout = \"30s\"",
        ]
    );
    assert!(scenario.filled(1).is_none());
}

#[test]
fn a_default_gives_way_to_what_is_written() {
    let pool = |keys: &str| {
        let mut scenario = scenario(&format!("profile = \"pgjdbc-hikari\"\npool = {{ {keys} }}"));
        scenario.workload.remove(0).pool.unwrap()
    };
    let short = pool("max_lifetime = \"239s\"");
    assert_eq!((short.max_idle, short.max_lifetime), (None, secs(239)));
    let long = pool("max_lifetime = \"20min\"");
    assert_eq!(long.max_idle, secs(600));
    let small = pool("size = 4");
    assert_eq!((small.size, small.min_idle), (4, 4));
    let large = pool("size = 40");
    assert_eq!((large.size, large.min_idle), (40, 10));
    let trusting = pool("validation = false, keepalive_time = \"2min\"");
    assert!(!trusting.validation && trusting.validate_after_idle.is_none());
    assert_eq!(
        trusting.validation_timeout,
        Some(TimeSpan(Duration::from_secs(5)))
    );
}

#[test]
fn another_model_takes_from_a_profile_what_concerns_it() {
    let scenario = scenario("profile = \"npgsql\"\nmodel = \"open-loop\"");
    let workload = &scenario.workload[0];
    assert_eq!(workload.model, WorkloadModel::OpenLoop);
    assert!(workload.pool.is_none());
    assert_eq!(workload.connect_timeout, secs(15));
}

#[test]
fn a_filled_scenario_is_written_as_what_it_means() {
    let first = scenario("profile = \"curl\"");
    let canonical = first.canonical();
    let (again, _) = parse("again.toml", canonical.as_bytes(), &[]).unwrap();
    assert_eq!(again.canonical(), canonical);
    assert!(
        again.filled(0).unwrap().keys.is_empty(),
        "all is written now"
    );
}

#[test]
fn a_problem_with_a_default_is_shown_in_the_profile() {
    let text = GOOD.replace("close = \"abandon\"", "profile = \"pgbouncer\"");
    let (_, warnings) = parse("profiles.toml", text.as_bytes(), &[]).unwrap();
    let told: String = warnings.iter().map(|told| told.render(false)).collect();
    assert!(told.contains("--> profile pgbouncer:6:17"), "{told}");
    assert!(told.contains("pool.max_idle = \"600s\""), "{told}");
    let text = GOOD.replace("close = \"abandon\"", "profile = \"ngpsql\"");
    let told = parse("a.toml", text.as_bytes(), &[])
        .unwrap_err()
        .render(false);
    assert!(told.contains("did you mean \"npgsql\"?"), "{told}");
}
