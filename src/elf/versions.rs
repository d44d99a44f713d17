//! Symbol versions of one object.
//!
//! Takes the dynamic table; returns the versions that the object defines and needs, and the meaning
//! of each version index. Finds the tables through `DT_VERDEF` and `DT_VERNEED`, as ld.so does, so
//! it also works on files without section headers. goblin finds these tables only through
//! section headers, so it gets one made from the dynamic table. Its iterators end silently
//! at a damaged entry, so the number read is always compared with the declared number.

use goblin::elf::dynamic::{DT_VERDEF, DT_VERDEFNUM, DT_VERNEED, DT_VERNEEDNUM};
use goblin::elf::section_header::{SHT_GNU_VERDEF, SHT_GNU_VERNEED, SectionHeader};
use goblin::elf::symver::{VER_FLG_BASE, VER_FLG_WEAK, VERSYM_HIDDEN, VERSYM_VERSION, VerdefSection, VerneedSection};

use super::dynamic::{CTX, Dynamic};
use super::error::{ElfError, Kind, Table};
use super::image::{Chunk, Image};

/// A version that an object defines, from `DT_VERDEF`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VersionDefinition<'a> {
    /// The node, such as `libcublas.so.12`.
    pub name: &'a [u8],
    /// Its index in the versym table.
    pub index: u16,
    /// `VER_FLG_BASE`: names the object itself; no symbol has it.
    pub base: bool,
    /// `VER_FLG_WEAK`: no symbol has it.
    pub weak: bool,
    hash: u32,
}

/// The versions that an object needs from one other object, from `DT_VERNEED`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VersionNeed<'a> {
    /// The soname of the object that must define them.
    pub file: &'a [u8],
    /// The versions, in the file's order.
    pub versions: Vec<RequiredVersion<'a>>,
}

/// One version that an object needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RequiredVersion<'a> {
    /// The node.
    pub name: &'a [u8],
    /// Its index in the versym table.
    pub index: u16,
    /// `VER_FLG_WEAK`: ld.so starts the program even where it is undefined.
    pub weak: bool,
    hash: u32,
    hidden: bool,
}

/// A version need of one symbol: the node, and the object that must define it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NeededVersion<'a> {
    /// The soname of the provider. Empty where the object needs a version of its own, which the
    /// loader accepts from any object.
    pub file: &'a [u8],
    /// The version's name.
    pub node: &'a [u8],
}

/// The meaning of a version index: an entry of glibc's `l_versions` (`elf/dl-version.c`).
#[derive(Clone, Copy)]
pub(super) struct Version<'a> {
    pub(super) name: &'a [u8],
    pub(super) hash: u32,
    pub(super) file: Option<&'a [u8]>,
    /// The need is of a hidden version (`foo@V1`, with bit 15 set): the base version does not match.
    pub(super) hidden: bool,
}

pub(super) fn definitions<'a>(
    image: &Image<'a>,
    dynamic: &Dynamic<'a>,
) -> Result<Vec<VersionDefinition<'a>>, ElfError> {
    let Some(chunk) = dynamic.table(image, Table::Verdef, DT_VERDEF)? else {
        return Ok(Vec::new());
    };
    let declared = declared(&chunk, dynamic.value(DT_VERDEFNUM))?;
    let header = section(SHT_GNU_VERDEF, &chunk, declared);
    let section = VerdefSection::parse(chunk.bytes, &[header], CTX)
        .map_err(|error| ElfError::from_goblin(Table::Verdef, chunk.at, &error))?;

    let mut found = Vec::new();
    let mut names = dynamic.strings.names();
    let mut walk = Walk::new(chunk.table, chunk.at, declared);
    for verdef in section.iter().flat_map(VerdefSection::iter) {
        if verdef.vd_version != 1 {
            return Err(walk.malformed("unsupported verdef revision"));
        }
        let name = verdef.iter().next().ok_or(walk.malformed("a version without a name"))?;
        found.push(VersionDefinition {
            name: names.get(name.vda_name.try_into().unwrap_or(u64::MAX))?,
            index: verdef.vd_ndx & VERSYM_VERSION,
            base: verdef.vd_flags & VER_FLG_BASE != 0,
            weak: verdef.vd_flags & VER_FLG_WEAK != 0,
            hash: verdef.vd_hash,
        });
        walk.step(verdef.vd_next);
    }
    walk.finish()?;
    Ok(found)
}

pub(super) fn needs<'a>(image: &Image<'a>, dynamic: &Dynamic<'a>) -> Result<Vec<VersionNeed<'a>>, ElfError> {
    let Some(chunk) = dynamic.table(image, Table::Verneed, DT_VERNEED)? else {
        return Ok(Vec::new());
    };
    let declared = declared(&chunk, dynamic.value(DT_VERNEEDNUM))?;
    let header = section(SHT_GNU_VERNEED, &chunk, declared);
    let section = VerneedSection::parse(chunk.bytes, &[header], CTX)
        .map_err(|error| ElfError::from_goblin(Table::Verneed, chunk.at, &error))?;

    let mut found = Vec::new();
    let mut names = dynamic.strings.names();
    let mut walk = Walk::new(chunk.table, chunk.at, declared);
    // All entries share one index space: bounds the memory for a hostile file.
    let mut room = MAX_VERSIONS;
    for verneed in section.iter().flat_map(VerneedSection::iter) {
        if verneed.vn_version != 1 {
            return Err(walk.malformed("unsupported verneed revision"));
        }
        let count = u64::from(verneed.vn_cnt);
        room = room.checked_sub(count).ok_or(walk.malformed("more versions than indices"))?;
        let at = walk.at.saturating_add(verneed.vn_aux.into());
        let mut inner = Walk::new(chunk.table, at, count);
        let mut versions = Vec::new();
        for vernaux in &verneed {
            versions.push(RequiredVersion {
                name: names.get(vernaux.vna_name.try_into().unwrap_or(u64::MAX))?,
                index: vernaux.vna_other & VERSYM_VERSION,
                weak: vernaux.vna_flags & VER_FLG_WEAK != 0,
                hash: vernaux.vna_hash,
                hidden: vernaux.vna_other & VERSYM_HIDDEN != 0,
            });
            inner.step(vernaux.vna_next);
        }
        inner.finish()?;
        let file = names.get(verneed.vn_file.try_into().unwrap_or(u64::MAX))?;
        found.push(VersionNeed { file, versions });
        walk.step(verneed.vn_next);
    }
    walk.finish()?;
    Ok(found)
}

/// The meaning of each version index, in the order in which `_dl_check_map_versions` fills it in:
/// needs first, then definitions, the base definition left out.
pub(super) fn by_index<'a>(image: &Image<'a>, dynamic: &Dynamic<'a>) -> Result<Vec<Option<Version<'a>>>, ElfError> {
    let definitions = definitions(image, dynamic)?;
    let needs = needs(image, dynamic)?;
    let required = needs.iter().flat_map(|need| need.versions.iter().map(move |v| (v, need.file)));

    let indices = required.clone().map(|(version, _)| version.index);
    let Some(highest) = indices.chain(definitions.iter().map(|d| d.index)).max() else {
        return Ok(Vec::new());
    };
    // glibc reads the versym table only where an index above 0 exists.
    if highest == 0 {
        return Ok(Vec::new());
    }
    let mut versions = vec![None; usize::from(highest).saturating_add(1)];
    let mut put = |index: u16, version: Version<'a>| {
        if let Some(slot) = versions.get_mut(usize::from(index)) {
            // An index whose hash is zero counts as unnamed.
            *slot = Some(version).filter(|version| version.hash != 0);
        }
    };
    for (version, file) in required {
        let RequiredVersion { name, hash, hidden, .. } = *version;
        put(version.index, Version { name, hash, file: Some(file), hidden });
    }
    for definition in definitions.iter().filter(|definition| !definition.base) {
        let VersionDefinition { name, hash, .. } = *definition;
        put(definition.index, Version { name, hash, file: None, hidden: false });
    }
    Ok(versions)
}

/// The version of one symbol, from the versym table.
#[derive(Clone, Copy)]
pub(super) struct VersionIndex(u16);

impl RequiredVersion<'_> {
    /// Whether a definition is the required version: hash and name, as `match_symbol` in `elf/dl-version.c`.
    #[must_use]
    pub fn is_met_by(&self, definition: &VersionDefinition<'_>) -> bool {
        self.hash == definition.hash && self.name == definition.name
    }
}

impl VersionIndex {
    pub(super) const fn new(raw: u16) -> Self {
        Self(raw)
    }

    pub(super) const fn index(self) -> u16 {
        self.0 & VERSYM_VERSION
    }

    /// Not the default version of its name: `foo@V1`, not `foo@@V1`.
    pub(super) const fn is_hidden(self) -> bool {
        self.0 & VERSYM_HIDDEN != 0
    }
}

/// Counts the entries of a chain, and tracks the offset in the file, which goblin does not report.
struct Walk {
    table: Table,
    start: u64,
    at: u64,
    declared: u64,
    read: u64,
    ended: bool,
}

impl Walk {
    const fn new(table: Table, start: u64, declared: u64) -> Self {
        Self { table, start, at: start, declared, read: 0, ended: false }
    }

    fn step(&mut self, next: u32) {
        self.read = self.read.saturating_add(1);
        self.at = self.at.saturating_add(next.into());
        self.ended = next == 0;
    }

    /// glibc follows the chain until its `next` is zero and ignores the count; goblin heeds both, which
    /// agree in a sound table.
    fn finish(self) -> Result<(), ElfError> {
        let Self { table, start, at, declared, read, ended } = self;
        match (ended, read == declared) {
            (true, true) => Ok(()),
            (false, false) => Err(ElfError::out_of_bounds(table, at)),
            (true, false) => Err(ElfError::new(table, start, Kind::CountMismatch { declared, read })),
            (false, true) => {
                let read = read.saturating_add(1);
                Err(ElfError::new(table, start, Kind::CountMismatch { declared, read }))
            }
        }
    }

    const fn malformed(&self, what: &'static str) -> ElfError {
        ElfError::malformed(self.table, self.at, what)
    }
}

fn declared(chunk: &Chunk<'_>, count: Option<u64>) -> Result<u64, ElfError> {
    let count = count.ok_or(chunk.malformed("its number of entries is not declared"))?;
    match count {
        0 => Err(chunk.malformed("it declares no entries")),
        1..=MAX_VERSIONS => Ok(count),
        _ => Err(chunk.malformed("more versions than indices")),
    }
}

fn section(kind: u32, chunk: &Chunk<'_>, count: u64) -> SectionHeader {
    SectionHeader {
        sh_type: kind,
        sh_offset: 0,
        sh_size: u64::try_from(chunk.bytes.len()).unwrap_or(0),
        sh_info: u32::try_from(count).unwrap_or(u32::MAX),
        ..SectionHeader::new()
    }
}

/// A version index has 15 bits.
const MAX_VERSIONS: u64 = 0x7fff;
