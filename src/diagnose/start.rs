//! Checks a set before it is handed out, for `run`, `resolve`, `lock` and `env`.
//!
//! Takes a machine and its target; gives the findings that stop the start or the import of the target, and those that
//! deserve a warning. Uses the same rules as every command, with the set in force. Starts nothing.

use super::{Finding, judging, rules, trial};
use crate::machine::{Change, Machine};
use crate::tables::{Phase, Severity};

/// The findings about a target before its start.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Preflight {
    /// Findings that stop its start or its import; empty: it loads.
    pub stops: Vec<Finding>,
    /// Findings that show later, or cause wrong results without an error.
    pub notes: Vec<Finding>,
    /// Whether it loads without the set, but not with it, or no set exists.
    pub better_bare: bool,
}

/// Judges the target with the set that was chosen for it, or as it is if no set fits.
#[must_use]
pub fn preflight(machine: &Machine) -> Preflight {
    let bare = machine.bare();
    let served = if machine.chosen().is_some() { bare.with(&Change::Set) } else { bare.bare() };
    let (stops, notes) = of_target(&served);
    // Never stop a target that loads without the set: ld.so then works alone.
    let better_bare = (machine.chosen().is_none() || !stops.is_empty()) && of_target(&bare).0.is_empty();
    Preflight { stops: if better_bare { Vec::new() } else { stops }, notes, better_bare }
}

/// The findings about the target: those that stop it, and the others.
fn of_target(machine: &Machine) -> (Vec<Finding>, Vec<Finding>) {
    let found = judging(machine, |case| trial::tried(machine, rules(case), |machine| judging(machine, rules)));
    let wrong = |finding: &Finding| finding.of_target && finding.severity != Severity::Fact;
    let ends = |finding: &Finding| {
        finding.severity == Severity::Fatal && matches!(finding.phase, Phase::Start | Phase::Import)
    };
    found.into_iter().filter(wrong).partition(ends)
}

/// The lines that heal the target as it is: the best of each finding.
#[must_use]
pub fn lines(machine: &Machine) -> Vec<String> {
    let (stops, notes) = of_target(&machine.bare());
    let best = stops.iter().chain(&notes).filter_map(|finding| finding.remedies.first()?.as_command());
    let mut lines: Vec<String> = Vec::new();
    for line in best {
        if !lines.iter().any(|known| known == line) {
            lines.push(line.to_owned());
        }
    }
    lines
}

/// The line that hands the chosen set to the programs of a shell.
#[must_use]
#[expect(
    clippy::redundant_closure_for_method_calls,
    reason = "the method alone is not general over the lifetime of a case"
)]
pub fn set_line(machine: &Machine) -> String {
    judging(machine, |case| case.run_line())
}

/// Everything that stops a command that must use the GPU: fatal findings, mixed releases, a missing driver, a
/// framework that silently uses the CPU.
#[must_use]
pub fn in_the_way(machine: &Machine) -> Vec<Finding> {
    let found = judging(machine, |case| {
        let needs_cuda = case.torch.is_some_and(|torch| torch.cuda.is_some())
            || machine.in_force().is_some_and(|plan| plan.chosen().next().is_some());
        let mut found = rules(case);
        found.retain(|finding| match finding.severity {
            Severity::Fatal => true,
            Severity::Warning => finding.of_target || matches!(finding.id, "silent-cpu-fallback" | "plan-drifted"),
            _ => matches!(finding.id, "no-driver" | "driver-unknown") && needs_cuda,
        });
        found
    });
    trial::tried(machine, found, |machine| judging(machine, rules))
}
