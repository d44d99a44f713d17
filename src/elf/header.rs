//! The ELF header, read: what a file of any class, byte order and machine is.
//!
//! Takes the first bytes of a file; gives its [`Ident`]. Reads nothing past the header.

use super::error::{ElfError, Kind, Table};
use super::ident::Ident;
use goblin::elf::Header;
use goblin::elf::header;

/// Reads the header of an ELF file of any class, byte order and machine.
///
/// # Errors
///
/// [`Kind::TooShort`] and [`Kind::BadMagic`] for files that are not ELF at all, [`Kind::Malformed`]
/// for a class or byte order that does not exist.
pub fn ident(bytes: &[u8]) -> Result<Ident, ElfError> {
    parse_header(bytes).map(|header| Ident::of(&header))
}

pub(super) fn parse_header(bytes: &[u8]) -> Result<Header, ElfError> {
    let magic = header::ELFMAG.as_slice();
    let seen = bytes.get(..magic.len()).unwrap_or(bytes);
    if !magic.starts_with(seen) {
        return Err(ElfError::new(Table::Header, 0, Kind::BadMagic));
    }
    // goblin calls a file that is too short malformed; a truncated download deserves its own name.
    if bytes.len() < header::SIZEOF_IDENT {
        return Err(ElfError::new(Table::Header, 0, Kind::TooShort));
    }
    goblin::elf::Elf::parse_header(bytes).map_err(|error| ElfError::from_goblin(Table::Header, 0, &error))
}
