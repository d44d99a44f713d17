//! The GPU architectures of the code in fat binaries.
//!
//! Takes the bytes of a section that holds fat binaries (`.nv_fatbin`, `__nv_relfatbin`); returns the architectures
//! of the cubins and the PTX in it, as `cuobjdump --list-elf` and `--list-ptx` name them. Reads headers only and skips
//! payloads, so it touches little more than one page of a mapped file for each entry. Never
//! unpacks anything, never panics, and never reads past the bytes, whatever they are.
//!
//! # The format
//!
//! A section is a row of regions, each a header of 16 bytes (`fatBinaryHeader` in CUDA's `fatbinary_section.h` and in
//! `clang`'s output: magic, version, size of this header, size of the rest) and entries. An entry is a header, then a
//! payload. NVIDIA documents only the region's header; the fields of an entry were checked against the arch lists that
//! torch builds print, in libraries of CUDA 11.7 to 13.4:
//!
//! | offset | size | |
//! |---|---|---|
//! | 0 | 2 | kind: 1 PTX, 2 cubin |
//! | 4 | 4 | size of the header, 64 and more |
//! | 8 | 8 | size of the payload with its padding |
//! | 28 | 4 | architecture, `90` for sm_90 |
//! | 40 | 8 | flags: 0x2000 and 0x8000 compressed, 0x100000 architecture-specific (sm_90a), 0x200000 family-specific
//! (sm_100f) |

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::as_conversions)]

use std::collections::BTreeMap;
use std::fmt;

/// The GPUs that code is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct Arch {
    /// The compute capability without its dot: 90 for 9.0.
    pub number: u32,
    /// Which GPUs of that and later capabilities run it.
    pub reach: Reach,
}

/// The GPUs that run the code of an architecture (CUDA's programming guide, "Compute Capability", feature sets).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reach {
    /// The baseline: cubins for later minors of one major, PTX for all later GPUs.
    Baseline,
    /// `f`: the GPUs of one family.
    Family,
    /// `a`: this very architecture.
    Specific,
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.number)?;
        match self.reach {
            Reach::Baseline => Ok(()),
            Reach::Family => f.write_str("f"),
            Reach::Specific => f.write_str("a"),
        }
    }
}

/// The contents of the fat binaries of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FatBinaries {
    /// Machine code, `sm_…`: architectures, each with the number of its cubins.
    pub cubins: BTreeMap<Arch, u64>,
    /// Intermediate code, `compute_…`, which a driver compiles: architectures, each with the number of its entries.
    pub ptx: BTreeMap<Arch, u64>,
    /// Entries of other kinds, such as link-time intermediate code.
    pub other: u64,
    /// Entries with a compressed payload.
    pub compressed: u64,
    /// Regions; at least one for each translation unit.
    pub regions: u64,
    /// The number of bytes read.
    pub read: u64,
    /// The first fault; the counts above are of the part before it.
    pub damage: Option<Damage>,
}

/// The fault of a fat binary, and its offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Offset of the header.
    pub at: u64,
    /// What is wrong with it.
    pub what: &'static str,
}

impl FatBinaries {
    /// Reads the regions of a section.
    #[must_use]
    pub fn read(section: &[u8]) -> Self {
        let mut found = Self::default();
        found.add(section);
        found
    }

    /// Reads the regions of another section.
    pub fn add(&mut self, section: &[u8]) {
        self.add_from(section, 0, usize::MAX);
    }

    /// Reads the regions of a section that begin in the `most` bytes from `start` on; returns where the next one begins, if
    /// there may be one.
    pub fn add_from(&mut self, section: &[u8], start: usize, most: usize) -> Option<usize> {
        let mut at = start;
        let mut padding = 0;
        while let Some(&head) = bytes_at::<REGION>(section, at) {
            if at.saturating_sub(start) >= most {
                return Some(at);
            }
            if number::<4>(&head, 0) == 0 && padding < MAX_PADDING {
                // Regions begin at multiples of 8; a link editor may align more.
                self.look_at(8);
                padding = padding.saturating_add(8);
                at = at.saturating_add(8);
                continue;
            }
            padding = 0;
            match self.region(section, at, &head) {
                Ok(end) => at = end,
                Err(what) => {
                    self.damage.get_or_insert(Damage { at: len(at), what });
                    return None;
                }
            }
        }
        None
    }

    /// Finds regions by their magic number, for files without section headers. Reads all bytes outside of regions.
    pub fn search(&mut self, bytes: &[u8]) {
        self.search_from(bytes, 0, usize::MAX);
    }

    /// Finds regions that begin in the `most` bytes from `start` on; returns where the search goes on, if it does.
    pub fn search_from(&mut self, bytes: &[u8], start: usize, most: usize) -> Option<usize> {
        let finder = memchr::memmem::Finder::new(&MAGIC);
        let end = start.saturating_add(most).min(bytes.len());
        // The magic number may lie across the end.
        let window = bytes.get(..end.saturating_add(MAGIC.len().saturating_sub(1))).unwrap_or(bytes);
        let mut from = start;
        // A hostile file could make each entry the start of another region that is damaged at its end.
        let mut in_vain = 0;
        while let Some(next) = window.get(from..).and_then(|rest| finder.find(rest)) {
            self.look_at(next);
            let at = from.saturating_add(next);
            // Code that reads fat binaries holds the magic number, too: a mismatch is not damage.
            let mut one = Self::default();
            let after = bytes_at::<REGION>(bytes, at).and_then(|head| one.region(bytes, at, head).ok());
            if after.is_some() {
                self.merge(one);
            } else {
                self.look_at(to_usize(one.read));
                in_vain = one.read.saturating_add(in_vain);
                if in_vain > len(bytes.len()) {
                    return None;
                }
            }
            from = after.unwrap_or(at.saturating_add(MAGIC.len()));
        }
        self.look_at(end.saturating_sub(from));
        let from = from.max(end);
        (from < bytes.len()).then_some(from)
    }

    /// Whether nothing was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.regions == 0
    }

    /// Reads the region at `at`; returns the offset after it.
    fn region(&mut self, bytes: &[u8], at: usize, head: &[u8; REGION]) -> Result<usize, &'static str> {
        self.look_at(REGION);
        if number::<4>(head, 0) != u64::from(u32::from_le_bytes(MAGIC)) {
            return Err("not a fat binary");
        }
        if number::<2>(head, 4) != 1 {
            return Err("a fat binary of an unknown version");
        }
        let head_size = to_usize(number::<2>(head, 6));
        if head_size < REGION {
            return Err("a header shorter than any");
        }
        let start = at.checked_add(head_size);
        let end = start.and_then(|start| start.checked_add(to_usize(number::<8>(head, 8))));
        let (Some(mut entry), Some(end)) = (start, end.filter(|&end| end <= bytes.len())) else {
            return Err("a fat binary that runs past the end");
        };
        self.regions = self.regions.saturating_add(1);
        while entry < end {
            entry = self.entry(bytes, entry, end)?;
        }
        Ok(end)
    }

    /// Reads the entry at `at` of a region that ends at `end`; returns the offset after it.
    fn entry(&mut self, bytes: &[u8], at: usize, end: usize) -> Result<usize, &'static str> {
        let head = bytes_at::<ENTRY>(bytes, at).ok_or("an entry that runs past the end")?;
        self.look_at(ENTRY);
        let head_size = to_usize(number::<4>(head, 4));
        if head_size < ENTRY {
            return Err("an entry's header is shorter than any");
        }
        let next = at.checked_add(head_size).and_then(|at| at.checked_add(to_usize(number::<8>(head, 8))));
        let next = next.filter(|&next| next <= end).ok_or("an entry that runs past its region")?;

        let flags = number::<8>(head, 40);
        let reach = match flags {
            _ if flags & SPECIFIC != 0 => Reach::Specific,
            _ if flags & FAMILY != 0 => Reach::Family,
            _ => Reach::Baseline,
        };
        let arch = Arch { number: u32::try_from(number::<4>(head, 28)).unwrap_or(u32::MAX), reach };
        let count = match number::<2>(head, 0) {
            // No GPU has a four-digit number: bounds the memory for damaged files.
            _ if arch.number == 0 || arch.number > MAX_ARCH => return Err("an entry for no known kind of GPU"),
            PTX => self.ptx.entry(arch).or_default(),
            CUBIN => self.cubins.entry(arch).or_default(),
            _ => &mut self.other,
        };
        *count = count.saturating_add(1);
        if flags & COMPRESSED != 0 {
            self.compressed = self.compressed.saturating_add(1);
        }
        Ok(next)
    }

    fn merge(&mut self, one: Self) {
        for (ours, theirs) in [(&mut self.cubins, one.cubins), (&mut self.ptx, one.ptx)] {
            for (arch, count) in theirs {
                let sum = ours.entry(arch).or_default();
                *sum = sum.saturating_add(count);
            }
        }
        let sums = [
            (&mut self.other, one.other),
            (&mut self.compressed, one.compressed),
            (&mut self.regions, one.regions),
            (&mut self.read, one.read),
        ];
        for (sum, more) in sums {
            *sum = sum.saturating_add(more);
        }
    }

    fn look_at(&mut self, bytes: usize) {
        self.read = self.read.saturating_add(len(bytes));
    }
}

/// `0xBA55ED50`, little-endian.
const MAGIC: [u8; 4] = [0x50, 0xed, 0x55, 0xba];
/// Size of a region's header.
const REGION: usize = 16;
/// Size of an entry's header without its options.
const ENTRY: usize = 64;
const PTX: u64 = 1;
const CUBIN: u64 = 2;
/// Compressed by LZ4 or by Zstandard.
const COMPRESSED: u64 = 0x2000 | 0x8000;
const SPECIFIC: u64 = 0x10_0000;
const FAMILY: u64 = 0x20_0000;
const MAX_ARCH: u32 = 999;
/// Zeros between two regions.
const MAX_PADDING: usize = 4096;

fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> Option<&[u8; N]> {
    bytes.get(at..)?.first_chunk()
}

/// The little-endian number of `N` bytes at `at`; 0 past the header, which no caller reads.
fn number<const N: usize>(head: &[u8], at: usize) -> u64 {
    let digits = head.get(at..).and_then(|rest| rest.get(..N)).unwrap_or_default();
    digits.iter().rev().fold(0, |sum, &byte| (sum << 8) | u64::from(byte))
}

fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn len(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "a test that panics has failed")]

    use super::*;
    use proptest::prelude::*;

    fn entry(kind: u16, arch: u32, flags: u64, payload: usize, options: usize) -> Vec<u8> {
        let mut bytes = vec![0; ENTRY + options];
        bytes[0..2].copy_from_slice(&kind.to_le_bytes());
        bytes[4..8].copy_from_slice(&u32::try_from(ENTRY + options).unwrap().to_le_bytes());
        bytes[8..16].copy_from_slice(&len(payload).to_le_bytes());
        bytes[28..32].copy_from_slice(&arch.to_le_bytes());
        bytes[40..48].copy_from_slice(&flags.to_le_bytes());
        // The payload must be skipped: it would read as damage.
        bytes.resize(bytes.len() + payload, 0xff);
        bytes
    }

    fn region(entries: &[Vec<u8>]) -> Vec<u8> {
        let body = entries.concat();
        let mut bytes = [MAGIC, [1, 0, 16, 0]].concat();
        bytes.extend(len(body.len()).to_le_bytes());
        bytes.extend(body);
        bytes
    }

    fn names(found: &BTreeMap<Arch, u64>) -> String {
        found.iter().map(|(arch, count)| format!("{arch}x{count}")).collect::<Vec<_>>().join(" ")
    }

    /// Headers from libraries of CUDA 12.8.
    fn sample() -> Vec<u8> {
        let first = region(&[
            entry(2, 70, 0x2011, 0x3568, 0),
            entry(2, 90, 0x0010_2011, 8, 0),
            entry(2, 100, 0x0120_2011, 0, 32),
        ]);
        let second = region(&[entry(2, 70, 0x11, 16, 0), entry(1, 120, 0x8011, 24, 16), entry(16, 75, 0x11, 8, 0)]);
        [first, vec![0; 24], second].concat()
    }

    #[test]
    fn architectures_are_counted_by_kind_and_reach() {
        let bytes = sample();
        let found = FatBinaries::read(&bytes);
        assert_eq!(found.damage, None);
        assert_eq!(names(&found.cubins), "70x2 90ax1 100fx1");
        assert_eq!(names(&found.ptx), "120x1");
        assert_eq!((found.regions, found.other, found.compressed), (2, 1, 4));
        assert_eq!(found.read, 2 * 16 + 6 * 64 + 24, "payloads are stepped over");
    }

    #[test]
    fn sections_are_read_in_steps() {
        let bytes = sample();
        let among = [b"before".to_vec(), MAGIC.to_vec(), b" in code".to_vec(), sample(), b"after".to_vec()].concat();
        let mut searched = FatBinaries::default();
        searched.search(&among);
        for most in [1, 2, 100, usize::MAX] {
            let (mut found, mut at, mut steps) = (FatBinaries::default(), Some(0), 0);
            while let Some(start) = at {
                at = found.add_from(&bytes, start, most);
                steps += 1;
            }
            assert_eq!(found, FatBinaries::read(&bytes));
            assert_eq!(steps > 1, most <= 100, "{most}");
            let (mut found, mut at) = (FatBinaries::default(), Some(0));
            while let Some(start) = at {
                at = found.search_from(&among, start, most);
            }
            assert_eq!(found, searched, "{most}");
        }
    }

    #[test]
    fn regions_are_found_among_other_bytes() {
        let bytes =
            [b"PXU before".to_vec(), MAGIC.to_vec(), b" in code".to_vec(), sample(), b"after".to_vec()].concat();
        let mut found = FatBinaries::default();
        found.search(&bytes);
        let read = FatBinaries::read(&sample());
        assert_eq!((found.cubins, found.ptx, found.regions), (read.cubins, read.ptx, 2));
        assert_eq!(found.damage, None);
        assert_eq!(FatBinaries::read(&bytes).damage.map(|damage| damage.at), Some(0));
    }

    #[test]
    fn damage_keeps_the_counts_before_it() {
        let whole = region(&[entry(2, 80, 0, 8, 0)]);
        let with = |at: usize, value: &[u8]| {
            let mut second = region(&[entry(2, 90, 0, 8, 0)]);
            second[at..at + value.len()].copy_from_slice(value);
            FatBinaries::read(&[whole.clone(), second].concat())
        };
        let cases: [(usize, &[u8], &str); 8] = [
            (0, b"\x51", "not a fat binary"),
            (4, b"\x02", "a fat binary of an unknown version"),
            (6, b"\x0f", "a header shorter than any"),
            (8, &[0xff; 8], "a fat binary that runs past the end"),
            (16 + 4, b"\x00", "an entry's header is shorter than any"),
            (16 + 8, &[0xff; 8], "an entry that runs past its region"),
            (16 + 8, b"\x09", "an entry that runs past its region"),
            (16 + 28, &[0xff; 4], "an entry for no known kind of GPU"),
        ];
        for (at, value, what) in cases {
            let found = with(at, value);
            assert_eq!(found.damage, Some(Damage { at: len(whole.len()), what }));
            assert_eq!(names(&found.cubins), "80x1", "{what}");
        }
        let cut = FatBinaries::read(&whole[..whole.len() - 1]);
        assert_eq!(cut.damage.map(|damage| damage.what), Some("a fat binary that runs past the end"));
    }

    #[test]
    fn regions_in_regions_are_not_read_again_and_again() {
        let count = 2000;
        let mut bytes = region(&vec![entry(2, 90, 0, REGION, 0); count]);
        // Each payload begins a region of all that follows, which ends in damage.
        for at in (REGION + ENTRY..bytes.len()).step_by(ENTRY + REGION) {
            let rest = len(bytes.len() - at - REGION);
            bytes[at..at + 8].copy_from_slice(&[MAGIC, [1, 0, 16, 0]].concat());
            bytes[at + 8..at + REGION].copy_from_slice(&rest.to_le_bytes());
        }
        let end = bytes.len() - ENTRY - REGION;
        bytes[end] = 0xff;
        bytes[end + 4] = 0;
        let mut searched = FatBinaries::default();
        searched.search(&bytes);
        assert!(searched.is_empty() && searched.read < 4 * len(bytes.len()), "{searched:?}");
    }

    proptest! {
        #[test]
        fn any_damage_is_survived(at in 0usize..600, value: [u8; 8], cut in 0usize..1000) {
            let mut bytes = sample();
            // Headers lie at the start and the end: most of the middle is payload.
            let at = if at < 300 { at } else { bytes.len() - at };
            let end = bytes.len().min(at + 8);
            bytes[at..end].copy_from_slice(&value[..end - at]);
            bytes.truncate(bytes.len() - cut.saturating_sub(500));
            let read = FatBinaries::read(&bytes);
            prop_assert!(read.read <= len(bytes.len()) + 16);
            let mut searched = FatBinaries::default();
            searched.search(&bytes);
            prop_assert!(searched.regions >= read.regions.saturating_sub(1));
        }

        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            let with_magic = [&MAGIC[..], &[1, 0, 16, 0], &bytes].concat();
            for bytes in [&bytes, &with_magic] {
                let _ = FatBinaries::read(bytes);
                FatBinaries::default().search(bytes);
            }
        }
    }
}
