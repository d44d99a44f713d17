//! The version inside a driver library, for copies without a version in their names: bind mounts of containers, WSL.
//!
//! libcuda contains the whole names of the parts that it opens (`libnvidia-pkcs11.so.535.261.03`); NVML contains the
//! version as a separate text.

use crate::inventory::Library;
use crate::tables::Version;
use memchr::memmem;

/// Bytes of constants searched.
const WINDOW: usize = 32 << 20;

pub(super) fn version(library: &Library) -> Option<Version> {
    let elf = library.object.as_ref().filter(|_| library.unusable.is_none())?.elf().ok()?;
    let sections = elf.sections();
    let constants = sections.iter().find(|section| section.name == b".rodata")?.bytes;
    let constants = constants.get(..WINDOW).unwrap_or(constants);
    named_part(constants).or_else(|| alone(constants))
}

/// The release in the whole name of another part of the driver.
fn named_part(constants: &[u8]) -> Option<Version> {
    memmem::find_iter(constants, b"libnvidia-").find_map(|at| {
        let text = text_at(constants, at)?;
        let (_, version) = text.split_once(".so.")?;
        release(version)
    })
}

/// The only text that is a bare release.
fn alone(constants: &[u8]) -> Option<Version> {
    let mut found = None;
    for text in constants.split(|byte| *byte == 0) {
        // `450.80.02`, `535.261.03`.
        if !(6..=10).contains(&text.len()) || !text.first().is_some_and(u8::is_ascii_digit) {
            continue;
        }
        let Some(version) = std::str::from_utf8(text).ok().and_then(release) else { continue };
        match &found {
            None => found = Some(version),
            Some(other) if *other == version => {}
            Some(_) => return None,
        }
    }
    found
}

fn text_at(bytes: &[u8], at: usize) -> Option<&str> {
    let rest = bytes.get(at..)?;
    let end = rest.iter().take(64).position(|byte| *byte == 0)?;
    std::str::from_utf8(rest.get(..end)?).ok()
}

/// A release of a driver: three digits, two or three, and mostly two more.
fn release(text: &str) -> Option<Version> {
    let version = Version::parse(text)?;
    let digits = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    (digits && (300..1000).contains(&version.major()) && (2..=3).contains(&version.numbers().len())).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_libcuda_and_nvml() {
        let text = |bytes: &[u8], read: fn(&[u8]) -> Option<Version>| read(bytes).map(|version| version.to_string());
        let libcuda = b"x\x00535.54.02\x00535.86.06\0libnvidia-ml.so.1\0libnvidia-pkcs11.so.535.261.03\0";
        assert_eq!(text(libcuda, named_part).as_deref(), Some("535.261.03"));
        // Two releases: ambiguous.
        assert_eq!(text(libcuda, alone), None);
        assert_eq!(text(b"\x0012.535.261.03\x00535.261.03\x00535.261.\0", alone).as_deref(), Some("535.261.03"));
        assert_eq!(text(b"libnvidia-%s.so.%s", named_part), None);
        assert_eq!(text(b"123.45.67\0", alone), None);
    }
}
