//! Why a name leads where it leads: each place ld.so would look, in order, what stands there, and what wins.
//!
//! Takes a link map, the object that asks and a name; gives a [`Why`]. Looks into every place, also behind the one that
//! wins, so that it can say what would win if an entry were gone. The order is that of `_dl_map_object` in glibc's
//! `elf/dl-load.c`; a test holds it against the search itself.

use super::linkmap::{LinkMap, Mapped};
use super::search::Rule;
use crate::loader::ObjectError;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What stands at one path.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stands {
    /// Nothing, in a directory that is there.
    Nothing,
    /// Not even the directory.
    NoDirectory,
    /// Something that cannot be opened; ld.so looks on.
    Closed(String),
    /// An object of another class or machine; ld.so looks on.
    Foreign(String),
    /// A damaged object, or none at all: ld.so gives up.
    Damaged(String),
    /// An object ld.so maps; where its path is a link, the file it leads to.
    Object(Option<PathBuf>),
}

/// What becomes of a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Fate {
    /// Looked at and passed over.
    PassedOver,
    /// It is what ld.so takes.
    Taken,
    /// The search ends here, in vain.
    Ends,
    /// Something before it was taken.
    NotReached,
}

/// One path that is tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The path.
    pub path: PathBuf,
    /// What stands there.
    pub stands: Stands,
    /// What becomes of it.
    pub fate: Fate,
}

/// One place: an entry of a search path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Station {
    /// The rule.
    pub rule: Rule,
    /// The object whose run path it is.
    pub of: Option<PathBuf>,
    /// Which entry of its list, from 1.
    pub entry: Option<usize>,
    /// The directory; `None` for the cache, and where the whole list is not asked.
    pub dir: Option<PathBuf>,
    /// Why the list is not asked, or has nothing to say.
    pub note: Option<String>,
    /// The paths it stands for.
    pub candidates: Vec<Candidate>,
}

/// What would win without some entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Without {
    /// The station that is left out, with all named before it.
    pub station: usize,
    /// What wins then; `None`: nothing.
    pub winner: Option<(PathBuf, Rule)>,
}

/// The whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Why {
    /// The name.
    pub name: OsString,
    /// The object that asks.
    pub asker: PathBuf,
    /// The object that answers to the name already: its path, the rule that found it, and for whom.
    pub mapped: Option<(PathBuf, Rule, Option<PathBuf>)>,
    /// Every place, in order.
    pub stations: Vec<Station>,
    /// What a search comes to, were nothing of the name mapped.
    pub found: Option<(PathBuf, Rule)>,
    /// What would win if entries were gone, one after the other.
    pub without: Vec<Without>,
}

impl Why {
    /// What the asker gets.
    #[must_use]
    pub fn winner(&self) -> Option<(&Path, Rule)> {
        let mapped = self.mapped.as_ref().map(|(path, ..)| (path.as_path(), Rule::Mapped));
        mapped.or_else(|| self.found.as_ref().map(|(path, rule)| (path.as_path(), *rule)))
    }
}

/// Entries that are taken away one after the other.
const WITHOUT_LIMIT: usize = 8;

impl LinkMap<'_> {
    /// Why the object at `asker` gets what it gets for `name`.
    #[must_use]
    pub fn why(&self, asker: usize, name: &OsStr) -> Why {
        let path_of = |index: usize| self.objects().get(index).map(|mapped| mapped.path.clone());
        let mut why = Why {
            name: name.to_owned(),
            asker: path_of(asker).unwrap_or_default(),
            mapped: self
                .before(asker, name)
                .map(|mapped| (mapped.path.clone(), mapped.rule, mapped.loader.and_then(path_of))),
            stations: if name.as_bytes().contains(&b'/') {
                self.by_path(asker, name)
            } else {
                self.places(asker, name)
            },
            found: None,
            without: Vec::new(),
        };
        let mut gone = Vec::new();
        why.found = settle(&mut why.stations);
        while why.without.len() < WITHOUT_LIMIT
            && let Some((station, _)) = decided(&why.stations, &gone)
        {
            gone.push(station);
            let winner = decided(&why.stations, &gone).and_then(|(_, winner)| winner);
            let nothing = winner.is_none();
            why.without.push(Without { station, winner });
            if nothing && decided(&why.stations, &gone).is_none() {
                break;
            }
        }
        why
    }

    /// The object that answered to the name before the asker looked for it.
    fn before(&self, asker: usize, name: &OsStr) -> Option<&Mapped> {
        // What the asker itself brought was not there before.
        self.by_name(name).filter(|mapped| mapped.loader != Some(asker) || mapped.rule == Rule::Path)
    }

    fn by_path(&self, asker: usize, name: &OsStr) -> Vec<Station> {
        let origin = self.objects().get(asker).and_then(|mapped| mapped.path.parent()).unwrap_or(Path::new("/"));
        let name = name.to_string_lossy().replace("$ORIGIN", &origin.to_string_lossy());
        let mut station = Station::new(Rule::Path, None, None, None);
        station.candidates.push(self.candidate(PathBuf::from(name)));
        vec![station]
    }

    /// Every entry of every list, in the order of `_dl_map_object`.
    fn places(&self, asker: usize, name: &OsStr) -> Vec<Station> {
        let loader = self.loader();
        let mut stations = Vec::new();
        let asking = self.objects().get(asker);
        let runpath = asking.filter(|mapped| mapped.object.facts.runpath.is_some());
        for mapped in self.above(asker) {
            let facts = &mapped.object.facts;
            if facts.rpath.is_none() {
                continue;
            }
            let of = Some(mapped.path.clone());
            if let Some(runpath) = runpath {
                let note = format!("not asked: `{}` has a DT_RUNPATH", file_name(&runpath.path));
                stations.push(Station::noted(Rule::Rpath, of, note));
            } else if facts.runpath.is_some() {
                let note = format!("not asked: `{}` has a DT_RUNPATH too", file_name(&mapped.path));
                stations.push(Station::noted(Rule::Rpath, of, note));
            } else {
                self.entries(
                    Rule::Rpath,
                    of.as_deref(),
                    &loader.run_path(&mapped.path, &mapped.object),
                    name,
                    &mut stations,
                );
            }
        }
        self.entries(Rule::LdLibraryPath, None, loader.library_path(), name, &mut stations);
        if let Some(mapped) = runpath {
            let dirs = loader.run_path(&mapped.path, &mapped.object);
            self.entries(Rule::Runpath, Some(&mapped.path), &dirs, name, &mut stations);
        }
        let nodeflib = asking.is_some_and(|mapped| mapped.object.facts.nodeflib);
        let cached = loader.cache().lookup(name).map(Path::to_owned);
        let below =
            |path: &Path| path.parent().is_some_and(|dir| loader.default_dirs().iter().any(|default| default == dir));
        match cached {
            None => stations.push(Station::noted(Rule::Cache, None, "has no such name".to_owned())),
            Some(path) if nodeflib && below(&path) => {
                let note = format!("`{}` does not count: DF_1_NODEFLIB", path.display());
                stations.push(Station::noted(Rule::Cache, None, note));
            }
            Some(path) => {
                let mut station = Station::new(Rule::Cache, None, None, None);
                station.candidates.push(self.candidate(path));
                stations.push(station);
            }
        }
        if nodeflib {
            stations.push(Station::noted(Rule::Default, None, "not asked: DF_1_NODEFLIB".to_owned()));
        } else {
            self.entries(Rule::Default, None, loader.default_dirs(), name, &mut stations);
        }
        stations
    }

    /// The asker, whoever loaded it, and so on up; last the program.
    fn above(&self, asker: usize) -> Vec<&Mapped> {
        let mut found: Vec<&Mapped> = Vec::new();
        let mut at = Some(asker);
        while let Some(mapped) = at.and_then(|index| self.objects().get(index)) {
            found.push(mapped);
            at = mapped.parent.filter(|_| found.len() <= self.objects().len());
        }
        let program = self.program().and_then(|program| self.objects().get(program));
        found.extend(program.filter(|program| !found.iter().any(|known| std::ptr::eq(*known, *program))));
        found
    }

    fn entries(&self, rule: Rule, of: Option<&Path>, dirs: &[PathBuf], name: &OsStr, stations: &mut Vec<Station>) {
        for (at, dir) in dirs.iter().enumerate() {
            let mut station = Station::new(rule, of.map(Path::to_owned), Some(at + 1), Some(dir.clone()));
            let subdirs = self.loader().subdirectories(dir);
            let paths = subdirs.iter().map(|subdir| dir.join(subdir)).chain([dir.clone()]);
            station.candidates.extend(paths.map(|dir| self.candidate(dir.join(name))));
            stations.push(station);
        }
    }

    fn candidate(&self, path: PathBuf) -> Candidate {
        let stands = match self.files().open(&path) {
            Ok(_) => self.object(&path),
            Err(ObjectError::Open(error)) if error.kind() == io::ErrorKind::NotFound => {
                let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
                if dir.is_some_and(|dir| !self.host().is_dir(dir)) { Stands::NoDirectory } else { Stands::Nothing }
            }
            Err(ObjectError::Open(error)) => Stands::Closed(error.to_string()),
            Err(ObjectError::Elf(error)) if error.is_foreign() => Stands::Foreign(error.to_string()),
            Err(error) => Stands::Damaged(error.to_string()),
        };
        Candidate { path, stands, fate: Fate::NotReached }
    }

    fn object(&self, path: &Path) -> Stands {
        let real = self.host().canonical(path).ok();
        // `..` and links in the directories are no news; another file name is.
        Stands::Object(real.filter(|real| real.file_name() != path.file_name()))
    }
}

impl Station {
    fn new(rule: Rule, of: Option<PathBuf>, entry: Option<usize>, dir: Option<PathBuf>) -> Self {
        Self { rule, of, entry, dir, note: None, candidates: Vec::new() }
    }

    fn noted(rule: Rule, of: Option<PathBuf>, note: String) -> Self {
        Self { note: Some(note), ..Self::new(rule, of, None, None) }
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().display().to_string()
}

/// Where the search ends when the stations `gone` are left out, and what it takes there.
fn decided(stations: &[Station], gone: &[usize]) -> Option<(usize, Option<(PathBuf, Rule)>)> {
    let left = stations.iter().enumerate().filter(|(at, _)| !gone.contains(at));
    let mut tried = left.flat_map(|(at, station)| station.candidates.iter().map(move |one| (at, station.rule, one)));
    tried.find_map(|(at, rule, candidate)| match candidate.stands {
        Stands::Object(_) => Some((at, Some((candidate.path.clone(), rule)))),
        Stands::Damaged(_) => Some((at, None)),
        _ => None,
    })
}

/// Writes down what becomes of each candidate; gives what is taken.
fn settle(stations: &mut [Station]) -> Option<(PathBuf, Rule)> {
    for station in stations {
        for candidate in &mut station.candidates {
            candidate.fate = match candidate.stands {
                Stands::Object(_) => Fate::Taken,
                Stands::Damaged(_) => Fate::Ends,
                _ => Fate::PassedOver,
            };
            match candidate.fate {
                Fate::Taken => return Some((candidate.path.clone(), station.rule)),
                Fate::Ends => return None,
                _ => {}
            }
        }
    }
    None
}
