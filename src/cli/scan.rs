//! `cudashim scan`.

use super::args::ScanArgs;
use super::context::{Context, reason};
use super::failure::{Failure, Result};
use super::format::Format;
use super::shown::Shown;
use super::{output, probe};
use crate::driver::version_at_once;
use crate::host::Host;
use crate::inventory::Depth;
use crate::inventory::places::{self, Demand, Mounts, Place, Walk};
use crate::inventory::scan::{Entry, Survey};
use crate::loader::Loader;
use crate::report::{
    HostLine, ScanEnd, ScanLibrary, ScanLine, ScanNode, ScanReport, scan_findings, scan_page, scan_text,
};
use signal_hook::consts::SIGINT;
use signal_hook::flag;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

/// Directories between two progress lines.
const STEP: u64 = 2000;
/// The exit code of a shell for a process that SIGINT ended.
const INTERRUPTED: u8 = 130;

pub(super) fn scan(context: &Context, args: &ScanArgs) -> Result<ExitCode> {
    let machine = context.machine();
    let (host, objects, loader) = (machine.host(), machine.objects(), machine.loader());
    let shown = Shown::new(context, args.redact);
    let stop = stop();
    let name = host.name();
    let printed = |line: ScanLine| shown.json_line(&HostLine { host: name.as_deref(), line });
    if args.format == Format::Jsonl {
        printed(ScanLine::Node(ScanNode::new(SystemTime::now(), version_at_once(loader).as_ref())))?;
    }
    let places = places_of(host, loader, args, &stop)?;
    let mut survey = Survey::new(objects, places, if args.all { Depth::Full } else { Depth::Quick });
    // After an interrupted walk, the places found are still read and shown; the next Ctrl-C stops that.
    let mut stopped = stop.swap(false, Ordering::Relaxed);
    while let Some(entries) = survey.read_next(&stop) {
        for mut entry in entries {
            if args.hash && !stop.load(Ordering::Relaxed) {
                survey.digest(&mut entry);
            }
            // With --probe, the line is printed after the answer.
            if args.format == Format::Jsonl && !args.probe {
                printed(library(&entry))?;
            }
        }
    }
    if args.probe {
        probe::probe(context, loader, survey.inventory(), &stop)?;
    }
    if stop.load(Ordering::Relaxed) {
        stopped = true;
        output::note("interrupted: the report holds what was read so far");
    }
    let scan = survey.finish(loader);
    let wrong = args.strict && !scan.problems.is_empty();
    match args.format {
        Format::Json => shown.json(&ScanReport::new(&scan, stopped))?,
        Format::Jsonl => {
            for entry in scan.entries.iter().filter(|_| args.probe) {
                printed(library(entry))?;
            }
            printed(ScanLine::End(ScanEnd::new(&scan, stopped)))?;
        }
        Format::Html => output::print(shown.page(scan_page(&scan, wrong)))?,
        other => match other.of_findings() {
            Some(form) => shown.findings(scan_findings(&scan, wrong), form)?,
            None => output::laid_out(&shown.text(&scan_text(&scan, args.all, output::width())))?,
        },
    }
    Ok(ExitCode::from(if stopped { INTERRUPTED } else { u8::from(wrong) }))
}

/// A file as one line.
fn library(entry: &Entry) -> ScanLine {
    ScanLine::Library(Box::new(ScanLibrary::new(entry)))
}

/// The flag that Ctrl-C sets. The second Ctrl-C ends the process at once.
fn stop() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    // In this order: at the first Ctrl-C the shutdown handler finds the flag unset.
    let second = flag::register_conditional_shutdown(SIGINT, INTERRUPTED.into(), Arc::clone(&stop));
    // Without the handler, Ctrl-C ends the process without a report; the scan still runs.
    if let Err(error) = second.and_then(|_| flag::register(SIGINT, Arc::clone(&stop))) {
        log::debug!("Ctrl-C: {error}");
    }
    stop
}

/// The known places; whole trees with PATH arguments or `--deep`.
fn places_of(host: &Host, loader: &Loader, args: &ScanArgs, stop: &AtomicBool) -> Result<Vec<Place>> {
    if args.paths.is_empty() && !args.deep {
        return Ok(places::known(host, loader, Demand::Usual));
    }
    let roots: Vec<PathBuf> = match args.paths.as_slice() {
        [] => vec![PathBuf::from("/")],
        paths => paths.iter().map(|path| host.absolute(path)).collect(),
    };
    let shows_progress = !output::is_quiet() && std::io::stderr().is_terminal();
    let progress = |count: u64| {
        if shows_progress && count.is_multiple_of(STEP) {
            let _ = write!(std::io::stderr(), "\rcudashim: {count} directories");
        }
    };
    let mounts = if args.all_mounts { Mounts::Network } else { Mounts::OneFileSystem };
    let walked = Walk::new(roots).mounts(mounts).run(host, &progress, stop);
    if shows_progress {
        let _ = write!(std::io::stderr(), "\r\u{1b}[K");
    }
    for (root, error) in &walked.failed {
        let failure = Failure::new(format!("cannot search `{}`: {}", root.display(), reason(error)));
        if walked.failed.len() == args.paths.len() {
            return Err(failure);
        }
        output::note(&failure.to_string());
    }
    if walked.stopped {
        output::note("interrupted: the report holds what was found so far");
    }
    if walked.unreadable > 0 {
        let directories = if walked.unreadable == 1 { "directory" } else { "directories" };
        output::note(&format!("cannot read {} {directories}", walked.unreadable));
    }
    Ok(walked.places)
}
