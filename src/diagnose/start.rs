//! What is wrong with a set before it is handed out: what `run`, `resolve`, `lock` and `env` ask.
//!
//! Takes a machine and whom it is looked at for; gives what ends the start or the import of what is asked for, and what is
//! worth a word. The same rules as everywhere, on the machine with the set in force. Starts nothing.

use super::{Finding, judging, rules, trial};
use crate::machine::{Change, Machine};
use crate::tables::{Phase, Severity};

/// What is wrong with what is about to be started.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Preflight {
    /// What ends its start or its import; nothing: it loads.
    pub stops: Vec<Finding>,
    /// What shows later, or may go wrong without an error.
    pub notes: Vec<Finding>,
    /// Whether it loads without the set, though not with it, or there is none.
    pub better_bare: bool,
}

/// Judges what is asked for with the set that was chosen for it, or as it is where none fits.
#[must_use]
pub fn preflight(machine: &Machine) -> Preflight {
    let bare = machine.bare();
    let served = if machine.chosen().is_some() { bare.with(&Change::Set) } else { bare.bare() };
    let (stops, notes) = of_target(&served);
    // It never stops what would have worked: then ld.so is left alone.
    let better_bare = (machine.chosen().is_none() || !stops.is_empty()) && of_target(&bare).0.is_empty();
    Preflight { stops: if better_bare { Vec::new() } else { stops }, notes, better_bare }
}

/// What is wrong with what is asked for: what ends it, and what does not.
fn of_target(machine: &Machine) -> (Vec<Finding>, Vec<Finding>) {
    let found = judging(machine, |case| trial::tried(machine, rules(case), |machine| judging(machine, rules)));
    let wrong = |finding: &Finding| finding.of_target && finding.severity != Severity::Fact;
    let ends = |finding: &Finding| {
        finding.severity == Severity::Fatal && matches!(finding.phase, Phase::Start | Phase::Import)
    };
    found.into_iter().filter(wrong).partition(ends)
}

/// The lines that heal what is wrong with what is asked for, as it is: of each finding the best.
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

/// The line that hands the chosen set to what a shell starts.
#[must_use]
#[expect(
    clippy::redundant_closure_for_method_calls,
    reason = "the method alone is not general over the lifetime of a case"
)]
pub fn set_line(machine: &Machine) -> String {
    judging(machine, |case| case.run_line())
}

/// All that stands in the way of a command that is to use the GPU: what is fatal, what mixes releases, a driver that is
/// missing, a framework that would use the CPU in silence.
#[must_use]
pub fn in_the_way(machine: &Machine) -> Vec<Finding> {
    let found = judging(machine, |case| {
        let asks = case.torch.is_some_and(|torch| torch.cuda.is_some())
            || machine.in_force().is_some_and(|plan| plan.chosen().next().is_some());
        let mut found = rules(case);
        found.retain(|finding| match finding.severity {
            Severity::Fatal => true,
            Severity::Warning => finding.of_target || matches!(finding.id, "silent-cpu-fallback" | "plan-drifted"),
            _ => matches!(finding.id, "no-driver" | "driver-unknown") && asks,
        });
        found
    });
    trial::tried(machine, found, |machine| judging(machine, rules))
}
