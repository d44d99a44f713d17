//! `cudashim trace`: run a command under the audit door, then report what it loaded.
//!
//! The command's output is not redirected. The report goes to stderr, as that of strace(1); the forms for programs and browsers go to stdout; with
//! `-o`, either goes to the file.

use super::args::TraceArgs;
use super::context::{Context, kept_file};
use super::failure::{Context as _, Result, bail};
use super::format::Format;
use super::shown::Shown;
use super::{given, output, run};
use crate::check::trace::{Trace, judge};
use crate::host::atomic_write;
use crate::launch::{ChildEnvironment, Door, Target};
use crate::python;
use crate::report::{TraceReport, sanitized};
use signal_hook::consts::SIGINT;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus};
use std::sync::Arc;

pub(super) fn trace(context: &Context, args: &TraceArgs) -> Result<ExitCode> {
    let host = context.host();
    let (file, mut command) = match run::plain(host, &args.command)? {
        Ok(found) => found,
        Err(code) => return Ok(code),
    };
    let read = python::Command::read(host, &args.command);
    let target = read.as_ref().map(|command| Target::read(host, &command.program)).unwrap_or_default();
    if let Some(reason) = &target.out_of_reach {
        bail!("cannot trace `{}`: it {reason}", file.display());
    }
    if !target.audits_freely() {
        output::note(&format!("`{}`: before glibc 2.35, every call of a traced program is slower", file.display()));
    }
    let tracer = context.tracer()?;
    if let Some(path) = &args.plan {
        let (given, _) = given::given_plan(context, path, read.as_ref(), &[], true)?;
        run::set(&mut command, &run::environment(host, Some(&given), &tracer, Door::Audit));
        command.env("CUDASHIM_TRACE_ACTS", "1");
    } else {
        // Nothing else is changed; a shim in `LD_PRELOAD` stays active.
        command.env("LD_AUDIT", ChildEnvironment::audited(host, &tracer)).env_remove("CUDASHIM_TRACE_ACTS");
    }
    if let Some(tunables) = target.tunables(host) {
        command.env("GLIBC_TUNABLES", tunables);
    }
    let record =
        tempfile::Builder::new().prefix("cudashim-trace-").tempfile().context("cannot create the trace file")?;
    command.env("CUDASHIM_TRACE", record.path());
    // Ctrl-C ends the command; the report shows what it loaded before.
    let _ = signal_hook::flag::register(SIGINT, Arc::default());
    let status = match command.status() {
        Ok(status) => status,
        Err(error) => return Ok(run::not_started(&command, &error)),
    };
    let code = code_of(status);
    let seen = std::fs::read(record.path()).context("cannot read the trace file")?;
    report(context, args, &seen, code)?;
    Ok(ExitCode::from(code))
}

/// The exit code of a shell: 128 plus the number of a signal.
pub(super) fn code_of(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(125);
    u8::try_from(code).unwrap_or(125)
}

fn report(context: &Context, args: &TraceArgs, seen: &[u8], code: u8) -> Result<()> {
    let machine = context.machine();
    let trace = Trace::read(seen, machine.objects());
    if trace.processes.is_empty() {
        output::note("ld.so did not load the tracer: nothing was recorded");
    }
    let judgement = judge(&trace, machine.loader(), code != 0);
    let words: Vec<String> = args.command.iter().map(|word| word.display().to_string()).collect();
    let report = TraceReport::new(&trace, &judgement, &words, code);
    let shown = Shown::new(context, args.redact);
    let text = match args.format {
        Format::Json => shown.json_text(&report)?,
        Format::Html => shown.page(report.page()),
        other => match other.of_findings() {
            Some(form) => shown.findings_text(report.listed(), form),
            None => shown.text(&report.text(output::is_verbose())),
        },
    };
    match (&args.output, args.format) {
        (Some(file), _) => atomic_write(&kept_file(file)?, sanitized(&text).as_bytes())
            .with_context(|| format!("cannot write the report to `{}`", file.display())),
        (None, Format::Human) => output::report_to_stderr(&text),
        (None, _) => output::print(text),
    }
}
