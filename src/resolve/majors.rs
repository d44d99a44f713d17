//! Two CUDA majors in one environment are two sets: a package built for CUDA 12 gets the libraries of CUDA 12 beside a
//! torch for CUDA 13.
//!
//! Takes a problem and its solution for one major; adds, for each other major, the copies that serve the sonames that
//! solution leaves out. A soname that several majors have in common (`libcudnn.so.9`, `libcusparse.so.12`) keeps the copy of
//! the first set: a process maps one. Opens nothing.

use super::solve::{Bar, Built, Candidate, Goal, Problem, Solution, solve};
use crate::tables::parse_library_name;
use std::collections::{BTreeMap, BTreeSet};

/// The solution, with the sets of the other majors.
pub(super) fn served(problem: &Problem<'_>, mut solution: Solution) -> Solution {
    let left: BTreeSet<&str> = solution.unserved.iter().map(|unserved| unserved.soname.as_str()).collect();
    let of_left = problem.candidates.iter().filter(|one| left.contains(one.soname.as_str()));
    let majors: BTreeSet<u32> = of_left.filter_map(|one| Some(one.cuda?.major)).collect();
    let Some(first) = solution.major else { return solution };
    for major in majors.into_iter().rev().filter(|major| *major != first) {
        let beside = beside(problem, &solution, major);
        let Ok(found) = solve(&beside) else { continue };
        let known: BTreeSet<String> = solution.chosen.iter().map(|chosen| chosen.soname.clone()).collect();
        solution.chosen.extend(found.chosen.into_iter().filter(|chosen| !known.contains(&chosen.soname)));
        let goals: BTreeSet<&str> = beside.goals.iter().map(|goal| goal.soname.as_str()).collect();
        solution.unserved.retain(|unserved| !goals.contains(unserved.soname.as_str()));
        solution.unserved.extend(found.unserved);
    }
    solution.chosen.sort_by(|one, other| one.soname.cmp(&other.soname));
    solution.unserved.sort_by(|one, other| one.soname.cmp(&other.soname));
    solution
}

/// The problem of a second set: what the first leaves out and a copy for `major` serves. The chosen copies stand.
fn beside<'p>(problem: &Problem<'p>, solution: &Solution, major: u32) -> Problem<'p> {
    let taken: BTreeMap<&str, usize> =
        solution.chosen.iter().map(|chosen| (chosen.soname.as_str(), chosen.candidate)).collect();
    let number = |soname: &str| parse_library_name(soname).and_then(|name| Some(name.version?.major()));
    let groups: BTreeSet<(&str, Option<u64>)> = taken
        .values()
        .filter_map(|chosen| problem.candidates.get(*chosen))
        .filter_map(|one| Some((one.group.as_deref()?, number(&one.soname))))
        .collect();
    let candidates = problem.candidates.iter().enumerate().map(|(index, one)| match taken.get(one.soname.as_str()) {
        // It serves both majors, and is not chosen again.
        Some(chosen) if *chosen == index => Candidate { cuda: None, group: None, needs: Vec::new(), ..one.clone() },
        Some(_) => barred(one, "another copy is chosen"),
        None if one.group.as_deref().is_some_and(|group| groups.contains(&(group, number(&one.soname)))) => {
            barred(one, "the rest of its group is chosen elsewhere")
        }
        None => one.clone(),
    });
    let serves = |goal: &&Goal| {
        let for_major = |one: &Candidate| one.soname == goal.soname && one.cuda.is_some_and(|cuda| cuda.major == major);
        !taken.contains_key(goal.soname.as_str()) && problem.candidates.iter().any(for_major)
    };
    Problem {
        goals: problem.goals.iter().filter(serves).map(|goal| Goal { hard: false, ..goal.clone() }).collect(),
        candidates: candidates.collect(),
        built: Some(Built { consumer: "the set beside it".to_owned(), major }),
        ..problem.clone()
    }
}

fn barred(one: &Candidate, why: &str) -> Candidate {
    Candidate { barred: Some(one.barred.clone().unwrap_or_else(|| Bar(why.to_owned()))), ..one.clone() }
}
