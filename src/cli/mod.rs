//! The command line: the only home of clap, anyhow and printing.
//!
//! stdout is data, stderr is talk. Exit codes: 0 done, 1 the answer is no, 2 it could not be done; `run` and `trace` give the
//! command's own, 125 where cudashim failed, 126 and 127 as env(1).

mod args;
mod check;
mod demo;
mod doctor;
mod env;
mod inspect;
mod lock;
mod man;
mod output;
mod plan_for;
mod probe;
mod resolve;
mod run;
mod scan;
mod shim;
mod trace;
mod why;

use args::{Cli, Command};
use clap::{CommandFactory, Parser};
use std::io::Write as _;
use std::process::ExitCode;

/// Runs the program on the arguments of this process.
#[must_use]
pub fn main() -> ExitCode {
    // Asked by the shim alone: it stands in no help and in no completion.
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    if let [command, question @ ..] = &*words
        && command == plan_for::NAME
    {
        return plan_for::main(question);
    }
    let cli = match Cli::plain_run(&words).map_or_else(Cli::try_parse, Ok) {
        Ok(cli) => cli,
        Err(error) => {
            let printed = error.print().and_then(|()| std::io::stdout().flush());
            // What can be understood of the arguments tells which command was meant. `get_matches` would print `--help` again.
            let meant = Cli::command().disable_help_flag(true).disable_version_flag(true).ignore_errors(true);
            let meant = meant.try_get_matches().ok();
            let is_run = meant.is_some_and(|meant| matches!(meant.subcommand_name(), Some("run" | "trace")));
            let failed = ExitCode::from(if is_run { 125 } else { 2 });
            return match printed {
                _ if error.use_stderr() => failed,
                Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                    output::error(&anyhow::Error::new(error).context("the help cannot be written to stdout"));
                    failed
                }
                _ => ExitCode::SUCCESS,
            };
        }
    };
    if cli.format == args::Format::Markdown && !matches!(cli.command, Command::Doctor(_)) {
        let says = "only `doctor` writes markdown; the others have `human` and `json`";
        let _ = Cli::command().error(clap::error::ErrorKind::ArgumentConflict, says).print();
        return ExitCode::from(if matches!(cli.command, Command::Run(_) | Command::Trace(_)) { 125 } else { 2 });
    }
    crate::host::outlive_truncation();
    output::logger(cli.verbose, cli.quiet);
    output::color(cli.color);
    let attends = matches!(&cli.command, Command::Doctor(args) if !args.command.is_empty());
    let is_run = attends || matches!(cli.command, Command::Run(_) | Command::Trace(_));
    if let Some(root) = cli.root.as_deref().filter(|root| !root.is_dir()) {
        // What is not there has nothing wrong.
        output::error(&anyhow::anyhow!("`--root {}` is no directory", root.display()));
        return ExitCode::from(if is_run { 125 } else { 2 });
    }
    let result = match &cli.command {
        Command::Resolve(args) => resolve::resolve(&cli, args),
        Command::Run(args) => run::run(&cli, args),
        Command::Trace(args) => trace::trace(&cli, args),
        Command::Env(args) => env::env(&cli, args),
        Command::Lock(args) => lock::lock(&cli, args),
        Command::Verify(args) => lock::verify(&cli, args),
        Command::Check(args) => check::check(&cli, args),
        Command::Why(args) => why::why(&cli, args),
        Command::Scan(args) => scan::scan(&cli, args),
        Command::Inspect { files, probe, hash } => inspect::inspect(&cli, files, *probe, *hash),
        Command::Diff { a, b } => inspect::diff(&cli, a, b),
        Command::Shim => shim::shim(&cli),
        Command::Doctor(args) => doctor::doctor(&cli, args),
        Command::Demo => demo::demo(&cli),
        Command::Man { of } => man::man(of.as_deref()),
        Command::Completions { shell } => {
            // `generate` ends the process where its writer fails: a pipe may.
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "cudashim", &mut script);
            resolve::print(&script).map(|()| ExitCode::SUCCESS)
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
