//! The sections of an object, if its section headers remain.
//!
//! Takes the section headers; returns each section's name and bytes. ld.so never reads them and
//! `strip` may remove them, so no decision about loading depends on this: it is for other
//! facts, such as the GPU code of a library.

use goblin::elf::section_header::SHT_NOBITS;
use goblin::elf::{Header, SectionHeader};

use super::dynamic::CTX;
use super::image::{Image, to_usize};

/// A part of an object with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Section<'a> {
    /// Its name, such as `.rodata`.
    pub name: &'a [u8],
    /// Its kind, `sh_type`.
    pub kind: u32,
    /// Its offset in the file.
    pub offset: u64,
    /// Its alignment, `sh_addralign`.
    pub align: u64,
    /// Its bytes, up to the end of the file; none for `SHT_NOBITS`.
    pub bytes: &'a [u8],
}

/// The sections in the file's order; none where the headers are missing or damaged.
pub(super) fn sections<'a>(header: &Header, image: &Image<'a>) -> Vec<Section<'a>> {
    // goblin reads 0 sections as "more than fit the field".
    if header.e_shnum == 0 || usize::from(header.e_shentsize) != SectionHeader::size(CTX) {
        return Vec::new();
    }
    let file = image.slice(0, u64::MAX);
    let headers = SectionHeader::parse(file, to_usize(header.e_shoff), header.e_shnum.into(), CTX).unwrap_or_default();
    let names = headers.get(usize::from(header.e_shstrndx)).map_or(&[][..], |s| image.slice(s.sh_offset, s.sh_size));
    headers
        .iter()
        .map(|section| Section {
            name: name(names, section.sh_name),
            kind: section.sh_type,
            offset: section.sh_offset,
            align: section.sh_addralign,
            bytes: match section.sh_type {
                SHT_NOBITS => &[],
                _ => image.slice(section.sh_offset, section.sh_size),
            },
        })
        .collect()
}

/// The name at `at`. One longer than in any linker script is damage, and cut off, so that
/// no file requires a read of the whole table of names for every section.
fn name(names: &[u8], at: usize) -> &[u8] {
    let tail = names.get(at..).unwrap_or_default();
    let tail = tail.get(..MAX_NAME).unwrap_or(tail);
    tail.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// The longest name that is read.
const MAX_NAME: usize = 256;
