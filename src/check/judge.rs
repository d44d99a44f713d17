//! Turns a link map into findings. Each names the cause, the files and the rule that found them.
//!
//! Takes a map and the known facts of its copies; gives the [`Judgement`]. Reads symbol tables only at
//! [`Depth::Symbols`].

use super::mapping::Mapping;
use super::mixes;
use super::required;
use super::subject::What;
use super::{Cause, Depth, Finding, Judgement, MissingSymbol, NotFound, Subject, Verdict};
use crate::host::tidy;
use crate::inventory::torn_id_of;
use crate::inventory::{symbols_by_provider, unversioned_provider};
use crate::loader::{FILTER_CIRCLE, Mapped, Missing, Symbols};
use crate::python::library_files;
use crate::tables::{FamilyRow, Phase, Severity, family_of_symbol, parse_library_name};
use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// Judges a map; `not_found` lists the libraries that it lacks.
pub(super) fn judge(facts: &Mapping<'_, '_>, not_found: Vec<NotFound>, depth: Depth) -> Judgement {
    let (mut missing, refused) = undefined_symbols(facts, depth);
    // A missing library explains the symbols that it would have defined.
    let lacks = |later: bool| {
        not_found.iter().any(|unresolved| unresolved.later <= later && !(unresolved.later && unresolved.optional))
    };
    // Extensions are imported one by one: a library that one lacks explains no symbol of another.
    let apart = facts.subject.is_some_and(|subject| matches!(subject.what, What::Extensions(..)));
    let lacks_itself = |missing: &MissingSymbol| {
        not_found.iter().any(|unresolved| unresolved.needed_by.as_ref() == Some(&missing.needed_by))
    };
    missing.retain(|missing| {
        missing.provider.is_some() || !if apart { lacks_itself(missing) } else { lacks(missing.later) }
    });
    let mut findings = Vec::new();
    add_not_found(facts, &not_found, &mut findings);
    add_undefined(facts, &missing, &mut findings);
    let torn = mixes::torn(facts, &mut findings);
    let crossed = mixes::two_majors(facts, &mut findings);
    let older = required::older(facts, &mut findings);
    mixes::doubled(facts, &mut findings);
    mixes::stubs(facts, &mut findings);
    let stops = |unresolved: &NotFound| !unresolved.later || is_stopped(facts, unresolved);
    let hard = not_found.iter().find(|unresolved| !unresolved.optional && stops(unresolved));
    let unbound = missing.iter().find(|missing| !missing.later);
    let fails = hard.is_some() || unbound.is_some();
    // In an environment, the first error may come from a package that the target does not import.
    let whole = !facts.subject.is_some_and(Subject::is_apart);
    let error = refused
        .filter(|_| fails && whole)
        .or_else(|| hard.map(|unresolved| not_found_error(facts, unresolved)))
        .or_else(|| unbound.map(undefined_error));
    // A missing function of an NVIDIA library shows another release, although ld.so binds it only at the first call.
    let short = missing.iter().any(|missing| facts.is_at_call(missing) && is_ours(missing.provider.as_deref()));
    let verdict = match (fails, torn || crossed || short || older) {
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

/// Whether a framework raises an error without a library that its own code opens later.
fn is_stopped(facts: &Mapping<'_, '_>, unresolved: &NotFound) -> bool {
    let Some(What::Package(package)) = facts.subject.map(|subject| &subject.what) else { return false };
    let by = unresolved.needed_by.as_deref().map(tidy);
    unresolved.later && package.stops && (by.is_none() || by == package.opener.as_deref().map(tidy))
}

/// The undefined nodes and symbols, and ld.so's first error.
fn undefined_symbols(facts: &Mapping<'_, '_>, depth: Depth) -> (Vec<MissingSymbol>, Option<String>) {
    if depth == Depth::Files {
        return (Vec::new(), None);
    }
    let Some(subject) = facts.subject else { return (undefined_in_providers(facts), None) };
    let link = facts.map.link(Symbols::Started);
    let path = |index: usize| facts.mapped(index).map(|mapped| mapped.path.clone());
    let text = |name: &OsStr| name.to_string_lossy().into_owned();
    // Without a driver nothing that needs it loads; what else is wrong shows on a machine that has one.
    let counts = |missing: &Missing| parse_library_name(&missing.name).is_some_and(|name| !name.row.is_driver());
    let failed = facts.map.failed(counts);
    let needed = |object: usize| !facts.optional_objects.contains(&object) && !failed.contains(&object);
    let nodes = link.nodes.iter().filter(|node| !node.weak && !node.unversioned && needed(node.object)).map(|node| {
        MissingSymbol {
            symbol: None,
            node: Some(text(&node.node)),
            needed_by: path(node.object).unwrap_or_default(),
            provider: node.provider.and_then(path),
            later: node.object >= facts.loaded,
        }
    });
    // A reference to a library without version nodes (NCCL, cuSPARSELt) does not name its provider.
    let unversioned = |symbol: &crate::loader::MissingSymbol| {
        let object = facts.mapped(symbol.object).filter(|_| symbol.node.is_none())?;
        let needed = unversioned_provider(&object.object, symbol.symbol.as_bytes()).map(OsString::from);
        needed.or_else(|| interface(facts, symbol.symbol.as_bytes()))
    };
    // The driver's functions: which release has one that is bound at its call is in the tables of drivers, and without a
    // driver all are missing.
    let lacks_driver = |index: usize| {
        let needed = facts.mapped(index).map(|mapped| mapped.object.facts.needed.as_slice()).unwrap_or_default();
        let mut drivers = needed.iter().filter(|name| parse_library_name(name).is_some_and(|it| it.row.is_driver()));
        drivers.any(|name| facts.map.by_name(name).is_none())
    };
    // Most missing symbols are Python's.
    let may_be = |name: &OsStr| matches!(name.as_bytes(), [b'c', b'u', ..] | [b'n' | b'N', b'v', ..]);
    let of_driver = |symbol: &crate::loader::MissingSymbol| {
        may_be(&symbol.symbol)
            && symbol.symbol.to_str().and_then(family_of_symbol).is_some_and(FamilyRow::is_driver)
            && (symbol.at_call || lacks_driver(symbol.object))
    };
    let symbols = link.symbols.iter().filter(|symbol| needed(symbol.object) && !of_driver(symbol)).map(|symbol| {
        let file = symbol.file.clone().or_else(|| unversioned(symbol));
        MissingSymbol {
            symbol: Some(text(&symbol.symbol)),
            node: symbol.node.as_deref().map(text),
            needed_by: path(symbol.object).unwrap_or_default(),
            provider: file.and_then(|file| facts.map.by_name(&file)).map(|mapped| mapped.path.clone()),
            later: symbol.at_call || symbol.object >= facts.loaded,
        }
    });
    // Packages rely on libraries that others loaded before. References to NVIDIA's libraries name their provider.
    let is_reported = |missing: &MissingSymbol| is_ours(missing.provider.as_deref()) || !subject.is_apart();
    let missing = nodes.chain(symbols).filter(is_reported).collect();
    (missing, link.first_error.map(|error| error.to_string()))
}

/// Whether a file has the name of an NVIDIA library.
fn is_ours(path: Option<&Path>) -> bool {
    path.and_then(Path::file_name).is_some_and(|name| parse_library_name(name).is_some())
}

/// The mapped library whose C interface contains a symbol, for objects that are not linked against it.
fn interface(facts: &Mapping<'_, '_>, symbol: &[u8]) -> Option<OsString> {
    let of = |mapped: &Mapped| {
        let name = mapped.path.file_name()?;
        let prefix = parse_library_name(name)?.row.prefix.filter(|prefix| symbol.starts_with(prefix.as_bytes()))?;
        Some((prefix.len(), mapped.names.first()?.clone()))
    };
    facts.map.objects().iter().filter_map(of).max_by_key(|(length, _)| *length).map(|(_, name)| name)
}

/// The scopes of a live process are unknown: only references that name their provider are checked.
fn undefined_in_providers(facts: &Mapping<'_, '_>) -> Vec<MissingSymbol> {
    let mut found = Vec::new();
    for (index, mapped) in facts.map.objects().iter().enumerate() {
        if facts.optional_objects.contains(&index) {
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
                    needed_by: mapped.path.clone(),
                    provider: Some(provider.path.clone()),
                    later: index >= facts.loaded,
                });
            }
        }
    }
    found
}

/// ld.so's error for a name that is not found: for a program, or for `dlopen`.
fn not_found_error(facts: &Mapping<'_, '_>, unresolved: &NotFound) -> String {
    let program = facts.subject.filter(|subject| subject.is_program()).and_then(Subject::program);
    let prefix = program.map(|path| format!("{}: error while loading shared libraries: ", path.display()));
    format!("{}{}", prefix.unwrap_or_default(), unresolved.error)
}

/// The message of `_dl_lookup_symbol_x`.
fn undefined_error(missing: &MissingSymbol) -> String {
    let node = missing.node.as_ref().map(|node| format!(", version {node}")).unwrap_or_default();
    format!(
        "{}: undefined symbol: {}{node}",
        missing.needed_by.display(),
        missing.symbol.as_deref().unwrap_or_default()
    )
}

/// Adds the libraries that are not found, with the installed copies that no rule of ld.so reaches.
fn add_not_found(facts: &Mapping<'_, '_>, not_found: &[NotFound], findings: &mut Vec<Finding>) {
    let mut groups: BTreeMap<(&'static str, Option<&Path>, bool), Vec<&NotFound>> = BTreeMap::new();
    let mut absent: Vec<&NotFound> = Vec::new();
    let others = LazyCell::new(|| names_in_packages(facts));
    for unresolved in not_found {
        match (unresolved.optional, unresolved.later) {
            // The consumer falls back, as on a machine without a GPU and thus without a driver.
            (true, true) => {}
            // The consumer may fall back, but not to cuDNN of the other major: report the conflict.
            (true, false) if not_found_id(facts, unresolved) == "cudnn8-vs-9-major" => {
                groups
                    .entry(("cudnn8-vs-9-major", unresolved.needed_by.as_deref(), true))
                    .or_default()
                    .push(unresolved);
            }
            // What another package of the environment brings, that opens by path (libcudf, librmm).
            (true, false) if others.contains(&unresolved.name) => {}
            (true, false) => absent.push(unresolved),
            (false, later) => {
                groups
                    .entry((not_found_id(facts, unresolved), unresolved.needed_by.as_deref(), later))
                    .or_default()
                    .push(unresolved);
            }
        }
    }
    for ((id, by, later), unresolved) in groups {
        let Some(first) = unresolved.first() else { continue };
        let phase = if later { Phase::Gpu } else { Phase::Import };
        let by = by.map(Path::to_owned);
        let cause = match &first.damaged {
            Some(damaged) => Cause::Refused { file: facts.file_at(damaged), reason: first.says.clone(), by },
            None => not_found_by(facts, by, &unresolved, later),
        };
        findings.push(Finding::new(id, cause).at(phase));
    }
    if let Some(first) = absent.first() {
        let cause = not_found_by(facts, first.needed_by.clone(), &absent, false);
        findings.push(Finding::new("optional-lib-missing", cause).at(Phase::Gpu).severity(Severity::Warning));
    }
}

/// The names of the libraries in the environment's packages that are not NVIDIA's.
fn names_in_packages(facts: &Mapping<'_, '_>) -> BTreeSet<OsString> {
    let sites = facts.subject.map(|subject| subject.sites.as_slice()).unwrap_or_default();
    let files = library_files(facts.map.host(), sites);
    let names = files.iter().filter_map(|file| file.file_name());
    names.filter(|name| parse_library_name(name).is_none()).map(OsStr::to_owned).collect()
}

fn not_found_by(facts: &Mapping<'_, '_>, by: Option<PathBuf>, unresolved: &[&NotFound], opened: bool) -> Cause {
    let names: BTreeSet<&OsStr> = unresolved.iter().map(|unresolved| unresolved.name.as_os_str()).collect();
    let installed = names.iter().filter_map(|name| facts.copies.installed(facts.map.files(), Path::new(name)));
    Cause::NotFound {
        installed: installed.collect(),
        names: names.iter().map(|name| name.to_string_lossy().into_owned()).collect(),
        by,
        opened,
    }
}

fn not_found_id(facts: &Mapping<'_, '_>, unresolved: &NotFound) -> &'static str {
    if unresolved.damaged.is_some() {
        return match &*unresolved.says {
            says if says.ends_with(FILTER_CIRCLE) => "filter-circle",
            _ => "truncated-or-foreign-elf",
        };
    }
    let by_provider = unresolved.needed_by.as_ref().and_then(|by| by.file_name()).and_then(OsStr::to_str);
    if by_provider.is_some_and(|name| name.starts_with("libonnxruntime_providers")) {
        return "ort-cuda-ep-missing-lib";
    }
    let unknown = if unresolved.later { "bare-name-dlopen-consumers" } else { "library-not-found" };
    let Some(name) = parse_library_name(&unresolved.name) else { return unknown };
    let by_cudnn = unresolved.needed_by.as_ref().and_then(|by| by.file_name()).and_then(parse_library_name);
    if name.version.is_none() && by_cudnn.is_some_and(|by| by.row.group == Some("cudnn")) {
        return "cudnn-bare-libnvrtc-libcuda";
    }
    let major = |name: &OsStr| parse_library_name(name).and_then(|name| Some((name.row.stem, name.version?.major())));
    let requested = major(&unresolved.name);
    let other = |mapped: &Mapped| {
        mapped
            .names
            .iter()
            .filter_map(|name| major(name))
            .any(|(stem, number)| requested.is_some_and(|(requested, major)| requested == stem && major != number))
    };
    let other_major = facts.map.objects().iter().any(other);
    // The two majors of cuDNN have different parts. An installed major counts even if it is not mapped.
    let cudnn_is_there = |major: u64| {
        let name = format!("libcudnn.so.{major}");
        let installed = || facts.copies.installed(facts.map.files(), Path::new(&name));
        facts.map.by_name(OsStr::new(&name)).is_some() || installed().is_some()
    };
    let other_cudnn = |(_, major): (_, u64)| {
        !cudnn_is_there(major) && [8, 9].into_iter().any(|other| other != major && cudnn_is_there(other))
    };
    match (name.row.group, name.row.stem) {
        (Some("cudnn"), _) if other_major || requested.is_some_and(other_cudnn) => "cudnn8-vs-9-major",
        (Some("cudnn"), "cudnn") => unknown,
        (Some("cudnn"), _) if requested.is_some_and(|(_, major)| major >= 9) => "cudnn9-sublib-not-found",
        (_, "nvrtc-builtins") => "nvrtc-builtins-missing",
        (_, "nvToolsExt") => "nvtx-removed",
        (_, "cusparseLt" | "cufile" | "nvshmem_host") if !unresolved.later => "optional-lib-missing",
        _ if other_major => "ext-other-cuda-major",
        _ => unknown,
    }
}

/// Undefined symbols, one finding for each pair of files.
fn add_undefined(facts: &Mapping<'_, '_>, missing: &[MissingSymbol], findings: &mut Vec<Finding>) {
    let mut pairs: BTreeMap<(&Path, Option<&Path>), Vec<&MissingSymbol>> = BTreeMap::new();
    let mut order = Vec::new();
    for undefined in missing {
        let key = (undefined.needed_by.as_path(), undefined.provider.as_deref());
        if !pairs.contains_key(&key) {
            order.push(key);
        }
        pairs.entry(key).or_default().push(undefined);
    }
    for key in order {
        let (needed_by, provider) = key;
        let Some(undefined) = pairs.get(&key) else { continue };
        let Some(first) = undefined.first() else { continue };
        let at_call = undefined.iter().all(|undefined| facts.is_at_call(undefined));
        let own = provider.is_some_and(|path| {
            facts.subject.is_some_and(|subject| subject.sites.iter().any(|site| path.starts_with(site)))
        });
        let id = match undefined_id(needed_by, provider, first, own) {
            "undefined-symbol" if at_call => "undefined-call",
            id => id,
        };
        let referrer = facts.map.objects().iter().position(|mapped| mapped.path == needed_by);
        let phase = match referrer {
            Some(referrer) if facts.is_second_hand(referrer) => Phase::Gpu,
            _ if undefined.iter().all(|undefined| undefined.later) => Phase::Use,
            _ => Phase::Import,
        };
        let cause = Cause::Undefined {
            by: needed_by.to_owned(),
            symbols: undefined.iter().map(|undefined| symbol_text(undefined)).collect(),
            node: first.symbol.is_none(),
            provider: provider.map(|path| facts.file_at(path)),
            at_call,
        };
        let found = Finding::new(id, cause).at(phase);
        // What an older driver lacks, a program may never call.
        let is_rare = id == "driver-too-old" && phase != Phase::Import;
        findings.push(if is_rare { found.severity(Severity::Warning) } else { found });
    }
}

/// `symbol@node`, or the node alone.
fn symbol_text(undefined: &MissingSymbol) -> String {
    let parts: Vec<&str> = [&undefined.symbol, &undefined.node].into_iter().flatten().map(String::as_str).collect();
    parts.join("@")
}

/// The id for an undefined symbol; `own`: the environment itself provides the library.
fn undefined_id(needed_by: &Path, provider: Option<&Path>, undefined: &MissingSymbol, own: bool) -> &'static str {
    let named = |path: Option<&Path>| path.and_then(Path::file_name).and_then(parse_library_name).map(|name| name.row);
    let (stem, referrer) = (named(provider), named(Some(needed_by)));
    if undefined.symbol.is_none() && stem.is_some() {
        return "major-symlink-hack";
    }
    if let Some(row) = stem {
        return match (row.group, row.stem) {
            _ if row.is_driver() => "driver-too-old",
            (_, "nvJitLink") => "nvjitlink-older-wins",
            // Parts of one library use symbols that a release does not promise to other consumers.
            (Some("cudnn"), _) if referrer.is_some_and(|referrer| referrer.group == row.group) => {
                torn_id_of(row, provider.and_then(Path::file_name))
            }
            (Some("cudnn"), _) => "cudnn-older-than-torch",
            (_, "nvrtc") => "nvrtc-wrong-version-silent",
            (_, "nccl") => "nccl-older-wins",
            (_, "cublasLt") => "cublaslt-older-wins",
            (_, "cudart" | "cupti") => "cudart-or-cupti-older-wins",
            _ if row.is_driver() => "driver-too-old",
            _ if own => "library-older-wins",
            _ => "conda-pip-toolkit-mix",
        };
    }
    let node = undefined.node.as_deref().unwrap_or_default();
    if node.starts_with("GLIBCXX") || node.starts_with("CXXABI") {
        return "glibcxx-too-old";
    }
    let symbol = undefined.symbol.as_deref().unwrap_or_default();
    // MKL 2024.1 dropped the symbols of Intel's profiler API.
    if symbol.starts_with("iJIT_") {
        return "mkl-ijit";
    }
    // By its place in the environment: a directory above that may have any name.
    let of_torch = |path: &Path| {
        let parts = path.iter().rev().take_while(|part| *part != "site-packages" && *part != "dist-packages");
        parts.into_iter().any(|part| part.as_bytes().windows(5).any(|text| text == b"torch"))
    };
    let of_torch = referrer.is_none() && of_torch(&tidy(needed_by));
    if symbol.contains("c10") || symbol.contains("torch") || of_torch {
        return "ext-torch-abi";
    }
    "undefined-symbol"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_above_the_environment_may_have_any_name() {
        let missing = MissingSymbol {
            symbol: Some("f".to_owned()),
            node: None,
            needed_by: PathBuf::new(),
            provider: None,
            later: false,
        };
        let id = |path: &str| undefined_id(Path::new(path), None, &missing, false);
        assert_eq!(id("/envs/torch/lib/python3.11/site-packages/package/_C.so"), "undefined-symbol");
        assert_eq!(
            id("/envs/torch/lib/python3.11/site-packages/nvidia/cudnn/lib/libcudnn_ops.so.9"),
            "undefined-symbol"
        );
        assert_eq!(id("/envs/a/lib/python3.11/site-packages/torchvision/_C.so"), "ext-torch-abi");
    }
}
