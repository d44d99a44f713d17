//! See the body; the other reader is `cshim/plan.c` itself. Run with `cargo +nightly fuzz run plan`.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../body/plan.rs"]
mod body;
#[path = "../shim/mod.rs"]
mod shim;

fuzz_target!(|bytes: &[u8]| body::run(bytes, |bytes| shim::plan(bytes)));
