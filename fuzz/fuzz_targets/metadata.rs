//! See the body. Run with `cargo +nightly fuzz run metadata`.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../body/metadata.rs"]
mod body;
#[path = "../body/machine.rs"]
mod machine;

fuzz_target!(|bytes: &[u8]| body::run(bytes));
