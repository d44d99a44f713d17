//! What a child would run, before it runs.
//!
//! Takes a library and the directories it may find others in; gives the directories that the child is told of, or the
//! first file or directory that somebody else could have written. All that the model of the loader maps for the library is
//! looked at, and so is every library of its directory, of its neighbours' and of the run paths: some are opened by name
//! later. Never loads anything.

use crate::host::{Host, Untrusted, trusted, trusted_libraries};
use crate::loader::Objects;
use crate::loader::{LinkMap, Loader};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Directories that were looked at: what is trusted once stays so, for nobody else can change it.
#[derive(Debug, Default)]
pub(super) struct Looked(Mutex<BTreeMap<PathBuf, Result<(), Arc<Untrusted>>>>);

impl Looked {
    /// As [`trusted_libraries`]. Of a directory that ld.so searches anyway only the directory counts.
    fn directory(&self, loader: &Loader, dir: &Path) -> Result<(), Arc<Untrusted>> {
        let known = |looked: &Self| looked.0.lock().unwrap_or_else(PoisonError::into_inner).get(dir).cloned();
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

    /// The neighbours that may be searched, where all that would be mapped for `library` is trusted. `list` makes an
    /// `LD_LIBRARY_PATH` of directories.
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
        // Where it cannot be read, what the library needs is foretold without it.
        let caller = map.start(program).is_ok().then_some(0);
        map.open(library.as_os_str(), caller);
        // The program is our own.
        for mapped in map.objects().iter().skip(usize::from(caller.is_some())) {
            trusted(&mapped.path)?;
            for dir in loader.run_path(&mapped.path, &mapped.object) {
                self.directory(&loader, &cwd.join(dir))?;
            }
        }
        Ok(dirs)
    }
}

/// The first of the files that a child had mapped which somebody else could have written: it was not foreseen.
pub(super) fn unforeseen<'m>(mapped: impl Iterator<Item = &'m OsStr>) -> Option<Untrusted> {
    mapped.map(Path::new).find_map(|path| trusted(path).err().filter(|why| !why.is_missing()))
}
