//! Candidate remedies for findings of `check`, without `cudashim run`: packages in the required releases, another
//! value of a variable, a removed file.
//!
//! Takes findings of `check`; gives [`Remedy`]s, each with the change that it makes. [`tried`] decides whether one
//! heals.
//!
//! [`tried`]: super::trial

use super::environment::unmet;
use super::judged::Judged;
use super::tool::PackageSpec;
use super::{Case, Remedy, word};
use crate::check::{self, Cause, name_of};
use crate::host;
use crate::inventory::{Library, Owner};
use crate::loader::Rule;
use crate::machine::Change;
use crate::tables::{families, parse_library_name, sonames, toolkits};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::Path;

/// The candidate remedies for a finding of `check`.
pub(super) fn remedies(case: &Case<'_>, judged: &Judged, seen: &check::Finding) -> Vec<Remedy> {
    if let Cause::NotFound { names, by, .. } = &seen.cause {
        let other = (seen.id == "cudnn8-vs-9-major").then(|| other_major(case, names, by.as_deref()));
        let wheels = missing(case, names);
        let both = wheels.clone().map(|wheels| case.and_run(wheels));
        return wheels.into_iter().chain(restored(case)).chain(both).chain(other).collect();
    }
    let Some(path) = seen.path() else { return restored(case).into_iter().collect() };
    let rule = judged.judgement.objects.iter().find(|object| object.path == path).map(|object| object.rule);
    let off = match rule {
        Some(Rule::Preload) => Some(off_preload(case, path)),
        Some(Rule::LdLibraryPath) => Some(off_library_path(case, path)),
        None if on_library_path(case, path) => Some(off_library_path(case, path)),
        Some(Rule::Cache) => path.parent().map(|dir| {
            Remedy::action(format!("take `{}` out of /etc/ld.so.conf.d, and run `sudo ldconfig`", dir.display()))
        }),
        _ => None,
    };
    let damaged = matches!(seen.id, "truncated-or-foreign-elf" | "major-symlink-hack");
    let mut found: Vec<Remedy> = off.into_iter().collect();
    // The package that owns the file reinstalls it; a file that is only found too early stays.
    if found.is_empty() {
        let files = [Some(path), seen.by()].into_iter().flatten();
        found.extend(files.filter_map(|path| case.library(path)).filter_map(|library| reinstall(case, library)));
        found.extend(restored(case));
        if let (true, Cause::Undefined { by, .. }) = (found.is_empty(), &seen.cause) {
            found.extend(of_one_toolkit(case, by, path));
        }
    }
    if damaged {
        let gone = Change::Files(vec![(path.to_owned(), host::Change::Gone)]);
        found.push(Remedy::command(format!("rm {}", word(path.as_os_str()))).making(gone));
    }
    if seen.id == "glibcxx-too-old" && found.is_empty() {
        found.push(Remedy::command("conda install -c conda-forge libstdcxx-ng"));
    }
    found
}

/// The wheel of a library in the release of the toolkit that its consumer, another of NVIDIA's, is of.
fn of_one_toolkit(case: &Case<'_>, consumer: &Path, provider: &Path) -> Option<Remedy> {
    let (consumer, provider) = (case.library(consumer)?, case.library(provider)?);
    let Owner::Wheel { name, .. } = &provider.owner else { return None };
    let (row, version) = (consumer.row, consumer.version.as_ref()?);
    let toolkit = toolkits().iter().rfind(|toolkit| toolkit.components.get(row.family) == Some(version))?;
    let release = toolkit.components.get(provider.row.family)?;
    case.install(&[PackageSpec::exactly(name, release.as_str())], false)
}

/// One line for all unmet requirements of the installed packages.
pub(super) fn restored(case: &Case<'_>) -> Option<Remedy> {
    replace_wheels(case, &unmet(case))
}

/// Installs these, and removes the wheels for another CUDA major that write to the same paths.
pub(super) fn replace_wheels(case: &Case<'_>, to_install: &[PackageSpec]) -> Option<Remedy> {
    case.replace(&foreign(case, to_install), to_install, false)
}

/// The wheels for another CUDA major that write to the paths of those to install.
fn foreign(case: &Case<'_>, to_install: &[PackageSpec]) -> BTreeSet<String> {
    let plain = |name: &str| name.rsplit_once("-cu").map(|(plain, _)| plain.to_owned());
    let shared = |plain: &str| {
        families().iter().any(|row| row.owner != "toolkit" && !row.is_driver() && row.wheels.contains(&plain))
    };
    let of = |to_install: &PackageSpec| {
        let own = plain(&to_install.name).filter(|own| shared(own))?;
        let is_other = |name: &str| name != to_install.name && plain(name).as_ref() == Some(&own);
        case.installed.iter().find(|package| is_other(&package.name)).map(|package| package.name.clone())
    };
    to_install.iter().filter_map(of).collect()
}

impl<'a> Case<'a> {
    /// The copy with this file id.
    pub(super) fn library(&self, path: &Path) -> Option<&'a Library> {
        let id = self.host.stat(path).ok()?.id;
        self.inventory.libraries.iter().find(|library| library.stat.id == id)
    }
}

/// `LD_PRELOAD` without a file.
pub(super) fn off_preload(case: &Case<'_>, path: &Path) -> Remedy {
    let same = |entry: &OsString| {
        let id = |path: &Path| case.host.stat(path).ok().map(|stat| stat.id);
        Path::new(entry) == path || entry.as_encoded_bytes().contains(&b'/') && id(Path::new(entry)) == id(path)
    };
    let kept: Vec<&OsStr> =
        case.loader.preload().iter().filter(|entry| !same(entry)).map(OsString::as_os_str).collect();
    without("LD_PRELOAD", &kept)
}

/// `LD_LIBRARY_PATH` without the directories that hold NVIDIA libraries.
pub(super) fn off_library_path(case: &Case<'_>, path: &Path) -> Remedy {
    let holds = |dir: &Path| case.inventory.libraries.iter().any(|library| library.place.dir == dir);
    let blamed = path.parent().unwrap_or(path);
    let kept: Vec<&OsStr> = case
        .loader
        .library_path()
        .iter()
        .filter(|dir| dir.as_path() != blamed && !holds(dir))
        .map(|dir| dir.as_os_str())
        .collect();
    without("LD_LIBRARY_PATH", &kept)
}

/// Sets a list variable to these elements.
pub(super) fn without(name: &str, kept: &[&OsStr]) -> Remedy {
    if kept.is_empty() {
        return Remedy::command(format!("unset {name}")).making(Change::Variable(name.to_owned(), None));
    }
    let value = kept.join(OsStr::new(":"));
    Remedy::command(format!("export {name}={}", word(&value))).making(Change::Variable(name.to_owned(), Some(value)))
}

/// The wheels that hold the missing libraries; a wheel whose files are gone is reinstalled.
fn missing(case: &Case<'_>, names: &[String]) -> Option<Remedy> {
    let own = |path: &Path| case.interpreter.is_some_and(|it| it.paths.iter().any(|dir| path.starts_with(dir)));
    let here = |name: &str| {
        let mut copies = case.inventory.libraries.iter();
        copies.any(|library| own(&library.path) && library.unusable.is_none() && library.load_name() == name)
    };
    let absent = names.iter().filter(|name| !here(name));
    let to_install: BTreeSet<PackageSpec> = absent.filter_map(|name| wheel(case, name)).collect();
    replace_wheels(case, &to_install.into_iter().collect::<Vec<_>>())
}

/// The wheel of a soname.
fn wheel(case: &Case<'_>, soname: &str) -> Option<PackageSpec> {
    let row = parse_library_name(soname)?.row;
    let majors: BTreeSet<u64> = sonames().iter().filter(|it| it.soname == soname).map(|it| it.cuda_major).collect();
    let own = case.torch.and_then(crate::python::TorchBuild::cuda_release).map(|(major, _)| u64::from(major));
    let packages = case.installed.iter().filter_map(|package| package.name.rsplit_once("-cu")?.1.parse::<u64>().ok());
    let own = own.or_else(|| packages.into_iter().next());
    let major = own.filter(|own| majors.is_empty() || majors.contains(own)).or_else(|| majors.first().copied())?;
    case.wheel_of(row, major)
}

/// Reinstalls a library through the package that owns it, in the release that an installed package requires.
pub(super) fn reinstall(case: &Case<'_>, library: &Library) -> Option<Remedy> {
    match &library.owner {
        Owner::Wheel { name, version, size, .. } => {
            let required = unmet(case).into_iter().find(|to_install| to_install.name == *name);
            let altered = size.is_some_and(|size| size != library.stat.size) || library.unusable.is_some();
            let (to_install, reinstall) = match required {
                Some(required) => (required, false),
                None if altered => (PackageSpec::exactly(name, version), true),
                // The file matches its package: a reinstall would not change it.
                None => return None,
            };
            case.install(&[to_install], reinstall)
        }
        Owner::Bundle(package) => {
            Some(case.pip(&format!("install --force-reinstall --no-deps {}=={}", package.name, package.version)))
        }
        Owner::Conda { prefix, package: Some(package) } => Some(Remedy::command(format!(
            "conda install -p {} --force-reinstall {}={}",
            prefix.display(),
            package.name,
            package.version
        ))),
        Owner::Dpkg { name, .. } => Some(Remedy::command(format!("sudo apt-get install --reinstall {name}"))),
        Owner::Toolkit { root, .. } => {
            Some(Remedy::action(format!("reinstall the CUDA toolkit in `{}`", root.display())))
        }
        _ => None,
    }
}

fn other_major(case: &Case<'_>, names: &[String], by: Option<&Path>) -> Remedy {
    let by = by.map(name_of).unwrap_or_default();
    if by.starts_with("libctranslate2") && names.iter().any(|name| name.ends_with(".so.8")) {
        return case.pip("install 'ctranslate2>=4.5'");
    }
    Remedy::action(format!("install a build of the package of `{by}` for the cuDNN that is installed"))
}

/// Whether torch requires a package.
pub(super) fn is_pinned(case: &Case<'_>, name: &str) -> bool {
    crate::python::pins(case.host, case.installed, "torch").contains_key(name)
}

/// Whether a file is in a directory of `LD_LIBRARY_PATH`.
pub(crate) fn on_library_path(case: &Case<'_>, path: &Path) -> bool {
    path.parent().is_some_and(|dir| case.loader.library_path().iter().any(|element| element == dir))
}
