//! Finds the defects of a machine, their causes and remedies.
//!
//! Takes a machine and its target; examines the driver, the libraries, the environment and the frameworks once, runs
//! each group of rules, and gives a [`Report`]. Relies on the results of the other rooms (inventory, loader, driver,
//! machine) and duplicates none of their rules. Runs only an interpreter that cannot be described otherwise; the
//! caller passes in the driver's own answers.
//!
//! To add a finding: a row in `data/findings.tsv`, and a rule in the file of its group.

mod checked;
mod compatible;
mod driver;
mod environment;
mod finding;
mod frameworks;
mod human;
mod image;
mod judged;
mod libraries;
mod listed;
mod markdown;
mod matrix;
mod mend;
mod message;
mod newest;
mod node;
mod page;
mod pasted;
mod redact;
mod remedy;
mod report;
mod start;
mod tool;
mod trial;

pub(crate) use judged::{Judged, TargetKind};

pub use compatible::Toolkit;
pub use finding::{Consequence, Finding, Proof};
pub use human::{matrix_text, text};
pub use image::{
    Asked, Copies, ImageLibrary, ImageReport, LayerLine, Requirements, RequirementsForm, TargetLine, image_text,
    judge_image,
};
pub use markdown::markdown;
pub use matrix::{Assumptions, Cell, Matrix, Runs, matrix};
pub use message::{Message, Window, recognise};
pub use newest::{NewestTorch, NoBuild, Wanted, newest_text, newest_torch};
pub use node::{NodeAsked, NodeCheck, NodePlan, NodeReport, judge_node, node_metrics};
pub use redact::{redacted, redacted_json, redaction};
pub use remedy::{Line, Remedy};
pub use report::{DriverLine, Report, TorchLine, Verdict};
pub use start::{Preflight, in_the_way, lines, preflight, set_line};

use crate::check::{self, Subject};
use crate::driver::Driver;
use crate::host::Host;
use crate::inventory::{Inventory, Library, Problem, problems};
use crate::loader::Loader;
use crate::loader::Objects;
use crate::machine::{Answer, Change, Machine, RequestError};
use crate::plan::Plan;
use crate::python::TorchBuild;
use crate::python::{Distribution, Interpreter};
use crate::report::acts;
use crate::tables::Severity;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;

/// The input of the rules.
#[derive(Debug)]
pub(crate) struct Case<'a> {
    /// The machine.
    pub(crate) machine: &'a Machine,
    /// Its files.
    pub(crate) host: &'a Host,
    /// Its ELF files.
    pub(crate) objects: &'a Objects,
    /// Its ld.so in this environment.
    pub(crate) loader: &'a Loader,
    /// The libraries of the environment and of the machine.
    pub(crate) inventory: &'a Inventory,
    /// The problems that `scan` found among them.
    pub(crate) problems: &'a [Problem],
    /// The driver.
    pub(crate) driver: &'a Driver,
    /// The Python of the target.
    pub(crate) interpreter: Option<&'a Interpreter>,
    /// Its torch.
    pub(crate) torch: Option<&'a TorchBuild>,
    /// The packages on its import paths.
    pub(crate) installed: &'a [Distribution],
    /// The answer of `resolve`.
    pub(crate) answer: Result<&'a Answer, &'a RequestError>,
    /// The judgements of `check` for the environment.
    pub(crate) judged: &'a [Judged],
    /// The command that failed.
    pub(crate) command: &'a [OsString],
}

impl Case<'_> {
    /// A finding of this id with the texts of its row; `None` if the id is not in the table.
    pub(crate) fn finding(&self, id: &str) -> Option<Finding> {
        Finding::of(id, self.run().as_ref())
    }

    /// The plan of the chosen set.
    pub(crate) fn plan(&self) -> Option<&Plan> {
        self.machine.chosen()
    }

    /// Judges one target.
    pub(crate) fn judge(&self, subject: &Subject) -> Judged {
        Judged::of(self.machine, subject)
    }

    /// The line that hands the chosen set to a program of this environment; `None` without a set, or with a plan in
    /// force.
    pub(crate) fn run(&self) -> Option<Remedy> {
        let machine = self.machine;
        let serves = (machine.in_force().is_none() || machine.fault().is_some()) && self.plan().is_some();
        serves.then(|| Remedy::command(self.run_line()).making(Change::Set))
    }

    /// The same line for a shell: for the command that failed, else for every program that this shell starts.
    pub(crate) fn run_line(&self) -> String {
        if !self.command.is_empty() {
            return format!("cudashim run -- {}", self.bare_line());
        }
        let python = self.machine.request().python.as_deref();
        let python = python.map(|python| format!(" --python {}", word(python.as_os_str()))).unwrap_or_default();
        let files = self.machine.request().files.iter();
        let files: String = files.fold(String::new(), |text, file| text + " --for " + &word(file.as_os_str()));
        format!("eval \"$(cudashim env{python}{files})\"")
    }

    /// The command that failed, as typed in a shell.
    pub(crate) fn bare_line(&self) -> String {
        self.command.iter().map(|part| word(part)).collect::<Vec<_>>().join(" ")
    }

    /// Whether a load fails because this copy lacks a symbol.
    pub(crate) fn blames(&self, library: &Library) -> bool {
        let found = self.judged.iter().flat_map(|judged| &judged.judgement.findings);
        found
            .filter_map(check::Finding::path)
            .any(|path| self.host.stat(path).is_ok_and(|stat| stat.id == library.stat.id))
    }

    /// The installed package of this normalized name.
    pub(crate) fn has_package(&self, name: &str) -> Option<&Distribution> {
        self.installed.iter().find(|found| found.name == name)
    }

    /// The problems of an id.
    pub(crate) fn problems_of<'s>(&'s self, id: &'s str) -> impl Iterator<Item = &'s Problem> {
        self.problems.iter().filter(move |problem| problem.id == id)
    }
}

/// A word quoted for a shell where necessary; on one line, and without terminal controls.
pub(crate) fn word(word: &OsStr) -> String {
    let text = word.to_string_lossy();
    let plain = |c: char| c.is_alphanumeric() || "-_./+=:,@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.into_owned();
    }
    if word.to_str().is_none() || text.chars().any(|c| c == '\n' || acts(c)) {
        // The `$'…'` form of bash, ksh and zsh (bash(1), "QUOTING").
        let bytes = word.as_encoded_bytes().iter().fold(String::new(), |mut out, byte| {
            match byte {
                b'\'' | b'\\' => out.extend(['\\', char::from(*byte)]),
                0x20..0x7f => out.push(char::from(*byte)),
                _ => {
                    let _ = write!(out, "\\x{byte:02x}");
                }
            }
            out
        });
        return format!("$'{bytes}'");
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

impl Machine {
    /// The defects of the machine for its target, the worst first, each with the remedies that heal it. One finding
    /// reports that no compatible set of libraries.
    ///
    /// ```
    /// use cudashim::Machine;
    ///
    /// for finding in Machine::current().findings() {
    ///     println!("{}: {}", finding.id, finding.cause);
    ///     for line in finding.remedies.iter().filter_map(|remedy| remedy.as_command()) {
    ///         println!("    $ {line}");
    ///     }
    /// }
    /// ```
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        judging(self, found)
    }
}

/// Examines a machine, and the messages of an error text; `None` without a text.
#[must_use]
pub fn examine(machine: &Machine, messages: Option<Vec<Message>>) -> Report {
    judging(machine, |case| {
        let mut findings = found(case);
        if let Some(messages) = &messages {
            pasted::explain(case, messages, &mut findings);
        }
        Report::new(case, findings, messages)
    })
}

/// Examines a machine as if it had a driver and GPUs that are not here; several give a table.
#[must_use]
pub fn examine_assuming(machine: &Machine, assumptions: &Assumptions, messages: Option<Vec<Message>>) -> Report {
    let Some(first) = assumptions.machines(machine).into_iter().next() else { return examine(machine, messages) };
    let report = examine(&first.as_it_is(), messages);
    if assumptions.is_table() {
        return report.tabled(matrix(machine, &assumptions.drivers, &assumptions.gpus));
    }
    report.assumed()
}

/// The findings of the rules, with tried remedies, and those that a plan in force heals.
fn found(case: &Case<'_>) -> Vec<Finding> {
    let mut findings = trial::tried(case.machine, rules(case), |machine| judging(machine, rules));
    findings.extend(healed(case, &findings));
    findings
}

/// What a plan in force heals: the worst finding without it.
fn healed(case: &Case<'_>, findings: &[Finding]) -> Option<Finding> {
    let machine = case.machine;
    machine.in_force()?;
    let bare = judging(&machine.bare(), rules);
    let worst = bare
        .into_iter()
        .find(|finding| finding.severity == Severity::Fatal && findings.iter().all(|other| other.id != finding.id))?;
    if machine.is_enabled() {
        let found = case.finding("healed")?.because(format!("healed by `cudashim enable`: {}", worst.cause));
        return Some(found.seen("rule", "the Python of this environment opens the chosen set"));
    }
    let plan = machine.host().env("CUDASHIM_PLAN").map(|path| format!(" ({})", path.display()));
    let found = case.finding("healed")?.because(format!("healed by the plan in force: {}", worst.cause));
    Some(found.seen(
        "variable",
        format!("CUDASHIM_PLAN{}", plan.unwrap_or_else(|| " is not set: the shim requests one".to_owned())),
    ))
}

/// Gathers the input of the rules.
fn judging<T>(machine: &Machine, look: impl FnOnce(&Case<'_>) -> T) -> T {
    let environment = machine.environment();
    let problems = problems(machine.inventory(), machine.loader());
    let judged = Judged::all(machine);
    look(&Case {
        machine,
        host: machine.host(),
        objects: machine.objects(),
        loader: machine.loader(),
        inventory: machine.inventory(),
        problems: &problems,
        driver: machine.driver(),
        interpreter: environment.interpreter.as_ref(),
        torch: environment.torch.as_ref(),
        installed: &environment.installed,
        answer: machine.answer(),
        judged: &judged,
        command: &machine.request().command,
    })
}

/// The findings of all groups, the worst first; equally bad ones in causal order.
fn rules(case: &Case<'_>) -> Vec<Finding> {
    let mut findings = driver::findings(case);
    findings.extend(libraries::findings(case));
    findings.extend(environment::findings(case));
    findings.extend(frameworks::findings(case));
    // A finding about a known load takes precedence over one about a file that may never load.
    let fatal: Vec<&str> =
        findings.iter().filter(|finding| finding.severity == Severity::Fatal).map(|finding| finding.id).collect();
    findings.retain(|finding| finding.severity == Severity::Fatal || !fatal.contains(&finding.id));
    // A library in another directory of sys.path is not missing.
    if findings.iter().any(|finding| finding.id == "split-site-packages") {
        findings.retain(|finding| finding.id != "library-not-found");
    }
    // The failed resolution is an effect of the other findings.
    findings.sort_by_key(|finding| (finding.severity, finding.id == "no-set"));
    findings
}

#[cfg(test)]
mod tests {
    use super::word;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn quoted_words_round_trip() {
        let words: [&[u8]; 6] = [b"/a/b", b"", b"a b'c", b"\n$ rm", b"\x1b]'\\", b"\xff\xc2\x9b"];
        let shown = ["/a/b", "''", r"'a b'\''c'", r"$'\x0a$ rm'", r"$'\x1b]\'\\'", r"$'\xff\xc2\x9b'"];
        for (bytes, shown) in words.into_iter().zip(shown) {
            assert_eq!(word(OsStr::from_bytes(bytes)), shown);
            let echo = format!("printf %s {}", word(OsStr::from_bytes(bytes)));
            if let Ok(output) = std::process::Command::new("bash").args(["-c", &echo]).output() {
                assert_eq!(output.stdout, bytes, "{shown}");
            }
        }
    }
}
