//! See the body; the other reader is `cshim/peek.c` itself. Run with `cargo +nightly fuzz run peek`.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../body/peek.rs"]
mod body;
#[path = "../shim/mod.rs"]
mod shim;

fuzz_target!(|bytes: &[u8]| body::run(bytes, |bytes| shim::peek(bytes)));
