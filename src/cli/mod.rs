//! The command line: the only home of clap and of printing.
//!
//! stdout has data, stderr notes and errors. Exit codes: 0 done, 1 the answer is no, 2 failure; `run` and `trace` exit
//! as the command does, with 125 if cudashim failed, with 126 and 127 as of env(1).

mod ahead;
mod answer;
mod args;
mod assume;
mod check;
mod context;
mod demo;
mod devices;
mod doctor;
mod enable;
mod enable_args;
mod env;
mod failure;
mod fleet;
mod format;
mod given;
mod help;
mod image;
mod image_args;
mod inspect;
mod lines;
mod lock;
mod man;
mod node;
mod node_args;
mod output;
mod paint;
mod plan_for;
mod probe;
mod resolve;
mod run;
mod scan;
mod set_for;
mod shared_args;
mod shim;
mod shown;
mod stage;
mod stage_args;
mod trace;
mod why;

use args::{Cli, Command};
use clap::FromArgMatches;
use clap::error::ErrorKind;
use context::Context;
use failure::{Context as _, Failure, Result};
use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

/// Runs the program on the arguments of this process.
#[must_use]
pub fn main() -> ExitCode {
    // Only we use these commands: they are in no help and no completion.
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    if let [command, question @ ..] = &*words
        && command == plan_for::NAME
    {
        return plan_for::main(question);
    }
    if let [command, question @ ..] = &*words
        && command == set_for::NAME
    {
        return set_for::main(question);
    }
    if let [command, words @ ..] = &*words
        && command == ahead::NAME
    {
        return ahead::main(words);
    }
    let cli = match Cli::plain_run(&words).map_or_else(|| parsed(&words), Ok) {
        Ok(cli) => cli,
        Err(error) => return not_understood(&words, &error),
    };
    crate::host::outlive_truncation();
    output::set_up(cli.verbose, cli.quiet, cli.color);
    let result = match cli.root.as_deref().filter(|root| !root.is_dir()) {
        // A missing directory would look like a machine without problems.
        Some(root) => Err(Failure::new(format!("cannot use `--root {}`: not a directory", root.display()))
            .hint("name the directory that the image is mounted at")),
        None => start(&cli),
    };
    result.unwrap_or_else(|failure| {
        if failure.is_broken_pipe() {
            return ExitCode::SUCCESS;
        }
        output::failure(&failure);
        ExitCode::from(match failure.is_no() {
            _ if cli.is_run() => 125,
            true => 1,
            false => 2,
        })
    })
}

fn parsed(words: &[OsString]) -> std::result::Result<Cli, clap::Error> {
    let all = || std::iter::once(OsString::from("cudashim")).chain(words.iter().cloned());
    let mut command = help::command().color(color(words));
    let cli = Cli::from_arg_matches(&command.try_get_matches_from_mut(all())?)?;
    match cli.refuses_root() {
        Some(why) if cli.root.is_some() => {
            Err(command.error(ErrorKind::ArgumentConflict, format!("`--root` cannot be used here: {why}")))
        }
        _ => Ok(cli),
    }
}

fn start(cli: &Cli) -> Result<ExitCode> {
    let context = &Context::new(cli);
    match &cli.command {
        Command::Run(args) => run::run(context, args),
        Command::Env(args) => env::env(context, args),
        Command::Shim(args) => shim::shim(context, args),
        Command::Stage(args) => stage::stage(context, args),
        Command::Enable(args) => enable::enable(context, args),
        Command::Disable(args) => enable::disable(context, args),
        Command::Status(args) => enable::status(context, args),
        Command::Doctor(args) => doctor::doctor(context, args),
        Command::Check(args) => check::check(context, args),
        Command::Why(args) => why::why(context, args),
        Command::Trace(args) => trace::trace(context, args),
        Command::Image(args) => image::image(context, args),
        Command::Resolve(args) => resolve::resolve(context, args),
        Command::Lock(args) => lock::lock(context, args),
        Command::Verify(args) => lock::verify(context, args),
        Command::Scan(args) => scan::scan(context, args),
        Command::Inspect(args) => inspect::inspect(context, args),
        Command::Diff(args) => inspect::diff(context, args),
        Command::Node(args) => node::node(context, args),
        Command::Fleet(args) => fleet::fleet(args),
        Command::Demo => demo::demo(),
        Command::Man { of } => man::man(of.as_deref()),
        Command::Completions { shell } => {
            // `generate` panics if its writer fails, as a closed pipe does.
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut help::command(), "cudashim", &mut script);
            output::print(&script).map(|()| ExitCode::SUCCESS)
        }
    }
}

/// Help and version, which are data, or what is wrong with the arguments.
fn not_understood(words: &[OsString], error: &clap::Error) -> ExitCode {
    // Parses what is valid, to find the command and thus the exit code.
    let command = help::command().disable_help_flag(true).disable_version_flag(true).ignore_errors(true);
    let all = std::iter::once(OsString::from("cudashim")).chain(words.iter().cloned());
    let matches = command.try_get_matches_from(all).ok();
    let is_run = matches.as_ref().and_then(|matches| {
        let (name, of) = matches.subcommand()?;
        let attends =
            || name == "doctor" && of.try_contains_id("command").unwrap_or_default() && of.contains_id("command");
        Some(matches!(name, "run" | "trace") || attends())
    });
    let failed = ExitCode::from(if is_run == Some(true) { 125 } else { 2 });
    match error.print().and_then(|()| std::io::stdout().flush()).context("cannot write the help to stdout") {
        _ if error.use_stderr() => failed,
        Err(failure) if !failure.is_broken_pipe() => {
            output::failure(&failure);
            failed
        }
        _ => ExitCode::SUCCESS,
    }
}

/// The value of `--color`, from arguments that may be invalid.
fn color(words: &[OsString]) -> clap::ColorChoice {
    let ours: Vec<_> = words.iter().take_while(|word| *word != "--").filter_map(|word| word.to_str()).collect();
    let value = ours.iter().enumerate().find_map(|(at, word)| match *word {
        "--color" => ours.get(at + 1).copied(),
        word => word.strip_prefix("--color="),
    });
    match value {
        Some("always") => clap::ColorChoice::Always,
        Some("never") => clap::ColorChoice::Never,
        _ => clap::ColorChoice::Auto,
    }
}
