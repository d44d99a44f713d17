//! One ELF file, read as the dynamic loader reads it.
//!
//! Takes the bytes of a file; returns names, versions and symbols. Finds everything as ld.so does, through the program
//! headers and the dynamic table, so section headers are not needed. Never opens files, never panics, and never
//! follows a chain further than the number of its entries, whatever the bytes are.
//!
//! # Overview
//!
//! [`ident()`] reads the header of an ELF file of any machine. [`Elf`] is an object that a process
//! here could load: [`Elf::parse`] reads only the program headers and the dynamic table, so it costs
//! microseconds however large the file is; the symbol tables are read at first use.
//! [`Elf::undefined`] and [`Elf::lookup`] together decide whether a library defines each symbol that another needs.
//!
//! ```no_run
//! use cudashim::internal::elf::Elf;
//!
//! let consumer = std::fs::read("libtorch_cuda.so")?;
//! let provider = std::fs::read("libcublas.so.12")?;
//! let provider = Elf::parse(&provider)?;
//! for symbol in Elf::parse(&consumer)?.undefined()? {
//!     let Some(version) = symbol.version else { continue };
//!     if provider.soname() == Some(version.file)
//!         && provider.lookup(symbol.name, Some(version.node))?.is_none()
//!     {
//!         println!("{}", String::from_utf8_lossy(symbol.name));
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::as_conversions)]

mod at_start;
mod dynamic;
mod error;
pub mod fatbin;
mod hash;
mod header;
mod ident;
mod image;
mod loading;
mod notes;
mod references;
mod relocations;
mod sections;
mod symbols;
mod verify;
mod versions;

use std::fmt;
use std::sync::OnceLock;

use goblin::elf::dynamic::{
    DF_1_NODEFLIB, DF_1_NOOPEN, DF_1_NOW, DF_1_PIE, DF_BIND_NOW, DF_STATIC_TLS, DF_SYMBOLIC, DF_TEXTREL, DT_BIND_NOW,
    DT_SYMBOLIC, DT_TEXTREL,
};
use goblin::elf::header::{EI_VERSION, EV_CURRENT};
use goblin::elf::program_header::{PF_X, PT_DYNAMIC, PT_GNU_STACK, PT_INTERP, PT_NOTE, PT_TLS};
use goblin::elf::{Header, ProgramHeader};

use self::dynamic::{CTX, Dynamic};
use self::image::{Image, to_usize};
use self::notes::NoteTable;
use self::symbols::{Required, SymbolTables};

pub use self::at_start::{AtStart, Ranges, at_start};
pub use self::dynamic::Filter;
pub use self::error::{ElfError, Kind, Table};
pub use self::header::ident;
pub use self::ident::{Class, Endian, Ident, ObjectKind};
pub use self::loading::{Glibc, SymbolCounts, Tls};
pub use self::notes::BuildId;
pub use self::references::Binding;
pub use self::sections::Section;
pub use self::symbols::{Defined, Definition, Reference, RelocationClass, Undefined};
pub use self::verify::{Refusal, Role, dies_when_mapped, mapping_fault, open_verify};
pub use self::versions::{NeededVersion, RequiredVersion, VersionDefinition, VersionNeed};

/// A symbol that is looked up: its name and the required node.
pub type SymbolRef<'s> = (&'s [u8], Option<&'s [u8]>);

/// A 64-bit little-endian object for x86-64 or aarch64, borrowed from the bytes of its file.
pub struct Elf<'a> {
    header: Header,
    ident: Ident,
    image: Image<'a>,
    interpreter: Option<&'a [u8]>,
    stack_flags: Option<u32>,
    tls: Option<Tls>,
    notes: Vec<NoteTable>,
    dynamic: Option<Dynamic<'a>>,
    /// Read at the first look-up; an error is kept for the later ones.
    tables: OnceLock<Result<Option<SymbolTables<'a>>, ElfError>>,
}

impl<'a> Elf<'a> {
    /// Reads the header, the program headers and the dynamic table.
    ///
    /// An object without a dynamic table, such as a static program, is not an error: see
    /// [`is_dynamic`](Self::is_dynamic).
    ///
    /// # Errors
    ///
    /// [`Kind::Foreign`] for an object of another machine, class or OS ABI; else as [`ident()`], or
    /// whatever is wrong with the three tables.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ElfError> {
        let header = header::parse_header(bytes)?;
        let ident = Ident::of(&header);
        if !ident.is_supported() {
            return Err(ElfError::new(Table::Header, 0, Kind::Foreign(ident)));
        }
        // All three checks of glibc's open_verify; goblin would go on with the usual version and size.
        let version = header.e_ident.get::<usize>(EI_VERSION).copied().unwrap_or(0);
        if version != EV_CURRENT || header.e_version != u32::from(EV_CURRENT) {
            return Err(ElfError::malformed(Table::Header, 0, "unknown version of ELF"));
        }
        if header.e_phnum > 0 && usize::from(header.e_phentsize) != ProgramHeader::size(CTX) {
            return Err(ElfError::malformed(Table::Header, 0, "unknown size of program headers"));
        }
        let count = usize::from(header.e_phnum);
        let headers = ProgramHeader::parse(bytes, to_usize(header.e_phoff), count, CTX)
            .map_err(|error| ElfError::from_goblin(Table::ProgramHeaders, header.e_phoff, &error))?;

        let image = Image::new(bytes, &headers);
        let last = |kind| headers.iter().rev().find(move |header| header.p_type == kind);
        // As glibc: an empty one marks debug information split off by objcopy.
        let dynamic = last(PT_DYNAMIC)
            .filter(|header| header.p_filesz > 0)
            .map(|header| Dynamic::parse(&image, header))
            .transpose()
            // A truncated file usually lacks its tables: report the truncation.
            .map_err(|error| if image.is_truncated() { ElfError { kind: Kind::CutOff, ..error } } else { error })?;
        Ok(Self {
            ident,
            interpreter: last(PT_INTERP).and_then(|header| {
                let bytes = image.slice(header.p_offset, header.p_filesz);
                bytes.split(|&byte| byte == 0).next().filter(|path| !path.is_empty())
            }),
            stack_flags: last(PT_GNU_STACK).map(|header| header.p_flags),
            tls: last(PT_TLS).map(|header| Tls { size: header.p_memsz, align: header.p_align }),
            notes: headers
                .iter()
                .filter(|header| header.p_type == PT_NOTE)
                .map(|header| NoteTable { offset: header.p_offset, size: header.p_filesz, align: header.p_align })
                .collect(),
            header,
            dynamic,
            image,
            tables: OnceLock::new(),
        })
    }

    /// The facts of the header.
    #[must_use]
    pub fn ident(&self) -> Ident {
        self.ident
    }

    /// Whether it has a dynamic table; a static program has none.
    #[must_use]
    pub fn is_dynamic(&self) -> bool {
        self.dynamic.is_some()
    }

    /// Whether it is a program: `ET_EXEC`, or marked `DF_1_PIE`.
    ///
    /// # Platform behaviour
    ///
    /// glibc refuses to `dlopen` both. An interpreter proves nothing: `libc.so.6` has one.
    #[must_use]
    pub fn is_executable(&self) -> bool {
        self.ident.kind == ObjectKind::Executable || self.flags_1() & DF_1_PIE != 0
    }

    /// The loader of a program, `PT_INTERP`.
    #[must_use]
    pub fn interpreter(&self) -> Option<&'a [u8]> {
        self.interpreter
    }

    /// Whether a segment runs past the end of the file, as after an interrupted download.
    ///
    /// # Platform behaviour
    ///
    /// glibc maps such a file without an error; the process dies by SIGBUS when it touches a missing page.
    #[must_use]
    pub fn truncated(&self) -> bool {
        self.image.is_truncated()
    }

    /// `DT_SONAME`.
    #[must_use]
    pub fn soname(&self) -> Option<&'a [u8]> {
        self.dynamic.as_ref()?.soname
    }

    /// The names of the objects that it needs, `DT_NEEDED`, in the file's order.
    #[must_use]
    pub fn needed(&self) -> &[&'a [u8]] {
        self.dynamic.as_ref().map_or(&[], |dynamic| &dynamic.needed)
    }

    /// The filters, `DT_FILTER` and `DT_AUXILIARY`, each with the number of needed entries before it.
    #[must_use]
    pub fn filters(&self) -> &[(usize, Filter<'a>)] {
        self.dynamic.as_ref().map_or(&[], |dynamic| &dynamic.filters)
    }

    /// The search path `DT_RPATH`, unexpanded.
    ///
    /// # Platform behaviour
    ///
    /// glibc ignores it where there is a [`runpath`](Self::runpath) (`elf/get-dynamic-info.h`). It is
    /// searched before `LD_LIBRARY_PATH`, and also for what the needed objects need in turn.
    #[must_use]
    pub fn rpath(&self) -> Option<&'a [u8]> {
        self.dynamic.as_ref()?.rpath
    }

    /// The search path `DT_RUNPATH`, unexpanded.
    ///
    /// # Platform behaviour
    ///
    /// Searched after `LD_LIBRARY_PATH`, and for this object's own needed entries only (`ld.so(8)`).
    #[must_use]
    pub fn runpath(&self) -> Option<&'a [u8]> {
        self.dynamic.as_ref()?.runpath
    }

    /// `DT_FLAGS`, the `DF_*` bits.
    #[must_use]
    pub fn flags(&self) -> u64 {
        self.dynamic.as_ref().map_or(0, |dynamic| dynamic.flags)
    }

    /// `DT_FLAGS_1`, the `DF_1_*` bits.
    #[must_use]
    pub fn flags_1(&self) -> u64 {
        self.dynamic.as_ref().map_or(0, |dynamic| dynamic.flags_1)
    }

    /// `DF_1_NODEFLIB`: neither the cache's system entries nor the default directories are searched
    /// for what it needs (`ld.so(8)`).
    #[must_use]
    pub fn nodeflib(&self) -> bool {
        self.flags_1() & DF_1_NODEFLIB != 0
    }

    /// Whether all its symbols are bound when it is loaded: `DT_BIND_NOW`, `DF_BIND_NOW` or `DF_1_NOW`.
    #[must_use]
    pub fn binds_now(&self) -> bool {
        let tag = self.dynamic.as_ref().is_some_and(|dynamic| dynamic.value(DT_BIND_NOW).is_some());
        tag || self.flags() & DF_BIND_NOW != 0 || self.flags_1() & DF_1_NOW != 0
    }

    /// Whether its own definitions come first for its references: `DT_SYMBOLIC` or `DF_SYMBOLIC`.
    #[must_use]
    pub fn symbolic(&self) -> bool {
        let tag = self.dynamic.as_ref().is_some_and(|dynamic| dynamic.value(DT_SYMBOLIC).is_some());
        tag || self.flags() & DF_SYMBOLIC != 0
    }

    /// `DF_1_NOOPEN`: `dlopen` refuses it.
    #[must_use]
    pub fn noopen(&self) -> bool {
        self.flags_1() & DF_1_NOOPEN != 0
    }

    /// `DF_STATIC_TLS`: its thread-local storage must fit into the static block, which may be full at a late `dlopen`.
    #[must_use]
    pub fn static_tls(&self) -> bool {
        self.flags() & DF_STATIC_TLS != 0
    }

    /// Whether loading it makes the stacks executable: `PT_GNU_STACK` requires that or is missing, which
    /// means the same on both machines (glibc, `stackinfo.h`).
    ///
    /// # Platform behaviour
    ///
    /// Since glibc 2.41 `dlopen` fails on such an object instead of making the stacks executable.
    #[must_use]
    pub fn executable_stack(&self) -> bool {
        self.stack_flags.is_none_or(|flags| flags & PF_X != 0)
    }

    /// Its thread-local storage, if it has any.
    #[must_use]
    pub fn tls(&self) -> Option<Tls> {
        self.tls
    }

    /// Whether it has relocations in the packed form `DT_RELR`.
    ///
    /// # Platform behaviour
    ///
    /// A glibc before 2.36 silently skips them; link editors therefore add a need of `GLIBC_ABI_DT_RELR`, which makes
    /// it refuse the object.
    #[must_use]
    pub fn relr(&self) -> bool {
        self.dynamic.as_ref().is_some_and(|dynamic| dynamic.value(DT_RELR).is_some())
    }

    /// Whether the loader must write to its code: `DT_TEXTREL` or `DF_TEXTREL`. `SELinux` forbids it by default.
    #[must_use]
    pub fn text_relocations(&self) -> bool {
        let tag = self.dynamic.as_ref().is_some_and(|dynamic| dynamic.value(DT_TEXTREL).is_some());
        tag || self.flags() & DF_TEXTREL != 0
    }

    /// The oldest C library that defines all the nodes it needs; `None` where it needs none.
    ///
    /// # Errors
    ///
    /// Any fault of `DT_VERNEED`.
    pub fn glibc_floor(&self) -> Result<Option<Glibc>, ElfError> {
        let needs = self.version_needs()?;
        let strong = needs.iter().flat_map(|need| &need.versions).filter(|version| !version.weak);
        Ok(strong.filter_map(|version| Glibc::of_node(version.name)).max())
    }

    /// How many symbols it defines and needs.
    ///
    /// # Errors
    ///
    /// Any fault of the symbol, hash or version tables.
    pub fn symbol_counts(&self) -> Result<SymbolCounts, ElfError> {
        let undefined = self.undefined()?;
        let weak = undefined.iter().filter(|symbol| symbol.weak).count();
        let defined = self.definitions()?.len();
        Ok(SymbolCounts { defined, undefined: undefined.len().saturating_sub(weak), weak })
    }

    /// The drivers that a `libcuda` of NVIDIA's forward-compatibility package may run on: a JSON
    /// text in a note of `NVIDIA Corporation`, in the section `.note.cuda.fwd_compatibility`. Known from
    /// NVIDIA's container toolkit, which reads it (`cmd/nvidia-cdi-hook/cudacompat`).
    #[must_use]
    pub fn forward_compatibility(&self) -> Option<&'a [u8]> {
        let find = |note: NoteTable| {
            notes::described(self.image.slice(note.offset, note.size), note.align, b"NVIDIA Corporation")
        };
        let by_section = self.sections().into_iter().filter(|section| section.name == FORWARD_COMPATIBILITY);
        by_section
            .map(|section| NoteTable::of(&section))
            .chain(self.notes.iter().copied())
            .find_map(find)
            // Other notes of the same owner may exist; this one is a JSON object.
            .filter(|text| text.first() == Some(&b'{'))
    }

    /// Its sections, in the file's order; none where `strip` took the headers.
    #[must_use]
    pub fn sections(&self) -> Vec<Section<'a>> {
        sections::sections(&self.header, &self.image)
    }

    /// The bytes of the file that are mapped, segment by segment.
    pub fn segments(&self) -> impl Iterator<Item = &'a [u8]> {
        self.image.segments()
    }

    /// The first bytes of the function that `dlsym(3)` returns for `name`: the size of its symbol, at
    /// most `limit`, with the address they are loaded at.
    ///
    /// # Errors
    ///
    /// Any fault of the symbol, hash or version tables, and an address in no segment.
    pub fn code(&self, name: &[u8], limit: u64) -> Result<Option<(u64, &'a [u8])>, ElfError> {
        let Some(tables) = self.tables()? else { return Ok(None) };
        let Some((address, size)) = tables.function(name)? else { return Ok(None) };
        Ok(Some((address, self.loaded(address, size.min(limit))?)))
    }

    /// At most `size` bytes of the file, as they are loaded at `address`.
    ///
    /// # Errors
    ///
    /// [`Kind::Unmapped`] and [`Kind::OutOfBounds`].
    pub fn loaded(&self, address: u64, size: u64) -> Result<&'a [u8], ElfError> {
        let bytes = self.image.at(Table::Symbols, address)?.bytes;
        Ok(bytes.get(..to_usize(size)).unwrap_or(bytes))
    }

    /// The build ID, from `PT_NOTE`, else from the note sections: patchelf moves the note and leaves
    /// `PT_NOTE` behind, as in the cuDNN wheels. The loader does not use it, so sections suffice.
    #[must_use]
    pub fn build_id(&self) -> Option<BuildId<'a>> {
        let find = |note: NoteTable| BuildId::find(self.image.slice(note.offset, note.size), note.align);
        self.notes
            .iter()
            .copied()
            .find_map(find)
            .or_else(|| NoteTable::of_sections(&self.header, &self.image).into_iter().find_map(find))
    }

    /// The versions that it defines.
    ///
    /// # Errors
    ///
    /// Any fault of `DT_VERDEF`, including another number of entries than `DT_VERDEFNUM` declares.
    pub fn version_definitions(&self) -> Result<Vec<VersionDefinition<'a>>, ElfError> {
        let Some(dynamic) = &self.dynamic else {
            return Ok(Vec::new());
        };
        versions::definitions(&self.image, dynamic)
    }

    /// The versions that it needs, by the object that must define them.
    ///
    /// # Errors
    ///
    /// Any fault of `DT_VERNEED`, including another number of entries than declared.
    pub fn version_needs(&self) -> Result<Vec<VersionNeed<'a>>, ElfError> {
        let Some(dynamic) = &self.dynamic else {
            return Ok(Vec::new());
        };
        versions::needs(&self.image, dynamic)
    }

    /// Whether the loader looks at the versions of its symbols: it has a versym table, and defines
    /// or needs a version.
    ///
    /// # Platform behaviour
    ///
    /// An unversioned object satisfies any node, with one exception: if its soname is the one
    /// in the consumer's version need, an assertion in glibc's `check_match` ends the process.
    ///
    /// # Errors
    ///
    /// Any fault of the symbol, hash or version tables.
    pub fn is_versioned(&self) -> Result<bool, ElfError> {
        Ok(self.tables()?.is_some_and(SymbolTables::is_versioned))
    }

    /// The symbols that it needs from other objects, in the file's order.
    ///
    /// # Errors
    ///
    /// Any fault of the symbol, hash or version tables.
    pub fn undefined(&self) -> Result<Vec<Undefined<'a>>, ElfError> {
        self.tables()?.map_or(Ok(Vec::new()), SymbolTables::undefined)
    }

    /// The symbols that it defines, in the file's order: all that [`lookup`](Self::lookup) can find.
    ///
    /// # Errors
    ///
    /// Any fault of the symbol, hash or version tables.
    pub fn definitions(&self) -> Result<Vec<Defined<'a>>, ElfError> {
        self.tables()?.map_or(Ok(Vec::new()), SymbolTables::definitions)
    }

    /// The symbol that a relocation for `name`, of version `node` if there is one, binds to.
    ///
    /// # Platform behaviour
    ///
    /// As glibc's `check_match` (`elf/dl-lookup.c`). A required node matches a symbol of that
    /// node, one of the base version, or any symbol if the object has no versions. Without a
    /// node, the first version matches, hidden or not, else the only default version.
    ///
    /// # Errors
    ///
    /// Any fault of the symbol, hash or version tables.
    pub fn lookup(&self, name: &[u8], node: Option<&[u8]>) -> Result<Option<Definition<'a>>, ElfError> {
        self.search(name, Required::by_relocation(node))
    }

    /// The symbol that `dlsym(3)` returns for `name`: the default version, whatever its
    /// age, where a relocation would bind to the first.
    ///
    /// # Errors
    ///
    /// Any fault of the symbol, hash or version tables.
    pub fn lookup_newest(&self, name: &[u8]) -> Result<Option<Definition<'a>>, ElfError> {
        self.search(name, Required::Newest)
    }

    /// Whether [`lookup`](Self::lookup) finds the symbol. A damaged table defines nothing.
    #[must_use]
    pub fn defines(&self, name: &[u8], node: Option<&[u8]>) -> bool {
        self.lookup(name, node).ok().flatten().is_some()
    }

    /// Those of the `required` symbols and nodes that it does not define.
    ///
    /// # Errors
    ///
    /// Any fault of the symbol, hash or version tables.
    pub fn missing<'s>(
        &self,
        required: impl IntoIterator<Item = SymbolRef<'s>>,
    ) -> Result<Vec<SymbolRef<'s>>, ElfError> {
        let mut missing = Vec::new();
        for (name, node) in required {
            if self.lookup(name, node)?.is_none() {
                missing.push((name, node));
            }
        }
        Ok(missing)
    }

    /// The symbols that its relocations need from other objects, each once for each class, in the order of ld.so's
    /// look-ups. Those that it defines itself are left out: they are never undefined.
    ///
    /// # Errors
    ///
    /// Any fault of the symbol, hash, version or relocation tables.
    pub fn references(&self, binding: Binding) -> Result<Vec<Reference<'a>>, ElfError> {
        let mut found = Vec::new();
        if let (Some(dynamic), Some(tables)) = (&self.dynamic, self.tables()?) {
            references::walk(&self.image, dynamic, tables, self.ident.machine, binding, |one| found.push(one))?;
        }
        Ok(found)
    }

    /// The symbol that a relocation of another object, or of its own, binds to.
    ///
    /// # Errors
    ///
    /// Any fault of the symbol, hash or version tables.
    pub fn definition_of(&self, reference: &Reference<'_>) -> Result<Option<Definition<'a>>, ElfError> {
        self.tables()?.map_or(Ok(None), |tables| tables.definition_of(reference))
    }

    fn search(&self, name: &[u8], required: Required<'_>) -> Result<Option<Definition<'a>>, ElfError> {
        self.tables()?.map_or(Ok(None), |tables| tables.lookup(name, required))
    }

    fn tables(&self) -> Result<Option<&SymbolTables<'a>>, ElfError> {
        let read = || {
            let read = |dynamic| SymbolTables::parse(&self.image, dynamic);
            self.dynamic.as_ref().map(read).transpose()
        };
        match self.tables.get_or_init(read) {
            Ok(tables) => Ok(tables.as_ref()),
            Err(error) => Err(*error),
        }
    }
}

/// Packed relative relocations (gABI, "Dynamic Section"); goblin does not name it.
const DT_RELR: u64 = 36;

const FORWARD_COMPATIBILITY: &[u8] = b".note.cuda.fwd_compatibility";

impl fmt::Debug for Elf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Elf")
            .field("ident", &self.ident)
            .field("soname", &self.soname().map(String::from_utf8_lossy))
            .finish_non_exhaustive()
    }
}
