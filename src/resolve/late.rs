//! What a library, or a consumer's own object, opens by name once it is used: the rows of `data/dlopens.tsv` that fit it.
//!
//! Takes a file with what the inventory knows of it; gives sonames. Bare names are not among them: they are aliases of a
//! plan. Nor are the driver's.

use crate::inventory::{Inventory, Library};
use crate::tables::{Version, dlopens_of, parse_library_name};
use std::collections::BTreeSet;
use std::path::Path;

/// The sonames that the file at `path` opens by name: those that must be there, and those that a copy here serves.
pub(super) fn sonames(path: &Path, library: Option<&Library>, inventory: &Inventory) -> BTreeSet<String> {
    let Some((stem, said)) = known_as(path) else { return BTreeSet::new() };
    let version = library.and_then(|library| library.version.clone()).or(said);
    let major = library.and_then(|library| library.cuda).map(|(major, _)| u64::from(major));
    let Some(unknown) = Version::parse("0") else { return BTreeSet::new() };
    dlopens_of(&stem, version.as_ref())
        // A release or a major that is not known fills no name.
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

/// The word that the table knows a file by, and the release that its name tells.
fn known_as(path: &Path) -> Option<(String, Option<Version>)> {
    let name = path.file_name()?;
    if let Some(ours) = parse_library_name(name) {
        return Some((ours.row.stem.to_owned(), ours.version));
    }
    let (stem, _) = name.to_str()?.strip_prefix("lib")?.split_once(".so")?;
    Some((stem.to_owned(), None))
}
