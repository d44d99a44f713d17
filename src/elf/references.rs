//! The symbols that an object's relocations need, in ld.so's order.
//!
//! Takes the dynamic table and the symbol tables; returns each symbol once, at its first reference. The order is that
//! of `ELF_DYNAMIC_RELOCATE` (`elf/dynamic-link.h`): `DT_RELA` without its first `DT_RELACOUNT` entries, which name no
//! symbol, then `DT_JMPREL`. Never looks a symbol up.

use goblin::elf::dynamic::{DT_JMPREL, DT_PLTRELSZ, DT_RELA, DT_RELACOUNT, DT_RELASZ};

use super::dynamic::Dynamic;
use super::error::{ElfError, Table};
use super::image::{Chunk, Image, to_usize};
use super::symbols::{Reference, RelocationClass, SymbolTables};

/// When functions are bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// At their first call: `RTLD_LAZY`.
    Lazy,
    /// At once: `RTLD_NOW`, `LD_BIND_NOW`, `DF_BIND_NOW`.
    Now,
}

/// The class of a relocation of `kind`; `None` for the kinds that never look a symbol up.
const fn class(machine: u16, kind: u32) -> Option<RelocationClass> {
    use goblin::elf::header::EM_AARCH64;
    use goblin::elf::reloc::{
        R_AARCH64_COPY, R_AARCH64_IRELATIVE, R_AARCH64_JUMP_SLOT, R_AARCH64_NONE, R_AARCH64_RELATIVE,
        R_AARCH64_TLS_DTPMOD, R_AARCH64_TLS_DTPREL, R_AARCH64_TLS_TPREL, R_AARCH64_TLSDESC, R_X86_64_COPY,
        R_X86_64_DTPMOD64, R_X86_64_DTPOFF64, R_X86_64_IRELATIVE, R_X86_64_JUMP_SLOT, R_X86_64_NONE, R_X86_64_RELATIVE,
        R_X86_64_RELATIVE64, R_X86_64_TLSDESC, R_X86_64_TPOFF64,
    };
    if machine == EM_AARCH64 {
        return match kind {
            R_AARCH64_NONE | R_AARCH64_RELATIVE | R_AARCH64_IRELATIVE => None,
            R_AARCH64_JUMP_SLOT | R_AARCH64_TLS_DTPMOD | R_AARCH64_TLS_DTPREL | R_AARCH64_TLS_TPREL
            | R_AARCH64_TLSDESC => Some(RelocationClass::Defined),
            R_AARCH64_COPY => Some(RelocationClass::Copy),
            _ => Some(RelocationClass::Any),
        };
    }
    match kind {
        R_X86_64_NONE | R_X86_64_RELATIVE | R_X86_64_RELATIVE64 | R_X86_64_IRELATIVE => None,
        R_X86_64_JUMP_SLOT | R_X86_64_DTPMOD64 | R_X86_64_DTPOFF64 | R_X86_64_TPOFF64 | R_X86_64_TLSDESC => {
            Some(RelocationClass::Defined)
        }
        R_X86_64_COPY => Some(RelocationClass::Copy),
        _ => Some(RelocationClass::Any),
    }
}

/// Whether an entry of `DT_JMPREL` is bound at its first call (`elf_machine_lazy_rel`).
const fn is_lazy(machine: u16, kind: u32) -> bool {
    use goblin::elf::header::EM_AARCH64;
    use goblin::elf::reloc::{R_AARCH64_JUMP_SLOT, R_X86_64_JUMP_SLOT};
    kind == if machine == EM_AARCH64 { R_AARCH64_JUMP_SLOT } else { R_X86_64_JUMP_SLOT }
}

/// Calls `each` with every symbol that a relocation needs from other objects, once for each class, until it breaks.
pub(super) fn walk<'a>(
    image: &Image<'a>,
    dynamic: &Dynamic<'a>,
    tables: &SymbolTables<'a>,
    machine: u16,
    binding: Binding,
    mut each: impl FnMut(Reference<'a>),
) -> Result<(), ElfError> {
    let mut seen = vec![0_u8; tables.len()];
    let mut names = tables.names();
    for range in ranges(image, dynamic, binding)?.into_iter().flatten() {
        for entry in range.chunk.bytes.as_chunks::<ENTRY>().0 {
            let [_, info, _] = words(entry);
            let kind = u32::try_from(info & 0xffff_ffff).unwrap_or(0);
            let symbol = to_usize(info >> 32);
            // Index 0 is a local symbol without a name: no look-up.
            if symbol == 0 || (range.lazy && is_lazy(machine, kind)) {
                continue;
            }
            let Some(class) = class(machine, kind) else { continue };
            let mark = match class {
                RelocationClass::Any => 1,
                RelocationClass::Defined => 2,
                RelocationClass::Copy => 4,
            };
            match seen.get_mut(symbol) {
                Some(seen) if *seen & mark == 0 => *seen |= mark,
                Some(_) => continue,
                None => return Err(range.chunk.malformed("a symbol behind the end of the table")),
            }
            if let Some(reference) = tables.reference(symbol, class, &mut names)? {
                each(reference);
            }
        }
    }
    Ok(())
}

/// A table of relocations, without those that name no symbol.
struct Range<'a> {
    chunk: Chunk<'a>,
    lazy: bool,
}

/// `_ELF_DYNAMIC_DO_RELOC`: the two tables, of which the second may be the end of the first.
fn ranges<'a>(image: &Image<'a>, dynamic: &Dynamic<'a>, binding: Binding) -> Result<[Option<Range<'a>>; 2], ElfError> {
    let number = |tag| dynamic.value(tag).unwrap_or(0);
    let mut size = number(DT_RELASZ);
    let (plt, plt_size) = (number(DT_JMPREL), number(DT_PLTRELSZ));
    if plt_size > 0 && number(DT_RELA).checked_add(size) == plt.checked_add(plt_size) {
        size = size.saturating_sub(plt_size);
    }
    let entry = u64::try_from(ENTRY).unwrap_or(u64::MAX);
    let skip = number(DT_RELACOUNT).saturating_mul(entry).min(size);
    let table = |tag, size: u64, skip: u64, lazy| -> Result<Option<Range<'a>>, ElfError> {
        if size <= skip {
            return Ok(None);
        }
        let Some(chunk) = dynamic.table(image, Table::Relocations, tag)? else { return Ok(None) };
        let chunk = chunk.entries(to_usize(size), 1)?.after(to_usize(skip), 1)?;
        Ok(Some(Range { chunk, lazy }))
    };
    Ok([table(DT_RELA, size, skip, false)?, table(DT_JMPREL, plt_size, 0, binding == Binding::Lazy)?])
}

fn words(entry: &[u8; ENTRY]) -> [u64; 3] {
    let mut words = [0; 3];
    for (word, bytes) in words.iter_mut().zip(entry.as_chunks().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    words
}

/// Size of an `Elf64_Rela`. Both machines use no other form (`sysdeps/*/dl-machine-rel.h`).
const ENTRY: usize = 24;
