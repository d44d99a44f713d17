//! `/etc/ld.so.cache`: which file ldconfig found for a soname.
//!
//! Takes the bytes of the cache; gives the entries of one architecture. Reads the new format alone
//! or behind the old one, as `elf/dl-cache.c` does (`sysdeps/generic/dl-cache.h` has the layout).
//! Whatever does not fit is left out; nothing panics.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

const NEW_MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
const OLD_MAGIC: &[u8] = b"ld.so-1.7.0\0";
const OLD_ENTRY: usize = 12;
const NEW_HEADER: usize = 48;
const NEW_ENTRY: usize = 24;
/// `DL_CACHE_HWCAP_EXTENSION`: the entry is for a glibc-hwcaps subdirectory, named by index.
const HWCAP_EXTENSION: u64 = 1 << 62;
const EXTENSION_MAGIC: u32 = 0xEAA4_2174;
const TAG_HWCAPS: u32 = 1;

/// How often the strings of a cache may be taken, on average.
const MAX_SHARING: usize = 16;

/// `FLAG_ELF_LIBC6` with the architecture's own flag (`sysdeps/generic/ldconfig.h`).
#[cfg(target_arch = "aarch64")]
const FLAGS: u32 = 0x0a03;
#[cfg(not(target_arch = "aarch64"))]
const FLAGS: u32 = 0x0303;

/// The entries for this architecture, by soname, in the order ld.so would prefer them.
#[derive(Debug, Clone, Default)]
pub struct Cache {
    entries: BTreeMap<OsString, Vec<PathBuf>>,
}

impl Cache {
    /// Reads a cache. `hwcaps` are the glibc-hwcaps subdirectories in use, best first; entries for
    /// others are left out.
    #[must_use]
    pub fn parse(bytes: &[u8], hwcaps: &[&str]) -> Self {
        Self::read(bytes, hwcaps).unwrap_or_default()
    }

    fn read(bytes: &[u8], hwcaps: &[&str]) -> Option<Self> {
        let start = new_start(bytes)?;
        let cache = bytes.get(start..)?;
        let count = u32_at(cache, 20)? as usize;
        let names = hwcap_names(cache);
        let mut found: BTreeMap<OsString, Vec<(usize, PathBuf)>> = BTreeMap::new();
        // ldconfig lets a name share the end of a path, and no more: a small cache that asks for much is damaged.
        let mut left = cache.len().saturating_mul(MAX_SHARING);
        for index in 0..count {
            let at = NEW_HEADER.checked_add(index.checked_mul(NEW_ENTRY)?)?;
            // A count larger than the file is a damaged cache; what was read so far counts.
            let Some(entry) = cache.get(at..at + NEW_ENTRY) else { break };
            let (Some(flags), Some(key), Some(value), Some(hwcap)) =
                (u32_at(entry, 0), u32_at(entry, 4), u32_at(entry, 8), u64_at(entry, 16))
            else {
                break;
            };
            if flags != FLAGS {
                continue;
            }
            let rank = if hwcap & HWCAP_EXTENSION != 0 {
                let name = usize::try_from(hwcap & 0xffff_ffff).ok().and_then(|index| names.get(index));
                match name.and_then(|name| hwcaps.iter().position(|active| active.as_bytes() == *name)) {
                    Some(rank) => rank,
                    None => continue,
                }
            } else if hwcap == 0 {
                hwcaps.len()
            } else {
                // Legacy hwcap bits: for subdirectories that glibc 2.33 and later do not search.
                continue;
            };
            if let (Some(key), Some(value)) = (text_at(cache, key), text_at(cache, value)) {
                let Some(less) = left.checked_sub(key.len() + value.len()) else { break };
                left = less;
                found.entry(key.to_owned()).or_default().push((rank, PathBuf::from(value)));
            }
        }
        let entries = found.into_iter().map(|(name, mut paths)| {
            paths.sort_by_key(|(rank, _)| *rank);
            (name, paths.into_iter().map(|(_, path)| path).collect())
        });
        Some(Self { entries: entries.collect() })
    }

    /// The file ld.so would take for `name`.
    #[must_use]
    pub fn lookup(&self, name: &OsStr) -> Option<&Path> {
        self.entries.get(name)?.first().map(PathBuf::as_path)
    }

    /// All entries.
    pub fn iter(&self) -> impl Iterator<Item = (&OsStr, &Path)> {
        self.entries.iter().flat_map(|(name, paths)| paths.iter().map(move |path| (name.as_os_str(), path.as_path())))
    }
}

/// Where the new format begins: at once, or after the old table, aligned to eight bytes.
fn new_start(bytes: &[u8]) -> Option<usize> {
    if bytes.starts_with(NEW_MAGIC) {
        return Some(0);
    }
    if !bytes.starts_with(OLD_MAGIC) {
        return None;
    }
    let count = u32_at(bytes, OLD_MAGIC.len())? as usize;
    let end = count.checked_mul(OLD_ENTRY)?.checked_add(OLD_MAGIC.len() + 4)?;
    let start = end.checked_next_multiple_of(8)?;
    bytes.get(start..)?.starts_with(NEW_MAGIC).then_some(start)
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
                return Some(names.map(OsStr::as_bytes).collect());
            }
        }
        None
    };
    read().unwrap_or_default()
}

fn text_at(bytes: &[u8], at: u32) -> Option<&OsStr> {
    let tail = bytes.get(at as usize..)?;
    let end = tail.iter().position(|byte| *byte == 0)?;
    tail.get(..end).map(OsStr::from_bytes)
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

    /// A cache in the new format, as ldconfig lays it out.
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
        let cache = Cache::parse(&bytes, &[]);
        assert_eq!(cache.lookup(OsStr::new("libcuda.so.1")), Some(Path::new("/lib64/libcuda.so.1")));
        assert_eq!(cache.lookup(OsStr::new("libcuda.so")), None);
    }

    #[test]
    fn behind_the_old_format() {
        let new = build(&[(FLAGS, "liba.so.1", "/lib/liba.so.1")]);
        let mut bytes = OLD_MAGIC.to_vec();
        bytes.extend(1u32.to_ne_bytes());
        bytes.extend([0; OLD_ENTRY]);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes.extend(new);
        assert_eq!(Cache::parse(&bytes, &[]).iter().count(), 1);
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
        let taken: usize = Cache::parse(&bytes, &[]).iter().map(|(_, path)| path.as_os_str().len()).sum();
        assert!((10_000..=MAX_SHARING * bytes.len()).contains(&taken), "{taken} from {}", bytes.len());
    }

    proptest! {
        #[test]
        fn any_damage_is_survived(cut in 0usize..200, at in 0usize..200, byte: u8) {
            let mut bytes = build(&[(FLAGS, "liba.so.1", "/lib/liba.so.1"), (FLAGS, "libb.so", "/lib/libb.so")]);
            if let Some(slot) = bytes.get_mut(at) {
                *slot = byte;
            }
            bytes.truncate(cut);
            let _ = Cache::parse(&bytes, &["x86-64-v2"]).iter().count();
        }
    }
}
