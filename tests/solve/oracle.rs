//! The definition of a good set, read off plainly, and all sets of a small problem.
//!
//! Shares nothing with the search: it goes through every combination.

use std::collections::{BTreeMap, BTreeSet};

use cudashim::internal::resolve::solve::*;

/// A set: soname → index of the candidate.
pub(super) type Set = BTreeMap<String, usize>;

/// What is in force: every fact, or all but some.
pub(super) type InForce<'f> = &'f dyn Fn(&Fact) -> bool;

pub(super) struct Judge<'p> {
    p: &'p Problem<'p>,
    missing: BTreeMap<(SymbolSetId, usize), bool>,
}

impl<'p> Judge<'p> {
    pub(super) fn new(p: &'p Problem<'p>) -> Self {
        let mut missing = BTreeMap::new();
        let sets: BTreeSet<SymbolSetId> = (p.demands.iter().map(|d| d.symbols))
            .chain(p.candidates.iter().flat_map(|c| &c.needs).map(|n| n.symbols))
            .filter(|s| *s != SymbolSetId::NONE)
            .collect();
        for set in sets {
            for at in 0..p.candidates.len() {
                missing.insert((set, at), p.defines.missing(set, at).is_some());
            }
        }
        Self { p, missing }
    }

    fn lacks(&self, set: SymbolSetId, at: usize) -> bool {
        self.missing.get(&(set, at)).copied().unwrap_or(false)
    }

    fn elsewhere(&self, soname: &str) -> bool {
        self.p.policy.provided.contains(soname) && !self.p.policy.fixed.contains_key(soname)
    }

    /// Sonames asked for, and whether they must be served.
    fn asked(&self, set: &Set, on: InForce<'_>) -> BTreeMap<String, bool> {
        let p = self.p;
        let mut asked: BTreeMap<String, bool> = BTreeMap::new();
        for goal in &p.goals {
            *asked.entry(goal.soname.clone()).or_default() |= goal.hard && on(&Fact::Goal(goal.soname.clone()));
        }
        for soname in p.policy.fixed.keys() {
            *asked.entry(soname.clone()).or_default() |= on(&Fact::Fixed(soname.clone()));
        }
        loop {
            let before = asked.clone();
            for soname in before.keys() {
                for need in set.get(soname).into_iter().flat_map(|&at| &p.candidates[at].needs) {
                    let hard = need.hard && on(&Fact::Needs(soname.clone(), need.soname.clone()));
                    *asked.entry(need.soname.clone()).or_default() |= hard && need.soname != *soname;
                }
            }
            if asked == before {
                asked.retain(|soname, _| !self.elsewhere(soname));
                return asked;
            }
        }
    }

    /// What rules a file out by itself.
    fn ruled_out(&self, at: usize, on: InForce<'_>) -> bool {
        let (p, c) = (self.p, &self.p.candidates[at]);
        self.off_limits(at, on)
            || c.cuda.is_some_and(|cuda| p.built.as_ref().is_some_and(|b| b.major != cuda.major)) && on(&Fact::Built)
            || p.releases.iter().enumerate().any(|(i, r)| {
                let fits = c.version.as_ref().is_some_and(|v| serves(&v.0, &r.least.0));
                c.group.as_ref() == Some(&r.group) && !fits && on(&Fact::LeastRelease(i))
            })
            || p.demands.iter().any(|d| {
                d.soname == c.soname && jit(&c.soname) && short(c.cuda, d.cuda) && on(&Fact::Linker(c.soname.clone()))
            })
    }

    fn off_limits(&self, at: usize, on: InForce<'_>) -> bool {
        let (p, c) = (self.p, &self.p.candidates[at]);
        c.barred.as_ref().is_some_and(|bar| on(&Fact::Barred(c.soname.clone(), bar.clone())))
            || p.policy.forbidden.iter().any(|f| c.path.starts_with(f) && on(&Fact::Forbidden(f.clone())))
            || p.policy.fixed.get(&c.soname).is_some_and(|f| *f != c.path) && on(&Fact::Fixed(c.soname.clone()))
    }

    /// Whether a set keeps every rule in force.
    pub(super) fn keeps(&self, set: &Set, on: InForce<'_>) -> bool {
        let p = self.p;
        let asked = self.asked(set, on);
        if set.keys().any(|soname| !asked.contains_key(soname)) {
            return false;
        }
        if asked.iter().any(|(soname, hard)| *hard && !set.contains_key(soname)) {
            return false;
        }
        for (soname, &at) in set {
            let c = &p.candidates[at];
            if self.ruled_out(at, on) {
                return false;
            }
            for (i, d) in p.demands.iter().enumerate() {
                if d.soname == *soname && self.lacks(d.symbols, at) && on(&Fact::Demand(i)) {
                    return false;
                }
            }
            for need in c.needs.iter().filter(|n| n.soname != *soname) {
                let Some(&other) = set.get(&need.soname) else {
                    continue;
                };
                let name = need.soname.clone();
                if self.lacks(need.symbols, other) && on(&Fact::Symbols(soname.clone(), name.clone())) {
                    return false;
                }
                if jit(&name) && short(p.candidates[other].cuda, c.cuda) && on(&Fact::Linker(name)) {
                    return false;
                }
            }
            for &other in set.values().filter(|&&other| other != at) {
                let o = &p.candidates[other];
                if let (Some(a), Some(b)) = (c.cuda, o.cuda)
                    && a.major != b.major
                    && on(&Fact::OneMajor)
                {
                    return false;
                }
                let bad = |(i, x): (usize, &Conflict)| x.a.covers(c) && x.b.covers(o) && on(&Fact::Conflict(i));
                if p.conflicts.iter().enumerate().any(bad) {
                    return false;
                }
                if let (Some(group), true) = (&c.group, c.group == o.group) {
                    let one = match (&c.version, &o.version) {
                        (Some(a), Some(b)) => a == b,
                        _ => c.directory == o.directory,
                    };
                    if !one && on(&Fact::OneRelease(group.clone())) {
                        return false;
                    }
                }
            }
        }
        let groups: BTreeSet<&String> = p.candidates.iter().filter_map(|c| c.group.as_ref()).collect();
        groups.into_iter().all(|group| !on(&Fact::OneDirectory(group.clone())) || !self.torn(set, group))
    }

    fn torn(&self, set: &Set, group: &str) -> bool {
        let p = self.p;
        let members: Vec<&Candidate> =
            set.values().map(|&at| &p.candidates[at]).filter(|c| c.group.as_deref() == Some(group)).collect();
        let versions: Vec<Option<&Release>> = members.iter().map(|c| c.version.as_ref()).collect();
        let directories: BTreeSet<u32> = members.iter().map(|c| c.directory).collect();
        let Some(Some(version)) = versions.first() else {
            return false;
        };
        if directories.len() < 2 || versions.iter().any(|v| *v != Some(*version)) {
            return false;
        }
        let all: BTreeSet<u32> = p.candidates.iter().map(|c| c.directory).collect();
        all.into_iter().any(|directory| {
            members.iter().all(|m| {
                p.candidates.iter().enumerate().any(|(at, c)| {
                    c.directory == directory
                        && c.soname == m.soname
                        && c.group == m.group
                        && c.version.as_ref() == Some(*version)
                        && !self.off_limits(at, &|_| true)
                })
            })
        })
    }

    /// What a set costs, by the documentation of `Cost`.
    pub(super) fn cost(&self, set: &Set) -> Cost {
        let p = self.p;
        let asked = self.asked(set, &|_| true);
        let left = asked.keys().filter(|soname| !set.contains_key(*soname));
        let left = left.filter(|soname| {
            (0..p.candidates.len()).any(|at| p.candidates[at].soname == **soname && !self.ruled_out(at, &|_| true))
        });
        let (goals, needs): (Vec<_>, Vec<_>) = left.partition(|soname| p.goals.iter().any(|w| w.soname == **soname));
        let ranks: Vec<Rank> = set.values().map(|&at| p.candidates[at].rank).collect();
        let roots: BTreeSet<u32> = set.values().map(|&at| p.candidates[at].root).collect();
        Cost {
            unserved: goals.len() as u64,
            unserved_needs: needs.len() as u64,
            pin_missed: ranks.iter().filter(|r| r.pin == Pin::Missed).count() as u64,
            off_root: ranks.iter().filter(|r| !r.at_consumer_root).count() as u64,
            roots: roots.len() as u64,
            older: ranks.iter().map(|r| u64::from(r.older_by)).sum(),
            newer: ranks.iter().map(|r| u64::from(r.newer_by)).sum(),
        }
    }

    /// The written order among sets of equal cost.
    fn order(&self, set: &Set) -> Vec<impl Ord + use<'p>> {
        let p = self.p;
        let names: BTreeSet<&String> = p.candidates.iter().map(|c| &c.soname).collect();
        let place = |soname: &String| {
            set.get(soname).map(|&at| {
                let c = &p.candidates[at];
                (std::cmp::Reverse(c.version.clone()), c.path.clone())
            })
        };
        names.into_iter().map(place).collect()
    }

    /// Every combination.
    fn each(&self) -> Vec<Set> {
        let mut sets = vec![Set::new()];
        let names: BTreeSet<&String> = self.p.candidates.iter().map(|c| &c.soname).collect();
        for name in names {
            let copies = (0..self.p.candidates.len()).filter(|&at| self.p.candidates[at].soname == *name);
            let with: Vec<Set> = copies
                .flat_map(|at| {
                    sets.iter().map(move |set| {
                        let mut set = set.clone();
                        set.insert(name.clone(), at);
                        set
                    })
                })
                .collect();
            sets.extend(with);
        }
        sets
    }

    pub(super) fn solvable(&self, on: InForce<'_>) -> bool {
        self.each().iter().any(|set| self.keeps(set, on))
    }

    /// The best set.
    pub(super) fn best(&self) -> Option<Set> {
        let sets = self.each().into_iter().filter(|set| self.keeps(set, &|_| true));
        sets.min_by(|a, b| self.cost(a).cmp(&self.cost(b)).then_with(|| self.order(a).cmp(&self.order(b))))
    }
}

fn jit(soname: &str) -> bool {
    soname.starts_with("libnvJitLink.so")
}

fn short(linker: Option<CudaRelease>, user: Option<CudaRelease>) -> bool {
    let (Some(own), Some(its)) = (linker, user) else {
        return false;
    };
    own.major != its.major || own.minor.zip(its.minor).is_some_and(|(own, its)| own < its)
}

fn serves(version: &[u32], least: &[u32]) -> bool {
    let at = |numbers: &[u32], i: usize| numbers.get(i).copied().unwrap_or(0);
    let long = version.len().max(least.len());
    let first = (0..long).map(|i| (at(version, i), at(least, i))).find(|(own, its)| own != its);
    at(version, 0) == at(least, 0) && first.is_none_or(|(own, its)| own > its)
}
