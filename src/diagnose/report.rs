//! The complete report of `doctor` as a value; `--format json` prints it unchanged.

use super::compatible::{self, Toolkit, toolkits};
use super::matrix::{Matrix, Runs};
use super::{Case, Finding, Message};
use crate::check::Judgement;
use crate::driver::{Device, Driver};
use crate::inventory::Flavour;
use crate::machine::RequestError;
use crate::report::{JsonPath, ResolveReport, SCHEMA};
use crate::tables::{Group, Severity, finding_row};
use serde::Serialize;

/// The report.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The version of the format.
    pub schema: u32,
    /// The answer in one line.
    pub verdict: Verdict,
    /// The driver.
    pub driver: DriverLine,
    /// Its devices, if it was called.
    pub devices: Vec<Device>,
    /// The toolkits of the machine.
    pub toolkits: Vec<Toolkit>,
    /// The torch of the target.
    pub torch: Option<TorchLine>,
    /// Whether its CUDA release fits the driver and the toolkits, as a sentence; absent if there is nothing to
    /// compare.
    pub cuda: Option<String>,
    /// The answer of `resolve`; absent if no set fits.
    pub set: Option<ResolveReport>,
    /// The findings, the worst first.
    pub findings: Vec<Finding>,
    /// The messages recognised in the error text, the most specific first; absent without a text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages: Option<Vec<Message>>,
    /// Whether the target runs on each of several drivers and GPUs; absent if at most one of each was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<Matrix>,
    /// The driver as it can be recorded.
    #[serde(skip)]
    pub machine: Driver,
    /// What the targets load, in order.
    #[serde(skip)]
    pub(super) maps: Vec<Judgement>,
}

/// The answer in one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Whether there are facts at most.
    pub fine: bool,
    /// The verdict as a sentence.
    pub says: String,
}

impl Verdict {
    /// The verdict of a target that a table of drivers and GPUs is about, where this one is of its other findings.
    #[must_use]
    pub(super) fn tabled(self, target: &str, table: &Matrix) -> Self {
        let count = |runs| table.cells.iter().filter(|cell| cell.runs == runs).count();
        let (no, conditions, all) = (count(Runs::No), count(Runs::Conditions), table.cells.len());
        if let [cell] = &*table.cells {
            let says = match cell.runs {
                Runs::No if self.fine => sentence(target, &cell.says),
                _ => self.says,
            };
            return Self { fine: self.fine && no == 0, says };
        }
        if all == 0 {
            return self;
        }
        let with = if conditions > 0 { format!(", on {conditions} with conditions") } else { String::new() };
        let runs = format!("{target}: runs on {} of {all} pairs of driver and GPU{with}", all - no - conditions);
        let says = if self.fine { runs } else { format!("{runs}; {}", self.says) };
        Self { fine: self.fine && no == 0, says }
    }
}

/// The driver in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DriverLine {
    /// Its version.
    pub version: Option<String>,
    /// Its CUDA release.
    pub cuda: Option<String>,
    /// The kind of kernel module, if one is loaded.
    pub module: Option<Flavour>,
    /// The libcuda that ld.so finds.
    pub libcuda: Option<JsonPath>,
    /// The rule that finds it.
    pub rule: Option<String>,
    /// The CUDA release of that libcuda, if it comes from a compatibility package.
    pub compat: Option<String>,
    /// Whether it is assumed: not the one of this machine.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub assumed: bool,
}

/// The torch in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TorchLine {
    /// As `torch.__version__`.
    pub version: String,
    /// As `torch.version.cuda`.
    pub cuda: Option<String>,
    /// Its directory.
    pub path: JsonPath,
}

impl DriverLine {
    pub(super) fn of(driver: &Driver) -> Self {
        let libcuda = driver.libcuda.as_ref();
        let compat = driver.found_libcuda().and_then(crate::driver::rules::cuda_of_compat);
        Self {
            version: driver.driver_version().map(|version| version.to_string()),
            cuda: driver.driver_cuda().map(|cuda| cuda.to_string()),
            module: driver.kernel.flavour,
            libcuda: libcuda.map(|found| found.path.as_path().into()),
            rule: libcuda.map(|found| found.rule.clone()),
            compat: compat.map(|cuda| cuda.to_string()),
            assumed: driver.assumed,
        }
    }
}

impl Report {
    pub(super) fn new(case: &Case<'_>, findings: Vec<Finding>, messages: Option<Vec<Message>>) -> Self {
        let machine = case.driver;
        let mut verdict = verdict(&findings, torch_line(case).as_ref());
        if messages.is_some() && !findings.iter().any(explains) {
            verdict.says = if verdict.fine {
                "unknown error text, and no problem found here that explains it".to_owned()
            } else {
                format!("unknown error text; {}", verdict.says)
            };
        }
        let torch = torch_line(case);
        let set = match case.answer {
            Ok(answer) if machine.assumed => Some(answer.report().without_driver()),
            Ok(answer) => Some(answer.report()),
            Err(RequestError::NoSolution { source, requirement }) => Some(ResolveReport::none(requirement, source)),
            Err(_) => None,
        };
        let toolkits = toolkits(case);
        Self {
            schema: SCHEMA,
            verdict,
            driver: DriverLine::of(machine),
            devices: machine.devices().to_vec(),
            cuda: compatible::line(case, &toolkits),
            toolkits,
            torch,
            set,
            findings,
            messages,
            table: None,
            machine: machine.clone(),
            maps: case.judged.iter().map(|judged| judged.judgement.clone()).collect(),
        }
    }

    /// The report of an assumed driver: a warning about it is a condition, with which the target runs.
    #[must_use]
    pub(super) fn assumed(mut self) -> Self {
        let is_wrong = |finding: &Finding| match finding.severity {
            Severity::Fatal => true,
            Severity::Warning => !of_driver(finding),
            _ => false,
        };
        self.verdict.fine = !self.findings.iter().any(is_wrong);
        self
    }

    /// The report with a table of drivers and GPUs in place of one driver and its findings.
    #[must_use]
    pub(super) fn tabled(mut self, table: Matrix) -> Self {
        self.findings.retain(|finding| !of_driver(finding));
        let found = verdict(&self.findings, self.torch.as_ref());
        let target = self.torch.as_ref().map_or_else(|| "this environment".to_owned(), |_| target(self.torch.as_ref()));
        self.verdict = found.tabled(&target, &table);
        self.driver = DriverLine {
            version: None,
            cuda: None,
            module: None,
            libcuda: None,
            rule: None,
            compat: None,
            assumed: true,
        };
        Self { table: Some(table), devices: Vec::new(), cuda: None, ..self }
    }

    /// Whether the report has a text that no finding explains.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.messages.is_some() && !self.findings.iter().any(explains)
    }

    /// Whether there are facts at most.
    #[must_use]
    pub fn is_fine(&self) -> bool {
        self.verdict.fine
    }
}

/// Whether a finding is about the driver and its GPUs.
fn of_driver(finding: &Finding) -> bool {
    finding_row(finding.id).is_some_and(|row| row.group == Group::Driver)
}

/// Whether a finding explains a message of the text.
fn explains(finding: &Finding) -> bool {
    finding.evidence.iter().any(|evidence| evidence.kind == "message")
}

fn torch_line(case: &Case<'_>) -> Option<TorchLine> {
    case.torch.map(|torch| TorchLine {
        version: torch.version.clone(),
        cuda: torch.cuda.clone(),
        path: torch.dir.as_path().into(),
    })
}

fn target(torch: Option<&TorchLine>) -> String {
    torch.map_or_else(|| "the libraries".to_owned(), |torch| format!("torch {}", torch.version))
}

fn verdict(findings: &[Finding], torch: Option<&TorchLine>) -> Verdict {
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let target = target(torch);
    let says = match (count(Severity::Fatal), count(Severity::Warning), findings.first()) {
        (0, 0, _) => format!("{target}: no problems found"),
        (0, 1, Some(first)) => format!("{target}: works, with a warning: {}", first.cause),
        (0, many, _) => format!("{target}: works, with {many} warnings"),
        (_, _, Some(first)) => sentence(&target, &first.cause),
        (..) => target,
    };
    Verdict { fine: count(Severity::Fatal) + count(Severity::Warning) == 0, says }
}

/// What is said of a target, which may name it itself.
fn sentence(target: &str, says: &str) -> String {
    if says.starts_with(target) { says.to_owned() } else { format!("{target}: {says}") }
}
