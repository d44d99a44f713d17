//! The choice as plain data for `solve`, with an oracle that reads symbols from the files.

use super::{Policy, late, majors};
use crate::host::tidy;
use crate::inventory::places::Provenance;
use crate::inventory::{Inventory, Library, Owner, built_for};
use crate::inventory::{Symbol, nodes_needed, symbols_by_provider};
use crate::loader::Object;
use crate::plan::How;
use crate::resolve::solve::{
    Bar, Built, Candidate, CudaRelease, Defines, Demand, Explain, Goal, MissingSymbol, Need, NoSolution, Pin, Problem,
    Rank, Release, ReleaseDemand, Solution, SymbolSetId,
};
use crate::tables::{Level, Version, known_bad, parse_library_name};
use crate::target::{Closure, Kind, Requirement};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::Choice;

/// The needed sets of symbols, each once.
#[derive(Default)]
struct SymbolSets {
    sets: Vec<Vec<Symbol>>,
    known: HashMap<Vec<Symbol>, SymbolSetId>,
}

impl SymbolSets {
    fn id(&mut self, symbols: Vec<Symbol>) -> SymbolSetId {
        if symbols.is_empty() {
            return SymbolSetId::NONE;
        }
        if let Some(id) = self.known.get(&symbols) {
            return *id;
        }
        let id = SymbolSetId(u32::try_from(self.sets.len()).unwrap_or(u32::MAX - 1));
        self.sets.push(symbols.clone());
        self.known.insert(symbols, id);
        id
    }
}

/// Numbers for paths that are only compared.
#[derive(Default)]
struct Numbers(BTreeMap<PathBuf, u32>);

impl Numbers {
    fn of(&mut self, path: &Path) -> u32 {
        let next = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        *self.0.entry(path.to_owned()).or_insert(next)
    }
}

/// The candidates, and the library of each.
pub(super) struct State<'i> {
    candidates: Vec<Candidate>,
    libraries: Vec<&'i Library>,
    goals: Vec<Goal>,
    demands: Vec<Demand>,
    sets: SymbolSets,
}

/// The weight of the consumer's own copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Own {
    /// They exclude all other copies of their sonames.
    Stands,
    /// That of any other copy.
    MayGiveWay,
}

/// A chosen library with its choice.
pub(super) struct Member<'i> {
    pub(super) library: &'i Library,
    pub(super) choice: Choice,
}

struct Oracle<'s, 'i>(&'s State<'i>);

impl Defines for Oracle<'_, '_> {
    fn missing(&self, symbols: SymbolSetId, candidate: usize) -> Option<MissingSymbol> {
        let set = self.0.sets.sets.get(symbols.0 as usize)?;
        let object = self.0.libraries.get(candidate)?.object.as_ref()?;
        let elf = object.elf().ok()?;
        let undefined = set
            .iter()
            .find(|symbol| !elf.defines(symbol.name.as_bytes(), symbol.node.as_deref().map(str::as_bytes)))?;
        Some(MissingSymbol { symbol: undefined.name.clone(), node: undefined.node.clone() })
    }
}

impl<'i> State<'i> {
    pub(super) fn new(
        requirement: &Requirement,
        closure: &Closure<'_>,
        inventory: &'i Inventory,
        policy: &Policy,
        own: Own,
    ) -> Self {
        let mut sets = SymbolSets::default();
        let mut goals: Vec<Goal> = Vec::new();
        for need in requirement.needs.iter().filter(|need| !is_driver(&need.soname)) {
            goals.push(Goal { soname: need.soname.clone(), hard: need.hard, by: named(&need.by) });
        }
        if requirement.kind == Kind::Elf {
            for (_, mapped) in closure.own() {
                let library = inventory.libraries.iter().find(|library| library.stat.id == mapped.object.stat.id);
                for soname in late::sonames(&mapped.path, library, inventory) {
                    if !goals.iter().any(|goal| goal.soname == soname) {
                        goals.push(Goal { soname, hard: false, by: named(&tidy(&mapped.path)) });
                    }
                }
            }
        }
        let first_goals: BTreeSet<String> = goals.iter().map(|goal| goal.soname.clone()).collect();
        // The consumer may open any library of its own wheels by name; a consumer without known goals, any given one. A
        // linked program names its needs itself.
        let is_linked = requirement.kind == Kind::Elf && !goals.is_empty();
        let is_unknown = goals.is_empty() && requirement.releases.is_empty();
        let given = |library: &Library| is_unknown && library.place.provenance == Provenance::Given;
        for library in inventory.libraries.iter().filter(|_| !is_linked) {
            let soname = library.load_name();
            if serves(library)
                && (at_home(requirement, library) || given(library))
                && !first_goals.contains(soname)
                && !goals.iter().any(|goal| goal.soname == soname)
            {
                goals.push(Goal { soname: soname.to_owned(), hard: false, by: "its own environment".to_owned() });
            }
        }
        let cuda = requirement.cuda.map(|(major, minor)| CudaRelease { major, minor });
        let demands = requirement
            .demands
            .iter()
            .filter(|demand| !is_driver(&demand.soname))
            .map(|demand| Demand {
                consumer: named(&demand.by),
                soname: demand.soname.clone(),
                symbols: sets.id(demand.symbols.clone()),
                cuda,
            })
            .collect();
        let mut state = Self { candidates: Vec::new(), libraries: Vec::new(), goals, demands, sets };
        state.add_candidates(requirement, closure, inventory, policy, own);
        state
    }

    /// Lets goals go that have no copy for the consumer's CUDA major, where the consumer loads one for another by itself:
    /// a package for CUDA 12 wrote its NCCL over that of torch for CUDA 13, and `import torch` works. Whether there are any.
    pub(super) fn lets_stand(&mut self, requirement: &Requirement, closure: &Closure<'_>) -> bool {
        let Some((major, _)) = requirement.cuda else { return false };
        let stands = |goal: &Goal| {
            let copies = || self.candidates.iter().enumerate().filter(|(_, one)| one.soname == goal.soname);
            let is_other = |one: &Candidate| one.cuda.is_some_and(|cuda| cuda.major != major);
            let mapped = closure.map().by_name(OsStr::new(&goal.soname)).map(|mapped| mapped.object.stat.id);
            let binds = |at: usize| {
                let mut demands = self.demands.iter().filter(|demand| demand.soname == goal.soname);
                demands.all(|demand| Oracle(self).missing(demand.symbols, at).is_none())
            };
            let is_mapped = |at: usize| self.libraries.get(at).is_some_and(|library| Some(library.stat.id) == mapped);
            goal.hard && copies().all(|(_, one)| is_other(one)) && copies().any(|(at, _)| is_mapped(at) && binds(at))
        };
        let stand: Vec<bool> = self.goals.iter().map(stands).collect();
        for (goal, _) in self.goals.iter_mut().zip(&stand).filter(|(_, stands)| **stands) {
            goal.hard = false;
        }
        stand.contains(&true)
    }

    /// Adds the candidates for the goals, for their needs, and so on.
    fn add_candidates(
        &mut self,
        requirement: &Requirement,
        closure: &Closure<'_>,
        inventory: &'i Inventory,
        policy: &Policy,
        own: Own,
    ) {
        let libc = closure.map().by_name(OsStr::new("libc.so.6")).map(|mapped| std::sync::Arc::clone(&mapped.object));
        let (mut roots, mut directories) = (Numbers::default(), Numbers::default());
        let mut queue: Vec<String> =
            self.goals.iter().map(|goal| goal.soname.clone()).chain(policy.fixed.keys().cloned()).collect();
        let mut seen = BTreeSet::new();
        while let Some(soname) = queue.pop() {
            if !seen.insert(soname.clone()) || is_driver(&soname) {
                continue;
            }
            let own = (own == Own::Stands && !policy.fixed.contains_key(&soname))
                .then(|| own_copy(requirement, closure, inventory, &soname))
                .flatten();
            for library in inventory.serving(&soname) {
                if library.renamed.is_some() {
                    continue;
                }
                let mut needs = self.needs(library);
                if requirement.kind == Kind::Elf {
                    // Other targets have a goal for every library of their environment anyway.
                    let late = late::sonames(&library.path, Some(library), inventory).into_iter();
                    needs.extend(late.map(|soname| Need { soname, symbols: SymbolSetId::NONE, hard: false }));
                }
                queue.extend(needs.iter().map(|need| need.soname.clone()));
                let barred = library
                    .unusable
                    .clone()
                    .or_else(|| known_bad_release(library))
                    .or_else(|| library.object.as_ref().and_then(|object| too_new(object, libc.as_deref()?)))
                    .or_else(|| {
                        let other = own.as_ref().is_some_and(|own| own.stat.id != library.stat.id);
                        other.then(|| "the target brings its own copy".to_owned())
                    });
                self.candidates.push(Candidate {
                    soname: soname.clone(),
                    path: library.path.clone(),
                    root: roots.of(&library.place.root),
                    directory: directories.of(&library.place.dir),
                    version: library.version.as_ref().map(release),
                    group: library.row.group.map(str::to_owned),
                    cuda: built_for(library).map(|(major, minor)| CudaRelease { major, minor }),
                    barred: barred.map(Bar),
                    needs,
                    rank: rank(requirement, library),
                });
                self.libraries.push(library);
            }
        }
    }

    fn needs(&mut self, library: &Library) -> Vec<Need> {
        let Some(object) = &library.object else { return Vec::new() };
        let mut by_provider = symbols_by_provider(object);
        let mut needs = Vec::new();
        for name in &object.facts.needed {
            let Some(soname) = name.to_str() else { continue };
            if parse_library_name(name).is_some_and(|name| name.hash.is_none() && !name.row.is_driver()) {
                let symbols = self.sets.id(by_provider.remove(soname).unwrap_or_default());
                needs.push(Need { soname: soname.to_owned(), symbols, hard: true });
            }
        }
        needs
    }

    pub(super) fn solve(
        &self,
        requirement: &Requirement,
        inventory: &Inventory,
        policy: &Policy,
    ) -> Result<Solution, NoSolution> {
        let releases = requirement.releases.iter().map(|(group, version, by)| ReleaseDemand {
            consumer: named(by),
            group: group.clone(),
            least: release(version),
        });
        let problem = Problem {
            goals: self.goals.clone(),
            candidates: self.candidates.clone(),
            demands: self.demands.clone(),
            releases: releases.collect(),
            built: requirement.cuda.map(|(major, _)| Built { consumer: requirement.text.clone(), major }),
            conflicts: Vec::new(),
            fix_hints: self.fix_hints(requirement, inventory),
            defines: &Oracle(self),
            policy: crate::resolve::solve::Policy {
                provided: BTreeSet::new(),
                fixed: policy.fixed.clone(),
                forbidden: policy.forbidden.clone(),
                explain: if policy.explain { Explain::Fully } else { Explain::AsKnown },
            },
        };
        let solution = crate::resolve::solve::solve(&problem)?;
        Ok(majors::served(&problem, solution))
    }

    /// How a user gets a copy of each soname.
    fn fix_hints(&self, requirement: &Requirement, inventory: &Inventory) -> BTreeMap<String, String> {
        let mut hints = BTreeMap::new();
        for soname in self
            .goals
            .iter()
            .map(|goal| &goal.soname)
            .chain(self.candidates.iter().flat_map(|candidate| candidate.needs.iter().map(|need| &need.soname)))
        {
            let Some(name) = parse_library_name(soname) else { continue };
            let Some(wheel) = name.row.wheels.first() else { continue };
            let pinned = requirement.pins.iter().find(|(package, _)| name.row.is_wheel(package));
            // Only a damaged file of an installed wheel needs a reinstall.
            let here = || inventory.serving(soname).filter(|library| is_around(requirement, library));
            let is_pinned = |name: &str, version: &str| {
                pinned.is_none_or(|(package, range)| {
                    package == name && range.exact().is_none_or(|exact| Some(exact) == Version::parse(version).as_ref())
                })
            };
            let of_wheel = |library: &Library| match &library.owner {
                Owner::Wheel { name, version, .. } if is_pinned(name, version) => {
                    Some((library.unusable.is_some(), name.clone(), version.clone()))
                }
                _ => None,
            };
            if let Some((damaged, name, version)) = here().find_map(of_wheel) {
                if damaged {
                    let again = "pip install --force-reinstall --no-deps";
                    hints.insert(soname.clone(), format!("reinstall it: `{again} {name}=={version}`"));
                }
                continue;
            }
            let hint = match (pinned, requirement.cuda) {
                (Some((package, range)), _) => match range.exact() {
                    Some(version) => format!("install `{package}=={version}`"),
                    None => format!("install `{package}{range}`"),
                },
                (None, Some((major, _))) if major >= 11 => {
                    format!("install `{}`", name.row.wheel_names(major.into()).join("` or `"))
                }
                (None, Some((major, _))) => format!("install the toolkit of CUDA {major}"),
                (None, None) => format!("install `{}` for your CUDA", wheel.replace("{}", "NN")),
            };
            hints.insert(soname.clone(), hint);
        }
        hints
    }

    /// The library of a candidate.
    pub(super) fn library(&self, candidate: usize) -> Option<&'i Library> {
        self.libraries.get(candidate).copied()
    }

    /// The chosen libraries, in the order of the sonames.
    pub(super) fn members(&self, solution: &Solution) -> Vec<Member<'i>> {
        let version = |index: usize| {
            self.libraries.get(index).and_then(|library| library.version.as_ref()).map(ToString::to_string)
        };
        let members = solution.chosen.iter().filter_map(|chosen| {
            let library = self.libraries.get(chosen.candidate)?;
            let refused = chosen.refused.iter().filter_map(|refused| {
                let path = self.candidates.get(refused.candidate)?.path.clone();
                Some(super::Refused { path, version: version(refused.candidate), because: refused.because.to_string() })
            });
            let choice = Choice {
                soname: chosen.soname.clone(),
                path: library.path.clone(),
                version: version(chosen.candidate),
                how: How::Redirect,
                because: chosen.because.to_string(),
                refused: refused.collect(),
            };
            Some(Member { library, choice })
        });
        members.collect()
    }
}

/// The usable copy that the consumer's run paths resolve to.
fn own_copy<'i>(
    requirement: &Requirement,
    closure: &Closure<'_>,
    inventory: &'i Inventory,
    soname: &str,
) -> Option<&'i Library> {
    let path = closure.own_copy(OsStr::new(soname)).filter(|_| requirement.kind == Kind::Elf)?;
    let id = closure.map().host().stat(&path).ok()?.id;
    inventory.serving(soname).find(|library| library.stat.id == id && library.unusable.is_none())
}

/// Whether a library is among the consumer's packages.
fn is_around(requirement: &Requirement, library: &Library) -> bool {
    requirement.sites.iter().any(|site| library.path.starts_with(site))
}

/// The clause against a library of a known-bad release.
fn known_bad_release(library: &Library) -> Option<String> {
    let version = library.version.as_ref()?;
    let row = known_bad().iter().find(|row| {
        row.level == Level::Hard
            && row.with.is_none()
            && row.family == library.row.family
            && row.versions.contains(version)
    })?;
    Some(format!("known to be bad: {}", row.says))
}

/// Whether a library can serve its soname: not a bundle's renamed copy, not the driver's.
fn serves(library: &Library) -> bool {
    library.renamed.is_none() && !library.row.is_driver() && library.soname.is_some() && library.unusable.is_none()
}

fn is_driver(soname: &str) -> bool {
    parse_library_name(soname).is_some_and(|name| name.row.is_driver())
}

/// Whether a library is in the interpreter's environment.
pub(super) fn at_home(requirement: &Requirement, library: &Library) -> bool {
    matches!(library.place.provenance, Provenance::Site | Provenance::Conda)
        && requirement.sites.contains(&library.place.root)
}

fn rank(requirement: &Requirement, library: &Library) -> Rank {
    let pinned = requirement.pins.iter().find(|(package, _)| library.row.is_wheel(package));
    let mut rank = Rank { at_consumer_root: at_home(requirement, library), ..Rank::default() };
    if let Some((_, range)) = pinned {
        rank.pin = if library.version.as_ref().is_some_and(|version| range.contains(version)) {
            Pin::Met
        } else {
            Pin::Missed
        };
        if let (Some(required), Some(found)) = (range.exact(), &library.version) {
            (rank.newer_by, rank.older_by) = steps(found, required);
        }
    } else if let (Some((major, Some(minor))), Some((found, Some(found_minor)))) = (requirement.cuda, library.cuda)
        && major == found
    {
        (rank.newer_by, rank.older_by) = (found_minor.saturating_sub(minor), minor.saturating_sub(found_minor));
    }
    rank
}

/// The steps above and below the required release: one per minor, one for a patch.
fn steps(found: &Version, required: &Version) -> (u32, u32) {
    let part = |version: &Version, at: usize| {
        version.numbers().get(at).and_then(|number| u32::try_from(*number).ok()).unwrap_or_default()
    };
    let weight = |version: &Version| part(version, 0).saturating_mul(1000).saturating_add(part(version, 1));
    match found.cmp(required) {
        std::cmp::Ordering::Equal => (0, 0),
        std::cmp::Ordering::Greater => ((weight(found).saturating_sub(weight(required))).max(1), 0),
        std::cmp::Ordering::Less => (0, (weight(required).saturating_sub(weight(found))).max(1)),
    }
}

/// The clause against a library that needs a newer libc than the consumer's.
fn too_new(object: &Object, libc: &Object) -> Option<String> {
    let needed = nodes_needed(object).remove("libc.so.6")?;
    let defined = libc.elf().and_then(|elf| elf.version_definitions()).ok()?;
    let undefined = needed.iter().find(|node| !defined.iter().any(|definition| definition.name == node.as_bytes()))?;
    Some(format!("needs `{undefined}`, which this machine's libc.so.6 does not have"))
}

fn release(version: &Version) -> Release {
    Release(version.numbers().iter().map(|number| u32::try_from(*number).unwrap_or(u32::MAX)).collect())
}

/// A consumer's file in clauses.
fn named(path: &Path) -> String {
    format!("`{}`", path.display())
}
