//! What `check` found, in one line, and what proves it.
//!
//! Takes a judgement and one of its findings; gives the cause, with files by their names, and the evidence, with whole
//! paths.

use super::super::{Case, Finding};
use super::Judged;
use crate::check::{self, JudgedObject, When};
use crate::facts::parse_library_name;
use crate::loader::Rule;
use crate::plan::PlanLibrary;
use std::path::Path;

/// What a line may hold.
const LINE: usize = 160;

/// What a name in it may hold.
const NAME: usize = 44;

/// Symbols named in the evidence.
const SYMBOLS: usize = 3;

/// The cause in one line, and the finding with its evidence.
pub(super) fn told(case: &Case<'_>, judged: &Judged, seen: &check::Finding, finding: Finding) -> Finding {
    let telling = Told { case, judged, seen };
    let line = clipped(&telling.cause(&finding.cause), LINE);
    telling.evidence(finding.because(line))
}

struct Told<'a, 'c> {
    case: &'a Case<'c>,
    judged: &'a Judged,
    seen: &'a check::Finding,
}

impl Told<'_, '_> {
    fn object(&self, path: &Path) -> Option<&JudgedObject> {
        self.judged.bare.objects.iter().find(|object| object.path == path)
    }

    /// `libcudnn_graph.so.9` 9.1.0.70.
    fn called(&self, path: &Path) -> String {
        let version = self.object(path).and_then(|object| object.version.as_ref());
        format!("`{}`{}", name_of(path), version.map(|version| format!(" {version}")).unwrap_or_default())
    }

    /// The same, and what led there.
    fn led(&self, path: &Path) -> String {
        format!("{}{}", self.called(path), self.origin(path))
    }

    fn origin(&self, path: &Path) -> &'static str {
        match self.object(path).map(|object| object.rule) {
            Some(Rule::Preload) => " from LD_PRELOAD",
            Some(Rule::LdLibraryPath) => " from LD_LIBRARY_PATH",
            Some(Rule::Cache) => " from the loader's cache",
            Some(Rule::Default) => " from a default directory",
            // A file that cannot be mapped is not in the map.
            None if on_library_path(self.case, path) => " from LD_LIBRARY_PATH",
            _ => "",
        }
    }

    fn cause(&self, title: &str) -> String {
        let (seen, by) = (self.seen, self.seen.by.as_deref());
        let wants = seen.wants.first().map(String::as_str).unwrap_or_default();
        let (Some(path), false) = (seen.path.as_deref(), seen.is_absence()) else { return self.absent(title) };
        match (seen.id, by) {
            ("cudnn-older-than-torch", _) if !wants.contains('@') => {
                let version = self.object(path).and_then(|object| object.version.as_ref());
                let version = version.map_or_else(|| "an older one".to_owned(), ToString::to_string);
                format!("torch was built with cuDNN {wants}, and gets {version}{}", self.origin(path))
            }
            ("not-elf" | "truncated", _) => {
                format!("`{}`{} cannot be loaded: {wants}", name_of(path), self.origin(path))
            }
            ("major-symlink-hack", _) => {
                let soname = self.case.objects.open(path).ok().and_then(|object| object.facts.soname.clone());
                let inside = soname.filter(|soname| Some(soname.as_os_str()) != path.file_name());
                match inside {
                    Some(soname) => format!("{} is `{}` inside", self.led(path), short(&soname.to_string_lossy())),
                    None => format!("{} lacks the version `{}`", self.led(path), short(wants)),
                }
            }
            ("two-cuda-majors", Some(by)) => {
                format!("{} is of another CUDA major than {}", self.led(path), self.called(by))
            }
            ("nvrtc-wrong-version-silent", Some(by)) if seen.wants.is_empty() => {
                format!("{} answers who asks for NVRTC by name, and torch has {}", self.led(path), self.called(by))
            }
            (_, Some(by)) if seen.wants.is_empty() => format!("{} meets {}", self.called(by), self.led(path)),
            (_, Some(by)) => {
                let symbol = wants.split('@').next().unwrap_or_default();
                format!("`{}` wants `{}`, which {} lacks", name_of(by), short(symbol), self.led(path))
            }
            _ => format!("{}: {title}", self.led(path)),
        }
    }

    fn absent(&self, title: &str) -> String {
        let (seen, Some(by)) = (self.seen, self.seen.by.as_deref()) else { return title.to_owned() };
        let Some(first) = self.wanted().next() else { return title.to_owned() };
        if !seen.is_absence() {
            return format!("`{}` wants `{}`, which nothing that is loaded defines", name_of(by), short(first));
        }
        let (more, them) = match self.wanted().count() {
            1 => (String::new(), "it"),
            count => (format!(" and {} more", count - 1), "them"),
        };
        let verb = if seen.when != When::Load && !is_elective(seen) { "opens" } else { "needs" };
        let all = self.wanted().all(|name| installed(self.case, name).is_some());
        let there = if all {
            format!(", though {} installed", if them == "it" { "it is" } else { "they are" })
        } else {
            String::new()
        };
        format!("`{}` {verb} `{}`{more}, and ld.so does not find {them}{there}", name_of(by), short(first))
    }

    /// What the set has in place of a file.
    fn chosen(&self, path: &Path) -> Option<&PlanLibrary> {
        let id = |path: &Path| self.case.host.stat(path).ok().map(|stat| stat.id);
        let object = self.object(path);
        let soname = object.map_or(path.file_name()?, |object| object.name.as_os_str()).to_str()?;
        self.case.plan()?.lookup(soname).filter(|choice| id(&choice.path) != id(path))
    }

    /// What is wanted; of libraries those of CUDA, for the driver's are told of by another group.
    fn wanted(&self) -> impl Iterator<Item = &str> {
        self.seen.wants.iter().map(String::as_str).filter(|name| !self.seen.is_absence() || is_ours(name))
    }

    fn evidence(&self, mut finding: Finding) -> Finding {
        let seen = self.seen;
        let file = |finding: Finding, path: &Path| {
            let object = self.object(path);
            let version = object.and_then(|object| object.version.as_ref()).map(|version| format!("{version}, "));
            let rule = match object.map(|object| object.rule) {
                Some(Rule::Path) => "opened by its path".to_owned(),
                Some(rule) => format!("found by {rule}"),
                None if on_library_path(self.case, path) => "found by LD_LIBRARY_PATH".to_owned(),
                None => "to blame".to_owned(),
            };
            finding.seen_at("file", &crate::consumer::tidy(path), format!("{}{rule}", version.unwrap_or_default()))
        };
        let files = seen.path.iter().chain(seen.by.iter().filter(|by| seen.path.as_ref() != Some(by)));
        for path in files {
            finding = file(finding, path);
        }
        if let Some(choice) = seen.path.as_deref().filter(|_| !seen.is_absence()).and_then(|path| self.chosen(path)) {
            let version = choice.version.as_ref().map(|version| format!(" ({version})")).unwrap_or_default();
            finding = finding.seen_at("file", &choice.path, format!("the one of the chosen set{version}"));
        }
        if seen.is_absence() {
            for name in self.wanted() {
                finding = match installed(self.case, name) {
                    Some(path) => finding.seen_at("file", path, "is on no search path"),
                    None => {
                        finding.seen("rule", format!("`{name}` is on no search path, and nowhere in the environment"))
                    }
                };
            }
        } else if seen.id == "cudnn-older-than-torch" && seen.wants.iter().all(|want| !want.contains('@')) {
            finding = finding.seen("rule", "torch takes the major it was built with, and no older minor release");
        } else if !seen.wants.is_empty() {
            let named: Vec<&str> = seen.wants.iter().take(SYMBOLS).map(String::as_str).collect();
            let more = seen.wants.len().saturating_sub(SYMBOLS);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            finding = finding.seen("symbol", format!("{}{more}", named.join(", ")));
        }
        match &self.judged.bare.error {
            Some(error) if seen.when == When::Load && !seen.wants.is_empty() => finding.seen("message", error.clone()),
            _ => finding,
        }
    }
}

/// Whether it is of a part of the environment that others do without.
pub(super) fn is_elective(seen: &check::Finding) -> bool {
    seen.id == "optional-lib-missing" && seen.when == When::Gpu
}

/// Whether a name is of NVIDIA's libraries, less those of the driver.
pub(super) fn is_ours(name: &str) -> bool {
    match parse_library_name(name) {
        Some(name) => !name.row.is_driver(),
        None => name.starts_with("libcu") || name.starts_with("libnv"),
    }
}

/// A copy of this name in the environment asked for.
fn installed<'a>(case: &Case<'a>, name: &str) -> Option<&'a Path> {
    let own = |path: &Path| case.interpreter.is_some_and(|python| python.paths.iter().any(|dir| path.starts_with(dir)));
    let mut copies = case.inventory.libraries.iter().filter(|library| library.unusable.is_none());
    let found = copies.find(|library| library.file_names().any(|file| file == name) && own(&library.path))?;
    Some(&found.path)
}

/// Whether a file stands in a directory of `LD_LIBRARY_PATH`.
pub(crate) fn on_library_path(case: &Case<'_>, path: &Path) -> bool {
    path.parent().is_some_and(|dir| case.loader.library_path().iter().any(|element| element == dir))
}

pub(crate) fn name_of(path: &Path) -> String {
    short(&path.file_name().unwrap_or(path.as_os_str()).to_string_lossy())
}

/// A name that leaves room for the rest of the line.
pub(crate) fn short(name: &str) -> String {
    clipped(name, NAME)
}

fn clipped(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    text.chars().take(limit.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stay_lines() {
        assert_eq!(short("libcudnn.so.9"), "libcudnn.so.9");
        let long = short(&"é".repeat(300));
        assert_eq!((long.chars().count(), long.chars().last()), (NAME, Some('…')));
        assert_eq!(name_of(Path::new("/")), "/");
    }
}
