use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

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
    Schema,
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
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Replace a value: section.key=value, or section.NAME.key=value in a list
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) overrides: Vec<String>,
    /// Do not judge the expectations: for experiments they were not written for
    #[arg(long)]
    pub(crate) no_expect: bool,
    /// What to print
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
    /// Print no tables, only problems (and JSON, if asked for)
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// Run twice and compare every byte of the outputs
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
    /// Print nothing but problems
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Tables for people
    Text,
    /// The content of summary.json, one document for each file
    Json,
}
