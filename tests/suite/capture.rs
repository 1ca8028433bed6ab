//! Captures, as tshark reads them.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{SMALL, run, text};
use crate::wire::{Ip, inject};

/// Tells whether tshark is there; says so if it is not, and fails where it must be there.
fn has_tshark() -> bool {
    if Command::new("tshark")
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success())
    {
        return true;
    }
    assert!(
        std::env::var_os("PLSIM_REQUIRE_TSHARK").is_none(),
        "tshark is required here"
    );
    skipped("tshark is not installed");
    false
}

#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
fn skipped(why: &str) {
    eprintln!("SKIPPED: {why}");
}

fn tshark(file: &Path, arguments: &[&str]) -> String {
    let checks = [
        "ip.check_checksum:TRUE",
        "tcp.check_checksum:TRUE",
        "udp.check_checksum:TRUE",
    ];
    let mut command = Command::new("tshark");
    command
        .arg("-r")
        .arg(file)
        .args(checks.iter().flat_map(|check| ["-o", check]));
    let output = command.args(arguments).output().unwrap();
    let told = text(&output.stderr);
    assert!(output.status.success(), "{told}");
    // As root tshark mentions that on standard error; anything else would be about the file.
    let about_the_file = told.lines().find(|line| !line.contains("as user \"root\""));
    assert_eq!(
        about_the_file.filter(|line| !line.is_empty()),
        None,
        "{told}"
    );
    text(&output.stdout)
}

fn count(file: &Path, filter: &str) -> usize {
    tshark(file, &["-Y", filter]).lines().count()
}

/// Captures a run of a scenario text.
fn capture(folder: &Path, content: &str, options: &[&str]) -> PathBuf {
    let file = folder.join("scenario.toml");
    std::fs::write(&file, content).unwrap();
    let out = folder.join("out");
    let mut arguments = vec!["run", "--quiet", file.to_str().unwrap()];
    arguments.extend([
        "--out",
        out.to_str().unwrap(),
        "--set",
        "output.capture=true",
    ]);
    arguments.extend(options);
    let output = run(&arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    out.join("capture.pcapng")
}

const WORKLOADS: &str = r#"
[[workload]]
name = "tcp"
client_vm = "client"
private_endpoint = "endpoint"
port = 443
rate = "5/s"
connections = 20
response_size = "5kB"
hold = "1s"
keepalive = "300ms"

[[workload]]
name = "udp"
client_vm = "client"
private_endpoint = "endpoint"
port = 443
protocol = "udp"
rate = "5/s"
connections = 10
hold = "1s"
"#;

#[test]
fn tshark_finds_no_malformed_packet_and_no_bad_checksum() {
    if !has_tshark() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = capture(folder.path(), &format!("{SMALL}{WORKLOADS}"), &[]);
    let packets = tshark(&file, &[]).lines().count();
    assert!(packets > 500, "{packets}");
    assert_eq!(count(&file, "_ws.malformed"), 0);
    for bad in [
        "ip.checksum.status == 0",
        "tcp.checksum.status == 0",
        "udp.checksum.status == 0",
    ] {
        assert_eq!(count(&file, bad), 0, "{bad}");
    }
    // Checked, and good: not merely unchecked.
    assert_eq!(count(&file, "ip.checksum.status == 1"), packets);
    // TCP analysis looks at one interface at a time: a flow stands once per tap.
    for interface in ["endpoint nic", "vm nat", "vm nic"] {
        let one = folder.path().join("one.pcapng");
        let filter = format!("frame.interface_name == \"{interface}\"");
        tshark(&file, &["-Y", &filter, "-w", one.to_str().unwrap()]);
        assert!(count(&one, "tcp") > 50, "{interface}");
        let trouble = "tcp.analysis.retransmission or tcp.analysis.lost_segment or \
                       tcp.analysis.out_of_order or tcp.analysis.ack_lost_segment or \
                       tcp.analysis.duplicate_ack";
        let found = tshark(&one, &["-Y", trouble]);
        assert_eq!(found, "", "{interface}");
    }
}

#[test]
fn one_packet_has_one_id_at_every_tap() {
    if !has_tshark() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = capture(folder.path(), &format!("{SMALL}{WORKLOADS}"), &[]);
    let ids = tshark(
        &file,
        &[
            "-Y",
            "tcp.flags == 0x002",
            "-T",
            "fields",
            "-e",
            "frame.packet_id",
        ],
    );
    let first = ids.lines().next().unwrap();
    let filter = format!("frame.packet_id == {first}");
    let fields = [
        "-T",
        "fields",
        "-e",
        "frame.interface_name",
        "-e",
        "ip.src",
        "-e",
        "ip.dst",
    ];
    let mut arguments = vec!["-Y", &filter];
    arguments.extend(fields);
    let seen = tshark(&file, &arguments);
    let lines: Vec<&str> = seen.lines().collect();
    assert_eq!(
        lines,
        [
            "endpoint nic\t10.1.0.4\t10.1.0.10",
            "vm nat\t10.2.0.10\t10.2.1.5",
            "vm nic\t10.2.0.10\t10.2.1.5",
        ]
    );
}

#[test]
fn the_backend_sees_only_nat_ips() {
    if !has_tshark() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = capture(folder.path(), &format!("{SMALL}{WORKLOADS}"), &[]);
    // PLS-6: the NAT IP is the source of all that the backend receives and where all of it goes.
    let other = "frame.interface_name == \"vm nic\" and not ip.addr == 10.2.0.10";
    assert_eq!(count(&file, other), 0);
    assert!(count(&file, "frame.interface_name == \"vm nic\"") > 100);
}

#[test]
fn dropped_packets_stand_once_more_with_the_reason() {
    if !has_tshark() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let small = ["--set", "private_link_service.service.port_range=2000-2004"];
    let file = capture(folder.path(), &format!("{SMALL}{WORKLOADS}"), &small);
    let comments = tshark(
        &file,
        &[
            "-Y",
            "frame.interface_name == \"drops\"",
            "-T",
            "fields",
            "-e",
            "frame.comment",
        ],
    );
    assert!(comments.lines().count() >= 15, "{comments}");
    assert!(
        comments
            .lines()
            .all(|line| line.contains("nat-ports-exhausted")),
        "{comments}"
    );
}

#[test]
fn snap_length_cuts_what_is_kept_and_not_what_is_told() {
    if !has_tshark() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let cut = ["--set", "output.snap_length=64"];
    let file = capture(folder.path(), &format!("{SMALL}{WORKLOADS}"), &cut);
    assert_eq!(count(&file, "frame.cap_len > 64"), 0);
    assert!(count(&file, "frame.len > 1000") > 0);
}

/// Nothing but what a user would do: no option that keeps dissectors from guessing.
#[test]
fn captures_of_the_small_shipped_scenarios_open_cleanly() {
    if !has_tshark() {
        return;
    }
    for name in [
        "quickstart",
        "idle-timeout",
        "overlapping-consumers",
        "unapproved-endpoint",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let content = std::fs::read_to_string(crate::support::scenario(name)).unwrap();
        let file = capture(folder.path(), &content, &[]);
        let trouble = "_ws.malformed or ip.checksum.status == 0 or tcp.checksum.status == 0";
        assert_eq!(tshark(&file, &["-Y", trouble]), "", "{name}");
    }
}

/// What README.md and the scenario tell to type.
const PROXY: [&str; 4] = [
    "-o",
    "tcp.try_heuristic_first:TRUE",
    "--enable-heuristic",
    "proxy_tcp",
];

/// PP-1 and PP-2, as another program reads them: the header is the first that the VM gets of each
/// connection, with the client's address, the endpoint's and the LINKID.
#[test]
fn tshark_reads_the_proxy_headers() {
    if !has_tshark() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let content = std::fs::read_to_string(crate::support::scenario("proxy-protocol")).unwrap();
    let file = capture(folder.path(), &content, &[]);
    // As a user types it: two services send headers, and the client's address is in each.
    let clients = ["-Y", "proxy", "-T", "fields", "-e", "proxy.src.ipv4"];
    let clients = tshark(&file, &[&PROXY[..], &clients].concat());
    assert_eq!(clients, "10.1.0.4\n".repeat(200));
    // A flow stands once per tap, and tshark reads no header in what looks repeated.
    let one = folder.path().join("one.pcapng");
    let nic = "frame.interface_name == \"web-told nic\"";
    tshark(&file, &["-Y", nic, "-w", one.to_str().unwrap()]);
    let with = |arguments: &[&str]| tshark(&one, &[&PROXY[..], arguments].concat());
    let fields = [
        "proxy.src.ipv4",
        "proxy.dst.ipv4",
        "proxy.dstport",
        "proxy.v2.length",
        "tcp.payload",
    ];
    let mut arguments = vec!["-Y", "proxy and tcp.seq == 1", "-T", "fields"];
    arguments.extend(fields.iter().flat_map(|field| ["-e", field]));
    let headers = with(&arguments);
    assert_eq!(headers.lines().count(), 100);
    for line in headers.lines() {
        // Not every tshark takes the type-length-values apart: 0xEE, 5, 1, LINKID in little endian.
        let (fields, payload) = line.rsplit_once('\t').unwrap();
        assert_eq!(fields, "10.1.0.4\t10.1.0.10\t443\t20");
        assert_eq!(payload.len(), 72, "36 bytes and nothing else");
        assert!(payload.ends_with("01bbee000501c1450021"), "{payload}");
    }
    // One for each connection and nothing wrong, before and after the NAT.
    assert_eq!(with(&["-Y", "proxy"]).lines().count(), 100);
    let trouble = "_ws.malformed or proxy.bad_format or tcp.analysis.retransmission or \
                   tcp.analysis.lost_segment or tcp.analysis.out_of_order or \
                   tcp.analysis.ack_lost_segment or tcp.analysis.window_full";
    assert_eq!(with(&["-Y", trouble]), "");
    let trouble = "_ws.malformed or ip.checksum.status == 0 or tcp.checksum.status == 0";
    assert_eq!(tshark(&file, &["-Y", trouble]), "");
}

/// PP-7: of each VM of the gateway both ports are asked with a header that says LOCAL (0) and has no
/// addresses.
#[test]
fn tshark_reads_the_proxy_headers_of_health_probes() {
    if !has_tshark() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let content = std::fs::read_to_string(crate::support::scenario("real/aro-gateway")).unwrap();
    let short = ["--no-expect", "--set", "run.duration=1s"];
    let file = capture(folder.path(), &content, &short);
    let mut arguments = vec!["-Y", "proxy and ip.src == 168.63.129.16", "-T", "fields"];
    let fields = [
        "frame.interface_name",
        "tcp.dstport",
        "proxy.v2.cmd",
        "proxy.v2.length",
    ];
    arguments.extend(fields.iter().flat_map(|field| ["-e", field]));
    let headers = tshark(&file, &[&PROXY[..], &arguments].concat());
    let expected: String = (0..3)
        .flat_map(|vm| [80, 13133].map(|port| format!("gateway-{vm} nat\t{port}\t0\t0\n")))
        .collect();
    assert_eq!(headers, expected);
}

/// D-PRB23: from 168.63.129.16, and an orderly conversation where the VM sees it.
#[test]
fn tshark_reads_the_health_probes() {
    if !has_tshark() {
        return;
    }
    let probe = "[[load_balancer.probe]]\nname = \"probe\"\nprotocol = \"http\"\nport = 80\n\
                 request_path = \"/healthz\"\n\n[[load_balancer.rule]]";
    let content = SMALL.replacen("[[load_balancer.rule]]", probe, 1);
    let content = content.replace(
        "backend_port = 8443",
        "backend_port = 8443\nprobe = \"probe\"",
    );
    let folder = tempfile::tempdir().unwrap();
    let file = capture(folder.path(), &content, &[]);
    let one = folder.path().join("one.pcapng");
    let nic = "frame.interface_name == \"vm nic\"";
    tshark(&file, &["-Y", nic, "-w", one.to_str().unwrap()]);
    let fields = |filter, fields: [&str; 3]| {
        let mut arguments = vec!["-Y", filter, "-T", "fields"];
        arguments.extend(fields.iter().flat_map(|field| ["-e", field]));
        tshark(&one, &arguments)
    };
    let asked = fields("http.request", ["ip.src", "http.host", "http.request.uri"]);
    let line = "168.63.129.16\t10.2.1.5\t/healthz\n";
    assert_eq!(asked, line.repeat(6), "every 5 s in 30 s");
    let told = fields(
        "http.response",
        ["ip.dst", "http.response.code", "tcp.srcport"],
    );
    assert_eq!(told, "168.63.129.16\t200\t80\n".repeat(6));
    assert_eq!(
        tshark(&one, &["-Y", "_ws.malformed or tcp.analysis.flags"]),
        ""
    );
    // Handshake, question, answer, four-way close.
    assert_eq!(count(&one, "tcp"), 6 * 8);
}

/// Whatever was sent stands in the file, if only among the drops.
#[test]
fn a_capture_of_malformed_packets_opens() {
    if !has_tshark() {
        return;
    }
    let whole = Ip::udp(|_| {}).bytes();
    let events: String = [
        Vec::new(),
        whole[..19].to_vec(),
        vec![0x60; 48],
        Ip::raw(132, vec![0; 30]).bytes(),
        Ip::udp(|udp| udp.payload = vec![0; 32]).fragment(16..40),
        whole,
    ]
    .iter()
    .map(|bytes| inject("1ms", "client_vm = \"client\"", bytes))
    .collect();
    let folder = tempfile::tempdir().unwrap();
    let file = capture(folder.path(), &format!("{SMALL}{events}"), &[]);
    assert_eq!(count(&file, "frame.interface_name == \"drops\""), 5);
    assert_eq!(count(&file, "frame.interface_name == \"vm nic\""), 1);
}
