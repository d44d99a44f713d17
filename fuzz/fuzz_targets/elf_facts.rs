//! Any bytes: every fact is read, or refused with an error. Run with `cargo +nightly fuzz run elf_facts`.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../body/elf_facts.rs"]
mod elf_facts;

fuzz_target!(|bytes: &[u8]| {
    elf_facts::read_everything(bytes);
});
