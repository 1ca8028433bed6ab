//! Distributions and the files that hold them.

use plsim_scenario::{Drawn, FileKind, Law, Scenario, parse_with};

const GOOD: &str = include_str!("good.toml");

fn scenario(keys: &str, file: &str) -> Scenario {
    let text = GOOD.replace("close = \"abandon\"", keys);
    let read = |name: &str| match name {
        "holds.csv" => Ok(file.as_bytes().to_vec()),
        _ => Err("there is no such file".to_owned()),
    };
    match parse_with("laws.toml", text.as_bytes(), &[], &read) {
        Ok((scenario, _)) => scenario,
        Err(problems) => panic!("{}", problems.render(false)),
    }
}

#[test]
fn every_distribution_is_written_as_it_was_read() {
    for law in [
        "\"2s\"",
        "{ uniform = [\"1s\", \"3s\"] }",
        "{ exponential = \"2s\" }",
        "{ log_normal = { median = \"2s\", sigma = 1 } }",
        "{ pareto = { minimum = \"1s\", shape = 1.5, maximum = \"3600s\" } }",
        "{ empirical = [[\"1s\", 3], [\"10s\", 1]] }",
        "{ file = \"holds.csv\" }",
    ] {
        let first = scenario(&format!("hold = {law}"), "1s,3\n10s,1\n");
        let canonical = first.canonical();
        let read = |_: &str| Ok(b"1s,3\n10s,1\n".to_vec());
        let again = parse_with("again.toml", canonical.as_bytes(), &[], &read);
        let (again, _) = again.unwrap_or_else(|problems| panic!("{}", problems.render(false)));
        assert_eq!(again.workload[0].hold, first.workload[0].hold);
        assert_eq!(again.canonical(), canonical, "{law}");
    }
}

#[test]
fn what_stands_in_a_file_is_part_of_the_scenario() {
    let canonical = |file| scenario("hold = { file = \"holds.csv\" }", file).canonical();
    let one = canonical("1s,3\n10s,1\n");
    assert_eq!(
        one,
        canonical("\u{feff}value,weight\r\n# measured\r\n10s,1\r\n\r\n1000ms , 3"),
        "the same values"
    );
    assert_ne!(one, canonical("1s,3\n10s,2\n"), "another weight");
    assert_ne!(one, canonical("1s,3\n11s,1\n"), "another value");
}

#[test]
fn rows_are_in_order_and_a_weight_is_one_unless_given() {
    let scenario = scenario("hold = { file = \"holds.csv\" }", "value\n10s\n1s,3\n");
    let Law::Drawn(Drawn::File(name)) = &scenario.workload[0].hold else {
        panic!("{:?}", scenario.workload[0].hold);
    };
    let second = 1_000_000_000;
    let rows = scenario.rows(FileKind::Spans, name);
    assert_eq!(rows, [(second, 3), (10 * second, 1)]);
}

#[test]
fn a_file_has_at_most_a_million_values() {
    let text = GOOD.replace("close = \"abandon\"", "hold = { file = \"holds.csv\" }");
    let read = |count: usize| move |_: &str| Ok("1s\n".repeat(count).into_bytes());
    assert!(parse_with("a.toml", text.as_bytes(), &[], &read(1_000_000)).is_ok());
    let problems = parse_with("a.toml", text.as_bytes(), &[], &read(1_000_001)).unwrap_err();
    assert!(problems.render(false).contains("more than 1000000 lines"));
    let problems = parse_with("a.toml", text.as_bytes(), &[], &read(6_000_000)).unwrap_err();
    assert!(problems.render(false).contains("more than 16 MiB"));
}
