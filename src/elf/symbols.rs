//! The dynamic symbols of an object.
//!
//! Takes the dynamic table; returns the undefined and the defined symbols with their versions, and looks up one by
//! name. The look-up follows glibc's `check_match` and `do_lookup_x` (`elf/dl-lookup.c`) to the letter, for one
//! object; the order of objects is the caller's.

use goblin::elf::Symtab;
use goblin::elf::dynamic::{DT_GNU_HASH, DT_HASH, DT_SYMTAB, DT_VERSYM};
use goblin::elf::sym::{
    STB_GLOBAL, STB_GNU_UNIQUE, STB_LOCAL, STB_WEAK, STT_COMMON, STT_FUNC, STT_GNU_IFUNC, STT_NOTYPE, STT_OBJECT,
    STT_TLS, STV_HIDDEN, STV_INTERNAL, Sym,
};

use super::dynamic::{CTX, Dynamic, Names, Strings};
use super::error::{ElfError, Kind, Table};
use super::hash::{Candidates, GnuHash, SysvHash, gnu_hash, sysv_hash};
use super::image::{Chunk, Image, to_usize};
use super::relocations;
use super::versions::{self, NeededVersion, Version, VersionIndex};

/// A symbol that an object needs from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct Undefined<'a> {
    /// The symbol's name.
    pub name: &'a [u8],
    /// The version it must have.
    pub version: Option<NeededVersion<'a>>,
    /// Its binding is `STB_WEAK`: it is 0 where it stays undefined.
    pub weak: bool,
}

/// A symbol that an object defines for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct Defined<'a> {
    /// The symbol's name.
    pub name: &'a [u8],
    /// Its version; `None` where it has only the base version or none.
    pub node: Option<&'a [u8]>,
    /// Its binding is `STB_WEAK`. ld.so makes no difference (`ld.so(8)`, `LD_DYNAMIC_WEAK`).
    pub weak: bool,
    /// Not the default version of its name: `foo@V1`, not `foo@@V1`.
    pub hidden: bool,
}

/// The symbol of an object that a name binds to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct Definition<'a> {
    /// Its version; `None` where it has only the base version or none.
    pub node: Option<&'a [u8]>,
    /// Its binding is `STB_WEAK`.
    pub weak: bool,
    /// Not the default version of its name.
    pub hidden: bool,
}

/// Which definitions satisfy a relocation: `elf_machine_type_class` in `sysdeps/*/dl-machine.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RelocationClass {
    /// Any, also the PLT entry of a program that serves as a function's address.
    Any,
    /// `ELF_RTYPE_CLASS_PLT`: a real definition. Calls and thread-local storage.
    Defined,
    /// `ELF_RTYPE_CLASS_COPY`: not the program's own.
    Copy,
}

/// A symbol that a relocation refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Reference<'a> {
    /// The symbol's name.
    pub name: &'a [u8],
    /// The version it must have.
    pub version: Option<NeededVersion<'a>>,
    /// Its binding is `STB_WEAK`: it is 0 where it stays undefined.
    pub weak: bool,
    /// Which definitions satisfy it.
    pub class: RelocationClass,
    hash: u32,
    node: Option<(u32, bool)>,
}

/// Which version of a name a look-up needs.
#[derive(Clone, Copy)]
pub(super) enum Required<'n> {
    /// This one, for a relocation with a version. The base version does not satisfy a strict one.
    Node { name: &'n [u8], hash: u32, strict: bool },
    /// Any, for a relocation without a version: the oldest, or the only default one.
    Oldest,
    /// Any, for `dlsym(3)`: the default one.
    Newest,
}

impl<'n> Required<'n> {
    pub(super) fn by_relocation(node: Option<&'n [u8]>) -> Self {
        node.map_or(Self::Oldest, |name| Self::Node { name, hash: sysv_hash(name), strict: false })
    }
}

/// The tables that symbols are read from, each with its extent checked.
pub(super) struct SymbolTables<'a> {
    strings: Strings<'a>,
    symbols: Symtab<'a>,
    /// Where the symbol table begins in the file.
    at: u64,
    /// The first symbol that the loader can find.
    first_findable: usize,
    /// `None` where the loader ignores versions.
    versyms: Option<Chunk<'a>>,
    versions: Vec<Option<Version<'a>>>,
    hash: Hash<'a>,
}

enum Hash<'a> {
    Gnu(GnuHash<'a>),
    Sysv(SysvHash<'a>),
    None,
}

impl<'a> SymbolTables<'a> {
    pub(super) fn parse(image: &Image<'a>, dynamic: &Dynamic<'a>) -> Result<Self, ElfError> {
        let gnu = dynamic.table(image, Table::GnuHash, DT_GNU_HASH)?.map(GnuHash::parse).transpose()?;
        let sysv = dynamic.table(image, Table::Hash, DT_HASH)?.map(SysvHash::parse).transpose()?;

        let chunk = dynamic.table(image, Table::Symbols, DT_SYMTAB)?;
        let chunk = chunk.unwrap_or(Chunk::empty(Table::Symbols));
        let count = match (&gnu, &sysv) {
            _ if chunk.bytes.is_empty() => 0,
            (gnu, Some(sysv)) => {
                let (declared, hashed) = (sysv.count(), gnu.as_ref().and_then(GnuHash::end));
                if let Some(read) = hashed.filter(|&hashed| hashed > declared) {
                    let kind = Kind::CountMismatch { declared: declared.into(), read: read.into() };
                    return Err(ElfError::new(Table::Symbols, chunk.at, kind));
                }
                to_usize(declared.into())
            }
            (Some(gnu), None) => match gnu.end() {
                Some(end) => to_usize(end.into()),
                None => relocations::symbol_count(image, dynamic)?,
            },
            (None, None) => relocations::symbol_count(image, dynamic)?,
        };
        let chunk = chunk.entries(count, SYMBOL)?;
        let symbols = match count {
            0 => Symtab::default(),
            _ => Symtab::parse(chunk.bytes, 0, count, CTX)
                .map_err(|error| ElfError::from_goblin(Table::Symbols, chunk.at, &error))?,
        };

        let versions = versions::by_index(image, dynamic)?;
        let versyms = match dynamic.table(image, Table::Versym, DT_VERSYM)? {
            Some(versyms) if !versions.is_empty() => Some(versyms.entries(count, VERSYM)?),
            _ => None,
        };
        // ld.so prefers the GNU table and ignores the other (`elf/dl-setup_hash.c`).
        let (hash, first_findable) = match (gnu, sysv) {
            (Some(gnu), _) if gnu.end().is_some() => {
                let first = to_usize(gnu.first().into());
                (Hash::Gnu(gnu), first)
            }
            (Some(_), _) | (None, None) => (Hash::None, count),
            (None, Some(sysv)) => (Hash::Sysv(sysv), 1),
        };
        Ok(Self { strings: dynamic.strings, symbols, at: chunk.at, first_findable, versyms, versions, hash })
    }

    /// A reader for many names.
    pub(super) fn names(&self) -> Names<'a> {
        self.strings.names()
    }

    /// The number of symbols.
    pub(super) fn len(&self) -> usize {
        self.symbols.len()
    }

    /// The reference to other objects of a relocation for the symbol at `index`; `None` where the object itself
    /// defines the symbol.
    pub(super) fn reference(
        &self,
        index: usize,
        class: RelocationClass,
        names: &mut Names<'a>,
    ) -> Result<Option<Reference<'a>>, ElfError> {
        let symbol = self.symbol(index)?;
        // `resolve_map` in `elf/dl-reloc.c`.
        if symbol.st_bind() == STB_LOCAL || binds_locally(&symbol) {
            return Ok(None);
        }
        // A copy relocation needs another object's definition: its own is the copy.
        if index >= self.first_findable && is_definition(&symbol) && class != RelocationClass::Copy {
            return Ok(None);
        }
        let name = names.get(st_name(&symbol))?;
        let (_, version) = self.version(index)?;
        Ok(Some(Reference {
            name,
            version: version
                .map(|Version { name, file, .. }| NeededVersion { file: file.unwrap_or_default(), node: name }),
            weak: symbol.st_bind() == STB_WEAK,
            class,
            hash: gnu_hash(name),
            node: version.map(|version| (version.hash, version.hidden)),
        }))
    }

    fn symbol(&self, index: usize) -> Result<Sym, ElfError> {
        self.symbols.get(index).ok_or(ElfError::out_of_bounds(Table::Symbols, self.at))
    }

    /// The symbol of this object that a relocation of another binds to.
    pub(super) fn definition_of(&self, reference: &Reference<'_>) -> Result<Option<Definition<'a>>, ElfError> {
        let required = match (reference.version, reference.node) {
            (Some(version), Some((hash, strict))) => Required::Node { name: version.node, hash, strict },
            _ => Required::Oldest,
        };
        let found = self.seek(reference.name, reference.hash, required, reference.class == RelocationClass::Any)?;
        found.map(|(index, symbol)| self.definition(index, &symbol)).transpose()
    }

    pub(super) const fn is_versioned(&self) -> bool {
        self.versyms.is_some()
    }

    pub(super) fn undefined(&self) -> Result<Vec<Undefined<'a>>, ElfError> {
        let mut found = Vec::new();
        let mut names = self.strings.names();
        // All symbols, not only those below the first hashed one: GNU ld also hashes a program's
        // undefined functions where their address is accepted (`elf_x86_64_hash_symbol`).
        for (index, symbol) in self.symbols.iter().enumerate().skip(1) {
            // A reference of hidden visibility binds to the object itself, without a look-up.
            if symbol.st_shndx != UNDEF || binds_locally(&symbol) || !is_global(&symbol) {
                continue;
            }
            let version = match self.version(index)? {
                (_, Some(Version { name, file, .. })) => {
                    Some(NeededVersion { file: file.unwrap_or_default(), node: name })
                }
                (_, None) => None,
            };
            let name = names.get(st_name(&symbol))?;
            found.push(Undefined { name, version, weak: symbol.st_bind() == STB_WEAK });
        }
        Ok(found)
    }

    pub(super) fn definitions(&self) -> Result<Vec<Defined<'a>>, ElfError> {
        let mut found = Vec::new();
        let mut names = self.strings.names();
        for (index, symbol) in self.symbols.iter().enumerate().skip(self.first_findable) {
            if !is_definition(&symbol) || binds_locally(&symbol) || !is_global(&symbol) {
                continue;
            }
            let Definition { node, weak, hidden } = self.definition(index, &symbol)?;
            found.push(Defined { name: names.get(st_name(&symbol))?, node, weak, hidden });
        }
        Ok(found)
    }

    pub(super) fn lookup(&self, name: &[u8], required: Required<'_>) -> Result<Option<Definition<'a>>, ElfError> {
        self.find(name, required)?.map(|(index, symbol)| self.definition(index, &symbol)).transpose()
    }

    /// Address and size of the function that `dlsym(3)` finds; `None` for an indirect one.
    pub(super) fn function(&self, name: &[u8]) -> Result<Option<(u64, u64)>, ElfError> {
        let found = self.find(name, Required::Newest)?.filter(|(_, symbol)| symbol.st_type() == STT_FUNC);
        Ok(found.map(|(_, symbol)| (symbol.st_value, symbol.st_size)))
    }

    fn find(&self, name: &[u8], required: Required<'_>) -> Result<Option<(usize, Sym)>, ElfError> {
        // A name ends at its first NUL, so none can hold one.
        if name.contains(&0) {
            return Ok(None);
        }
        self.seek(name, gnu_hash(name), required, false)
    }

    /// `do_lookup_x` for one object. With `stubs`, an undefined symbol with a value matches, too.
    fn seek(
        &self,
        name: &[u8],
        hash: u32,
        required: Required<'_>,
        stubs: bool,
    ) -> Result<Option<(usize, Sym)>, ElfError> {
        let mut candidates = match &self.hash {
            Hash::Gnu(gnu) => gnu.candidates(hash)?,
            Hash::Sysv(sysv) => sysv.candidates(name),
            Hash::None => Candidates::none(),
        };
        let mut accepted = None;
        let mut default = None;
        let mut defaults = 0_usize;
        while let Some(index) = candidates.next()? {
            let outside = ElfError::out_of_bounds(Table::Symbols, self.at);
            let symbol = self.symbols.get(index).ok_or(outside)?;
            let is_candidate = is_definition(&symbol) || stubs && is_stub(&symbol);
            if !is_candidate || !self.strings.is(st_name(&symbol), name)? {
                continue;
            }
            match self.version_matches(index, required)? {
                Verdict::Accepted => {
                    accepted = Some((index, symbol));
                    break;
                }
                Verdict::Default => {
                    defaults = defaults.saturating_add(1);
                    default.get_or_insert((index, symbol));
                }
                Verdict::Rejected => {}
            }
        }
        // "Exactly one versioned symbol": several are ambiguous.
        let accepted = accepted.or(default.filter(|_| defaults == 1));
        // ld.so checks visibility and binding after the search of an object, and then goes on to the next object.
        Ok(accepted.filter(|(_, symbol)| !binds_locally(symbol) && is_global(symbol)))
    }

    /// Whether the version of a symbol matches, by `check_match`.
    fn version_matches(&self, index: usize, required: Required<'_>) -> Result<Verdict, ElfError> {
        let (Some(raw), version) = self.version(index)? else {
            // An object without versions.
            return Ok(Verdict::Accepted);
        };
        let newest_unversioned = match required {
            Required::Node { name, hash, strict } => {
                let accepted = match version {
                    Some(version) => version.hash == hash && version.name == name,
                    // The base version matches all, unless it is hidden.
                    None => !strict && !raw.is_hidden(),
                };
                return Ok(if accepted { Verdict::Accepted } else { Verdict::Rejected });
            }
            // A relocation from before the object had versions: the first version.
            Required::Oldest => 2,
            Required::Newest => 1,
        };
        Ok(match (raw.index() <= newest_unversioned, raw.is_hidden()) {
            (true, _) => Verdict::Accepted,
            (false, false) => Verdict::Default,
            (false, true) => Verdict::Rejected,
        })
    }

    fn definition(&self, index: usize, symbol: &Sym) -> Result<Definition<'a>, ElfError> {
        let (raw, version) = self.version(index)?;
        Ok(Definition {
            node: version.map(|version| version.name),
            weak: symbol.st_bind() == STB_WEAK,
            hidden: raw.is_some_and(VersionIndex::is_hidden),
        })
    }

    /// The version index of a symbol, and its version.
    fn version(&self, index: usize) -> Result<(Option<VersionIndex>, Option<Version<'a>>), ElfError> {
        let Some(versyms) = &self.versyms else {
            return Ok((None, None));
        };
        let raw = versyms.u16_at(index).map(VersionIndex::new).ok_or(versyms.out_of_bounds())?;
        // VER_NDX_LOCAL and VER_NDX_GLOBAL need no entry: glibc's array always covers them.
        match self.versions.get(usize::from(raw.index())) {
            Some(version) => Ok((Some(raw), *version)),
            None if raw.index() <= 1 => Ok((Some(raw), None)),
            None => {
                let at = versyms.place(index.saturating_mul(VERSYM));
                Err(ElfError::malformed(Table::Versym, at, "a version that no table names"))
            }
        }
    }
}

/// Whether the version of a symbol matches.
enum Verdict {
    Accepted,
    /// Accepted if the name has no other default version.
    Default,
    Rejected,
}

/// Whether a symbol defines code or data, by the first tests of `check_match`.
fn is_definition(symbol: &Sym) -> bool {
    let kind = symbol.st_type();
    let has_value = symbol.st_value != 0 || symbol.st_shndx == ABS || kind == STT_TLS;
    // ld.so also accepts an undefined symbol with a value, the PLT entry of a program, but only as a function's
    // address.
    symbol.st_shndx != UNDEF && has_value && is_code_or_data(symbol)
}

/// The PLT entry of a program: undefined, with a value that serves as the function's address.
fn is_stub(symbol: &Sym) -> bool {
    symbol.st_shndx == UNDEF && symbol.st_value != 0 && is_code_or_data(symbol)
}

fn is_code_or_data(symbol: &Sym) -> bool {
    matches!(symbol.st_type(), STT_NOTYPE | STT_OBJECT | STT_FUNC | STT_COMMON | STT_TLS | STT_GNU_IFUNC)
}

fn binds_locally(symbol: &Sym) -> bool {
    matches!(symbol.st_visibility(), STV_HIDDEN | STV_INTERNAL)
}

fn is_global(symbol: &Sym) -> bool {
    matches!(symbol.st_bind(), STB_GLOBAL | STB_WEAK | STB_GNU_UNIQUE)
}

fn st_name(symbol: &Sym) -> u64 {
    u64::try_from(symbol.st_name).unwrap_or(u64::MAX)
}

/// `SHN_UNDEF` and `SHN_ABS`, in goblin's width of `st_shndx`.
const UNDEF: usize = 0;
const ABS: usize = 0xfff1;
/// Size of a symbol of a 64-bit object.
const SYMBOL: usize = 24;
/// Size of a versym entry.
const VERSYM: usize = 2;
