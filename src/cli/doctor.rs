//! `cudashim doctor`.

mod attend;

use super::args::DoctorArgs;
use super::context::{Context, kept_file, name_of};
use super::devices;
use super::failure::{Context as _, Result, bail};
use super::format::Format;
use super::output;
use super::shown::Shown;
use crate::diagnose::{self, Message, Report, Window, recognise};
use crate::driver::Driver;
use crate::host::atomic_write;
use crate::machine::{Machine, Request};
use crate::report::sanitized;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// The least weight of a message that is explained although its command succeeded: a silent fall-back to the CPU.
const REPORTED_ON_SUCCESS: u8 = 4;

/// A driver answers in some tenths of a second; one that wakes its devices first in a few seconds.
const LIMIT: Duration = Duration::from_secs(6);

/// The limit of a driver record: that of a machine with eight devices has some kilobytes.
const RECORD_LIMIT: u64 = 16 << 20;

pub(super) fn doctor(context: &Context, args: &DoctorArgs) -> Result<ExitCode> {
    if !args.command.is_empty() {
        return run_and_explain(context, args);
    }
    let messages = args.error.as_deref().map(|file| messages(&read(file)?)).transpose()?;
    let report = examine(context, args, messages)?;
    if let Some(file) = &args.record {
        atomic_write(&kept_file(file)?, report.machine.to_json()?.as_bytes())
            .with_context(|| format!("cannot write the record to `{}`", file.display()))?;
    }
    match page(args, context, &report)? {
        Some(text) if args.format == Format::Human => output::laid_out(&text)?,
        Some(text) => output::print(text)?,
        None => {}
    }
    // 2: the given error text is not recognised.
    Ok(ExitCode::from(if report.is_unknown() { 2 } else { u8::from(!report.is_fine()) }))
}

fn messages(text: &[u8]) -> Result<Vec<Message>> {
    if text.trim_ascii().is_empty() {
        bail!("there is no text to explain: programs write errors to stderr (`2>&1`)");
    }
    Ok(recognise(text))
}

fn examine(context: &Context, args: &DoctorArgs, messages: Option<Vec<Message>>) -> Result<Report> {
    let host = context.host();
    let recorded = args.recorded.as_deref().map(|file| {
        let mut text = String::new();
        let read = File::open(file).and_then(|open| open.take(RECORD_LIMIT).read_to_string(&mut text));
        read.with_context(|| format!("cannot read the record `{}`", file.display()))?;
        Driver::from_json(&text).with_context(|| format!("cannot use the record `{}`", file.display()))
    });
    let recorded = recorded.transpose()?;
    let python = args.who.python.clone().or_else(|| args.target.clone());
    let (spec, command) = (args.who.torch.clone(), args.command.clone());
    let mut machine = Machine::new(host.clone(), Request { spec, python, command, ..Request::default() });
    let assumptions = args.assume.read()?;
    if !assumptions.is_empty() {
        return Ok(diagnose::examine_assuming(&machine.answered()?, &assumptions, messages));
    }
    if let Some(driver) = recorded {
        machine = machine.with_driver(driver);
    } else if host.is_live() && !args.no_devices {
        let asked = devices::ask(context, LIMIT);
        for why in &asked.unasked {
            log::warn!("{why}");
        }
        machine = machine.with_devices(asked.devices);
    }
    Ok(diagnose::examine(&machine.answered()?.as_it_is(), messages))
}

/// The report as text; `None` for findings in a form of their own, which are printed.
fn page(args: &DoctorArgs, context: &Context, report: &Report) -> Result<Option<String>> {
    let shown = Shown::new(context, args.redact);
    if let Some(form) = args.format.of_findings() {
        return shown.findings(report.listed(), form).map(|()| None);
    }
    Ok(Some(match args.format {
        Format::Markdown => shown.text(&sanitized(&diagnose::markdown(report))),
        Format::Json => shown.json_text(report)?,
        Format::Html => shown.page(report.page()),
        _ => shown.text(&sanitized(&diagnose::text(report, args.all, args.explain, output::width().columns))),
    }))
}

/// Runs the command, then explains its failure: on stderr, JSON and markdown on stdout, as `trace` does it.
fn run_and_explain(context: &Context, args: &DoctorArgs) -> Result<ExitCode> {
    let attended = match attend::run(context.host(), &args.command)? {
        Ok(attended) => attended,
        Err(code) => return Ok(code),
    };
    let code = ExitCode::from(attended.code);
    let messages = recognise(&attended.text);
    let is_reported = messages.iter().any(|message| message.weight >= REPORTED_ON_SUCCESS);
    let name = name_of(&args.command);
    let end = attended.end.map(|end| format!("`{name}` {end}"));
    if attended.stopped || (attended.code == 0 && !is_reported) {
        if let Some(end) = end.filter(|_| attended.killed) {
            output::note(&end);
        }
        return Ok(code);
    }
    let mut report = match examine(context, args, Some(messages)) {
        Ok(report) => report,
        Err(error) => {
            // The exit code is the command's, even if the explanation fails.
            output::failure(&error);
            return Ok(code);
        }
    };
    if let Some(end) = end {
        report.verdict.says = format!("{end}: {}", report.verdict.says);
    }
    match page(args, context, &report)? {
        Some(text) if args.format == Format::Human => {
            output::laid_out_to_stderr(&format!("\ncudashim doctor:\n{text}"))?;
        }
        Some(text) => output::print(text)?,
        None => {}
    }
    Ok(code)
}

/// The beginning and the end of a text. Of a long file, only these are read.
fn read(file: &Path) -> Result<Vec<u8>> {
    let mut window = Window::new();
    if file == Path::new("-") {
        pour(&mut std::io::stdin().lock(), &mut window).context("cannot read standard input")?;
        return Ok(window.text());
    }
    let cannot = || format!("cannot read the text `{}`", file.display());
    let mut open = File::open(file).with_context(cannot)?;
    let size = open.metadata().with_context(cannot)?.len();
    let (head, tail) = Window::LIMITS;
    if size > head.saturating_add(tail).saturating_mul(2) {
        pour(&mut (&open).take(head), &mut window).with_context(cannot)?;
        let from = size.saturating_sub(tail);
        open.seek(SeekFrom::Start(from)).with_context(cannot)?;
        window.skip(from.saturating_sub(head));
    }
    // The size limit ends the read of a growing file.
    pour(&mut open.take(size.max(head.saturating_add(tail))), &mut window).with_context(cannot)?;
    Ok(window.text())
}

fn pour(from: &mut impl Read, window: &mut Window) -> std::io::Result<()> {
    let mut piece = vec![0; 1 << 16];
    loop {
        match from.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(count) => window.push(piece.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
