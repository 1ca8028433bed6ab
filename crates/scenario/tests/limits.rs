//! Hostile input: it is refused, quickly, without panic or stack overflow.

use plsim_scenario::{Diagnostic, Diagnostics, MAX_BYTES, ReadError, parse, read_file};
use proptest::prelude::{ProptestConfig, any, proptest};
use std::io::Write;

const GOOD: &str = include_str!("good.toml");

/// Parses and renders on a small stack.
fn refused(text: String) -> String {
    std::thread::Builder::new()
        .stack_size(512 << 10)
        .spawn(move || match parse("hostile.toml", text.as_bytes(), &[]) {
            Ok(_) => String::from("accepted"),
            Err(problems) => problems.render(true) + &problems.render(false),
        })
        .expect("a thread")
        .join()
        .expect("no panic and no stack overflow")
}

#[test]
fn the_good_file_is_good() {
    let (scenario, warnings) = parse("good.toml", GOOD.as_bytes(), &[]).unwrap();
    assert!(
        warnings.is_empty(),
        "{}",
        Diagnostics::new(warnings).render(false)
    );
    assert_eq!(scenario.workload[0].syn_retries, 6);
}

#[test]
fn deep_nesting_is_refused_on_a_small_stack() {
    for text in [
        "[".repeat(100_000),
        format!("a = {}", "[".repeat(100_000)),
        format!("a = {}{}", "[".repeat(100_000), "]".repeat(100_000)),
        format!("a = {}", "{ a = ".repeat(100_000)),
        format!("[{}a]", "a.".repeat(100_000)),
        format!("{}a = 1", "a.".repeat(100_000)),
        format!("a = {}", "\"".repeat(100_000)),
    ] {
        let message = refused(text);
        assert!(message.contains("error"), "{message}");
        assert!(message.len() < 200_000);
    }
}

#[test]
fn half_a_million_keys_are_refused_with_at_most_fifty_messages() {
    let keys: String = (0..500_000).map(|index| format!("k{index}=1\n")).collect();
    assert!(refused(format!("[run]\nduration = \"1s\"\n{keys}")).contains("50 errors"));
    let entries = "[[workload]]\n".repeat(200_000);
    let message = refused(format!("[run]\nduration = \"1s\"\n{entries}"));
    assert!(message.contains("at most 110000 entries"));
    assert!(refused("!\n".repeat(500_000)).contains("3 errors"));
}

#[test]
fn a_million_keys_are_refused_before_they_are_parsed() {
    for text in [
        (0..1_000_000)
            .map(|index| format!("k{index}=1\n"))
            .collect(),
        format!("a = [{}]", "1,".repeat(8_000_000)),
        "\n".repeat(16_000_000),
        "a.".repeat(8_000_000),
    ] {
        assert!(refused(text).contains("more than 600000 keys"));
    }
}

#[test]
fn files_above_16_mib_are_refused_before_they_are_read() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&vec![b'#'; 20 << 20]).unwrap();
    assert!(matches!(
        read_file(file.path()),
        Err(ReadError::TooLarge(_))
    ));
    file.as_file().set_len(MAX_BYTES).unwrap();
    assert_eq!(read_file(file.path()).unwrap().len() as u64, MAX_BYTES);
    assert!(refused("#".repeat(20 << 20)).contains("more than 16 MiB"));
}

#[test]
fn long_texts_are_cut_in_messages() {
    let message = refused(format!("[run]\nduration = \"{}\"\n", "9".repeat(1 << 20)));
    assert!(message.len() < 5_000);
    let message = refused(format!("[run]\n{} = 1\n", "k".repeat(1 << 20)));
    assert!(message.len() < 5_000);
}

#[test]
fn the_canonical_text_is_a_scenario_that_means_the_same() {
    let (scenario, _) = parse("good.toml", GOOD.as_bytes(), &[]).unwrap();
    let canonical = scenario.canonical();
    let (again, _) = parse("canonical.toml", canonical.as_bytes(), &[]).unwrap();
    assert_eq!(again.canonical(), canonical);
    let same = GOOD
        .replace("\"120s\"", "\"2min\"")
        .replace("7\n", "0x7 # seven\n");
    let (same, _) = parse("same.toml", same.as_bytes(), &[]).unwrap();
    assert_eq!(same.canonical(), canonical);
    let (other, _) = parse("good.toml", GOOD.as_bytes(), &["run.seed=8".to_owned()]).unwrap();
    assert_ne!(other.canonical(), canonical);
}

#[test]
fn a_later_problem_is_shown_at_the_path_s_place() {
    let overrides = ["expect[0].value=conections.failed".to_owned()];
    let (scenario, _) = parse("good.toml", GOOD.as_bytes(), &overrides).unwrap();
    let text = scenario
        .error_at("expect[0].value", "unknown value")
        .label("not in the summary")
        .render(false);
    assert!(
        text.contains("--> --set:1:17") && text.contains("not in the summary"),
        "{text}"
    );
    let text = scenario
        .warning_at("workload[0].keepalive", "not written")
        .render(false);
    assert!(
        text.starts_with("warning: not written") && text.contains("[[workload]]"),
        "{text}"
    );
}

/// Applies one change to the text: the kind and the place come from the test's random input.
fn mutated(text: &str, changes: &[(u8, usize, usize)]) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for (kind, at, other) in changes {
        let (at, other) = (at % bytes.len(), other % bytes.len());
        match kind % 7 {
            0 => bytes[at] = (other % 256) as u8,
            1 => drop(bytes.remove(at)),
            2 => bytes.insert(at, b"\"[]{}=.,-\n\0\xff9#"[other % 14]),
            3 => bytes.swap(at, other),
            4 => drop(bytes.drain(at.min(other)..at.max(other).min(at.min(other) + 60))),
            5 => {
                let end = (at + 60).min(bytes.len());
                let copy = bytes[at..end].to_vec();
                bytes.splice(other..other, copy);
            }
            _ => swap_lines(&mut bytes, at, other),
        }
        if bytes.is_empty() {
            bytes.push(b'\n');
        }
    }
    bytes
}

fn swap_lines(bytes: &mut Vec<u8>, one: usize, other: usize) {
    let mut lines: Vec<Vec<u8>> = bytes
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect();
    let count = lines.len();
    lines.swap(one % count, other % count);
    *bytes = lines.join(&b'\n');
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_mutation_of_a_good_file_makes_it_panic(
        changes in proptest::collection::vec((any::<u8>(), any::<usize>(), any::<usize>()), 1..6),
    ) {
        let bytes = mutated(GOOD, &changes);
        match parse("mutated.toml", &bytes, &[]) {
            Ok((scenario, _)) => {
                let canonical = scenario.canonical();
                let (again, _) = parse("again.toml", canonical.as_bytes(), &[]).unwrap();
                assert_eq!(again.canonical(), canonical);
            }
            Err(problems) => {
                let text = problems.render(false);
                let active = |c: char| c.is_control() && c != '\n';
                assert!(!text.contains(active) && problems.iter().count() <= 50);
            }
        }
    }

    #[test]
    fn no_override_makes_it_panic(text in "[a-z_.\\[\\]0-9]{0,30}(=.{0,20})?") {
        if let Err(problems) = parse("good.toml", GOOD.as_bytes(), &[text]) {
            assert!(!problems.render(false).is_empty());
        }
    }
}

#[test]
fn problems_that_say_the_same_are_told_together() {
    let (_, warnings) = parse("many.toml", many(60).as_bytes(), &[]).unwrap();
    let counts: Vec<usize> = warnings.iter().map(Diagnostic::count).collect();
    assert_eq!(counts, [1, 1, 58]);
    let told = warnings[2].render(false);
    assert!(
        told.contains(
            "= more like this: 57, from workload[3].service_time to workload[59].service_time"
        ),
        "{told}"
    );
    let (_, few) = parse("few.toml", many(4).as_bytes(), &[]).unwrap();
    let told = few[2].render(false);
    assert!(
        told.contains("= more like this: 1, at workload[3].service_time"),
        "{told}"
    );
    let wrong = many(60).replace("\"5min\"", "\"5\"");
    let told = refused(wrong);
    assert!(told.contains("60 errors"), "{told}");
}

/// A scenario with so many workloads whose server works for longer than the network waits.
fn many(count: usize) -> String {
    let (head, rest) = GOOD.split_once("[[workload]]").expect("a workload");
    let own = rest.split("[[").next().expect("its keys");
    let others = &rest[own.len()..];
    let workloads = (0..count).map(|index| {
        let own = own.replace("close = \"abandon\"", "service_time = \"5min\"");
        let (before, name) = own.split_once("name = \"").expect("a name");
        format!("[[workload]]{before}name = \"w{index}-{name}")
    });
    format!("{head}{}{others}", workloads.collect::<String>())
}
