//! The `plsim` command: runs scenario files, checks them, prints their schema, and measures.
#![forbid(unsafe_code)]

mod arguments;
mod bench;
mod bench_text;
mod directory;
mod distribution;
mod exit;
mod finding;
mod idle;
mod link;
mod memory;
mod outage;
mod page;
mod progress;
mod run;
mod signals;
mod sources;
mod terminal;
mod text;
mod workload;

use std::process::ExitCode;

use clap::Parser;

use crate::arguments::{Arguments, BenchCommand, Command};
use crate::exit::Exit;
use crate::terminal::Terminal;

fn main() -> ExitCode {
    // clap itself ends usage errors with 2 and help with 0.
    let arguments = Arguments::parse();
    let terminal = Terminal::new();
    let program = || match arguments.command {
        Command::Run(options) => run::run(&options, &terminal),
        Command::Validate(options) => sources::validate(&options, &terminal),
        Command::Bench(BenchCommand::Ports(options)) => bench::ports(&options, &terminal),
        Command::Schema(options) => {
            let page = match options.markdown {
                true => plsim_scenario::reference(),
                false => plsim_scenario::schema(),
            };
            let printed = terminal.print(&page);
            printed.map_or_else(|exit| exit, |()| Exit::Success)
        }
    };
    let reporter = terminal.clone();
    exit::guarded(move |text| reporter.error(text), program).into()
}
