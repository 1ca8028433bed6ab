//! The arrows between the rooms, the owners of outside packages, and the shape of files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::root;

/// What each crate may depend on among ours; an arrow that is not listed may not exist.
const ARROWS: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("packet", &["types"]),
    ("table", &["types"]),
    ("nat", &["types", "table"]),
    ("lb", &["types", "table"]),
    ("vnet", &["types", "table"]),
    ("sim", &["types", "packet"]),
    (
        "fabric",
        &["types", "packet", "table", "nat", "lb", "vnet", "sim"],
    ),
    ("host", &["types", "packet", "table", "sim"]),
    ("observe", &["types", "packet", "sim"]),
    ("lab", &["types", "nat", "sim", "observe"]),
    ("scenario", &["types"]),
    (
        "plsim",
        &[
            "types", "packet", "table", "nat", "lb", "vnet", "sim", "fabric", "host", "observe",
            "scenario",
        ],
    ),
    ("cli", &["types", "lab", "plsim", "scenario"]),
];

/// The one crate that may use each outside package; tests and benches are free.
const OWNERS: &[(&str, &str)] = &[
    ("annotate-snippets", "scenario"),
    ("anstyle", "cli"),
    ("clap", "cli"),
    ("comfy-table", "cli"),
    ("hashbrown", "table"),
    ("indicatif", "cli"),
    ("libc", "table"),
    ("libm", "sim"),
    ("pnet_packet", "packet"),
    ("rand", "sim"),
    ("rand_pcg", "sim"),
    ("crossbeam-channel", "sim"),
    ("schemars", "scenario"),
    ("serde", "scenario"),
    ("serde_json", "observe"),
    ("signal-hook", "cli"),
    ("smoltcp", "host"),
    ("strsim", "scenario"),
    ("terminal_size", "cli"),
    ("toml", "scenario"),
];

/// Crates that hold no clock, thread or file: they compile without the standard library.
const ENGINES: &[&str] = &["types", "packet", "table", "nat", "lb", "vnet"];

/// The longest source file, tests at its end not counted.
const MOST_LINES: usize = 600;

fn crates() -> Vec<String> {
    let entries = fs::read_dir(root().join("crates")).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn manifest(name: &str) -> toml::Table {
    let path = root().join("crates").join(name).join("Cargo.toml");
    fs::read_to_string(path).unwrap().parse().unwrap()
}

/// The packages of one dependency section.
fn section(manifest: &toml::Table, name: &str) -> BTreeSet<String> {
    let table = manifest.get(name).and_then(toml::Value::as_table);
    table
        .into_iter()
        .flat_map(|table| table.keys().cloned())
        .collect()
}

fn folder_of(package: &str) -> Option<&str> {
    if package == "plsim" {
        Some("plsim")
    } else {
        package.strip_prefix("plsim-")
    }
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[test]
fn every_crate_stands_in_the_plan() {
    let planned: BTreeSet<&str> = ARROWS.iter().map(|(name, _)| *name).collect();
    let found = crates();
    assert_eq!(planned, found.iter().map(String::as_str).collect());
}

#[test]
fn arrows_between_crates_point_one_way() {
    for (name, allowed) in ARROWS {
        for package in section(&manifest(name), "dependencies") {
            if let Some(target) = folder_of(&package) {
                assert!(
                    allowed.contains(&target),
                    "{name} must not depend on {target}"
                );
            }
        }
    }
    // The plan itself has no cycle: each crate depends on earlier ones only.
    let order: BTreeMap<&str, usize> = ARROWS
        .iter()
        .enumerate()
        .map(|(place, (name, _))| (*name, place))
        .collect();
    for (name, allowed) in ARROWS {
        for target in *allowed {
            assert!(order[target] < order[name], "{name} -> {target}");
        }
    }
}

#[test]
fn each_outside_package_has_one_owner() {
    for name in crates() {
        for package in section(&manifest(&name), "dependencies") {
            if folder_of(&package).is_some() {
                continue;
            }
            let owner = OWNERS.iter().find(|(outside, _)| *outside == package);
            let owner = owner.unwrap_or_else(|| panic!("{package} of {name} has no owner"));
            assert_eq!(owner.1, name, "{package} belongs to {}", owner.1);
        }
    }
}

#[test]
fn engines_are_no_std_and_only_the_table_may_be_unsafe() {
    for name in crates() {
        let folder = root().join("crates").join(&name).join("src");
        let top = ["lib.rs", "main.rs"].map(|file| folder.join(file));
        let top = top.iter().find(|file| file.exists()).unwrap();
        let text = fs::read_to_string(top).unwrap();
        if ENGINES.contains(&name.as_str()) {
            assert!(text.contains("#![no_std]"), "{name} must be no_std");
        }
        if name != "table" {
            assert!(
                text.contains("#![forbid(unsafe_code)]"),
                "{name} must forbid unsafe"
            );
        }
    }
}

#[test]
fn crates_say_what_they_are_what_they_are_not_and_what_always_holds() {
    for name in crates().iter().filter(|name| *name != "cli") {
        let text = fs::read_to_string(root().join(format!("crates/{name}/src/lib.rs"))).unwrap();
        for part in ["//! What it is", "//! What it is not", "//! # Invariants"] {
            assert!(text.contains(part), "{name} lacks {part:?}");
        }
    }
}

#[test]
fn source_files_stay_small() {
    for path in sources(&root().join("crates")) {
        if path.components().any(|part| part.as_os_str() == "tests") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let code = text
            .split("\n#[cfg(test)]\nmod ")
            .next()
            .unwrap_or_default();
        let lines = code.lines().count();
        assert!(lines <= MOST_LINES, "{} has {lines} lines", path.display());
    }
}

#[test]
fn nothing_switches_a_lint_off_for_good() {
    let allow = ["#[", "allow("].concat();
    for path in sources(root())
        .iter()
        .filter(|path| !path.starts_with(root().join("target")))
    {
        let text = fs::read_to_string(path).unwrap();
        assert!(
            !text.contains(&allow),
            "{} must use expect with a reason",
            path.display()
        );
    }
}
