//! See the body; the other reader is `cshim/image.c` itself. Run with `cargo +nightly fuzz run image`.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../body/image.rs"]
mod body;
#[path = "../shim/mod.rs"]
mod shim;

fuzz_target!(|bytes: &[u8]| body::run(bytes, |bytes| shim::image(bytes)));
