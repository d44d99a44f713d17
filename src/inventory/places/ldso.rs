//! The search paths of ld.so: `LD_LIBRARY_PATH`, the cache, the configuration of the cache, the defaults.

use super::{Place, Provenance};
use crate::host::Host;
use crate::loader::{Loader, conf_directories};
use std::collections::BTreeSet;
use std::path::Path;

pub(super) fn library_path(loader: &Loader) -> Vec<Place> {
    let host = loader.host();
    // An empty element is the working directory.
    let dirs = loader.library_path().iter().map(|dir| host.absolute(dir));
    dirs.map(|dir| Place::alone(dir, Provenance::LdLibraryPath)).collect()
}

pub(super) fn system(host: &Host, loader: &Loader) -> Vec<Place> {
    let cached: BTreeSet<&Path> = loader.cache().iter().filter_map(|(_, path)| path.parent()).collect();
    let mut places: Vec<Place> =
        cached.into_iter().map(|dir| Place::alone(dir.to_owned(), Provenance::Cache)).collect();
    places.extend(conf_directories(host).into_iter().map(|dir| Place::alone(dir, Provenance::Conf)));
    places.extend(loader.default_dirs().iter().map(|dir| Place::alone(dir.clone(), Provenance::Default)));
    places
}
