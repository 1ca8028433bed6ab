//! What the messages look like: each file of `tests/bad` has its expected text beside it.
//!
//! A file may begin with `#! ` lines; each is one `--set` override. To accept new texts, run with
//! `PLSIM_BLESS=1`.

use plsim_scenario::{Diagnostics, parse, parse_with, read_beside};
use std::fs;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad")
}

fn bad_files() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder())
        .expect("tests/bad is there")
        .map(|entry| entry.expect("a readable entry").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .collect();
    files.sort();
    files
}

fn rendered(path: &Path) -> String {
    let bytes = fs::read(path).expect("a readable file");
    let name = path
        .file_name()
        .expect("a file has a name")
        .to_string_lossy();
    let overrides: Vec<String> = String::from_utf8_lossy(&bytes)
        .lines()
        .filter_map(|line| line.strip_prefix("#! "))
        .map(str::to_owned)
        .collect();
    let beside = |name: &str| read_beside(path, name);
    match parse_with(&name, &bytes, &overrides, &beside) {
        Err(problems) => problems.render(false),
        Ok((_, warnings)) => Diagnostics::new(warnings).render(false),
    }
}

#[test]
fn bad_files_give_exactly_the_expected_messages() {
    let files = bad_files();
    assert!(files.len() >= 25);
    let bless = std::env::var_os("PLSIM_BLESS").is_some();
    let mut wrong = Vec::new();
    for path in files {
        let (got, golden) = (rendered(&path), path.with_extension("stderr"));
        if bless {
            fs::write(&golden, &got).unwrap();
        } else if fs::read_to_string(&golden).unwrap_or_default() != got {
            wrong.push(format!("{}\n{got}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_expected_message_names_its_file_line_and_column() {
    for path in bad_files() {
        let text = rendered(&path);
        for place in text
            .lines()
            .filter(|line| line.trim_start().starts_with("--> "))
        {
            let mut parts = place.rsplitn(3, ':');
            assert!(parts.next().unwrap().parse::<usize>().is_ok(), "{place}");
            assert!(parts.next().unwrap().parse::<usize>().is_ok(), "{place}");
        }
        let problems = text.lines().filter(|line| {
            line.starts_with("error: ")
                || line.starts_with("error[")
                || line.starts_with("warning: ")
                || line.starts_with("warning[")
        });
        assert_eq!(
            problems.count(),
            text.matches("--> ").count(),
            "{}",
            path.display()
        );
    }
}

#[test]
fn expected_messages_hold_no_control_characters() {
    for path in bad_files() {
        let odd = |c: char| c.is_control() && c != '\n' || ('\u{202a}'..='\u{202e}').contains(&c);
        assert!(!rendered(&path).contains(odd), "{}", path.display());
    }
}

#[test]
fn colours_are_used_only_if_asked_for() {
    let problems = parse("a.toml", b"[run]\nduration = 5\n", &[]).unwrap_err();
    assert!(!problems.render(false).contains('\u{1b}'));
    assert!(problems.render(true).contains('\u{1b}'));
}
