//! What is read of a library when it is loaded, against what `object` sees in it.

use crate::support::*;
use cudashim::internal::elf::at_start;
use object::{Object as _, ObjectSection as _};
use std::ops::Range;

/// Constructors, and two megabytes that stand for the GPU's code.
const SOURCE: &str = r#"
    __attribute__((section(".nv_fatbin"), used)) static const char code[2 << 20] = {1};
    int table[100000] = {1, 2, 3};
    int (*pointer)(void);
    __attribute__((constructor)) static void first(void) { table[0]++; }
    int other(void) { return table[7]; }
    __attribute__((constructor)) static void second(void) { pointer = other; }
"#;

#[test]
fn at_start_has_tables_and_data_and_no_code_of_the_gpu() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = std::fs::read(library(dir.path(), "libx.so.1", SOURCE, &["-O0"])).unwrap();
    let found = at_start(&mut |at, size| {
        let rest = bytes.get(usize::try_from(at).ok()?..)?;
        Some(rest.get(..size).unwrap_or(rest).to_vec())
    });
    let found = found.unwrap();
    let file = object::File::parse(&*bytes).unwrap();
    let range = |name: &str| {
        let (at, size) = file.section_by_name(name).and_then(|section| section.file_range()).unwrap();
        at..at + size
    };
    let holds =
        |all: &[Range<u64>], part: &Range<u64>| all.iter().any(|it| it.start <= part.start && part.end <= it.end);
    for name in [".dynsym", ".dynstr", ".gnu.hash", ".rela.dyn", ".dynamic", ".init_array", ".data", ".got"] {
        assert!(holds(&found.tables, &range(name)), "{name}: {found:?}");
    }
    let gpu = range(".nv_fatbin");
    let middle = gpu.start + (1 << 20);
    assert!(found.tables.iter().chain(&found.code).all(|it| !it.contains(&middle)), "{found:?} {gpu:?}");
    assert!(holds(&found.code, &range(".text")), "{found:?}");
    for ranges in [&found.tables, &found.code] {
        assert!(ranges.windows(2).all(|pair| pair[0].end < pair[1].start), "{ranges:?}");
    }
}
