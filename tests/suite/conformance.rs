//! The table of the RFCs against the tests that there are.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::support::root;

/// The requirements that must have a row, in the words after "RFC ".
fn required() -> BTreeSet<String> {
    let numbered = [("4787", 14), ("5382", 10), ("5508", 11), ("6888", 15)];
    let numbered = numbered
        .into_iter()
        .flat_map(|(rfc, last)| (1..=last).map(move |number| format!("{rfc} REQ-{number}")));
    let algorithms = (1..=5).map(|number| format!("6056 algorithm {number}"));
    let sections = ["2", "2.1", "2.2", "3", "4", "5", "6", "7.1", "8", "9"];
    let sections = sections.into_iter().chain(["10", "11", "12"]);
    let sections = sections.map(|section| format!("7857 §{section}"));
    let others = [
        "4787 REQ-3a",
        "6146 §3.5.2.2",
        "6146 §3.5.2.3",
        "6146 §4",
        "7422",
        "7753",
        "1624",
        "3022 §4.1",
        "3022 §4.3",
        "768",
        "5961 §3.2",
        "5961 §4",
    ];
    let all = numbered.chain(algorithms).chain(sections);
    all.chain(others.map(str::to_owned)).collect()
}

struct Row {
    requirement: String,
    status: String,
    /// The last cell.
    evidence: String,
}

impl Row {
    fn holds(&self) -> bool {
        ["met", "partly"].contains(&self.status.as_str())
    }

    /// Returns how the name of a test of this requirement begins or goes on: `rfc4787_req5_`.
    fn mark(&self) -> String {
        let words = self.requirement.to_lowercase();
        let words = words.replace(['-', '§'], "").replace([' ', '.'], "_");
        format!("rfc{words}_")
    }

    /// Returns what stands in backquotes and begins as a test of an RFC does.
    fn tests(&self) -> impl Iterator<Item = &str> {
        let quoted = self.evidence.split('`').skip(1).step_by(2);
        quoted.filter(|word| is_test(word))
    }

    /// Returns the requirement this one is the same as.
    fn same_as(&self) -> Option<&str> {
        let (_, other) = self.evidence.rsplit_once("as RFC ")?;
        Some(other.trim_end_matches('.'))
    }
}

/// Tells whether a name is `rfc`, digits, and more.
fn is_test(name: &str) -> bool {
    let digits = name
        .strip_prefix("rfc")
        .and_then(|rest| rest.split_once('_'));
    digits
        .is_some_and(|(digits, _)| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}

fn document() -> String {
    fs::read_to_string(root().join("docs/rfc-conformance.md")).unwrap()
}

fn rows() -> BTreeMap<String, Row> {
    let mut rows = BTreeMap::new();
    for line in document().lines() {
        let Some(cells) = line.strip_prefix("| RFC ") else {
            continue;
        };
        let cells: Vec<&str> = cells.trim_end_matches(" |").split(" | ").collect();
        assert_eq!(cells.len(), 4, "{line}");
        let row = Row {
            requirement: cells[0].to_owned(),
            status: cells[2].to_owned(),
            evidence: cells[3].to_owned(),
        };
        let twice = rows.insert(row.requirement.clone(), row);
        assert!(twice.is_none(), "twice: {line}");
    }
    rows
}

/// Collects the functions named as tests of an RFC below a folder.
fn collect(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if !path.ends_with("target") {
                collect(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = fs::read_to_string(&path).unwrap();
            let functions = source
                .lines()
                .filter_map(|line| line.trim().strip_prefix("fn "));
            let names = functions.filter_map(|rest| rest.split(['(', '<']).next());
            found.extend(names.filter(|name| is_test(name)).map(str::to_owned));
        }
    }
}

fn tests() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for folder in ["crates", "tests"] {
        collect(&root().join(folder), &mut found);
    }
    found
}

#[test]
fn every_requirement_has_a_row_with_a_known_status_and_a_reason() {
    let rows = rows();
    let missing: Vec<_> = required()
        .into_iter()
        .filter(|requirement| !rows.contains_key(requirement))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    let others = ["broken on purpose", "not applicable", "not modelled"];
    for row in rows.values() {
        let known = row.holds() || others.contains(&row.status.as_str());
        assert!(known, "{}: {}", row.requirement, row.status);
        assert!(!row.evidence.trim().is_empty(), "{}", row.requirement);
    }
}

#[test]
fn every_requirement_that_is_met_names_tests_that_exist_and_carry_its_name() {
    let (rows, tests) = (rows(), tests());
    for row in rows.values() {
        for test in row.tests() {
            assert!(tests.contains(test), "{}: {test}", row.requirement);
        }
        let proven = row.tests().any(|test| test.contains(&row.mark()));
        let same = row.same_as().and_then(|other| rows.get(other));
        let same = same.is_some_and(|other| {
            other.holds() || other.tests().any(|test| test.contains(&other.mark()))
        });
        assert!(
            !row.holds() || proven || same,
            "RFC {} is {} and has no test",
            row.requirement,
            row.status
        );
    }
}

#[test]
fn every_test_of_an_rfc_stands_in_the_table() {
    let document = document();
    let unnamed: Vec<_> = tests()
        .into_iter()
        .filter(|test| !document.contains(&format!("`{test}`")))
        .collect();
    assert!(unnamed.is_empty(), "{unnamed:#?}");
}
