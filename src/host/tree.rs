//! A file system in memory: names and links here, contents as parts of files that are open.
//!
//! Takes directories, files, links and other nodes, one after the other, with the semantics of unpacking an archive:
//! a later node replaces an earlier one, and links in the directories of a path are followed inside the tree. Gives
//! what [`super::Host`] asks for. Never creates a file: what an archive names cannot reach the disk.

use super::archive::Archive;
use super::files::{Entry, FileId, Kind, Stat};
use super::map::Map;
use super::{LINK_LIMIT, not_found, reversed_parts};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::collections::btree_map::Keys;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The device number of all its files: the kernel's own are small.
const DEVICE: u64 = u64::MAX - 1;

/// No path that Linux opens has more parts (`PATH_MAX`).
const DEPTH: usize = 2048;

/// The number of a node: hard links of one file share it.
pub type NodeId = u32;

/// The bytes of a file.
#[derive(Debug, Clone)]
pub struct Content {
    /// Its size.
    pub size: u64,
    /// Where its bytes are; `None`: they were not kept.
    pub bytes: Option<(Arc<Archive>, u64)>,
}

/// What a name stands for.
#[derive(Debug, Clone)]
pub enum Node {
    /// A directory, with its entries.
    Directory(BTreeMap<OsString, NodeId>),
    /// A regular file.
    File(Content),
    /// A symbolic link, with its target.
    Link(PathBuf),
    /// A FIFO or device.
    Other,
}

/// A node with its permission bits, and the number of the layer that brought it.
#[derive(Debug)]
struct Held {
    node: Node,
    mode: u16,
    layer: u16,
}

/// Why a node cannot be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TreeError {
    /// `..` leaves the root.
    #[error("the path leaves the root")]
    Outside,
    /// Too many symbolic links.
    #[error("its symbolic links form a loop")]
    Loop,
    /// Longer than any path.
    #[error("the path is too deep")]
    Deep,
    /// A hard link to a missing file.
    #[error("the file that it is a hard link to is missing")]
    NoTarget,
    /// More nodes than numbers.
    #[error("there are too many files")]
    Full,
}

/// The file system.
#[derive(Debug)]
pub struct Tree {
    origin: PathBuf,
    nodes: Vec<Held>,
}

impl Tree {
    /// An empty one, that is in this file.
    #[must_use]
    pub fn new(origin: PathBuf) -> Self {
        let root = Held { node: Node::Directory(BTreeMap::new()), mode: 0o755, layer: 0 };
        Self { origin, nodes: vec![root] }
    }

    /// The file that it is in.
    #[must_use]
    pub fn origin(&self) -> &Path {
        &self.origin
    }

    /// The number of the layer that brought a path, its links followed.
    #[must_use]
    pub fn layer(&self, path: &Path) -> Option<u16> {
        let id = self.walk(path, true).ok()?;
        self.nodes.get(index(id)).map(|held| held.layer)
    }

    /// Calls `see` with each directory and its entries, in the order of their paths.
    pub fn directories(&self, mut see: impl FnMut(&Path, Keys<'_, OsString, NodeId>)) {
        let mut queue = vec![(PathBuf::from("/"), 0)];
        while let Some((path, id)) = queue.pop() {
            let Some(Node::Directory(entries)) = self.node(id) else { continue };
            see(&path, entries.keys());
            let below = entries.iter().rev().filter(|(_, id)| matches!(self.node(**id), Some(Node::Directory(_))));
            queue.extend(below.map(|(name, id)| (path.join(name), *id)));
        }
    }

    /// Adds a node; a directory that replaces a directory keeps its entries.
    ///
    /// # Errors
    /// If the path cannot be in the tree.
    pub fn add(&mut self, path: &Path, node: Node, mode: u16, layer: u16) -> Result<(), TreeError> {
        let Some((dir, name)) = self.place(path, layer)? else {
            if let Some(root) = self.nodes.first_mut() {
                root.mode = mode;
            }
            return Ok(());
        };
        if matches!(node, Node::Directory(_))
            && let Some(old) = self.entry(dir, &name)
            && let Some(Held { node: Node::Directory(_), mode: old_mode, .. }) = self.nodes.get_mut(index(old))
        {
            *old_mode = mode;
            return Ok(());
        }
        let id = self.push(Held { node, mode, layer })?;
        self.enter(dir, name, id);
        Ok(())
    }

    /// Gives the file at `target` another name.
    ///
    /// # Errors
    /// If the file is missing.
    pub fn hard_link(&mut self, path: &Path, target: &Path, layer: u16) -> Result<(), TreeError> {
        let parts = cleaned(target)?;
        let Some((name, above)) = parts.split_last() else { return Err(TreeError::NoTarget) };
        let dir = self.walk(&above.iter().collect::<PathBuf>(), true).map_err(|_| TreeError::NoTarget)?;
        let id = self.entry(dir, name).ok_or(TreeError::NoTarget)?;
        if matches!(self.node(id), None | Some(Node::Directory(_))) {
            return Err(TreeError::NoTarget);
        }
        if let Some((dir, name)) = self.place(path, layer)? {
            self.enter(dir, name, id);
        }
        Ok(())
    }

    /// Removes a path, and all below it.
    ///
    /// # Errors
    /// If the path cannot be in the tree.
    pub fn remove(&mut self, path: &Path) -> Result<(), TreeError> {
        let parts = cleaned(path)?;
        let Some((name, above)) = parts.split_last() else { return Ok(()) };
        if let Ok(dir) = self.walk(&above.iter().collect::<PathBuf>(), true)
            && let Some(Held { node: Node::Directory(entries), .. }) = self.nodes.get_mut(index(dir))
        {
            entries.remove(name);
        }
        Ok(())
    }

    /// Empties a directory.
    ///
    /// # Errors
    /// If the path cannot be in the tree.
    pub fn clear(&mut self, dir: &Path) -> Result<(), TreeError> {
        let parts = cleaned(dir)?;
        if let Ok(id) = self.walk(&parts.iter().collect::<PathBuf>(), true)
            && let Some(Held { node: Node::Directory(entries), .. }) = self.nodes.get_mut(index(id))
        {
            entries.clear();
        }
        Ok(())
    }

    fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(index(id)).map(|held| &held.node)
    }

    fn entry(&self, dir: NodeId, name: &OsStr) -> Option<NodeId> {
        match self.node(dir)? {
            Node::Directory(entries) => entries.get(name).copied(),
            _ => None,
        }
    }

    fn enter(&mut self, dir: NodeId, name: OsString, id: NodeId) {
        if let Some(Held { node: Node::Directory(entries), .. }) = self.nodes.get_mut(index(dir)) {
            entries.insert(name, id);
        }
    }

    fn push(&mut self, held: Held) -> Result<NodeId, TreeError> {
        let id = NodeId::try_from(self.nodes.len()).map_err(|_| TreeError::Full)?;
        self.nodes.push(held);
        Ok(id)
    }

    /// The directory and the name of a path to be added; missing directories are made, and what stands in their place
    /// is replaced. `None`: the root itself.
    fn place(&mut self, path: &Path, layer: u16) -> Result<Option<(NodeId, OsString)>, TreeError> {
        let mut parts = cleaned(path)?;
        let Some(name) = parts.pop() else { return Ok(None) };
        let mut above = vec![0];
        parts.reverse();
        let mut links = 0;
        while let Some(part) = parts.pop() {
            let dir = above.last().copied().unwrap_or_default();
            if part == ".." {
                if above.len() > 1 {
                    above.pop();
                }
                continue;
            }
            let next = self.entry(dir, &part);
            match next.and_then(|id| self.node(id)) {
                Some(Node::Directory(_)) => above.extend(next),
                Some(Node::Link(target)) => {
                    links += 1;
                    if links > LINK_LIMIT {
                        return Err(TreeError::Loop);
                    }
                    if target.is_absolute() {
                        above.truncate(1);
                    }
                    parts.extend(reversed_parts(target));
                }
                _ => {
                    let node = Node::Directory(BTreeMap::new());
                    let id = self.push(Held { node, mode: 0o755, layer })?;
                    self.enter(dir, part, id);
                    above.push(id);
                }
            }
            if above.len() + parts.len() > DEPTH {
                return Err(TreeError::Deep);
            }
        }
        Ok(Some((above.last().copied().unwrap_or_default(), name)))
    }

    /// The node of a path; of its last part, a link is followed where `follow` says so.
    fn walk(&self, path: &Path, follow: bool) -> io::Result<NodeId> {
        let mut above = vec![0];
        let mut parts = reversed_parts(path);
        let mut links = 0;
        while let Some(part) = parts.pop() {
            if part == ".." {
                if above.len() > 1 {
                    above.pop();
                }
                continue;
            }
            let dir = above.last().copied().unwrap_or_default();
            let Some(Node::Directory(entries)) = self.node(dir) else {
                return Err(io::ErrorKind::NotADirectory.into());
            };
            let id = entries.get(&part).copied().ok_or_else(not_found)?;
            match self.node(id) {
                Some(Node::Link(target)) if follow || !parts.is_empty() => {
                    links += 1;
                    if links > LINK_LIMIT || parts.len() > DEPTH {
                        return Err(Errno::LOOP.into());
                    }
                    if target.is_absolute() {
                        above.truncate(1);
                    }
                    parts.extend(reversed_parts(target));
                }
                _ => above.push(id),
            }
        }
        Ok(above.last().copied().unwrap_or_default())
    }
}

/// What a machine asks.
impl Tree {
    pub(super) fn link(&self, path: &Path) -> io::Result<PathBuf> {
        match self.node(self.walk(path, false)?) {
            Some(Node::Link(target)) => Ok(target.clone()),
            _ => Err(Errno::INVAL.into()),
        }
    }

    pub(super) fn stat(&self, path: &Path) -> io::Result<Stat> {
        let id = self.walk(path, true)?;
        let held = self.nodes.get(index(id)).ok_or_else(not_found)?;
        let (kind, size) = match &held.node {
            Node::Directory(_) => (Kind::Directory, 0),
            Node::File(content) => (Kind::File, content.size),
            Node::Link(_) => (Kind::Link, 0),
            Node::Other => (Kind::Other, 0),
        };
        let (id, mode) = (FileId { dev: DEVICE, ino: id.into() }, held.mode.into());
        Ok(Stat { id, kind, size, mtime: 0, ctime: 0, links: 1, uid: 0, gid: 0, mode })
    }

    pub(super) fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let Some(Node::Directory(entries)) = self.node(self.walk(dir, true)?) else {
            return Err(io::ErrorKind::NotADirectory.into());
        };
        let kind = |id: NodeId| match self.node(id) {
            Some(Node::Directory(_)) => Kind::Directory,
            Some(Node::File(_)) => Kind::File,
            Some(Node::Link(_)) => Kind::Link,
            Some(Node::Other) | None => Kind::Other,
        };
        Ok(entries.iter().map(|(name, id)| Entry { name: name.clone(), kind: kind(*id) }).collect())
    }

    /// The first bytes of a file.
    pub(super) fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let (content, archive, at) = self.content(path)?;
        let size = usize::try_from(content.size.min(limit)).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let mut bytes = vec![0; size];
        archive.read_exact_at(&mut bytes, at)?;
        Ok(bytes)
    }

    pub(super) fn map(&self, path: &Path) -> io::Result<(Map, Stat)> {
        let (content, archive, at) = self.content(path)?;
        Ok((archive.map(at, content.size)?, self.stat(path)?))
    }

    fn content(&self, path: &Path) -> io::Result<(&Content, &Archive, u64)> {
        match self.node(self.walk(path, true)?) {
            Some(Node::File(content)) => match &content.bytes {
                Some((archive, at)) => Ok((content, archive, *at)),
                None => Err(io::Error::other("its content was not kept")),
            },
            Some(Node::Directory(_)) => Err(io::ErrorKind::IsADirectory.into()),
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
        }
    }
}

fn index(id: NodeId) -> usize {
    usize::try_from(id).unwrap_or(usize::MAX)
}

/// The parts of a path in an archive, without `.` and with each `..` taken away.
fn cleaned(path: &Path) -> Result<Vec<OsString>, TreeError> {
    let mut parts: Vec<OsString> = Vec::new();
    for part in reversed_parts(path).into_iter().rev() {
        if part == ".." {
            parts.pop().ok_or(TreeError::Outside)?;
        } else {
            parts.push(part);
        }
    }
    if parts.len() > DEPTH { Err(TreeError::Deep) } else { Ok(parts) }
}
