//! The parts of an object that are read when it is loaded, as ranges of its file.
//!
//! Takes a way to read the file in pieces; gives the tables and data that ld.so reads, and the code and constants that its
//! constructors run through. Never the GPU's code, which only the driver reads, nor what only an exception or a debugger needs.

use super::dynamic::CTX;
use goblin::elf::section_header::{
    SHF_ALLOC, SHF_EXECINSTR, SHF_WRITE, SHT_INIT_ARRAY, SHT_NOBITS, SHT_RELA, SectionHeader,
};
use std::ops::Range;

/// Parts of a file.
pub type Ranges = Vec<Range<u64>>;

/// Ranges that are closer than this are read as one.
const GAP: u64 = 128 << 10;

/// Constructors that are closer than this are one piece of code.
const CODE_GAP: u64 = 1 << 20;

/// More sections than any library has.
const SECTIONS_LIMIT: usize = 4096;

/// `SHF_X86_64_LARGE`: data beyond the first two gibibytes, of which a start reads little.
const LARGE: u64 = 0x1000_0000;

/// `R_X86_64_RELATIVE` and `R_AARCH64_RELATIVE`.
const RELATIVE: [u64; 2] = [8, 1027];

/// What is read of a file when it is loaded, and what its constructors read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AtStart {
    /// Headers, symbols, hashes, relocations, data: what ld.so reads.
    pub tables: Ranges,
    /// Code and constants.
    pub code: Ranges,
}

/// One section, as far as it matters here.
struct Part {
    range: Range<u64>,
    address: u64,
    kind: u32,
    flags: u64,
}

/// Reads the ranges of a file; `read` gives so many bytes at an offset, or fewer at its end. `None`: it is no object, or has no
/// sections.
pub fn at_start(read: &mut dyn FnMut(u64, usize) -> Option<Vec<u8>>) -> Option<AtStart> {
    let start = read(0, 4096)?;
    let header = super::header::parse_header(&start)
        .ok()
        .filter(|header| usize::from(header.e_shentsize) == SectionHeader::size(CTX))?;
    let count = usize::from(header.e_shnum);
    if count == 0 || count > SECTIONS_LIMIT {
        return None;
    }
    // With a byte before it: goblin takes a table at 0 for none.
    let table = read(header.e_shoff.checked_sub(1)?, count.checked_mul(SectionHeader::size(CTX))?.checked_add(1)?)?;
    let headers = SectionHeader::parse(&table, 1, count, CTX).ok()?;
    let names = headers.get(usize::from(header.e_shstrndx))?;
    let names = read(names.sh_offset, usize::try_from(names.sh_size).ok().filter(|size| *size <= 1 << 20)?)?;
    let parts: Vec<Part> = headers
        .iter()
        .filter(|section| section.sh_flags & u64::from(SHF_ALLOC) != 0 && section.sh_type != SHT_NOBITS)
        .filter(|section| !is_left_out(name(&names, section.sh_name)) && section.sh_flags & LARGE == 0)
        .filter_map(|section| {
            let range = section.sh_offset..section.sh_offset.checked_add(section.sh_size)?;
            Some(Part { range, address: section.sh_addr, kind: section.sh_type, flags: section.sh_flags })
        })
        .collect();
    let is_text = |part: &&Part| part.flags & u64::from(SHF_EXECINSTR) != 0;
    let is_constant = |part: &&Part| part.kind == 1 && part.flags & u64::from(SHF_WRITE | SHF_EXECINSTR) == 0;
    let mut tables: Ranges = Vec::new();
    tables.push(0..4096);
    tables.extend(parts.iter().filter(|part| !is_text(part) && !is_constant(part)).map(|part| part.range.clone()));
    let mut code: Ranges = parts.iter().filter(is_constant).map(|part| part.range.clone()).collect();
    // Stubs and what is run first are small; of the rest, what the constructors are.
    let texts: Vec<&Part> = parts.iter().filter(is_text).collect();
    code.extend(texts.iter().map(|part| &part.range).filter(|range| length(range) <= CODE_GAP).cloned());
    code.extend(joined(constructors(&parts, &texts, read), CODE_GAP));
    Some(AtStart { tables: joined(tables, GAP), code: joined(code, GAP) })
}

/// The pages of the functions that `.init_array` names, by its relative relocations.
fn constructors(parts: &[Part], texts: &[&Part], read: &mut dyn FnMut(u64, usize) -> Option<Vec<u8>>) -> Ranges {
    let arrays: Vec<Range<u64>> = parts
        .iter()
        .filter(|part| part.kind == SHT_INIT_ARRAY)
        .map(|part| part.address..part.address.saturating_add(length(&part.range)))
        .collect();
    let mut found = Ranges::new();
    for part in parts.iter().filter(|part| part.kind == SHT_RELA) {
        let Some(bytes) = usize::try_from(length(&part.range)).ok().and_then(|size| read(part.range.start, size))
        else {
            continue;
        };
        for record in bytes.chunks_exact(24) {
            let word = |at: usize| {
                record.get(at..at.saturating_add(8)).and_then(|it| it.try_into().ok()).map_or(0, u64::from_le_bytes)
            };
            let (place, kind, function) = (word(0), word(8), word(16));
            if RELATIVE.contains(&kind) && arrays.iter().any(|array| array.contains(&place)) {
                let home = texts.iter().find_map(|text| {
                    let at = function.checked_sub(text.address)?.checked_add(text.range.start)?;
                    text.range.contains(&at).then_some(at)
                });
                found.extend(home.map(|at| at..at.saturating_add(4096)));
            }
        }
    }
    found
}

fn length(range: &Range<u64>) -> u64 {
    range.end.saturating_sub(range.start)
}

/// Sorted, and with those that are closer than `gap` as one.
fn joined(mut ranges: Ranges, gap: u64) -> Ranges {
    ranges.retain(|range| range.start < range.end);
    ranges.sort_by_key(|range| range.start);
    let mut all = Ranges::new();
    for range in ranges {
        match all.last_mut().filter(|last| range.start <= last.end.saturating_add(gap)) {
            Some(last) => last.end = last.end.max(range.end),
            None => all.push(range),
        }
    }
    all
}

/// The GPU's code, and tables for exceptions.
fn is_left_out(name: &[u8]) -> bool {
    let gpu = [&b".nv_"[..], b"__nv_", b".nvHR", b".cask_resource"];
    let unwinding = [&b".eh_frame"[..], b".gcc_except_table"];
    gpu.iter().chain(&unwinding).any(|start| name.starts_with(start))
}

fn name(names: &[u8], at: usize) -> &[u8] {
    names.get(at..).unwrap_or_default().split(|byte| *byte == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_with_a_small_gap_are_one() {
        assert_eq!(joined(vec![50..60, 0..10, 12..20, 15..18, 70..70], 5), [0..20, 50..60]);
        assert_eq!(joined(vec![0..10, 11..u64::MAX], 5).first(), Some(&(0..u64::MAX)));
    }

    #[test]
    fn code_of_the_gpu_is_left_out() {
        for name in [".nv_fatbin", "__nv_relfatbin", ".nvHRKI", ".eh_frame_hdr", ".gcc_except_table"] {
            assert!(is_left_out(name.as_bytes()), "{name}");
        }
        // Its constructors read the segment's record of the code.
        assert!(!is_left_out(b".nvFatBinSegment") && !is_left_out(b".data"));
    }

    #[test]
    fn what_is_no_object_has_no_ranges() {
        let read = |bytes: &'static [u8]| {
            move |at: u64, size: usize| {
                let rest = bytes.get(usize::try_from(at).ok()?..)?;
                Some(rest.get(..size).unwrap_or(rest).to_vec())
            }
        };
        assert_eq!(at_start(&mut read(b"")), None);
        assert_eq!(at_start(&mut read(b"no object at all")), None);
        assert_eq!(at_start(&mut read(&[0x7f; 4096])), None);
    }
}
