//! The exact choice of one set of libraries.
//!
//! Takes a [`Problem`]: the sonames to serve, the files that can serve them, the symbols that they need of each other,
//! and the user's policy. Gives a [`Solution`], the best set by a documented order of preferences ([`Cost`]) among
//! those that keep every [`Rule`], or [`NoSolution`], a minimal set of conflicting facts. Either has its reasons. Pure:
//! never opens a file; queries the symbols of a file through [`Defines`], and only where they decide. The order of the
//! input never matters.

use std::collections::BTreeSet;
use std::fmt;

mod answers;
mod bits;
mod bound;
mod check;
mod clause;
mod core;
mod cost;
mod model;
mod no_solution;
mod pairs;
mod problem;
mod refusal;
mod rule;
mod search;

pub use self::cost::Cost;
pub use self::no_solution::{Clause, Fact, NoSolution};
pub use self::problem::{
    Bar, Built, Candidate, Conflict, CudaRelease, Defines, Demand, Explain, Goal, MissingSymbol, Named, Need, Pin,
    Policy, Problem, Rank, Release, ReleaseDemand, Side, SymbolSetId,
};
pub use self::refusal::{Preference, Reason, Refusal, Refused};
pub use self::rule::Rule;

use self::answers::Answers;
use self::check::Critic;
use self::model::Set;
use self::model::{GoalKind, Key, Model};

/// The set chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Solution {
    /// One copy per soname, in the order of the names.
    pub chosen: Vec<Chosen>,
    /// The soft goals left out, in the order of the names.
    pub unserved: Vec<Unserved>,
    /// The cost of the set.
    pub cost: Cost,
    /// The CUDA major of the set: that of its consumer, else of its copies.
    pub major: Option<u32>,
}

/// The copy chosen for a soname.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// The soname.
    pub soname: String,
    /// The copy, by its index in [`Problem::candidates`].
    pub candidate: usize,
    /// Why this one.
    pub because: Reason,
    /// Every other copy, in the documented order.
    pub refused: Vec<Refused>,
}

/// A soft goal that is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unserved {
    /// The soname.
    pub soname: String,
    /// Why each copy could not serve it, in the documented order; empty without copies.
    pub refused: Vec<Refused>,
}

impl fmt::Display for Unserved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.refused.as_slice() {
            [] => f.write_str("no copy found"),
            [only] => only.because.fmt(f),
            [first, more @ ..] => write!(f, "{}; {} more do not fit", first.because, more.len()),
        }
    }
}

/// Chooses the set.
///
/// # Errors
///
/// [`NoSolution`] if no set keeps every rule.
///
/// # Examples
///
/// ```
/// use cudashim::internal::resolve::solve::{self, Candidate, Defines, MissingSymbol, Problem, Rank, SymbolSetId, Goal};
///
/// struct All;
/// impl Defines for All {
///     fn missing(&self, _: SymbolSetId, _: usize) -> Option<MissingSymbol> {
///         None
///     }
/// }
///
/// let copy = |path: &str, root, at_consumer_root| Candidate {
///     soname: "libcudart.so.12".to_owned(),
///     path: path.into(),
///     root,
///     directory: root,
///     version: None,
///     group: None,
///     cuda: None,
///     barred: None,
///     needs: Vec::new(),
///     rank: Rank { at_consumer_root, ..Rank::default() },
/// };
/// let problem = Problem {
///     goals: vec![Goal { soname: "libcudart.so.12".to_owned(), hard: true, by: "torch".to_owned() }],
///     candidates: vec![
///         copy("/usr/local/cuda/lib64/libcudart.so.12", 0, false),
///         copy("/venv/nvidia/cuda_runtime/lib/libcudart.so.12", 1, true),
///     ],
///     demands: Vec::new(),
///     releases: Vec::new(),
///     built: None,
///     conflicts: Vec::new(),
///     fix_hints: Default::default(),
///     defines: &All,
///     policy: Default::default(),
/// };
/// let set = solve::solve(&problem)?;
/// assert_eq!(set.chosen[0].candidate, 1);
/// assert_eq!(set.chosen[0].refused[0].because.to_string(), "not in the environment of the target");
/// # Ok::<(), solve::NoSolution>(())
/// ```
pub fn solve(problem: &Problem<'_>) -> Result<Solution, NoSolution> {
    let model = Model::new(problem);
    let mut answers = Answers::default();
    match best(&model, &mut answers) {
        Some(set) => Ok(solution(&model, &mut answers, &set)),
        None => Err(core::explain(&model, &mut answers)),
    }
}

/// The best set. Answers only rule sets out, so the best set under the known answers is the best of all once it is
/// checked: mostly the first one, and only its own files are read.
fn best(model: &Model<'_>, answers: &mut Answers) -> Option<Set> {
    let all = BTreeSet::new();
    let set = search::best(model, answers, &all, None)?;
    if answers.holds(model, &all, &set) {
        return Some(set);
    }
    // Symbols decide here. Any valid set bounds the search for the best one, and the lack of any shows sooner this way.
    let fallback = any(model, answers, &all)?;
    loop {
        let set = search::best(model, answers, &all, Some(&fallback))?;
        if answers.holds(model, &all, &set) {
            return Some(set);
        }
    }
}

/// Any set that keeps the rules in force.
fn any(model: &Model<'_>, answers: &mut Answers, off: &BTreeSet<Key>) -> Option<Set> {
    loop {
        let set = search::any(model, answers, off)?;
        if answers.holds(model, off, &set) {
            return Some(set);
        }
    }
}

fn solution(model: &Model<'_>, answers: &mut Answers, set: &Set) -> Solution {
    let mut chosen = Vec::new();
    let mut unserved = Vec::new();
    let mut needed = vec![false; model.sonames.len()];
    for link in set.iter().flatten().flat_map(|&item| &model.items[item].needs) {
        needed[link.soname] = true;
    }
    let mut critic = Critic { model, answers, set };
    for (at, soname) in model.sonames.iter().enumerate() {
        let pick = set[at];
        if pick.is_none() && soname.goal == GoalKind::None && !needed[at] {
            continue;
        }
        let others = soname.items.clone().filter(|&item| Some(item) != pick);
        let refused: Vec<Refused> =
            others.map(|item| Refused { candidate: model.items[item].source, because: critic.refusal(item) }).collect();
        let soname = soname.name.to_owned();
        match pick {
            Some(item) => {
                let because = reason(model, item, &refused);
                chosen.push(Chosen { soname, candidate: model.items[item].source, because, refused });
            }
            None => unserved.push(Unserved { soname, refused }),
        }
    }
    let of_set = || set.iter().flatten().find_map(|&item| Some(model.items[item].cuda?.major));
    let major = model.problem.built.as_ref().map(|built| built.major).or_else(of_set);
    Solution { chosen, unserved, cost: check::cost(model, set), major }
}

fn reason(model: &Model<'_>, item: usize, refused: &[Refused]) -> Reason {
    let own = model.candidate(item);
    let preferences = || {
        refused.iter().filter_map(|one| match &one.because {
            Refusal::Worse(preference) => Some(preference),
            _ => None,
        })
    };
    if model.sonames[model.items[item].soname].fixed.is_some() {
        Reason::Fixed
    } else if refused.is_empty() {
        Reason::OnlyCopy
    } else if preferences().next().is_none() && refused.iter().all(|one| one.because.rule().is_some()) {
        Reason::OnlyFit
    } else if own.rank.pin == Pin::Met {
        Reason::Pinned
    } else if own.rank.at_consumer_root {
        Reason::WithConsumer
    } else {
        // The last preference in the order decided against the closest copy.
        let closest = preferences().max_by_key(|preference| preference.place());
        closest.map_or(Reason::OnlyFit, |closest| Reason::Preferred(closest.clone()))
    }
}
