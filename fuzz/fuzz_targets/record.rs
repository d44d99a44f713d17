//! See the body. Run with `cargo +nightly fuzz run record`.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../body/record.rs"]
mod body;
#[path = "../body/machine.rs"]
mod machine;

fuzz_target!(|bytes: &[u8]| body::run(bytes));
