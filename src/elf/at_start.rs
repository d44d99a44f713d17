//! The parts of an object that are read when it is loaded, as ranges of its file.
//!
//! Takes a way to read the file in pieces; gives the tables and data that ld.so reads, and the code and constants of the host.
//! All of these: constructors run through them here and there, and one fault out of order costs what megabytes in order do.
//! Never the GPU's code, which only the driver reads, nor what only an exception or a debugger needs.

use super::dynamic::CTX;
use goblin::elf::section_header::{SHF_ALLOC, SHF_EXECINSTR, SHF_WRITE, SHT_NOBITS, SHT_PROGBITS, SectionHeader};
use std::ops::Range;

/// Parts of a file.
pub type Ranges = Vec<Range<u64>>;

/// Ranges that are closer than this are read as one.
const GAP: u64 = 128 << 10;

/// More sections than any library has.
const SECTIONS_LIMIT: usize = 4096;

/// `SHF_X86_64_LARGE`: what lies beyond the first two gibibytes.
const LARGE: u64 = 0x1000_0000;

/// What is read of a file when it is loaded, and what runs then.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AtStart {
    /// Headers, symbols, hashes, relocations, data: what ld.so reads.
    pub tables: Ranges,
    /// Code and constants.
    pub code: Ranges,
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
    let parts = headers
        .iter()
        .filter(|section| section.sh_flags & u64::from(SHF_ALLOC) != 0 && section.sh_type != SHT_NOBITS)
        .filter(|section| !is_left_out(name(&names, section.sh_name)));
    let (mut tables, mut code) = (Ranges::new(), Ranges::new());
    tables.push(0..4096);
    for section in parts {
        let range = section.sh_offset..section.sh_offset.checked_add(section.sh_size)?;
        let flags = u64::from(SHF_WRITE | SHF_EXECINSTR);
        let is_constant = section.sh_type == SHT_PROGBITS && section.sh_flags & flags == 0;
        let is_late = is_constant || section.sh_flags & (u64::from(SHF_EXECINSTR) | LARGE) != 0;
        if is_late { code.push(range) } else { tables.push(range) }
    }
    Some(AtStart { tables: joined(tables, GAP), code: joined(code, GAP) })
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
