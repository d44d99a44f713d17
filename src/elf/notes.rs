//! The build ID among an object's notes.
//!
//! Takes the bytes of a `PT_NOTE` segment or a note section; gives the `NT_GNU_BUILD_ID` in it. Reads the notes
//! itself: goblin ends the walk at an owner that is not UTF-8.

use std::fmt;

use goblin::elf::note::NT_GNU_BUILD_ID;
use goblin::elf::section_header::SHT_NOTE;
use goblin::elf::{Header, SectionHeader};

use super::dynamic::CTX;
use super::error::Table;
use super::image::{Chunk, Image, to_usize};

/// The identity that the link editor gave to a file: equal build IDs, equal contents when linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BuildId<'a>(&'a [u8]);

impl<'a> BuildId<'a> {
    /// The raw bytes; mostly 20 of them.
    #[must_use]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    /// Looks through the notes of one segment, each padded to `align` bytes.
    pub(super) fn find(mut notes: &'a [u8], align: u64) -> Option<Self> {
        // gABI says 8 for 64-bit objects, all Linux tools say 4, save where p_align is 8.
        let align = if align == 8 { 8 } else { 4 };
        for _ in 0..MAX_NOTES {
            let header = Chunk { table: Table::ProgramHeaders, at: 0, bytes: notes };
            let name_len = to_usize(header.u32_at(0)?.into());
            let desc_len = to_usize(header.u32_at(1)?.into());
            let kind = header.u32_at(2)?;

            let name_end = HEADER.checked_add(name_len)?;
            let desc_start = name_end.checked_next_multiple_of(align)?;
            let desc_end = desc_start.checked_add(desc_len)?;
            let desc = notes.get(desc_start..desc_end)?;
            if kind == NT_GNU_BUILD_ID && notes.get(HEADER..name_end)? == b"GNU\0" {
                return Some(Self(desc)).filter(|_| !desc.is_empty());
            }
            notes = notes.get(desc_end.checked_next_multiple_of(align)?..)?;
        }
        None
    }
}

/// Where notes are in the file.
#[derive(Clone, Copy)]
pub(super) struct NoteTable {
    pub(super) offset: u64,
    pub(super) size: u64,
    pub(super) align: u64,
}

impl NoteTable {
    /// The note sections, as far as there are sound section headers.
    pub(super) fn of_sections(header: &Header, image: &Image<'_>) -> Vec<Self> {
        // For goblin no sections at all means "more than fit the field".
        if header.e_shnum == 0 || usize::from(header.e_shentsize) != SectionHeader::size(CTX) {
            return Vec::new();
        }
        let bytes = image.slice(0, u64::MAX);
        SectionHeader::parse(bytes, to_usize(header.e_shoff), header.e_shnum.into(), CTX)
            .unwrap_or_default()
            .into_iter()
            .filter(|section| section.sh_type == SHT_NOTE)
            .map(|section| Self { offset: section.sh_offset, size: section.sh_size, align: section.sh_addralign })
            .collect()
    }
}

impl fmt::Display for BuildId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A segment of a real object has fewer than ten; a hostile one should not cost us time.
const MAX_NOTES: u32 = 1024;
/// Size of a note's three numbers.
const HEADER: usize = 12;

#[cfg(test)]
mod tests {
    use super::BuildId;

    fn note(owner: &[u8], kind: u32, desc: &[u8], align: usize) -> Vec<u8> {
        let lengths = [owner.len(), desc.len()].map(|len| u32::try_from(len).unwrap());
        let mut bytes = [lengths[0], lengths[1], kind].map(u32::to_le_bytes).concat();
        for part in [owner, desc] {
            bytes.extend(part);
            bytes.resize(bytes.len().next_multiple_of(align), 0);
        }
        bytes
    }

    #[test]
    fn other_notes_are_stepped_over() {
        for align in [4, 8] {
            let others = [
                note(b"GNU\0", 5, &[1; 12], align),
                note(b"\xff\xfeodd\0", 3, b"another owner", align),
                note(b"", 0, b"", align),
            ];
            let notes = [others.concat(), note(b"GNU\0", 3, b"\x01\xab", align)].concat();
            let found = BuildId::find(&notes, u64::try_from(align).unwrap());
            assert_eq!(found.unwrap().to_string(), "01ab", "{align}");
            let without = others.concat();
            assert_eq!(BuildId::find(&without, u64::try_from(align).unwrap()), None);
        }
    }
}
