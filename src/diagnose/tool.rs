//! The line that installs or removes packages in the target environment, for the tool that created it.
//!
//! Takes a case and the packages; gives a [`Remedy`] with the change that it makes. The `INSTALLER` file of the
//! packages determines the tool (the packaging guide's "Recording installed projects"), else `pyvenv.cfg`.

use super::{Case, Remedy, word};
use crate::machine::{Change, Wheel};
use crate::python::{pins, requirements};
use crate::tables::{FamilyRow, Version, VersionRange, cudnn_releases, families, required_by, toolkits, torch_builds};
use std::collections::BTreeSet;

/// A package to install.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PackageSpec {
    /// The package, by its normalised name.
    pub(super) name: String,
    /// Its requirement on a command line: `nvidia-cublas-cu12==12.8.4.1`.
    pub(super) spec: String,
    /// The release that this installs, if known.
    pub(super) version: Option<Version>,
}

impl PackageSpec {
    /// Exactly this release.
    pub(super) fn exactly(name: &str, version: &str) -> Self {
        Self { name: name.to_owned(), spec: format!("{name}=={version}"), version: Version::parse(version) }
    }

    /// The newest release within a range that the tables list.
    pub(super) fn within(name: &str, range: Option<&VersionRange>) -> Self {
        if let Some(exact) = range.and_then(VersionRange::exact) {
            return Self::exactly(name, exact.as_str());
        }
        let spec = match range.map(ToString::to_string) {
            Some(range) if !range.is_empty() => format!("'{name}{range}'"),
            _ => name.to_owned(),
        };
        Self { spec, version: newest(name, range), name: name.to_owned() }
    }
}

/// The wheels to install, if every release is known, and what it has of the families.
pub(super) fn wheels(to_install: &[PackageSpec]) -> Option<Vec<Wheel>> {
    let wheel = |to_install: &PackageSpec| Some(Wheel::new(&to_install.name, to_install.version.clone()?));
    let is_known = |wheel: &Wheel| wheel.is_known() || family_of(&wheel.name).is_none();
    to_install.iter().map(|to_install| wheel(to_install).filter(is_known)).collect()
}

/// A family in a wheel of this name, and its CUDA major.
fn family_of(name: &str) -> Option<(&'static FamilyRow, u64)> {
    let of = |row: &'static FamilyRow| {
        let major = [11, 12, 13].into_iter().find(|major| row.wheel_names(*major).iter().any(|wheel| wheel == name))?;
        Some((row, major))
    };
    families().iter().find_map(of)
}

/// The newest release of a wheel in the tables, within a range.
fn newest(name: &str, range: Option<&VersionRange>) -> Option<Version> {
    let majors = [11, 12, 13];
    let of = |row: &&FamilyRow, major: &u64| row.wheel_names(*major).iter().any(|wheel| wheel == name);
    let row = families().iter().find(|row| majors.iter().any(|major| of(row, major)))?;
    let fits: Vec<u64> = majors.into_iter().filter(|major| of(&row, major)).collect();
    let of_toolkits = toolkits().iter().filter(|it| fits.contains(&it.toolkit.major()));
    let of_toolkits = of_toolkits.filter_map(|it| it.components.get(row.family).cloned());
    let of_torch = torch_builds().iter().filter(|it| fits.contains(&it.cuda_version.major()));
    let of_torch = of_torch.filter_map(|it| it.pins.get(row.family)?.exact().cloned());
    let tag = name.rsplit('-').next().unwrap_or_default();
    let of_cudnn = cudnn_releases().iter().filter(|it| row.family == "cudnn" && !it.yanked && it.wheels.contains(&tag));
    let all = of_toolkits.chain(of_torch).chain(of_cudnn.map(|it| it.version.clone()));
    all.filter(|version| range.is_none_or(|range| range.contains(version))).max()
}

/// The tool that installs packages into an environment.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tool {
    Uv,
    Pip,
}

impl Case<'_> {
    fn tool(&self) -> Tool {
        let Some(python) = self.interpreter else { return Tool::Pip };
        let installer = |name: &str| {
            let package = self.has_package(name)?;
            self.host.read_text(&package.dir.join("INSTALLER")).ok()
        };
        let first = self.installed.iter().find(|package| package.name.starts_with("nvidia-"));
        let installer_name = installer("torch").or_else(|| installer(&first?.name)).unwrap_or_default();
        let has_pip = self.has_package("pip").is_some();
        match installer_name.trim() {
            installer_name if installer_name.starts_with("uv") && !has_pip => return Tool::Uv,
            "pip" => return Tool::Pip,
            // poetry and similar tools install no pip.
            installer_name if !installer_name.is_empty() => return if has_pip { Tool::Pip } else { Tool::Uv },
            _ => {}
        }
        let config = self.host.read_text(&python.prefix.join("pyvenv.cfg")).unwrap_or_default();
        let by_uv = config.lines().any(|line| line.split('=').next().is_some_and(|key| key.trim() == "uv"));
        if by_uv { Tool::Uv } else { Tool::Pip }
    }

    /// The interpreter, as written in a line.
    fn program(&self) -> String {
        self.interpreter.map_or_else(|| "python".to_owned(), |python| word(python.program.as_os_str()))
    }

    /// `PYTHON -m pip VERB`, or the tool's equivalent.
    pub(super) fn verb(&self, verb: &str) -> String {
        match self.tool() {
            Tool::Uv => format!("uv pip {verb} --python {}", self.program()),
            Tool::Pip => format!("{} -m pip {verb}{}", self.program(), if verb == "uninstall" { " -y" } else { "" }),
        }
    }

    /// A line for packages that are not NVIDIA's, whose changes cannot be modelled.
    pub(super) fn pip(&self, arguments: &str) -> Remedy {
        let line = match arguments.strip_prefix("install ") {
            Some(rest) => format!("{} {}", self.verb("install"), rest),
            None => format!("{} -m pip {arguments}", self.program()),
        };
        Remedy::command(match self.tool() {
            Tool::Uv => {
                line.replace("--force-reinstall", "--reinstall").replace("--no-binary ", "--no-binary-package ")
            }
            Tool::Pip => line,
        })
    }

    /// The line that installs these, and nothing else. `again`: reinstalls even an installed release.
    pub(super) fn install(&self, to_install: &[PackageSpec], again: bool) -> Option<Remedy> {
        self.replace(&BTreeSet::new(), to_install, again)
    }

    /// The line that removes packages first; files that two of them wrote are removed with either.
    pub(super) fn replace(&self, remove: &BTreeSet<String>, to_install: &[PackageSpec], again: bool) -> Option<Remedy> {
        if to_install.is_empty() {
            return None;
        }
        // pip skips a package that is installed in the requested release.
        let is_here = |to_install: &PackageSpec| {
            self.has_package(&to_install.name)
                .is_some_and(|here| Some(here.version.as_str()) == to_install.version.as_ref().map(Version::as_str))
        };
        let again = again || to_install.iter().any(is_here);
        // Replace only the installed package: the resolver would check all others too.
        let here = to_install.iter().any(|to_install| self.has_package(&to_install.name).is_some());
        let flags = match (self.tool(), again) {
            (Tool::Uv, true) => " --reinstall --no-deps",
            (Tool::Pip, true) => " --force-reinstall --no-deps",
            (_, false) if here || !remove.is_empty() => " --no-deps",
            (_, false) => "",
        };
        let specs: Vec<&str> = to_install.iter().map(|to_install| to_install.spec.as_str()).collect();
        let install = format!("{}{flags} {}", self.verb("install"), specs.join(" "));
        let line = if remove.is_empty() {
            install
        } else {
            let names: Vec<&str> = remove.iter().map(String::as_str).collect();
            format!("{} {} && {install}", self.verb("uninstall"), names.join(" "))
        };
        let alone = if flags.is_empty() { self.required(to_install) } else { Vec::new() };
        let all: Vec<PackageSpec> = to_install.iter().cloned().chain(alone).collect();
        let remedy = Remedy::command(line);
        Some(match wheels(&all) {
            Some(install) => remedy.making(Change::Wheels { remove: remove.iter().cloned().collect(), install }),
            None => remedy,
        })
    }

    /// Packages that are missing, to install together with these.
    pub(super) fn required(&self, to_install: &[PackageSpec]) -> Vec<PackageSpec> {
        let mut found: Vec<PackageSpec> = Vec::new();
        let mut queue: Vec<String> = to_install.iter().map(|to_install| to_install.name.clone()).collect();
        while let Some(name) = queue.pop() {
            let Some((row, major)) = family_of(&name) else { continue };
            for family in required_by(row.family) {
                let row = families().iter().find(|row| row.family == *family);
                let Some(name) = row.and_then(|row| row.wheel_names(major).into_iter().next()) else { continue };
                let known = to_install.iter().chain(&found).any(|known| known.name == name);
                if !known && self.has_package(&name).is_none() {
                    queue.push(name.clone());
                    found.push(PackageSpec::within(&name, None));
                }
            }
        }
        found
    }

    /// A remedy followed by the run line: no search path contains the installed files yet.
    pub(super) fn and_run(&self, first: Remedy) -> Remedy {
        let Some(line) = first.as_command() else { return first };
        let both = Remedy::command(format!("{line} && {}", self.run_line()));
        match first.change {
            Some(change) => both.making(Change::Then(vec![change, Change::Set])),
            None => both,
        }
    }

    /// The wheel of a library for this environment: in the release that an installed package requires, else that of
    /// the tables for this torch, else the newest.
    pub(super) fn wheel_of(&self, row: &'static FamilyRow, major: u64) -> Option<PackageSpec> {
        let names = row.wheel_names(major);
        let pinned = pins(self.host, self.installed, "torch");
        if let Some((name, range)) = names.iter().find_map(|name| pinned.get_key_value(name)) {
            return Some(PackageSpec::within(name, Some(range)));
        }
        let required = self.installed.iter().find_map(|package| {
            let required = requirements(self.host, package, &[]);
            names.iter().find_map(|name| Some((name, required.get(name)?.clone()?)))
        });
        if let Some((name, range)) = required {
            return Some(PackageSpec::within(name, Some(&range)));
        }
        let name = names.first()?;
        if let Some(here) = self.has_package(name) {
            return Some(PackageSpec::exactly(name, &here.version));
        }
        let known = self.torch.and_then(|torch| crate::tables::torch_build(&torch.version, None));
        let known = known.filter(|known| known.cuda_version.major() == major);
        if let Some(version) = known.and_then(|known| known.pins.get(row.family)?.exact()) {
            return Some(PackageSpec::exactly(name, version.as_str()));
        }
        // The last release that contained it.
        if row.stem == "nvToolsExt" && major == 12 {
            return Some(PackageSpec::exactly(name, "12.8.90"));
        }
        Some(PackageSpec::within(name, None))
    }
}
