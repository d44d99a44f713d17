//! Tries remedies on a model of the machine.
//!
//! Takes findings with candidate remedies; applies each change to the model and judges it again. Keeps a line only if
//! its finding disappears and nothing fatal is new; keeps advice without a modelled change. Runs nothing.

use super::finding::Finding;
use super::remedy::Remedy;
use crate::machine::{Change, Machine};
use crate::tables::Severity;
use std::collections::{BTreeMap, BTreeSet};

/// The most changes to try for one report.
const TRIALS: usize = 16;

/// The findings of a changed machine, by id.
struct Trial {
    change: Change,
    found: BTreeMap<&'static str, Severity>,
}

impl Trial {
    /// Whether no finding has the same id and severity.
    fn lacks(&self, finding: &Finding) -> bool {
        self.found.get(finding.id).is_none_or(|severity| *severity > finding.severity)
    }

    /// The number of fatal findings that remain.
    fn left(&self) -> usize {
        self.found.values().filter(|severity| **severity == Severity::Fatal).count()
    }

    /// Whether no new fatal finding appears.
    fn adds_nothing(&self, fatal: &BTreeSet<&str>) -> bool {
        self.found.iter().all(|(id, severity)| *severity != Severity::Fatal || fatal.contains(id))
    }
}

/// Keeps the remedies of each finding that heal it, best first, and groups findings with one cause below the first.
/// `judge` gives the findings of a machine.
pub(super) fn tried(
    machine: &Machine,
    mut findings: Vec<Finding>,
    judge: impl Fn(&Machine) -> Vec<Finding> + Sync,
) -> Vec<Finding> {
    let mut changes: Vec<Change> = Vec::new();
    for change in findings.iter().flat_map(|finding| &finding.remedies).filter_map(|remedy| remedy.change.as_ref()) {
        if changes.len() < TRIALS && !changes.contains(change) {
            changes.push(change.clone());
        }
    }
    let trials = on_each(changes, |change| {
        let mut found = BTreeMap::new();
        for finding in judge(&machine.with(&change)) {
            let worst = found.entry(finding.id).or_insert(finding.severity);
            *worst = finding.severity.min(*worst);
        }
        Trial { change, found }
    });
    let fatal: BTreeSet<&str> =
        findings.iter().filter(|it| it.severity == Severity::Fatal).map(|finding| finding.id).collect();
    let trial = |remedy: &Remedy| trials.iter().find(|trial| Some(&trial.change) == remedy.change.as_ref());
    let left = |remedy: &Remedy| trial(remedy).map_or(usize::MAX, Trial::left);
    // A torch from another environment causes its own findings.
    let elsewhere = |finding: &Finding| finding.remedies.iter().any(|it| it.rank() == 0 && left(it) < fatal.len());
    if let Some(first) = findings.iter().position(elsewhere) {
        findings[first].severity = Severity::Fatal;
        findings[..=first].rotate_right(1);
    }
    let all: Vec<Remedy> = findings.iter().flat_map(|finding| finding.remedies.clone()).collect();
    for finding in &mut findings {
        let mut remedies = std::mem::take(&mut finding.remedies);
        let heals = |trial: &Trial| trial.lacks(finding) && trial.adds_nothing(&fatal);
        remedies.retain(|remedy| remedy.change.is_none() || trial(remedy).is_some_and(heals));
        // A remedy tried for another finding also applies here if it leaves fewer fatal findings.
        let own = remedies.iter().map(left).min().unwrap_or(usize::MAX);
        let others = all.iter().filter(|remedy| match &remedy.change {
            None | Some(Change::Files(_)) => false,
            Some(_) => trial(remedy).is_some_and(heals) && (left(remedy) < own || remedy.rank() == 0),
        });
        remedies.extend(others.cloned());
        // If wheels alone heal, the set need not be handed out after them.
        finding.remedies = remedies.iter().filter(|it| !it.is_more_than(&remedies)).cloned().collect();
        finding.remedies.sort_by_key(|remedy| (remedy.rank(), left(remedy)));
        finding.remedies.dedup();
        if finding.remedies.is_empty() && finding.severity == Severity::Fatal {
            finding.remedies.push(Remedy::action("no remedy that can be tried on a model of this machine heals it"));
        }
    }
    let mut kept: Vec<Finding> = Vec::new();
    for finding in findings {
        let caused = kept.iter_mut().find(|first| {
            let own = |remedy: &&Remedy| {
                matches!(&remedy.change, Some(Change::Wheels { .. } | Change::Files(_) | Change::Variable(..)))
            };
            let cause = first.remedies.iter().find(own).and_then(trial);
            first.severity <= finding.severity
                && finding.severity != Severity::Fact
                && cause.is_some_and(|trial| trial.lacks(&finding))
        });
        match caused {
            Some(first) => first.consequences.push(finding.into()),
            None => kept.push(finding),
        }
    }
    kept
}

/// Applies `work` to every item, on as many threads as there are processors.
fn on_each<T: Send, R: Send>(items: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(4);
    let mut rest = items.into_iter();
    let mut done = Vec::new();
    loop {
        let batch: Vec<T> = rest.by_ref().take(threads).collect();
        if batch.is_empty() {
            return done;
        }
        std::thread::scope(|scope| {
            let running: Vec<_> = batch.into_iter().map(|item| scope.spawn(|| work(item))).collect();
            done.extend(running.into_iter().filter_map(|thread| thread.join().ok()));
        });
    }
}
