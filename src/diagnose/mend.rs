//! What heals a file that is to blame, or a library that is missing, without `cudashim run`: the line for pip, the change
//! of a variable.
//!
//! Takes what `check` found; gives [`Remedy`]s, best first. Versions are those that torch pins, in its own metadata or in
//! `data/torch.tsv`.

use super::judged::{Judged, on_library_path};
use super::{Case, Remedy};
use crate::check;
use crate::facts::{self, FamilyRow, parse_library_name};
use crate::inventory::{Library, Owner};
use crate::loader::Rule;
use crate::python::pins;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What heals a finding of `check`.
pub(super) fn remedies(case: &Case<'_>, judged: &Judged, seen: &check::Finding, id: &str) -> Vec<Remedy> {
    if seen.is_absence() {
        return match id {
            "cudnn8-vs-9-major" => vec![other_major(seen)],
            _ => missing(case, seen).into_iter().collect(),
        };
    }
    let Some(path) = seen.path.as_deref() else { return Vec::new() };
    let rule = judged.bare.objects.iter().find(|object| object.path == path).map(|object| object.rule);
    let damaged = id == "truncated-or-foreign-elf" || id == "major-symlink-hack";
    let off = match rule {
        Some(Rule::Preload) => Some(Remedy::action(format!("take `{}` out of LD_PRELOAD", path.display()))),
        Some(Rule::LdLibraryPath) => Some(off_library_path(case, path)),
        None if on_library_path(case, path) => Some(off_library_path(case, path)),
        Some(Rule::Cache) => path.parent().map(|dir| {
            Remedy::action(format!("take `{}` out of /etc/ld.so.conf.d, and run `sudo ldconfig`", dir.display()))
        }),
        _ => None,
    };
    let again = match (library(case, path), &off) {
        // Who brought it is to bring it again; what is only found too early is left where it is.
        (Some(library), None) => reinstall(case, library).or_else(|| pinned(case, library.row, Install::Again)),
        (None, None) => family(path).and_then(|row| pinned(case, row, Install::Again)),
        _ => None,
    };
    let gone = damaged.then(|| Remedy::action(format!("remove `{}`", path.display())));
    match id {
        "glibcxx-too-old" if off.is_none() => vec![Remedy::command("conda install -c conda-forge libstdcxx-ng")],
        _ => off.into_iter().chain(again).chain(gone).collect(),
    }
}

/// The copy that is this file.
pub(super) fn library<'a>(case: &Case<'a>, path: &Path) -> Option<&'a Library> {
    let id = case.host.stat(path).ok()?.id;
    case.inventory.libraries.iter().find(|library| library.stat.id == id)
}

fn family(path: &Path) -> Option<&'static FamilyRow> {
    parse_library_name(path.file_name()?).map(|name| name.row)
}

/// `LD_LIBRARY_PATH` without the directories that hold NVIDIA's libraries.
pub(super) fn off_library_path(case: &Case<'_>, path: &Path) -> Remedy {
    /// What is still pasted.
    const LONG: usize = 200;
    let holds = |dir: &Path| case.inventory.libraries.iter().any(|library| library.place.dir == dir);
    let blamed = path.parent().unwrap_or(path);
    let rest: Vec<&PathBuf> =
        case.loader.library_path().iter().filter(|dir| dir.as_path() != blamed && !holds(dir)).collect();
    let rest: Vec<String> = rest.into_iter().map(|dir| dir.display().to_string()).collect();
    let rest = rest.join(":");
    match rest.len() {
        0 => Remedy::command("unset LD_LIBRARY_PATH"),
        length if length <= LONG && !rest.contains(|c: char| c.is_whitespace() || "'\"$\\`".contains(c)) => {
            Remedy::command(format!("export LD_LIBRARY_PATH={rest}"))
        }
        _ => Remedy::action(format!("take `{}` out of LD_LIBRARY_PATH", blamed.display())),
    }
}

/// The wheel that holds what is missing.
fn missing(case: &Case<'_>, seen: &check::Finding) -> Option<Remedy> {
    let absent = |name: &&String| {
        let here = case.inventory.libraries.iter().any(|library| {
            let own = case.interpreter.is_some_and(|it| it.paths.iter().any(|dir| library.path.starts_with(dir)));
            own && library.unusable.is_none() && library.asked_as() == name.as_str()
        });
        !here
    };
    let wheels: BTreeSet<String> = seen
        .wants
        .iter()
        .filter(absent)
        .filter_map(|name| wheel(case, parse_library_name(name.as_str())?.row, Some(name)))
        .collect();
    let wheels: Vec<String> = wheels.into_iter().collect();
    (!wheels.is_empty()).then(|| Remedy::command(format!("{} {}", pip(case, Install::New), wheels.join(" "))))
}

fn other_major(seen: &check::Finding) -> Remedy {
    let by = seen.by.as_deref().map(super::judged::name_of).unwrap_or_default();
    let ct2 = by.starts_with("libctranslate2") && seen.wants.iter().any(|name| name.ends_with(".so.8"));
    if ct2 {
        return Remedy::command("pip install 'ctranslate2>=4.5'");
    }
    Remedy::action(format!("install a build of what brings `{by}` for the cuDNN that is here"))
}

/// How pip is to install.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Install {
    /// What is not there.
    New,
    /// What is there and must be written anew, and nothing else.
    Again,
}

/// pip of this environment; uv, where that made it.
pub(super) fn pip(case: &Case<'_>, install: Install) -> String {
    let program = case.interpreter.map_or_else(|| "python".to_owned(), |python| python.program.display().to_string());
    let config = case.interpreter.map(|python| python.prefix.join("pyvenv.cfg"));
    let config = config.and_then(|path| case.host.read_text(&path).ok()).unwrap_or_default();
    let by_uv = config.lines().any(|line| line.split('=').next().is_some_and(|key| key.trim() == "uv"));
    match (by_uv, install) {
        (false, Install::New) => format!("{program} -m pip install"),
        (false, Install::Again) => format!("{program} -m pip install --force-reinstall --no-deps"),
        (true, Install::New) => format!("uv pip install --python {program}"),
        (true, Install::Again) => format!("uv pip install --python {program} --reinstall --no-deps"),
    }
}

/// The line that removes packages.
pub(super) fn uninstall(case: &Case<'_>, names: &[String]) -> String {
    let install = pip(case, Install::New);
    let (by_uv, line) = (install.starts_with("uv "), install.replacen("pip install", "pip uninstall", 1));
    format!("{line}{} {}", if by_uv { "" } else { " -y" }, names.join(" "))
}

/// Whether torch asks for a package.
pub(super) fn is_pinned(case: &Case<'_>, name: &str) -> bool {
    pins(case.host, case.installed, "torch").contains_key(name)
}

/// The line that installs the release of a library that torch pins.
fn pinned(case: &Case<'_>, row: &'static FamilyRow, install: Install) -> Option<Remedy> {
    case.torch?;
    Some(Remedy::command(format!("{} {}", pip(case, install), wheel(case, row, None)?)))
}

/// The wheel that holds a library for this environment, in the release that torch pins where that is known.
fn wheel(case: &Case<'_>, row: &'static FamilyRow, soname: Option<&str>) -> Option<String> {
    let majors: BTreeSet<u64> = match soname {
        Some(soname) => facts::sonames().iter().filter(|it| it.soname == soname).map(|it| it.cuda_major).collect(),
        None => BTreeSet::new(),
    };
    let own = case.torch.and_then(crate::consumer::TorchBuild::cuda_release).map(|(major, _)| u64::from(major));
    let packages = case.installed.iter().filter_map(|package| package.name.rsplit_once("-cu")?.1.parse::<u64>().ok());
    let own = own.or_else(|| packages.into_iter().next());
    let major = own.filter(|own| majors.is_empty() || majors.contains(own)).or_else(|| majors.first().copied())?;
    let asked = pins(case.host, case.installed, "torch");
    let names = row.wheel_names(major);
    if let Some((name, range)) = names.iter().find_map(|name| asked.get_key_value(name)) {
        let spec = format!("{name}{range}");
        return Some(if spec.contains(['<', '>', '*', '!']) { format!("'{spec}'") } else { spec });
    }
    let name = names.first()?;
    let known = case.torch.and_then(|torch| facts::torch_build(&torch.version, None));
    let known = known.filter(|row| row.cuda_version.major() == major);
    let version = known.and_then(|known| known.pins.get(row.family)?.exact());
    // The last release that had it.
    let last = (row.stem == "nvToolsExt" && major == 12).then(|| format!("{name}==12.8.90"));
    Some(version.map(|version| format!("{name}=={version}")).or(last).unwrap_or_else(|| name.clone()))
}

/// The line that writes a file anew: whose it is, his to bring.
pub(super) fn reinstall(case: &Case<'_>, library: &Library) -> Option<Remedy> {
    match &library.owner {
        Owner::Wheel { name, version, .. } => {
            Some(Remedy::command(format!("{} {name}=={version}", pip(case, Install::Again))))
        }
        Owner::Bundle(package) => {
            Some(Remedy::command(format!("{} {}=={}", pip(case, Install::Again), package.name, package.version)))
        }
        Owner::Conda { prefix, package: Some(package) } => Some(Remedy::command(format!(
            "conda install -p {} --force-reinstall {}={}",
            prefix.display(),
            package.name,
            package.version
        ))),
        Owner::Dpkg { name, .. } => Some(Remedy::command(format!("sudo apt-get install --reinstall {name}"))),
        Owner::Toolkit { root, .. } => {
            Some(Remedy::action(format!("install the CUDA toolkit in `{}` anew", root.display())))
        }
        _ => None,
    }
}
