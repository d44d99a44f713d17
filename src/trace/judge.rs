//! What is wrong with what a process had mapped.
//!
//! Takes the processes of a trace, the releases of the files, and how the command ended; gives a [`Verdict`] with findings.
//! What was mapped together is judged together: a library that was unmapped before the next was mapped tears nothing.

use super::{Asked, Call, Load, Process, Trace, Vain};
use crate::facts::parse_library_name;
use crate::host::FileId;
use crate::inventory::{Inventory, Library};
use crate::objects::{Object, Objects};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// The answer in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing is wrong with what was mapped.
    #[default]
    Loads,
    /// Everything was found, and does not belong together.
    Torn,
    /// Something needed was not there.
    Fails,
}

/// Something wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// A stable word for programs.
    pub id: &'static str,
    /// The process.
    pub pid: u32,
    /// One clause for people.
    pub says: String,
}

/// A symbol that nothing mapped defines. In order, those of one pair of libraries follow each other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MissingSymbol {
    /// Who asks.
    pub wanted_by: PathBuf,
    /// The library that should have it.
    pub provider: Option<PathBuf>,
    /// The version node asked for.
    pub node: Option<String>,
    /// Its name.
    pub symbol: String,
}

/// What is wrong in a whole trace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Judgement {
    /// In one word.
    pub verdict: Verdict,
    /// What is wrong, each thing once for each process.
    pub findings: Vec<Finding>,
    /// What nothing defines.
    pub missing: Vec<MissingSymbol>,
}

/// Judges a trace. Symbols are looked for where something went wrong: `failed` says that the command did, and a
/// process that had to unmap what it had just mapped says it too.
#[must_use]
pub fn judge(trace: &Trace, inventory: &Inventory, objects: &Objects<'_>, failed: bool) -> Judgement {
    let known = inventory.libraries.iter().map(|library| (library.stat.id, library)).collect();
    let mut bench =
        Bench { known, objects, findings: BTreeSet::new(), missing: BTreeSet::new(), verdict: Verdict::Loads };
    for process in &trace.processes {
        let end = process.at_the_end();
        for (together, gone) in &process.unmapped {
            bench.together(process, together);
            bench.symbols(process, together, gone);
        }
        bench.together(process, &end);
        if failed {
            bench.symbols(process, &end, &end);
        }
        bench.not_found(process, failed);
    }
    if !bench.missing.is_empty() {
        bench.verdict = Verdict::Fails;
    }
    Judgement {
        verdict: bench.verdict,
        findings: bench.findings.into_iter().collect(),
        missing: bench.missing.into_iter().collect(),
    }
}

struct Bench<'a> {
    known: BTreeMap<FileId, &'a Library>,
    objects: &'a Objects<'a>,
    findings: BTreeSet<Finding>,
    missing: BTreeSet<MissingSymbol>,
    verdict: Verdict,
}

impl<'a> Bench<'a> {
    fn add(&mut self, process: &Process, id: &'static str, verdict: Verdict, says: String) {
        self.verdict = self.verdict.max(verdict);
        self.findings.insert(Finding { id, pid: process.pid, says });
    }

    fn library(&self, load: &Load) -> Option<&'a Library> {
        self.known.get(load.id.as_ref()?).copied()
    }

    fn loads<'p>(process: &'p Process, indices: &'p [usize]) -> impl Iterator<Item = &'p Load> {
        // Another namespace is a world of its own.
        indices.iter().filter_map(|at| process.loads.get(*at)).filter(|load| load.namespace == 0)
    }

    /// Releases that do not belong together, and two files of one soname.
    fn together(&mut self, process: &Process, indices: &[usize]) {
        let mut groups: BTreeMap<&str, Vec<(&Load, &Library)>> = BTreeMap::new();
        let mut sonames: BTreeMap<&str, Vec<&Load>> = BTreeMap::new();
        for load in Self::loads(process, indices) {
            let Some(library) = self.library(load) else { continue };
            sonames.entry(library.asked_as()).or_default().push(load);
            if let Some(group) = library.row.group {
                groups.entry(group).or_default().push((load, library));
            }
        }
        for (soname, loads) in sonames {
            let files: BTreeSet<_> = loads.iter().map(|load| load.id).collect();
            if files.len() > 1 {
                let paths: Vec<String> = loads.iter().map(|load| format!("`{}`", load.path.display())).collect();
                let says = format!("{soname} is mapped from {} files: {}", files.len(), paths.join(", "));
                self.add(process, "duplicate-soname", Verdict::Torn, says);
            }
        }
        for (group, members) in groups {
            let mut releases: BTreeMap<&str, Vec<String>> = BTreeMap::new();
            for (load, library) in &members {
                let Some(version) = &library.version else { continue };
                // A name tells fewer numbers than a package: what begins alike is one release.
                let same = releases.keys().copied().find(|known| {
                    let both = (crate::facts::Version::parse(known), version);
                    matches!(both, (Some(known), version) if known.starts_with(version) || version.starts_with(&known))
                });
                let member = format!("`{}` is {version}", load.path.display());
                releases.entry(same.unwrap_or(version.as_str())).or_default().push(member);
            }
            if releases.len() > 1 {
                // One of each is enough to see it.
                let each: Vec<String> = releases.into_values().filter_map(|list| list.into_iter().next()).collect();
                let says = format!("{group} is of {} releases: {}", each.len(), each.join(", "));
                self.add(process, finding_of(group, &members), Verdict::Torn, says);
            }
        }
    }

    /// The strong symbols of `users` that nothing of what is mapped defines.
    fn symbols(&mut self, process: &Process, together: &[usize], users: &[usize]) {
        let open = |load: &Load| Some((load.path.clone(), self.objects.open(&load.path).ok()?));
        let mapped: Vec<(PathBuf, Rc<Object>)> = Self::loads(process, together).filter_map(open).collect();
        let users: Vec<(PathBuf, Rc<Object>)> = Self::loads(process, users).filter_map(open).collect();
        let elves: Vec<_> =
            mapped.iter().filter_map(|(path, object)| Some((path, object, object.elf().ok()?))).collect();
        let ours = |object: &Object| self.known.get(&object.stat.id).copied();
        let mut missing = Vec::new();
        for (path, user) in &users {
            let Ok(elf) = user.elf() else { continue };
            for wanted in elf.undefined().unwrap_or_default().iter().filter(|wanted| !wanted.weak) {
                let node = wanted.version.as_ref().map(|version| version.node);
                let provider = match &wanted.version {
                    Some(version) => elves.iter().find(|(_, object, _)| {
                        object.facts.soname.as_ref().is_some_and(|soname| soname.as_encoded_bytes() == version.file)
                    }),
                    // Whose it would be, its prefix tells: `nccl`, `cudnn`.
                    None => elves.iter().find(|(_, object, _)| {
                        ours(object)
                            .and_then(|library| library.row.prefix)
                            .is_some_and(|prefix| wanted.name.starts_with(prefix.as_bytes()))
                    }),
                };
                // Only what CUDA's libraries lack is ours to tell.
                let Some((provider, object, _)) = provider else { continue };
                if ours(object).is_none() || elves.iter().any(|(_, _, elf)| elf.defines(wanted.name, node)) {
                    continue;
                }
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                missing.push(MissingSymbol {
                    symbol: text(wanted.name),
                    node: node.map(text),
                    wanted_by: path.clone(),
                    provider: Some((*provider).clone()),
                });
            }
        }
        self.missing.extend(missing);
    }

    fn not_found(&mut self, process: &Process, failed: bool) {
        for (asked, vain) in &process.in_vain {
            let name = asked.name.display();
            let asker = asked.asker.display();
            match vain {
                Vain::NotFound if asked.call == Call::Needed => {
                    let says = format!("`{asker}` needs {name}, which was not found");
                    self.add(process, "library-not-found", Verdict::Fails, says);
                }
                Vain::Damaged(path, error) => {
                    let says = format!("{name}, asked for by `{asker}`, led to `{}`: {error}", path.display());
                    self.add(process, "damaged-library", Verdict::Fails, says);
                }
                // A program may do without what it asks for by dlopen, unless it failed and got no other of the kind.
                Vain::NotFound if failed && !has_kind(process, asked) => {
                    let says = format!("`{asker}` asked for {name}, which was not found");
                    self.add(process, "library-not-found", Verdict::Fails, says);
                }
                _ => {}
            }
        }
    }
}

/// Whether the process had a library of the same stem, or the name asked for is none of CUDA's.
fn has_kind(process: &Process, asked: &Asked) -> bool {
    let stem = |name: &OsStr| Some(parse_library_name(Path::new(name).file_name()?)?.stem());
    let Some(wanted) = stem(&asked.name) else { return true };
    process.loads.iter().any(|load| stem(load.path.as_os_str()) == Some(wanted))
}

/// The word for a torn group, the same as of a scan.
fn finding_of(group: &str, members: &[(&Load, &Library)]) -> &'static str {
    match group {
        "cublas" => "cublas-silent-mix",
        "nvrtc" => "nvrtc-wrong-builtins",
        "driver" => "torn-driver",
        "cudnn" => {
            let eight = members.iter().any(|(_, library)| library.asked_as().contains(".so.8"));
            if eight { "cudnn8-mixed-sublibs" } else { "cudnn9-torn-set" }
        }
        _ => "torn-group",
    }
}
