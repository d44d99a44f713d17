//! See the body. Run with `cargo +nightly fuzz run plan`.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../body/plan.rs"]
mod body;

fuzz_target!(|bytes: &[u8]| body::run(bytes));
