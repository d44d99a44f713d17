//! Where a search would end that a mapped object asks for, with `LD_LIBRARY_PATH` and without. Nothing is mapped.

use super::super::search::{Process, Requester, Rule, Search};
use super::LinkMap;
use std::ffi::OsStr;
use std::path::PathBuf;

impl LinkMap<'_> {
    /// As it would be if `LD_LIBRARY_PATH` were not set: what stands behind its hits.
    #[must_use]
    pub fn without_library_path(mut self) -> Self {
        self.is_unsearched = true;
        self.process.library_path.clear();
        self
    }

    /// Where the search for a bare name ends that the object at `index` asks for, and by which rule; nothing is mapped.
    #[must_use]
    pub fn search_from(&self, index: usize, name: &OsStr) -> Option<(PathBuf, Rule)> {
        self.search_in(index, name, &self.process)
    }

    /// Where run paths lead the object at `index` that asks for a bare name: its `DT_RUNPATH`, else the `DT_RPATH`s of it
    /// and of those that loaded it. `LD_LIBRARY_PATH` is passed over, though ld.so looks there between the two.
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
