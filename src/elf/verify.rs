//! Whether ld.so would load a file, and its error where it refuses one.
//!
//! Takes the bytes of a file; returns the verdict of `open_verify` and of `_dl_map_object_from_fd` (`elf/dl-load.c`),
//! which check only the header and the program headers. Never checks the tables: ld.so does not either.

use goblin::elf::ProgramHeader;
use goblin::elf::dynamic::{DF_1_NOOPEN, DF_1_PIE};
use goblin::elf::header::{ELFCLASS64, ET_DYN, ET_EXEC};
use goblin::elf::program_header::{PT_DYNAMIC, PT_LOAD};

use super::Elf;
use super::dynamic::CTX;
use super::header::parse_header;
use super::image::to_usize;

/// Why ld.so refuses a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// It is a 32-bit object. ld.so goes on, and reports it if it finds nothing else.
    OtherClass,
    /// It is for another machine. ld.so goes on.
    OtherMachine,
    /// The search ends with this message.
    Fatal(&'static str),
}

/// The role in which an object is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The program itself.
    Program,
    /// A needed or preloaded object.
    Library,
    /// A library that a running process opens.
    Opened,
}

/// `open_verify`: the check of a found file by the ld.so of `machine`.
///
/// # Errors
///
/// A [`Refusal`] where ld.so refuses the file.
pub fn open_verify(bytes: &[u8], machine: u16) -> Result<(), Refusal> {
    let fatal = |words| Err(Refusal::Fatal(words));
    let Some(header) = bytes.first_chunk::<HEADER>() else { return fatal("file too short") };
    let half = |at: usize| header.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u16::from_le_bytes(*bytes));
    let word = |at: usize| header.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u32::from_le_bytes(*bytes));
    let byte = |at: usize| header.get(at).copied().unwrap_or(0);
    if header.get(..4) != Some(b"\x7fELF") {
        return fatal("invalid ELF header");
    }
    if byte(4) != ELFCLASS64 {
        return Err(Refusal::OtherClass);
    }
    // Upstream checks the machine after the two fields below, Debian before; files of another byte order differ.
    if half(18) != machine {
        return Err(Refusal::OtherMachine);
    }
    let (data, version, abi, abi_version) = (byte(5), byte(6), byte(7), byte(8));
    // `EI_OSABI`: System V or GNU, of which the second has a few versions (`sysdeps/gnu/ldsodefs.h`).
    let known_abi = matches!(abi, 0 | 3);
    let known_version = abi_version == 0 || abi == 3 && abi_version < ABI_VERSIONS;
    let padded = header.get(9..16).is_some_and(|padding| padding.iter().all(|byte| *byte == 0));
    if data != 1 {
        return fatal("ELF file data encoding not little-endian");
    }
    if version != 1 {
        return fatal("ELF file version ident does not match current one");
    }
    if !known_abi {
        return fatal("ELF file OS ABI invalid");
    }
    if !known_version {
        return fatal("ELF file ABI version invalid");
    }
    if !padded {
        return fatal("nonzero padding in e_ident");
    }
    if word(20) != 1 {
        return fatal("ELF file version does not match current one");
    }
    if !matches!(half(16), ET_DYN | ET_EXEC) {
        return fatal("only ET_DYN and ET_EXEC can be loaded");
    }
    if usize::from(half(54)) != ProgramHeader::size(CTX) {
        return fatal("ELF file's phentsize not the expected size");
    }
    match program_headers(bytes) {
        Some(_) => Ok(()),
        None => fatal("cannot read file data"),
    }
}

/// `_dl_map_object_from_fd`: why a file that passed [`open_verify`] is not mapped.
#[must_use]
pub fn mapping_fault(bytes: &[u8], elf: Option<&Elf<'_>>, role: Role) -> Option<&'static str> {
    let headers = program_headers(bytes)?;
    let kind = bytes.get(16..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u16::from_le_bytes(*bytes));
    let mut loads = headers.iter().filter(|header| header.p_type == PT_LOAD).peekable();
    let any = loads.peek().is_some();
    if loads.any(|load| load.p_vaddr.wrapping_sub(load.p_offset) & (PAGE - 1) != 0) {
        return Some("ELF load command address/offset not page-aligned");
    }
    if !any {
        return Some("object file has no loadable segments");
    }
    if kind != ET_DYN && role != Role::Program {
        return Some("cannot dynamically load executable");
    }
    let mut dynamic = headers.iter().filter(|header| header.p_type == PT_DYNAMIC).peekable();
    let has_dynamic = dynamic.peek().is_some();
    if !has_dynamic && kind == ET_DYN || dynamic.any(|dynamic| dynamic.p_filesz == 0) {
        return Some("object file has no dynamic section");
    }
    let flags = elf.map_or(0, Elf::flags_1);
    if flags & DF_1_PIE != 0 && role != Role::Program {
        return Some("cannot dynamically load position-independent executable");
    }
    (flags & DF_1_NOOPEN != 0 && role == Role::Opened).then_some("shared object cannot be dlopen()ed")
}

/// Whether mapping the file ends in `SIGBUS`: ld.so clears the rest of a page behind the data, and the file does not
/// have that page (`_dl_map_segments`).
#[must_use]
pub fn dies_when_mapped(bytes: &[u8]) -> bool {
    let pages = u64::try_from(bytes.len()).unwrap_or(u64::MAX).div_ceil(PAGE);
    let headers = program_headers(bytes).unwrap_or_default();
    headers.iter().filter(|header| header.p_type == PT_LOAD).any(|load| {
        let end = load.p_offset.saturating_add(load.p_filesz);
        load.p_memsz > load.p_filesz && load.p_filesz > 0 && end % PAGE != 0 && end / PAGE >= pages
    })
}

/// The program headers, if complete.
fn program_headers(bytes: &[u8]) -> Option<Vec<ProgramHeader>> {
    let header = parse_header(bytes).ok()?;
    ProgramHeader::parse(bytes, to_usize(header.e_phoff), usize::from(header.e_phnum), CTX).ok()
}

/// Size of an `Elf64_Ehdr`.
const HEADER: usize = 64;
/// Pages of x86-64, and of all but a few aarch64 systems.
const PAGE: u64 = 4096;
/// `LIBC_ABI_MAX` of the current glibc. Older ones know fewer, but files that need them are rarer still.
const ABI_VERSIONS: u8 = 4;
