//! Libraries that mapped objects open by name at run time.
//!
//! Takes a link map and the rows of `data/dlopens.tsv` that match its objects; maps the files that the names resolve
//! to, and gives the names that are not found. Ignores names that only code can compute.

use super::NotFound;
use super::copies::{Copies, stem_of};
use super::opening::Opening;
use super::subject::{Subject, What};
use crate::inventory::built_for;
use crate::loader::Object;
use crate::loader::{Fault, LinkMap, Missing};
use crate::tables::{Version, dlopens_of, parse_library_name};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};

/// Opens the names that the mapped objects are known to open, recursively. Gives the required names that are not
/// found, and the indices of the optional objects.
pub(super) fn later(
    map: &mut LinkMap<'_>,
    copies: &mut Copies,
    subject: Option<&Subject>,
    opening: &Opening<'_>,
) -> (Vec<NotFound>, BTreeSet<usize>) {
    let objects = map.files();
    let mut not_found_names: BTreeMap<OsString, NotFound> = BTreeMap::new();
    // Objects that were opened as optional, and their dependencies: nothing that these lack is reported.
    let mut optional_objects: BTreeSet<usize> = BTreeSet::new();
    let is_file = matches!(subject.map(|subject| &subject.what), Some(What::Program(_) | What::Libraries(_)));
    let only_outside = is_file && opening.plan.is_none();
    let mut drivers = BTreeMap::new();
    let mut at = 0;
    while at < map.objects().len() {
        let end = map.objects().len();
        copies.learn(objects, map.objects().iter().skip(at));
        for index in at..end {
            for names in opened_by(map, index, copies, subject) {
                let before = map.objects().len();
                let optional = optional_objects.contains(&index) || names.iter().all(|(_, required)| !required);
                if only_outside && (optional || !opens_outside(map, index, &names, &mut drivers)) {
                    continue;
                }
                for mut missing in open_first(map, index, &names, opening) {
                    missing.optional |= optional;
                    // A consumer that requires the name takes precedence.
                    match not_found_names.get(&missing.name) {
                        Some(known) if !known.optional || missing.optional => {}
                        _ => drop(not_found_names.insert(missing.name.clone(), missing)),
                    }
                }
                optional_objects.extend((before..map.objects().len()).filter(|_| optional));
            }
        }
        at = end;
    }
    copies.learn(objects, map.objects().iter());
    (not_found_names.into_values().collect(), optional_objects)
}

/// Whether an object opens a library outside its own directory, or one that is not found. For a file that is checked
/// on its own, only this is of interest. A missing driver is not.
fn opens_outside(
    map: &LinkMap<'_>,
    index: usize,
    names: &[(String, bool)],
    drivers: &mut BTreeMap<String, bool>,
) -> bool {
    let Some(mapped) = map.objects().get(index) else { return false };
    if names.iter().any(|(name, _)| map.by_name(OsStr::new(name)).is_some()) {
        return false;
    }
    let found = |name: &str| map.search_from(index, OsStr::new(name)).map(|(path, _)| path);
    names.iter().filter(|(_, required)| *required).any(|(name, _)| {
        if parse_library_name(name).is_some_and(|name| name.row.is_driver()) {
            // Many objects open the driver: search once.
            return *drivers.entry(name.clone()).or_insert_with(|| found(name).is_some());
        }
        found(name).is_none_or(|path| path.parent() != mapped.path.parent())
    })
}

/// The names that one object opens, grouped by library, the longest first; each with whether it is required.
fn opened_by(map: &LinkMap<'_>, index: usize, copies: &Copies, subject: Option<&Subject>) -> Vec<Vec<(String, bool)>> {
    let Some(mapped) = map.objects().get(index) else { return Vec::new() };
    let Some((stem, named)) = stem_of(&mapped.path) else { return Vec::new() };
    let library = copies.of(mapped.object.stat.id);
    let torch = match subject.map(|subject| &subject.what) {
        Some(What::Torch(torch) | What::Extensions(torch, _))
            if mapped.path.starts_with(&torch.dir) && library.is_none() =>
        {
            Version::parse(&torch.version)
        }
        _ => None,
    };
    let version =
        library.and_then(|library| library.version.clone()).or(torch).or(named).or_else(|| major_of(&mapped.object));
    let major =
        library.and_then(built_for).map(|(major, _)| u64::from(major)).or(subject.and_then(|subject| subject.cuda));
    let Some(unknown) = Version::parse("0") else { return Vec::new() };
    let mut by_stem: BTreeMap<&str, Vec<(String, bool)>> = BTreeMap::new();
    for row in dlopens_of(&stem, version.as_ref()) {
        // An unknown release or major cannot expand a name.
        if row.name.contains("{m") && version.is_none() || row.name.contains("{cuda_major}") && major.is_none() {
            continue;
        }
        let name = row.expand(version.as_ref().unwrap_or(&unknown), major.unwrap_or_default());
        let stem = row.name.split(".so").next().unwrap_or_default();
        by_stem.entry(stem).or_default().extend(name.map(|name| (name, row.required)));
    }
    // The first part that is opened decides where its siblings with run paths are found.
    let rank = |stem: &str| FIRST_OPENED.iter().position(|first| stem == *first).unwrap_or(FIRST_OPENED.len());
    let mut by_stem: Vec<_> = by_stem.into_iter().collect();
    by_stem.sort_by_key(|(stem, _)| rank(stem));
    by_stem
        .into_iter()
        .map(|(_, mut names)| {
            names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
            names
        })
        .collect()
}

/// The parts that cuDNN opens first: the one that defines `cudnnGetVersion`, then the one of the descriptors (strace
/// of cuDNN 8.5, 8.9, 9.1, 9.10 and 9.26).
const FIRST_OPENED: [&str; 3] = ["libcudnn_graph", "libcudnn_ops", "libcudnn_ops_infer"];

/// The major version in the soname.
fn major_of(object: &Object) -> Option<Version> {
    parse_library_name(object.facts.soname.as_deref()?)?.version
}

/// Opens the first of several names that resolves to a file; gives the names not found on the way.
fn open_first(map: &mut LinkMap<'_>, caller: usize, names: &[(String, bool)], opening: &Opening<'_>) -> Vec<NotFound> {
    let known = map.missing().len();
    let mut opened = false;
    for (name, _) in names {
        let name = OsStr::new(name);
        let instead = opening.instead(name);
        opened = map.open(instead.as_deref().unwrap_or(name), Some(caller)).is_some();
        if opened {
            break;
        }
    }
    let missing = map.missing().iter().skip(known).filter(|missing| {
        let requested = names.iter().find(|(name, _)| missing.name == OsStr::new(name));
        // Of several alternatives, report only the required one; report a damaged file always.
        requested.is_none_or(|(_, required)| missing.unusable.is_some() || !opened && *required)
    });
    missing.map(|missing| not_found(missing, true)).collect()
}

/// ld.so's report for a name that is not found.
pub(super) fn not_found(missing: &Missing, later: bool) -> NotFound {
    // A machine without a GPU has no driver; objects that open it fall back.
    let driver = parse_library_name(&missing.name).is_some_and(|name| name.row.is_driver());
    let error = missing.error();
    let says = match &error.fault {
        Fault::Library { reason, .. } => reason.clone(),
        _ => error.to_string(),
    };
    NotFound {
        name: missing.name.clone(),
        needed_by: Some(missing.needed_by.clone()).filter(|path| !path.as_os_str().is_empty()),
        says,
        error: error.to_string(),
        damaged: missing.unusable.as_ref().map(|(path, _)| path.clone()),
        later,
        optional: driver && later,
    }
}
