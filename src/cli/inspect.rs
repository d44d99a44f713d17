//! `cudashim inspect` and `cudashim diff`.

use super::args::{Cli, Format};
use super::resolve;
use crate::host::Host;
use crate::inventory::Inventory;
use crate::loader::Loader;
use crate::objects::{Object, Objects};
use crate::places::{self, Demand};
use crate::report::{InspectReport, ScanDiff, ScanReport, comparison_text, sanitized};
use crate::scan::Comparison;
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;

pub(super) fn inspect(cli: &Cli, files: &[PathBuf]) -> anyhow::Result<ExitCode> {
    let host = resolve::host(cli);
    let objects = Objects::new(&host);
    for (index, file) in files.iter().enumerate() {
        let report = InspectReport::new(file, &*open(&objects, file)?);
        match cli.format {
            Format::Human | Format::Markdown if index == 0 => resolve::print(sanitized(&report.text()))?,
            Format::Human | Format::Markdown => resolve::print(format!("\n{}", sanitized(&report.text())))?,
            Format::Json => resolve::print(resolve::json(&report)?)?,
            Format::Jsonl => resolve::print(serde_json::to_string(&report)? + "\n")?,
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Two saved scans where both are JSON, else two libraries. 1: they differ, or the second may not stand in.
pub(super) fn diff(cli: &Cli, a: &Path, b: &Path) -> anyhow::Result<ExitCode> {
    let host = resolve::host(cli);
    let (is_a, is_b) = (is_json(&host, a), is_json(&host, b));
    if is_a && is_b {
        let diff = ScanDiff::new(&saved(&host, a)?, &saved(&host, b)?);
        match cli.format {
            Format::Human | Format::Markdown => resolve::print(sanitized(&diff.text()))?,
            Format::Json | Format::Jsonl => resolve::print(resolve::json(&diff)?)?,
        }
        return Ok(ExitCode::from(u8::from(!diff.is_empty())));
    }
    if is_a || is_b {
        bail!("`{}` and `{}` cannot be compared: one is a saved scan, the other is not", a.display(), b.display());
    }
    let objects = Objects::new(&host);
    let (a, b) = (open(&objects, a)?, open(&objects, b)?);
    // Who here would break: the libraries known to this machine.
    let loader = Loader::new(&objects);
    let inventory = Inventory::scan(&objects, places::known(&host, &loader, Demand::Usual));
    let users = inventory.libraries.iter().filter_map(|library| library.object.as_deref());
    let comparison = Comparison::new(&a, &b, users).context("the symbols cannot be compared")?;
    match cli.format {
        Format::Human | Format::Markdown => resolve::print(sanitized(&comparison_text(&comparison)))?,
        Format::Json | Format::Jsonl => resolve::print(resolve::json(&comparison)?)?,
    }
    Ok(ExitCode::from(u8::from(!comparison.stands_in())))
}

fn open(objects: &Objects<'_>, file: &Path) -> anyhow::Result<Rc<Object>> {
    let path = objects.host().absolute(file);
    objects.open(&path).map_err(|error| anyhow::anyhow!("`{}`: {error}", file.display()))
}

fn is_json(host: &Host, file: &Path) -> bool {
    host.read_start(&host.absolute(file), 1).is_ok_and(|start| start == b"{")
}

fn saved(host: &Host, file: &Path) -> anyhow::Result<ScanReport> {
    let bytes = host.read(&host.absolute(file)).with_context(|| format!("`{}` cannot be read", file.display()))?;
    serde_json::from_slice(&bytes)
        .with_context(|| format!("`{}` is no saved scan: save one with `cudashim scan --format json`", file.display()))
}
