//! `GLIBC_TUNABLES`: the settings of ld.so (`elf/dl-tunables.c`).
//!
//! Takes the environment; returns the value of one tunable, the last of several. Never sets one.

use crate::host::Host;
use std::ffi::OsStr;

/// The value of a tunable.
pub(crate) fn tunable<'h>(host: &'h Host, name: &str) -> Option<&'h str> {
    let all = host.env("GLIBC_TUNABLES").and_then(OsStr::to_str).unwrap_or_default();
    all.split(':').filter_map(|one| one.split_once('=')).rfind(|(known, _)| *known == name).map(|(_, value)| value)
}

/// A number as `_dl_strtoul` reads it: decimal, `0x…` or octal.
pub(crate) fn number(text: &str) -> Option<u64> {
    let text = text.trim_start();
    match text.strip_prefix('0') {
        Some(rest) if rest.starts_with(['x', 'X']) => u64::from_str_radix(rest.get(1..)?, 16).ok(),
        Some(rest) if !rest.is_empty() => u64::from_str_radix(rest, 8).ok(),
        _ => text.parse().ok(),
    }
}
