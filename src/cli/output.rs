//! Talk on stderr: the logger, notes, errors with their causes and hints.

use super::args::Color;
use super::run::Unproven;
use crate::diagnose::Finding;
use crate::machine::{HandedError, RequestError};
use crate::plan::PlanError;
use crate::python::InterpreterError;
use crate::report::{Width, sanitized};
use crate::resolve::solve::NoSolution;
use anstream::eprintln;
use std::io::{self, Write};

pub(super) fn logger(verbose: u8, quiet: bool) {
    let level = match (quiet, verbose) {
        (true, _) => log::LevelFilter::Error,
        (false, 0) => log::LevelFilter::Warn,
        (false, 1) => log::LevelFilter::Info,
        (false, 2) => log::LevelFilter::Debug,
        _ => log::LevelFilter::Trace,
    };
    let line = |out: &mut env_logger::fmt::Formatter, record: &log::Record<'_>| {
        writeln!(out, "cudashim: {}", sanitized(&record.args().to_string()).replace('\n', "\\n"))
    };
    let _ = env_logger::Builder::new().filter_level(level).format(line).try_init();
    QUIET.store(quiet, std::sync::atomic::Ordering::Relaxed);
}

static QUIET: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

pub(super) fn color(choice: Color) {
    match choice {
        Color::Auto => {}
        Color::Always => anstream::ColorChoice::Always.write_global(),
        Color::Never => anstream::ColorChoice::Never.write_global(),
    }
}

/// One line for people that is no error.
pub(super) fn note(text: &str) {
    if !QUIET.load(std::sync::atomic::Ordering::Relaxed) {
        eprintln!("cudashim: {}", sanitized(text));
    }
}

/// How wide tables may be: `COLUMNS` where it is set, a terminal's width up to that of a table, else 100 columns, in which
/// a path may be wider by itself, for a program reads it.
pub(super) fn width() -> Width {
    let columns = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    let terminal = || {
        let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
        Some(usize::from(size.ws_col)).filter(|columns| *columns > 0).map(|columns| columns.min(TABLE))
    };
    match columns.or_else(terminal) {
        Some(columns) => Width { columns, whole_paths: false },
        None => Width::default(),
    }
}

/// A wider table is no easier to read.
const TABLE: usize = 120;

/// An error with its causes, and what can be done.
pub(super) fn error(error: &anyhow::Error) {
    let bold = anstyle("\u{1b}[1;31m");
    let none = no_solution(error);
    // The clauses of a contradiction stand one to a line.
    let says = none.map_or_else(|| error.to_string(), |_| "no set of libraries fits".to_owned());
    eprintln!("{bold}error{}: {}", anstyle("\u{1b}[0m"), sanitized(&says));
    if let Some(none) = none {
        for clause in &none.clauses {
            eprintln!("  - {}", sanitized(&clause.to_string()));
        }
    } else if let Some(Unproven(stops)) = error.downcast_ref() {
        for stop in stops {
            eprintln!("  - {} [{}]", sanitized(&stop.cause), stop.id);
        }
    } else {
        for cause in error.chain().skip(1) {
            eprintln!("  caused by: {}", sanitized(&cause.to_string()));
        }
    }
    for hint in hints(error) {
        eprintln!("{}hint{}: {}", anstyle("\u{1b}[1;36m"), anstyle("\u{1b}[0m"), sanitized(&hint));
    }
}

/// anstream takes the codes out where stderr is no terminal.
fn anstyle(code: &'static str) -> &'static str {
    code
}

fn no_solution(error: &anyhow::Error) -> Option<&NoSolution> {
    match error.downcast_ref::<RequestError>()? {
        RequestError::NoSolution { source, .. } => Some(source),
        _ => None,
    }
}

/// Whether the error is an answer: asked, and the answer is no.
pub(super) fn is_no(error: &anyhow::Error) -> bool {
    no_solution(error).is_some()
}

pub(super) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

pub(super) fn hints(error: &anyhow::Error) -> Vec<String> {
    if let Some(super::resolve::Lines(lines)) = error.downcast_ref() {
        return lines.clone();
    }
    if let Some(error) = error.downcast_ref::<RequestError>() {
        return hints_of_request(error);
    }
    if let Some(Unproven(stops)) = error.downcast_ref() {
        let hint = |stop: &Finding| {
            let remedy = stop.remedies.first()?;
            Some(
                remedy
                    .as_command()
                    .map_or_else(|| remedy.as_action().unwrap_or_default().to_owned(), |it| format!("`{it}`")),
            )
        };
        let mut hints: Vec<String> = stops.iter().filter_map(hint).collect();
        hints.dedup();
        return hints;
    }
    if error.downcast_ref::<super::run::OpenCommand>().is_some() {
        return vec!["name the interpreter that it starts with `--python`, or check that one: `cudashim run --check -- PYTHON …`".to_owned()];
    }
    if error.downcast_ref::<super::resolve::DoesNotLoad>().is_some() {
        return vec!["`cudashim doctor` shows the whole; `--force` goes on all the same".to_owned()];
    }
    if let Some(error) = error.downcast_ref::<PlanError>() {
        return error.hints();
    }
    if let Some(error) = error.downcast_ref::<HandedError>() {
        return error.hints();
    }
    if let Some(error) = error.downcast_ref::<InterpreterError>() {
        return hints_of_interpreter(error);
    }
    if let Some(error) = error.downcast_ref::<crate::check::LiveError>() {
        return error.hints();
    }
    if let Some(error) = error.downcast_ref::<crate::launch::shim::ShimError>() {
        return error.hints().iter().map(ToString::to_string).collect();
    }
    if let Some(error) = error.downcast_ref::<crate::launch::probe::ProbeError>() {
        return error.hints();
    }
    if let Some(error) = error.downcast_ref::<super::demo::DemoError>() {
        return error.hint().map(ToString::to_string).into_iter().collect();
    }
    Vec::new()
}

/// Whether a request was answered, and the answer is no.
pub(super) fn is_no_request(error: &RequestError) -> bool {
    matches!(error, RequestError::NoSolution { .. })
}

pub(super) fn hints_of_request(error: &RequestError) -> Vec<String> {
    match error {
        RequestError::NoSolution { source, .. } => source.hints().iter().map(ToString::to_string).collect(),
        RequestError::Interpreter(error) => hints_of_interpreter(error),
        RequestError::OtherTorch { .. } => {
            vec!["leave `--torch` out, or name the interpreter that has it with `--python`".to_owned()]
        }
        RequestError::File { .. } => {
            vec!["`--for` takes 64-bit ELF programs and libraries of this machine".to_owned()]
        }
        _ => Vec::new(),
    }
}

fn hints_of_interpreter(error: &InterpreterError) -> Vec<String> {
    vec![match error {
        InterpreterError::Untrusted { .. } => {
            "name an interpreter that nobody else may write to with `--python`, or start this one: `cudashim run`"
                .to_owned()
        }
        InterpreterError::Foreign(_) => "name an environment that has a `pyvenv.cfg` with `--python`".to_owned(),
        _ => "name another interpreter with `--python`".to_owned(),
    }]
}
