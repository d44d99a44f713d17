//! See the body. Run with `cargo +nightly fuzz run message`.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../body/message.rs"]
mod body;

fuzz_target!(|bytes: &[u8]| body::run(bytes));
