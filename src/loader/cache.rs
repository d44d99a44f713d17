//! `/etc/ld.so.cache`: the file that ldconfig found for each soname.
//!
//! Takes the bytes of the cache; looks up a name as `_dl_load_cache_lookup` in `elf/dl-cache.c`, also in a damaged
//! cache, and lists the entries of one architecture. Reads the new format, alone or behind the old one, and the old
//! one alone (`sysdeps/generic/dl-cache.h` has the layouts). Never panics.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

const NEW_MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
const OLD_MAGIC: &[u8] = b"ld.so-1.7.0";
const OLD_HEADER: usize = 16;
const OLD_ENTRY: usize = 12;
const NEW_HEADER: usize = 48;
const NEW_ENTRY: usize = 24;
/// `DL_CACHE_HWCAP_EXTENSION`: the entry is for a glibc-hwcaps subdirectory, named by index.
const HWCAP_EXTENSION: u64 = 1 << 62;
/// `DL_CACHE_HWCAP_ISA_LEVEL_MASK`, in place: the level that the file itself requires.
const ISA_LEVEL: u64 = 0x3ff << 32;
const LOW_WORD: u64 = 0xffff_ffff;
/// `_DL_HWCAP_TLS_MASK`.
const TLS: u64 = 1 << 63;
const EXTENSION_MAGIC: u32 = 0xEAA4_2174;
const TAG_HWCAPS: u32 = 1;

/// The bits of entries for old subdirectories, such as `tls/x86_64`, that count.
#[derive(Debug, Clone, Copy)]
pub(super) struct Legacy {
    /// The important bits of `dl_hwcap`.
    pub(super) bits: u64,
    /// `_DL_HWCAP_PLATFORM`.
    pub(super) platforms: u64,
    /// The platform's own bit.
    pub(super) platform: u64,
}

/// How often the strings of a cache may be read, on average.
const MAX_SHARING: usize = 16;

/// The entries for one architecture, by soname.
#[derive(Debug, Clone, Default)]
pub struct Cache {
    bytes: Vec<u8>,
    table: Table,
    /// `_DL_CACHE_DEFAULT_ID`.
    id: u32,
    /// The rank of each glibc-hwcaps subdirectory of the cache among those in use; `None` for the others.
    ranks: Vec<Option<usize>>,
    /// How many of the levels x86-64-v2 and up the processor has.
    levels: usize,
    legacy: Option<Legacy>,
    listed: OnceLock<BTreeMap<OsString, Vec<PathBuf>>>,
}

/// Where the entries are.
#[derive(Debug, Clone, Copy, Default)]
struct Table {
    at: usize,
    count: usize,
    entry: usize,
    /// The base of the offsets of strings, and their limit.
    strings: usize,
    end: usize,
}

/// One entry of the table.
#[derive(Debug, Clone, Copy)]
struct Entry {
    flags: u32,
    key: u32,
    value: u32,
    hwcap: u64,
}

impl Cache {
    /// Reads a cache. `hwcaps` are the glibc-hwcaps subdirectories in use, best first; entries for
    /// others are left out; `id` is the architecture's `_DL_CACHE_DEFAULT_ID` (`sysdeps/generic/ldconfig.h`). A cache
    /// that ld.so would not use is empty.
    #[must_use]
    pub fn parse(bytes: Vec<u8>, id: u32, hwcaps: &[&str]) -> Self {
        let Some(table) = Table::find(&bytes) else { return Self::default() };
        let names = bytes.get(table.strings..).filter(|_| table.entry == NEW_ENTRY).map(hwcap_names);
        let rank = |name: &[u8]| hwcaps.iter().position(|active| active.as_bytes() == name);
        let ranks = names.unwrap_or_default().into_iter().map(rank).collect();
        Self { table, id, ranks, levels: hwcaps.len(), bytes, ..Self::default() }
    }

    /// Whether there are entries for old subdirectories.
    pub(super) fn has_legacy_entries(&self) -> bool {
        self.entries().any(|entry| entry.hwcap != 0 && !entry.is_named())
    }

    /// Makes entries for old subdirectories count, as they did before glibc 2.37.
    pub(super) fn set_legacy(&mut self, legacy: Legacy) {
        self.legacy = Some(legacy);
    }

    /// The file that `name` resolves to: `search_cache`, a binary search and then the best of the equal names.
    #[must_use]
    pub fn lookup(&self, name: &OsStr) -> Option<&Path> {
        let name = name.as_bytes();
        let (mut left, mut right) = (0, self.table.count);
        while left < right {
            // As glibc, which keeps the last index, not the one after it.
            let middle = (left + right - 1) / 2;
            match compare(name, self.text(self.entry(middle)?.key)?) {
                Ordering::Equal => return self.best(name, middle, right),
                // The table is sorted in descending order.
                Ordering::Less => left = middle + 1,
                Ordering::Greater => right = middle,
            }
        }
        None
    }

    /// The best entry of the name around `middle`.
    fn best(&self, name: &[u8], middle: usize, right: usize) -> Option<&Path> {
        let bears = |at: usize| {
            let key = self.entry(at).and_then(|entry| self.text(entry.key));
            key.is_some_and(|key| compare(name, key) == Ordering::Equal)
        };
        let mut first = middle;
        while first > 0 && bears(first - 1) {
            first -= 1;
        }
        let mut best: Option<(usize, &Path)> = None;
        for at in first..right {
            if at > middle && !bears(at) {
                break;
            }
            let Some(entry) = self.entry(at) else { break };
            let Some(value) = self.text(entry.value).filter(|_| entry.flags == self.id) else { continue };
            let path = Path::new(OsStr::from_bytes(value));
            if !entry.is_named() {
                // Named ones come first: a usable one of them overrides the rest.
                if best.is_none() && self.accepts(entry) {
                    return Some(path);
                }
                if best.is_some() {
                    break;
                }
            } else if let Some(rank) = self.rank(entry)
                && best.is_none_or(|(known, _)| rank < known)
            {
                best = Some((rank, path));
            }
        }
        best.map(|(_, path)| path)
    }

    /// Whether an entry without a name for its hwcaps counts.
    fn accepts(&self, entry: Entry) -> bool {
        match self.legacy {
            _ if entry.hwcap == 0 => true,
            None => false,
            Some(Legacy { bits, platforms, platform }) => {
                let required = entry.hwcap & platforms;
                entry.hwcap & !(bits | platforms | TLS) == 0 && (required == 0 || required == platform)
            }
        }
    }

    /// The rank of the entry's glibc-hwcaps subdirectory among those in use.
    fn rank(&self, entry: Entry) -> Option<usize> {
        let level = usize::try_from((entry.hwcap & ISA_LEVEL) >> 32).ok()?;
        if level > self.levels {
            return None;
        }
        self.ranks.get(usize::try_from(entry.hwcap & LOW_WORD).ok()?).copied().flatten()
    }

    /// All entries of this architecture that count, by name, and of one name the best first.
    pub fn iter(&self) -> impl Iterator<Item = (&OsStr, &Path)> {
        let listed = self.listed.get_or_init(|| {
            let mut found: BTreeMap<OsString, Vec<(usize, PathBuf)>> = BTreeMap::new();
            // ldconfig only lets a name share the end of a path: a small cache with long strings is damaged.
            let mut left = self.bytes.len().saturating_mul(MAX_SHARING);
            for entry in self.entries().filter(|entry| entry.flags == self.id) {
                let rank = if entry.is_named() { self.rank(entry) } else { self.accepts(entry).then_some(self.levels) };
                if let (Some(rank), Some(key), Some(value)) = (rank, self.text(entry.key), self.text(entry.value)) {
                    let Some(less) = left.checked_sub(key.len() + value.len()) else { break };
                    left = less;
                    let paths = found.entry(OsStr::from_bytes(key).to_owned()).or_default();
                    paths.push((rank, PathBuf::from(OsStr::from_bytes(value))));
                }
            }
            let sorted = |mut paths: Vec<(usize, PathBuf)>| {
                paths.sort_by_key(|(rank, _)| *rank);
                paths.into_iter().map(|(_, path)| path).collect()
            };
            found.into_iter().map(|(name, paths)| (name, sorted(paths))).collect()
        });
        listed.iter().flat_map(|(name, paths)| paths.iter().map(move |path| (name.as_os_str(), path.as_path())))
    }

    fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        (0..self.table.count).map_while(|index| self.entry(index))
    }

    fn entry(&self, index: usize) -> Option<Entry> {
        let Table { at, count, entry, .. } = self.table;
        let bytes = self.bytes.get(at.checked_add(index.checked_mul(entry)?)?..).filter(|_| index < count)?;
        let hwcap = if entry == NEW_ENTRY { u64_at(bytes, 16)? } else { 0 };
        Some(Entry { flags: u32_at(bytes, 0)?, key: u32_at(bytes, 4)?, value: u32_at(bytes, 8)?, hwcap })
    }

    fn text(&self, offset: u32) -> Option<&[u8]> {
        if offset as usize >= self.table.end {
            return None;
        }
        text_at(self.bytes.get(self.table.strings..)?, offset)
    }
}

impl Table {
    /// `_dl_load_cache_lookup`: the format, and whether the table fits into the file.
    fn find(bytes: &[u8]) -> Option<Self> {
        let size = bytes.len();
        if size > NEW_HEADER && bytes.starts_with(NEW_MAGIC) {
            let count = u32_at(bytes, 20)? as usize;
            return (count <= (size - NEW_HEADER) / NEW_ENTRY && same_endian(bytes)).then_some(Self {
                at: NEW_HEADER,
                count,
                entry: NEW_ENTRY,
                strings: 0,
                end: size,
            });
        }
        if size <= OLD_HEADER || !bytes.starts_with(OLD_MAGIC) {
            return None;
        }
        let count = u32_at(bytes, 12)? as usize;
        if count > (size - OLD_HEADER) / OLD_ENTRY {
            return None;
        }
        let end = OLD_HEADER + count * OLD_ENTRY;
        let start = end.checked_next_multiple_of(8)?;
        match bytes.get(start..).filter(|new| new.len() >= NEW_HEADER && new.starts_with(NEW_MAGIC)) {
            Some(new) if same_endian(new) => {
                // glibc does not compare this count with the file; missing entries read as the end here.
                let count = u32_at(new, 20)? as usize;
                Some(Self { at: start + NEW_HEADER, count, entry: NEW_ENTRY, strings: start, end: size })
            }
            Some(_) => None,
            None => Some(Self { at: OLD_HEADER, count, entry: OLD_ENTRY, strings: end, end: size - end }),
        }
    }
}

impl Entry {
    /// `dl_cache_hwcap_extension`: its hwcaps are a glibc-hwcaps subdirectory.
    const fn is_named(self) -> bool {
        self.hwcap & !ISA_LEVEL & !LOW_WORD == HWCAP_EXTENSION
    }
}

/// `cache_file_new_matches_endian`: an older ldconfig leaves the field zero. Both architectures are little-endian.
fn same_endian(new: &[u8]) -> bool {
    new.get(28).is_some_and(|flags| *flags == 0 || flags & 3 == 2)
}

/// `_dl_cache_libcmp`: runs of digits compare as numbers.
fn compare(left: &[u8], right: &[u8]) -> Ordering {
    let (mut left, mut right) = (left.iter().copied().peekable(), right.iter().copied().peekable());
    let number = |digits: &mut std::iter::Peekable<_>| {
        let mut value = 0_i32;
        while let Some(digit) = digits.next_if(u8::is_ascii_digit) {
            value = value.wrapping_mul(10).wrapping_add(i32::from(digit - b'0'));
        }
        value
    };
    loop {
        let (Some(&l), r) = (left.peek(), right.peek().copied().unwrap_or(0)) else {
            return 0.cmp(&right.peek().copied().unwrap_or(0));
        };
        match (l.is_ascii_digit(), r.is_ascii_digit()) {
            (true, true) => match number(&mut left).wrapping_sub(number(&mut right)).cmp(&0) {
                Ordering::Equal => {}
                other => return other,
            },
            (true, false) => return Ordering::Greater,
            (false, true) => return Ordering::Less,
            // Characters are signed on x86 and unsigned on aarch64; ldconfig writes only ASCII names.
            (false, false) if l != r => return l.cmp(&r),
            (false, false) => {
                left.next();
                right.next();
            }
        }
    }
}

/// The names of the glibc-hwcaps subdirectories, from the extension section.
fn hwcap_names(cache: &[u8]) -> Vec<&[u8]> {
    let read = || {
        let at = u32_at(cache, 32)? as usize;
        if at == 0 || u32_at(cache, at)? != EXTENSION_MAGIC {
            return None;
        }
        let count = u32_at(cache, at.checked_add(4)?)?;
        for section in 0..count.min(64) as usize {
            let header = at.checked_add(8)?.checked_add(section * 16)?;
            if u32_at(cache, header)? == TAG_HWCAPS {
                let offset = u32_at(cache, header + 8)? as usize;
                let size = u32_at(cache, header + 12)? as usize;
                let list = cache.get(offset..offset.checked_add(size)?)?;
                let names = list.chunks_exact(4).filter_map(|chunk| text_at(cache, u32_at(chunk, 0)?));
                return Some(names.collect());
            }
        }
        None
    };
    read().unwrap_or_default()
}

fn text_at(bytes: &[u8], at: u32) -> Option<&[u8]> {
    let tail = bytes.get(at as usize..)?;
    let end = tail.iter().position(|byte| *byte == 0)?;
    tail.get(..end)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    bytes.try_into().ok().map(u32::from_ne_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(8)?)?;
    bytes.try_into().ok().map(u64::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FLAGS: u32 = 0x0303;

    /// A cache in ldconfig's new format.
    fn build(entries: &[(u32, &str, &str)]) -> Vec<u8> {
        let mut bytes = NEW_MAGIC.to_vec();
        bytes.extend(u32::try_from(entries.len()).unwrap().to_ne_bytes());
        bytes.resize(NEW_HEADER, 0);
        let mut strings = Vec::new();
        let base = NEW_HEADER + entries.len() * NEW_ENTRY;
        let mut put = |text: &str| {
            let at = u32::try_from(base + strings.len()).unwrap();
            strings.extend(text.as_bytes());
            strings.push(0);
            at
        };
        for (flags, key, value) in entries {
            let (key, value) = (put(key), put(value));
            for word in [*flags, key, value, 0, 0, 0] {
                bytes.extend(word.to_ne_bytes());
            }
        }
        bytes.extend(strings);
        bytes
    }

    #[test]
    fn only_this_architecture_counts() {
        let bytes =
            build(&[(3, "libcuda.so.1", "/lib32/libcuda.so.1"), (FLAGS, "libcuda.so.1", "/lib64/libcuda.so.1")]);
        let cache = Cache::parse(bytes, FLAGS, &[]);
        assert_eq!(cache.lookup(OsStr::new("libcuda.so.1")), Some(Path::new("/lib64/libcuda.so.1")));
        assert_eq!(cache.lookup(OsStr::new("libcuda.so")), None);
    }

    #[test]
    fn names_compare_as_glibc_has_it() {
        for (left, right, order) in [
            ("libc.so.6", "libc.so.6", Ordering::Equal),
            ("libc.so.10", "libc.so.9", Ordering::Greater),
            ("libc.so.09", "libc.so.9", Ordering::Equal),
            ("liba", "lib1", Ordering::Less),
            ("lib", "liba", Ordering::Less),
            ("lib1", "lib", Ordering::Greater),
            ("", "", Ordering::Equal),
        ] {
            assert_eq!(compare(left.as_bytes(), right.as_bytes()), order, "{left} {right}");
            assert_eq!(compare(right.as_bytes(), left.as_bytes()), order.reverse(), "{right} {left}");
        }
    }

    #[test]
    fn behind_the_old_format() {
        let new = build(&[(FLAGS, "liba.so.1", "/lib/liba.so.1")]);
        let mut bytes = [OLD_MAGIC, b"\0"].concat();
        bytes.extend(1u32.to_ne_bytes());
        bytes.extend([0; OLD_ENTRY]);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes.extend(new);
        assert_eq!(Cache::parse(bytes, FLAGS, &[]).iter().count(), 1);
    }

    #[test]
    fn entries_that_all_share_one_long_string_are_not_all_taken() {
        let long = "n".repeat(10_000);
        let mut bytes = build(&vec![(FLAGS, "a", ""); 10_000]);
        let at = u32::try_from(bytes.len()).unwrap();
        bytes.extend([long.as_bytes(), b"\0"].concat());
        for entry in bytes[NEW_HEADER..].chunks_exact_mut(NEW_ENTRY).take(10_000) {
            entry[8..12].copy_from_slice(&at.to_ne_bytes());
        }
        let size = bytes.len();
        let taken: usize = Cache::parse(bytes, FLAGS, &[]).iter().map(|(_, path)| path.as_os_str().len()).sum();
        assert!((10_000..=MAX_SHARING * size).contains(&taken), "{taken} from {size}");
    }

    proptest! {
        #[test]
        fn any_damage_is_survived(cut in 0usize..200, at in 0usize..200, byte: u8) {
            let mut bytes = build(&[(FLAGS, "liba.so.1", "/lib/liba.so.1"), (FLAGS, "libb.so", "/lib/libb.so")]);
            if let Some(slot) = bytes.get_mut(at) {
                *slot = byte;
            }
            bytes.truncate(cut);
            let _ = Cache::parse(bytes, FLAGS, &["x86-64-v2"]).iter().count();
        }
    }
}
