//! The page about client profiles against the command.

use std::fs;

use crate::support::{SMALL, root, run, text};

/// Each example of the page, as a workload of its own.
fn examples() -> Vec<String> {
    let page = fs::read_to_string(root().join("docs/profiles.md")).unwrap();
    let blocks = page.split("```toml\n").skip(2);
    blocks
        .map(|block| block.split("```").next().unwrap().to_owned())
        .collect()
}

#[test]
fn every_example_of_the_page_runs_and_is_told_by_validate() {
    let examples = examples();
    assert_eq!(examples.len(), 10);
    let folder = tempfile::tempdir().unwrap();
    let page = fs::read_to_string(root().join("docs/profiles.md")).unwrap();
    for (number, example) in examples.iter().enumerate() {
        let path = folder.path().join(format!("example-{number}.toml"));
        let keys =
            "name = \"calls\"\nclient_vm = \"client\"\nprivate_endpoint = \"endpoint\"\nport = 443";
        fs::write(&path, format!("{SMALL}\n[[workload]]\n{keys}\n{example}")).unwrap();
        let profile = example.split('"').nth(1).unwrap();
        assert!(
            page.contains(&format!("\n| `{profile}` |")),
            "{profile} stands in the table"
        );
        let file = path.to_str().unwrap();
        let validated = run(&["validate", file]);
        let told = text(&validated.stdout);
        assert_eq!(
            validated.status.code(),
            Some(0),
            "{}",
            text(&validated.stderr)
        );
        let line = format!("workload calls: profile {profile} says ");
        assert!(told.contains(&line), "{told}");
        let output = run(&["run", "--quiet", "--format", "json", file]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(
            summary["connections"]["established_total"].as_u64() > Some(0),
            "{profile}"
        );
    }
}
