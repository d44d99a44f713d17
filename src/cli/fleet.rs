//! `cudashim fleet`: saved scans of many nodes, compared.

use super::context::reason;
use super::failure::{Failure, Result};
use super::format::Format;
use super::node_args::FleetArgs;
use super::output;
use crate::report::{Fleet, fleet_text, left_out_notes, sanitized};
use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;
use std::process::ExitCode;

/// Bytes read at once.
const PIECE: usize = 1 << 18;

pub(super) fn fleet(args: &FleetArgs) -> Result<ExitCode> {
    let mut fleet = Fleet::default();
    let stdin = [Path::new("-").to_owned()];
    let files = if args.files.is_empty() { &stdin } else { args.files.as_slice() };
    for file in files {
        let read = if file == Path::new("-") {
            fleet.read("standard input", io::stdin().lock())
        } else {
            let open = File::open(file);
            open.and_then(|open| fleet.read(&file.display().to_string(), BufReader::with_capacity(PIECE, open)))
        };
        read.map_err(|error| Failure::new(format!("cannot read `{}`: {}", file.display(), reason(&error))))?;
    }
    if fleet.is_empty() {
        for note in left_out_notes(fleet.left_out()) {
            output::note(&note);
        }
        return Err(Failure::new("cannot compare nodes: no whole scan was read")
            .hint("save one on each node with `cudashim scan --format jsonl`"));
    }
    let report = fleet.report();
    for note in report.notes() {
        output::note(&note);
    }
    match args.format {
        Format::Json => output::json(&report)?,
        Format::Jsonl => output::json_lines(report.rows())?,
        Format::Html => output::print(report.page().html())?,
        _ => output::laid_out(&sanitized(&fleet_text(&report)))?,
    }
    Ok(ExitCode::from(u8::from(!report.is_fine())))
}
