//! `cudashim inspect` and `cudashim diff`.

use super::args::{DiffArgs, InspectArgs};
use super::context::{Context, reason};
use super::failure::{Context as _, Failure, Result, bail};
use super::format::Format;
use super::{output, probe};
use crate::check::Subject;
use crate::host::Host;
use crate::inventory::places::{self, Demand, Place};
use crate::inventory::scan::{Comparison, Inspection, Scan, Survey, sites, users};
use crate::inventory::{Depth, Inventory};
use crate::loader::{Object, ObjectError, Objects};
use crate::machine::{Machine, Request};
use crate::report::{ComparisonReport, InspectFile, InspectReport, ScanDiff, ScanReport, inspect_text};
use crate::tables::parse_library_name;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Exit code 2 if a file cannot be read; the others are still shown.
pub(super) fn inspect(context: &Context, args: &InspectArgs) -> Result<ExitCode> {
    let machine = context.machine();
    let (objects, loader) = (machine.objects(), machine.loader());
    let files = &args.files.iter().map(|file| named(&machine, file)).collect::<Vec<_>>();
    let scan = scan_around(context, &machine, files, args)?;
    let mut seen = Vec::new();
    let mut failed: Option<Failure> = None;
    for file in files {
        let looked = Inspection::new(objects, loader, &scan, file, args.hash);
        match looked.map_err(|error| unread(file, &error)) {
            Ok(inspection) => {
                let report = InspectFile::new(&inspection);
                match args.format {
                    Format::Human => {
                        let blank = if seen.is_empty() {
                            ""
                        } else {
                            "
"
                        };
                        output::laid_out(&format!("{blank}{}", inspect_text(&report, output::width())))?;
                    }
                    Format::Jsonl => output::json_line(&report)?,
                    _ => {}
                }
                seen.push(report);
            }
            Err(error) => {
                if let Some(earlier) = failed.replace(error) {
                    output::failure(&earlier);
                }
            }
        }
    }
    if !seen.is_empty() {
        let report = InspectReport::new(seen);
        match args.format.of_findings() {
            Some(form) => output::findings(&report.listed(), form, context.checkout())?,
            None if args.format == Format::Json => output::json(&report)?,
            None => {}
        }
    }
    failed.map_or(Ok(ExitCode::SUCCESS), Err)
}

/// The file that a word names: a path, or the environment's copy of that name.
fn named(machine: &Machine, word: &Path) -> PathBuf {
    let host = machine.host();
    let name = word.to_str().filter(|name| !name.contains('/') && host.stat(&host.absolute(word)).is_err());
    let Some(name) = name else { return word.to_owned() };
    let python = Request::default().interpreter(host).ok().flatten();
    let stem = parse_library_name(name).map_or(name, |name| name.row.stem);
    let installed = python.and_then(|python| Subject::library(host, &python, stem));
    let installed = installed.filter(|path| stem == name || path.file_name().is_some_and(|file| file == name));
    installed.or_else(|| Some(machine.loader().find(name.as_ref())?.0)).unwrap_or_else(|| word.to_owned())
}

fn unread(file: &Path, error: &ObjectError) -> Failure {
    match error {
        ObjectError::Open(error) => {
            let failure = Failure::new(format!("cannot open `{}`: {}", file.display(), reason(error)));
            let is_name = !file.as_os_str().as_encoded_bytes().contains(&b'/');
            if is_name { failure.hint("run `cudashim scan` to list the libraries here") } else { failure }
        }
        error => Failure::new(format!("cannot read `{}`: {error}", file.display())),
    }
}

/// A scan of the machine and of the directories and environments of the files; empty if no file is named like a library
/// of NVIDIA's.
fn scan_around(context: &Context, machine: &Machine, files: &[PathBuf], args: &InspectArgs) -> Result<Scan> {
    let (host, objects, loader) = (machine.host(), machine.objects(), machine.loader());
    let paths = files.iter().map(|file| host.absolute(file));
    let real = |path: PathBuf| host.canonical(&path).ok().filter(|real| *real != path).into_iter().chain([path]);
    let ours: Vec<PathBuf> = paths.flat_map(real).filter(|path| is_ours(path)).collect();
    if ours.is_empty() {
        if args.probe {
            probe::files(context, loader, &mut Inventory::default(), files)?;
        }
        return Ok(Scan::default());
    }
    let mut places = places::known(host, loader, Demand::Usual);
    places.extend(ours.iter().flat_map(|path| around(host, path)));
    let mut survey = Survey::new(objects, places, Depth::Quick);
    let requested = |path: &Path| ours.iter().any(|own| own == path);
    while let Some(entries) = survey.read_next(&AtomicBool::new(false)) {
        for mut entry in entries {
            if args.hash && entry.paths.iter().any(|path| requested(path)) {
                survey.digest(&mut entry);
            }
        }
    }
    if args.probe {
        probe::files(context, loader, survey.inventory(), files)?;
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

/// Compares two saved scans if both are JSON, else two libraries. Exit code 1: they differ, or the second cannot
/// replace the first.
pub(super) fn diff(context: &Context, args: &DiffArgs) -> Result<ExitCode> {
    let (a, b) = (&*args.a, &*args.b);
    let machine = context.machine();
    let (host, objects) = (machine.host(), machine.objects());
    let (is_a, is_b) = (is_json(host, a), is_json(host, b));
    if is_a && is_b {
        let diff = ScanDiff::new(&saved(host, a)?, &saved(host, b)?);
        match args.format {
            Format::Json => output::json(&diff)?,
            Format::Jsonl => output::json_line(&diff)?,
            other => match other.of_findings() {
                Some(form) => output::findings(&diff.listed(), form, context.checkout())?,
                None => output::report(&diff.text())?,
            },
        }
        return Ok(ExitCode::from(u8::from(!diff.is_empty())));
    }
    if is_a || is_b {
        bail!("cannot compare `{}` with `{}`: only one is a saved scan", a.display(), b.display());
    }
    let (a, b) = (open(objects, a)?, open(objects, b)?);
    let users = users_around(&machine, &[&a, &b]);
    let comparison = Comparison::new(&a, &b, users.iter().map(Arc::as_ref))
        .map_err(|error| Failure::new(format!("cannot compare the symbols: {error}")))?;
    let release = |object: &Object| {
        let libraries = Inventory::scan(objects, around(host, &object.path)).libraries;
        let library = libraries.into_iter().find(|library| library.stat.id == object.stat.id)?;
        library.version.map(|version| version.to_string())
    };
    let report = ComparisonReport::new(&a, &b, &comparison).with_releases(release(&a), release(&b));
    match args.format {
        Format::Json => output::json(&report)?,
        Format::Jsonl => output::json_line(&report)?,
        other => match other.of_findings() {
            Some(form) => output::findings(&report.listed(), form, context.checkout())?,
            None => output::laid_out(&report.text(output::width()))?,
        },
    }
    Ok(ExitCode::from(u8::from(!comparison.stands_in())))
}

/// The objects that may bind to one of two libraries: those of the known places, and those of the libraries'
/// environments.
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

fn open(objects: &Objects, file: &Path) -> Result<Arc<Object>> {
    let path = objects.host().absolute(file);
    objects.open(&path).map_err(|error| unread(file, &error))
}

fn is_json(host: &Host, file: &Path) -> bool {
    host.read_start(&host.absolute(file), 1).is_ok_and(|start| start == b"{")
}

fn saved(host: &Host, file: &Path) -> Result<ScanReport> {
    let bytes = host.read(&host.absolute(file)).with_context(|| format!("cannot read `{}`", file.display()))?;
    ScanReport::parse(&bytes).map_err(|error| {
        Failure::new(format!("cannot read `{}` as a saved scan: {error}", file.display()))
            .hint("save one with `cudashim scan --format json`")
    })
}
