//! The reader of images, with every check of the shim's reader, which is tested against it.

use super::{HEADER, ImageError, MAGIC, RECORD, SIZE_LIMIT, STRING_LIMIT, TABLES, VERSION};
use crate::host::FileId;
use crate::plan::{How, LIBRARY_LIMIT};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// The content of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageView {
    /// The libraries in the order they can be loaded.
    pub libraries: Vec<ImageLibrary>,
    /// Bare names, and the paths that are replaced, ascending: name, index of the library, whether it is not the soname.
    pub names: Vec<(Vec<u8>, usize, bool)>,
    /// Ascending: the file of each object that the set was proven for, with zeros; and the file of each program of the plan,
    /// with the directory that it is started from.
    pub ids: Vec<[FileId; 2]>,
}

/// A library of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageLibrary {
    /// Its soname.
    pub soname: Vec<u8>,
    /// The file; absolute.
    pub path: PathBuf,
    /// Device and inode.
    pub id: FileId,
    /// Bytes.
    pub size: u64,
    /// Nanoseconds since 1970.
    pub mtime: i64,
    /// How it is handed out.
    pub how: How,
    /// Whether it is one of the consumer's own, which is kept and never preloaded.
    pub own: bool,
}

impl ImageView {
    /// Reads the bytes of an image.
    ///
    /// # Errors
    /// [`ImageError::Malformed`] wherever the shim refuses them.
    pub fn parse(bytes: &[u8]) -> Result<Self, ImageError> {
        let frame = Frame::check(bytes).map_err(ImageError::Malformed)?;
        frame.view().map_err(ImageError::Malformed)
    }

    /// The library that a bare name resolves to, aliases followed.
    #[must_use]
    pub fn lookup(&self, name: &[u8]) -> Option<&ImageLibrary> {
        let at = self.names.binary_search_by(|(known, ..)| known.as_slice().cmp(name)).ok()?;
        self.names.get(at).and_then(|(_, lib, _)| self.libraries.get(*lib)).filter(|lib| lib.how != How::Keep)
    }
}

type Checked<T> = Result<T, &'static str>;

const UNFILLED: &str = "its tables do not fill it";

/// The tables of an image, within its bounds.
struct Frame<'b> {
    tables: [&'b [u8]; TABLES],
    strings: &'b [u8],
}

impl<'b> Frame<'b> {
    fn check(bytes: &'b [u8]) -> Checked<Self> {
        if bytes.len() < HEADER || bytes.len() > SIZE_LIMIT || !bytes.starts_with(MAGIC) {
            return Err("its header or its size is not that of an image");
        }
        if word(bytes, 8) != VERSION {
            return Err("it is of another version");
        }
        if word(bytes, 12) as usize != bytes.len() {
            return Err("its size is not the one in its header");
        }
        let mut rest = bytes.get(HEADER..).unwrap_or_default();
        let mut part = |at: usize, size: usize| -> Checked<&[u8]> {
            let bytes = (word(bytes, at) as usize).checked_mul(size);
            let (part, behind) = bytes.and_then(|bytes| rest.split_at_checked(bytes)).ok_or(UNFILLED)?;
            rest = behind;
            Ok(part)
        };
        let mut tables: [&[u8]; TABLES] = Default::default();
        for (index, (table, size)) in tables.iter_mut().zip(RECORD).enumerate() {
            *table = part(16 + 4 * index, size)?;
        }
        let strings = part(HEADER - 4, 1)?;
        if !rest.is_empty() {
            return Err(UNFILLED);
        }
        if strings.last() != Some(&0) {
            return Err("its strings do not end");
        }
        if tables[0].len() / RECORD[0] > LIBRARY_LIMIT {
            return Err("it has too many libraries");
        }
        Ok(Self { tables, strings })
    }

    fn records(&self, table: usize) -> impl Iterator<Item = &'b [u8]> + use<'b> {
        self.tables[table].chunks_exact(RECORD[table])
    }

    fn count(&self, table: usize) -> usize {
        self.tables[table].len() / RECORD[table]
    }

    fn string(&self, at: u32) -> Checked<&'b [u8]> {
        let rest =
            self.strings.get(at as usize..).filter(|rest| !rest.is_empty()).ok_or("a string lies outside of it")?;
        let start = rest.get(..STRING_LIMIT).unwrap_or(rest);
        let end = start.iter().position(|byte| *byte == 0).ok_or("a string is too long")?;
        start.get(..end).ok_or("a string is too long")
    }

    fn path(&self, at: u32) -> Checked<PathBuf> {
        let path = self.string(at)?;
        if !path.starts_with(b"/") {
            return Err("a path is not absolute");
        }
        Ok(OsString::from_vec(path.to_vec()).into())
    }

    fn lib(&self, index: u32) -> Checked<usize> {
        let index = index as usize;
        if index < self.count(0) { Ok(index) } else { Err("a record has the index of no library") }
    }

    fn view(&self) -> Checked<ImageView> {
        let mut view = ImageView::default();
        for record in self.records(0) {
            view.libraries.push(self.library(record)?);
        }
        for record in self.records(2) {
            let alias = match word(record, 8) {
                kind @ 0..=1 => kind == 1,
                _ => return Err("a name is neither a soname nor an alias"),
            };
            let name = self.string(word(record, 0))?;
            if !name.starts_with(b"/") && name.contains(&b'/') {
                return Err("a path is not absolute");
            }
            view.names.push((name.to_vec(), self.lib(word(record, 4))?, alias));
        }
        view.ids = self.records(1).map(|record| [id(record, 0), id(record, 16)]).collect();
        let ascending = view.names.is_sorted_by(|a, b| a.0 < b.0) && view.ids.is_sorted_by(|a, b| a < b);
        if ascending { Ok(view) } else { Err("a table is not in order") }
    }

    fn library(&self, record: &[u8]) -> Checked<ImageLibrary> {
        let path = self.path(word(record, 36))?;
        if path.as_os_str().as_encoded_bytes().contains(&b'$') {
            return Err("the loader would expand a path");
        }
        let how = word(record, 40);
        Ok(ImageLibrary {
            soname: self.string(word(record, 32))?.to_vec(),
            path,
            id: id(record, 0),
            size: long(record, 16),
            mtime: long(record, 24).cast_signed(),
            own: how == 3,
            how: match how {
                0 => How::Preload,
                1 => How::Redirect,
                2 | 3 => How::Keep,
                _ => return Err("the kind of a library is unknown"),
            },
        })
    }
}

/// The four bytes at `at`; records and the header are long enough.
pub(super) fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

fn long(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

fn id(bytes: &[u8], at: usize) -> FileId {
    FileId { dev: long(bytes, at), ino: long(bytes, at + 8) }
}
