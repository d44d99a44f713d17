//! A given set against the rules: its cost, and the rule that another copy would break in it.
//!
//! Takes a set; queries the oracle where a rule is about symbols. Shares only the rules between two items with the
//! search.

use std::collections::BTreeSet;

use super::answers::Answers;
use super::cost::Cost;
use super::model::{GoalKind, Item, Key, Model, Set};
use super::pairs;
use super::problem::{Explain, MissingSymbol, Release, SymbolSetId};
use super::refusal::{Preference, Refusal};

/// The cost of a set.
pub(super) fn cost(model: &Model<'_>, set: &Set) -> Cost {
    let mut cost = Cost::default();
    let mut roots = BTreeSet::new();
    let mut needed = vec![false; model.sonames.len()];
    for &item in set.iter().flatten() {
        let item = &model.items[item];
        cost = cost.plus(item.cost);
        roots.insert(item.root);
        for link in &item.needs {
            needed[link.soname] = true;
        }
    }
    cost.roots = roots.len() as u64;
    for (at, soname) in model.sonames.iter().enumerate() {
        if soname.servable && set[at].is_none() {
            if soname.goal > GoalKind::None {
                cost.unserved += 1;
            } else if needed[at] {
                cost.unserved_needs += 1;
            }
        }
    }
    cost
}

/// Finds why a copy is not the chosen one.
pub(super) struct Critic<'m> {
    pub(super) model: &'m Model<'m>,
    pub(super) answers: &'m mut Answers,
    pub(super) set: &'m Set,
}

impl Critic<'_> {
    /// The first rule that `item` breaks in place of the chosen copy of its soname, else the preference against it.
    pub(super) fn refusal(&mut self, item: usize) -> Refusal {
        // An undefined symbol comes before the rule of one release, which exists because of it.
        let broken = self.alone(item).or_else(|| self.other_major(item)).or_else(|| self.symbols(item));
        if let Some(refusal) = broken.or_else(|| self.beside(item)) {
            return refusal;
        }
        if let Some(refusal) = self.needs(item) {
            return refusal;
        }
        let mut other = self.set.clone();
        other[self.model.items[item].soname] = Some(item);
        drop_unneeded(self.model, &mut other);
        if let Some(group) =
            (0..self.model.groups.len()).find(|&group| pairs::holder(self.model, &other, group).is_some())
        {
            return Refusal::OtherDirectory { group: self.model.groups[group].name.to_owned() };
        }
        Refusal::Worse(self.preference(item, &other))
    }

    /// The first rule that it breaks in every set, symbols aside.
    fn alone(&self, item: usize) -> Option<Refusal> {
        let model = self.model;
        let problem = model.problem;
        let own = model.candidate(item);
        let soname = &model.sonames[model.items[item].soname];
        model.items[item].excluded.iter().find_map(|&key| match key {
            Key::Barred(..) => own.barred.clone().map(Refusal::Barred),
            Key::Forbidden(at) => Some(Refusal::Forbidden { by: model.forbidden[at].to_owned() }),
            Key::Fixed(_) => soname.fixed.map(|path| Refusal::NotFixed { path: path.to_owned() }),
            Key::LeastRelease(at) => model.bound.get(at).map(|(_, demand)| Refusal::NotTheRelease {
                release: own.version.clone(),
                required: demand.least.clone(),
                consumer: demand.consumer.clone(),
            }),
            Key::Built => own.cuda.zip(problem.built.as_ref()).map(|(cuda, built)| Refusal::OtherMajor {
                major: cuda.major,
                of: built.consumer.clone(),
                not: built.major,
            }),
            Key::Linker(_) => {
                let cuda = own.cuda?;
                let mut users = soname.demands.iter().filter_map(|&at| model.demands.get(at)).map(|(_, demand)| demand);
                let user = users.find(|user| user.cuda.is_some_and(|user| cuda.falls_short_of(user)))?;
                Some(Refusal::LinkerTooOld { cuda, user: user.consumer.clone(), needs: user.cuda? })
            }
            _ => None,
        })
    }

    /// A member of the set that is for another CUDA major.
    fn other_major(&self, item: usize) -> Option<Refusal> {
        let model = self.model;
        let own = &model.items[item];
        let mut others = self.set.iter().flatten().map(|&other| &model.items[other]);
        let (cuda, its) = others.find_map(|other| {
            let both = own.cuda.zip(other.cuda)?;
            (other.soname != own.soname && both.0.major != both.1.major).then_some(both)
        })?;
        Some(Refusal::OtherMajor { major: cuda.major, of: "the set".to_owned(), not: its.major })
    }

    /// The first rule that it breaks with another member of the set, symbols and majors aside.
    fn beside(&self, item: usize) -> Option<Refusal> {
        let model = self.model;
        let own = &model.items[item];
        let others = || self.set.iter().flatten().copied().filter(|&other| model.items[other].soname != own.soname);
        let name = |other: usize| model.candidate(other).soname.clone();

        let release = || {
            others()
                .filter(|&other| own.group.is_some() && model.items[other].group == own.group)
                .filter(|&other| !pairs::of_one_release(own, &model.items[other]))
                // The shortest name of a group is the best known.
                .min_by_key(|&other| (model.candidate(other).soname.len(), other))
                .map(|other| Refusal::OtherRelease {
                    than: name(other),
                    release: model.candidate(item).version.clone(),
                    not: model.candidate(other).version.clone(),
                })
        };
        let bad = || {
            others().find_map(|other| {
                let at = pairs::known_bad(own, &model.items[other], &BTreeSet::new())?;
                let why = model.conflicts.get(at)?.1.why.clone();
                Some(Refusal::KnownBad { with: name(other), why })
            })
        };
        let linker = || {
            others().find_map(|other| {
                let its = &model.items[other];
                let takes = |user: &Item, linker: &Item| {
                    model.sonames[linker.soname].linker
                        && user.needs.iter().any(|link| link.soname == linker.soname)
                        && pairs::falls_short(linker, user)
                };
                let (cuda, other_cuda) = own.cuda.zip(its.cuda)?;
                if takes(its, own) {
                    Some(Refusal::LinkerTooOld { cuda, user: name(other), needs: other_cuda })
                } else if takes(own, its) {
                    Some(Refusal::TooNewForLinker { cuda, linker: name(other), is: other_cuda })
                } else {
                    None
                }
            })
        };
        release().or_else(|| self.torn(item)).or_else(bad).or_else(linker)
    }

    fn torn(&self, item: usize) -> Option<Refusal> {
        let group = self.model.items[item].group?;
        let mut other = self.set.clone();
        other[self.model.items[item].soname] = Some(item);
        pairs::holder(self.model, &other, group)?;
        Some(Refusal::OtherDirectory { group: self.model.groups[group].name.to_owned() })
    }

    /// The first symbol that would be undefined with it in the set.
    fn symbols(&mut self, item: usize) -> Option<Refusal> {
        let model = self.model;
        let own = &model.items[item];
        let soname = &model.sonames[own.soname];
        for &at in &soname.demands {
            let demand = model.demands[at].1;
            if let Some(symbol) = self.missing(demand.symbols, item) {
                return Some(Refusal::Lacks { symbol, needed_by: demand.consumer.clone() });
            }
        }
        for &(user, symbols) in &soname.needers {
            if self.set[model.items[user].soname] == Some(user)
                && let Some(symbol) = self.missing(symbols, item)
            {
                return Some(Refusal::Lacks { symbol, needed_by: model.candidate(user).soname.clone() });
            }
        }
        for link in &own.needs {
            if let Some(provider) = self.set[link.soname]
                && let Some(symbol) = self.missing(link.symbols, provider)
            {
                return Some(Refusal::Takes { symbol, from: model.sonames[link.soname].name.to_owned() });
            }
        }
        None
    }

    fn missing(&mut self, symbols: SymbolSetId, item: usize) -> Option<MissingSymbol> {
        match self.model.problem.policy.explain {
            Explain::Fully => self.answers.query(self.model, symbols, item).cloned(),
            Explain::AsKnown => self.answers.known(symbols, item).cloned(),
        }
    }

    /// A library that it needs and that is not in the set.
    fn needs(&self, item: usize) -> Option<Refusal> {
        let model = self.model;
        let mut links = model.items[item].needs.iter();
        let link = links.find(|link| link.hard && self.set[link.soname].is_none())?;
        let soname = &model.sonames[link.soname];
        let needed = soname.name.to_owned();
        Some(if soname.items.clone().any(|item| model.items[item].excluded.is_empty()) {
            Refusal::NeedsMore { soname: needed }
        } else {
            Refusal::Unserved { soname: needed }
        })
    }

    /// The first preference for the set over `other`, which has `item` instead.
    fn preference(&self, item: usize, other: &Set) -> Preference {
        let model = self.model;
        let (ours, its) = (cost(model, self.set), cost(model, other));
        let chosen = self.set[model.items[item].soname].map(|chosen| model.candidate(chosen));
        let version = || chosen.and_then(|chosen| chosen.version.clone());
        if its.unserved != ours.unserved || its.unserved_needs != ours.unserved_needs {
            return Preference::Service;
        }
        if its.pin_missed != ours.pin_missed {
            return Preference::Pin { release: version() };
        }
        if its.off_root != ours.off_root {
            return Preference::ConsumerRoot;
        }
        if its.roots != ours.roots {
            return Preference::FewerRoots;
        }
        if its.older != ours.older || its.newer != ours.newer {
            return Preference::NearerRelease { release: version() };
        }
        let own = model.candidate(item);
        let newer = |chosen: &Option<Release>| chosen > &own.version;
        match chosen {
            Some(chosen) if newer(&chosen.version) => Preference::Newer { release: chosen.version.clone() },
            _ => Preference::Order,
        }
    }
}

/// Removes the copies that are no longer needed.
fn drop_unneeded(model: &Model<'_>, set: &mut Set) {
    let mut needed: Vec<usize> =
        (0..model.sonames.len()).filter(|&at| model.sonames[at].goal > GoalKind::None).collect();
    let mut seen = vec![false; model.sonames.len()];
    while let Some(at) = needed.pop() {
        if !seen[at] {
            seen[at] = true;
            let needs = set[at].map_or(&[][..], |item| &model.items[item].needs);
            needed.extend(needs.iter().map(|link| link.soname));
        }
    }
    for (slot, seen) in set.iter_mut().zip(seen) {
        if !seen {
            *slot = None;
        }
    }
}
