//! The problem with numbers for names, in an order independent of the input.
//!
//! Takes a [`Problem`]; gives sonames, items and all facts about single items. Never queries symbols.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::ops::Range;
use std::path::Path;

use super::bits::Bits;
use super::cost::Cost;
use super::problem::{Candidate, Conflict, CudaRelease, Demand, Need, Problem, Release, ReleaseDemand, SymbolSetId};

/// The item of each soname; none for a soname outside the set.
pub(super) type Set = Vec<Option<usize>>;

/// A [`Problem`] prepared for search. Sonames, items, groups and releases are numbers; an item is a candidate, and the
/// items of one soname are adjacent, in the documented total order.
pub(super) struct Model<'p> {
    pub(super) problem: &'p Problem<'p>,
    pub(super) sonames: Vec<Soname<'p>>,
    pub(super) items: Vec<Item>,
    pub(super) groups: Vec<Group<'p>>,
    /// The releases of all items, ascending.
    pub(super) releases: Vec<&'p Release>,
    pub(super) roots: usize,
    /// The lists of the problem, sorted, each entry with its original index.
    pub(super) demands: Vec<(usize, &'p Demand)>,
    pub(super) bound: Vec<(usize, &'p ReleaseDemand)>,
    pub(super) conflicts: Vec<(usize, &'p Conflict)>,
    /// The distinct texts of bars.
    pub(super) bars: Vec<&'p str>,
    pub(super) forbidden: Vec<&'p Path>,
}

/// A soname that is a goal, or that a copy may need.
pub(super) struct Soname<'p> {
    pub(super) name: &'p str,
    pub(super) items: Range<usize>,
    pub(super) goal: GoalKind,
    pub(super) fixed: Option<&'p Path>,
    /// The items that cannot be loaded without it.
    pub(super) hard_needers: Bits,
    /// Every item that needs it, with the needed symbols.
    pub(super) needers: Vec<(usize, SymbolSetId)>,
    /// The demands that bind to it.
    pub(super) demands: Vec<usize>,
    /// The common group of all its items, if any.
    pub(super) group: Option<usize>,
    /// Whether it is nvJitLink, with its own rule.
    pub(super) linker: bool,
    /// Whether any of its items is usable by itself; if none, leaving it out costs nothing.
    pub(super) servable: bool,
}

/// The goal of a soname, apart from the needs of members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum GoalKind {
    None,
    /// By a soft goal, or because it is fixed: [`Key::Fixed`] requires it.
    Soft,
    Hard,
}

pub(super) struct Item {
    /// Its index in [`Problem::candidates`].
    pub(super) source: usize,
    pub(super) soname: usize,
    pub(super) root: usize,
    pub(super) directory: u32,
    pub(super) release: Option<usize>,
    pub(super) group: Option<usize>,
    pub(super) cuda: Option<CudaRelease>,
    pub(super) cost: Cost,
    pub(super) needs: Vec<Link>,
    /// Why no set can use it.
    pub(super) excluded: Vec<Key>,
    /// The conflicts that it is one side of.
    pub(super) conflicts: Vec<(usize, End)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    A,
    B,
}

pub(super) struct Link {
    pub(super) soname: usize,
    pub(super) symbols: SymbolSetId,
    pub(super) hard: bool,
}

pub(super) struct Group<'p> {
    pub(super) name: &'p str,
    pub(super) items: Vec<usize>,
    /// Per release, the directories with part of the group, and the sonames in each.
    pub(super) holders: BTreeMap<usize, BTreeMap<u32, Bits>>,
}

/// One fact or rule instance that can be dropped; see [`super::NoSolution`]. An explanation drops them in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Conflict(usize),
    OneDirectory(usize),
    Linker(usize),
    OneRelease(usize),
    OneMajor,
    Symbols(usize, usize),
    Demand(usize),
    LeastRelease(usize),
    Built,
    Barred(usize, usize),
    Forbidden(usize),
    Served(usize, usize),
    Fixed(usize),
    Goal(usize),
}

impl Key {
    /// Whether it excludes an item before any rule of fit applies.
    pub(super) fn is_bar(self) -> bool {
        matches!(self, Self::Barred(..) | Self::Forbidden(_) | Self::Fixed(_))
    }
}

impl<'p> Model<'p> {
    pub(super) fn new(problem: &'p Problem<'p>) -> Self {
        let names = names(problem);
        let index: BTreeMap<&str, usize> = names.iter().enumerate().map(|(at, &name)| (name, at)).collect();
        let mut order: Vec<usize> = (0..problem.candidates.len()).collect();
        order.retain(|&source| index.contains_key(candidate(problem, source).soname.as_str()));
        order.sort_by_cached_key(|&source| (sort_key(candidate(problem, source)), source));

        let taken = || order.iter().map(|&source| candidate(problem, source));
        let groups = sorted(taken().filter_map(|one| one.group.as_deref()));
        let releases = sorted(taken().filter_map(|one| one.version.as_ref()));
        let roots = sorted(taken().map(|one| one.root));
        let bars = sorted(taken().filter_map(|one| one.barred.as_ref().map(|bar| bar.0.as_str())));
        let forbidden: Vec<&Path> = problem.policy.forbidden.iter().map(AsRef::as_ref).collect();

        let mut model = Self {
            problem,
            sonames: Vec::with_capacity(names.len()),
            items: Vec::with_capacity(order.len()),
            groups: groups.iter().map(|name| Group { name, items: Vec::new(), holders: BTreeMap::new() }).collect(),
            releases,
            roots: roots.len(),
            demands: in_order(&problem.demands),
            bound: in_order(&problem.releases),
            conflicts: in_order(&problem.conflicts),
            bars,
            forbidden,
        };
        for source in order {
            let one = candidate(problem, source);
            let Some(&soname) = index.get(one.soname.as_str()) else {
                continue;
            };
            let item = Item {
                source,
                soname,
                root: place(&roots, &one.root).unwrap_or_default(),
                directory: one.directory,
                release: one.version.as_ref().and_then(|version| place(&model.releases, &version)),
                group: one.group.as_deref().and_then(|group| place(&groups, &group)),
                cuda: one.cuda,
                cost: Cost::of(one.rank),
                needs: links(one, &index),
                excluded: model.excluded(one, soname),
                conflicts: conflicts(&model.conflicts, one),
            };
            model.items.push(item);
        }
        model.add_sonames(&names, &index);
        model.add_groups();
        model
    }

    pub(super) fn candidate(&self, item: usize) -> &'p Candidate {
        candidate(self.problem, self.items[item].source)
    }

    pub(super) fn usable(&self, item: usize) -> bool {
        !self.items[item].excluded.iter().any(|key| key.is_bar())
    }

    /// Why no set can use an item.
    fn excluded(&self, one: &Candidate, soname: usize) -> Vec<Key> {
        let problem = self.problem;
        let mut keys = Vec::new();
        if let Some(at) = one.barred.as_ref().and_then(|bar| place(&self.bars, &bar.0.as_str())) {
            keys.push(Key::Barred(soname, at));
        }
        keys.extend(
            self.forbidden
                .iter()
                .enumerate()
                .filter(|(_, path)| one.path.starts_with(path))
                .map(|(at, _)| Key::Forbidden(at)),
        );
        if problem.policy.fixed.get(&one.soname).is_some_and(|path| *path != one.path) {
            keys.push(Key::Fixed(soname));
        }
        for (at, (_, demand)) in self.bound.iter().enumerate() {
            let fits = one.version.as_ref().is_some_and(|version| version.serves(&demand.least));
            if one.group.as_ref() == Some(&demand.group) && !fits {
                keys.push(Key::LeastRelease(at));
            }
        }
        if let (Some(built), Some(cuda)) = (&problem.built, one.cuda)
            && built.major != cuda.major
        {
            keys.push(Key::Built);
        }
        let users =
            problem.demands.iter().filter(|demand| demand.soname == one.soname).filter_map(|demand| demand.cuda);
        if let Some(cuda) = one.cuda
            && is_linker(&one.soname)
            && users.into_iter().any(|user| cuda.falls_short_of(user))
        {
            keys.push(Key::Linker(soname));
        }
        keys
    }

    fn add_sonames(&mut self, names: &[&'p str], index: &BTreeMap<&str, usize>) {
        let problem = self.problem;
        let mut start = 0;
        for (at, &name) in names.iter().enumerate() {
            let len = self.items[start..].iter().take_while(|item| item.soname == at).count();
            let items = start..start + len;
            start = items.end;
            let mut group = self.items.get(items.start).and_then(|item| item.group);
            if items.clone().any(|item| self.items[item].group != group) {
                group = None;
            }
            let servable = items.clone().any(|item| self.items[item].excluded.is_empty());
            self.sonames.push(Soname {
                name,
                items,
                goal: if problem.policy.fixed.contains_key(name) { GoalKind::Soft } else { GoalKind::None },
                fixed: problem.policy.fixed.get(name).map(AsRef::as_ref),
                hard_needers: Bits::none(self.items.len()),
                needers: Vec::new(),
                demands: Vec::new(),
                group,
                linker: is_linker(name),
                servable,
            });
        }
        for goal in &problem.goals {
            if let Some(soname) = index.get(goal.soname.as_str()).and_then(|&at| self.sonames.get_mut(at)) {
                let kind = if goal.hard { GoalKind::Hard } else { GoalKind::Soft };
                soname.goal = soname.goal.max(kind);
            }
        }
        for (at, (_, demand)) in self.demands.iter().enumerate() {
            if let Some(soname) = index.get(demand.soname.as_str()).and_then(|&at| self.sonames.get_mut(at)) {
                soname.demands.push(at);
            }
        }
        for (at, item) in self.items.iter().enumerate() {
            for link in &item.needs {
                let soname = &mut self.sonames[link.soname];
                soname.needers.push((at, link.symbols));
                if link.hard {
                    soname.hard_needers.add(at);
                }
            }
        }
    }

    fn add_groups(&mut self) {
        let sonames = self.sonames.len();
        for at in 0..self.items.len() {
            let item = &self.items[at];
            let Some(group) = item.group else { continue };
            let (release, directory, soname) = (item.release, item.directory, item.soname);
            let usable = self.usable(at);
            let group = &mut self.groups[group];
            group.items.push(at);
            if let (Some(release), true) = (release, usable) {
                group
                    .holders
                    .entry(release)
                    .or_default()
                    .entry(directory)
                    .or_insert_with(|| Bits::none(sonames))
                    .add(soname);
            }
        }
    }
}

/// Every soname that is a goal, or that a copy may need.
fn names<'p>(problem: &'p Problem<'p>) -> Vec<&'p str> {
    let policy = &problem.policy;
    let mut needs: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for one in &problem.candidates {
        needs.entry(&one.soname).or_default().extend(one.needs.iter().map(|need| need.soname.as_str()));
    }
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    let mut open: Vec<&str> = problem.goals.iter().map(|goal| goal.soname.as_str()).collect();
    open.extend(policy.fixed.keys().map(String::as_str));
    while let Some(name) = open.pop() {
        let elsewhere = policy.provided.contains(name) && !policy.fixed.contains_key(name);
        if !elsewhere && seen.insert(name) {
            open.extend(needs.get(name).into_iter().flatten());
        }
    }
    seen.into_iter().collect()
}

/// The needs of a candidate that a set can serve, each soname and symbol set once.
fn links(one: &Candidate, index: &BTreeMap<&str, usize>) -> Vec<Link> {
    let mut links: Vec<Link> = Vec::new();
    for need in one.needs.iter().filter(|need| need.soname != one.soname) {
        let Some(&soname) = index.get(need.soname.as_str()) else {
            continue;
        };
        match links.iter_mut().find(|link| link.soname == soname && link.symbols == need.symbols) {
            Some(link) => link.hard |= need.hard,
            None => links.push(Link { soname, symbols: need.symbols, hard: need.hard }),
        }
    }
    links.sort_by_key(|link| (link.soname, link.symbols));
    links
}

fn conflicts(all: &[(usize, &Conflict)], one: &Candidate) -> Vec<(usize, End)> {
    let sides = all.iter().enumerate().flat_map(|(at, (_, both))| [(at, End::A, &both.a), (at, End::B, &both.b)]);
    sides.filter(|(_, _, side)| side.covers(one)).map(|(at, end, _)| (at, end)).collect()
}

/// The documented total order: the newer release first, unknown last, then the path. The other fields only make the
/// order of otherwise equal entries independent of the input.
fn sort_key(one: &Candidate) -> impl Ord + '_ {
    let mut needs: Vec<&Need> = one.needs.iter().collect();
    needs.sort_unstable();
    (
        &one.soname,
        Reverse(one.version.as_ref()),
        &one.path,
        (one.root, one.directory, &one.group, one.cuda, &one.barred, needs, one.rank),
    )
}

/// nvJitLink, of any major.
fn is_linker(soname: &str) -> bool {
    soname.starts_with("libnvJitLink.so")
}

fn candidate<'p>(problem: &'p Problem<'p>, source: usize) -> &'p Candidate {
    &problem.candidates[source]
}

fn in_order<T: Ord + Debug>(all: &[T]) -> Vec<(usize, &T)> {
    let mut all: Vec<(usize, &T)> = all.iter().enumerate().collect();
    // Releases may be equal and spelt differently: 9.1 and 9.1.0.
    all.sort_by(|(_, a), (_, b)| a.cmp(b).then_with(|| format!("{a:?}").cmp(&format!("{b:?}"))));
    all
}

fn sorted<T: Ord>(all: impl Iterator<Item = T>) -> Vec<T> {
    all.collect::<BTreeSet<T>>().into_iter().collect()
}

fn place<T: Ord>(all: &[T], one: &T) -> Option<usize> {
    all.binary_search(one).ok()
}
