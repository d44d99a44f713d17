//! The libraries that an installed package is known to open by name.
//!
//! Takes a consumer of `data/dlopens.tsv` and an environment; gives the [`Subject`]: its extension modules, then the
//! names that it opens, with the opener and the path. Judges nothing.

use super::names::Consumer;
use super::pathfinder::Pathfinder;
use super::subject::{Package, Subject, What, loaded_before, roots};
use crate::host::Host;
use crate::inventory::places;
use crate::loader::Loader;
use crate::python::{Distribution, Interpreter, distributions, requirements};
use crate::python::{TorchBuild, library_files};
use crate::tables::{Search, Without, parse_library_name, wildcard};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

impl Subject {
    /// A consumer as installed in an environment; `None` if it is not installed.
    #[must_use]
    pub fn package(loader: &Loader, consumer: &Consumer, interpreter: &Interpreter) -> Option<Self> {
        let (objects, sites) = (loader.objects(), &interpreter.paths);
        let host = objects.host();
        let installed: Vec<Distribution> = sites.iter().flat_map(|site| distributions(host, site)).collect();
        let packages: Vec<&Distribution> = installed.iter().filter(|package| consumer.is_package(package)).collect();
        let first = packages.first()?;
        let own: BTreeSet<PathBuf> = packages
            .iter()
            .filter_map(|package| Some((package.dir.parent()?, package)))
            .flat_map(|(site, package)| package.record(host).into_iter().map(|file| site.join(file.path)))
            .collect();
        let all = library_files(host, sites);
        let mut files = roots(objects, all.clone());
        files.retain(|file| own.contains(file));
        files.splice(0..0, loaded_before(objects, &all, &files));
        let is_user = consumer.framework.is_some_and(|row| row.looks(Search::Torch))
            || packages.iter().any(|package| requirements(host, package, &[]).contains_key("torch"));
        let torch = is_user.then(|| TorchBuild::find(host, sites).ok()).flatten();
        let opener = consumer.opener(host, sites);
        let major = consumer.major(host, &installed);
        let finder = Pathfinder::new(loader, sites).filter(|finder| own.iter().any(|file| finder.searches_for(file)));
        let in_files = |name: &str| files.iter().any(|file| file.file_name() == Some(OsStr::new(name)));
        // `later` maps the names that a native library opens, by the library's own rows.
        let names = if consumer.is_python() { consumer.names(&installed, major) } else { Vec::new() };
        let by_row = |file: &&PathBuf| names.iter().any(|(name, _)| file.file_name() == Some(OsStr::new(name)));
        let plugins = files.iter().filter(by_row).cloned().collect();
        let names = names.into_iter().filter(|(name, _)| !in_files(name)).map(|(name, required)| {
            let is_driver = parse_library_name(&name).is_some_and(|name| name.row.is_driver());
            let path = match &finder {
                Some(finder) if !is_driver => finder.find(&name, |_| false),
                _ if consumer.opens_wheels() => in_wheels(host, sites, &name),
                _ => None,
            };
            (path.map_or_else(|| OsString::from(&name), PathBuf::into_os_string), required)
        });
        Some(Self {
            of: format!("{} {}", first.name, first.version),
            at: first.dir.parent().map(Path::to_owned),
            program: Some(interpreter.program.clone()),
            cuda: major,
            sites: sites.clone(),
            what: What::Package(Box::new(Package {
                torch,
                names: names.collect(),
                files,
                plugins,
                opener,
                stops: consumer.framework.is_some_and(|row| row.missing == Without::Error),
            })),
        })
    }

    /// An NVIDIA library in the wheels of an environment, by its stem: `cudnn`.
    #[must_use]
    pub fn library(host: &Host, interpreter: &Interpreter, stem: &str) -> Option<PathBuf> {
        let is_it = |name: &OsStr| parse_library_name(name).is_some_and(|name| name.row.stem == stem);
        let places = places::sites(host, &interpreter.paths);
        places.into_iter().find_map(|place| {
            let names = host.list(&place.dir).unwrap_or_default().into_iter().map(|entry| entry.name);
            names.filter(|name| is_it(name)).map(|name| place.dir.join(name)).min()
        })
    }
}

impl Consumer {
    /// Its library that opens the names, through its run paths.
    #[must_use]
    pub fn opener(&self, host: &Host, sites: &[PathBuf]) -> Option<PathBuf> {
        let candidates = self.framework.map(|row| row.openers.as_slice()).unwrap_or_default();
        let mut files = candidates.iter().flat_map(|file| sites.iter().map(move |site| (site, *file)));
        files.find_map(|(site, file)| {
            let (dir, pattern) = file.rsplit_once('/').unwrap_or(("", file));
            let dir = site.join(dir);
            if !pattern.contains('*') {
                return Some(dir.join(pattern)).filter(|file| host.is_file(file));
            }
            let names = host.list(&dir).unwrap_or_default().into_iter().map(|entry| entry.name);
            names.filter(|name| wildcard(pattern.as_bytes(), name.as_bytes())).map(|name| dir.join(name)).min()
        })
    }
}

/// The copy in an NVIDIA wheel that a package opens by path; for a name without a version, of any.
fn in_wheels(host: &Host, sites: &[PathBuf], name: &str) -> Option<PathBuf> {
    let places = places::sites(host, sites)
        .into_iter()
        .filter(|place| place.dir.strip_prefix(&place.root).is_ok_and(|below| below.starts_with("nvidia")));
    let bare = parse_library_name(name).filter(|name| name.version.is_none()).map(|name| name.row.stem);
    let is_it = |found: &OsStr| match bare {
        Some(stem) => parse_library_name(found).is_some_and(|found| found.row.stem == stem),
        None => found == name,
    };
    places.into_iter().find_map(|place| {
        let names = host.list(&place.dir).unwrap_or_default().into_iter().map(|entry| entry.name);
        names.filter(|found| is_it(found)).map(|found| place.dir.join(found)).min()
    })
}
