use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Args, Parser, Subcommand, ValueEnum};
use plsim_lab::{Allocation, Case, Occupancy, Workload};

/// A packet-level simulator of Azure Private Link.
///
/// Real IPv4 packets travel from client VMs through a private endpoint, the Private Link Service's
/// NAT and a Standard Load Balancer to backend VMs and back, in deterministic virtual time.
#[derive(Debug, Parser)]
#[command(name = "plsim", version, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run scenario files and check their expectations
    Run(RunOptions),
    /// Check scenario files without running them
    Validate(ValidateOptions),
    /// Print the JSON Schema of scenario files
    Schema(SchemaOptions),
    /// Measure parts of the simulator on this machine
    #[command(subcommand)]
    Bench(BenchCommand),
}

#[derive(Debug, Args)]
pub(crate) struct SchemaOptions {
    /// Print every key with its default and meaning, for people
    #[arg(long)]
    pub(crate) markdown: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 ok, 1 an expectation was not met, 2 wrong usage or invalid \
                        scenario, 3 output or internal error or determinism mismatch, \
                        128+n ended by signal n."
)]
pub(crate) struct RunOptions {
    /// Scenario files (TOML); - reads standard input
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Write summary.json, events.jsonl, timeseries.csv and capture.pcapng (if the scenario asks
    /// for one) into this directory; several files get a subdirectory each
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Replace the outputs of an earlier run in the directory
    #[arg(long, requires = "out")]
    pub(crate) force: bool,
    /// Replace the seed of the scenario
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) seed: Option<u64>,
    /// Use up to so many threads, where that pays; the results are the same to the byte
    #[arg(long, value_name = "N", default_value_t = 1, allow_negative_numbers = true, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) threads: u16,
    /// Replace a value: section.key=value, or section.NAME.key=value in a list
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) overrides: Vec<String>,
    /// Do not judge the expectations: for experiments they were not written for
    #[arg(long)]
    pub(crate) no_expect: bool,
    /// What to print
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
    /// Print no tables, only errors and warnings (and JSON, if asked for)
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// Run twice, the second time on one thread, and compare every byte of the outputs
    #[arg(long)]
    pub(crate) check_determinism: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ValidateOptions {
    /// Scenario files (TOML); - reads standard input
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Replace a value: section.key=value, or section.NAME.key=value in a list
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) overrides: Vec<String>,
    /// Print nothing but errors and warnings
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Compare the ways of allocating NAT ports, from an empty port space to its last free port
    Ports(BenchPortsOptions),
}

#[derive(Debug, Args)]
#[command(
    after_help = "Times depend on the machine: compare them within one run. All else is the \
                        same for the same options and seed. What is measured, and how to read it: \
                        docs/laboratory.md."
)]
pub(crate) struct BenchPortsOptions {
    /// NAT IPs; each has a port space on each VM
    #[arg(long, value_name = "N", default_value_t = 1, allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) nat_ips: u32,
    /// Backend VMs; with more than one port space, connections visit them in random order, so that
    /// caches count
    #[arg(long, value_name = "N", default_value_t = 1, allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) vms: u32,
    /// Ports of each space
    #[arg(long, value_name = "N", default_value_t = Case::MOST_PORTS, allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..=i64::from(Case::MOST_PORTS)))]
    pub(crate) ports: u32,
    /// An allocator; may be repeated [default: all]
    #[arg(long = "allocator", value_name = "NAME", value_parser = allocator(), hide_possible_values = true)]
    pub(crate) allocators: Vec<Allocation>,
    /// How full a port space is when a port is asked for, in percent, or "last" for the last free
    /// port; may be repeated [default: 0, 50, 90, 99, 99.9, 99.99, last]
    #[arg(long = "occupancy", value_name = "PERCENT", allow_negative_numbers = true, value_parser = occupancy)]
    pub(crate) occupancies: Vec<Occupancy>,
    /// In which order connections come and go; may be repeated [default: random-churn, fill, drain, nat]
    #[arg(long = "workload", value_name = "NAME", value_parser = workload())]
    pub(crate) workloads: Vec<Workload>,
    /// The seed of all randomness
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        allow_negative_numbers = true
    )]
    pub(crate) seed: u64,
    /// Measure less: for a first look
    #[arg(long)]
    pub(crate) quick: bool,
    /// Write ports.json, ports.csv and ports.svg into this directory
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Replace the results of an earlier bench in the directory
    #[arg(long, requires = "out")]
    pub(crate) force: bool,
    /// What to print
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

fn allocator() -> impl clap::builder::TypedValueParser<Value = Allocation> {
    let names = Allocation::ALL.iter().map(|allocation| allocation.name());
    PossibleValuesParser::new(names).map(|name| {
        Allocation::from_name(&name).expect("broken invariant: only names of allocators are let in")
    })
}

fn workload() -> impl clap::builder::TypedValueParser<Value = Workload> {
    PossibleValuesParser::new(Workload::ALL.map(Workload::name)).map(|name| {
        Workload::from_name(&name).expect("broken invariant: only names of workloads are let in")
    })
}

fn occupancy(text: &str) -> Result<Occupancy, String> {
    Occupancy::from_text(text)
        .ok_or_else(|| "expected 0 to 100 with at most four decimals, or \"last\"".to_owned())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Tables for people
    Text,
    /// The same as JSON, one document for each result
    Json,
}
