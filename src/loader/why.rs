//! Explains what a name resolves to: each place that ld.so searches, in order, the file in it, and the choice.
//!
//! Takes a link map, the object that needs a name, and the name; returns a [`Why`]. Reads every place, also those
//! after the match, to show what the name would resolve to without an entry. The order is that of `_dl_map_object` in
//! glibc's `elf/dl-load.c`; a test compares it with the search itself.

use super::linkmap::{LinkMap, Mapped};
use super::search::Rule;
use crate::loader::ObjectError;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The file at one path.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CandidateFile {
    /// None, in a directory that exists.
    Nothing,
    /// The directory is missing.
    NoDirectory,
    /// A file that cannot be opened; ld.so goes on.
    Closed(String),
    /// An object of another class or machine; ld.so goes on.
    Foreign(String),
    /// A damaged object, or a file that is not ELF: ld.so ends with an error.
    Damaged(String),
    /// An object that ld.so maps; if its path is a link, the target.
    Object(Option<PathBuf>),
}

/// What ld.so does with a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Fate {
    /// Read and skipped.
    PassedOver,
    /// Chosen.
    Taken,
    /// The search ends here with an error.
    Ends,
    /// Not reached: an earlier one overrides it.
    NotReached,
}

/// One path that ld.so tries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The path.
    pub path: PathBuf,
    /// The file.
    pub file: CandidateFile,
    /// What ld.so does with it.
    pub fate: Fate,
}

/// One place: an entry of a search path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Station {
    /// The rule.
    pub rule: Rule,
    /// The object with the run path.
    pub of: Option<PathBuf>,
    /// The number of the entry in its list, from 1.
    pub entry: Option<usize>,
    /// The directory; `None` for the cache, and where the whole list is skipped.
    pub dir: Option<PathBuf>,
    /// Why the list is skipped or yields nothing.
    pub note: Option<String>,
    /// The paths that it yields.
    pub candidates: Vec<Candidate>,
}

/// The result without some entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Without {
    /// The station that is left out, together with all earlier ones of this list.
    pub station: usize,
    /// What the name resolves to then.
    pub winner: Option<(PathBuf, Rule)>,
}

/// The explanation.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Why {
    /// The name.
    pub name: OsString,
    /// The object that needs it.
    pub consumer: PathBuf,
    /// The mapped object that already has the name: its path, the rule that found it, and the object that needed it.
    pub mapped: Option<(PathBuf, Rule, Option<PathBuf>)>,
    /// Every place, in order.
    pub stations: Vec<Station>,
    /// The result of a search, as if no mapped object had the name.
    pub found: Option<(PathBuf, Rule)>,
    /// The results without entries, removed one after the other.
    pub without: Vec<Without>,
}

impl Why {
    /// What the name resolves to.
    #[must_use]
    pub fn winner(&self) -> Option<(&Path, Rule)> {
        let mapped = self.mapped.as_ref().map(|(path, ..)| (path.as_path(), Rule::Mapped));
        mapped.or_else(|| self.found.as_ref().map(|(path, rule)| (path.as_path(), *rule)))
    }
}

/// How many entries are removed, one after the other.
const WITHOUT_LIMIT: usize = 8;

impl LinkMap<'_> {
    /// Explains what `name` resolves to for the object at `consumer`.
    #[must_use]
    pub fn why(&self, consumer: usize, name: &OsStr) -> Why {
        let path_of = |index: usize| self.objects().get(index).map(|mapped| mapped.path.clone());
        let mut why = Why {
            name: name.to_owned(),
            consumer: path_of(consumer).unwrap_or_default(),
            mapped: self
                .before(consumer, name)
                .map(|mapped| (mapped.path.clone(), mapped.rule, mapped.loader.and_then(path_of))),
            stations: if name.as_bytes().contains(&b'/') {
                self.by_path(consumer, name)
            } else {
                self.places(consumer, name)
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

    /// The object that had the name before the consumer needed it.
    fn before(&self, consumer: usize, name: &OsStr) -> Option<&Mapped> {
        // Objects that the consumer itself loaded came later.
        self.by_name(name).filter(|mapped| mapped.loader != Some(consumer) || mapped.rule == Rule::Path)
    }

    fn by_path(&self, consumer: usize, name: &OsStr) -> Vec<Station> {
        let origin = self.objects().get(consumer).and_then(|mapped| mapped.path.parent()).unwrap_or(Path::new("/"));
        let name = name.to_string_lossy().replace("$ORIGIN", &origin.to_string_lossy());
        let mut station = Station::new(Rule::Path, None, None, None);
        station.candidates.push(self.candidate(PathBuf::from(name)));
        vec![station]
    }

    /// Every entry of every list, in the order of `_dl_map_object`.
    fn places(&self, consumer: usize, name: &OsStr) -> Vec<Station> {
        let loader = self.loader();
        let mut stations = Vec::new();
        let asking = self.objects().get(consumer);
        let runpath = asking.filter(|mapped| mapped.object.facts.runpath.is_some());
        for mapped in self.above(consumer) {
            let facts = &mapped.object.facts;
            if facts.rpath.is_none() {
                continue;
            }
            let of = Some(mapped.path.clone());
            if let Some(runpath) = runpath {
                let note = format!("skipped: `{}` has a DT_RUNPATH", file_name(&runpath.path));
                stations.push(Station::noted(Rule::Rpath, of, note));
            } else if facts.runpath.is_some() {
                let note = format!("skipped: `{}` has a DT_RUNPATH too", file_name(&mapped.path));
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
            stations.push(Station::noted(Rule::Default, None, "skipped: DF_1_NODEFLIB".to_owned()));
        } else {
            self.entries(Rule::Default, None, loader.default_dirs(), name, &mut stations);
        }
        stations
    }

    /// The consumer, its loader, and so on; last the program.
    fn above(&self, consumer: usize) -> Vec<&Mapped> {
        let mut found: Vec<&Mapped> = Vec::new();
        let mut at = Some(consumer);
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
        let file = match self.files().open(&path) {
            Ok(_) => self.object(&path),
            Err(ObjectError::Open(error)) if error.kind() == io::ErrorKind::NotFound => {
                let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
                if dir.is_some_and(|dir| !self.host().is_dir(dir)) {
                    CandidateFile::NoDirectory
                } else {
                    CandidateFile::Nothing
                }
            }
            Err(ObjectError::Open(error)) => CandidateFile::Closed(error.to_string()),
            Err(ObjectError::Elf(error)) if error.is_foreign() => CandidateFile::Foreign(error.to_string()),
            Err(error) => CandidateFile::Damaged(error.to_string()),
        };
        Candidate { path, file, fate: Fate::NotReached }
    }

    fn object(&self, path: &Path) -> CandidateFile {
        let real = self.host().canonical(path).ok();
        // Report a link only where the file name changes.
        CandidateFile::Object(real.filter(|real| real.file_name() != path.file_name()))
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

/// Where the search ends without the stations `gone`, and its result.
fn decided(stations: &[Station], gone: &[usize]) -> Option<(usize, Option<(PathBuf, Rule)>)> {
    let left = stations.iter().enumerate().filter(|(at, _)| !gone.contains(at));
    let mut tried = left.flat_map(|(at, station)| station.candidates.iter().map(move |one| (at, station.rule, one)));
    tried.find_map(|(at, rule, candidate)| match candidate.file {
        CandidateFile::Object(_) => Some((at, Some((candidate.path.clone(), rule)))),
        CandidateFile::Damaged(_) => Some((at, None)),
        _ => None,
    })
}

/// Sets the fate of each candidate; returns the chosen one.
fn settle(stations: &mut [Station]) -> Option<(PathBuf, Rule)> {
    for station in stations {
        for candidate in &mut station.candidates {
            candidate.fate = match candidate.file {
                CandidateFile::Object(_) => Fate::Taken,
                CandidateFile::Damaged(_) => Fate::Ends,
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
