//! Bytes as fields of a line: the escapes of the plan file (`docs/PLAN_FORMAT.md`), also used for
//! the terminal. Every byte string round-trips.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// `bytes` as one field: `\\`, `\t`, `\n`, and `\xHH` for control characters and bytes that are not UTF-8.
#[must_use]
pub fn bytes(bytes: &[u8]) -> String {
    let mut field = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => field.push_str("\\\\"),
                '\t' => field.push_str("\\t"),
                '\n' => field.push_str("\\n"),
                c if c.is_ascii_control() => {
                    let _ = write!(field, "\\x{:02x}", u32::from(c));
                }
                c => field.push(c),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(field, "\\x{byte:02x}");
        }
    }
    field
}

/// A path as one field.
#[must_use]
pub fn path(path: &Path) -> String {
    bytes(path.as_os_str().as_bytes())
}

/// The bytes of a field; `None` for an unknown or unnecessary escape, and for a NUL.
#[must_use]
pub fn parse(field: &str) -> Option<Vec<u8>> {
    // Nearly no field has an escape.
    if !field.bytes().any(|byte| matches!(byte, b'\\' | 0)) {
        return Some(field.as_bytes().to_vec());
    }
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes().iter().copied();
    while let Some(byte) = rest.next() {
        if byte == 0 {
            return None;
        }
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match rest.next()? {
            b'\\' => b'\\',
            b't' => b'\t',
            b'n' => b'\n',
            b'x' => {
                // Only bytes that need it, and never NUL.
                let byte = hex(rest.next()?)? << 4 | hex(rest.next()?)?;
                (byte != 0 && !(0x20..0x7f).contains(&byte)).then_some(byte)?
            }
            _ => return None,
        });
    }
    Some(bytes)
}

/// The path in a field.
#[must_use]
pub fn parse_path(field: &str) -> Option<PathBuf> {
    parse(field).map(|bytes| PathBuf::from(OsString::from_vec(bytes)))
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_byte_string_round_trips(mut input: Vec<u8>) {
            input.retain(|byte| *byte != 0);
            let field = bytes(&input);
            prop_assert!(!field.chars().any(|c| c.is_ascii_control()));
            prop_assert_eq!(parse(&field), Some(input));
        }
    }

    #[test]
    fn other_backslashes_are_refused() {
        assert_eq!(parse("\\q"), None);
        assert_eq!(parse("\\x0G"), None);
        assert_eq!(parse("\\x41"), None);
        assert_eq!(parse("\\x00"), None);
        assert_eq!(parse("\\"), None);
        assert_eq!(parse("a\0b"), None);
    }
}
