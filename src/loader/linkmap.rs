//! The link map ld.so would build: breadth first over `DT_NEEDED`, as `_dl_map_object_deps` does.

use super::search::{Failure, Loader, Requester, Rule};
use crate::host::{FileId, Host};
use crate::objects::{Object, ObjectError, Objects};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// An object of the link map.
#[derive(Debug, Clone)]
pub struct Mapped {
    /// The names it answers to: as asked for, and its soname.
    pub names: Vec<OsString>,
    /// The path as ld.so would open it, `..` and all.
    pub path: PathBuf,
    /// The rule that found it.
    pub rule: Rule,
    /// The file.
    pub object: Rc<Object>,
    /// Who caused it to be loaded; `None` for the program and for what was opened without a caller.
    pub loader: Option<usize>,
    /// The objects its needed entries led to, in order; missing ones are left out.
    pub needed: Vec<usize>,
    /// `l_loader`: as `loader`, but a library that was opened by `dlopen` has none.
    pub(super) parent: Option<usize>,
    /// The needed entries were followed.
    walked: bool,
}

/// A needed name that led to no object.
#[derive(Debug, Clone)]
pub struct Missing {
    /// The name.
    pub name: OsString,
    /// Who needs it.
    pub needed_by: PathBuf,
    /// The first file of that name, if it cannot be used; `None` where there is no such file.
    pub unusable: Option<(PathBuf, ObjectError)>,
}

/// Start-up, or one `dlopen`: what it maps is linked together.
#[derive(Debug, Clone)]
pub(super) struct Stage {
    /// The program, or the object that was opened; `None` where it could not be.
    pub(super) root: Option<usize>,
    /// `l_searchlist`: the root, what it preloads, and all they need, breadth first.
    pub(super) search: Vec<usize>,
    /// How many were missing before.
    pub(super) missing: usize,
    /// Whether it is start-up.
    pub(super) startup: bool,
}

/// Objects in the order ld.so would map them, and what it would miss.
#[derive(Debug, Clone)]
pub struct LinkMap<'l, 'h> {
    loader: &'l Loader<'h>,
    objects: Vec<Mapped>,
    missing: Vec<Missing>,
    by_name: BTreeMap<OsString, usize>,
    by_id: BTreeMap<FileId, usize>,
    program: Option<usize>,
    stages: Vec<Stage>,
}

impl<'l, 'h> LinkMap<'l, 'h> {
    /// Nothing mapped yet.
    #[must_use]
    pub fn new(loader: &'l Loader<'h>) -> Self {
        Self {
            loader,
            objects: Vec::new(),
            missing: Vec::new(),
            by_name: BTreeMap::new(),
            by_id: BTreeMap::new(),
            program: None,
            stages: Vec::new(),
        }
    }

    /// Maps a program, what `LD_PRELOAD` names, and all they need, as at start-up.
    pub fn start(&mut self, program: &Path) -> Result<(), ObjectError> {
        let (path, object) = self.loader.open_path(program.as_os_str(), None).map_err(|failure| match failure {
            Failure::Unusable(_, error) => error,
            Failure::NotFound => ObjectError::Open(Rc::new(std::io::Error::from(std::io::ErrorKind::NotFound))),
        })?;
        // `$ORIGIN` of the program comes from /proc/self/exe, so its links are resolved.
        let path = self.loader.host().canonical(&path).unwrap_or(path);
        let program = self.add(path, object, Rule::Path, None, None);
        self.program = Some(program);
        let mut roots = vec![program];
        for entry in self.loader.preload().to_vec() {
            // An entry that cannot be opened is ignored with a message (`do_preload`).
            if let Ok(index) = self.find(&entry, Some(program), Some(Rule::Preload)) {
                roots.push(index);
            }
        }
        self.stage(&roots, true);
        Ok(())
    }

    /// Maps what `dlopen(name)` called from object `caller` would map. The index of the object, if
    /// there is one.
    pub fn open(&mut self, name: &OsStr, caller: Option<usize>) -> Option<usize> {
        let known = self.objects.len();
        match self.find(name, caller, None) {
            Ok(index) => {
                // Its scope is its own, whoever asked for it.
                if let Some(opened) = self.objects.get_mut(index).filter(|_| index >= known) {
                    opened.parent = None;
                }
                self.stage(&[index], false);
                Some(index)
            }
            Err(failure) => {
                let needed_by = caller.and_then(|caller| self.objects.get(caller)).map(|mapped| mapped.path.clone());
                let missing = self.missing.len();
                self.miss(name, needed_by.unwrap_or_default(), failure);
                self.stages.push(Stage { root: None, search: Vec::new(), missing, startup: false });
                None
            }
        }
    }

    /// The objects, in the order they would be mapped.
    #[must_use]
    pub fn objects(&self) -> &[Mapped] {
        &self.objects
    }

    /// The needed names that led nowhere.
    #[must_use]
    pub fn missing(&self) -> &[Missing] {
        &self.missing
    }

    /// The object that answers to `name`.
    #[must_use]
    pub fn by_name(&self, name: &OsStr) -> Option<&Mapped> {
        self.by_name.get(name).and_then(|index| self.objects.get(*index))
    }

    pub(super) fn loader(&self) -> &'l Loader<'h> {
        self.loader
    }

    /// The machine.
    #[must_use]
    pub fn host(&self) -> &'h Host {
        self.loader.host()
    }

    /// The files of the machine.
    #[must_use]
    pub fn files(&self) -> &'h Objects<'h> {
        self.loader.objects()
    }

    /// The place of an object among [`LinkMap::objects`], by the file it is.
    #[must_use]
    pub fn by_file(&self, id: FileId) -> Option<usize> {
        self.by_id.get(&id).copied()
    }

    /// Takes objects as they are mapped in a process, the program first; what they need is looked for among them, and
    /// nothing is searched.
    pub fn adopt(&mut self, mapped: impl IntoIterator<Item = (PathBuf, Rc<Object>)>) {
        for (path, object) in mapped {
            let index = self.add(path, object, Rule::Mapped, None, None);
            self.program.get_or_insert(index);
        }
        for index in 0..self.objects.len() {
            let needed = self.objects.get(index).map(|mapped| mapped.object.facts.needed.clone()).unwrap_or_default();
            let found: Vec<usize> = needed.iter().filter_map(|name| self.by_name.get(name).copied()).collect();
            for needed in &found {
                // Who needs whom may run in a circle; who loaded whom may not.
                let above = self.chain_indices(Some(index)).any(|above| above == *needed);
                if let Some(needed) = self.objects.get_mut(*needed).filter(|_| !above && Some(*needed) != self.program) {
                    needed.loader.get_or_insert(index);
                }
            }
            if let Some(mapped) = self.objects.get_mut(index) {
                mapped.needed = found;
                mapped.walked = true;
            }
        }
    }

    pub(super) fn index_of(&self, name: &OsStr) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    pub(super) fn stages(&self) -> &[Stage] {
        &self.stages
    }

    pub(super) fn program(&self) -> Option<usize> {
        self.program
    }

    fn stage(&mut self, roots: &[usize], startup: bool) {
        let missing = self.missing.len();
        let search = self.map_needed(roots);
        self.stages.push(Stage { root: roots.first().copied(), search, missing, startup });
    }

    /// Follows the needed entries of `roots`; gives all they reach, breadth first.
    fn map_needed(&mut self, roots: &[usize]) -> Vec<usize> {
        let mut queue: Vec<usize> = Vec::new();
        let mut seen: Vec<bool> = Vec::new();
        let mut push = |queue: &mut Vec<usize>, index: usize| {
            if seen.len() <= index {
                seen.resize(index + 1, false);
            }
            if let Some(seen) = seen.get_mut(index)
                && !std::mem::replace(seen, true)
            {
                queue.push(index);
            }
        };
        for root in roots {
            push(&mut queue, *root);
        }
        let mut at = 0;
        while let Some(&index) = queue.get(at) {
            at += 1;
            self.walk(index);
            for needed in self.objects.get(index).map(|mapped| mapped.needed.as_slice()).unwrap_or_default() {
                push(&mut queue, *needed);
            }
        }
        queue
    }

    /// Maps what the object at `index` needs, if that was not done by an earlier `dlopen`.
    fn walk(&mut self, index: usize) {
        let Some(mapped) = self.objects.get_mut(index) else { return };
        if std::mem::replace(&mut mapped.walked, true) {
            return;
        }
        let (object, path) = (Rc::clone(&mapped.object), mapped.path.clone());
        let mut found = Vec::with_capacity(object.facts.needed.len());
        for name in &object.facts.needed {
            match self.find(name, Some(index), None) {
                Ok(needed) => found.push(needed),
                Err(failure) => self.miss(name, path.clone(), failure),
            }
        }
        if let Some(mapped) = self.objects.get_mut(index) {
            mapped.needed = found;
        }
    }

    fn miss(&mut self, name: &OsStr, needed_by: PathBuf, failure: Failure) {
        let unusable = match failure {
            Failure::NotFound => None,
            Failure::Unusable(path, error) => Some((path, error)),
        };
        self.missing.push(Missing { name: name.to_owned(), needed_by, unusable });
    }

    /// `_dl_map_object`: what is mapped under that name or soname, else a path, else a search.
    fn find(&mut self, name: &OsStr, caller: Option<usize>, rule: Option<Rule>) -> Result<usize, Failure> {
        if let Some(index) = self.by_name.get(name) {
            return Ok(*index);
        }
        let (path, object, found_by) = if name.as_bytes().contains(&b'/') {
            let requester = caller.and_then(|caller| self.requester(caller));
            let (path, object) = self.loader.open_path(name, requester.as_ref())?;
            (path, object, Rule::Path)
        } else {
            let chain: Vec<Requester<'_>> = self.chain(caller).collect();
            let program = self.program.filter(|program| !self.chain_indices(caller).any(|index| index == *program));
            self.loader.search(name, &chain, program.and_then(|program| self.requester(program)).as_ref())?
        };
        Ok(self.add(path, object, rule.unwrap_or(found_by), caller, Some(name)))
    }

    fn add(
        &mut self,
        path: PathBuf,
        object: Rc<Object>,
        rule: Rule,
        loader: Option<usize>,
        name: Option<&OsStr>,
    ) -> usize {
        if let Some(&index) = self.by_id.get(&object.stat.id) {
            // The same file under another name: ld.so adds the name to the object it has.
            if let (Some(name), Some(mapped)) = (name, self.objects.get_mut(index)) {
                mapped.names.push(name.to_owned());
                self.by_name.insert(name.to_owned(), index);
            }
            return index;
        }
        let index = self.objects.len();
        let mut names: Vec<OsString> = name.map(OsStr::to_owned).into_iter().collect();
        names.extend(object.facts.soname.clone().filter(|soname| Some(soname.as_os_str()) != name));
        for name in &names {
            // The first object of a name keeps it: ld.so walks the list from its head.
            self.by_name.entry(name.clone()).or_insert(index);
        }
        self.by_id.insert(object.stat.id, index);
        self.objects.push(Mapped {
            names,
            path,
            rule,
            object,
            loader,
            needed: Vec::new(),
            parent: loader,
            walked: false,
        });
        index
    }

    fn requester(&self, index: usize) -> Option<Requester<'_>> {
        self.objects.get(index).map(|mapped| Requester { path: &mapped.path, object: &mapped.object })
    }

    fn chain_indices(&self, from: Option<usize>) -> impl Iterator<Item = usize> + '_ {
        std::iter::successors(from, |index| self.objects.get(*index).and_then(|mapped| mapped.loader))
            .take(self.objects.len())
    }

    fn chain(&self, from: Option<usize>) -> impl Iterator<Item = Requester<'_>> + '_ {
        self.chain_indices(from).filter_map(|index| self.requester(index))
    }
}
