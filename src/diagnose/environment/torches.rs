//! Two torches on Python's import paths: Python imports the first, and the user may expect the other.

use crate::diagnose::{Case, Finding, Remedy, mend};
use crate::python::TorchBuild;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// How a foreign directory came before those of the environment.
enum Way {
    PythonPath,
    WorkingDirectory,
}

/// A torch from another directory hides that of the environment.
pub(super) fn two(case: &Case<'_>) -> Option<Finding> {
    let (torch, python) = (case.torch?, case.interpreter?);
    let first = torch.site();
    let way = way(case, first)?;
    let real = |dir: &Path| case.host.canonical(dir).unwrap_or_else(|_| dir.to_owned());
    let own = python.paths.iter().map(|site| site.join("torch")).find(|dir| {
        dir.starts_with(&python.prefix) && case.host.is_file(&dir.join("__init__.py")) && real(dir) != real(&torch.dir)
    })?;
    let (version, _) = TorchBuild::recorded_version(case.host, &own)?;
    if version == torch.version {
        return None;
    }
    let from = match way {
        Way::PythonPath => "PYTHONPATH",
        Way::WorkingDirectory => "the working directory",
    };
    let says = format!("python imports torch {} from {from}; the environment has {version}", torch.version);
    let found = case.finding("two-torches")?.because(says);
    let found = found.seen_at("file", &torch.dir, format!("{}, which comes first in sys.path", torch.version)).seen_at(
        "file",
        &own,
        format!("{version}, which is not imported"),
    );
    Some(match way {
        Way::PythonPath => found
            .seen("variable", format!("PYTHONPATH={}", case.host.env("PYTHONPATH")?.display()))
            .healed_by([off_python_path(case)]),
        Way::WorkingDirectory => {
            found.healed_by([Remedy::action(format!("start python in another directory than `{}`", first.display()))])
        }
    })
}

/// Why the directory of the imported torch comes first; `None` if it is the environment's.
fn way(case: &Case<'_>, site: &Path) -> Option<Way> {
    if case.interpreter.is_some_and(|python| site.starts_with(&python.prefix)) {
        return None;
    }
    if listed(case).iter().any(|(_, dir)| dir == site) {
        return Some(Way::PythonPath);
    }
    (site == case.host.cwd()).then_some(Way::WorkingDirectory)
}

/// The elements of `PYTHONPATH`, with the directory of each; an empty one is the working directory.
fn listed<'c>(case: &'c Case<'_>) -> Vec<(&'c OsStr, PathBuf)> {
    let Some(list) = case.host.env("PYTHONPATH").filter(|list| !list.is_empty()) else { return Vec::new() };
    let elements = list.as_bytes().split(|byte| *byte == b':').map(OsStr::from_bytes);
    elements.map(|element| (element, crate::host::tidy(&case.host.absolute(Path::new(element))))).collect()
}

/// `PYTHONPATH` without the directories that contain a torch.
fn off_python_path(case: &Case<'_>) -> Remedy {
    let holds = |dir: &Path| case.host.is_file(&dir.join("torch/__init__.py"));
    let kept: Vec<&OsStr> =
        listed(case).into_iter().filter(|(_, dir)| !holds(dir)).map(|(element, _)| element).collect();
    mend::without("PYTHONPATH", &kept)
}
