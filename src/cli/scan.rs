//! `cudashim scan`.

use super::args::{Cli, Format, ScanArgs};
use super::{output, resolve};
use crate::host::Host;
use crate::inventory::{self, Depth, Inventory};
use crate::loader::Loader;
use crate::objects::Objects;
use crate::places::{self, Demand, Mounts, Place, Walk};
use crate::report::{ScanReport, sanitized, scan_text};
use crate::scan::Scan;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Directories between two progress lines.
const STEP: u64 = 2000;

pub(super) fn scan(cli: &Cli, args: &ScanArgs) -> anyhow::Result<ExitCode> {
    let host = resolve::host(cli);
    let objects = Objects::new(&host);
    let loader = Loader::new(&objects);
    let mut inventory = Inventory::scan(&objects, places_of(&host, &loader, args, cli.quiet));
    inventory.look_inside(if args.all { Depth::Full } else { Depth::Quick });
    let (reach, problems) = (inventory::reach(&inventory, &loader), inventory::problems(&inventory, &loader));
    let scan = Scan::new(inventory, reach, problems);
    match cli.format {
        Format::Json => resolve::print(resolve::json(&ScanReport::new(&scan))?)?,
        Format::Jsonl => {
            for library in ScanReport::new(&scan).libraries {
                resolve::print(serde_json::to_string(&library)? + "\n")?;
            }
        }
        Format::Human | Format::Markdown => resolve::print(sanitized(&scan_text(&scan, args.all)))?,
    }
    Ok(ExitCode::from(u8::from(args.strict && !scan.problems.is_empty())))
}

/// The known places; whole trees where they are named or asked for.
fn places_of(host: &Host, loader: &Loader<'_>, args: &ScanArgs, quiet: bool) -> Vec<Place> {
    if args.paths.is_empty() && !args.deep {
        return places::known(host, loader, Demand::Usual);
    }
    let roots: Vec<PathBuf> = match args.paths.as_slice() {
        [] => vec![PathBuf::from("/")],
        paths => paths.iter().map(|path| host.absolute(path)).collect(),
    };
    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&stop);
    // Without it Ctrl-C ends us with nothing printed; that is no reason not to look.
    if let Err(error) = ctrlc::set_handler(move || asked.store(true, Ordering::Relaxed)) {
        log::debug!("Ctrl-C: {error}");
    }
    let talks = !quiet && std::io::stderr().is_terminal();
    let progress = |count: u64| {
        if talks && count.is_multiple_of(STEP) {
            let _ = write!(std::io::stderr(), "\rcudashim: {count} directories");
        }
    };
    let mounts = if args.all_mounts { Mounts::Network } else { Mounts::OneFileSystem };
    let walked = Walk::new(roots).mounts(mounts).run(host, &progress, &stop);
    if talks {
        let _ = write!(std::io::stderr(), "\r\u{1b}[K");
    }
    for (root, error) in &walked.failed {
        output::note(&format!("`{}` cannot be looked into: {error}", root.display()));
    }
    if walked.stopped {
        output::note("stopped: what follows is what was found so far");
    }
    if walked.unreadable > 0 {
        output::note(&format!("{} directories could not be read", walked.unreadable));
    }
    walked.places
}
