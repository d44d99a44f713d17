//! The link map ld.so would build: breadth first over `DT_NEEDED`, as `_dl_map_object_deps` does.

mod adopt;
mod ask;
mod deps;

pub use deps::FILTER_CIRCLE;

use super::error::LinkError;
use super::failure::Words;
use super::names::Names;
use super::program::ProgramKind;
use super::search::{Errno, Failure, Loader, Process, Requester, Rule, Search};
use crate::elf::{Role, mapping_fault};
use crate::host::Host;
use crate::loader::{Object, ObjectError, Objects};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An object of the link map.
#[derive(Debug, Clone)]
pub struct Mapped {
    /// Its names: those it was opened by, and its soname.
    pub names: Vec<OsString>,
    /// The path as ld.so would open it, with any `..`.
    pub path: PathBuf,
    /// The rule that found it.
    pub rule: Rule,
    /// The file.
    pub object: Arc<Object>,
    /// The object that loaded it; `None` for the program and for a `dlopen` without a caller.
    pub loader: Option<usize>,
    /// The objects that its needed entries and filters resolved to, in order; missing ones are left out.
    pub needed: Vec<usize>,
    /// `l_loader`: as `loader`, but `None` for a library that `dlopen` opened.
    pub(super) parent: Option<usize>,
    /// The stage that mapped it.
    pub(super) stage: usize,
    /// The resolved dependencies, each with whether it is a filter's; `None` before they are followed.
    led_to: Option<Vec<(usize, bool)>>,
}

/// A needed name that resolves to no object.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Missing {
    /// The name.
    pub name: OsString,
    /// The object that needs it.
    pub needed_by: PathBuf,
    /// The first file of that name, which cannot be used; `None` where no such file exists.
    pub unusable: Option<(PathBuf, ObjectError)>,
    /// ld.so's message.
    pub(super) words: Words,
    /// It is missing at start-up, not in a `dlopen`.
    pub(super) startup: bool,
}

/// An entry of `LD_PRELOAD` or `/etc/ld.so.preload` that ld.so ignores with a message on standard error.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Ignored {
    /// The entry.
    pub name: OsString,
    /// `LD_PRELOAD` or `/etc/ld.so.preload`.
    pub from: &'static str,
    pub(super) words: Words,
}

/// The flags of `dlopen(3)`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Flags {
    /// `RTLD_GLOBAL`: objects that are loaded later may bind to it.
    pub global: bool,
    /// `RTLD_DEEPBIND`: its own scope precedes the global one.
    pub deepbind: bool,
}

/// Start-up, or one `dlopen`: the objects that it maps are linked together.
#[derive(Debug, Clone)]
pub(super) struct Stage {
    /// The program, or the opened object; `None` where that failed.
    pub(super) root: Option<usize>,
    /// `l_searchlist`: the root, the preloaded objects, and all they need, breadth first.
    pub(super) search: Vec<usize>,
    /// How many were missing before.
    pub(super) missing: usize,
    /// Whether it is start-up.
    pub(super) startup: bool,
    pub(super) flags: Flags,
}

/// An entry of the list that `LD_TRACE_LOADED_OBJECTS` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listed {
    /// An object, by its index in [`LinkMap::objects`].
    Object(usize),
    /// A name that was not found, by its index in [`LinkMap::missing`].
    Missing(usize),
}

/// Objects in the order in which ld.so would map them, and the missing names.
#[derive(Debug, Clone)]
pub struct LinkMap<'l> {
    loader: &'l Loader,
    objects: Vec<Mapped>,
    missing: Vec<Missing>,
    ignored: Vec<Ignored>,
    /// `l_next`, the program first.
    list: Vec<Listed>,
    pub(super) names: Names,
    program: Option<usize>,
    /// The ld.so of the process, until an object needs it.
    interpreter: Option<PathBuf>,
    process: Process,
    /// Entries of `LD_PRELOAD` that are removed before the start.
    taken_out: Vec<OsString>,
    /// The file that an auditor returns for a needed name: `la_objsearch` of rtld-audit(7).
    handed: BTreeMap<OsString, PathBuf>,
    /// `LD_LIBRARY_PATH` is ignored.
    is_unsearched: bool,
    stages: Vec<Stage>,
}

impl<'l> LinkMap<'l> {
    /// An empty link map: a process whose program is not known.
    #[must_use]
    pub fn new(loader: &'l Loader) -> Self {
        Self {
            loader,
            objects: Vec::new(),
            missing: Vec::new(),
            ignored: Vec::new(),
            list: Vec::new(),
            names: Names::default(),
            program: None,
            interpreter: Some(loader.interpreter().to_owned()),
            process: Process { library_path: loader.library_path().to_vec(), ..Process::default() },
            taken_out: Vec::new(),
            handed: BTreeMap::new(),
            is_unsearched: false,
            stages: Vec::new(),
        }
    }

    /// Removes these entries from `LD_PRELOAD` before the start.
    #[must_use]
    pub fn without_preloads(mut self, entries: Vec<OsString>) -> Self {
        self.taken_out = entries;
        self
    }

    /// Adds an auditor that returns these files for these names, for every object.
    #[must_use]
    pub fn audited(mut self, handed: BTreeMap<OsString, PathBuf>) -> Self {
        self.handed = handed;
        self
    }

    /// Maps a program, the objects of `LD_PRELOAD` and `/etc/ld.so.preload`, and all they need, as at start-up.
    ///
    /// # Platform behaviour
    ///
    /// A program that glibc's ld.so does not start, static or of another libc, is mapped alone; see [`ProgramKind`].
    pub fn start(&mut self, program: &Path) -> Result<(), ObjectError> {
        // `$ORIGIN` of the program comes from /proc/self/exe, so its links are resolved.
        let path = self.loader.host().canonical(program).unwrap_or_else(|_| program.to_owned());
        let object = self.loader.objects().open(&path)?;
        let kind = ProgramKind::of_object(&object);
        let secure = self.loader.host().changes_rights(&object.stat);
        let interpreter = object.facts.interpreter.as_deref().map(PathBuf::from);
        self.begin(path, object, interpreter, secure);
        if matches!(kind, ProgramKind::Dynamic { .. } | ProgramKind::Library) {
            self.map_startup();
        } else {
            self.stages.push(Stage::of(self.program, true));
        }
        Ok(())
    }

    /// Maps as `ld.so FILE`, where any object takes the program's place: the link map that `ldd` shows.
    pub fn list(&mut self, file: &Path) -> Result<(), ObjectError> {
        let object = self.loader.load(file)?;
        if let Some(fault) = mapping_fault(object.bytes(), object.elf().ok().as_ref(), Role::Program) {
            return Err(ObjectError::Refused(fault));
        }
        let interpreter = object.facts.interpreter.as_deref().map(PathBuf::from);
        self.begin(file.to_owned(), object, interpreter, false);
        self.map_startup();
        Ok(())
    }

    fn begin(&mut self, path: PathBuf, object: Arc<Object>, interpreter: Option<PathBuf>, secure: bool) {
        self.process = self.loader.process(Some(&self.loader.origin(&path)), secure);
        if self.is_unsearched {
            self.process.library_path.clear();
        }
        self.interpreter = Some(interpreter.unwrap_or_else(|| self.loader.interpreter().to_owned()));
        self.program = Some(self.add(path, object, Rule::Path, None, None));
    }

    fn map_startup(&mut self) {
        let Some(program) = self.program else { return };
        let mut roots = vec![program];
        let preloads = [("LD_PRELOAD", self.loader.preload()), ("/etc/ld.so.preload", self.loader.preload_file())];
        for (from, entries) in preloads {
            for name in entries {
                // `dso_name_valid_for_suid`.
                let unsafe_name = name.len() >= NAME_LIMIT || name.as_bytes().contains(&b'/');
                if from == "LD_PRELOAD" && self.taken_out.contains(name) {
                    continue;
                }
                if self.process.secure && from == "LD_PRELOAD" && unsafe_name {
                    continue;
                }
                match self.find(name, Some(program), Some(Rule::Preload), Role::Library) {
                    Ok(index) => roots.push(index),
                    // An entry that cannot be opened is ignored with a message (`do_preload`).
                    Err(failure) => {
                        let words = Words::of(&failure, name);
                        self.ignored.push(Ignored { name: name.clone(), from, words });
                    }
                }
            }
        }
        self.stage(&roots, true, Flags::default());
        self.place_interpreter();
    }

    /// Maps as `dlopen(name)` called from object `caller`; returns the index of the object.
    pub fn open(&mut self, name: &OsStr, caller: Option<usize>) -> Option<usize> {
        self.open_with(name, caller, Flags::default())
    }

    /// [`open`](Self::open) with flags.
    pub fn open_with(&mut self, name: &OsStr, caller: Option<usize>, flags: Flags) -> Option<usize> {
        let before = self.objects.len();
        match self.find(name, caller, None, Role::Opened) {
            Ok(index) => {
                // "In case the LOADER information has only been provided to get to the appropriate RUNPATH/RPATH".
                if let Some(mapped) = self.objects.get_mut(before) {
                    mapped.parent = None;
                }
                self.stage(&[index], false, flags);
                Some(index)
            }
            Err(failure) => {
                let needed_by = caller.and_then(|caller| self.objects.get(caller)).map(|mapped| mapped.path.clone());
                let missing = self.missing.len();
                self.miss(name, needed_by.unwrap_or_default(), &failure);
                self.stages.push(Stage { missing, flags, ..Stage::of(None, false) });
                None
            }
        }
    }

    /// The objects, in the order they would be mapped.
    #[must_use]
    pub fn objects(&self) -> &[Mapped] {
        &self.objects
    }

    /// The needed names that were not found.
    #[must_use]
    pub fn missing(&self) -> &[Missing] {
        &self.missing
    }

    /// The entries of `LD_PRELOAD` and `/etc/ld.so.preload` that ld.so would ignore.
    #[must_use]
    pub fn ignored(&self) -> &[Ignored] {
        &self.ignored
    }

    /// Objects and missing names in the order of ld.so's own list. Filters of the program precede it there, and
    /// `LD_TRACE_LOADED_OBJECTS` does not print them.
    #[must_use]
    pub fn listing(&self) -> &[Listed] {
        &self.list
    }

    /// The object with the name `name`.
    #[must_use]
    pub fn by_name(&self, name: &OsStr) -> Option<&Mapped> {
        self.names.of(name).and_then(|index| self.objects.get(index))
    }

    /// Whether the process has another user's rights (`AT_SECURE`), so that `LD_LIBRARY_PATH` does not count.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.process.secure
    }

    fn is_starting(&self) -> bool {
        self.stages.is_empty() && self.program.is_some()
    }

    pub(super) fn stages(&self) -> &[Stage] {
        &self.stages
    }

    pub(super) fn program(&self) -> Option<usize> {
        self.program
    }

    /// The machine.
    #[must_use]
    pub fn host(&self) -> &'l Host {
        self.loader.host()
    }

    /// The files of the machine.
    #[must_use]
    pub fn files(&self) -> &'l Objects {
        self.loader.objects()
    }

    /// The C library of a process whose program is not known, needed or not.
    pub(super) fn libc(&self) -> Option<Arc<Object>> {
        let mapped = self.by_name(OsStr::new(LIBC)).map(|mapped| Arc::clone(&mapped.object));
        let search = Search { chain: &[], program: None, process: &self.process, preload: false };
        mapped.or_else(|| Some(self.loader.search(OsStr::new(LIBC), &search).ok()?.1))
    }

    pub(crate) fn loader(&self) -> &'l Loader {
        self.loader
    }

    /// Unmaps the last stage, as a failed `dlopen`.
    pub(super) fn undo_stage(&mut self, objects: usize) {
        if let Some(stage) = self.stages.pop() {
            self.missing.truncate(stage.missing);
        }
        self.objects.truncate(objects);
        self.names.truncate(objects);
        let (objects, missing) = (self.objects.len(), self.missing.len());
        self.list.retain(|listed| match listed {
            Listed::Object(index) => *index < objects,
            Listed::Missing(index) => *index < missing,
        });
    }

    fn stage(&mut self, roots: &[usize], startup: bool, flags: Flags) {
        let missing = self.missing.len();
        let search = self.map_needed(roots);
        self.stages.push(Stage { search, missing, flags, ..Stage::of(roots.first().copied(), startup) });
    }

    /// `expand_dst`: tokens in a needed entry.
    fn expand(&self, name: &OsStr, index: usize) -> Result<Option<OsString>, Failure> {
        if !name.as_bytes().contains(&b'$') {
            return Ok(Some(name.to_owned()));
        }
        let expanded = self.requester(index).and_then(|requester| self.loader.expand(name, &requester));
        if self.process.secure && expanded.as_deref() != Some(name) { Err(Failure::Token) } else { Ok(expanded) }
    }

    fn miss(&mut self, name: &OsStr, needed_by: PathBuf, failure: &Failure) {
        let unusable = failure.unusable(self.loader.objects());
        self.list.push(Listed::Missing(self.missing.len()));
        let words = Words::of(failure, name);
        let startup = self.is_starting();
        self.missing.push(Missing { name: name.to_owned(), needed_by, unusable, words, startup });
    }

    /// `_dl_map_object`: the mapped object of that name or soname, else a path, else a search.
    fn find(
        &mut self,
        name: &OsStr,
        caller: Option<usize>,
        found_by: Option<Rule>,
        role: Role,
    ) -> Result<usize, Failure> {
        // It is the second in the list, after the program.
        if let Some(index) = self.take_interpreter(name, caller) {
            return Ok(index);
        }
        if let Some(index) = self.names.of(name) {
            self.names.resolved(name, index);
            return Ok(index);
        }
        let preload = found_by == Some(Rule::Preload);
        let (path, object, way) = if name.as_bytes().contains(&b'/') {
            let requester = caller.and_then(|caller| self.requester(caller));
            let (path, object) = self.loader.open_path(name, requester.as_ref(), self.process.secure)?;
            (path, object, Rule::Path)
        } else {
            // The program loaded it, by its own search.
            let from = caller.filter(|_| self.program.is_some() || name != LIBC);
            let chain: Vec<Requester<'_>> = self.chain(from).collect();
            let program = self.program.and_then(|program| self.requester(program));
            self.loader.search(name, &Search { chain: &chain, program, process: &self.process, preload })?
        };
        // ld.so does not know the program's own file, and would map it again.
        if let Some(index) = self.names.of_file(object.stat.id) {
            self.names.add(name, index);
            if let Some(mapped) = self.objects.get_mut(index) {
                mapped.names.push(name.to_owned());
            }
            return Ok(index);
        }
        if let Some(fault) = mapping_fault(object.bytes(), object.elf().ok().as_ref(), role) {
            return Err(Failure::Mapping(path, fault));
        }
        Ok(self.add(path, object, found_by.unwrap_or(way), caller, Some(name)))
    }

    /// ld.so itself is in the list from the start, under its path and its soname.
    fn take_interpreter(&mut self, name: &OsStr, caller: Option<usize>) -> Option<usize> {
        let path = self.interpreter.as_ref()?;
        // Its soname is its file name, in every distribution's directory.
        if path.as_os_str() != name && path.file_name() != Some(name) {
            return None;
        }
        let path = path.clone();
        let object = self.loader.load(&path).ok()?;
        self.interpreter = None;
        Some(self.add(path, object, Rule::Interpreter, caller, Some(name)))
    }

    /// At the end of start-up ld.so removes itself from the list, or moves to the place where it was first needed.
    fn place_interpreter(&mut self) {
        self.interpreter = None;
        let Some(stage) = self.stages.last() else { return };
        let at = stage.search.iter().position(|index| self.objects.get(*index).is_some_and(Mapped::is_interpreter));
        let Some((at, before)) = at.and_then(|at| Some((at, *stage.search.get(at.checked_sub(1)?)?))) else { return };
        if let Some(&moved) = stage.search.get(at) {
            self.list.retain(|listed| *listed != Listed::Object(moved));
            let place = self.list.iter().position(|listed| *listed == Listed::Object(before));
            self.list.insert(place.map_or(self.list.len(), |place| place + 1), Listed::Object(moved));
        }
    }

    fn add(
        &mut self,
        path: PathBuf,
        object: Arc<Object>,
        rule: Rule,
        loader: Option<usize>,
        name: Option<&OsStr>,
    ) -> usize {
        let index = self.objects.len();
        let soname = object.facts.soname.clone();
        let mut names: Vec<OsString> = name.map(OsStr::to_owned).into_iter().collect();
        names.extend(soname.clone().filter(|soname| Some(soname.as_os_str()) != name));
        let is_program = name.is_none();
        let file = (!is_program && rule != Rule::Interpreter).then_some(object.stat.id);
        self.names.insert(index, name, (!is_program).then_some(path.as_path()), soname.as_deref(), file);
        self.list.push(Listed::Object(index));
        self.objects.push(Mapped {
            names,
            path,
            rule,
            object,
            loader,
            needed: Vec::new(),
            parent: loader,
            stage: self.stages.len(),
            led_to: None,
        });
        index
    }

    fn requester(&self, index: usize) -> Option<Requester<'_>> {
        let is_program = self.program == Some(index);
        self.objects.get(index).map(|mapped| Requester { path: &mapped.path, object: &mapped.object, is_program })
    }

    fn chain(&self, from: Option<usize>) -> impl Iterator<Item = Requester<'_>> + '_ {
        let indices = std::iter::successors(from, |index| self.objects.get(*index).and_then(|mapped| mapped.parent));
        indices.take(self.objects.len()).filter_map(|index| self.requester(index))
    }
}

impl Missing {
    /// The text of dlerror(3).
    #[must_use]
    pub fn error(&self) -> LinkError {
        self.ends(None)
    }

    /// The error with which ld.so ends a program or a `dlopen`.
    pub(super) fn ends(&self, program: Option<PathBuf>) -> LinkError {
        LinkError { program, fault: self.words.fault(self.startup) }
    }
}

impl Mapped {
    /// Whether it is the ld.so of the process.
    #[must_use]
    pub fn is_interpreter(&self) -> bool {
        self.rule == Rule::Interpreter
    }
}

impl Stage {
    fn of(root: Option<usize>, startup: bool) -> Self {
        Self { root, search: root.into_iter().collect(), missing: 0, startup, flags: Flags::default() }
    }
}

/// The library that every process with `dlopen` has mapped.
const LIBC: &str = "libc.so.6";
/// `SECURE_NAME_LIMIT`.
const NAME_LIMIT: usize = 255;

impl Failure {
    /// The file that ended the search, and its fault.
    fn unusable(&self, objects: &Objects) -> Option<(PathBuf, ObjectError)> {
        match self {
            Self::NotFound(Errno::NOENT) | Self::OtherClass | Self::Token => None,
            Self::NotFound(_) => None,
            Self::Mapping(path, fault) => Some((path.clone(), ObjectError::Refused(fault))),
            Self::Unusable(path, error) => Some((path.clone(), error.as_object_error(path, objects))),
        }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ends(None).fmt(f)
    }
}

/// ld.so's message for an entry that cannot be preloaded.
impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, from, words } = self;
        write!(f, "ERROR: ld.so: object '{}' from {from} cannot be preloaded (", name.display())?;
        f.write_str(words.reason())?;
        f.write_str("): ignored.")
    }
}
