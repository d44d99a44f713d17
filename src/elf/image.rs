//! Maps addresses of a loaded object to bytes of its file.
//!
//! Takes the program headers and the file's bytes; returns, for an address, the bytes of the file from
//! there on. All arithmetic is checked, and every slice ends at the end of the file at the latest, so callers cannot
//! read outside.

use goblin::elf::ProgramHeader;
use goblin::elf::program_header::PT_LOAD;

use super::error::{ElfError, Kind, Table};

/// The file's bytes, seen through its `PT_LOAD` segments.
pub(super) struct Image<'a> {
    bytes: &'a [u8],
    loads: Vec<Load>,
}

struct Load {
    address: u64,
    offset: u64,
    size: u64,
}

impl<'a> Image<'a> {
    pub(super) fn new(bytes: &'a [u8], headers: &[ProgramHeader]) -> Self {
        let loads = headers
            .iter()
            .filter(|header| header.p_type == PT_LOAD && header.p_filesz > 0)
            .map(|header| Load { address: header.p_vaddr, offset: header.p_offset, size: header.p_filesz })
            .collect();
        Self { bytes, loads }
    }

    /// The bytes from `address` to the end of the segment, and of those that follow it without a gap in
    /// memory and in the file: patchelf leaves tables that begin in one and end in the next.
    pub(super) fn at(&self, table: Table, address: u64) -> Result<Chunk<'a>, ElfError> {
        let Some((offset, mut left)) = self.held(address) else {
            return Err(ElfError::new(table, address, Kind::Unmapped));
        };
        let offset = offset.ok_or(ElfError::out_of_bounds(table, u64::MAX))?;
        for _ in &self.loads {
            let next = address.checked_add(left).and_then(|end| self.held(end));
            match next {
                Some((Some(start), more)) if offset.checked_add(left) == Some(start) => {
                    left = left.saturating_add(more);
                }
                _ => break,
            }
        }
        let tail = self.bytes.get(to_usize(offset)..).unwrap_or_default();
        if tail.is_empty() {
            return Err(ElfError::out_of_bounds(table, offset));
        }
        let bytes = tail.get(..to_usize(left)).unwrap_or(tail);
        Ok(Chunk { table, at: offset, bytes })
    }

    /// The offset of `address` in the file, if it does not overflow, and the rest of its segment.
    fn held(&self, address: u64) -> Option<(Option<u64>, u64)> {
        // glibc maps segments in order, each over the earlier ones: the last one overrides.
        self.loads.iter().rev().find_map(|load| {
            let into = address.checked_sub(load.address)?;
            let left = load.size.checked_sub(into).filter(|&left| left > 0)?;
            Some((load.offset.checked_add(into), left))
        })
    }

    /// The bytes of a program header's range, up to the end of the file.
    pub(super) fn slice(&self, offset: u64, size: u64) -> &'a [u8] {
        let tail = self.bytes.get(to_usize(offset)..).unwrap_or_default();
        tail.get(..to_usize(size)).unwrap_or(tail)
    }

    /// The bytes of each segment, up to the end of the file.
    pub(super) fn segments(&self) -> impl Iterator<Item = &'a [u8]> {
        self.loads.iter().map(|load| self.slice(load.offset, load.size))
    }

    /// Whether a segment runs past the end of the file.
    pub(super) fn is_truncated(&self) -> bool {
        let len = u64::try_from(self.bytes.len()).unwrap_or(u64::MAX);
        self.loads.iter().any(|load| load.offset.checked_add(load.size).is_none_or(|end| end > len))
    }
}

/// Bytes of one table, with their place in the file for the errors about them.
#[derive(Clone, Copy)]
pub(super) struct Chunk<'a> {
    pub(super) table: Table,
    pub(super) at: u64,
    pub(super) bytes: &'a [u8],
}

impl Chunk<'_> {
    pub(super) const fn empty(table: Table) -> Self {
        Self { table, at: 0, bytes: &[] }
    }

    /// The first `count` entries of `size` bytes each.
    pub(super) fn entries(self, count: usize, size: usize) -> Result<Self, ElfError> {
        let bytes = count.checked_mul(size).and_then(|len| self.bytes.get(..len));
        bytes.map(|bytes| Self { bytes, ..self }).ok_or(self.out_of_bounds())
    }

    /// The rest after the first `count` entries of `size` bytes each.
    pub(super) fn after(self, count: usize, size: usize) -> Result<Self, ElfError> {
        let skip = count.checked_mul(size).ok_or(self.out_of_bounds())?;
        let bytes = self.bytes.get(skip..).ok_or(self.out_of_bounds())?;
        Ok(Self { bytes, at: self.place(skip), ..self })
    }

    /// The file offset of the byte at `index`.
    pub(super) fn place(&self, index: usize) -> u64 {
        self.at.saturating_add(u64::try_from(index).unwrap_or(u64::MAX))
    }

    pub(super) fn u16_at(&self, index: usize) -> Option<u16> {
        self.array_at(index).map(u16::from_le_bytes)
    }

    pub(super) fn u32_at(&self, index: usize) -> Option<u32> {
        self.array_at(index).map(u32::from_le_bytes)
    }

    pub(super) fn u64_at(&self, index: usize) -> Option<u64> {
        self.array_at(index).map(u64::from_le_bytes)
    }

    pub(super) const fn out_of_bounds(&self) -> ElfError {
        ElfError::out_of_bounds(self.table, self.at)
    }

    pub(super) const fn malformed(&self, what: &'static str) -> ElfError {
        ElfError::malformed(self.table, self.at, what)
    }

    /// Entry `index` of an array of `N`-byte numbers.
    fn array_at<const N: usize>(&self, index: usize) -> Option<[u8; N]> {
        let tail = self.bytes.get(index.checked_mul(N)?..)?;
        tail.first_chunk().copied()
    }
}

/// A number of the file as an index; one that overflows is outside of any slice.
pub(super) fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
