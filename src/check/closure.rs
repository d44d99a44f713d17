//! The link map a subject would get: what is there from the start, what loading it brings, what it opens later by name.
//!
//! Takes a [`Subject`] and a loader; gives its [`Judgement`]. Given a plan, its libraries come first, as the shim would
//! hand them out: that shows whether the plan heals.

use super::copies::{Copies, stem_of};
use super::judge::{Facts, judge};
use super::names::cuda_major;
use super::torch::ImportOrder;
use super::{Depth, Judgement, NotFound};
use crate::consumer::{TorchBuild, library_files};
use crate::facts::{Version, dlopens_of, parse_library_name};
use crate::loader::{Fault, Flags, LinkMap, Loader, Missing, ProgramKind, Rule};
use crate::objects::{Object, ObjectError, Objects};
use crate::plan::{How, Plan, PlanLibrary};
use crate::python::{Distribution, Interpreter, distributions};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// What is to be loaded.
#[derive(Debug, Clone)]
pub struct Subject {
    pub(super) of: String,
    pub(super) at: Option<PathBuf>,
    /// The program that loads it; [`What::Program`]: that is judged.
    pub(super) program: Option<PathBuf>,
    pub(super) what: What,
    pub(super) cuda: Option<u64>,
    pub(super) sites: Vec<PathBuf>,
}

/// The ways of loading.
#[derive(Debug, Clone)]
pub(super) enum What {
    /// A program as it starts; then libraries it opens.
    Program(Vec<PathBuf>),
    /// Libraries, opened by path one after the other.
    Libraries(Vec<PathBuf>),
    /// `import torch`.
    Torch(Box<TorchBuild>),
    /// Each extension module of an environment that needs a library of ours.
    Environment(Vec<PathBuf>),
    /// Names that are opened; which must be there.
    Names(Vec<(OsString, bool)>),
    /// `import torch`, then extension modules of others.
    Extensions(Box<TorchBuild>, Vec<PathBuf>),
    /// A library, then names that it opens itself.
    Opener(PathBuf, Vec<(OsString, bool)>),
}

/// Why something cannot be judged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubjectError {
    /// It cannot be read as an ELF object of this machine.
    #[error("`{}` cannot be checked: {says}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        says: String,
    },
    /// Another loader's rules hold for it.
    #[error("`{}` is started by `{}`, whose rules are not those of glibc's ld.so", path.display(), interpreter.display())]
    OtherLoader {
        /// The program.
        path: PathBuf,
        /// Its `PT_INTERP`.
        interpreter: PathBuf,
    },
    /// Two programs do not share a process.
    #[error("`{}` and `{}` are both programs: check one at a time", .0.display(), .1.display())]
    TwoPrograms(PathBuf, PathBuf),
}

impl Subject {
    /// What `import torch` maps.
    #[must_use]
    pub fn torch(torch: TorchBuild, interpreter: &Interpreter) -> Self {
        Self {
            of: format!("torch {}", torch.version),
            at: Some(torch.dir.clone()),
            program: Some(interpreter.program.clone()),
            cuda: torch.cuda_release().map(|(major, _)| major.into()),
            sites: torch.sites.clone(),
            what: What::Torch(Box::new(torch)),
        }
    }

    /// Every extension module of an environment that leads to a library of NVIDIA's.
    #[must_use]
    pub fn environment(objects: &Objects<'_>, interpreter: &Interpreter) -> Self {
        let host = objects.host();
        let installed: Vec<Distribution> =
            interpreter.paths.iter().flat_map(|site| distributions(host, site)).collect();
        Self {
            of: "the environment".to_owned(),
            at: Some(interpreter.prefix.clone()),
            program: Some(interpreter.program.clone()),
            what: What::Environment(roots(objects, library_files(host, &interpreter.paths))),
            cuda: cuda_major(&installed),
            sites: interpreter.paths.clone(),
        }
    }

    /// A program with what it opens, or libraries that `program` opens. Paths are absolute.
    ///
    /// # Errors
    ///
    /// [`SubjectError`], where a file is none that this machine's ld.so loads.
    pub fn files(
        loader: &Loader<'_>,
        files: &[PathBuf],
        interpreter: Option<&Interpreter>,
    ) -> Result<Self, SubjectError> {
        let (mut own, mut libraries) = (None, Vec::new());
        for path in files {
            match role_of(loader, path)? {
                Role::Library => libraries.push(path.clone()),
                Role::Program if own.is_none() => own = Some(path.clone()),
                Role::Program => return Err(SubjectError::TwoPrograms(own.unwrap_or_default(), path.clone())),
            }
        }
        let names: Vec<String> = files.iter().map(|path| format!("`{}`", path.display())).collect();
        let program = own.clone().or_else(|| interpreter.map(|interpreter| interpreter.program.clone()));
        Ok(Self {
            of: names.join(", "),
            at: files.first().cloned(),
            what: if own.is_some() { What::Program(libraries) } else { What::Libraries(libraries) },
            program,
            cuda: None,
            sites: interpreter.map(|interpreter| interpreter.paths.clone()).unwrap_or_default(),
        })
    }

    /// Names that somebody opens, each with whether it must be there.
    #[must_use]
    pub fn names(of: String, names: Vec<(OsString, bool)>, interpreter: Option<&Interpreter>) -> Self {
        Self {
            of,
            at: None,
            program: interpreter.map(|interpreter| interpreter.program.clone()),
            what: What::Names(names),
            cuda: None,
            sites: interpreter.map(|interpreter| interpreter.paths.clone()).unwrap_or_default(),
        }
    }

    /// The program that loads it.
    #[must_use]
    pub fn program(&self) -> Option<&Path> {
        self.program.as_deref()
    }

    /// Whether the program itself is judged.
    #[must_use]
    pub fn is_program(&self) -> bool {
        matches!(self.what, What::Program(_))
    }

    /// Whether nothing of NVIDIA's is asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(&self.what, What::Environment(files) | What::Extensions(_, files) if files.is_empty())
    }
}

/// The files that nobody beside them needs, and that lead to a library of NVIDIA's: what is imported. The others come with
/// them, through run paths of theirs.
fn roots(objects: &Objects<'_>, files: Vec<PathBuf>) -> Vec<PathBuf> {
    let opened: Vec<(PathBuf, Rc<Object>)> =
        files.into_iter().filter_map(|path| Some((path.clone(), objects.open(&path).ok()?))).collect();
    let mut by_name: BTreeMap<&OsStr, usize> = BTreeMap::new();
    for (index, (path, object)) in opened.iter().enumerate() {
        by_name.entry(object.name()).or_insert(index);
        by_name.entry(path.file_name().unwrap_or_default()).or_insert(index);
    }
    let mut needed_by: Vec<Vec<usize>> = vec![Vec::new(); opened.len()];
    let mut queue = Vec::new();
    for (index, (path, object)) in opened.iter().enumerate() {
        for name in &object.facts.needed {
            if let Some(users) = by_name.get(name.as_os_str()).and_then(|needed| needed_by.get_mut(*needed)) {
                users.push(index);
            }
        }
        let ours = |name: &OsStr| parse_library_name(name).is_some();
        if object.facts.needed.iter().any(|name| ours(name)) && !path.file_name().is_some_and(ours) {
            queue.push(index);
        }
    }
    let mut leads = BTreeSet::new();
    while let Some(index) = queue.pop() {
        if leads.insert(index) {
            queue.extend(needed_by.get(index).into_iter().flatten());
        }
    }
    // Of a circle nobody is on top: a library that is needed in one is opened by itself.
    let top = |index: &usize| needed_by.get(*index).is_none_or(|users| users.iter().all(|user| user == index));
    leads.iter().filter(|index| top(index)).filter_map(|index| Some(opened.get(*index)?.0.clone())).collect()
}

enum Role {
    Program,
    Library,
}

/// Whether a file is a program or a library; an error where ld.so has nothing to do with it.
fn role_of(loader: &Loader<'_>, path: &Path) -> Result<Role, SubjectError> {
    let refused = |says: String| Err(SubjectError::File { path: path.to_owned(), says });
    if let Err(error) = loader.objects().host().stat(path) {
        return refused(error.to_string());
    }
    match ProgramKind::of(loader, path) {
        // A static program is loaded by nobody, and that is an answer.
        ProgramKind::Dynamic { .. } | ProgramKind::Static => Ok(Role::Program),
        ProgramKind::Library => Ok(Role::Library),
        ProgramKind::Musl { interpreter } | ProgramKind::OtherLoader { interpreter } => {
            Err(SubjectError::OtherLoader { path: path.to_owned(), interpreter })
        }
        ProgramKind::Script { interpreter, .. } => refused(format!("it is a script for `{}`", interpreter.display())),
        ProgramKind::Directory => refused("it is a directory".to_owned()),
        ProgramKind::Empty => refused("it is empty".to_owned()),
        // A library that was cut short is one: ld.so has words for it.
        ProgramKind::Unreadable(ObjectError::Truncated) => Ok(Role::Library),
        ProgramKind::Unreadable(error) => refused(error.to_string()),
    }
}

/// The link map a subject would get, with what it opens later.
#[must_use]
pub fn closure<'l, 'h>(loader: &'l Loader<'h>, subject: &Subject) -> LinkMap<'l, 'h> {
    Prediction::new(loader, subject, Depth::Files, None).map
}

/// Predicts the link map of a subject and judges it. With a plan, as if that were handed out.
pub fn predict(loader: &Loader<'_>, subject: &Subject, depth: Depth, plan: Option<&Plan>) -> Judgement {
    let Prediction { map, startup, loaded, roots, copies, not_found, elective, rules } =
        Prediction::new(loader, subject, depth, plan);
    judge(
        &Facts {
            of: subject.of.clone(),
            at: subject.at.clone(),
            map: &map,
            startup,
            loaded,
            roots: &roots,
            copies: &copies,
            subject: Some(subject),
            rules,
            elective: &elective,
        },
        not_found,
        depth,
    )
}

/// A link map in the making.
struct Prediction<'l, 'h> {
    map: LinkMap<'l, 'h>,
    startup: usize,
    loaded: usize,
    roots: Vec<usize>,
    copies: Copies,
    not_found: Vec<NotFound>,
    elective: BTreeSet<usize>,
    rules: Vec<Rule>,
}

impl<'l, 'h> Prediction<'l, 'h> {
    fn new(loader: &'l Loader<'h>, subject: &Subject, depth: Depth, plan: Option<&Plan>) -> Self {
        let taken_out = plan.map(|plan| contradicting(loader, plan)).unwrap_or_default();
        let mut map = LinkMap::new(loader).without_preloads(taken_out.clone());
        if let Some(program) = &subject.program
            && let Err(error) = map.start(program)
        {
            log::info!("{}: {error}", program.display());
        }
        let is_program = matches!(subject.what, What::Program(_));
        if map.objects().is_empty() {
            // Of a library whose program is not known, what is preloaded comes first all the same.
            let preloads = loader.preload().iter().filter(|entry| !taken_out.contains(entry));
            for entry in loader.preload_file().iter().chain(preloads) {
                let _ = map.open(entry, None);
            }
        }
        let (startup, ignored) = (map.objects().len(), if subject.program.is_some() { 0 } else { map.missing().len() });
        let program = (subject.program.is_some() && startup > 0).then_some(0);
        let mut opening = Opening { plan, program, roots: Vec::new() };
        // What the consumer brings itself comes with what needs it, and may take symbols from that.
        let early = |plan: &Plan, library: &PlanLibrary| match library.how {
            How::Preload => true,
            How::Keep => !plan.is_its_own(library),
            How::Redirect => false,
        };
        for library in plan.iter().flat_map(|plan| plan.libraries.iter().filter(|library| early(plan, library))) {
            let _ = map.open(library.path.as_os_str(), program);
        }
        match &subject.what {
            What::Program(files) | What::Libraries(files) | What::Environment(files) => {
                for file in files {
                    opening.path(&mut map, file);
                }
            }
            What::Torch(torch) => opening.torch(&mut map, torch),
            What::Extensions(torch, files) => {
                opening.torch(&mut map, torch);
                for file in files {
                    opening.path(&mut map, file);
                }
            }
            What::Names(names) => opening.names(&mut map, names),
            What::Opener(file, names) => {
                opening.path(&mut map, file);
                opening.program = opening.roots.last().copied().or(program);
                opening.names(&mut map, names);
            }
        }
        let mut not_found: Vec<NotFound> =
            map.missing().iter().skip(ignored).map(|missing| not_found(missing, false)).collect();
        let at_load = map.objects().len();
        let mut copies = Copies::new(&subject.sites, depth);
        let (later, elective) = later(&mut map, &mut copies, Some(subject), &opening);
        for missing in &mut not_found {
            // A name of the command line is nobody's.
            let asked = |names: &[(OsString, bool)]| names.iter().any(|(name, _)| *name == missing.name);
            if matches!(&subject.what, What::Names(names) if asked(names)) {
                missing.needed_by = None;
            }
            missing.optional = optional(&copies, loader, subject, missing);
        }
        not_found.extend(later);
        let (startup, roots) = if is_program { (0, vec![0]) } else { (startup, opening.roots) };
        let rules = rules(&map, if subject.program.is_some() { 0 } else { startup }, loader);
        Self { map, startup, loaded: at_load, roots, copies, not_found, elective, rules }
    }
}

/// The entries of `LD_PRELOAD` that contradict a plan: `cudashim run` takes them out.
fn contradicting(loader: &Loader<'_>, plan: &Plan) -> Vec<OsString> {
    let replaced = |entry: &&OsString| {
        let named = entry.as_bytes().contains(&b'/').then(|| PathBuf::from(entry));
        let path = named.or_else(|| Some(loader.find(entry)?.0));
        let object = path.and_then(|path| loader.objects().open(&path).ok());
        object.is_some_and(|object| {
            let soname = object.facts.soname.as_deref().and_then(OsStr::to_str);
            soname.is_some_and(|soname| plan.instead_of(soname, object.stat.id).is_some())
        })
    };
    loader.preload().iter().filter(replaced).cloned().collect()
}

/// The rules of a map whose first objects were preloaded.
fn rules(map: &LinkMap<'_, '_>, preloaded: usize, loader: &Loader<'_>) -> Vec<Rule> {
    let named = |names: &[OsString]| loader.preload().iter().chain(loader.preload_file()).any(|it| names.contains(it));
    let rules = map
        .objects()
        .iter()
        .enumerate()
        .map(|(index, mapped)| if index < preloaded && named(&mapped.names) { Rule::Preload } else { mapped.rule });
    rules.collect()
}

/// Whether a subject can be loaded without a name that is not found.
fn optional(copies: &Copies, loader: &Loader<'_>, subject: &Subject, missing: &NotFound) -> bool {
    match &subject.what {
        // Packages of one environment are imported one by one: what is not installed is for those that do without. What is
        // there and not found is another matter, and so is a damaged file.
        What::Environment(_) => {
            missing.damaged.is_none() && copies.installed(loader.objects(), Path::new(&missing.name)).is_none()
        }
        What::Names(names) | What::Opener(_, names) => {
            names.iter().any(|(name, required)| *name == missing.name && !required)
        }
        _ => false,
    }
}

/// One attempt after the other to open things.
#[derive(Default)]
pub(super) struct Opening<'p> {
    plan: Option<&'p Plan>,
    /// The object whose code opens.
    program: Option<usize>,
    roots: Vec<usize>,
}

impl Opening<'_> {
    /// By path, or what the plan hands out instead.
    fn path(&mut self, map: &mut LinkMap<'_, '_>, path: &Path) {
        self.path_with(map, path, Flags::default());
    }

    fn path_with(&mut self, map: &mut LinkMap<'_, '_>, path: &Path, flags: Flags) {
        let instead = self.plan.and_then(|plan| plan.lookup(path.file_name()?.to_str()?));
        let instead = instead.map_or(path, |library| library.path.as_path());
        let caller = self.program;
        self.roots.extend(map.open_with(instead.as_os_str(), caller, flags));
    }

    fn names(&mut self, map: &mut LinkMap<'_, '_>, names: &[(OsString, bool)]) {
        let caller = self.program;
        for (name, _) in names {
            let instead = self.instead(name);
            self.roots.extend(map.open(instead.as_deref().unwrap_or(name), caller));
        }
    }

    fn instead(&self, name: &OsStr) -> Option<OsString> {
        Some(self.plan?.lookup(name.to_str()?)?.path.clone().into_os_string())
    }

    /// As `torch/__init__.py` does it.
    fn torch(&mut self, map: &mut LinkMap<'_, '_>, torch: &TorchBuild) {
        let host = map.host();
        let order = ImportOrder::read(host, torch);
        let global = torch.dir.join("lib/libtorch_global_deps.so");
        if host.is_file(&global) {
            let before = map.clone();
            let known = map.missing().len();
            // `ctypes.CDLL(…, mode=RTLD_GLOBAL)`
            let everywhere = Flags { global: true, ..Flags::default() };
            self.path_with(map, &global, everywhere);
            let first = map.missing().get(known);
            let wanted = |missing: &Missing| {
                let name = missing.name.to_string_lossy();
                order.fallback.iter().any(|opened| name.contains(opened.stem()))
            };
            if first.is_some_and(wanted) {
                // dlopen that fails leaves nothing behind; torch then opens what it has a name for, and tries again.
                *map = before;
                self.roots.clear();
                for path in order.fallback.iter().filter_map(|opened| opened.find(host, torch)) {
                    self.path(map, &path);
                }
                self.path_with(map, &global, everywhere);
            } else if first.is_none() && order.guard.as_deref().is_none_or(|guard| is_mapped(map, guard)) {
                for path in order.after.iter().filter_map(|opened| opened.find(host, torch)) {
                    self.path(map, &path);
                }
            }
        }
        let entries = host.list(&torch.dir).unwrap_or_default();
        let extension = |name: &OsStr| name.as_bytes().starts_with(b"_C.") && name.as_bytes().ends_with(b".so");
        for entry in entries.iter().filter(|entry| extension(&entry.name)) {
            self.path(map, &torch.dir.join(&entry.name));
        }
    }
}

/// Whether a text is in `/proc/self/maps`: the kernel shows paths without links and dots.
fn is_mapped(map: &LinkMap<'_, '_>, text: &str) -> bool {
    let real = |path: &Path| map.host().canonical(path).unwrap_or_else(|_| path.to_owned());
    map.objects().iter().any(|mapped| {
        let path = real(&mapped.path).into_os_string();
        path.as_bytes().windows(text.len().max(1)).any(|part| part == text.as_bytes())
    })
}

/// Opens what the mapped objects are known to open by name, and what those open, to the end. Gives the names that must be
/// there and are not, and which objects need not be.
pub(super) fn later(
    map: &mut LinkMap<'_, '_>,
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
fn strays(map: &LinkMap<'_, '_>, index: usize, names: &[(String, bool)], drivers: &mut BTreeMap<String, bool>) -> bool {
    let Some(mapped) = map.objects().get(index) else { return false };
    if names.iter().any(|(name, _)| map.by_name(OsStr::new(name)).is_some()) {
        return false;
    }
    let found = |name: &str| map.search_from(index, OsStr::new(name));
    names.iter().filter(|(_, required)| *required).any(|(name, _)| {
        if parse_library_name(name).is_some_and(|name| name.row.is_driver()) {
            // Everybody asks for it, and whoever does is told the same.
            return *drivers.entry(name.clone()).or_insert_with(|| found(name).is_some());
        }
        found(name).is_none_or(|path| path.parent() != mapped.path.parent())
    })
}

/// The names one object opens, those of one library together, the longest first, each with whether it must be there.
fn opened_by(
    map: &LinkMap<'_, '_>,
    index: usize,
    copies: &Copies,
    subject: Option<&Subject>,
) -> Vec<Vec<(String, bool)>> {
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
fn open_first(
    map: &mut LinkMap<'_, '_>,
    caller: usize,
    names: &[(String, bool)],
    opening: &Opening<'_>,
) -> Vec<NotFound> {
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
fn not_found(missing: &Missing, later: bool) -> NotFound {
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
