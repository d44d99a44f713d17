//! What may use the libraries of an image: the command of its containers, and each Python that has NVIDIA libraries.
//!
//! Takes the image and its libraries; gives each target with the findings of `doctor`. A driver is assumed to be there:
//! the container runtime of the host brings its libraries.

use super::contents::Contents;
use crate::check::Judgement;
use crate::diagnose::{Finding, TorchLine, examine};
use crate::driver::Assumed;
use crate::host::Host;
use crate::image::Image;
use crate::machine::{Environment, Machine, Request};
use crate::report::JsonPath;
use crate::tables::{FrameworkRow, Phase, Severity, drivers, frameworks};
use serde::Serialize;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// More Pythons than any image that is used has.
const TARGETS: usize = 24;

/// A target in short.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct TargetLine {
    /// The interpreter, or the program that the command starts.
    pub program: JsonPath,
    /// Whether the command of a container starts it.
    pub started: bool,
    /// Its torch.
    pub torch: Option<TorchLine>,
    /// The frameworks installed there, with their versions.
    pub frameworks: Vec<String>,
    /// Whether what it imports loads.
    pub loads: bool,
    /// Whether anything of it needs CUDA.
    pub uses_cuda: bool,
    /// The answer in one line.
    pub says: String,
}

/// A judged target.
pub(super) struct Target {
    pub(super) line: TargetLine,
    pub(super) machine: Machine,
    pub(super) findings: Vec<Finding>,
    pub(super) maps: Vec<Judgement>,
}

/// The targets of an image, judged.
pub(super) fn judged(image: &Image, contents: &Contents) -> Vec<Target> {
    let host = &image.host;
    let command = image.command();
    let mut seen = BTreeSet::new();
    let mut targets = Vec::new();
    for (request, started) in requests(host, command, contents) {
        if targets.len() >= TARGETS {
            log::warn!("more than {TARGETS} Pythons: the rest is not judged");
            break;
        }
        let Ok(machine) = Machine::new(host.clone(), request.clone()).answered() else { continue };
        let program = match machine.interpreter() {
            Some(python) => {
                host.canonical(&python.program).map(|own| (own, python.prefix.clone(), python.program.clone()))
            }
            None => continue,
        };
        let Ok((own, prefix, program)) = program else { continue };
        if !seen.insert((own, prefix)) {
            continue;
        }
        targets.push(judge(machine, &program, started));
    }
    targets
}

/// What is asked for each target, and whether the command starts it.
fn requests(host: &Host, command: Vec<OsString>, contents: &Contents) -> Vec<(Request, bool)> {
    let python = |python: PathBuf| Request { python: Some(python), ..Request::default() };
    let mut requests = Vec::new();
    if !command.is_empty() {
        requests.push((Request { command, ..Request::default() }, true));
    }
    requests.push((Request::default(), false));
    // The Pythons of the environments that have NVIDIA libraries.
    let sites: BTreeSet<&PathBuf> = contents.places.iter().map(|place| &place.root).collect();
    let is_site =
        |dir: &&&PathBuf| dir.file_name().is_some_and(|name| name == "site-packages" || name == "dist-packages");
    for site in sites.iter().filter(is_site) {
        let above = site.ancestors().skip(1).map(|dir| dir.join("bin"));
        let found =
            above.flat_map(|bin| ["python", "python3"].map(|name| bin.join(name))).find(|file| host.stat(file).is_ok());
        requests.extend(found.map(|found| (python(found), false)));
    }
    requests
}

/// The frameworks of an environment, one package for each, with their versions.
fn shown(environment: &Environment) -> Vec<String> {
    let package = |row: &FrameworkRow| {
        let packages = || environment.installed.iter().filter(|package| row.is_package(&package.name));
        let own = packages().find(|package| package.name == row.name).or_else(|| packages().next());
        // Debian's has no metadata.
        let torch = environment.torch.as_ref().filter(|_| row.name == "torch");
        own.map(|own| format!("{} {}", own.name, own.version))
            .or_else(|| torch.map(|torch| format!("{} {}", row.name, torch.version)))
    };
    frameworks().iter().filter_map(package).collect()
}

fn judge(machine: Machine, program: &Path, started: bool) -> Target {
    let assumed = drivers().last().and_then(|newest| Assumed::branch(newest.branch));
    let assumed = assumed.map_or_else(|| machine.bare(), |driver| machine.assuming(&driver, Vec::new()));
    let report = examine(&assumed, None);
    let frameworks = shown(machine.environment());
    let breaks = |finding: &&Finding| {
        finding.severity == Severity::Fatal && matches!(finding.phase, Phase::Start | Phase::Import)
    };
    let loads = report.findings.iter().find(breaks).is_none();
    let torch_needs = report.torch.as_ref().is_some_and(|torch| torch.cuda.is_some());
    let set_needs = machine.answer().is_ok_and(|answer| {
        answer.requirement.as_ref().is_some_and(|it| !it.needs.is_empty()) || answer.resolution.is_some()
    });
    let line = TargetLine {
        program: program.into(),
        started,
        torch: report.torch.clone(),
        frameworks,
        loads,
        uses_cuda: torch_needs || set_needs || machine.answer().is_err(),
        says: report.verdict.says.clone(),
    };
    Target { line, machine, findings: report.findings, maps: report.maps }
}
