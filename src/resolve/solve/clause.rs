//! The facts of a conflict in words.
//!
//! Takes the keys of a conflict and the known answers about symbols; gives one clause per key, with files, sonames,
//! releases and symbols. Joins facts that hold for several copies.

use std::collections::BTreeSet;
use std::fmt::Display;

use super::answers::Answers;
use super::model::{Key, Model};
use super::no_solution::{Clause, Fact};
use super::problem::{Bar, Conflict, CudaRelease, MissingSymbol, ReleaseDemand, SymbolSetId};
use super::rule::Rule;

/// The most items named in a list; the rest is counted.
const NAMED: usize = 3;

/// One clause per key.
pub(super) fn clauses(model: &Model<'_>, answers: &Answers, keys: &[Key]) -> Vec<Clause> {
    let about: BTreeSet<usize> = keys.iter().flat_map(|&key| sonames(model, key)).collect();
    let wording = Wording { model, answers, about };
    keys.iter()
        .map(|&key| Clause {
            rule: rule(key),
            fact: fact(model, key),
            says: wording.sentence(key),
            hints: wording.hints(key),
        })
        .collect()
}

fn rule(key: Key) -> Rule {
    match key {
        Key::Conflict(_) => Rule::KnownBad,
        Key::OneDirectory(_) => Rule::OneDirectory,
        Key::Linker(_) => Rule::LinkerNotOlder,
        Key::OneRelease(_) => Rule::OneRelease,
        Key::OneMajor | Key::Built => Rule::OneMajor,
        Key::Symbols(..) => Rule::MemberSymbols,
        Key::Demand(_) => Rule::DemandSymbols,
        Key::LeastRelease(_) => Rule::LeastRelease,
        Key::Barred(..) => Rule::Barred,
        Key::Forbidden(_) => Rule::Forbidden,
        Key::Served(..) | Key::Goal(_) => Rule::Served,
        Key::Fixed(_) => Rule::Fixed,
    }
}

fn fact(model: &Model<'_>, key: Key) -> Fact {
    let name = |at: usize| model.sonames[at].name.to_owned();
    let group = |at: usize| model.groups[at].name.to_owned();
    match key {
        Key::Conflict(at) => Fact::Conflict(model.conflicts[at].0),
        Key::OneDirectory(at) => Fact::OneDirectory(group(at)),
        Key::Linker(at) => Fact::Linker(name(at)),
        Key::OneRelease(at) => Fact::OneRelease(group(at)),
        Key::OneMajor => Fact::OneMajor,
        Key::Symbols(user, provider) => Fact::Symbols(name(user), name(provider)),
        Key::Demand(at) => Fact::Demand(model.demands[at].0),
        Key::LeastRelease(at) => Fact::LeastRelease(model.bound[at].0),
        Key::Built => Fact::Built,
        Key::Barred(at, bar) => Fact::Barred(name(at), Bar(model.bars[bar].to_owned())),
        Key::Forbidden(at) => Fact::Forbidden(model.forbidden[at].to_owned()),
        Key::Served(user, provider) => Fact::Needs(name(user), name(provider)),
        Key::Fixed(at) => Fact::Fixed(name(at)),
        Key::Goal(at) => Fact::Goal(name(at)),
    }
}

/// The sonames in a key.
fn sonames(model: &Model<'_>, key: Key) -> Vec<usize> {
    match key {
        Key::Linker(at) | Key::Barred(at, _) | Key::Fixed(at) | Key::Goal(at) => vec![at],
        Key::Symbols(user, provider) | Key::Served(user, provider) => vec![user, provider],
        Key::Demand(at) => {
            let demand = model.demands[at].1;
            model.sonames.iter().position(|soname| soname.name == demand.soname).into_iter().collect()
        }
        Key::Conflict(_)
        | Key::OneDirectory(_)
        | Key::OneRelease(_)
        | Key::OneMajor
        | Key::LeastRelease(_)
        | Key::Built
        | Key::Forbidden(_) => Vec::new(),
    }
}

struct Wording<'m> {
    model: &'m Model<'m>,
    answers: &'m Answers,
    /// The sonames of the conflict.
    about: BTreeSet<usize>,
}

impl Wording<'_> {
    fn sentence(&self, key: Key) -> String {
        let model = self.model;
        match key {
            Key::Goal(at) => self.goal(at),
            Key::Served(user, provider) => {
                let (user, name) = (model.sonames[user].name, model.sonames[provider].name);
                format!("{user} needs {name}{}", self.none_found(provider))
            }
            Key::Fixed(at) => self.fixed(at),
            Key::Forbidden(at) => {
                let by = format!("`{}`", model.forbidden[at].display());
                match self.paths(key).as_slice() {
                    [path] if *path == by => format!("{by} is forbidden"),
                    paths => format!("{by} is forbidden, and {} with it", list(paths)),
                }
            }
            Key::Barred(_, bar) => {
                format!("{} cannot be used: {}", list(self.paths(key)), model.bars[bar])
            }
            Key::LeastRelease(at) => {
                let ReleaseDemand { consumer, group, least } = model.bound[at].1;
                let here = self.releases(|item| model.items[item].excluded.contains(&key));
                format!("{consumer} needs {group} {least} or newer{here}")
            }
            Key::Built => {
                let built = model.problem.built.as_ref();
                let built = built.map(|built| format!("{} is for CUDA {}", built.consumer, built.major));
                let here = self.majors(|item| model.items[item].excluded.contains(&key));
                format!("{}{here}", built.unwrap_or_default())
            }
            Key::OneMajor => {
                format!("all libraries are for one CUDA major{}", self.majors(|_| true))
            }
            Key::OneRelease(group) => {
                let name = model.groups[group].name;
                let here = self.releases(|item| model.items[item].group == Some(group));
                format!("the libraries of {name} are of one release{here}")
            }
            Key::OneDirectory(group) => {
                let name = model.groups[group].name;
                format!("the libraries of {name} come from one directory where one holds them all")
            }
            Key::Linker(at) => self.linker(at),
            Key::Conflict(at) => {
                let Conflict { a, b, why } = model.conflicts[at].1;
                format!("{a} and {b} do not work together: {why}")
            }
            Key::Demand(at) => {
                let demand = model.demands[at].1;
                let providers = sonames(model, key);
                let undefined = providers.into_iter().flat_map(|at| self.undefined(demand.symbols, at));
                self.needs(&demand.consumer, &demand.soname, &undefined.collect::<Vec<_>>())
            }
            Key::Symbols(user, provider) => {
                let needers = model.sonames[provider].needers.iter();
                let undefined = needers
                    .filter(|(item, _)| model.items[*item].soname == user && self.fits(*item))
                    .flat_map(|&(_, symbols)| self.undefined(symbols, provider));
                let (user, provider) = (model.sonames[user].name, model.sonames[provider].name);
                self.needs(user, provider, &undefined.collect::<Vec<_>>())
            }
        }
    }

    fn goal(&self, at: usize) -> String {
        let name = self.model.sonames[at].name;
        let goals = self.model.problem.goals.iter();
        let goals = goals.filter(|goal| goal.hard && goal.soname == name);
        let by: BTreeSet<&str> = goals.map(|goal| goal.by.as_str()).collect();
        format!("{} needs {name}{}", list(by), self.none_found(at))
    }

    fn fixed(&self, at: usize) -> String {
        let soname = &self.model.sonames[at];
        let path = soname.fixed.map(|path| path.display().to_string()).unwrap_or_default();
        let mut paths = soname.items.clone().map(|item| &self.model.candidate(item).path);
        let none = if paths.any(|path| Some(path.as_path()) == soname.fixed) {
            ""
        } else {
            ", which holds no usable copy of it"
        };
        format!("{} is fixed to `{path}`{none}", soname.name)
    }

    fn linker(&self, at: usize) -> String {
        let model = self.model;
        let linker = &model.sonames[at];
        let own = linker.items.clone().filter_map(|item| model.items[item].cuda);
        let own: BTreeSet<CudaRelease> = own.collect();
        let users = linker.needers.iter().map(|&(user, _)| user);
        let users = users.filter(|&user| self.about.contains(&model.items[user].soname) && self.fits(user));
        let users = users.map(|user| (model.candidate(user).soname.as_str(), model.items[user].cuda));
        let demands = linker.demands.iter().map(|&at| model.demands[at].1);
        let users: BTreeSet<String> = users
            .chain(demands.map(|demand| (demand.consumer.as_str(), demand.cuda)))
            .filter_map(|(name, cuda)| Some(format!("{name} for {}", cuda?)))
            .collect();
        let (name, own, users) = (linker.name, list(own), list(users));
        format!("{name} is at least as new as its users; it is here for {own}, {users}")
    }

    /// The usable copies of a soname that are known not to define one of these symbols.
    fn undefined(&self, symbols: SymbolSetId, soname: usize) -> Vec<(usize, &MissingSymbol)> {
        let items = self.model.sonames[soname].items.clone().filter(|&item| self.fits(item));
        items.filter_map(|item| Some((item, self.answers.known(symbols, item)?))).collect()
    }

    /// "X needs `symbol@node` of Y, which 12.1 does not define"
    fn needs(&self, user: &str, provider: &str, undefined: &[(usize, &MissingSymbol)]) -> String {
        let symbols: BTreeSet<&MissingSymbol> = undefined.iter().map(|(_, symbol)| *symbol).collect();
        let copies: BTreeSet<usize> = undefined.iter().map(|(item, _)| *item).collect();
        if symbols.is_empty() {
            return format!("every symbol that {user} needs of {provider} is defined there");
        }
        let copies: Vec<String> = copies.into_iter().map(|item| self.copy(item)).collect();
        let verb = if copies.len() == 1 { "does" } else { "do" };
        format!("{user} needs {} of {provider}, which {} {verb} not define", list(symbols), list(copies))
    }

    /// A copy by its release, where that is known, and its path.
    fn copy(&self, item: usize) -> String {
        let candidate = self.model.candidate(item);
        match &candidate.version {
            Some(version) => format!("{version} (`{}`)", candidate.path.display()),
            None => format!("`{}`", candidate.path.display()),
        }
    }

    fn none_found(&self, soname: usize) -> &'static str {
        if self.model.sonames[soname].items.is_empty() { ", of which no copy was found" } else { "" }
    }

    /// Whether an item is usable by itself: files ruled out otherwise are not part of the conflict.
    fn fits(&self, item: usize) -> bool {
        self.model.usable(item)
    }

    /// The files that a key excludes.
    fn paths(&self, key: Key) -> Vec<String> {
        (0..self.model.items.len())
            .filter(|&item| self.model.items[item].excluded.contains(&key))
            .map(|item| format!("`{}`", self.model.candidate(item).path.display()))
            .collect()
    }

    /// "; libcudnn.so.9 is here as 9.1.0, 9.10.2", for the sonames of the conflict.
    fn releases(&self, of: impl Fn(usize) -> bool) -> String {
        self.here("as", |item| {
            let version = self.model.candidate(item).version.as_ref();
            of(item).then(|| version.map_or_else(|| "an unknown release".to_owned(), ToString::to_string))
        })
    }

    fn majors(&self, of: impl Fn(usize) -> bool) -> String {
        self.here("for", |item| {
            let cuda = self.model.items[item].cuda?;
            of(item).then(|| format!("CUDA {}", cuda.major))
        })
    }

    fn here(&self, word: &str, what: impl Fn(usize) -> Option<String>) -> String {
        let mut texts: Vec<String> = Vec::new();
        for &at in &self.about {
            let soname = &self.model.sonames[at];
            let items = soname.items.clone().filter(|&item| self.fits(item));
            let mut all: Vec<String> = Vec::new();
            for one in items.filter_map(&what) {
                if !all.contains(&one) {
                    all.push(one);
                }
            }
            if !all.is_empty() {
                texts.push(format!("; {} is here {word} {}", soname.name, list(all)));
            }
        }
        texts.concat()
    }

    fn hints(&self, key: Key) -> Vec<String> {
        let model = self.model;
        let problem = model.problem;
        let fix = |at: usize| problem.fix_hints.get(model.sonames[at].name).cloned();
        let place = |at: usize| {
            let none = model.sonames[at].items.is_empty();
            none.then(|| format!("name a directory that holds {} with `--place DIR`", model.sonames[at].name))
        };
        match key {
            Key::Goal(at) | Key::Served(_, at) => match place(at) {
                Some(place) => fix(at).into_iter().chain([place]).collect(),
                None => Vec::new(),
            },
            Key::Symbols(_, at) | Key::Linker(at) | Key::Barred(at, _) => fix(at).into_iter().collect(),
            Key::Demand(_) => sonames(model, key).into_iter().filter_map(fix).collect(),
            Key::OneRelease(group) => {
                let of = |at: &usize| model.sonames[*at].group == Some(group);
                self.about.iter().copied().filter(of).filter_map(fix).collect()
            }
            Key::Built | Key::OneMajor | Key::LeastRelease(_) => {
                let hit = |at: &usize| {
                    let mut items = model.sonames[*at].items.clone();
                    items.any(|item| key == Key::OneMajor || model.items[item].excluded.contains(&key))
                };
                self.about.iter().copied().filter(hit).filter_map(fix).collect()
            }
            Key::Forbidden(at) => {
                vec![format!("drop `--forbid {}`", model.forbidden[at].display())]
            }
            Key::Fixed(at) => {
                let path = model.sonames[at].fixed.map(|path| path.display().to_string()).unwrap_or_default();
                vec![format!("drop `--use {}={path}`", model.sonames[at].name)]
            }
            Key::Conflict(_) | Key::OneDirectory(_) => Vec::new(),
        }
    }
}

/// "a, b and 4 more"
fn list<T: Display>(all: impl IntoIterator<Item = T>) -> String {
    let all: Vec<String> = all.into_iter().map(|one| one.to_string()).collect();
    match all.len() {
        0 => String::new(),
        1..=NAMED => all.join(", "),
        len => format!("{} and {} more", all.get(..NAMED - 1).unwrap_or_default().join(", "), len + 1 - NAMED),
    }
}
