//! Walks fat binaries, and compares with a second walk that goes by the table in `src/elf/fatbin.rs` alone.
//!
//! The body of the fuzz target, and of the test that goes through `seeds` and `findings`.

use cudashim::internal::elf::fatbin::FatBinaries;

/// Reads `bytes` as a section, and searches them as bytes that nothing describes.
pub(crate) fn run(bytes: &[u8]) {
    let read = FatBinaries::read(bytes);
    let (regions, entries) = count(bytes);
    let found = read.cubins.values().chain(read.ptx.values()).sum::<u64>() + read.other;
    assert_eq!((read.regions, found), (regions, entries));
    assert!(read.compressed <= found);
    assert!(read.damage.is_none_or(|damage| damage.at <= bytes.len() as u64));
    assert!(read.read <= bytes.len() as u64 + 16, "bytes are looked at once");

    let mut searched = FatBinaries::default();
    searched.search(bytes);
    // A region that stands alone is found either way.
    assert!(read.damage.is_some() || searched.regions >= read.regions);
    assert!(searched.is_empty() == (searched.regions == 0));

    // Regions one after the other are those of both.
    if read.damage.is_none() && bytes.len().is_multiple_of(8) {
        let twice = FatBinaries::read(&[bytes, bytes].concat());
        // What is left over at the end, less than a header, may become one with what follows.
        assert!(twice.damage.is_some() || twice.regions >= read.regions);
    }
}

/// The regions, and the entries in them, up to the first that is damaged.
fn count(bytes: &[u8]) -> (u64, u64) {
    let number = |at: usize, size: usize| -> Option<u64> {
        let field = bytes.get(at..at.checked_add(size)?)?;
        Some(field.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    };
    let step = |at: usize, by: u64| usize::try_from(by).ok().and_then(|by| at.checked_add(by));
    let (mut at, mut padding, mut regions, mut entries) = (0_usize, 0, 0, 0);
    while at + 16 <= bytes.len() {
        if number(at, 4) == Some(0) && padding < 4096 {
            (at, padding) = (at + 8, padding + 8);
            continue;
        }
        padding = 0;
        let (Some(0xba55_ed50), Some(1), Some(head @ 16..)) = (number(at, 4), number(at + 4, 2), number(at + 6, 2))
        else {
            break;
        };
        let start = at + head as usize;
        let Some(end) = number(at + 8, 8).and_then(|size| step(start, size)).filter(|end| *end <= bytes.len()) else {
            break;
        };
        regions += 1;
        at = start;
        while at < end {
            let (Some(head @ 64..), Some(_)) = (number(at + 4, 4), number(at + 63, 1)) else {
                return (regions, entries);
            };
            let next = step(at, head).zip(number(at + 8, 8)).and_then(|(at, size)| step(at, size));
            let Some(next) = next.filter(|next| *next <= end) else { return (regions, entries) };
            if !matches!(number(at + 28, 4), Some(1..=999)) {
                return (regions, entries);
            }
            entries += 1;
            at = next;
        }
    }
    (regions, entries)
}
