//! The facts of docs/sources.md against the tests that there are.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{root, shipped};

fn document() -> String {
    fs::read_to_string(root().join("docs/sources.md")).unwrap()
}

/// Returns the ids of the facts that a primary document says plainly.
fn facts() -> BTreeSet<String> {
    let document = document();
    let mut facts = BTreeSet::new();
    let mut is_fact = false;
    for line in document.lines() {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        match cells[..] {
            ["id", "fact", "confidence"] => is_fact = true,
            [ids, _, confidence] if is_fact && !ids.starts_with("---") => {
                let mut letters = confidence.chars();
                let confidence = letters.next();
                let known = confidence.is_some_and(|letter| "HML".contains(letter));
                assert!(
                    known && !letters.next().is_some_and(char::is_alphabetic),
                    "{line}"
                );
                if confidence == Some('H') {
                    facts.extend(ids.split(", ").map(str::to_owned));
                }
            }
            _ => is_fact &= line.starts_with('|'),
        }
    }
    facts
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if !path.is_dir() {
            found.push(path);
        } else if !path.ends_with("target") {
            files(&path, found);
        }
    }
}

/// Returns what of a file is evidence: tests, shipped scenarios, and rules that a bad file breaks.
fn evidence(path: &Path) -> Option<String> {
    let content = || fs::read_to_string(path).unwrap();
    let inside = path.strip_prefix(root()).unwrap();
    let of_tests = inside.iter().any(|part| part == "tests") || inside.ends_with("tests.rs");
    match path.extension()?.to_str()? {
        "rs" if of_tests => Some(content()),
        "rs" => {
            let content = content();
            let (_, tests) = content.split_once("#[cfg(test)]\nmod tests {")?;
            Some(tests.to_owned())
        }
        "stderr" => {
            let content = content();
            let rules = content
                .lines()
                .filter(|line| line.trim_start().starts_with("= rule: "));
            Some(rules.collect::<Vec<_>>().join("\n"))
        }
        _ => None,
    }
}

/// Returns what a text is made of if ids are not taken apart.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let joins = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '#';
    text.split(move |c| !joins(c))
}

/// Tells whether a text has an id, or a function named after it: `a_1_` for A-1.
fn cites(text: &str, id: &str) -> bool {
    let name = format!("_{}_", id.to_lowercase().replace(['-', '#'], "_"));
    let mut functions = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("fn "));
    words(text).any(|word| word == id) || functions.any(|rest| format!("_{rest}").contains(&name))
}

/// Tells whether a word is built as the ids are.
fn is_id(word: &str) -> bool {
    let numbered = |rest: &str| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit());
    let lettered = |rest: &str| {
        let letters = rest.trim_end_matches(|c: char| c.is_ascii_digit());
        letters.len() > 1 && letters.bytes().all(|byte| byte.is_ascii_uppercase())
    };
    let numbers = ["PLS-", "PE-", "PP-", "DP-", "I#", "X"];
    let letters = ["D-", "AWS-", "GCP-"];
    let rest = |kind: &str| word.strip_prefix(kind);
    numbers.into_iter().filter_map(rest).any(numbered)
        || letters.into_iter().filter_map(rest).any(lettered)
}

#[test]
fn every_fact_of_high_confidence_is_cited_by_a_test_a_scenario_or_a_broken_rule() {
    let facts = facts();
    assert!(facts.len() > 45, "{facts:?}");
    let scenarios = shipped().into_iter();
    let mut texts: Vec<String> = scenarios
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let mut paths = Vec::new();
    for folder in ["crates", "tests"] {
        files(&root().join(folder), &mut paths);
    }
    texts.extend(paths.iter().filter_map(|path| evidence(path)));
    let uncited = facts
        .iter()
        .filter(|id| !texts.iter().any(|text| cites(text, id)));
    let uncited: Vec<_> = uncited.collect();
    assert!(uncited.is_empty(), "{uncited:?}");
}

#[test]
fn every_id_that_is_cited_stands_in_the_document() {
    let document = document();
    let known: BTreeSet<&str> = words(&document).collect();
    let mut paths = Vec::new();
    for folder in ["crates", "tests", "scenarios", "docs"] {
        files(&root().join(folder), &mut paths);
    }
    let endings = ["rs", "toml", "md"];
    paths.retain(|path| {
        endings
            .iter()
            .any(|ending| path.extension().is_some_and(|it| it == *ending))
    });
    for path in paths {
        let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
        let unknown = words(&text).find(|word| is_id(word) && !known.contains(word));
        assert_eq!(unknown, None, "{}", path.display());
    }
}
