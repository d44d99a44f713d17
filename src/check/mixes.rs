//! Conflicts within a link map: releases, CUDA majors, two files with one soname, stubs.
//!
//! Takes the map and the facts of its copies; adds [`Finding`]s. Reads no symbols and ignores missing libraries.

use super::mapping::Mapping;
use super::subject::What;
use super::{Cause, Finding};
use crate::inventory::{Library, agree, built_for, release, torn_id};
use crate::loader::Rule;
use crate::tables::{self, Phase, Severity, Version, parse_library_name};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::Path;

/// Members of one group, each with its index in the map.
type Members<'a> = Vec<(usize, &'a Library)>;

/// Members of one group and major must be of one release, and cuDNN at least as new as torch requires.
pub(super) fn torn(facts: &Mapping<'_, '_>, findings: &mut Vec<Finding>) -> bool {
    let mut groups: BTreeMap<(&str, u64), Members<'_>> = BTreeMap::new();
    for index in 0..facts.map.objects().len() {
        let Some(library) = facts.library(index) else { continue };
        let Some(group) = library.row.group else { continue };
        let major = parse_library_name(library.load_name()).and_then(|name| name.version).map_or(0, |it| it.major());
        // NVRTC's builtins carry the full release in their name.
        let major = if group == "nvrtc" { 0 } else { major };
        groups.entry((group, major)).or_default().push((index, library));
    }
    let mut any = false;
    for ((group, _), mut members) in groups {
        members.retain(|(_, library)| release(library).is_some());
        any |= match group {
            "nvrtc" => nvrtc(facts, &members, findings),
            "cudnn" if older_cudnn(facts, &members, findings) => true,
            _ => one_release(facts, &members, findings),
        };
    }
    any
}

fn one_release(facts: &Mapping<'_, '_>, members: &Members<'_>, findings: &mut Vec<Finding>) -> bool {
    // The main library has the shortest stem; of two copies, the one mapped first counts.
    let main = members.iter().min_by_key(|(index, library)| (library.row.stem.len(), *index));
    let Some((main, version)) = main.and_then(|(index, first)| Some((*index, release(first)?))) else { return false };
    let is_bundled =
        parse_library_name(facts.library(main).map_or("", Library::load_name)).is_some_and(|it| it.hash.is_some());
    if is_bundled && is_served_by_newer(main, version, members) {
        return false;
    }
    let differs = |library: &Library| release(library).is_some_and(|found| !agree(version, found));
    let others: Vec<&(usize, &Library)> = members.iter().filter(|(_, library)| differs(library)).collect();
    let first_hand = others.iter().find(|(index, _)| !facts.is_second_hand(*index));
    let Some((index, library)) = first_hand.or(others.first()) else { return false };
    let cause = Cause::Mixed { main: facts.file(main), other: facts.file(*index), more: others.len() - 1 };
    let found = Finding::new(torn_id(library), cause);
    findings.push(if first_hand.is_some() { found } else { found.at(Phase::Gpu) });
    true
}

/// Whether the parts that a bundled dispatcher opens are of one release, which is newer than its own: it works with them
/// (that of `CTranslate2` is of 9.1.0; calls with parts of 9.10 and 9.28 succeed).
fn is_served_by_newer(main: usize, own: &Version, members: &Members<'_>) -> bool {
    let mut parts = members.iter().filter(|(index, _)| *index != main).filter_map(|(_, library)| release(library));
    let Some(first) = parts.next() else { return false };
    first.major() == own.major() && first >= own && parts.all(|part| agree(first, part))
}

/// torch refuses a cuDNN of another major, or of an older minor release, than its build headers
/// (`torch/backends/cudnn/__init__.py`). The part that defines `cudnnGetVersion` decides the release.
fn older_cudnn(facts: &Mapping<'_, '_>, members: &Members<'_>, findings: &mut Vec<Finding>) -> bool {
    let Some(What::Torch(torch) | What::Extensions(torch, _)) = facts.subject.map(|subject| &subject.what) else {
        return false;
    };
    let Some(built) = tables::torch_build(&torch.version, None).and_then(|row| {
        row.cudnn_compiled.clone().or_else(|| row.pins.get("cudnn").and_then(|pin| pin.exact().cloned()))
    }) else {
        return false;
    };
    let answers = ["cudnn_graph", "cudnn_ops_infer", "cudnn"];
    let part = |stem: &&str| members.iter().find(|(_, library)| *library.row.stem == **stem);
    let Some((index, found)) = answers.iter().find_map(part).and_then(|(index, it)| Some((*index, release(it)?)))
    else {
        return false;
    };
    let minor = |version: &Version| version.numbers().get(1).copied();
    // A copy of another major serves another consumer.
    if found.major() != built.major() || minor(found) >= minor(&built) {
        return false;
    }
    findings.push(Finding::new("cudnn-older-than-torch", Cause::Older { built, file: facts.file(index) }));
    true
}

/// NVRTC opens the builtins of its own minor release; a second NVRTC, found by a name without a version, serves no
/// consumer.
fn nvrtc(facts: &Mapping<'_, '_>, members: &Members<'_>, findings: &mut Vec<Finding>) -> bool {
    let minor = |library: &Library| release(library).and_then(|found| found.numbers().get(..2).map(<[u64]>::to_vec));
    let (builtins, compilers): (Members<'_>, Members<'_>) =
        members.iter().partition(|(_, library)| library.row.stem == "nvrtc-builtins");
    let served = |one: &Library, others: &Members<'_>| others.iter().any(|(_, other)| minor(other) == minor(one));
    let alone = compilers.iter().find(|(_, library)| !served(library, &builtins));
    let strange = builtins.iter().find(|(_, library)| !served(library, &compilers));
    if let (Some((compiler, _)), Some((index, library))) = (alone, strange) {
        let cause = Cause::Mixed { main: facts.file(*compiler), other: facts.file(*index), more: 0 };
        findings.push(Finding::new(torn_id(library), cause).at(Phase::Gpu));
        return true;
    }
    let one_consumer =
        matches!(facts.subject.map(|subject| &subject.what), Some(What::Torch(_) | What::Extensions(..)));
    let Some((own, first)) = compilers.first().filter(|_| one_consumer) else { return false };
    let by_search = |index: usize| matches!(facts.rule(index), Rule::LdLibraryPath | Rule::Cache | Rule::Default);
    // A copy of another major serves consumers that name this major, unless none names a release.
    let same_name = |index: usize| {
        let names = facts.mapped(index).map(|mapped| mapped.names.as_slice()).unwrap_or_default();
        names.iter().any(|name| name == first.load_name() || *name == *first.row.bare_name())
    };
    let other = compilers
        .iter()
        .find(|(index, library)| by_search(*index) && same_name(*index) && minor(library) != minor(first));
    if let Some((index, _)) = other {
        let cause = Cause::Beside { file: facts.file(*index), own: facts.file(*own) };
        findings.push(Finding::new("nvrtc-wrong-version-silent", cause).at(Phase::Gpu));
    }
    false
}

/// Libraries of two CUDA majors. Packages in one environment or process may each bring their own.
pub(super) fn two_majors(facts: &Mapping<'_, '_>, findings: &mut Vec<Finding>) -> bool {
    let mut majors: BTreeMap<u32, usize> = BTreeMap::new();
    for index in 0..facts.map.objects().len() {
        let library = facts.library(index).filter(|library| !library.row.is_driver());
        if let Some((major, _)) = library.and_then(built_for).filter(|(major, _)| !serves_nobody(facts, index, *major))
        {
            majors.entry(major).or_insert(index);
        }
    }
    let expected = facts.subject.and_then(|subject| subject.cuda).and_then(|major| u32::try_from(major).ok());
    let own = expected.filter(|major| majors.contains_key(major));
    let own = own.or_else(|| majors.iter().min_by_key(|(_, index)| **index).map(|(major, _)| *major));
    let Some((own, at)) = own.and_then(|major| Some((major, *majors.get(&major)?))) else { return false };
    let one_consumer = facts.subject.is_some_and(|subject| !subject.is_apart());
    let mut any = false;
    for (major, index) in majors.into_iter().filter(|(major, _)| *major != own) {
        any = true;
        let cause = Cause::OtherMajor { file: facts.file(index), major, own: facts.file(at), own_major: own };
        let found = Finding::new("two-cuda-majors", cause);
        findings.push(if index >= facts.loaded { found.at(Phase::Gpu) } else { found });
    }
    any && one_consumer
}

/// Whether torch's start-up code opened a library of another major by path, as it does with all wheels of a name, and
/// nothing but libraries for that major needs it.
fn serves_nobody(facts: &Mapping<'_, '_>, index: usize, major: u32) -> bool {
    let Some(What::Torch(torch) | What::Extensions(torch, _)) = facts.subject.map(|subject| &subject.what) else {
        return false;
    };
    let is_other = torch.cuda_release().is_some_and(|(own, _)| own != major);
    let by_path = facts.roots.contains(&index) && facts.rule(index) == Rule::Path;
    let of_major = |user: usize| facts.library(user).and_then(built_for).is_some_and(|(its, _)| its == major);
    let objects = facts.map.objects().iter().enumerate();
    let mut users = objects.filter(|(_, mapped)| mapped.needed.contains(&index)).map(|(user, _)| user);
    is_other && by_path && users.all(|user| user == index || of_major(user))
}

/// Two files with one soname: each has its own state.
pub(super) fn doubled(facts: &Mapping<'_, '_>, findings: &mut Vec<Finding>) {
    let mut sonames: BTreeMap<&OsStr, usize> = BTreeMap::new();
    let mut reported = BTreeSet::new();
    for (index, mapped) in facts.map.objects().iter().enumerate() {
        let Some(soname) = mapped.object.facts.soname.as_deref() else { continue };
        // Extension modules share names such as `_C.so`, but no object needs another by such a name.
        let by_name = facts.library(index).is_some() || soname.as_encoded_bytes().starts_with(b"lib");
        if !by_name {
            continue;
        }
        let first = *sonames.entry(soname).or_insert(index);
        if first != index && reported.insert(soname) {
            let cause = Cause::Twice {
                soname: soname.to_string_lossy().into_owned(),
                first: facts.file(first),
                second: facts.file(index),
            };
            // A wheel that vendors a copy under a name of its own was built to have both.
            let vendored = mapped.path.file_name().and_then(parse_library_name).is_some_and(|name| name.hash.is_some());
            let found = Finding::new("doubled-soname", cause);
            findings.push(if vendored { found.severity(Severity::Fact) } else { found });
        }
    }
}

pub(super) fn stubs(facts: &Mapping<'_, '_>, findings: &mut Vec<Finding>) {
    for (index, mapped) in facts.map.objects().iter().enumerate() {
        let Some(library) = facts.library(index) else { continue };
        // The file may be a symbolic link into the stubs.
        let target = facts.map.host().link_target(&mapped.path).unwrap_or_default();
        let in_stubs = |path: &Path| path.iter().any(|part| part == "stubs");
        if library.is_stub() || in_stubs(&mapped.path) || in_stubs(&target) {
            let id = if library.row.stem == "cuda" { "stub-libcuda" } else { "stub-on-path" };
            findings.push(Finding::new(id, Cause::Stub(facts.file(index))));
        }
    }
}
