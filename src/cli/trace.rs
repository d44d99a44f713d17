//! `cudashim trace`: run a command under the audit door, then tell what it loaded.
//!
//! The command's own output goes where it goes. What is told goes to stderr, as strace(1) does it; JSON to stdout, and
//! either to the file of `-o`.

use super::args::{Cli, Format, TraceArgs};
use super::{output, resolve, run, shim};
use crate::check::trace::{Trace, judge};
use crate::host::{Host, atomic_write};
use crate::launch::{ChildEnvironment, Door, Target};
use crate::machine::Machine;
use crate::machine::Request;
use crate::python;
use crate::report::{TraceReport, sanitized};
use anyhow::{Context, bail};
use signal_hook::consts::SIGINT;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus};
use std::sync::Arc;

pub(super) fn trace(cli: &Cli, args: &TraceArgs) -> anyhow::Result<ExitCode> {
    resolve::live(cli)?;
    let host = resolve::host(cli);
    let (file, mut command) = match run::plain(&host, &args.command)? {
        Ok(found) => found,
        Err(code) => return Ok(code),
    };
    let read = python::Command::read(&host, &args.command);
    let target = read.as_ref().map(|command| Target::read(&host, &command.program)).unwrap_or_default();
    if let Some(says) = &target.out_of_reach {
        bail!("`{}` {says}: it cannot be traced", file.display());
    }
    if !target.audits_freely() {
        output::note(&format!("`{}`: before glibc 2.35, every call of a traced program is slower", file.display()));
    }
    let tracer = shim::install_tracer(&host)?;
    if let Some(path) = &args.plan {
        let given = run::given_plan(&host, path, read.as_ref(), &[])?;
        run::set(&mut command, &run::environment(&host, Some(&given), &tracer, Door::Audit));
        command.env("CUDASHIM_TRACE_ACTS", "1");
    } else {
        // All is to be as it would be without us, a shim in `LD_PRELOAD` too.
        command.env("LD_AUDIT", ChildEnvironment::audited(&host, &tracer)).env_remove("CUDASHIM_TRACE_ACTS");
    }
    if let Some(tunables) = target.tunables(&host) {
        command.env("GLIBC_TUNABLES", tunables);
    }
    let record = tempfile::Builder::new().prefix("cudashim-trace-").tempfile().context("no record can be kept")?;
    command.env("CUDASHIM_TRACE", record.path());
    // Ctrl-C is for the command; we tell what it had loaded by then.
    let _ = signal_hook::flag::register(SIGINT, Arc::default());
    let status = match command.status() {
        Ok(status) => status,
        Err(error) => return Ok(run::not_started(&command, &error)),
    };
    let code = code_of(status);
    let seen = std::fs::read(record.path()).context("the record cannot be read")?;
    tell(cli, args, &host, &seen, code)?;
    Ok(ExitCode::from(code))
}

/// As shells have it: 128 and the number of the signal.
pub(super) fn code_of(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(125);
    u8::try_from(code).unwrap_or(125)
}

fn tell(cli: &Cli, args: &TraceArgs, host: &Host, seen: &[u8], code: u8) -> anyhow::Result<()> {
    let machine = Machine::new(host.clone(), Request::default());
    let trace = Trace::read(seen, machine.objects());
    if trace.processes.is_empty() {
        output::note("the loader took no auditor in: nothing was seen");
    }
    let judgement = judge(&trace, machine.loader(), code != 0);
    let words: Vec<String> = args.command.iter().map(|word| word.display().to_string()).collect();
    let report = TraceReport::new(&trace, &judgement, &words, code);
    let text = match cli.format {
        Format::Json | Format::Jsonl => resolve::json(&report)?,
        Format::Human | Format::Markdown => sanitized(&report.text()),
    };
    match &args.output {
        Some(file) => atomic_write(&resolve::kept_file(file)?, text.as_bytes())
            .with_context(|| format!("the report cannot be written to `{}`", file.display())),
        None if cli.format == Format::Human => {
            std::io::stderr().lock().write_all(text.as_bytes()).context("the report cannot be written to stderr")
        }
        None => resolve::print(text),
    }
}
