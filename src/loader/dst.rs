//! Dynamic string tokens: `$ORIGIN`, `$LIB`, `$PLATFORM`, with or without braces (`ld.so(8)`).
//!
//! Takes one element of a path list; returns it with the tokens replaced, or `None` where ld.so would
//! drop the element (`_dl_dst_substitute` in glibc's `elf/dl-load.c`).

use super::machine::Machine;
use crate::host::Host;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

/// The values of the tokens for an element.
#[derive(Clone, Copy)]
pub(super) struct Tokens<'a> {
    /// Directory of the object with the element; `None` where it is not known.
    pub(super) origin: Option<&'a Path>,
    pub(super) lib: &'a OsStr,
    pub(super) platform: Platform<'a>,
    pub(super) trust: Trust<'a>,
}

/// The value of `$PLATFORM`, computed at its first use, since it reads the processor's features.
#[derive(Clone, Copy)]
pub(super) enum Platform<'a> {
    Of(&'a Machine, &'a Host),
    #[cfg(test)]
    Named(&'static str),
}

/// Where `$ORIGIN` counts.
#[derive(Clone, Copy)]
pub(super) enum Trust<'a> {
    /// Everywhere.
    All,
    /// In secure mode: only as the first part of a path, and where there are trusted directories, only below one.
    First(&'a [PathBuf]),
}

/// `None`: the element cannot be expanded and is dropped.
pub(super) fn expand(element: &OsStr, tokens: &Tokens<'_>) -> Option<OsString> {
    let mut rest = element.as_bytes();
    let mut out = Vec::with_capacity(rest.len());
    let mut has_origin = false;
    while let Some(at) = rest.iter().position(|byte| *byte == b'$') {
        let (before, token) = rest.split_at(at);
        out.extend_from_slice(before);
        let after = token.get(1..).unwrap_or_default();
        if let Some((token, length)) = token_of(after) {
            let tail = after.get(length..).unwrap_or_default();
            match token {
                Token::Origin => {
                    let is_first =
                        rest.len() == element.len() && at == 0 && (tail.is_empty() || tail.starts_with(b"/"));
                    let allowed = is_first || matches!(tokens.trust, Trust::All);
                    out.extend_from_slice(tokens.origin.filter(|_| allowed)?.as_os_str().as_bytes());
                    has_origin = true;
                }
                Token::Lib => out.extend_from_slice(tokens.lib.as_bytes()),
                Token::Platform => {
                    let name = match tokens.platform {
                        Platform::Of(machine, host) => machine.platform(host),
                        #[cfg(test)]
                        Platform::Named(name) => name,
                    };
                    out.extend_from_slice(name.as_bytes());
                }
            }
            rest = tail;
        } else {
            out.push(b'$');
            rest = after;
        }
    }
    out.extend_from_slice(rest);
    let path = OsString::from_vec(out);
    match tokens.trust {
        Trust::First(trusted) if has_origin && !trusted.is_empty() && !is_trusted(&path, trusted) => None,
        _ => Some(path),
    }
}

#[derive(Clone, Copy)]
enum Token {
    Origin,
    Lib,
    Platform,
}

/// The token that `text` starts with, and its length; `None` where it starts with none.
fn token_of(text: &[u8]) -> Option<(Token, usize)> {
    let known = [(&b"ORIGIN"[..], Token::Origin), (b"LIB", Token::Lib), (b"PLATFORM", Token::Platform)];
    for (name, token) in known {
        if let Some(inner) = text.strip_prefix(b"{") {
            if inner.strip_prefix(name).is_some_and(|tail| tail.first() == Some(&b'}')) {
                return Some((token, name.len() + 2));
            }
        } else if let Some(tail) = text.strip_prefix(name) {
            // A longer identifier is another word: `$ORIGINAL` is not a token.
            if !tail.first().is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_') {
                return Some((token, name.len()));
            }
        }
    }
    None
}

/// `is_trusted_path_normalize`: the path without `.` and `..` is in a default directory.
fn is_trusted(path: &OsStr, trusted: &[PathBuf]) -> bool {
    let mut plain = PathBuf::new();
    for part in Path::new(path).components() {
        match part {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    trusted.iter().any(|dir| plain.starts_with(dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_replaced_and_others_kept() {
        let tokens = Tokens {
            origin: Some(Path::new("/opt/app")),
            lib: OsStr::new("lib/x86_64-linux-gnu"),
            platform: Platform::Named("x86_64"),
            trust: Trust::All,
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
            assert_eq!(expand(OsStr::new(element), &tokens).unwrap(), expected);
        }
        let trusted = [PathBuf::from("/opt/lib")];
        for (trusted, element, expected) in [
            (&[][..], "$ORIGIN/../lib", Some("/opt/app/../lib")),
            (&[][..], "/x/$ORIGIN", None),
            (&[][..], "$ORIGIN:", None),
            (&trusted[..], "$ORIGIN/../lib/x", Some("/opt/app/../lib/x")),
            (&trusted[..], "$ORIGIN/x", None),
            (&trusted[..], "/anywhere/$LIB", Some("/anywhere/lib/x86_64-linux-gnu")),
        ] {
            let secure = Tokens { trust: Trust::First(trusted), ..tokens };
            assert_eq!(expand(OsStr::new(element), &secure).as_deref(), expected.map(OsStr::new), "{element}");
        }
        assert_eq!(expand(OsStr::new("$ORIGIN"), &Tokens { origin: None, ..tokens }), None);
    }
}
