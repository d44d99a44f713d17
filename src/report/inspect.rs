//! One file in full (`inspect`, `docs/json-schema/inspect.json`), as wire types and as text.

use super::findings::{FindingLine, FindingList};
use super::json::{JsonPath, ProblemFile, SCHEMA};
use super::layout::{Page, Width};
use super::scan::{EvidenceLine, OwnerLine, cuda_text, owner_text, problem_lines, way, word};
use crate::elf::fatbin::{Arch, FatBinaries};
use crate::inventory::Flags;
use crate::inventory::scan::Inspection;
use crate::tables::finding_row;
use serde::Serialize;
use std::collections::BTreeMap;

/// The report of `inspect`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InspectReport {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The files, in the order they were named.
    pub files: Vec<InspectFile>,
}

impl InspectReport {
    /// The report about files.
    #[must_use]
    pub fn new(files: Vec<InspectFile>) -> Self {
        Self { schema: SCHEMA, files }
    }

    /// The problems of the files, as findings.
    #[must_use]
    pub fn listed(&self) -> FindingList {
        let problems = self.files.iter().flat_map(|file| &file.problems);
        FindingList {
            command: "inspect",
            verdict: if self.files.len() == 1 { "1 file".to_owned() } else { format!("{} files", self.files.len()) },
            wrong: false,
            findings: problems.map(FindingLine::of_problem).collect(),
        }
    }
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "described in docs/json-schema/inspect.json")]
pub struct InspectFile {
    pub path: JsonPath,
    pub links: Vec<LinkLine>,
    pub real_path: JsonPath,
    pub names: Vec<JsonPath>,
    pub soname: Option<String>,
    pub soname_is_a_name: Option<bool>,
    pub family: Option<String>,
    pub look_alike: Option<String>,
    pub renamed: Option<String>,
    pub ident: Option<String>,
    pub size: u64,
    pub sha256: Option<String>,
    pub build_id: Option<String>,
    pub version: Option<String>,
    pub confidence: String,
    pub cuda: Option<String>,
    pub evidence: Vec<EvidenceLine>,
    pub disagreement: Option<(String, String)>,
    pub owner: Option<OwnerLine>,
    pub place: Option<String>,
    pub reach: Vec<String>,
    pub stub: bool,
    pub unusable: Option<String>,
    pub needed: Vec<String>,
    pub rpath: Option<String>,
    pub runpath: Option<String>,
    pub interpreter: Option<String>,
    pub nodes: Vec<String>,
    pub needs: Vec<NeedLine>,
    pub symbols: Option<Symbols>,
    pub loading: Option<Loading>,
    pub damage: Option<String>,
    pub static_runtime: Option<String>,
    pub forward_compatibility: Option<Compatibility>,
    pub gpu_code: Option<GpuCode>,
    pub problems: Vec<ProblemFile>,
    /// The owner in a few words.
    #[serde(skip)]
    owner_text: String,
    /// Whether all search paths were read.
    #[serde(skip)]
    scanned: bool,
}

/// A symbolic link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LinkLine {
    /// The link.
    pub path: JsonPath,
    /// Its target as written.
    pub target: JsonPath,
}

/// The version nodes it needs of one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NeedLine {
    /// The object.
    pub file: String,
    /// The nodes.
    pub nodes: Vec<String>,
}

/// Counts of dynamic symbols.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Symbols {
    /// Defined.
    pub defined: usize,
    /// Undefined.
    pub undefined: usize,
    /// Undefined and weak.
    pub weak: usize,
}

/// What it requires of the process that loads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a separate fact")]
#[expect(missing_docs, reason = "described in docs/json-schema/inspect.json")]
pub struct Loading {
    pub executable_stack: bool,
    pub static_tls: bool,
    pub tls_size: Option<u64>,
    pub relr: bool,
    pub text_relocations: bool,
    pub nodeflib: bool,
    pub glibc_floor: Option<String>,
}

/// The note of a forward-compatible driver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Compatibility {
    /// The CUDA release it brings.
    pub cuda: String,
    /// The branches of kernel modules it runs on.
    pub drivers: Vec<u32>,
    /// Whether the loaded kernel module is among them.
    pub runs_here: Option<bool>,
}

/// The GPU code in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GpuCode {
    /// `sm_90`, with the number of cubins.
    pub cubins: BTreeMap<String, u64>,
    /// `compute_90`, with the number of PTX texts.
    pub ptx: BTreeMap<String, u64>,
    /// Entries of other kinds.
    pub other: u64,
    /// Entries that are packed.
    pub compressed: u64,
    /// The first damage.
    pub damage: Option<String>,
}

impl GpuCode {
    fn new(found: &FatBinaries) -> Self {
        let named = |archs: &BTreeMap<Arch, u64>, kind: &str| {
            archs.iter().map(|(arch, count)| (format!("{kind}_{arch}"), *count)).collect()
        };
        Self {
            cubins: named(&found.cubins, "sm"),
            ptx: named(&found.ptx, "compute"),
            other: found.other,
            compressed: found.compressed,
            damage: found.damage.map(|damage| format!("{} at byte {}", damage.what, damage.at)),
        }
    }
}

impl InspectFile {
    /// What is known of a file.
    #[must_use]
    pub fn new(seen: &Inspection) -> Self {
        let facts = seen.object.as_ref().map(|object| object.facts.clone()).unwrap_or_default();
        let own = |name: &Option<std::ffi::OsString>| name.as_ref().map(|name| name.display().to_string());
        let (flags, damage) = match &seen.flags {
            Some(Ok(flags)) => (Some(flags), None),
            Some(Err(error)) => (None, Some(error.to_string())),
            None => (None, None),
        };
        let library = seen.entry.as_ref().map(|entry| &entry.library);
        let stat = library.map(|library| library.stat).or_else(|| seen.object.as_ref().map(|object| object.stat));
        let reach = match &seen.entry {
            Some(entry) => entry.reach.iter().map(way).collect(),
            None => seen.found_by.iter().map(ToString::to_string).collect(),
        };
        Self {
            path: seen.path.as_path().into(),
            links: seen
                .links
                .iter()
                .map(|(path, target)| LinkLine { path: path.as_path().into(), target: target.as_path().into() })
                .collect(),
            real_path: seen.real.as_path().into(),
            names: seen.names.iter().map(|path| path.as_path().into()).collect(),
            soname: own(&facts.soname),
            soname_is_a_name: seen.soname_is_a_name(),
            family: seen.family.map(str::to_owned),
            look_alike: seen.look_alike.clone(),
            renamed: seen.renamed.clone(),
            ident: seen.object.as_ref().and_then(|object| Some(object.elf().ok()?.ident().to_string())),
            size: stat.map_or(0, |stat| stat.size),
            sha256: seen.digest.as_ref().map(|digest| digest.sha256.clone()),
            build_id: facts.build_id.clone(),
            version: seen.found.version.as_ref().map(ToString::to_string),
            confidence: word(&seen.found.confidence),
            cuda: seen.found.cuda.map(cuda_text),
            evidence: seen.found.evidence.iter().map(EvidenceLine::new).collect(),
            disagreement: seen.found.disagreement().map(|(one, other)| (one.says.clone(), other.says.clone())),
            owner: library.map(|library| OwnerLine::new(library, seen.digest.as_ref())),
            place: library.map(|library| word(&library.place.provenance)),
            reach,
            stub: seen.stub,
            unusable: seen.unusable.clone(),
            needed: facts.needed.iter().map(|name| name.display().to_string()).collect(),
            rpath: own(&facts.rpath),
            runpath: own(&facts.runpath),
            interpreter: own(&facts.interpreter),
            nodes: flags.map(|flags| flags.defines.clone()).unwrap_or_default(),
            needs: flags
                .iter()
                .flat_map(|flags| &flags.needs)
                .map(|(file, nodes)| NeedLine { file: file.clone(), nodes: nodes.clone() })
                .collect(),
            symbols: flags.map(|Flags { symbols, .. }| Symbols {
                defined: symbols.defined,
                undefined: symbols.undefined,
                weak: symbols.weak,
            }),
            loading: flags.map(|flags| Loading {
                executable_stack: flags.executable_stack,
                static_tls: flags.static_tls,
                tls_size: flags.tls.map(|tls| tls.size),
                relr: flags.relr,
                text_relocations: flags.text_relocations,
                nodeflib: facts.nodeflib,
                glibc_floor: flags.glibc_floor.map(|glibc| glibc.to_string()),
            }),
            damage,
            static_runtime: flags.and_then(|flags| flags.static_runtime).map(str::to_owned),
            forward_compatibility: flags.and_then(|flags| flags.forward_compatibility.as_ref()).map(|note| {
                Compatibility {
                    cuda: note.cuda.clone(),
                    drivers: note.drivers.clone(),
                    runs_here: seen.compatible_here,
                }
            }),
            gpu_code: seen.gpu.as_ref().map(GpuCode::new),
            problems: problem_lines(&seen.problems),
            owner_text: library.map(|library| owner_text(&library.owner)).unwrap_or_default(),
            scanned: seen.entry.is_some(),
        }
    }

    fn record_text(&self, owner: &OwnerLine) -> String {
        match (owner.record.as_str(), &owner.written_by) {
            ("intact", _) => "its bytes are the recorded ones".to_owned(),
            ("altered", _) => "its bytes are NOT the recorded ones".to_owned(),
            ("written_by_other", Some(other)) => format!("its bytes are those that {other} recorded"),
            ("size_as_recorded", _) if self.sha256.is_none() => {
                "of the recorded size; `--hash` compares digests".to_owned()
            }
            ("size_as_recorded", _) => "of the recorded size; no digest is recorded".to_owned(),
            ("size_differs", _) => "NOT of the recorded size".to_owned(),
            _ => String::new(),
        }
    }
}

/// A file as text: what it is, its release, its names, how it is reached, how it loads, its GPU code, its problems.
#[must_use]
pub fn inspect_text(file: &InspectFile, width: Width) -> String {
    let mut page = Page::new(width);
    page.path("", &file.path.to_path());
    let family = file.family.as_deref().map_or(String::new(), |family| format!("{family}, "));
    let ident = file.ident.as_deref().unwrap_or("not an ELF object that can be loaded here");
    page.field("is", &format!("{family}{ident}, {} bytes", file.size));
    page.field("look-alike", file.look_alike.as_deref().unwrap_or_default());
    if file.stub {
        page.field("stub", "link-time stub: it is in a directory of stubs");
    }
    page.field("unusable", file.unusable.as_deref().filter(|_| !file.stub).unwrap_or_default());
    page.field("build ID", file.build_id.as_deref().unwrap_or_default());
    page.field("SHA-256", file.sha256.as_deref().unwrap_or_default());
    release(&mut page, file);
    if let Some(owner) = &file.owner {
        let kind = match owner.kind.as_str() {
            "none" | "driver" | "rpm" | "toolkit" => String::new(),
            kind => format!(" ({kind})"),
        };
        let record = file.record_text(owner);
        let record = if record.is_empty() { record } else { format!(": {record}") };
        page.field("owner", &format!("{}{kind}{record}", file.owner_text));
    }
    names(&mut page, file);
    reached(&mut page, file);
    loading(&mut page, file);
    gpu(&mut page, file);
    for problem in &file.problems {
        page.blank();
        page.field("problem", &format!("{}: {}", problem.id, problem.says));
        page.field("what to do", finding_row(&problem.id).and_then(|row| row.advice).unwrap_or_default());
    }
    page.finish()
}

fn release(page: &mut Page, file: &InspectFile) {
    if file.family.is_none() {
        return;
    }
    let cuda = file.cuda.as_deref().map_or(String::new(), |cuda| format!(", built for CUDA {cuda}"));
    let version = match &file.version {
        Some(version) => format!("{version} ({}){cuda}", file.confidence),
        None if file.cuda.is_some() => format!("unknown{cuda} ({})", file.confidence),
        None => "unknown".to_owned(),
    };
    page.field("release", &version);
    for (at, evidence) in file.evidence.iter().enumerate() {
        let kind = evidence.kind.replace('_', " ");
        page.field(if at == 0 { "by" } else { "" }, &format!("{kind}: {}", evidence.says));
    }
    if let Some((one, other)) = &file.disagreement {
        page.field("disagree", &format!("{one}, and {other}"));
    }
}

fn names(page: &mut Page, file: &InspectFile) {
    page.blank();
    match (&file.soname, file.soname_is_a_name) {
        (Some(soname), Some(true)) => page.field("soname", &format!("{soname}, which is one of its names")),
        (Some(soname), _) => {
            page.field(
                "soname",
                &format!("{soname}, which is not among its names: a search for it does not find this file"),
            );
        }
        _ => page.field("soname", "none"),
    }
    if let Some(hash) = &file.renamed {
        page.field(
            "vendored",
            &format!("the wheel's build put the hash {hash} into its name; no other program finds it"),
        );
    }
    for link in &file.links {
        page.path(&format!("  {:13} ", "link to"), &link.target.to_path());
    }
    if file.real_path != file.path {
        page.path(&format!("  {:13} ", "real path"), &file.real_path.to_path());
    }
    let shown = |name: &&JsonPath| **name != file.real_path && file.links.iter().all(|link| link.path != **name);
    for name in file.names.iter().filter(shown) {
        page.path(&format!("  {:13} ", "also"), &name.to_path());
    }
}

fn reached(page: &mut Page, file: &InspectFile) {
    match (file.reach.is_empty(), file.scanned) {
        (true, true) => page.field("found by", "not in any search path; reachable only by full path"),
        // Run paths of other objects were not read.
        (true, false) => page.field("found by", "neither LD_LIBRARY_PATH nor the cache"),
        _ => {}
    }
    for (at, way) in file.reach.iter().take(SHOWN).enumerate() {
        page.field(if at == 0 { "found by" } else { "" }, way);
    }
    if file.reach.len() > SHOWN {
        page.field("", &format!("and {} more ways", file.reach.len() - SHOWN));
    }
}

fn loading(page: &mut Page, file: &InspectFile) {
    if file.ident.is_none() {
        return;
    }
    page.blank();
    page.field("interpreter", file.interpreter.as_deref().unwrap_or_default());
    page.field("needed", &file.needed.join(" "));
    page.field("rpath", &file.rpath.as_deref().unwrap_or_default().replace(':', " "));
    page.field("runpath", &file.runpath.as_deref().unwrap_or_default().replace(':', " "));
    page.field("defines", &file.nodes.join(" "));
    for (at, need) in file.needs.iter().enumerate() {
        page.field(if at == 0 { "needs" } else { "" }, &format!("{}: {}", need.file, need.nodes.join(" ")));
    }
    if let Some(symbols) = &file.symbols {
        let text = format!(
            "{} defined, {} undefined, {} of them weak",
            symbols.defined,
            symbols.undefined + symbols.weak,
            symbols.weak
        );
        page.field("symbols", &text);
    }
    page.field("damaged", file.damage.as_deref().unwrap_or_default());
    if let Some(loading) = &file.loading {
        let tls = loading.tls_size.filter(|_| loading.static_tls);
        let flags = [
            loading
                .executable_stack
                .then(|| "requires an executable stack, which `dlopen` refuses from glibc 2.41 on".to_owned()),
            tls.map(|size| format!("{size} bytes of static TLS, which may be exhausted at a late `dlopen`")),
            (loading.static_tls && loading.tls_size.is_none()).then(|| "uses static TLS of other objects".to_owned()),
            loading.relr.then(|| "packed relocations (DT_RELR): glibc 2.36 or newer".to_owned()),
            loading.text_relocations.then(|| "relocations in its code".to_owned()),
            loading.nodeflib.then(|| "default directories are not searched for what it needs".to_owned()),
            loading.glibc_floor.as_ref().map(|glibc| format!("glibc {glibc} or newer")),
        ];
        for (at, flag) in flags.into_iter().flatten().enumerate() {
            page.field(if at == 0 { "to load" } else { "" }, &flag);
        }
    }
}

fn gpu(page: &mut Page, file: &InspectFile) {
    page.field(
        "static CUDA",
        &file.static_runtime.as_deref().map_or(String::new(), |why| format!("contains a CUDA runtime: {why}")),
    );
    if let Some(note) = &file.forward_compatibility {
        let drivers: Vec<String> = note.drivers.iter().map(u32::to_string).collect();
        let on = if drivers.is_empty() {
            "any older driver".to_owned()
        } else {
            format!("kernel drivers {}", drivers.join(", "))
        };
        let here = match note.runs_here {
            Some(true) => "; the one loaded here is among them",
            Some(false) => "; the one loaded here is NOT among them",
            None => "",
        };
        page.field("compat", &format!("brings CUDA {} to {on}{here}", note.cuda));
    }
    if let Some(code) = &file.gpu_code {
        let list = |archs: &BTreeMap<String, u64>| archs.keys().cloned().collect::<Vec<_>>().join(" ");
        page.field("GPU code", &list(&code.cubins));
        page.field(if code.cubins.is_empty() { "GPU code" } else { "" }, &list(&code.ptx));
        page.field("GPU damage", code.damage.as_deref().unwrap_or_default());
    }
}

/// Ways that a page shows.
const SHOWN: usize = 8;
