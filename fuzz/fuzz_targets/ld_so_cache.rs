//! See the body. Run with `cargo +nightly fuzz run ld_so_cache`.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../body/ld_so_cache.rs"]
mod body;

fuzz_target!(|bytes: &[u8]| body::run(bytes));
