//! See the body. Run with `cargo +nightly fuzz run spec`.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../body/spec.rs"]
mod body;

fuzz_target!(|bytes: &[u8]| body::run(bytes));
