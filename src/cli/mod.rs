//! The command line: the only home of clap, anyhow and printing.
//!
//! stdout is data, stderr is talk. Exit codes: 0 done, 1 the answer is no, 2 it could not be done; `run` gives the
//! command's own, 125 where cudashim failed, 126 and 127 as env(1).

mod args;
mod demo;
mod env;
mod output;
mod plan_for;
mod resolve;
mod run;
mod shim;

use args::{Cli, Command};
use clap::{CommandFactory, Parser};
use std::process::ExitCode;

/// Runs the program on the arguments of this process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let failed = error.use_stderr();
            let _ = error.print();
            let code = if std::env::args_os().nth(1).is_some_and(|word| word == "run") { 125 } else { 2 };
            return if failed { ExitCode::from(code) } else { ExitCode::SUCCESS };
        }
    };
    output::logger(cli.verbose, cli.quiet);
    output::color(cli.color);
    let is_run = matches!(cli.command, Command::Run(_));
    let result = match &cli.command {
        Command::Resolve(args) => resolve::resolve(&cli, args),
        Command::Run(args) => run::run(&cli, args),
        Command::Env(args) => env::env(&cli, args),
        Command::Shim => shim::shim(&cli),
        Command::Demo => demo::demo(&cli),
        Command::PlanFor { pid } => plan_for::plan_for(*pid),
        Command::Completions { shell } => {
            clap_complete::generate(*shell, &mut Cli::command(), "cudashim", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
    };
    result.unwrap_or_else(|error| {
        if output::is_broken_pipe(&error) {
            return ExitCode::SUCCESS;
        }
        output::error(&error);
        ExitCode::from(if is_run {
            125
        } else if output::is_no(&error) {
            1
        } else {
            2
        })
    })
}
