//! From a link map to findings: each says who, what, which file, and by which rule it came in.
//!
//! Takes a map with what is known of its copies; gives the [`Judgement`]. Reads symbol tables only where asked to.

use super::mapping::Mapping;
use super::mixes;
use super::subject::What;
use super::{Cause, Depth, Finding, Judgement, MissingSymbol, NotFound, Subject, Verdict};
use crate::inventory::torn_id_of;
use crate::inventory::{symbols_by_provider, unversioned_provider};
use crate::loader::{FILTER_CIRCLE, Mapped, Symbols};
use crate::tables::{Phase, Severity, parse_library_name};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// Judges a map. `not_found` is what the map lacks.
pub(super) fn judge(facts: &Mapping<'_, '_>, not_found: Vec<NotFound>, depth: Depth) -> Judgement {
    let (mut missing, refused) = unmet(facts, depth);
    // What a library that is not there would have defined is no news beside that.
    let lacks = |later: bool| not_found.iter().any(|lost| lost.later <= later && !(lost.later && lost.optional));
    // Extensions are imported one by one: what one of them lacks explains nothing of another.
    let apart = facts.subject.is_some_and(|subject| matches!(subject.what, What::Extensions(..)));
    let lacks_itself =
        |missing: &MissingSymbol| not_found.iter().any(|lost| lost.needed_by.as_ref() == Some(&missing.wanted_by));
    missing.retain(|missing| {
        missing.provider.is_some() || !if apart { lacks_itself(missing) } else { lacks(missing.later) }
    });
    let mut findings = Vec::new();
    lost(facts, &not_found, &mut findings);
    unbound(facts, &missing, &mut findings);
    let torn = mixes::torn(facts, &mut findings);
    let crossed = mixes::two_majors(facts, &mut findings);
    mixes::doubled(facts, &mut findings);
    mixes::stubs(facts, &mut findings);
    let hard = not_found.iter().find(|lost| !lost.later && !lost.optional);
    let unbound = missing.iter().find(|missing| !missing.later);
    let fails = hard.is_some() || unbound.is_some();
    // The first error of an environment may be that of a package that is not meant.
    let whole = !facts.subject.is_some_and(Subject::is_apart);
    let error = refused
        .filter(|_| fails && whole)
        .or_else(|| hard.map(|lost| words(facts, lost)))
        .or_else(|| unbound.map(line));
    // A call of ours that is not there is of another release, though it is bound only when it is made.
    let short = missing.iter().any(|missing| facts.is_at_call(missing) && is_ours(missing.provider.as_deref()));
    let verdict = match (fails, torn || crossed || short) {
        (true, _) => Verdict::Fails,
        (false, true) => Verdict::Torn,
        (false, false) => Verdict::Loads,
    };
    Judgement {
        of: facts.of.clone(),
        at: facts.at.clone(),
        verdict,
        error,
        objects: facts.objects(),
        missing,
        not_found,
        findings,
        planned: None,
    }
}

/// The nodes and symbols nobody defines, and with what ld.so ends it first.
fn unmet(facts: &Mapping<'_, '_>, depth: Depth) -> (Vec<MissingSymbol>, Option<String>) {
    if depth == Depth::Files {
        return (Vec::new(), None);
    }
    let Some(subject) = facts.subject else { return (unbound_in_groups(facts), None) };
    let link = facts.map.link(Symbols::Started);
    let path = |index: usize| facts.mapped(index).map(|mapped| mapped.path.clone());
    let text = |name: &OsStr| name.to_string_lossy().into_owned();
    let needed = |object: usize| !facts.elective.contains(&object);
    let nodes = link.nodes.iter().filter(|node| !node.weak && !node.unversioned && needed(node.object)).map(|node| {
        MissingSymbol {
            symbol: None,
            node: Some(text(&node.node)),
            wanted_by: path(node.object).unwrap_or_default(),
            provider: node.provider.and_then(path),
            later: node.object >= facts.loaded,
        }
    });
    // Of a library without nodes the reference does not say who is to define it: NCCL, cuSPARSELt.
    let unversioned = |symbol: &crate::loader::MissingSymbol| {
        let object = facts.mapped(symbol.object).filter(|_| symbol.node.is_none())?;
        let needed = unversioned_provider(&object.object, symbol.symbol.as_bytes()).map(OsString::from);
        needed.or_else(|| interface(facts, symbol.symbol.as_bytes()))
    };
    let symbols = link.symbols.iter().filter(|symbol| needed(symbol.object)).map(|symbol| {
        let file = symbol.file.clone().or_else(|| unversioned(symbol));
        MissingSymbol {
            symbol: Some(text(&symbol.symbol)),
            node: symbol.node.as_deref().map(text),
            wanted_by: path(symbol.object).unwrap_or_default(),
            provider: file.and_then(|file| facts.map.by_name(&file)).map(|mapped| mapped.path.clone()),
            later: symbol.at_call || symbol.object >= facts.loaded,
        }
    });
    // Packages of an environment count on what others have loaded before them; of ours they say where it is to come from.
    let told = |missing: &MissingSymbol| is_ours(missing.provider.as_deref()) || !subject.is_apart();
    let missing = nodes.chain(symbols).filter(told).collect();
    (missing, link.first_error.map(|error| error.to_string()))
}

/// Whether a file bears a name of NVIDIA's.
fn is_ours(path: Option<&Path>) -> bool {
    path.and_then(Path::file_name).is_some_and(|name| parse_library_name(name).is_some())
}

/// The mapped library whose C interface a symbol is of, for who is not linked against it.
fn interface(facts: &Mapping<'_, '_>, symbol: &[u8]) -> Option<OsString> {
    let of = |mapped: &Mapped| {
        let name = mapped.path.file_name()?;
        let prefix = parse_library_name(name)?.row.prefix.filter(|prefix| symbol.starts_with(prefix.as_bytes()))?;
        Some((prefix.len(), mapped.names.first()?.clone()))
    };
    facts.map.objects().iter().filter_map(of).max_by_key(|(length, _)| *length).map(|(_, name)| name)
}

/// Of a live process its scopes are not known: only what names its provider is looked at.
fn unbound_in_groups(facts: &Mapping<'_, '_>) -> Vec<MissingSymbol> {
    let mut found = Vec::new();
    for (index, mapped) in facts.map.objects().iter().enumerate() {
        if facts.elective.contains(&index) {
            continue;
        }
        for (soname, wanted) in symbols_by_provider(&mapped.object) {
            let Some(provider) = facts.map.by_name(OsStr::new(&soname)) else { continue };
            let Ok(elf) = provider.object.elf() else { continue };
            let refs = wanted.iter().map(|symbol| (symbol.name.as_bytes(), symbol.node.as_ref().map(String::as_bytes)));
            for (name, node) in elf.missing(refs).unwrap_or_default() {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                found.push(MissingSymbol {
                    symbol: Some(text(name)),
                    node: node.map(text),
                    wanted_by: mapped.path.clone(),
                    provider: Some(provider.path.clone()),
                    later: index >= facts.loaded,
                });
            }
        }
    }
    found
}

/// With what a name that leads nowhere ends a program, or a `dlopen`.
fn words(facts: &Mapping<'_, '_>, lost: &NotFound) -> String {
    let program = facts.subject.filter(|subject| subject.is_program()).and_then(Subject::program);
    let prefix = program.map(|path| format!("{}: error while loading shared libraries: ", path.display()));
    format!("{}{}", prefix.unwrap_or_default(), lost.error)
}

/// The words of `_dl_lookup_symbol_x`.
fn line(missing: &MissingSymbol) -> String {
    let node = missing.node.as_ref().map(|node| format!(", version {node}")).unwrap_or_default();
    format!(
        "{}: undefined symbol: {}{node}",
        missing.wanted_by.display(),
        missing.symbol.as_deref().unwrap_or_default()
    )
}

/// What is not found, with the copies that are installed where no rule of ld.so looks.
fn lost(facts: &Mapping<'_, '_>, not_found: &[NotFound], findings: &mut Vec<Finding>) {
    let mut groups: BTreeMap<(&'static str, Option<&Path>, bool), Vec<&NotFound>> = BTreeMap::new();
    let mut absent: Vec<&NotFound> = Vec::new();
    for lost in not_found {
        match (lost.optional, lost.later) {
            // It does without, as on a machine without a GPU, which has no driver.
            (true, true) => {}
            // What no other major can stand in for is not left out by choice.
            (true, false) if lost_id(facts, lost) == "cudnn8-vs-9-major" => {
                groups.entry(("cudnn8-vs-9-major", lost.needed_by.as_deref(), true)).or_default().push(lost);
            }
            (true, false) => absent.push(lost),
            (false, later) => {
                groups.entry((lost_id(facts, lost), lost.needed_by.as_deref(), later)).or_default().push(lost);
            }
        }
    }
    for ((id, by, later), lost) in groups {
        let Some(first) = lost.first() else { continue };
        let phase = if later { Phase::Gpu } else { Phase::Import };
        let by = by.map(Path::to_owned);
        let cause = match &first.damaged {
            Some(damaged) => Cause::Refused { file: facts.file_at(damaged), reason: first.says.clone(), by },
            None => not_found_by(facts, by, &lost, later),
        };
        findings.push(Finding::new(id, cause).at(phase));
    }
    if let Some(first) = absent.first() {
        let cause = not_found_by(facts, first.needed_by.clone(), &absent, false);
        findings.push(Finding::new("optional-lib-missing", cause).at(Phase::Gpu).severity(Severity::Warning));
    }
}

fn not_found_by(facts: &Mapping<'_, '_>, by: Option<PathBuf>, lost: &[&NotFound], opened: bool) -> Cause {
    let names: BTreeSet<&OsStr> = lost.iter().map(|lost| lost.name.as_os_str()).collect();
    let installed = names.iter().filter_map(|name| facts.copies.installed(facts.map.files(), Path::new(name)));
    Cause::NotFound {
        installed: installed.collect(),
        names: names.iter().map(|name| name.to_string_lossy().into_owned()).collect(),
        by,
        opened,
    }
}

fn lost_id(facts: &Mapping<'_, '_>, lost: &NotFound) -> &'static str {
    if lost.damaged.is_some() {
        return match &*lost.says {
            says if says.ends_with(FILTER_CIRCLE) => "filter-circle",
            _ => "truncated-or-foreign-elf",
        };
    }
    let by_provider = lost.needed_by.as_ref().and_then(|by| by.file_name()).and_then(OsStr::to_str);
    if by_provider.is_some_and(|name| name.starts_with("libonnxruntime_providers")) {
        return "ort-cuda-ep-missing-lib";
    }
    let unknown = if lost.later { "bare-name-dlopen-consumers" } else { "library-not-found" };
    let Some(name) = parse_library_name(&lost.name) else { return unknown };
    let by_cudnn = lost.needed_by.as_ref().and_then(|by| by.file_name()).and_then(parse_library_name);
    if name.version.is_none() && by_cudnn.is_some_and(|by| by.row.group == Some("cudnn")) {
        return "cudnn-bare-libnvrtc-libcuda";
    }
    let major = |name: &OsStr| parse_library_name(name).and_then(|name| Some((name.row.stem, name.version?.major())));
    let asked = major(&lost.name);
    let other = |mapped: &Mapped| {
        mapped
            .names
            .iter()
            .filter_map(|name| major(name))
            .any(|(stem, number)| asked.is_some_and(|(asked, wanted)| asked == stem && wanted != number))
    };
    let other_major = facts.map.objects().iter().any(other);
    // The two majors of cuDNN have different parts; one that is installed, but not mapped, is there as well.
    let cudnn_is_there = |major: u64| {
        let name = format!("libcudnn.so.{major}");
        let installed = || facts.copies.installed(facts.map.files(), Path::new(&name));
        facts.map.by_name(OsStr::new(&name)).is_some() || installed().is_some()
    };
    let other_cudnn = |(_, major): (_, u64)| {
        !cudnn_is_there(major) && [8, 9].into_iter().any(|other| other != major && cudnn_is_there(other))
    };
    match (name.row.group, name.row.stem) {
        (Some("cudnn"), _) if other_major || asked.is_some_and(other_cudnn) => "cudnn8-vs-9-major",
        (Some("cudnn"), "cudnn") => unknown,
        (Some("cudnn"), _) if asked.is_some_and(|(_, major)| major >= 9) => "cudnn9-sublib-not-found",
        (_, "nvrtc-builtins") => "nvrtc-builtins-missing",
        (_, "nvToolsExt") => "nvtx-removed",
        (_, "cusparseLt" | "cufile" | "nvshmem_host") if !lost.later => "optional-lib-missing",
        _ if other_major => "ext-other-cuda-major",
        _ => unknown,
    }
}

/// Missing symbols, one finding for each pair of files.
fn unbound(facts: &Mapping<'_, '_>, missing: &[MissingSymbol], findings: &mut Vec<Finding>) {
    let mut pairs: BTreeMap<(&Path, Option<&Path>), Vec<&MissingSymbol>> = BTreeMap::new();
    let mut order = Vec::new();
    for lost in missing {
        let key = (lost.wanted_by.as_path(), lost.provider.as_deref());
        if !pairs.contains_key(&key) {
            order.push(key);
        }
        pairs.entry(key).or_default().push(lost);
    }
    for key in order {
        let (wanted_by, provider) = key;
        let Some(lost) = pairs.get(&key) else { continue };
        let Some(first) = lost.first() else { continue };
        let at_call = lost.iter().all(|lost| facts.is_at_call(lost));
        let own = provider.is_some_and(|path| {
            facts.subject.is_some_and(|subject| subject.sites.iter().any(|site| path.starts_with(site)))
        });
        let id = match unbound_id(wanted_by, provider, first, own) {
            "undefined-symbol" if at_call => "undefined-call",
            id => id,
        };
        let asker = facts.map.objects().iter().position(|mapped| mapped.path == wanted_by);
        let phase = match asker {
            Some(asker) if facts.is_second_hand(asker) => Phase::Gpu,
            _ if lost.iter().all(|lost| lost.later) => Phase::Use,
            _ => Phase::Import,
        };
        let cause = Cause::Undefined {
            by: wanted_by.to_owned(),
            symbols: lost.iter().map(|lost| named(lost)).collect(),
            node: first.symbol.is_none(),
            provider: provider.map(|path| facts.file_at(path)),
            at_call,
        };
        let found = Finding::new(id, cause).at(phase);
        findings.push(found);
    }
}

/// `symbol@node`, or the node alone.
fn named(lost: &MissingSymbol) -> String {
    let parts: Vec<&str> = [&lost.symbol, &lost.node].into_iter().flatten().map(String::as_str).collect();
    parts.join("@")
}

/// What it is called that a symbol is missing; `own`: of a library that the environment brings itself.
fn unbound_id(wanted_by: &Path, provider: Option<&Path>, lost: &MissingSymbol, own: bool) -> &'static str {
    let named = |path: Option<&Path>| path.and_then(Path::file_name).and_then(parse_library_name).map(|name| name.row);
    let (stem, asker) = (named(provider), named(Some(wanted_by)));
    if lost.symbol.is_none() && stem.is_some() {
        return "major-symlink-hack";
    }
    if let Some(row) = stem {
        return match (row.group, row.stem) {
            (_, "nvJitLink") => "nvjitlink-older-wins",
            // Its own parts have more in common than what a release promises to others.
            (Some("cudnn"), _) if asker.is_some_and(|asker| asker.group == row.group) => {
                torn_id_of(row, provider.and_then(Path::file_name))
            }
            (Some("cudnn"), _) => "cudnn-older-than-torch",
            (_, "nvrtc") => "nvrtc-wrong-version-silent",
            (_, "nccl") => "nccl-older-wins",
            (_, "cublasLt") => "cublaslt-older-wins",
            (_, "cudart" | "cupti") => "cudart-or-cupti-older-wins",
            _ if own => "library-older-wins",
            _ => "conda-pip-toolkit-mix",
        };
    }
    let node = lost.node.as_deref().unwrap_or_default();
    if node.starts_with("GLIBCXX") || node.starts_with("CXXABI") {
        return "glibcxx-too-old";
    }
    let symbol = lost.symbol.as_deref().unwrap_or_default();
    // MKL 2024.1 left out what Intel's profiler had brought.
    if symbol.starts_with("iJIT_") {
        return "mkl-ijit";
    }
    if symbol.contains("c10") || symbol.contains("torch") || super::finding::shown(wanted_by).contains("torch") {
        return "ext-torch-abi";
    }
    "undefined-symbol"
}
