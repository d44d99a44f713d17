//! Whether a node is fit for a job: the gate before it.
//!
//! Takes a machine, the state of a lock on it, and what its driver answered; gives a [`NodeReport`]. The rules about the driver
//! are those of `doctor`, those about files those of `scan` and `verify`. Looks at no Python and chooses no set, so that it
//! takes little time on a machine with many environments.

mod metrics;

pub use metrics::node_metrics;

use super::report::DriverLine;
use super::{Case, Finding, Remedy, driver};
use crate::driver::{Device, Devices, Driver};
use crate::elf::{Class, Kind};
use crate::host::Host;
use crate::inventory::places;
use crate::inventory::{Inventory, problems};
use crate::loader::ObjectError;
use crate::machine::{Machine, Request, RequestError};
use crate::plan::{Plan, State};
use crate::report::{JsonPath, SCHEMA, VerifyReport};
use crate::tables::{Severity, parse_library_name};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Problems of a file that no process can load.
const BROKEN: [&str; 3] = ["truncated-or-foreign-elf", "unreadable", "wrong-class"];

/// Reasons in one line.
const REASONS: usize = 3;

/// What is asked of a node.
#[derive(Debug, Default)]
pub struct NodeAsked {
    /// The lock or plan that must hold, or why it cannot be used.
    pub plan: Option<Result<NodePlan, String>>,
    /// The answers of the driver.
    pub devices: Devices,
    /// Why a library of the driver was not queried although it is here.
    pub unasked: Vec<String>,
    /// The number of GPUs that must answer.
    pub gpus: usize,
}

/// A lock or plan on this machine.
#[derive(Debug)]
pub struct NodePlan {
    /// What `verify` finds.
    pub report: VerifyReport,
    /// Its libraries.
    pub plan: Plan,
}

/// The report of `node`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct NodeReport {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The name of the machine.
    pub host: Option<String>,
    /// Whether a job may start.
    pub ok: bool,
    /// The answer in one line.
    pub says: String,
    /// What was checked, in order.
    pub checks: Vec<NodeCheck>,
    /// The lock or plan; absent where none was named.
    pub plan: Option<JsonPath>,
    /// The driver in short.
    pub driver: DriverLine,
    /// The number of GPUs that answer.
    pub gpus: usize,
    /// The number of GPUs that must.
    pub required: usize,
    /// The GPUs that answer.
    pub devices: Vec<Device>,
    /// What is wrong, the worst first.
    pub findings: Vec<Finding>,
}

/// One part of the check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NodeCheck {
    /// `plan`, `driver`, `libraries` or `devices`.
    pub check: &'static str,
    /// Whether nothing fatal was found.
    pub ok: bool,
    /// The first reason, or what holds.
    pub says: String,
}

/// Judges a node.
#[must_use]
pub fn judge_node(host: &Host, asked: &NodeAsked) -> NodeReport {
    // With a plan in force, though an empty one, no rule asks for the set to hand out.
    let machine = Machine::new(host.clone(), Request::default()).with_plan(Plan::default());
    let (objects, loader) = (machine.objects(), machine.loader());
    let inventory = Inventory::scan(objects, places::searched(host, loader));
    let driver = Driver::look(loader, &inventory).with_devices(asked.devices.clone());
    let problems = problems(&inventory, loader);
    let nobody = RequestError::NotInstalled(String::new());
    let case = Case {
        machine: &machine,
        host,
        objects,
        loader,
        inventory: &inventory,
        problems: &problems,
        driver: &driver,
        interpreter: None,
        torch: None,
        installed: &[],
        answer: Err(&nobody),
        judged: &[],
        command: &[],
    };
    let gpus = count(&driver);
    let parts = [
        ("plan", of_plan(&case, asked.plan.as_ref())),
        ("driver", driver::findings(&case)),
        ("libraries", of_files(&case, asked.plan.as_ref())),
        ("devices", of_devices(&case, asked, gpus)),
    ];
    let line = DriverLine::of(&driver);
    let holds = |check: &str| match check {
        "plan" => asked.plan.as_ref().and_then(|plan| Some(plan.as_ref().ok()?.holds())),
        "driver" => Some(driver_text(&line, &driver)),
        "libraries" => None,
        _ => Some(devices_text(&driver, gpus)),
    };
    let checks: Vec<NodeCheck> = parts
        .iter()
        .filter(|(check, _)| *check != "plan" || asked.plan.is_some())
        .map(|(check, found)| {
            let fatal = found.iter().find(|finding| finding.severity == Severity::Fatal);
            let says = fatal.map_or_else(|| holds(check).unwrap_or_default(), |finding| finding.cause.clone());
            NodeCheck { check, ok: fatal.is_none(), says }
        })
        .collect();
    let mut findings: Vec<Finding> = Vec::new();
    for finding in parts.into_iter().flat_map(|(_, found)| found) {
        if !findings.iter().any(|known| known.id == finding.id && known.cause == finding.cause) {
            findings.push(finding);
        }
    }
    findings.sort_by_key(|finding| finding.severity);
    let ok = checks.iter().all(|check| check.ok);
    NodeReport {
        schema: SCHEMA,
        host: host.name(),
        ok,
        says: says(ok, &checks, &findings),
        checks,
        plan: asked.plan.as_ref().and_then(|plan| Some(plan.as_ref().ok()?.report.lock.clone())),
        driver: line,
        gpus,
        required: asked.gpus,
        devices: driver.devices().to_vec(),
        findings,
    }
}

impl NodePlan {
    /// The sentence where it holds.
    fn holds(&self) -> String {
        let count = self.plan.chosen().count();
        let libraries = if count == 1 { "library" } else { "libraries" };
        let target = self.report.r#for.first().map(|target| format!(" for {target}")).unwrap_or_default();
        format!("`{}` holds: {count} {libraries}{target}", self.report.lock.to_path().display())
    }
}

impl NodeReport {
    /// The answer in one line: `ok: …` or `fail: …`.
    #[must_use]
    pub fn line(&self) -> String {
        let word = if self.ok { "ok" } else { "fail" };
        format!("{word}: {}", self.says.replace('\n', "\\n"))
    }

    /// What a job runs with and may trip over, in a line each.
    pub fn warnings(&self) -> impl Iterator<Item = &str> {
        self.findings.iter().filter(|finding| finding.severity == Severity::Warning).map(|it| it.cause.as_str())
    }
}

/// The reasons against the node; what holds, where there are none.
fn says(ok: bool, checks: &[NodeCheck], findings: &[Finding]) -> String {
    if ok {
        return checks
            .iter()
            .map(|check| check.says.as_str())
            .filter(|says| !says.is_empty())
            .collect::<Vec<_>>()
            .join("; ");
    }
    let reasons: Vec<&str> = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Fatal)
        .map(|finding| finding.cause.as_str())
        .collect();
    let more = reasons.len().saturating_sub(REASONS);
    let shown = reasons.into_iter().take(REASONS).collect::<Vec<_>>().join("; ");
    if more > 0 { format!("{shown}; and {more} more") } else { shown }
}

/// The lock does not hold, or cannot be used.
fn of_plan(case: &Case<'_>, plan: Option<&Result<NodePlan, String>>) -> Vec<Finding> {
    let report = match plan {
        None => return Vec::new(),
        Some(Err(why)) => {
            let found = case.finding("plan-drifted").map(|found| found.because(why.clone()));
            return found.into_iter().collect();
        }
        Some(Ok(plan)) => &plan.report,
    };
    let changed: Vec<_> = report.checks.iter().filter(|check| check.state == State::Drifted).collect();
    let Some(first) = changed.first() else { return Vec::new() };
    let more = match changed.len() {
        1 => String::new(),
        2 => ", and 1 more change".to_owned(),
        count => format!(", and {} more changes", count - 1),
    };
    let says = format!("`{}` does not hold: {}: {}{more}", report.lock.to_path().display(), first.name, first.says);
    let found = case.finding("plan-drifted").map(|found| {
        let found = changed.iter().fold(found.because(says), |found, check| match &check.path {
            Some(path) => found.seen_at("file", &path.to_path(), check.says.clone()),
            None => found.seen("rule", format!("{}: {}", check.name, check.says)),
        });
        found.healed_by([Remedy::action("bring the node to the state of the lock, or write a new lock")])
    });
    found.into_iter().collect()
}

/// Libraries of the driver and of the plan that no process can load; without a plan, those that any program finds.
fn of_files(case: &Case<'_>, plan: Option<&Result<NodePlan, String>>) -> Vec<Finding> {
    let is_driver =
        |path: &Path| path.file_name().and_then(parse_library_name).is_some_and(|name| name.row.is_driver());
    let broken = case.inventory.problems.iter().filter(|problem| {
        let counts = plan.is_none() || is_driver(&problem.path);
        BROKEN.contains(&problem.id) && counts && !is_of_32_bits(case, &problem.path)
    });
    let mut seen: Vec<(&'static str, PathBuf, String)> =
        broken.map(|problem| (problem.id, problem.path.clone(), problem.says.clone())).collect();
    // A file that `verify` finds unchanged by its stat may have lost its content.
    let held = |plan: &NodePlan, soname: &str| {
        !plan.report.checks.iter().any(|check| check.name == soname && check.state == State::Drifted)
    };
    for plan in plan.into_iter().flatten() {
        for library in plan.plan.libraries.iter().filter(|library| held(plan, &library.soname)) {
            if let Err(error) = case.objects.open(&library.path)
                && !seen.iter().any(|(_, path, _)| *path == library.path)
            {
                seen.push(("truncated-or-foreign-elf", library.path.clone(), error.to_string()));
            }
        }
    }
    let found = seen.into_iter().filter_map(|(id, path, says)| {
        let found = case.finding(id)?.severity(Severity::Fatal);
        Some(found.because(format!("`{}`: {says}", path.display())).seen_at("file", &path, says))
    });
    found.collect()
}

/// Whether a file is a library of the 32-bit driver, which distributions install beside the other, and ld.so skips.
fn is_of_32_bits(case: &Case<'_>, path: &Path) -> bool {
    let Err(ObjectError::Elf(error)) = case.objects.open(path) else { return false };
    matches!(error.kind, Kind::Foreign(ident) if ident.class == Class::Elf32)
}

/// Fewer GPUs answer than required, or a library of the driver was not queried.
fn of_devices(case: &Case<'_>, asked: &NodeAsked, gpus: usize) -> Vec<Finding> {
    let mut found: Vec<Finding> = Vec::new();
    for why in &asked.unasked {
        found.extend(case.finding("driver-does-not-answer").map(|found| found.because(why.clone())));
    }
    if gpus < asked.gpus {
        let answer = match gpus {
            0 => "no GPU answers".to_owned(),
            1 => "1 GPU answers".to_owned(),
            gpus => format!("{gpus} GPUs answer"),
        };
        let finding = case.finding("too-few-gpus");
        found.extend(finding.map(|found| found.because(format!("{answer}, {} required", asked.gpus))));
    }
    found
}

/// The GPUs that answer. CUDA shows one part of a GPU that is divided (MIG), and NVML those of which it has no name too.
fn count(driver: &Driver) -> usize {
    let responses = [&driver.devices.cuda, &driver.devices.nvml].into_iter().flatten();
    responses.map(|response| response.devices.len()).max().unwrap_or_default()
}

fn driver_text(line: &DriverLine, driver: &Driver) -> String {
    match (&line.version, &line.cuda) {
        (Some(version), _) if !driver.is_loaded() => format!("libraries of driver {version}, no kernel module"),
        (Some(version), Some(cuda)) => format!("driver {version} (CUDA {cuda})"),
        (Some(version), None) => format!("driver {version}"),
        _ => "no driver".to_owned(),
    }
}

fn devices_text(driver: &Driver, gpus: usize) -> String {
    let name = driver.devices().first().map(|device| device.name.as_str()).unwrap_or_default();
    match gpus {
        0 if driver.gpus.as_ref().is_some_and(|gpus| !gpus.is_empty()) => "no GPU is used".to_owned(),
        0 => "no GPU".to_owned(),
        1 => format!("1 GPU ({name})"),
        gpus => format!("{gpus} GPUs ({name})"),
    }
}
