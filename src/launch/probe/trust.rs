//! The trust check before a child loads a library.
//!
//! Takes a library and the directories to search; gives the directories that the child may search, or the first file or
//! directory that another user may write to. Checks every object that the model of the loader maps for the library, and
//! every library of its directory, of the neighbours and of the run paths: some are opened by name later. Never loads
//! anything.

use crate::host::{Host, Untrusted, trusted, trusted_libraries};
use crate::loader::Objects;
use crate::loader::{LinkMap, Loader};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The directories checked so far. A trusted directory stays trusted: nobody else can change it.
#[derive(Debug, Default)]
pub(super) struct Checked(Mutex<BTreeMap<PathBuf, Result<(), Arc<Untrusted>>>>);

impl Checked {
    /// As [`trusted_libraries`]; of a default directory of ld.so, only the directory itself is checked.
    fn directory(&self, loader: &Loader, dir: &Path) -> Result<(), Arc<Untrusted>> {
        let known = |checked: &Self| checked.0.lock().unwrap_or_else(PoisonError::into_inner).get(dir).cloned();
        if let Some(known) = known(self) {
            return known;
        }
        let found = if loader.default_dirs().iter().any(|default| default == dir) {
            trusted(dir).map(drop)
        } else {
            trusted_libraries(dir)
        };
        let found = found.map_err(Arc::new);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(dir.to_owned(), found.clone());
        found
    }

    /// The neighbours that may be searched, if every object that would be mapped for `library` is trusted. `list` makes
    /// an `LD_LIBRARY_PATH` of directories.
    pub(super) fn library(
        &self,
        program: &Path,
        cwd: &Path,
        library: &Path,
        neighbours: &[PathBuf],
        list: impl Fn(&[PathBuf]) -> Option<OsString>,
    ) -> Result<Vec<PathBuf>, Arc<Untrusted>> {
        trusted(library)?;
        let bare = Host::new("/".into(), BTreeMap::new(), cwd.to_owned());
        let objects = Objects::new(&bare);
        let loader = Loader::new(&objects);
        let mut dirs: Vec<PathBuf> = library.parent().map(Path::to_owned).into_iter().collect();
        for own in &dirs {
            self.directory(&loader, own)?;
        }
        for dir in neighbours {
            match self.directory(&loader, dir) {
                Ok(()) => dirs.push(dir.clone()),
                Err(why) => log::info!("not searched for `{}`: {why}", library.display()),
            }
        }
        let variables = list(&dirs).map(|list| ("LD_LIBRARY_PATH".into(), list)).into_iter().collect();
        let host = Host::new("/".into(), variables, cwd.to_owned());
        let objects = Objects::new(&host);
        let loader = Loader::new(&objects);
        let mut map = LinkMap::new(&loader);
        // If the program cannot be read, the link map starts with the library.
        let caller = map.start(program).is_ok().then_some(0);
        map.open(library.as_os_str(), caller);
        // The program is part of cudashim.
        for mapped in map.objects().iter().skip(usize::from(caller.is_some())) {
            trusted(&mapped.path)?;
            for dir in loader.run_path(&mapped.path, &mapped.object) {
                self.directory(&loader, &cwd.join(dir))?;
            }
        }
        Ok(dirs)
    }
}

/// The first file mapped in a child that another user may write to: the model of the loader did not predict it.
pub(super) fn unpredicted<'m>(mapped: impl Iterator<Item = &'m OsStr>) -> Option<Untrusted> {
    mapped.map(Path::new).find_map(|path| trusted(path).err().filter(|why| !why.is_missing()))
}
