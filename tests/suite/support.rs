//! What several tests need: the command, the shipped files, a scenario in one call.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use plsim::{Case, Outputs, Report, Simulation, Step};

/// The top of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ lies in the repository")
}

/// Every shipped scenario file, in a fixed order.
pub(crate) fn shipped() -> Vec<PathBuf> {
    let folders = [root().join("scenarios"), root().join("scenarios/real")];
    let entries = folders
        .iter()
        .flat_map(|folder| fs::read_dir(folder).unwrap());
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "toml"))
        .collect();
    files.sort();
    assert!(files.len() >= 8, "{files:?}");
    files
}

/// Returns the path of a shipped scenario.
pub(crate) fn scenario(name: &str) -> PathBuf {
    root().join("scenarios").join(format!("{name}.toml"))
}

/// Returns the command, built by cargo if it is not there yet.
pub(crate) fn plsim() -> Command {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    let binary = BINARY.get_or_init(|| {
        let mut build = Command::new(env!("CARGO"));
        build
            .args(["build", "--quiet", "--package", "plsim-cli"])
            .current_dir(root());
        if !cfg!(debug_assertions) {
            build.arg("--release");
        }
        assert!(build.status().unwrap().success(), "the command must build");
        // This test program stands in target/PROFILE/deps.
        let test = std::env::current_exe().unwrap();
        let profile = test.parent().and_then(Path::parent).unwrap();
        profile.join("plsim")
    });
    Command::new(binary)
}

/// Runs the command with these arguments and returns what it wrote.
pub(crate) fn run(arguments: &[&str]) -> Output {
    plsim()
        .args(arguments)
        .current_dir(root())
        .output()
        .unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A workload of the small service; `more` adds keys.
pub(crate) fn workload(name: &str, more: &str) -> String {
    format!(
        "
[[workload]]
name = \"{name}\"
client_vm = \"client\"
private_endpoint = \"endpoint\"
port = 443
{more}
"
    )
}

/// Runs a scenario text to its end, inside this process.
pub(crate) fn simulate(text: &str, overrides: &[&str]) -> Report {
    let overrides: Vec<String> = overrides.iter().map(|&pair| pair.to_owned()).collect();
    let parsed = plsim_scenario::parse("test.toml", text.as_bytes(), &overrides);
    let (scenario, _) = parsed.unwrap_or_else(|problems| panic!("{}", problems.render(false)));
    let case = Case {
        name: "test".to_owned(),
        scenario,
        overrides,
        seed: None,
    };
    let simulation = Simulation::new(case, Outputs::none());
    let mut simulation = simulation.unwrap_or_else(|problems| panic!("{}", problems.render(false)));
    while simulation.step(1_000_000).unwrap() == Step::Running {}
    simulation.finish().unwrap()
}

/// A small service: one client VM, one endpoint, one NAT IP, one backend VM, TCP and UDP 443.
pub(crate) const SMALL: &str = r#"
[run]
duration = "30s"

[[virtual_network]]
name = "consumer"
address_space = ["10.1.0.0/16"]
[[virtual_network.subnet]]
name = "default"
prefix = "10.1.0.0/24"

[[client_vm]]
name = "client"
subnet = "consumer/default"
ip_address = "10.1.0.4"

[[private_endpoint]]
name = "endpoint"
subnet = "consumer/default"
ip_address = "10.1.0.10"
private_link_service = "service"

[[virtual_network]]
name = "provider"
address_space = ["10.2.0.0/16"]
[[virtual_network.subnet]]
name = "nat"
prefix = "10.2.0.0/24"
private_link_service_network_policies = "Disabled"
[[virtual_network.subnet]]
name = "backend"
prefix = "10.2.1.0/24"

[[private_link_service]]
name = "service"
load_balancer_frontend = "balancer/frontend"
nat_subnet = "provider/nat"
nat_ips = ["10.2.0.10"]

[[load_balancer]]
name = "balancer"
[[load_balancer.frontend]]
name = "frontend"
subnet = "provider/backend"
[[load_balancer.backend_pool]]
name = "pool"
[[load_balancer.rule]]
name = "tcp"
frontend = "frontend"
backend_pool = "pool"
frontend_port = 443
backend_port = 8443
idle_timeout = "30min"
[[load_balancer.rule]]
name = "udp"
frontend = "frontend"
backend_pool = "pool"
protocol = "udp"
frontend_port = 443
backend_port = 8443

[[backend_vm]]
name = "vm"
subnet = "provider/backend"
backend_pools = ["balancer/pool"]
"#;
