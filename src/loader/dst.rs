//! Dynamic string tokens: `$ORIGIN`, `$LIB`, `$PLATFORM`, with or without braces (`ld.so(8)`).
//!
//! Takes one element of a path list; gives it with the tokens replaced, or nothing where ld.so would
//! drop the element (`_dl_dst_substitute` in glibc's `elf/dl-load.c`).

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// What the tokens stand for where an element is expanded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tokens<'a> {
    /// Directory of the object that carries the element; `None` where it is not known.
    pub(super) origin: Option<&'a Path>,
    pub(super) lib: &'a OsStr,
    pub(super) platform: &'a OsStr,
}

/// `None`: the element cannot be expanded and is dropped.
pub(super) fn expand(element: &OsStr, tokens: Tokens<'_>) -> Option<OsString> {
    let mut rest = element.as_bytes();
    let mut out = Vec::with_capacity(rest.len());
    while let Some(at) = rest.iter().position(|byte| *byte == b'$') {
        let (before, token) = rest.split_at(at);
        out.extend_from_slice(before);
        let after = token.get(1..).unwrap_or_default();
        if let Some((value, length)) = value(after, tokens) {
            out.extend_from_slice(value?.as_bytes());
            rest = after.get(length..).unwrap_or_default();
        } else {
            out.push(b'$');
            rest = after;
        }
    }
    out.extend_from_slice(rest);
    Some(OsString::from_vec(out))
}

/// The value of the token that `text` starts with, and the token's length; `None` where it starts with none.
fn value<'a>(text: &[u8], tokens: Tokens<'a>) -> Option<(Option<&'a OsStr>, usize)> {
    let known = [
        (&b"ORIGIN"[..], tokens.origin.map(Path::as_os_str)),
        (b"LIB", Some(tokens.lib)),
        (b"PLATFORM", Some(tokens.platform)),
    ];
    for (name, value) in known {
        if let Some(inner) = text.strip_prefix(b"{") {
            if inner.strip_prefix(name).is_some_and(|tail| tail.first() == Some(&b'}')) {
                return Some((value, name.len() + 2));
            }
        } else if let Some(tail) = text.strip_prefix(name) {
            // A longer identifier is another word: `$ORIGINAL` is no token.
            if !tail.first().is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_') {
                return Some((value, name.len()));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_replaced_and_others_kept() {
        let tokens = Tokens {
            origin: Some(Path::new("/opt/app")),
            lib: OsStr::new("lib/x86_64-linux-gnu"),
            platform: OsStr::new("x86_64"),
        };
        for (element, expected) in [
            ("$ORIGIN/../lib", "/opt/app/../lib"),
            ("${ORIGIN}/x", "/opt/app/x"),
            ("/usr/$LIB", "/usr/lib/x86_64-linux-gnu"),
            ("$ORIGINAL/x", "$ORIGINAL/x"),
            ("$PLATFORM", "x86_64"),
            ("$", "$"),
            ("${ORIGIN", "${ORIGIN"),
        ] {
            assert_eq!(expand(OsStr::new(element), tokens).unwrap(), expected);
        }
        assert_eq!(expand(OsStr::new("$ORIGIN"), Tokens { origin: None, ..tokens }), None);
    }
}
