//! `cudashim inspect` and `cudashim diff`.

use super::args::{Cli, Format};
use super::{output, probe, resolve};
use crate::host::Host;
use crate::inventory::places::{self, Demand, Place};
use crate::inventory::scan::{Comparison, Inspection, Scan, Survey, sites, users};
use crate::inventory::{Depth, Inventory};
use crate::loader::{Object, Objects};
use crate::machine::Machine;
use crate::report::{ComparisonReport, InspectFile, InspectReport, ScanDiff, ScanReport, inspect_text, sanitized};
use crate::tables::parse_library_name;
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// 2: one of the files cannot be read; the others are shown all the same.
pub(super) fn inspect(cli: &Cli, files: &[PathBuf], asks: bool, hash: bool) -> anyhow::Result<ExitCode> {
    if asks {
        resolve::live(cli)?;
    }
    let machine = resolve::machine(cli);
    let (objects, loader) = (machine.objects(), machine.loader());
    let scan = scan_around(&machine, files, asks, hash)?;
    let mut seen = Vec::new();
    let mut failed = None;
    for file in files {
        let looked = Inspection::new(objects, loader, &scan, file, hash);
        match looked.map_err(|error| anyhow::anyhow!("`{}`: {error}", file.display())) {
            Ok(inspection) => {
                let report = InspectFile::new(&inspection);
                match cli.format {
                    Format::Human | Format::Markdown if seen.is_empty() => {
                        resolve::print(inspect_text(&report, output::width()))?;
                    }
                    Format::Human | Format::Markdown => {
                        resolve::print(format!("\n{}", inspect_text(&report, output::width())))?;
                    }
                    Format::Json => {}
                    Format::Jsonl => resolve::print(resolve::json_line(&report)?)?,
                }
                seen.push(report);
            }
            Err(error) => {
                if let Some(earlier) = failed.replace(error) {
                    output::error(&earlier);
                }
            }
        }
    }
    if cli.format == Format::Json && !seen.is_empty() {
        resolve::print(resolve::json(&InspectReport::new(seen))?)?;
    }
    failed.map_or(Ok(ExitCode::SUCCESS), Err)
}

/// A scan of the machine and of the directories and environments that files stand in; of nothing, where no file has the
/// name of a library of NVIDIA's.
fn scan_around(machine: &Machine, files: &[PathBuf], asks: bool, hash: bool) -> anyhow::Result<Scan> {
    let (host, objects, loader) = (machine.host(), machine.objects(), machine.loader());
    let paths = files.iter().map(|file| host.absolute(file));
    let real = |path: PathBuf| host.canonical(&path).ok().filter(|real| *real != path).into_iter().chain([path]);
    let ours: Vec<PathBuf> = paths.flat_map(real).filter(|path| is_ours(path)).collect();
    if ours.is_empty() {
        if asks {
            probe::files(loader, &mut Inventory::default(), files)?;
        }
        return Ok(Scan::default());
    }
    let mut places = places::known(host, loader, Demand::Usual);
    places.extend(ours.iter().flat_map(|path| around(host, path)));
    let mut survey = Survey::new(objects, places, Depth::Quick);
    let wanted = |path: &Path| ours.iter().any(|own| own == path);
    while let Some(entries) = survey.read_next(&AtomicBool::new(false)) {
        for mut entry in entries {
            if hash && entry.paths.iter().any(|path| wanted(path)) {
                survey.digest(&mut entry);
            }
        }
    }
    if asks {
        probe::files(loader, survey.inventory(), files)?;
    }
    Ok(survey.finish(loader))
}

fn is_ours(path: &Path) -> bool {
    path.file_name().and_then(parse_library_name).is_some()
}

/// The directory of a file, and the Python environment it belongs to.
fn around(host: &Host, path: &Path) -> Vec<Place> {
    let Some(dir) = path.parent() else { return Vec::new() };
    let place = places::walked(host, dir.to_owned());
    let mut around = places::sites(host, &sites(std::iter::once(place.root.as_path())).into_iter().collect::<Vec<_>>());
    around.push(place);
    around
}

/// Two saved scans where both are JSON, else two libraries. 1: they differ, or the second may not stand in.
pub(super) fn diff(cli: &Cli, a: &Path, b: &Path) -> anyhow::Result<ExitCode> {
    let machine = resolve::machine(cli);
    let (host, objects) = (machine.host(), machine.objects());
    let (is_a, is_b) = (is_json(host, a), is_json(host, b));
    if is_a && is_b {
        let diff = ScanDiff::new(&saved(host, a)?, &saved(host, b)?);
        match cli.format {
            Format::Human | Format::Markdown => resolve::print(sanitized(&diff.text()))?,
            Format::Json => resolve::print(resolve::json(&diff)?)?,
            Format::Jsonl => resolve::print(resolve::json_line(&diff)?)?,
        }
        return Ok(ExitCode::from(u8::from(!diff.is_empty())));
    }
    if is_a || is_b {
        bail!("`{}` and `{}` cannot be compared: one is a saved scan, the other is not", a.display(), b.display());
    }
    let (a, b) = (open(objects, a)?, open(objects, b)?);
    let users = users_around(&machine, &[&a, &b]);
    let comparison =
        Comparison::new(&a, &b, users.iter().map(Arc::as_ref)).context("the symbols cannot be compared")?;
    let release = |object: &Object| {
        let libraries = Inventory::scan(objects, around(host, &object.path)).libraries;
        let library = libraries.into_iter().find(|library| library.stat.id == object.stat.id)?;
        library.version.map(|version| version.to_string())
    };
    let report = ComparisonReport::new(&a, &b, &comparison).with_releases(release(&a), release(&b));
    match cli.format {
        Format::Human | Format::Markdown => resolve::print(report.text(output::width()))?,
        Format::Json => resolve::print(resolve::json(&report)?)?,
        Format::Jsonl => resolve::print(resolve::json_line(&report)?)?,
    }
    Ok(ExitCode::from(u8::from(!comparison.stands_in())))
}

/// Who might bind to one of two libraries: what is known to this machine, and what stands in their environments.
fn users_around(machine: &Machine, compared: &[&Object]) -> Vec<Arc<Object>> {
    let (host, objects) = (machine.host(), machine.objects());
    let mut places = places::known(host, machine.loader(), Demand::Usual);
    places.extend(compared.iter().flat_map(|object| around(host, &object.path)));
    let roots: Vec<PathBuf> = places.iter().map(|place| place.root.clone()).collect();
    let mut found = users(objects, &sites(roots.iter().map(PathBuf::as_path)));
    for place in places::distinct(host, places) {
        let names = host.list(&place.dir).unwrap_or_default().into_iter().map(|entry| place.dir.join(entry.name));
        found.extend(names.filter(|path| is_ours(path)).filter_map(|path| objects.open(&path).ok()));
    }
    found
}

fn open(objects: &Objects, file: &Path) -> anyhow::Result<Arc<Object>> {
    let path = objects.host().absolute(file);
    objects.open(&path).map_err(|error| anyhow::anyhow!("`{}`: {error}", file.display()))
}

fn is_json(host: &Host, file: &Path) -> bool {
    host.read_start(&host.absolute(file), 1).is_ok_and(|start| start == b"{")
}

fn saved(host: &Host, file: &Path) -> anyhow::Result<ScanReport> {
    let bytes = host.read(&host.absolute(file)).with_context(|| format!("`{}` cannot be read", file.display()))?;
    ScanReport::parse(&bytes)
        .with_context(|| format!("`{}` is no saved scan: save one with `cudashim scan --format json`", file.display()))
}
