//! The dynamic table and its strings.
//!
//! Takes the image and the `PT_DYNAMIC` header; returns the values of tags, and the names in the
//! table: soname, needed, rpath and runpath. Reads them by address, as ld.so does, not by
//! file offset.

use std::ffi::CStr;

use goblin::container::{Container, Ctx, Endian};
use goblin::elf::dynamic::{
    DT_FLAGS, DT_FLAGS_1, DT_NEEDED, DT_NULL, DT_RPATH, DT_RUNPATH, DT_SONAME, DT_STRSZ, DT_STRTAB,
};
use goblin::elf::{Dyn, ProgramHeader};

use super::error::{ElfError, Kind, Table};
use super::image::{Chunk, Image, to_usize};

/// Every object that [`parse`](super::Elf::parse) accepts is 64-bit and little-endian.
pub(super) const CTX: Ctx = Ctx { container: Container::Big, le: Endian::Little };

/// An object whose symbols precede those of the object that names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Filter<'a> {
    /// `DT_FILTER`: it is required.
    Standard(&'a [u8]),
    /// `DT_AUXILIARY`: it is optional.
    Auxiliary(&'a [u8]),
}

/// The dynamic table of an object, with the names in it.
pub(super) struct Dynamic<'a> {
    entries: Vec<Dyn>,
    pub(super) strings: Strings<'a>,
    pub(super) needed: Vec<&'a [u8]>,
    pub(super) filters: Vec<(usize, Filter<'a>)>,
    pub(super) soname: Option<&'a [u8]>,
    pub(super) rpath: Option<&'a [u8]>,
    pub(super) runpath: Option<&'a [u8]>,
    pub(super) flags: u64,
    pub(super) flags_1: u64,
}

impl<'a> Dynamic<'a> {
    pub(super) fn parse(image: &Image<'a>, header: &ProgramHeader) -> Result<Self, ElfError> {
        let chunk = image.at(Table::Dynamic, header.p_vaddr)?;
        let bytes = chunk.bytes.get(..to_usize(header.p_filesz)).unwrap_or(chunk.bytes);
        // goblin reads at p_offset, ld.so at p_vaddr: pass the bytes that ld.so would read.
        let here = ProgramHeader { p_offset: 0, p_filesz: u64::try_from(bytes.len()).unwrap_or(0), ..header.clone() };
        let mut entries = goblin::elf::Dynamic::parse(bytes, &[here], CTX)
            .map_err(|error| ElfError::from_goblin(Table::Dynamic, chunk.at, &error))?
            .map(|dynamic| dynamic.dyns)
            .unwrap_or_default();
        // ld.so reads up to DT_NULL; without one it would leave the table.
        if entries.pop().is_none_or(|last| last.d_tag != DT_NULL) {
            return Err(ElfError::new(Table::Dynamic, chunk.at, Kind::TooShort));
        }

        let strings = Strings::find(image, &entries)?;
        let mut names = strings.names();
        let mut name = |tag| last_value(&entries, tag).map(|at| names.get(at)).transpose();
        let (soname, rpath, runpath) = (name(DT_SONAME)?, name(DT_RPATH)?, name(DT_RUNPATH)?);
        let (mut needed, mut filters) = (Vec::new(), Vec::new());
        for entry in &entries {
            match entry.d_tag {
                DT_NEEDED => needed.push(names.get(entry.d_val)?),
                DT_FILTER => filters.push((needed.len(), Filter::Standard(names.get(entry.d_val)?))),
                DT_AUXILIARY => filters.push((needed.len(), Filter::Auxiliary(names.get(entry.d_val)?))),
                _ => {}
            }
        }
        Ok(Self {
            needed,
            filters,
            soname,
            rpath,
            runpath,
            flags: last_value(&entries, DT_FLAGS).unwrap_or(0),
            flags_1: last_value(&entries, DT_FLAGS_1).unwrap_or(0),
            strings,
            entries,
        })
    }

    /// The value of a tag that may appear once.
    pub(super) fn value(&self, tag: u64) -> Option<u64> {
        last_value(&self.entries, tag)
    }

    /// The table at a tag's address.
    pub(super) fn table(&self, image: &Image<'a>, table: Table, tag: u64) -> Result<Option<Chunk<'a>>, ElfError> {
        self.value(tag).map(|address| image.at(table, address)).transpose()
    }
}

/// glibc indexes entries by tag, so the last one of a repeated tag counts
/// (`elf/get-dynamic-info.h`). Never use goblin's `DynamicInfo` for numbers: it
/// treats `DT_VERDEFNUM`, a count, as an address.
fn last_value(entries: &[Dyn], tag: u64) -> Option<u64> {
    entries.iter().rev().find(|entry| entry.d_tag == tag).map(|entry| entry.d_val)
}

/// The dynamic string table.
#[derive(Clone, Copy)]
pub(super) struct Strings<'a>(Chunk<'a>);

impl<'a> Strings<'a> {
    fn find(image: &Image<'a>, entries: &[Dyn]) -> Result<Self, ElfError> {
        let Some(address) = last_value(entries, DT_STRTAB) else {
            return Ok(Self(Chunk::empty(Table::Strings)));
        };
        let chunk = image.at(Table::Strings, address)?;
        match last_value(entries, DT_STRSZ) {
            Some(size) => chunk.entries(to_usize(size), 1).map(Self),
            None => Ok(Self(chunk)),
        }
    }

    /// A reader for many names.
    pub(super) fn names(&self) -> Names<'a> {
        let len = u64::try_from(self.0.bytes.len()).unwrap_or(u64::MAX);
        Names { strings: *self, left: len.saturating_mul(MAX_SHARING).max(MIN_READ) }
    }

    /// Whether the string at `offset` is `name`; cheaper than reading it.
    pub(super) fn is(&self, offset: u64, name: &[u8]) -> Result<bool, ElfError> {
        let rest = self.tail(offset)?.strip_prefix(name);
        Ok(rest.is_some_and(|rest| rest.first() == Some(&0)))
    }

    fn tail(&self, offset: u64) -> Result<&'a [u8], ElfError> {
        self.0.bytes.get(to_usize(offset)..).ok_or(self.outside(offset))
    }

    const fn outside(&self, offset: u64) -> ElfError {
        ElfError::out_of_bounds(Table::Strings, self.0.at.saturating_add(offset))
    }
}

/// Reads names, and fails where more of them share bytes than any link editor produces: a small hostile file could
/// otherwise require years of reading.
pub(super) struct Names<'a> {
    strings: Strings<'a>,
    left: u64,
}

impl<'a> Names<'a> {
    /// The string at `offset`, without its final NUL.
    pub(super) fn get(&mut self, offset: u64) -> Result<&'a [u8], ElfError> {
        let tail = self.strings.tail(offset)?;
        let name = CStr::from_bytes_until_nul(tail).map_err(|_| self.strings.outside(offset))?.to_bytes();
        let len = u64::try_from(name.len()).unwrap_or(u64::MAX);
        let at = self.strings.0.place(to_usize(offset));
        self.left = self.left.checked_sub(len).ok_or(ElfError::malformed(
            Table::Strings,
            at,
            "too many names share these bytes",
        ))?;
        Ok(name)
    }
}

/// How often the string table may be read in one pass. Versions of a name share bytes, and so do names
/// with a common ending; the C library, which has the most versions, needs less than 2.
const MAX_SHARING: u64 = 64;
/// The minimum limit for small tables, where a single frequent name weighs more.
const MIN_READ: u64 = 1 << 20;
/// Solaris' filters (`elf.h`); goblin does not name them.
const DT_AUXILIARY: u64 = 0x7fff_fffd;
const DT_FILTER: u64 = 0x7fff_ffff;
