//! The notes of an object: its build ID, and vendors' notes.
//!
//! Takes the bytes of a `PT_NOTE` segment or a note section; returns the content of one note. Does not use goblin,
//! which stops at an owner that is not UTF-8.

use std::fmt;

use goblin::elf::Header;
use goblin::elf::note::NT_GNU_BUILD_ID;
use goblin::elf::section_header::SHT_NOTE;

use super::error::Table;
use super::image::{Chunk, Image, to_usize};
use super::sections::{Section, sections};

/// The link editor's identity of a file: equal build IDs mean equal contents when linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BuildId<'a>(&'a [u8]);

impl<'a> BuildId<'a> {
    /// The raw bytes; mostly 20 of them.
    #[must_use]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    /// Searches the notes of one segment, each padded to `align` bytes.
    pub(super) fn find(notes: &'a [u8], align: u64) -> Option<Self> {
        let is_build_id = |note: &Note<'_>| note.kind == NT_GNU_BUILD_ID && note.owner == b"GNU\0";
        let note = Notes::new(notes, align).find(is_build_id)?;
        Some(Self(note.desc)).filter(|_| !note.desc.is_empty())
    }
}

/// The content of the first note of `owner`, without the final NULs.
pub(super) fn described<'a>(notes: &'a [u8], align: u64, owner: &[u8]) -> Option<&'a [u8]> {
    let note = Notes::new(notes, align).find(|note| note.owner.strip_suffix(b"\0") == Some(owner))?;
    let end = note.desc.iter().rposition(|&byte| byte != 0)?;
    note.desc.get(..=end)
}

/// One note.
struct Note<'a> {
    owner: &'a [u8],
    kind: u32,
    desc: &'a [u8],
}

/// Iterates over the notes of one segment; ends at the first that leaves it.
struct Notes<'a> {
    rest: &'a [u8],
    align: usize,
    left: u32,
}

impl<'a> Notes<'a> {
    fn new(rest: &'a [u8], align: u64) -> Self {
        // The gABI requires 8 for 64-bit objects; all Linux tools write 4, unless p_align is 8.
        Self { rest, align: if align == 8 { 8 } else { 4 }, left: MAX_NOTES }
    }
}

impl<'a> Iterator for Notes<'a> {
    type Item = Note<'a>;

    fn next(&mut self) -> Option<Note<'a>> {
        self.left = self.left.checked_sub(1)?;
        let header = Chunk { table: Table::ProgramHeaders, at: 0, bytes: self.rest };
        let owner_len = to_usize(header.u32_at(0)?.into());
        let desc_len = to_usize(header.u32_at(1)?.into());
        let kind = header.u32_at(2)?;

        let owner_end = HEADER.checked_add(owner_len)?;
        let desc_start = owner_end.checked_next_multiple_of(self.align)?;
        let desc_end = desc_start.checked_add(desc_len)?;
        let desc = self.rest.get(desc_start..desc_end)?;
        let owner = self.rest.get(HEADER..owner_end)?;
        self.rest = self.rest.get(desc_end.checked_next_multiple_of(self.align)?..).unwrap_or_default();
        Some(Note { owner, kind, desc })
    }
}

/// The place of notes in the file.
#[derive(Clone, Copy)]
pub(super) struct NoteTable {
    pub(super) offset: u64,
    pub(super) size: u64,
    pub(super) align: u64,
}

impl NoteTable {
    /// The note sections, if the section headers are sound.
    pub(super) fn of_sections(header: &Header, image: &Image<'_>) -> Vec<Self> {
        let sections = sections(header, image).into_iter().filter(|section| section.kind == SHT_NOTE);
        sections.map(|section| Self::of(&section)).collect()
    }

    pub(super) fn of(section: &Section<'_>) -> Self {
        let size = u64::try_from(section.bytes.len()).unwrap_or(0);
        Self { offset: section.offset, size, align: section.align }
    }
}

impl fmt::Display for BuildId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base16ct::lower::encode_string(self.0))
    }
}

/// A segment of a real object has fewer than ten; bounds the time for a hostile one.
const MAX_NOTES: u32 = 1024;
/// Size of a note's three numbers.
const HEADER: usize = 12;

#[cfg(test)]
mod tests {
    use super::{BuildId, described};

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

    #[test]
    fn a_vendor_is_found_by_its_whole_name() {
        let text = b"{\"Format\":1}\0\0";
        for align in [4, 8] {
            let notes = [
                note(b"NVIDIA\0", 1, b"no", align),
                note(b"NVIDIA Corporation\0", 1, text, align),
                note(b"NVIDIA Corporation\0", 1, b"later", align),
            ];
            let bytes = notes.concat();
            let align = u64::try_from(align).unwrap();
            assert_eq!(described(&bytes, align, b"NVIDIA Corporation"), text.strip_suffix(b"\0\0"));
            assert_eq!(described(&bytes, align, b"NVIDIA Corp"), None);
            assert_eq!(described(bytes.split_at(40).0, align, b"NVIDIA Corporation"), None);
        }
    }
}
