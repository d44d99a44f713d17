//! The driver's own libraries: one group, from one directory, never from a toolkit.
//!
//! The copy that ld.so finds stays, unless it is a stub, or of another version than the kernel module while a copy of
//! the right version exists. A forward-compatible libcuda stays only where it supports the kernel module, and the
//! driver does not run the target: GPUs outside its support refuse it (error 804).

use super::rules;
use crate::inventory::{Inventory, Library, kernel_version};
use crate::loader::Loader;
use crate::tables::Version;
use std::ffi::OsStr;
use std::path::Path;

/// The library that decides the directory of all others.
const LIBCUDA: &str = "libcuda.so.1";

/// Where WSL mounts the driver of Windows; any other driver there has no kernel module.
pub(super) const WSL: &str = "/usr/lib/wsl";

/// The driver libraries to hand out, with the reason; empty where no driver is installed.
pub(crate) struct Chosen<'i> {
    pub(crate) libraries: Vec<&'i Library>,
    pub(crate) because: String,
}

/// Chooses them for a target built for a CUDA release.
pub(crate) fn choose<'i>(loader: &Loader, inventory: &'i Inventory, cuda: Option<&Version>) -> Chosen<'i> {
    let usable: Vec<&Library> =
        inventory.libraries.iter().filter(|library| library.row.is_driver() && library.unusable.is_none()).collect();
    let host = loader.host();
    let kernel = kernel_version(host);
    let on_wsl = kernel.is_none() && host.is_dir(Path::new(WSL));
    let matches = |library: &Library| match &kernel {
        Some(kernel) => library.version.as_ref().is_some_and(|version| version.as_str() == kernel),
        None => !on_wsl || library.place.dir.starts_with(WSL),
    };
    let kernel_release = kernel.as_deref().and_then(Version::parse);
    let helps = |library: &Library| {
        let file = super::DriverFile::of(library);
        let own =
            cuda.zip(kernel_release.as_ref()).map(|(cuda, kernel)| rules::on_driver_with(cuda, kernel, Some(&file)));
        let alone = cuda.zip(kernel_release.as_ref()).map(|(cuda, kernel)| rules::on_driver(cuda, kernel));
        matches!(own, Some(rules::Verdict::ViaCompat { .. })) && alone.is_some_and(|alone| !alone.runs())
    };
    let cuda: Vec<&&Library> = usable.iter().filter(|library| library.load_name() == LIBCUDA).collect();
    let today = loader.find(OsStr::new(LIBCUDA)).and_then(|(path, rule)| {
        let id = host.stat(&path).ok()?.id;
        let library = cuda.iter().find(|library| library.stat.id == id)?;
        Some((**library, format!("found by ld.so: {rule}")))
    });
    let (chosen, because) = match today {
        Some((library, because)) if matches(library) || helps(library) => (library, because),
        today => {
            let better = cuda.iter().find(|library| (kernel.is_some() || on_wsl) && matches(library));
            match (better, &kernel, today) {
                (Some(library), Some(version), _) => (**library, format!("of the kernel module's version {version}")),
                (Some(library), None, _) => (**library, "of the driver of Windows".to_owned()),
                // No copy is known to fit better than ld.so's.
                (_, _, Some((library, because))) => (library, because),
                _ => match cuda.first() {
                    Some(library) => (**library, "the only driver found; not in any search path of ld.so".to_owned()),
                    None => return Chosen { libraries: Vec::new(), because: String::new() },
                },
            }
        }
    };
    let dir = &chosen.place.dir;
    let libraries = usable.into_iter().filter(|library| {
        library.place.dir == *dir && (library.version == chosen.version || library.version.is_none())
    });
    Chosen { libraries: libraries.collect(), because }
}
