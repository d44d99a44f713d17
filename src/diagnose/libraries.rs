//! Findings about CUDA's libraries: which copy overrides, what is torn, missing or damaged.
//!
//! `check` judges the libraries that an environment loads ([`checked`]), `scan` those in its directories and on the
//! search path ([`copies`]); [`loading`] and [`nvvm`] hold further rules. A library that nothing is known to load is
//! at most a warning.

mod copies;
mod loading;
mod nvvm;

use super::{Case, Finding, Remedy, checked, mend};
use crate::check::Verdict;
use crate::machine::Change;
use crate::machine::RequestError;
use crate::tables::{Group, Severity, parse_library_name, sonames_of};

/// The findings, causes before their effects.
pub(crate) fn findings(case: &Case<'_>) -> Vec<Finding> {
    let mut found: Vec<Finding> = copies::overwritten(case).into_iter().collect();
    found.extend(checked::findings(case, Group::Libraries).into_iter().map(|found| weighed(case, found)));
    found.extend(drifted(case));
    found.extend(copies::builtins(case));
    found.extend(nvvm::absent(case));
    found.extend(loading::executable_stacks(case));
    found.extend(loading::static_tls(case));
    found.extend(copies::altered(case));
    found.extend(no_set(case));
    for other in copies::others(case) {
        if !found.iter().any(|known| known.id == other.id) {
            found.push(other);
        }
    }
    // A warning that explains a fatal finding comes first.
    found.sort_by_key(|finding| finding.severity == Severity::Fact);
    found
}

/// Libraries of two CUDA majors in one process: harmless if they share no soname.
fn weighed(case: &Case<'_>, found: Finding) -> Finding {
    let file = found.evidence.iter().find_map(|seen| seen.path.as_ref()).map(|path| path.to_path().clone());
    let Some(file) = file.filter(|_| found.id == "two-cuda-majors") else { return found };
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let cuda = case.torch.and_then(|torch| torch.cuda.as_deref()).unwrap_or_default();
    let major = cuda.split('.').next().and_then(|major| major.parse().ok()).unwrap_or_default();
    let family = parse_library_name(&name).map(|name| name.row.family).unwrap_or_default();
    let common = sonames_of(major, family).any(|soname| soname == name);
    let found = found.severity(if common { Severity::Fatal } else { Severity::Warning });
    // Where one wheel overwrote another, the set is what is left after that was mended.
    let mended = copies::overwritten(case).into_iter().flat_map(|written| written.remedies);
    let steps = mended.filter(|remedy| remedy.change.is_some()).map(|remedy| case.and_run(remedy));
    let remedies: Vec<Remedy> = found.remedies.iter().cloned().chain(steps).collect();
    found.healed_by(remedies)
}

/// The shim cannot hand out the plan of the environment as it was made.
fn drifted(case: &Case<'_>) -> Option<Finding> {
    let fault = case.machine.fault()?;
    let found = case.finding("plan-drifted")?.because(format!("the plan in force is out of date: {fault}"));
    let plan = case.host.env("CUDASHIM_PLAN").unwrap_or_default();
    let anew = Remedy::command(case.run_line()).making(Change::Set);
    Some(
        found
            .severity(Severity::Warning)
            .seen("variable", format!("CUDASHIM_PLAN={}", plan.display()))
            .healed_by([anew]),
    )
}

/// No set on the machine fits.
fn no_set(case: &Case<'_>) -> Option<Finding> {
    let Err(RequestError::NoSolution { source, .. }) = case.answer else { return None };
    // A target that loads without a set continues without one.
    let loads = case.judged.iter().all(|judged| judged.judgement.verdict != Verdict::Fails);
    let severity = if loads && !case.judged.is_empty() { Severity::Warning } else { Severity::Fatal };
    let found = case.finding("no-set")?.severity(severity);
    let found = source.clauses.iter().fold(found, |found, clause| found.seen("rule", clause.to_string()));
    let hints = source.hints().into_iter().map(Remedy::action);
    Some(found.healed_by(mend::restored(case).into_iter().chain(hints)))
}
