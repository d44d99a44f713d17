//! A plan that travels: `cudashim.lock`, which another checkout, container or node with the same builds can use.
//!
//! Takes a plan and the environment that it is for; gives the lock, whose paths are relative to that and which knows no inode
//! and no time. Given an environment, gives the plan for it: a library whose build is the lock's is the lock's, whatever
//! installed it. Never takes another build.

use super::read::{self, PlanError};
use super::verify::{Change, Check, What};
use super::{Identity, Plan, PlanLibrary, write};
use crate::host::{FileId, Host, tidy};
use crate::loader::Objects;
use crate::python::{Interpreter, distributions};
use std::path::{Component, Path, PathBuf};

const FIRST: &str = "cudashim-lock\t";
/// Stands for the environment while a lock is read or written as a plan.
const ENV: &str = "/{env}";
const RELATIVE: &str = "{env}/";

/// A plan as somebody keeps it.
#[derive(Debug, Clone)]
pub enum Kept {
    /// For this machine: paths, inodes and times.
    Plan(Plan),
    /// For any with the same builds.
    Lock(Lock),
}

/// A lock.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lock {
    /// The plan, with [`ENV`] for the environment and no file's state.
    plan: Plan,
}

impl Kept {
    /// Reads a file that is either.
    ///
    /// # Errors
    /// It cannot be read, or is none.
    pub fn read(path: &Path) -> Result<Self, PlanError> {
        let failed = |source| PlanError::Read { path: path.to_owned(), source };
        let bytes = read::whole(path, super::SIZE_LIMIT).map_err(failed)?.ok_or(PlanError::TooLarge)?;
        if bytes.starts_with(FIRST.as_bytes()) {
            return Lock::parse(&bytes).map(Self::Lock);
        }
        Plan::parse(&bytes).map(Self::Plan)
    }

    /// The lock, where it is one.
    #[must_use]
    pub fn as_lock(&self) -> Option<&Lock> {
        match self {
            Self::Plan(_) => None,
            Self::Lock(lock) => Some(lock),
        }
    }
}

impl Lock {
    /// The lock of a plan that was made for the environment at `prefix`; `home` is the environment's path from the lock's
    /// directory, where it stands below that.
    #[must_use]
    pub fn of(host: &Host, plan: &Plan, python: Option<&Interpreter>, home: Option<&Path>) -> Self {
        let prefix = python.map(|python| python.prefix.as_path());
        // As it is named, without its dots, and where its links lead.
        let spelt: Vec<PathBuf> = prefix
            .into_iter()
            .flat_map(|prefix| [Some(prefix.to_owned()), Some(tidy(prefix)), host.canonical(prefix).ok()])
            .flatten()
            .collect();
        let below = |path: &Path| {
            spelt.iter().find_map(|prefix| path.strip_prefix(prefix).ok()).map(|path| Path::new(ENV).join(path))
        };
        let portable = |path: &PathBuf| below(path).unwrap_or_else(|| path.clone());
        // The interpreter's own are of the machine: they are found again.
        let own = |paths: &[PathBuf]| -> Vec<PathBuf> {
            paths.iter().filter_map(|path| if prefix.is_some() { below(path) } else { Some(path.clone()) }).collect()
        };
        let libraries = plan.libraries.iter().map(|library| {
            let path = portable(&library.path);
            let stateless = PlanLibrary { path, id: FileId { dev: 0, ino: 0 }, mtime: 0, ..library.clone() };
            // The driver is the machine's.
            if library.is_driver() {
                PlanLibrary { size: 0, identity: None, version: None, ..stateless }
            } else {
                stateless
            }
        });
        let mut unknown = plan.unknown.clone();
        unknown.retain(|line| !line.starts_with("package\t") && !line.starts_with("environment\t"));
        unknown.extend(home.map(|home| format!("environment\t{}", crate::host::escape::path(home))));
        unknown.extend(packages(host, plan, python));
        let made_for = plan
            .made_for
            .iter()
            .map(|made_for| super::PlanFor { path: made_for.path.as_ref().map(portable), ..made_for.clone() });
        Self {
            plan: Plan {
                made_for: made_for.collect(),
                programs: own(&plan.programs),
                objects: own(&plan.objects),
                libraries: libraries.collect(),
                replaces: plan.replaces.iter().map(|(path, soname)| (portable(path), soname.clone())).collect(),
                unknown,
                ..plan.clone()
            },
        }
    }

    /// The lock as a file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let text = String::from_utf8(write::bytes(&self.plan)).unwrap_or_default();
        let mut lines = text.lines();
        lines.next();
        let mut out = format!("{FIRST}1\n");
        for line in lines {
            let is_library = line.starts_with("lib\t");
            let fields = line.split('\t').enumerate().map(|(at, field)| match (at, field) {
                (3, "0:0") | (5, "0") if is_library => "-",
                (_, field) if field.starts_with("/{env}/") => &field[1..],
                _ => field,
            });
            out.push_str(&fields.collect::<Vec<_>>().join("\t"));
            out.push('\n');
        }
        out.into_bytes()
    }

    /// Reads the bytes of a lock.
    ///
    /// # Errors
    /// It is none, or of a later format.
    pub fn parse(bytes: &[u8]) -> Result<Self, PlanError> {
        let text = std::str::from_utf8(bytes).map_err(|_| PlanError::NotAPlan)?;
        let Some(rest) = text.strip_prefix(FIRST) else { return Err(PlanError::NotAPlan) };
        let (format, rest) = rest.split_once('\n').unwrap_or((rest, ""));
        match format.trim_end_matches('\r').parse::<u64>() {
            Ok(1) if format == "1" => {}
            Ok(1) => return Err(PlanError::CarriageReturns),
            Ok(found) => return Err(PlanError::OtherFormat { found }),
            Err(_) => return Err(PlanError::NotAPlan),
        }
        let mut out = "cudashim-plan\t1\n".to_owned();
        for (index, line) in rest.split_inclusive('\n').enumerate() {
            let error = |says| PlanError::Line { line: index + 2, says };
            let is_library = line.starts_with("lib\t");
            for (at, field) in line.split('\t').enumerate() {
                if at > 0 {
                    out.push('\t');
                }
                match (at, field) {
                    (3, "-") if is_library => out.push_str("0:0"),
                    (5, "-") if is_library => out.push('0'),
                    (3 | 5, _) if is_library => return Err(error("an inode or a time, which a lock does not know")),
                    (1.., field) if field.starts_with(RELATIVE) => {
                        let is_out = |part| matches!(part, Component::ParentDir);
                        if Path::new(field.trim_end()).components().any(is_out) {
                            return Err(error("a path that leads out of the environment"));
                        }
                        out.push('/');
                        out.push_str(field);
                    }
                    _ => out.push_str(field),
                }
            }
        }
        Ok(Self { plan: Plan::parse(out.as_bytes())? })
    }

    /// Whether it is for an environment, wherever that is.
    #[must_use]
    pub fn is_of_an_environment(&self) -> bool {
        let relative = |path: &PathBuf| path.starts_with(ENV);
        let made_for = self.plan.made_for.iter().filter_map(|made_for| made_for.path.as_ref());
        made_for.chain(&self.plan.programs).chain(self.plan.libraries.iter().map(|it| &it.path)).any(relative)
    }

    /// Where the environment stood, from the directory of the lock.
    #[must_use]
    pub fn home(&self) -> Option<PathBuf> {
        let field = self.plan.unknown.iter().find_map(|line| line.strip_prefix("environment\t"))?;
        let path = crate::host::escape::parse_path(field)?;
        path.components().all(|part| matches!(part, Component::Normal(_))).then_some(path)
    }

    /// The plan for an environment of this machine: a library that is the lock's has the state of its file here, and any other
    /// has none, so that it counts as changed.
    #[must_use]
    pub fn at(&self, objects: &Objects, prefix: Option<&Path>, python: Option<&Interpreter>) -> Plan {
        let host = objects.host();
        let prefix = prefix.map(tidy);
        let here = |path: &PathBuf| match (path.strip_prefix(ENV), &prefix) {
            (Ok(below), Some(prefix)) => prefix.join(below),
            _ => path.clone(),
        };
        let mut plan = self.plan.clone();
        for library in &mut plan.libraries {
            library.path = here(&library.path);
            let Ok(stat) = host.stat(&library.path) else { continue };
            if library.is_driver() || Identity::at(objects, library, &library.path, stat) == Identity::Same {
                (library.id, library.size, library.mtime) = (stat.id, stat.size, stat.mtime);
            }
        }
        // A driver that is not there is none to hand out.
        plan.libraries.retain(|library| !library.is_driver() || library.size > 0);
        let known: Vec<&str> = plan.libraries.iter().map(|library| library.soname.as_str()).collect();
        plan.aliases.retain(|(_, soname)| known.contains(&soname.as_str()));
        plan.replaces.retain(|(_, soname)| known.contains(&soname.as_str()));
        for made_for in &mut plan.made_for {
            made_for.path = made_for.path.as_ref().map(here);
        }
        plan.replaces.iter_mut().for_each(|(path, _)| *path = here(path));
        plan.objects = plan.objects.iter().map(here).collect();
        match python {
            Some(python) => {
                plan.programs = python.programs();
                plan.objects.extend(python.openers(host));
            }
            None => plan.programs = plan.programs.iter().map(here).collect(),
        }
        for paths in [&mut plan.programs, &mut plan.objects] {
            let mut seen = std::collections::BTreeSet::new();
            paths.retain(|path| seen.insert(path.clone()));
        }
        plan
    }

    /// The packages of the lock that are of another release here, or not here.
    #[must_use]
    pub fn other_packages(&self, host: &Host, python: &Interpreter) -> Vec<Check> {
        let installed: Vec<_> = python.paths.iter().flat_map(|site| distributions(host, site)).collect();
        let fields = self.plan.unknown.iter().filter_map(|line| line.strip_prefix("package\t")?.split_once('\t'));
        let check = |(name, was): (&str, &str)| {
            let is = installed.iter().find(|package| package.name == name).map(|package| package.version.as_str());
            let check = |says: String| Check::new(What::Package, name, says);
            match is {
                Some(is) if is == was => None,
                Some(is) => Some(check(format!("is {is}, was {was}")).differs(Change::OtherVersion)),
                None => Some(check(format!("is not installed, was {was}")).differs(Change::Gone)),
            }
        };
        fields.filter_map(check).collect()
    }
}

/// The packages that bring the libraries of a plan, each in a line.
fn packages(host: &Host, plan: &Plan, python: Option<&Interpreter>) -> Vec<String> {
    let sites = python.map(|python| python.paths.as_slice()).unwrap_or_default();
    let mut lines = Vec::new();
    let sites = sites.iter().map(|site| tidy(site));
    for site in sites.filter(|site| plan.chosen().any(|library| library.path.starts_with(site))) {
        for package in distributions(host, &site) {
            let brings = |file: &PathBuf| plan.chosen().any(|library| library.path == site.join(file));
            if package.record(host).iter().any(|file| brings(&file.path)) {
                lines.push(format!("package\t{}\t{}", package.name, package.version));
            }
        }
    }
    lines.sort();
    lines.dedup();
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "cudashim-lock\t1\nfor\ttorch\ttorch 2.5.1\t{env}/lib/python3.12/site-packages/torch\n\
        program\t{env}/bin/python\n\
        lib\tlibx.so.1\t{env}/lib/x/libx.so.1\t-\t7\t-\tbuild-id:00ff\t1.2\tpreload\n\
        environment\t.venv\npackage\tx\t1.2\nend\t6\n";

    #[test]
    fn a_lock_is_read_back_as_it_was_written() {
        let lock = Lock::parse(TEXT.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(lock.to_bytes()).unwrap(), TEXT);
        assert!(lock.is_of_an_environment());
        assert_eq!(lock.home(), Some(".venv".into()));
    }

    #[test]
    fn what_is_no_lock_is_refused() {
        for (from, to) in [
            ("{env}/lib/x/", "{env}/../x/"),
            ("\t-\t7\t-\t", "\t1:2\t7\t-\t"),
            ("\t-\t7\t-\t", "\t-\t7\t9\t"),
            ("cudashim-lock\t1\n", "cudashim-lock\t2\n"),
            ("cudashim-lock\t1\n", "cudashim-lock\t1\r\n"),
            ("cudashim-lock\t1\n", "cudashim-plan\t1\n"),
            ("end\t6\n", ""),
        ] {
            assert!(Lock::parse(TEXT.replacen(from, to, 1).as_bytes()).is_err(), "{from} {to}");
        }
        let escaping = TEXT.replace("environment\t.venv", "environment\t../other");
        assert_eq!(Lock::parse(escaping.as_bytes()).unwrap().home(), None);
    }
}
