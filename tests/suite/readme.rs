//! What the README shows is what the program prints.

use std::fs;

use crate::support::{root, run, text};

/// Returns the lines of the console block that begins with this command.
fn block(command: &str) -> String {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let start = format!("```console\n$ {command}\n");
    let (_, rest) = readme
        .split_once(&start)
        .unwrap_or_else(|| panic!("no block {command}"));
    rest.split_once("```").unwrap().0.to_owned()
}

#[test]
fn the_example_is_what_the_command_prints() {
    let output = run(&["run", "scenarios/port-exhaustion.toml"]);
    assert_eq!(
        text(&output.stdout),
        block("plsim run scenarios/port-exhaustion.toml")
    );
}

#[test]
fn the_mistakes_are_told_as_shown() {
    let good = fs::read_to_string(root().join("scenarios/quickstart.toml")).unwrap();
    let wrong = good
        .replace("hold = \"2s\"", "hold = \"2\"")
        .replace("rate = ", "rte = ");
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("mine.toml"), wrong).unwrap();
    let output = crate::support::plsim()
        .args(["validate", "mine.toml"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert_eq!(text(&output.stderr), block("plsim validate mine.toml"));
}

#[test]
fn every_file_that_the_documents_name_exists() {
    for document in [
        "README.md",
        "CONTRIBUTING.md",
        "docs/architecture.md",
        "docs/laboratory.md",
        "docs/outputs.md",
        "docs/sources.md",
    ] {
        let path = root().join(document);
        let content = fs::read_to_string(&path).unwrap();
        for link in content.split("](").skip(1) {
            let target = link.split(')').next().unwrap();
            let there = path.parent().unwrap().join(target);
            assert!(
                target.starts_with("http") || there.exists(),
                "{document}: {target}"
            );
        }
    }
}
