//! See the body. Run with `cargo +nightly fuzz run version`.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../body/version.rs"]
mod body;

fuzz_target!(|bytes: &[u8]| body::run(bytes));
