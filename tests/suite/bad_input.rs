//! Bad input at the command line: exit code 2, a message that teaches, nothing written.

use std::fs;
use std::path::PathBuf;

use crate::support::{SMALL, plsim, run, text};

/// Runs the command on a text; returns what it told. Nothing may be written or printed.
fn refused(content: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.toml");
    fs::write(&file, content).unwrap();
    let out = folder.path().join("out");
    let output = plsim()
        .args([
            "run",
            file.to_str().unwrap(),
            "--out",
            out.to_str().unwrap(),
        ])
        .output()
        .unwrap();
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(output.stdout.is_empty());
    assert!(!out.exists(), "no output directory may appear");
    assert!(
        !told.contains("panic") && !told.contains("internal error"),
        "{told}"
    );
    told
}

#[test]
fn an_expectation_that_is_nearly_right_is_told_what_it_means() {
    let expect = "\n[[expect]]\nvalue = \"connections.faild\"\nequals = 0\n";
    let told = refused(format!("{SMALL}{expect}").as_bytes());
    assert!(told.contains("did you mean `failed`?"), "{told}");
}

/// A changed copy of a good scenario, refused with a message that contains all the texts.
fn changed(from: &str, to: &str, expected: &[&str]) {
    assert!(SMALL.contains(from), "{from}");
    let told = refused(SMALL.replacen(from, to, 1).as_bytes());
    for part in expected {
        assert!(told.contains(part), "expected {part:?} in:\n{told}");
    }
    assert!(
        told.contains("bad.toml:"),
        "file, line and column belong to it:\n{told}"
    );
}

#[test]
fn several_problems_are_told_at_once() {
    let broken = SMALL
        .replacen("duration = \"30s\"", "duration = \"-30s\"", 1)
        .replacen("ip_address = \"10.1.0.4\"", "ip_adress = \"10.1.0.4\"", 1)
        .replacen("10.2.0.10", "10.9.0.10", 1);
    let told = refused(broken.as_bytes());
    assert!(
        told.contains("ip_adress") && told.contains("ip_address"),
        "{told}"
    );
    assert!(told.matches("bad.toml:").count() >= 2, "{told}");
}

#[test]
fn numbers_out_of_range_are_refused() {
    for duration in [
        "\"nan\"",
        "\"-1s\"",
        "\"inf\"",
        "\"1e999s\"",
        "\"0s\"",
        "nan",
        "inf",
        "-5",
        "30",
    ] {
        changed(
            "duration = \"30s\"",
            &format!("duration = {duration}"),
            &["duration"],
        );
    }
    changed(
        "duration = \"30s\"",
        "duration = \"99999999999999999999s\"",
        &["duration"],
    );
    changed(
        "frontend_port = 443",
        "frontend_port = 65536",
        &["frontend_port"],
    );
    changed(
        "frontend_port = 443",
        "frontend_port = 0",
        &["frontend_port"],
    );
    changed(
        "duration = \"30s\"",
        "duration = \"30s\"\nseed = -1",
        &["seed"],
    );
    changed(
        "duration = \"30s\"",
        "duration = \"30s\"\nseed = 18446744073709551616",
        &["seed"],
    );
}

#[test]
fn nat_ips_follow_azures_rules() {
    let nat_ips = "nat_ips = [\"10.2.0.10\"]";
    changed(nat_ips, "nat_ips = []", &["nat_ips"]);
    let nine: Vec<String> = (10..19).map(|last| format!("\"10.2.0.{last}\"")).collect();
    changed(nat_ips, &format!("nat_ips = [{}]", nine.join(", ")), &["8"]);
    changed(
        nat_ips,
        "nat_ips = [\"10.2.5.10\"]",
        &["10.2.5.10", "10.2.0.0/24"],
    );
    changed(
        nat_ips,
        "nat_ips = [\"10.2.0.3\"]",
        &["10.2.0.3", "reserve"],
    );
    changed(
        nat_ips,
        "nat_ips = [\"10.2.0.10\", \"10.2.0.10\"]",
        &["10.2.0.10"],
    );
    changed(nat_ips, "nat_ips = [\"fd00::1\"]", &["IPv4 only"]);
    changed(
        "private_link_service_network_policies = \"Disabled\"",
        "",
        &["Disabled"],
    );
}

#[test]
fn prefixes_and_addresses_are_checked() {
    changed("10.1.0.0/24", "10.1.0.1/24", &["10.1.0.0/24"]);
    changed("10.1.0.0/24", "10.1.0.0/33", &["prefix"]);
    changed("10.1.0.0/24", "10.7.0.0/24", &["10.7.0.0/24"]);
    changed(
        "ip_address = \"10.1.0.4\"",
        "ip_address = \"010.1.0.4\"",
        &["ip_address"],
    );
    changed(
        "ip_address = \"10.1.0.4\"",
        "ip_address = \"10.1.0.10\"",
        &["10.1.0.10"],
    );
}

#[test]
fn unknown_names_get_a_suggestion() {
    changed("\"consumer/default\"", "\"consumr/default\"", &["consumer"]);
    changed(
        "private_link_service = \"service\"",
        "private_link_service = \"servce\"",
        &["service"],
    );
    changed(
        "backend_pool = \"pool\"",
        "backend_pool = \"pol\"",
        &["pool"],
    );
    changed("protocol = \"udp\"", "protocol = \"udq\"", &["udp"]);
    changed("protocol = \"udp\"", "protocol = \"icmp\"", &["tcp"]);
}

#[test]
fn what_is_not_modelled_yet_is_refused_and_not_ignored() {
    for key in [
        "disable_outbound_snat = true",
        "tcp_tracking = \"strict\"",
        "load_distribution = \"SourceIP\"",
    ] {
        let name = key.split(' ').next().unwrap();
        changed(
            "backend_port = 8443",
            &format!("backend_port = 8443\n{key}"),
            &[name],
        );
    }
    changed(
        "nat_ips = ",
        "visibility = [\"*\"]\nnat_ips = ",
        &["visibility"],
    );
}

#[test]
fn an_expectation_about_nothing_is_refused_before_the_run() {
    let with = |value: &str| {
        refused(format!("{SMALL}\n[[expect]]\nvalue = \"{value}\"\nequals = 0\n").as_bytes())
    };
    let told = with("connections.faild");
    assert!(
        told.contains("failed") && told.contains("bad.toml:"),
        "{told}"
    );
    assert!(with("nat[backend=vn].peak").contains("vm"));
    assert!(with("nat[").contains("expected"));
}

#[test]
fn a_subnet_that_is_too_small_is_refused() {
    let told = refused(
        SMALL
            .replacen("ip_address = \"10.1.0.4\"", "count = 300", 1)
            .as_bytes(),
    );
    assert!(
        told.contains("251 usable addresses") && told.contains("10.1.0.0/24"),
        "{told}"
    );
}

#[test]
fn files_that_are_no_text_are_refused() {
    assert!(refused(b"title = \"\xff\xfe\"").contains("UTF-8"));
    assert!(refused(b"[run]\nduration = \"1s\"\0").contains("NUL"));
    let utf16: Vec<u8> = "[run]".encode_utf16().flat_map(u16::to_le_bytes).collect();
    refused(&utf16);
    refused(b"");
    refused(b"[run\n");
    refused(b"[run]\nduration = \"1s\"\nduration = \"2s\"\n");
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_are_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("windows.toml");
    fs::write(&file, format!("\u{feff}{}", SMALL.replace('\n', "\r\n"))).unwrap();
    let output = run(&["validate", file.to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn huge_and_deep_files_are_refused_at_once() {
    let started = std::process::Command::new("true").status();
    assert!(started.is_ok());
    let told = refused(&vec![b'#'; 20 << 20]);
    assert!(told.contains("16 MiB"), "{told}");
    refused(format!("a = {}", "[".repeat(100_000)).as_bytes());
    refused(format!("a = {}", "{a=".repeat(100_000)).as_bytes());
    refused(format!("[{}]", vec!["a"; 100_000].join(".")).as_bytes());
}

#[cfg(unix)]
#[test]
fn what_is_no_regular_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe.toml");
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    for path in [PathBuf::from("/dev/zero"), folder.path().to_owned(), pipe] {
        let output = run(&["run", path.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(2), "{}", path.display());
        assert!(!output.stderr.is_empty());
    }
}

#[test]
fn control_characters_of_the_input_do_not_reach_the_terminal() {
    let told = refused(b"[run]\nduration = \"1s\"\n\"\\u001b[31mred\" = 1\n");
    assert!(!told.contains('\u{1b}'), "{told:?}");
}
