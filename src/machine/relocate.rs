//! Adapts a kept plan to a machine with the same files elsewhere.
//!
//! Takes a plan and a machine; finds each library by identity (build ID and size, or digest), first in the target's
//! environment; then answers the request again with exactly these files, so that the paths, programs and driver in
//! the plan are those of this machine. Another build or another torch is an error.

use super::lock::finished;
use crate::host::{Hints, Host};
use crate::inventory::places;
use crate::inventory::{Inventory, Library};
use crate::loader::Loader;
use crate::loader::Objects;
use crate::machine::{Request, RequestError};
use crate::plan::{Here, torch_dir};
use crate::plan::{Identity, Plan, PlanLibrary};
use crate::python::TorchBuild;
use crate::resolve::Policy;
use crate::tables::parse_library_name;
use crate::target::Spec;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// A library that matches no file of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NotRelocated {
    /// The name.
    pub soname: String,
    /// The reason, in a clause that begins with the name.
    pub says: String,
}

/// Why a plan cannot be adapted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RelocateError {
    /// The target is not installed.
    #[error("{0}")]
    NoConsumer(String),
    /// The target is installed in another release.
    #[error("the lock is for {was}, but {is} is installed: relocating cannot fix this")]
    OtherConsumer {
        /// The locked target.
        was: String,
        /// The installed target.
        is: String,
    },
    /// Libraries of the plan are missing.
    #[error("{} not found on this machine", if .0.len() == 1 { "one library is".to_owned() } else { format!("{} libraries are", .0.len()) })]
    Missing(Vec<NotRelocated>),
    /// The same libraries make no valid set.
    #[error("the same libraries are here, but another set would be chosen: {0}")]
    OtherSet(String),
    /// The request of the lock has no answer.
    #[error(transparent)]
    Request(#[from] RequestError),
}

impl Hints for RelocateError {
    fn hints(&self) -> Vec<String> {
        match self {
            Self::NoConsumer(_) => vec!["name the Python that has it with `--python`".to_owned()],
            Self::OtherConsumer { .. } | Self::OtherSet(_) => {
                vec!["make a new lock with `cudashim lock`".to_owned()]
            }
            Self::Missing(_) => vec![
                "install the same releases, or name the directory they are in with `--place`; for what is here, make a new lock: `cudashim lock`"
                    .to_owned(),
            ],
            Self::Request(error) => error.hints(),
        }
    }
}

/// Finds the libraries of a plan by identity, and makes the plan again with them.
///
/// # Errors
///
/// If a library is missing, or the target of the plan differs.
pub fn relocate(host: &Host, plan: &Plan, here: &Here) -> Result<Plan, RelocateError> {
    let mut request = request(host, plan, here)?;
    let objects = Objects::new(host);
    let loader = Loader::new(&objects);
    let libraries: Vec<&PlanLibrary> = plan.chosen().filter(|library| is_ours(library)).collect();
    let sites = request.interpreter(host)?.map(|interpreter| interpreter.paths).unwrap_or_default();
    let inventory = Inventory::scan(&objects, all_places(host, &loader, &sites, &request.places, &libraries));
    let (fixed, missing) = found(&objects, &inventory, &libraries, &sites);
    if !missing.is_empty() {
        return Err(RelocateError::Missing(missing));
    }
    // Other copies on this machine do not belong to the lock.
    let names: BTreeSet<&str> = libraries.iter().map(|library| library.soname.as_str()).collect();
    let besides = inventory.libraries.iter().filter(|library| {
        library.unusable.is_none() && !library.row.is_driver() && !names.contains(library.load_name())
    });
    let forbidden = besides.map(|library| library.path.clone()).collect();
    request.policy = Policy { fixed, forbidden, explain: false };
    let answer = request.answer(host)?;
    let Some(mut fresh) = finished(host, &request, answer) else {
        return Err(RelocateError::NoConsumer("nothing here needs CUDA".to_owned()));
    };
    same_set(plan, &fresh)?;
    // The same bytes are of the same release, even if no metadata shows it here.
    for library in fresh.libraries.iter_mut().filter(|library| library.version.is_none()) {
        library.version = plan.library(&library.soname).and_then(|known| known.version.clone());
    }
    Ok(fresh)
}

/// Whether a library is NVIDIA's but not the driver's: only these are matched by build. The C++ runtime is the
/// machine's.
fn is_ours(library: &PlanLibrary) -> bool {
    parse_library_name(&library.soname).is_some() && !library.is_driver()
}

/// The request of the plan, asked on this machine.
fn request(host: &Host, plan: &Plan, here: &Here) -> Result<Request, RelocateError> {
    let mut request = Request { python: here.python.clone(), places: here.places.clone(), ..Request::default() };
    let none = |says: String| Err(RelocateError::NoConsumer(says));
    let Some(made_for) = plan.made_for.first() else {
        return none("the lock names no target".to_owned());
    };
    match made_for.kind.as_str() {
        "elf" => {
            let files = made_for.path.iter().filter(|path| host.is_file(path)).cloned();
            request.files = files.collect();
            if request.files.is_empty() || made_for.text.contains("`, `") {
                return none(format!("cannot resolve {} again: make a new lock", made_for.text));
            }
            return Ok(request);
        }
        "spec" => {
            let spec =
                plan.with("spec").and_then(|with| with.version.as_deref()).and_then(|spec| spec.parse::<Spec>().ok());
            let Some(spec) = spec else { return none("the lock names no torch".to_owned()) };
            request.spec = spec;
            return Ok(request);
        }
        _ => {}
    }
    if request.python.is_none() {
        // Falls back to the default Python if the machine has no program of the plan.
        request.python = plan.programs.iter().find(|program| host.is_file(program)).cloned();
    }
    let Some(interpreter) = request.interpreter(host)? else {
        return none(format!("no Python found for {}", made_for.text));
    };
    request.python = Some(interpreter.program.clone());
    if made_for.kind != "torch" {
        return Ok(request);
    }
    let Some(dir) = torch_dir(host, &interpreter) else {
        return none(format!(
            "`{}` has no torch, and the lock is for {}",
            interpreter.program.display(),
            made_for.text
        ));
    };
    let is =
        TorchBuild::recorded_version(host, &dir).map(|(version, _)| format!("torch {version}")).unwrap_or_default();
    if is != made_for.text {
        return Err(RelocateError::OtherConsumer { was: made_for.text.clone(), is });
    }
    Ok(request)
}

/// Where to search: the target's environment, the given places, the recorded directories, and the places of
/// `resolve`. Excludes other environments and mapped files of running processes.
fn all_places(
    host: &Host,
    loader: &Loader,
    sites: &[PathBuf],
    given: &[PathBuf],
    libraries: &[&PlanLibrary],
) -> Vec<places::Place> {
    let mut all = places::sites(host, sites);
    let listed = std::env::split_paths(host.env("CUDASHIM_PLACE").unwrap_or_default());
    for dir in given.iter().cloned().chain(listed.filter(|path| !path.as_os_str().is_empty())) {
        all.extend(places::given(host, &dir));
    }
    all.extend(libraries.iter().filter_map(|library| library.path.parent()).map(|dir| places::found(dir.to_owned())));
    all.extend(places::machine(host, loader));
    all
}

/// The file of each library, and the libraries without one.
fn found(
    objects: &Objects,
    inventory: &Inventory,
    libraries: &[&PlanLibrary],
    sites: &[PathBuf],
) -> (BTreeMap<String, PathBuf>, Vec<NotRelocated>) {
    let mut fixed = BTreeMap::new();
    let mut missing = Vec::new();
    for library in libraries {
        let copies: Vec<&Library> = inventory
            .serving(&library.soname)
            .filter(|copy| copy.unusable.is_none() && copy.renamed.is_none())
            .collect();
        let same = |copy: &&&Library| matches!(Identity::at(objects, library, &copy.path, copy.stat), Identity::Same);
        let at_home = |copy: &&&Library| sites.contains(&copy.place.root);
        // Otherwise the file at the recorded path counts, whatever its name.
        let unmoved = || library.drift(objects.host()).is_none().then(|| library.path.clone());
        let home = copies.iter().filter(at_home).find(same).map(|copy| copy.path.clone());
        let path = home.or_else(unmoved).or_else(|| copies.iter().find(same).map(|copy| copy.path.clone()));
        match path {
            Some(path) => drop(fixed.insert(library.soname.clone(), path)),
            None => {
                missing.push(NotRelocated { soname: library.soname.clone(), says: missing_reason(library, &copies) });
            }
        }
    }
    (fixed, missing)
}

fn missing_reason(library: &PlanLibrary, copies: &[&Library]) -> String {
    let version = library.version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
    let Some(identity) = &library.identity else {
        return format!("{}{version}: the lock does not identify its build", library.soname);
    };
    let other = copies.first().map(|copy| {
        let is = copy.version.as_ref().map_or_else(|| "another build".to_owned(), ToString::to_string);
        format!("; `{}` is {is}", copy.path.display())
    });
    format!("{}{version} ({identity}) not found{}", library.soname, other.unwrap_or_default())
}

/// Verifies that the new plan holds the same builds, and no others.
fn same_set(plan: &Plan, fresh: &Plan) -> Result<(), RelocateError> {
    let set = |plan: &Plan| -> BTreeMap<String, (Option<String>, u64)> {
        let ours = plan.chosen().filter(|library| is_ours(library));
        ours.map(|library| (library.soname.clone(), (library.identity.clone(), library.size))).collect()
    };
    let (was, is) = (set(plan), set(fresh));
    let missing = was.keys().find(|soname| !is.contains_key(*soname));
    let more = is.keys().find(|soname| !was.contains_key(*soname));
    match (missing, more) {
        (Some(soname), _) => Err(RelocateError::OtherSet(format!("nothing needs {soname}"))),
        (None, Some(soname)) => Err(RelocateError::OtherSet(format!("{soname} is needed too"))),
        (None, None) => Ok(()),
    }
}
