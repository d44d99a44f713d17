//! The line that installs or removes packages in the environment asked for, by the tool that made it.
//!
//! Takes a case and what is to be there; gives a [`Remedy`] with the change that it makes. Which tool it is, is told by the
//! `INSTALLER` of the packages (the packaging guide's "Recording installed projects"), else by `pyvenv.cfg`.

use super::{Case, Remedy, word};
use crate::machine::{Change, Wheel};
use crate::python::pins;
use crate::tables::{FamilyRow, Version, VersionRange, cudnn_releases, families, required_by, toolkits, torch_builds};
use std::collections::BTreeSet;

/// What is to be installed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wanted {
    /// The package, by its normalised name.
    pub(super) name: String,
    /// As it stands in a line: `nvidia-cublas-cu12==12.8.4.1`.
    pub(super) spec: String,
    /// The release that comes of it, where that is known.
    pub(super) version: Option<Version>,
}

impl Wanted {
    /// This release.
    pub(super) fn exactly(name: &str, version: &str) -> Self {
        Self { name: name.to_owned(), spec: format!("{name}=={version}"), version: Version::parse(version) }
    }

    /// The newest release that a range admits, as far as the tables know.
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

/// The wheels that are installed, where every release is known.
pub(super) fn wheels(wanted: &[Wanted]) -> Option<Vec<Wheel>> {
    wanted.iter().map(|wanted| Some(Wheel::new(&wanted.name, wanted.version.clone()?))).collect()
}

/// A family that a wheel of this name holds, and the CUDA major it is for.
fn family_of(name: &str) -> Option<(&'static FamilyRow, u64)> {
    let of = |row: &'static FamilyRow| {
        let major = [11, 12, 13].into_iter().find(|major| row.wheel_names(*major).iter().any(|wheel| wheel == name))?;
        Some((row, major))
    };
    families().iter().find_map(of)
}

/// The newest release of a wheel that the tables know, within a range.
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

/// What puts packages into an environment.
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
        let said = installer("torch").or_else(|| installer(&first?.name)).unwrap_or_default();
        let has_pip = self.has_package("pip").is_some();
        match said.trim() {
            said if said.starts_with("uv") && !has_pip => return Tool::Uv,
            "pip" => return Tool::Pip,
            // poetry and its kin leave pip out.
            said if !said.is_empty() => return if has_pip { Tool::Pip } else { Tool::Uv },
            _ => {}
        }
        let config = self.host.read_text(&python.prefix.join("pyvenv.cfg")).unwrap_or_default();
        let by_uv = config.lines().any(|line| line.split('=').next().is_some_and(|key| key.trim() == "uv"));
        if by_uv { Tool::Uv } else { Tool::Pip }
    }

    /// The interpreter, as it is written in a line.
    fn program(&self) -> String {
        self.interpreter.map_or_else(|| "python".to_owned(), |python| word(python.program.as_os_str()))
    }

    /// `PYTHON -m pip VERB`, or what stands for it.
    pub(super) fn verb(&self, verb: &str) -> String {
        match self.tool() {
            Tool::Uv => format!("uv pip {verb} --python {}", self.program()),
            Tool::Pip => format!("{} -m pip {verb}{}", self.program(), if verb == "uninstall" { " -y" } else { "" }),
        }
    }

    /// A line for packages that are not NVIDIA's: what these would bring is not known.
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

    /// The line that installs these, and nothing else. `again`: even what is there in that release is written anew.
    pub(super) fn install(&self, wanted: &[Wanted], again: bool) -> Option<Remedy> {
        self.replace(&BTreeSet::new(), wanted, again)
    }

    /// The line that removes packages first; files that two of them wrote are gone with either.
    pub(super) fn replace(&self, remove: &BTreeSet<String>, wanted: &[Wanted], again: bool) -> Option<Remedy> {
        if wanted.is_empty() {
            return None;
        }
        // pip leaves alone what is there in the release that is asked for.
        let is_here = |wanted: &Wanted| {
            self.has_package(&wanted.name)
                .is_some_and(|here| Some(here.version.as_str()) == wanted.version.as_ref().map(Version::as_str))
        };
        let again = again || wanted.iter().any(is_here);
        // What is here is replaced alone: the resolver would want to have a say on all else.
        let here = wanted.iter().any(|wanted| self.has_package(&wanted.name).is_some());
        let flags = match (self.tool(), again) {
            (Tool::Uv, true) => " --reinstall --no-deps",
            (Tool::Pip, true) => " --force-reinstall --no-deps",
            (_, false) if here || !remove.is_empty() => " --no-deps",
            (_, false) => "",
        };
        let specs: Vec<&str> = wanted.iter().map(|wanted| wanted.spec.as_str()).collect();
        let install = format!("{}{flags} {}", self.verb("install"), specs.join(" "));
        let line = if remove.is_empty() {
            install
        } else {
            let names: Vec<&str> = remove.iter().map(String::as_str).collect();
            format!("{} {} && {install}", self.verb("uninstall"), names.join(" "))
        };
        let alone = if flags.is_empty() { self.required(wanted) } else { Vec::new() };
        let all: Vec<Wanted> = wanted.iter().cloned().chain(alone).collect();
        let remedy = Remedy::command(line);
        Some(match wheels(&all) {
            Some(install) => remedy.making(Change::Wheels { remove: remove.iter().cloned().collect(), install }),
            None => remedy,
        })
    }

    /// What is not here, and is installed with these.
    pub(super) fn required(&self, wanted: &[Wanted]) -> Vec<Wanted> {
        let mut found: Vec<Wanted> = Vec::new();
        let mut queue: Vec<String> = wanted.iter().map(|wanted| wanted.name.clone()).collect();
        while let Some(name) = queue.pop() {
            let Some((row, major)) = family_of(&name) else { continue };
            for family in required_by(row.family) {
                let row = families().iter().find(|row| row.family == *family);
                let Some(name) = row.and_then(|row| row.wheel_names(major).into_iter().next()) else { continue };
                let known = wanted.iter().chain(&found).any(|known| known.name == name);
                if !known && self.has_package(&name).is_none() {
                    queue.push(name.clone());
                    found.push(Wanted::within(&name, None));
                }
            }
        }
        found
    }

    /// A remedy, and then the set handed out: what is installed is not in any search path yet.
    pub(super) fn and_run(&self, first: Remedy) -> Remedy {
        let Some(line) = first.as_command() else { return first };
        let both = Remedy::command(format!("{line} && {}", self.run_line()));
        match first.change {
            Some(change) => both.making(Change::Then(vec![change, Change::Set])),
            None => both,
        }
    }

    /// The wheel of a library for this environment: in the release that a package here requires, else as the tables have it
    /// for this torch, else the newest.
    pub(super) fn wheel_of(&self, row: &'static FamilyRow, major: u64) -> Option<Wanted> {
        let names = row.wheel_names(major);
        let asked = pins(self.host, self.installed, "torch");
        if let Some((name, range)) = names.iter().find_map(|name| asked.get_key_value(name)) {
            return Some(Wanted::within(name, Some(range)));
        }
        let name = names.first()?;
        if let Some(here) = self.has_package(name) {
            return Some(Wanted::exactly(name, &here.version));
        }
        let known = self.torch.and_then(|torch| crate::tables::torch_build(&torch.version, None));
        let known = known.filter(|known| known.cuda_version.major() == major);
        if let Some(version) = known.and_then(|known| known.pins.get(row.family)?.exact()) {
            return Some(Wanted::exactly(name, version.as_str()));
        }
        // The last release that had it.
        if row.stem == "nvToolsExt" && major == 12 {
            return Some(Wanted::exactly(name, "12.8.90"));
        }
        Some(Wanted::within(name, None))
    }
}
