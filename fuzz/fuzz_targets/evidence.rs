//! Any bytes: evidence and GPU code are found, or not. Run with `cargo +nightly fuzz run evidence`.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../body/evidence.rs"]
mod evidence;

fuzz_target!(|bytes: &[u8]| {
    evidence::look_for_everything(bytes);
});
