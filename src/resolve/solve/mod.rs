//! The choice of one set of libraries, exactly.
//!
//! Takes a [`Problem`]: sonames asked for, files that could serve them, what everyone needs of
//! everyone, and what the user lays down. Gives a [`Solution`], the best set by a written order of
//! preferences ([`Cost`]) among all that keep every [`Rule`], or [`NoSolution`], a smallest set of
//! facts that cannot hold together. Either says why. Pure: never opens a file; what a file defines
//! is asked through [`Defines`], and only when it matters. The order of the input never matters.

use std::collections::BTreeSet;
use std::fmt;

mod asked;
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
    Bar, Built, Candidate, Conflict, CudaRelease, Defines, Demand, Explain, MissingSymbol, Named, Need, Pin, Policy,
    Problem, Rank, Release, ReleaseDemand, Side, SymbolSetId, Want,
};
pub use self::refusal::{Preference, Reason, Refusal, Refused};
pub use self::rule::Rule;

use self::asked::Asked;
use self::check::Critic;
use self::model::Set;
use self::model::{Key, Model, Wanted};

/// The set chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Solution {
    /// One copy per soname, in the order of the names.
    pub chosen: Vec<Chosen>,
    /// What was asked for softly and is left out, in the order of the names.
    pub unserved: Vec<Unserved>,
    /// What the set costs.
    pub cost: Cost,
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
    /// Every other copy, in the written order.
    pub refused: Vec<Refused>,
}

/// A soname that was asked for softly and is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unserved {
    /// The soname.
    pub soname: String,
    /// Why each copy could not serve it, in the written order; empty if there is none.
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
/// use cudashim::internal::resolve::solve::{self, Candidate, Defines, MissingSymbol, Problem, Rank, SymbolSetId, Want};
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
///     wants: vec![Want { soname: "libcudart.so.12".to_owned(), hard: true, by: "torch".to_owned() }],
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
    let mut asked = Asked::default();
    match best(&model, &mut asked) {
        Some(set) => Ok(solution(&model, &mut asked, &set)),
        None => Err(core::explain(&model, &mut asked)),
    }
}

/// The best set. A set that is best while less is known stays best once it is checked, so most
/// often the first one stands, and nothing but its own files is looked into.
fn best(model: &Model<'_>, asked: &mut Asked) -> Option<Set> {
    let all = BTreeSet::new();
    let set = search::best(model, asked, &all, None)?;
    if asked.holds(model, &all, &set) {
        return Some(set);
    }
    // Symbols matter here. Any set that stands bounds the search for the best one; and if there is
    // none, that is found out sooner than which would be the best.
    let fallback = any(model, asked, &all)?;
    loop {
        let set = search::best(model, asked, &all, Some(&fallback))?;
        if asked.holds(model, &all, &set) {
            return Some(set);
        }
    }
}

/// Any set that keeps the rules in force.
fn any(model: &Model<'_>, asked: &mut Asked, off: &BTreeSet<Key>) -> Option<Set> {
    loop {
        let set = search::any(model, asked, off)?;
        if asked.holds(model, off, &set) {
            return Some(set);
        }
    }
}

fn solution(model: &Model<'_>, asked: &mut Asked, set: &Set) -> Solution {
    let mut chosen = Vec::new();
    let mut unserved = Vec::new();
    let mut needed = vec![false; model.sonames.len()];
    for link in set.iter().flatten().flat_map(|&item| &model.items[item].needs) {
        needed[link.soname] = true;
    }
    let mut critic = Critic { model, asked, set };
    for (at, soname) in model.sonames.iter().enumerate() {
        let pick = set[at];
        if pick.is_none() && soname.wanted == Wanted::Not && !needed[at] {
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
    Solution { chosen, unserved, cost: check::cost(model, set) }
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
        // The preference that comes last decided against the copy that came closest.
        let closest = preferences().max_by_key(|preference| preference.place());
        closest.map_or(Reason::OnlyFit, |closest| Reason::Preferred(closest.clone()))
    }
}
