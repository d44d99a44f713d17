//! The number of symbols of an object whose hash tables do not record it.
//!
//! Takes the dynamic table; returns one more than the highest symbol of a relocation. An
//! object that defines nothing has an empty GNU hash table, and no other field that ld.so reads records
//! the number of symbols. The loader itself finds undefined symbols only through relocations.

use goblin::elf::RelocSection;
use goblin::elf::dynamic::{DT_JMPREL, DT_PLTREL, DT_PLTRELSZ, DT_REL, DT_RELA, DT_RELASZ, DT_RELSZ};

use super::dynamic::{CTX, Dynamic};
use super::error::{ElfError, Table};
use super::image::{Image, to_usize};

pub(super) fn symbol_count(image: &Image<'_>, dynamic: &Dynamic<'_>) -> Result<usize, ElfError> {
    let plt_has_addends = dynamic.value(DT_PLTREL) == Some(DT_RELA);
    let tables = [(DT_RELA, DT_RELASZ, true), (DT_REL, DT_RELSZ, false), (DT_JMPREL, DT_PLTRELSZ, plt_has_addends)];

    let mut count = 0;
    for (tag, size_tag, has_addends) in tables {
        let size = to_usize(dynamic.value(size_tag).unwrap_or(0));
        if size == 0 {
            continue;
        }
        let Some(chunk) = dynamic.table(image, Table::Relocations, tag)? else {
            continue;
        };
        let chunk = chunk.entries(size, 1)?;
        let section = RelocSection::parse(chunk.bytes, 0, size, has_addends, CTX)
            .map_err(|error| ElfError::from_goblin(Table::Relocations, chunk.at, &error))?;
        let above = |symbol: usize| symbol.saturating_add(1);
        count = section.iter().map(|entry| above(entry.r_sym)).fold(count, usize::max);
    }
    Ok(count)
}
