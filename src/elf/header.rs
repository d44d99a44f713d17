//! Reads the ELF header of a file of any class, byte order and machine.
//!
//! Takes the first bytes of a file; returns its [`Ident`]. Reads nothing past the header.

use super::error::{ElfError, Kind, Table};
use super::ident::Ident;
use goblin::elf::Header;
use goblin::elf::header;

/// Reads the header of an ELF file of any class, byte order and machine.
///
/// # Errors
///
/// [`Kind::TooShort`] and [`Kind::BadMagic`] for files that are not ELF, [`Kind::Malformed`]
/// for an unknown class or byte order.
pub fn ident(bytes: &[u8]) -> Result<Ident, ElfError> {
    parse_header(bytes).map(|header| Ident::of(&header))
}

pub(super) fn parse_header(bytes: &[u8]) -> Result<Header, ElfError> {
    let magic = header::ELFMAG.as_slice();
    let seen = bytes.get(..magic.len()).unwrap_or(bytes);
    if !magic.starts_with(seen) {
        return Err(ElfError::new(Table::Header, 0, Kind::BadMagic));
    }
    // goblin reports a file that is too short as malformed; distinguish a truncated download.
    if bytes.len() < header::SIZEOF_IDENT {
        return Err(ElfError::new(Table::Header, 0, Kind::TooShort));
    }
    goblin::elf::Elf::parse_header(bytes).map_err(|error| ElfError::from_goblin(Table::Header, 0, &error))
}
