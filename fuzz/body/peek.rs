//! Reads the needed names of an ELF file in Rust and as the shim does: what is sound for one is so for the other.
//!
//! The body of the fuzz target, and of the test that goes through `seeds` and `findings`.

use cudashim::internal::elf::{Elf, ObjectKind};

/// The limits of `cshim/peek.c`.
const SEGMENTS: u16 = 64;
const NAME: usize = 2047;
/// The bytes of a dynamic table that it reads.
const TABLE: u64 = 2048 * 16;

/// Reads `bytes`. `shim` answers what `harness_peek` makes of them.
pub(crate) fn run(bytes: &[u8], shim: impl FnOnce(&[u8]) -> Vec<u8>) {
    let theirs = shim(bytes);
    let theirs: Vec<&[u8]> = match theirs.strip_suffix(b"\0") {
        Some(names) => names.split(|byte| *byte == 0).collect(),
        None => Vec::new(),
    };
    for name in &theirs {
        assert!(!name.is_empty() && name.len() <= NAME);
        assert!(bytes.windows(name.len()).any(|bytes| bytes == *name), "a name that is not in the file");
    }
    // What does not hold together may have names for the shim, which looks at less; it opens nothing by them.
    let Ok(elf) = Elf::parse(bytes) else { return };
    let ident = elf.ident();
    let ours = if cfg!(target_arch = "aarch64") { "aarch64" } else { "x86-64" };
    if ident.kind != ObjectKind::Shared || ident.machine_name() != ours || !within_limits(bytes) {
        return;
    }
    let shown = elf.needed().iter().filter(|name| (1..=NAME).contains(&name.len()));
    let ours: Vec<&[u8]> = shown.copied().collect();
    assert_eq!(theirs, ours);
}

/// Whether the shim reads all of it: few program headers, and no large dynamic table.
fn within_limits(bytes: &[u8]) -> bool {
    let half = |at: usize| bytes.get(at..at + 2).map_or(0, |b| u16::from_le_bytes([b[0], b[1]]));
    let word = |at: usize| bytes.get(at..at + 8).map_or(0, |b| u64::from_le_bytes(b.try_into().unwrap_or_default()));
    let (start, count) = (word(32) as usize, half(56));
    let sizes = (0..usize::from(count)).map(|i| word(start.saturating_add(56 * i + 32).min(bytes.len())));
    let kinds = (0..usize::from(count)).map(|i| word(start.saturating_add(56 * i).min(bytes.len())) & 0xffff_ffff);
    count <= SEGMENTS && kinds.zip(sizes).all(|(kind, size)| kind != 2 || size <= TABLE)
}
