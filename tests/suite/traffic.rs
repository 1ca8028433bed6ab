//! Traffic that varies: distributions, and the files that hold them.

use std::fs;
use std::path::Path;

use crate::support::{SMALL, run, text};

/// A workload of `SMALL` with these keys.
fn workload(keys: &str) -> String {
    format!(
        "{SMALL}
[[workload]]
name = \"calls\"
client_vm = \"client\"
private_endpoint = \"endpoint\"
port = 443
rate = \"100/s\"
{keys}
"
    )
}

#[test]
fn a_file_beside_the_scenario_says_how_long_connections_are_held() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("held.toml");
    let keys = "hold = { file = \"holds.csv\" }\nclose = \"rst\"\nconnections = 1000";
    fs::write(&path, workload(keys)).unwrap();
    let open_at_20_s = |holds: &str| {
        fs::write(folder.path().join("holds.csv"), holds).unwrap();
        let file = path.to_str().unwrap();
        let output = run(&[
            "run",
            "--format",
            "json",
            "--quiet",
            file,
            "--set",
            "run.duration=20s",
        ]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        (
            summary["connections"]["established"].as_u64().unwrap(),
            summary["scenario_hash"].as_str().unwrap().to_owned(),
        )
    };
    let (open, hash) = open_at_20_s("value,weight\n1s,1\n1min,1\n");
    // Half of 1000, with a standard deviation of 16; four of them are allowed.
    assert!(open.abs_diff(500) < 64, "{open}");
    let (none, other) = open_at_20_s("1s\n");
    assert_eq!(none, 0);
    assert_ne!(hash, other, "the file is part of the scenario");
}

#[test]
fn a_scenario_from_standard_input_or_elsewhere_finds_no_file_outside_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let (inner, path) = (folder.path().join("inner"), Path::new("inner/held.toml"));
    fs::create_dir(&inner).unwrap();
    fs::write(folder.path().join("holds.csv"), "1s\n").unwrap();
    let path = folder.path().join(path);
    let told = |keys: &str| {
        fs::write(&path, workload(keys)).unwrap();
        let output = run(&["validate", path.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(2));
        text(&output.stderr)
    };
    let missing = told("hold = { file = \"holds.csv\" }");
    assert!(missing.contains("cannot read holds.csv: "), "{missing}");
    assert!(missing.contains("at: workload[0].hold.file"), "{missing}");
    let above = told("hold = { file = \"../holds.csv\" }");
    assert!(
        above.contains("beside the scenario, not above it"),
        "{above}"
    );
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("../holds.csv", inner.join("holds.csv")).unwrap();
        let linked = told("hold = { file = \"holds.csv\" }");
        assert!(linked.contains("a link leads out"), "{linked}");
    }
}
