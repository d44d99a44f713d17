//! A scan in steps: it lists all places by name, then reads one directory after the other.
//!
//! Takes places; gives each entry once it is complete, and at the end the [`Scan`]. The listing has every path of each
//! file, so an entry is complete once its file is read. Only how each copy is reached and the problems among them come
//! at the end.

use super::{Entry, Scan, group_of};
use crate::host::{FileId, Host, Kind};
use crate::inventory::places::{self, Place};
use crate::inventory::{
    Depth, Digest, Inventory, Library, Listing, Owner, OwnerKind, Owners, Problem, Verified, problems, reach,
};
use crate::loader::Loader;
use crate::loader::{Object, Objects};
use crate::tables::parse_library_name;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A scan in progress.
#[derive(Debug)]
pub struct Survey<'a> {
    objects: &'a Objects,
    depth: Depth,
    todo: VecDeque<Listing>,
    /// Every path of each file, sorted, with its installation.
    paths: BTreeMap<FileId, Vec<(PathBuf, PathBuf)>>,
    /// Per file, the number of unread directories that hold it.
    left: BTreeMap<FileId, usize>,
    /// The libraries of files that were read but not given yet, by index in the inventory.
    held: BTreeMap<FileId, Vec<usize>>,
    /// The files that were given, with their installations.
    given: BTreeMap<FileId, BTreeSet<PathBuf>>,
    digests: BTreeMap<FileId, Digest>,
    inventory: Inventory,
    owners: Owners,
}

impl<'a> Survey<'a> {
    /// Lists the places, each directory once. [`Depth::Full`] reads even the libraries that a package recorded.
    #[must_use]
    pub fn new(objects: &'a Objects, places: Vec<Place>, depth: Depth) -> Self {
        let host = objects.host();
        let places = places::distinct(host, places).into_iter();
        let mut todo: Vec<Listing> = places.map(|place| Listing::new(host, place)).collect();
        todo.sort_by(|one, other| (&one.place.root, &one.place.dir).cmp(&(&other.place.root, &other.place.dir)));
        let mut paths: BTreeMap<FileId, Vec<(PathBuf, PathBuf)>> = BTreeMap::new();
        let mut left: BTreeMap<FileId, usize> = BTreeMap::new();
        for listing in &todo {
            for (id, names) in listing.files() {
                paths.entry(id).or_default().extend(names.map(|name| (name, listing.place.root.clone())));
                *left.entry(id).or_default() += 1;
            }
        }
        for paths in paths.values_mut() {
            paths.sort();
        }
        Self {
            objects,
            depth,
            todo: todo.into(),
            paths,
            left,
            held: BTreeMap::new(),
            given: BTreeMap::new(),
            digests: BTreeMap::new(),
            inventory: Inventory::default(),
            owners: Owners::default(),
        }
    }

    /// Reads one more directory; gives the entries that this completes, by path, and `None` after the last. Once `stop`
    /// is set, gives the files read so far and ends.
    pub fn read_next(&mut self, stop: &AtomicBool) -> Option<Vec<Entry>> {
        let complete: Vec<Vec<usize>> =
            if let Some(listing) = self.todo.pop_front().filter(|_| !stop.load(Ordering::Relaxed)) {
                self.read(listing)
            } else {
                self.todo.clear();
                std::mem::take(&mut self.held).into_values().collect()
            };
        if complete.is_empty() && self.todo.is_empty() && self.held.is_empty() {
            return None;
        }
        let mut entries: Vec<Entry> = complete.into_iter().filter_map(|group| self.entry(&group)).collect();
        entries.sort_by(|one, other| one.library.path.cmp(&other.library.path));
        for entry in &entries {
            self.given.entry(entry.library.stat.id).or_default().insert(group_of(&entry.library).to_owned());
        }
        Some(entries)
    }

    /// Reads one directory; gives the files that are complete, each by its libraries.
    fn read(&mut self, listing: Listing) -> Vec<Vec<usize>> {
        let range = self.inventory.read(self.objects, listing, &mut self.owners);
        self.inventory.look_inside_some(range.clone(), self.depth);
        let mut complete = Vec::new();
        for (at, library) in range.clone().zip(self.inventory.libraries.get(range).unwrap_or_default()) {
            let id = library.stat.id;
            let left = self.left.get_mut(&id).map_or(0, |left| {
                *left = left.saturating_sub(1);
                *left
            });
            // A package of another environment with the same file, as uv links them, has its own entry.
            let of_another = |given: &BTreeSet<PathBuf>| is_apart(library) && !given.contains(group_of(library));
            if self.given.get(&id).is_some_and(|given| !of_another(given)) {
                continue;
            }
            let mut group = self.held.remove(&id).unwrap_or_default();
            group.push(at);
            // A later name may show the owner.
            if left > 0 && !is_apart(library) {
                self.held.insert(id, group);
            } else {
                complete.push(group);
            }
        }
        complete
    }

    /// Reads a whole file for its digest, and compares that with its package's record.
    pub fn digest(&mut self, entry: &mut Entry) {
        match self.owners.digest(self.objects.host(), &entry.library) {
            Ok(digest) => {
                self.digests.insert(entry.library.stat.id, digest.clone());
                entry.digest = Some(digest);
            }
            Err(error) => log::warn!("{}: {error}", entry.library.path.display()),
        }
    }

    /// The libraries read so far, so that a caller can add evidence before the end.
    pub fn inventory(&mut self) -> &mut Inventory {
        &mut self.inventory
    }

    /// The scan of the libraries read.
    #[must_use]
    pub fn finish(mut self, loader: &Loader) -> Scan {
        let sites = sites(self.inventory.libraries.iter().map(|library| library.place.root.as_path()));
        self.inventory.users = users(self.objects, &sites);
        let reached = reach(&self.inventory, loader);
        let mut found = problems(&self.inventory, loader);
        let mut files: BTreeMap<FileId, Vec<usize>> = BTreeMap::new();
        for (at, library) in self.inventory.libraries.iter().enumerate() {
            files.entry(library.stat.id).or_default().push(at);
        }
        let mut entries: Vec<Entry> = Vec::new();
        for group in files.into_values().flat_map(|file| self.by_installation(file)) {
            let Some(mut entry) = self.entry(&group) else { continue };
            let mut ways: Vec<_> = group.iter().filter_map(|at| reached.get(*at)).flatten().cloned().collect();
            ways.sort();
            ways.dedup();
            entry.reach = ways;
            entry.digest = self.digests.get(&entry.library.stat.id).cloned();
            judge_bytes(&entry, &mut found);
            entries.push(entry);
        }
        found.sort_by(|one, other| (&one.path, one.id, &one.says).cmp(&(&other.path, other.id, &other.says)));
        let mut about: BTreeMap<&Path, BTreeSet<&'static str>> = BTreeMap::new();
        for problem in &found {
            about.entry(&problem.path).or_default().insert(problem.id);
        }
        for entry in &mut entries {
            let ids: BTreeSet<&'static str> =
                entry.paths.iter().filter_map(|path| about.get(path.as_path())).flatten().copied().collect();
            entry.problems = ids.into_iter().collect();
        }
        entries.sort_by(|one, other| order(&one.library).cmp(&order(&other.library)));
        Scan { entries, problems: found }
    }

    /// The libraries of one file, by the installations whose packages own it; those without an owner join the first.
    fn by_installation(&self, file: Vec<usize>) -> Vec<Vec<usize>> {
        let library = |at: &usize| self.inventory.libraries.get(*at);
        let (owned, rest): (Vec<usize>, Vec<usize>) =
            file.into_iter().partition(|at| library(at).is_some_and(is_apart));
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for at in owned {
            let root = library(&at).map(group_of);
            match groups.iter_mut().find(|group| group.first().and_then(library).map(group_of) == root) {
                Some(group) => group.push(at),
                None => groups.push(vec![at]),
            }
        }
        match groups.first_mut() {
            Some(first) => first.extend(rest),
            None => groups.push(rest),
        }
        groups
    }

    /// The entry of one file, from its libraries in several directories: the one with the strongest evidence counts.
    fn entry(&self, group: &[usize]) -> Option<Entry> {
        let libraries = group.iter().filter_map(|at| self.inventory.libraries.get(*at));
        let library = libraries.min_by_key(|library| (!is_conclusive(library), order(library)))?;
        let mut paths = vec![library.path.clone()];
        let same = self.inventory.libraries.iter().filter(|other| other.stat.id == library.stat.id && is_apart(other));
        let others: BTreeSet<&Path> = same.map(group_of).filter(|root| *root != group_of(library)).collect();
        // An unread site gets its own entry.
        let is_others = |root: &Path| others.contains(root) || is_site(root) && root != group_of(library);
        let all = self.paths.get(&library.stat.id).into_iter().flatten();
        let own = all.filter(|(path, root)| *path != library.path && !is_others(root));
        paths.extend(own.map(|(path, _)| path.clone()));
        Some(Entry { library: library.clone(), paths, digest: None, reach: Vec::new(), problems: Vec::new() })
    }
}

/// The order of entries: by installation, directory and name.
fn order(library: &Library) -> (&Path, &Path, &Path) {
    (group_of(library), &library.place.dir, &library.path)
}

/// Whether no other name of a file can give better evidence.
fn is_conclusive(library: &Library) -> bool {
    library.owner.kind() != OwnerKind::None && library.version.is_some()
}

/// Replaces the problem by size with the problem that the bytes of a file show.
fn judge_bytes(entry: &Entry, problems: &mut Vec<Problem>) {
    let library = &entry.library;
    let words = [library.owner.name(), library.owner.version()].into_iter().flatten();
    let owner = words.collect::<Vec<_>>().join(" ");
    let rival = match &library.owner {
        Owner::Wheel { rival, .. } => rival.as_ref(),
        _ => None,
    };
    let Some(digest) = &entry.digest else { return };
    let (id, says) = match (&digest.verified, rival) {
        (Verified::Altered, _) => ("altered-file", format!("its bytes are not those that {owner} recorded")),
        (Verified::WrittenBy(other), _) => {
            ("pip-cu12-cu13-overwrite", format!("holds the bytes that {other} recorded, not those of {owner}"))
        }
        (Verified::Intact, Some(rival)) => {
            ("pip-cu12-cu13-overwrite", format!("holds the bytes that {owner} recorded, not those of {rival}"))
        }
        _ => return,
    };
    problems.retain(|problem| problem.id != id || problem.path != library.path);
    problems.push(Problem { id, path: library.path.clone(), says });
}

/// Whether a library has its own entry though another installation has the same file: a package owns it, or it is in a
/// site directory.
fn is_apart(library: &Library) -> bool {
    is_conclusive(library) || is_site(group_of(library))
}

fn is_site(root: &Path) -> bool {
    root.file_name().is_some_and(|name| name == OsStr::new("site-packages") || name == OsStr::new("dist-packages"))
}

/// The site directories among roots, each once.
pub fn sites<'p>(roots: impl Iterator<Item = &'p Path>) -> BTreeSet<PathBuf> {
    roots.filter(|root| is_site(root)).map(Path::to_owned).collect()
}

/// The libraries and extension modules of Python packages that need NVIDIA libraries, or have a run path to find some
/// by: those in the directories that are known to hold any.
#[must_use]
pub fn users(objects: &Objects, sites: &BTreeSet<PathBuf>) -> Vec<Arc<Object>> {
    let host: &Host = objects.host();
    let mut found = Vec::new();
    for dir in sites.iter().flat_map(|site| places::packages(host, site)) {
        for entry in host.list(&dir).unwrap_or_default() {
            let name = entry.name.as_bytes();
            let is_object = name.ends_with(b".so") || name.windows(4).any(|part| part == b".so.");
            if !is_object || !matches!(entry.kind, Kind::File | Kind::Link) || parse_library_name(&entry.name).is_some()
            {
                continue;
            }
            let Ok(object) = objects.open(&dir.join(&entry.name)) else { continue };
            let facts = &object.facts;
            if facts.rpath.is_some()
                || facts.runpath.is_some()
                || facts.needed.iter().any(|needed| parse_library_name(needed).is_some())
            {
                found.push(object);
            }
        }
    }
    found
}
