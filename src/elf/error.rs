//! The errors of reading an ELF file.
//!
//! An [`ElfError`] names the table, the place and the fault. It allocates nothing and compares by
//! value, so a test can state the exact error and a scan can keep millions of them.

use std::fmt;

use goblin::error::Error as GoblinError;

use super::ident::Ident;

/// The fault of an ELF file, and its place.
///
/// `at` is an offset in the file, except for [`Kind::Unmapped`], where it is the unmapped address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ElfError {
    /// The table.
    pub table: Table,
    /// The offset of the faulty entry or table.
    pub at: u64,
    /// The fault.
    pub kind: Kind,
}

/// A table of an ELF file, as the gABI and the LSB name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Table {
    /// The ELF header.
    Header,
    /// The program headers.
    ProgramHeaders,
    /// The dynamic table, `PT_DYNAMIC`.
    Dynamic,
    /// The dynamic string table, `DT_STRTAB`.
    Strings,
    /// The dynamic symbol table, `DT_SYMTAB`.
    Symbols,
    /// The System V hash table, `DT_HASH`.
    Hash,
    /// The GNU hash table, `DT_GNU_HASH`.
    GnuHash,
    /// The version index of each symbol, `DT_VERSYM`.
    Versym,
    /// The version definitions, `DT_VERDEF`.
    Verdef,
    /// The version needs, `DT_VERNEED`.
    Verneed,
    /// The relocations, `DT_RELA`, `DT_REL` and `DT_JMPREL`.
    Relocations,
}

/// The faults of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// The file ends before the table does.
    TooShort,
    /// The file ends before its segments do, and the read would pass its end.
    CutOff,
    /// The file does not begin with the ELF magic.
    BadMagic,
    /// A sound object that no process on a supported machine can load.
    Foreign(Ident),
    /// The table, or the target of its entry, is outside the file or its segment.
    OutOfBounds,
    /// The table's address is in no loaded segment.
    Unmapped,
    /// A field has a value that the specification does not allow.
    Malformed(&'static str),
    /// The number of entries differs from the declared one.
    CountMismatch {
        /// The declared number, mostly in the dynamic table.
        declared: u64,
        /// The real number; where there are more, the declared number plus one.
        read: u64,
    },
}

impl ElfError {
    /// Whether the object is sound but for another class or machine: ld.so skips such a file, where any other fault
    /// ends its search (`open_verify` in glibc's `elf/dl-load.c`).
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        matches!(self.kind, Kind::Foreign(_))
    }

    pub(super) const fn new(table: Table, at: u64, kind: Kind) -> Self {
        Self { table, at, kind }
    }

    pub(super) const fn out_of_bounds(table: Table, at: u64) -> Self {
        Self::new(table, at, Kind::OutOfBounds)
    }

    pub(super) const fn malformed(table: Table, at: u64, what: &'static str) -> Self {
        Self::new(table, at, Kind::Malformed(what))
    }

    /// Converts goblin's errors, which are free text without an offset.
    pub(super) fn from_goblin(table: Table, at: u64, error: &GoblinError) -> Self {
        let kind = match error {
            GoblinError::BadMagic(_) => Kind::BadMagic,
            GoblinError::Malformed(_) => Kind::Malformed("a field has an unknown value"),
            _ => Kind::TooShort,
        };
        Self::new(table, at, kind)
    }
}

impl fmt::Display for ElfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, at, kind } = *self;
        match kind {
            Kind::TooShort if table == Table::Header => f.write_str("too short for an ELF header"),
            Kind::TooShort => write!(f, "the file ends inside its {table} at {at:#x}"),
            Kind::CutOff => f.write_str("the file ends before its segments do"),
            Kind::BadMagic => f.write_str("not an ELF file"),
            Kind::Foreign(ident) => write!(f, "an object for another machine: {ident}"),
            Kind::OutOfBounds => {
                write!(f, "{} at {at:#x} points outside the file", table.entry())
            }
            Kind::Unmapped => {
                write!(f, "the {table} at address {at:#x} is in no loaded segment")
            }
            Kind::Malformed(what) => write!(f, "{} at {at:#x}: {what}", table.entry()),
            Kind::CountMismatch { declared, read } => {
                write!(f, "the {table} at {at:#x} declares {declared} entries but has {read}")
            }
        }
    }
}

impl std::error::Error for ElfError {}

impl Table {
    fn entry(self) -> &'static str {
        match self {
            Self::Header => "ELF header",
            Self::ProgramHeaders => "program header",
            Self::Dynamic => "dynamic entry",
            Self::Strings => "string",
            Self::Symbols => "symbol",
            Self::Hash => "hash entry",
            Self::GnuHash => "GNU hash entry",
            Self::Versym => "versym entry",
            Self::Verdef => "verdef entry",
            Self::Verneed => "verneed entry",
            Self::Relocations => "relocation",
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "ELF header",
            Self::ProgramHeaders => "program headers",
            Self::Dynamic => "dynamic table",
            Self::Strings => "dynamic string table",
            Self::Symbols => "dynamic symbol table",
            Self::Hash => "hash table",
            Self::GnuHash => "GNU hash table",
            Self::Versym => "versym table",
            Self::Verdef => "verdef table",
            Self::Verneed => "verneed table",
            Self::Relocations => "relocation table",
        })
    }
}
