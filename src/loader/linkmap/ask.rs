//! Resolves a name for a mapped object, with `LD_LIBRARY_PATH` and without, and maps nothing.

use super::super::search::{Process, Requester, Rule, Search};
use super::LinkMap;
use std::ffi::OsStr;
use std::path::PathBuf;

impl LinkMap<'_> {
    /// The same as if `LD_LIBRARY_PATH` were not set.
    #[must_use]
    pub fn without_library_path(mut self) -> Self {
        self.is_unsearched = true;
        self.process.library_path.clear();
        self
    }

    /// The path that a bare name resolves to for the object at `index`, and the rule.
    #[must_use]
    pub fn search_from(&self, index: usize, name: &OsStr) -> Option<(PathBuf, Rule)> {
        self.search_in(index, name, &self.process)
    }

    /// The path that a bare name resolves to for the object at `index` by run paths alone: its `DT_RUNPATH`, else the
    /// `DT_RPATH`s of it and of its loaders. `LD_LIBRARY_PATH`, which ld.so searches between the two, is ignored.
    #[must_use]
    pub fn run_paths_from(&self, index: usize, name: &OsStr) -> Option<PathBuf> {
        let process = Process { library_path: Vec::new(), ..self.process };
        let (path, rule) = self.search_in(index, name, &process)?;
        matches!(rule, Rule::Rpath | Rule::Runpath).then_some(path)
    }

    fn search_in(&self, index: usize, name: &OsStr, process: &Process) -> Option<(PathBuf, Rule)> {
        let chain: Vec<Requester<'_>> = self.chain(Some(index)).collect();
        let program = self.program.and_then(|program| self.requester(program));
        let search = Search { chain: &chain, program, process, preload: false };
        self.loader.search(name, &search).ok().map(|(path, _, rule)| (path, rule))
    }
}
