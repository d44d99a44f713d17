//! From a link map to findings: each says who, what, which file, and by which rule it came in.
//!
//! Takes a map with what is known of its copies; gives the [`Judgement`]. Reads symbol tables only where asked to.

use super::closure::What;
use super::copies::Copies;
use super::{Depth, Finding, JudgedObject, Judgement, MissingSymbol, NotFound, Phase, Subject, Verdict};
use crate::consumer::symbols_by_provider;
use crate::facts::{Version, parse_library_name};
use crate::inventory::{Library, agree, release, torn_id};
use crate::loader::{LinkMap, Mapped, Rule, Symbols};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// What is judged.
pub(super) struct Facts<'a, 'l, 'h> {
    pub(super) of: String,
    pub(super) at: Option<PathBuf>,
    /// With what is opened later.
    pub(super) map: &'a LinkMap<'l, 'h>,
    /// How many objects are there before.
    pub(super) startup: usize,
    /// How many are there once it is loaded.
    pub(super) loaded: usize,
    pub(super) roots: &'a [usize],
    pub(super) copies: &'a Copies,
    /// `None` for a live process.
    pub(super) subject: Option<&'a Subject>,
    /// The rules that explain a live map, in its order; none: those of the map.
    pub(super) rules: Vec<Rule>,
    /// Objects that are opened by somebody who does without them.
    pub(super) elective: &'a BTreeSet<usize>,
}

impl<'a> Facts<'a, '_, '_> {
    fn mapped(&self, index: usize) -> Option<&'a Mapped> {
        self.map.objects().get(index)
    }

    fn rule(&self, index: usize) -> Rule {
        let own = self.mapped(index).map_or(Rule::Mapped, |mapped| mapped.rule);
        self.rules.get(index).copied().unwrap_or(own)
    }

    fn library(&self, index: usize) -> Option<&'a Library> {
        self.copies.of(self.mapped(index)?.object.stat.id)
    }

    fn objects(&self) -> Vec<JudgedObject> {
        let objects = self.map.objects().iter().enumerate().map(|(index, mapped)| {
            let is_root = self.roots.contains(&index);
            let file_name = mapped.path.file_name().unwrap_or_default();
            // What is opened by path is known by its file name.
            let name =
                mapped.names.first().filter(|_| !is_root).filter(|name| !name.as_encoded_bytes().contains(&b'/'));
            let library = self.library(index);
            JudgedObject {
                name: name.cloned().unwrap_or_else(|| file_name.to_owned()),
                path: mapped.path.clone(),
                id: mapped.object.stat.id,
                rule: self.rule(index),
                needed_by: mapped.loader.filter(|_| !is_root),
                phase: match index {
                    _ if index < self.startup => Phase::Startup,
                    _ if index < self.loaded => Phase::Load,
                    _ => Phase::Later,
                },
                ours: library.is_some(),
                version: library.and_then(|library| library.version.clone()),
                deleted: false,
            }
        });
        objects.collect()
    }

    /// What people call a mapped object: where it is, its release, and how it got there.
    fn told(&self, index: usize) -> String {
        let Some(mapped) = self.mapped(index) else { return String::new() };
        let version = self.library(index).and_then(|library| library.version.as_ref());
        let version = version.map(|version| format!("{version}, ")).unwrap_or_default();
        format!("`{}` ({version}{})", shown(&mapped.path), ruled(self.rule(index)))
    }
}

/// Judges a map. `not_found` is what the map lacks.
pub(super) fn judge(facts: &Facts<'_, '_, '_>, not_found: Vec<NotFound>, depth: Depth) -> Judgement {
    let (mut missing, refused) = unmet(facts, depth);
    // What a library that is not there would have defined is no news beside that.
    let lacks = |later: bool| not_found.iter().any(|lost| lost.later == later && !(lost.later && lost.optional));
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
    let torn = torn(facts, &mut findings);
    let crossed = two_majors(facts, &mut findings);
    doubled(facts, &mut findings);
    stubs(facts, &mut findings);
    let hard = not_found.iter().find(|lost| !lost.later && !lost.optional);
    let unbound = missing.iter().find(|missing| !missing.later);
    let fails = hard.is_some() || unbound.is_some();
    // The first error of an environment may be that of a package that is not meant.
    let whole = !facts.subject.is_some_and(|subject| matches!(subject.what, What::Environment(_)));
    let error = refused
        .filter(|_| fails && whole)
        .or_else(|| hard.map(|lost| words(facts, lost)))
        .or_else(|| unbound.map(line));
    let verdict = match (fails, torn || crossed) {
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
fn unmet(facts: &Facts<'_, '_, '_>, depth: Depth) -> (Vec<MissingSymbol>, Option<String>) {
    if depth == Depth::Files {
        return (Vec::new(), None);
    }
    let Some(subject) = facts.subject else { return (unbound_in_groups(facts), None) };
    let link = facts.map.link(Symbols::Now);
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
    let symbols = link.symbols.iter().filter(|symbol| needed(symbol.object)).map(|symbol| MissingSymbol {
        symbol: Some(text(&symbol.symbol)),
        node: symbol.node.as_deref().map(text),
        wanted_by: path(symbol.object).unwrap_or_default(),
        provider: symbol.file.as_deref().and_then(|file| facts.map.by_name(file)).map(|mapped| mapped.path.clone()),
        later: symbol.object >= facts.loaded,
    });
    // Packages of an environment count on what others have loaded before them; of ours they say where it is to come from.
    let told = |missing: &MissingSymbol| {
        let ours = missing
            .provider
            .as_deref()
            .and_then(Path::file_name)
            .is_some_and(|name| parse_library_name(name).is_some());
        ours || !matches!(subject.what, What::Environment(_))
    };
    let missing = nodes.chain(symbols).filter(told).collect();
    (missing, link.first_error.map(|error| error.to_string()))
}

/// Of a live process its scopes are not known: only what names its provider is looked at.
fn unbound_in_groups(facts: &Facts<'_, '_, '_>) -> Vec<MissingSymbol> {
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
fn words(facts: &Facts<'_, '_, '_>, lost: &NotFound) -> String {
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

/// A path as people are shown it.
pub(super) fn shown(path: &Path) -> String {
    crate::consumer::tidy(path).display().to_string()
}

fn ruled(rule: Rule) -> String {
    match rule {
        // In a live process it is not known who asked for what was opened by name.
        Rule::Mapped => "mapped".to_owned(),
        Rule::Path | Rule::Cache | Rule::Default | Rule::Preload => rule.to_string(),
        _ => format!("by {rule}"),
    }
}

/// What is not found, with the copy that stands in the subject's own packages but on no search path.
fn lost(facts: &Facts<'_, '_, '_>, not_found: &[NotFound], findings: &mut Vec<Finding>) {
    let mut groups: BTreeMap<(&'static str, Option<&Path>, bool), Vec<&NotFound>> = BTreeMap::new();
    let mut absent: Vec<&NotFound> = Vec::new();
    for lost in not_found {
        match (lost.optional, lost.later) {
            // It does without, as on a machine without a GPU, which has no driver.
            (true, true) => {}
            (true, false) => absent.push(lost),
            (false, later) => {
                groups.entry((lost_id(facts, lost), lost.needed_by.as_deref(), later)).or_default().push(lost);
            }
        }
    }
    for ((id, by, later), lost) in groups {
        let Some(first) = lost.first() else { continue };
        let verb = if later { "opens" } else { "needs" };
        let by = by.map_or_else(|| "it is asked for".to_owned(), |by| format!("`{}` {verb} it", shown(by)));
        if let Some(damaged) = &first.damaged {
            let says =
                format!("`{}` cannot be mapped, and ld.so looks no further: {}; {by}", shown(damaged), first.says);
            findings.push(Finding { id, says, path: Some(damaged.clone()) });
            continue;
        }
        let installed = facts.copies.installed(facts.map.files(), Path::new(&first.name));
        let installed = installed.map(|path| format!("; `{}` is on no search path", shown(&path))).unwrap_or_default();
        let names: Vec<&OsStr> = lost.iter().map(|lost| lost.name.as_os_str()).collect();
        let says = format!("ld.so finds no {}: {by}{installed}", listed(&names));
        findings.push(Finding { id, says, path: first.needed_by.clone() });
    }
    if let Some(first) = absent.first() {
        let names: BTreeSet<&OsStr> = absent.iter().map(|lost| lost.name.as_os_str()).collect();
        let names: Vec<&OsStr> = names.into_iter().collect();
        let says = format!("nothing here has {}: what needs it cannot be used", listed(&names));
        findings.push(Finding { id: "optional-lib-missing", says, path: first.needed_by.clone() });
    }
}

/// The first names of a list, and how many more there are.
fn listed(names: &[&OsStr]) -> String {
    const SHOWN: usize = 3;
    let shown: Vec<String> = names.iter().take(SHOWN).map(|name| format!("`{}`", name.display())).collect();
    let more = names.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

fn lost_id(facts: &Facts<'_, '_, '_>, lost: &NotFound) -> &'static str {
    if lost.damaged.is_some() {
        return if lost.says == "file too short" { "truncated" } else { "not-elf" };
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
    match (name.row.group, name.row.stem) {
        (Some("driver"), _) => "libcuda-not-injected",
        (Some("cudnn"), _) if other_major => "cudnn8-vs-9-major",
        (Some("cudnn"), "cudnn") => unknown,
        (Some("cudnn"), _) if asked.is_some_and(|(_, major)| major >= 9) => "cudnn9-sublib-not-found",
        (_, "nvrtc-builtins") => "nvrtc-builtins-missing",
        _ if other_major => "ext-other-cuda-major",
        _ => unknown,
    }
}

/// Missing symbols, one finding for each pair of files.
fn unbound(facts: &Facts<'_, '_, '_>, missing: &[MissingSymbol], findings: &mut Vec<Finding>) {
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
        let what = match (&first.symbol, &first.node) {
            (Some(symbol), Some(node)) => format!("`{symbol}@{node}`"),
            (Some(symbol), None) => format!("`{symbol}`"),
            (None, node) => format!("the version `{}`", node.as_deref().unwrap_or_default()),
        };
        let more = if lost.len() > 1 { format!(" and {} more", lost.len() - 1) } else { String::new() };
        let index = provider.and_then(|path| facts.map.objects().iter().position(|mapped| mapped.path == path));
        let says = match index {
            Some(index) => {
                format!("`{}` wants {what}{more}, which {} does not define", shown(wanted_by), facts.told(index))
            }
            None => format!("`{}` wants {what}{more}, which nothing that is mapped defines", shown(wanted_by)),
        };
        findings.push(Finding { id: unbound_id(wanted_by, provider, first), says, path: provider.map(Path::to_owned) });
    }
}

fn unbound_id(wanted_by: &Path, provider: Option<&Path>, lost: &MissingSymbol) -> &'static str {
    let stem = provider.and_then(Path::file_name).and_then(|name| Some(parse_library_name(name)?.row));
    if lost.symbol.is_none() && stem.is_some() {
        return "major-symlink-hack";
    }
    if let Some(row) = stem {
        return match (row.group, row.stem) {
            (_, "nvJitLink") => "nvjitlink-older-wins",
            (Some("cudnn"), _) => "cudnn-older-than-torch",
            (_, "nccl") => "nccl-older-wins",
            (_, "cublasLt") => "cublaslt-older-wins",
            (_, "cudart" | "cupti") => "cudart-or-cupti-older-wins",
            _ => "conda-pip-toolkit-mix",
        };
    }
    let node = lost.node.as_deref().unwrap_or_default();
    if node.starts_with("GLIBCXX") || node.starts_with("CXXABI") {
        return "glibcxx-too-old";
    }
    let symbol = lost.symbol.as_deref().unwrap_or_default();
    if symbol.contains("c10") || symbol.contains("torch") || shown(wanted_by).contains("torch") {
        return "ext-torch-abi";
    }
    "undefined-symbol"
}

/// Members of one group and major must be of one release.
fn torn(facts: &Facts<'_, '_, '_>, findings: &mut Vec<Finding>) -> bool {
    let mut groups: BTreeMap<(&str, u64), Vec<(usize, &Library)>> = BTreeMap::new();
    for index in 0..facts.map.objects().len() {
        let Some(library) = facts.library(index) else { continue };
        let Some(group) = library.row.group else { continue };
        let major = parse_library_name(library.asked_as()).and_then(|name| name.version).map_or(0, |it| it.major());
        // NVRTC's builtins are numbered by the whole release.
        let major = if group == "nvrtc" { 0 } else { major };
        groups.entry((group, major)).or_default().push((index, library));
    }
    let mut any = false;
    for members in groups.into_values() {
        let known: Vec<(usize, &Library)> =
            members.into_iter().filter(|(_, library)| release(library).is_some()).collect();
        // The one the others belong to has the shortest stem; where it is doubled, the one that was mapped first.
        let Some((main, first)) = known.iter().min_by_key(|(index, library)| (library.row.stem.len(), *index)).copied()
        else {
            continue;
        };
        let Some(version) = release(first) else { continue };
        let builtins = |library: &Library| library.row.stem == "nvrtc-builtins";
        let others: Vec<&(usize, &Library)> = known
            .iter()
            .filter(|(_, library)| {
                release(library).is_some_and(|found| {
                    let minor = |version: &Version| version.numbers().get(..2).map(<[u64]>::to_vec);
                    if builtins(library) { minor(found) != minor(version) } else { !agree(version, found) }
                })
            })
            .collect();
        if let Some((index, library)) = others.first() {
            any = true;
            let more = match others.len() {
                1 => String::new(),
                count => format!(" and {} more parts of another release", count - 1),
            };
            let says = format!("{} meets {}{more}: they must be of one release", facts.told(main), facts.told(*index));
            findings.push(Finding { id: torn_id(library), says, path: facts.mapped(*index).map(|it| it.path.clone()) });
        }
    }
    any
}

/// Libraries of two CUDA majors. In one environment, or one process, packages may each bring their own.
fn two_majors(facts: &Facts<'_, '_, '_>, findings: &mut Vec<Finding>) -> bool {
    let mut majors: BTreeMap<u32, usize> = BTreeMap::new();
    for index in 0..facts.map.objects().len() {
        let library = facts.library(index).filter(|library| !library.row.is_driver());
        if let Some((major, _)) = library.and_then(|library| library.cuda) {
            majors.entry(major).or_insert(index);
        }
    }
    let wanted = facts.subject.and_then(|subject| subject.cuda).and_then(|major| u32::try_from(major).ok());
    let own = wanted.filter(|major| majors.contains_key(major));
    let own = own.or_else(|| majors.iter().min_by_key(|(_, index)| **index).map(|(major, _)| *major));
    let Some((own, at)) = own.and_then(|major| Some((major, *majors.get(&major)?))) else { return false };
    let one_consumer = facts.subject.is_some_and(|subject| !matches!(subject.what, What::Environment(_)));
    let mut any = false;
    for (major, index) in majors.into_iter().filter(|(major, _)| *major != own) {
        any = true;
        let says =
            format!("{} is of CUDA {major}, in a process with {} of CUDA {own}", facts.told(index), facts.told(at));
        findings.push(Finding { id: "two-cuda-majors", says, path: facts.mapped(index).map(|it| it.path.clone()) });
    }
    any && one_consumer
}

/// One soname, two files: each has a state of its own.
fn doubled(facts: &Facts<'_, '_, '_>, findings: &mut Vec<Finding>) {
    let mut sonames: BTreeMap<&OsStr, usize> = BTreeMap::new();
    let mut told = BTreeSet::new();
    for (index, mapped) in facts.map.objects().iter().enumerate() {
        let Some(soname) = mapped.object.facts.soname.as_deref() else { continue };
        let first = *sonames.entry(soname).or_insert(index);
        if first != index && told.insert(soname) {
            let says =
                format!("`{}` is mapped twice: {} and {}", soname.display(), facts.told(first), facts.told(index));
            findings.push(Finding { id: "doubled-soname", says, path: Some(mapped.path.clone()) });
        }
    }
}

fn stubs(facts: &Facts<'_, '_, '_>, findings: &mut Vec<Finding>) {
    for (index, mapped) in facts.map.objects().iter().enumerate() {
        let Some(library) = facts.library(index) else { continue };
        // The file may be a link into the stubs.
        let target = facts.map.host().link_target(&mapped.path).unwrap_or_default();
        let in_stubs = |path: &Path| path.iter().any(|part| part == "stubs");
        if library.is_stub() || in_stubs(&mapped.path) || in_stubs(&target) {
            let id = if library.row.stem == "cuda" { "stub-libcuda" } else { "stub-on-path" };
            let says = format!("{} is for linking only: its functions do nothing", facts.told(index));
            findings.push(Finding { id, says, path: Some(mapped.path.clone()) });
        }
    }
}
