//! What mapped objects open by name once they are used.
//!
//! Takes a link map and the rows of `data/dlopens.tsv` that fit its objects; maps what they lead to, and gives the names
//! that lead nowhere. Knows nothing of what only code decides.

use super::NotFound;
use super::copies::{Copies, stem_of};
use super::opening::Opening;
use super::subject::{Subject, What};
use crate::loader::Object;
use crate::loader::{Fault, LinkMap, Missing};
use crate::tables::{Version, dlopens_of, parse_library_name};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};

/// Opens what the mapped objects are known to open by name, and what those open, to the end. Gives the names that must be
/// there and are not, and which objects need not be.
pub(super) fn later(
    map: &mut LinkMap<'_>,
    copies: &mut Copies,
    subject: Option<&Subject>,
    opening: &Opening<'_>,
) -> (Vec<NotFound>, BTreeSet<usize>) {
    let objects = map.files();
    let mut lost: BTreeMap<OsString, NotFound> = BTreeMap::new();
    // What was opened though it need not be there, and all it brought: nothing is lost where that lacks something.
    let mut elective: BTreeSet<usize> = BTreeSet::new();
    let is_file = matches!(subject.map(|subject| &subject.what), Some(What::Program(_) | What::Libraries(_)));
    let only_strays = is_file && opening.plan.is_none();
    let mut drivers = BTreeMap::new();
    let mut at = 0;
    while at < map.objects().len() {
        let end = map.objects().len();
        copies.learn(objects, map.objects().iter().skip(at));
        for index in at..end {
            for names in opened_by(map, index, copies, subject) {
                let before = map.objects().len();
                let optional = elective.contains(&index) || names.iter().all(|(_, required)| !required);
                if only_strays && (optional || !strays(map, index, &names, &mut drivers)) {
                    continue;
                }
                for mut missing in open_first(map, index, &names, opening) {
                    missing.optional |= optional;
                    // Who cannot do without has the say.
                    match lost.get(&missing.name) {
                        Some(known) if !known.optional || missing.optional => {}
                        _ => drop(lost.insert(missing.name.clone(), missing)),
                    }
                }
                elective.extend((before..map.objects().len()).filter(|_| optional));
            }
        }
        at = end;
    }
    copies.learn(objects, map.objects().iter());
    (lost.into_values().collect(), elective)
}

/// Whether what an object opens comes from elsewhere than from beside it, or from nowhere: of a file that is checked for
/// itself, only that is worth a look. A driver that is not there is nothing to say.
fn strays(map: &LinkMap<'_>, index: usize, names: &[(String, bool)], drivers: &mut BTreeMap<String, bool>) -> bool {
    let Some(mapped) = map.objects().get(index) else { return false };
    if names.iter().any(|(name, _)| map.by_name(OsStr::new(name)).is_some()) {
        return false;
    }
    let found = |name: &str| map.search_from(index, OsStr::new(name)).map(|(path, _)| path);
    names.iter().filter(|(_, required)| *required).any(|(name, _)| {
        if parse_library_name(name).is_some_and(|name| name.row.is_driver()) {
            // Everybody asks for it, and whoever does is told the same.
            return *drivers.entry(name.clone()).or_insert_with(|| found(name).is_some());
        }
        found(name).is_none_or(|path| path.parent() != mapped.path.parent())
    })
}

/// The names one object opens, those of one library together, the longest first, each with whether it must be there.
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
    let major = library
        .and_then(|library| library.cuda)
        .map(|(major, _)| u64::from(major))
        .or(subject.and_then(|subject| subject.cuda));
    let Some(unknown) = Version::parse("0") else { return Vec::new() };
    let mut by_stem: BTreeMap<&str, Vec<(String, bool)>> = BTreeMap::new();
    for row in dlopens_of(&stem, version.as_ref()) {
        // A release or a major that is not known fills no name.
        if row.name.contains("{m") && version.is_none() || row.name.contains("{cuda_major}") && major.is_none() {
            continue;
        }
        let name = row.expand(version.as_ref().unwrap_or(&unknown), major.unwrap_or_default());
        let stem = row.name.split(".so").next().unwrap_or_default();
        by_stem.entry(stem).or_default().extend(name.map(|name| (name, row.required)));
    }
    // The first part that is opened has the say where its siblings are found that have a run path of their own.
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

/// What cuDNN opens before its other parts: the one that holds `cudnnGetVersion`, then the one of the descriptors (strace of
/// cuDNN 8.5, 8.9, 9.1, 9.10 and 9.26).
const FIRST_OPENED: [&str; 3] = ["libcudnn_graph", "libcudnn_ops", "libcudnn_ops_infer"];

/// As little as the soname tells of a release: its major.
fn major_of(object: &Object) -> Option<Version> {
    parse_library_name(object.facts.soname.as_deref()?)?.version
}

/// Opens the first of several names that leads to a file; gives what was not found on the way.
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
        let asked = names.iter().find(|(name, _)| missing.name == OsStr::new(name));
        // Of the names tried in vain only the one that had to be there is worth a word; a damaged file always is.
        asked.is_none_or(|(_, required)| missing.unusable.is_some() || !opened && *required)
    });
    missing.map(|missing| not_found(missing, true)).collect()
}

/// What ld.so says of a name that leads nowhere.
pub(super) fn not_found(missing: &Missing, later: bool) -> NotFound {
    // A machine without a GPU has no driver; what asks for it by dlopen does without.
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
