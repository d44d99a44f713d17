//! A stand-in for a library that is not installed: an ELF file with its names, versions and symbols, and without
//! code.
//!
//! Takes a soname, needed libraries and defined symbols; gives the bytes of a shared object with a dynamic table,
//! symbols, versions and the old hash table (System V gABI, chapter 5; the GNU extensions for versions of "ELF Symbol
//! Versioning"). Never written to disk, never loaded by a process.

use std::collections::BTreeMap;

/// The contents of the file.
#[derive(Debug, Default)]
pub(super) struct StandIn {
    /// `e_machine`.
    pub(super) machine: u16,
    pub(super) soname: Vec<u8>,
    pub(super) needed: Vec<Vec<u8>>,
    pub(super) rpath: Option<Vec<u8>>,
    pub(super) runpath: Option<Vec<u8>>,
    /// Each symbol with its node.
    pub(super) symbols: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

const EHDR: usize = 64;
const PHDR: usize = 56;
const SYM: usize = 24;

/// A string table, with the offset of each string.
struct Strings(Vec<u8>);

impl Strings {
    fn add(&mut self, text: &[u8]) -> u32 {
        let at = word(self.0.len());
        self.0.extend_from_slice(text);
        self.0.push(0);
        at
    }
}

fn word(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The hash of the System V gABI; version nodes use the same.
fn hash(name: &[u8]) -> u32 {
    name.iter().fold(0_u32, |hash, byte| {
        let hash = (hash << 4).wrapping_add(u32::from(*byte));
        let high = hash & 0xf000_0000;
        (hash ^ (high >> 24)) & !high
    })
}

impl StandIn {
    /// The file.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut strings = Strings(vec![0]);
        let soname = strings.add(&self.soname);
        let mut dynamic: Vec<(u64, u64)> = self.needed.iter().map(|name| (1, u64::from(strings.add(name)))).collect();
        dynamic.push((14, u64::from(soname)));
        dynamic.extend(self.rpath.iter().map(|path| (15, u64::from(strings.add(path)))));
        dynamic.extend(self.runpath.iter().map(|path| (29, u64::from(strings.add(path)))));
        // Index 1 is the file itself.
        let mut nodes: BTreeMap<&[u8], u16> = BTreeMap::new();
        for (_, node) in &self.symbols {
            if let Some(node) = node {
                let next = u16::try_from(nodes.len()).unwrap_or(u16::MAX - 2) + 2;
                nodes.entry(node).or_insert(next);
            }
        }
        let (mut table, mut versions) = (vec![0; SYM], vec![0, 0]);
        let count = self.symbols.len() + 1;
        let buckets = count.max(1);
        let (mut heads, mut chains) = (vec![0_u32; buckets], vec![0_u32; count]);
        for (at, (name, node)) in self.symbols.iter().enumerate() {
            let index = at + 1;
            table.extend_from_slice(&strings.add(name).to_le_bytes());
            // STB_GLOBAL, STT_FUNC; in section 1, at an address within the file.
            table.extend_from_slice(&[0x12, 0, 1, 0]);
            table.extend_from_slice(&(EHDR as u64).to_le_bytes());
            table.extend_from_slice(&0_u64.to_le_bytes());
            let version = node.as_deref().and_then(|node| nodes.get(node)).copied().unwrap_or(1);
            versions.extend_from_slice(&version.to_le_bytes());
            let bucket = usize::try_from(hash(name)).unwrap_or_default() % buckets;
            if let (Some(head), Some(chain)) = (heads.get_mut(bucket), chains.get_mut(index)) {
                *chain = std::mem::replace(head, word(index));
            }
        }
        let mut definitions = Vec::new();
        let all =
            std::iter::once((self.soname.as_slice(), 1, 1_u16)).chain(nodes.iter().map(|(node, at)| (*node, *at, 0)));
        for (at, (name, index, flags)) in all.enumerate() {
            let next: u32 = if at == nodes.len() { 0 } else { 28 };
            for half in [1_u16, flags, index, 1] {
                definitions.extend_from_slice(&half.to_le_bytes());
            }
            for part in [hash(name), 20, next, strings.add(name), 0] {
                definitions.extend_from_slice(&part.to_le_bytes());
            }
        }
        let mut hashes: Vec<u8> = Vec::new();
        for part in [word(buckets), word(count)].iter().chain(&heads).chain(&chains) {
            hashes.extend_from_slice(&part.to_le_bytes());
        }
        let mut out = vec![0; EHDR + 2 * PHDR];
        let mut place = |part: &[u8]| {
            out.resize(out.len().next_multiple_of(8), 0);
            let at = out.len() as u64;
            out.extend_from_slice(part);
            at
        };
        let length = strings.0.len() as u64;
        let places = [(4, place(&hashes)), (6, place(&table)), (5, place(&strings.0))];
        dynamic.extend(places);
        dynamic.extend([(10, length), (11, SYM as u64)]);
        if !nodes.is_empty() {
            dynamic.push((0x6fff_fff0, place(&versions)));
            dynamic.extend([(0x6fff_fffc, place(&definitions)), (0x6fff_fffd, nodes.len() as u64 + 1)]);
        }
        dynamic.push((0, 0));
        let entries: Vec<u8> =
            dynamic.iter().flat_map(|(tag, value)| [tag.to_le_bytes(), value.to_le_bytes()].concat()).collect();
        let (at, size) = (place(&entries), entries.len() as u64);
        self.head(&mut out, at, size);
        out
    }

    /// The header, and the two segments: the whole file, and its dynamic table.
    fn head(&self, out: &mut [u8], dynamic: u64, size: u64) {
        let whole = out.len() as u64;
        let mut head = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        head.extend_from_slice(&3_u16.to_le_bytes());
        head.extend_from_slice(&self.machine.to_le_bytes());
        head.extend_from_slice(&1_u32.to_le_bytes());
        for part in [0, EHDR as u64, 0] {
            head.extend_from_slice(&part.to_le_bytes());
        }
        head.extend_from_slice(&0_u32.to_le_bytes());
        for half in [EHDR, PHDR, 2, 64, 0, 0] {
            head.extend_from_slice(&u16::try_from(half).unwrap_or_default().to_le_bytes());
        }
        for (kind, at, size) in [(1_u32, 0, whole), (2, dynamic, size)] {
            head.extend_from_slice(&kind.to_le_bytes());
            head.extend_from_slice(&7_u32.to_le_bytes());
            for part in [at, at, at, size, size, if kind == 1 { 0x1000 } else { 8 }] {
                head.extend_from_slice(&part.to_le_bytes());
            }
        }
        if let Some(start) = out.get_mut(..head.len()) {
            start.copy_from_slice(&head);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::Elf;

    #[test]
    fn it_reads_as_the_library() {
        let node = Some(b"libx.so.1".to_vec());
        let stand_in = StandIn {
            machine: 62,
            soname: b"libx.so.1".to_vec(),
            needed: vec![b"liby.so.2".to_vec()],
            runpath: Some(b"$ORIGIN".to_vec()),
            symbols: vec![(b"one".to_vec(), node.clone()), (b"two".to_vec(), node), (b"three".to_vec(), None)],
            ..StandIn::default()
        };
        let bytes = stand_in.bytes();
        let elf = Elf::parse(&bytes).unwrap();
        assert!(!elf.truncated());
        assert_eq!((elf.soname(), elf.needed()), (Some(&b"libx.so.1"[..]), &[&b"liby.so.2"[..]][..]));
        assert_eq!(elf.runpath(), Some(&b"$ORIGIN"[..]));
        assert!(elf.defines(b"one", Some(b"libx.so.1")) && elf.defines(b"two", Some(b"libx.so.1")));
        assert!(elf.defines(b"three", None) && !elf.defines(b"four", None) && !elf.defines(b"one", Some(b"libx.so.2")));
        let plain = StandIn { symbols: vec![(b"one".to_vec(), None)], ..stand_in }.bytes();
        let plain = Elf::parse(&plain).unwrap();
        assert!(plain.defines(b"one", None) && !plain.is_versioned().unwrap());
    }
}
