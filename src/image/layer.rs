//! One layer: what it adds to the file system below it, and what it removes.
//!
//! Takes a tar archive; gives a [`Layer`]; then adds it to a tree by the rules of the OCI image specification
//! (<https://github.com/opencontainers/image-spec/blob/main/layer.md>): `.wh.NAME` removes NAME of the layers below,
//! `.wh..wh..opq` all that they have in its directory, and a member replaces what stands at its path.

use super::error::Fault;
use super::keep::Spool;
use super::source::{Source, drain};
use super::tar::{Kind, Member, Tar};
use crate::host::{Content, Node, Tree};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// More members than any image that is used has.
const MEMBERS: usize = 1_500_000;

/// All names of them.
const NAMES: usize = 200 << 20;

/// What may still be read of an image.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) spool: Spool,
    members: usize,
    names: usize,
}

/// The members of a layer.
#[derive(Debug, Default)]
pub(super) struct Layer {
    members: Vec<(Box<[u8]>, u16, What)>,
    /// The bytes of its files.
    pub(super) size: u64,
}

#[derive(Debug)]
enum What {
    Directory,
    File(Content),
    Link(Box<[u8]>),
    HardLink(Box<[u8]>),
    Other,
}

impl Reader {
    pub(super) fn new() -> Self {
        Self { spool: Spool::new(), members: MEMBERS, names: NAMES }
    }

    /// Reads a layer.
    pub(super) fn read(&mut self, source: &mut dyn Source) -> Result<Layer, Fault> {
        let mut layer = Layer::default();
        let mut tar = Tar::new(source);
        while let Some(member) = tar.next()? {
            let names = member.path.len().saturating_add(member.link.len());
            let left = self.members.checked_sub(1).zip(self.names.checked_sub(names));
            (self.members, self.names) =
                left.ok_or_else(|| Fault::Limit(format!("it has more than {MEMBERS} files")))?;
            let Member { path, link, kind, mode, size, stored, parts } = member;
            let what = match kind {
                Kind::Directory => What::Directory,
                Kind::Link => What::Link(link.into()),
                Kind::HardLink => What::HardLink(link.into()),
                Kind::Other => What::Other,
                Kind::File => {
                    layer.size = layer.size.saturating_add(size);
                    let place = tar.source().place().filter(|_| parts.is_none());
                    What::File(if place.is_some() {
                        Content { size, bytes: place }
                    } else {
                        let parts = parts.unwrap_or_else(|| vec![(0, stored)]);
                        self.spool.keep(&mut tar.content(), size, &parts)?
                    })
                }
            };
            layer.members.push((path.into(), mode, what));
        }
        drain(source)?;
        Ok(layer)
    }
}

impl Layer {
    /// Adds it to the layers below. `number` counts from 0.
    pub(super) fn add_to(&self, tree: &mut Tree, number: usize) -> Result<(), Fault> {
        let layer = u16::try_from(number).unwrap_or(u16::MAX);
        let wrong = |path: &[u8], error| Fault::member(number.saturating_add(1), path, error);
        // What is removed is of the layers below, wherever its mark stands among the members.
        for (path, ..) in &self.members {
            let (dir, name) = split(path);
            let done = match name.as_bytes().strip_prefix(b".wh.") {
                Some(b".wh..opq") => tree.clear(dir),
                // Other marks of aufs.
                Some(rest) if rest.starts_with(b".wh.") => Ok(()),
                Some(b"" | b"." | b"..") => Ok(()),
                Some(rest) => tree.remove(&dir.join(OsStr::from_bytes(rest))),
                None => continue,
            };
            done.map_err(|error| wrong(path, error))?;
        }
        for (path, mode, what) in &self.members {
            if split(path).1.as_bytes().starts_with(b".wh.") {
                continue;
            }
            let at = Path::new(OsStr::from_bytes(path));
            let mode = *mode;
            let added = match what {
                What::Directory => tree.add(at, Node::Directory(BTreeMap::new()), mode, layer),
                What::File(content) => tree.add(at, Node::File(content.clone()), mode, layer),
                What::Link(target) => {
                    let target = PathBuf::from(OsString::from_vec(target.to_vec()));
                    tree.add(at, Node::Link(target), mode, layer)
                }
                What::HardLink(target) => tree.hard_link(at, Path::new(OsStr::from_bytes(target)), layer),
                What::Other => tree.add(at, Node::Other, mode, layer),
            };
            added.map_err(|error| wrong(path, error))?;
        }
        Ok(())
    }
}

/// The directory and the name of a member.
fn split(path: &[u8]) -> (&Path, &OsStr) {
    let path = Path::new(OsStr::from_bytes(path));
    (path.parent().unwrap_or(Path::new("")), path.file_name().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::source::{Budget, unpacked_stream};

    #[test]
    fn members_and_names_are_bounded() {
        let mut block = [0; 512];
        for (at, text) in
            [(0, &b"name"[..]), (100, b"0000644"), (124, b"00000000000"), (156, b"0"), (257, b"ustar\x0000")]
        {
            block[at..at + text.len()].copy_from_slice(text);
        }
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum::<u32>() + 8 * 32;
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let archive = [block.repeat(10), vec![0; 1024]].concat();
        let read = |members, names| {
            let (mut source, _) = unpacked_stream(&*archive, &Budget::of(0)).unwrap();
            Reader { spool: Spool::new(), members, names }.read(&mut *source).is_ok()
        };
        assert!(read(10, 40));
        assert!(!read(9, 40) && !read(10, 39));
    }
}
