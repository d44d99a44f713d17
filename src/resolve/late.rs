//! The libraries that a library, or a consumer's object, opens by name once in use: the matching rows of
//! `data/dlopens.tsv`.
//!
//! Takes a file and its entry in the inventory; gives sonames, without bare names, which are aliases of a plan, and
//! without the driver's.

use crate::inventory::{Inventory, Library, built_for};
use crate::tables::{Version, dlopens_of, parse_library_name};
use std::collections::BTreeSet;
use std::path::Path;

/// The sonames that the file at `path` opens by name: the required ones, and the optional ones with a copy here.
pub(super) fn sonames(path: &Path, library: Option<&Library>, inventory: &Inventory) -> BTreeSet<String> {
    let Some((stem, named)) = stem_and_version(path) else { return BTreeSet::new() };
    let version = library.and_then(|library| library.version.clone()).or(named);
    let major = library.and_then(built_for).map(|(major, _)| u64::from(major));
    let Some(unknown) = Version::parse("0") else { return BTreeSet::new() };
    dlopens_of(&stem, version.as_ref())
        // An unknown release or major cannot complete a name.
        .filter(|row| !(row.name.contains("{m") && version.is_none() || row.name.contains("{cuda") && major.is_none()))
        .filter_map(|row| {
            Some((row.expand(version.as_ref().unwrap_or(&unknown), major.unwrap_or_default())?, row.required))
        })
        .filter(|(name, _)| {
            parse_library_name(name).is_some_and(|name| name.version.is_some() && !name.row.is_driver())
        })
        .filter(|(name, required)| *required || inventory.serving(name).next().is_some())
        .map(|(name, _)| name)
        .collect()
}

/// The stem of a file in the table, and the release in its name.
fn stem_and_version(path: &Path) -> Option<(String, Option<Version>)> {
    let name = path.file_name()?;
    if let Some(library) = parse_library_name(name) {
        return Some((library.row.stem.to_owned(), library.version));
    }
    let (stem, _) = name.to_str()?.strip_prefix("lib")?.split_once(".so")?;
    Some((stem.to_owned(), None))
}
