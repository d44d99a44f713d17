//! Cleans printed text into plain lines.
//!
//! Takes the bytes of a terminal, a log or a clipboard; gives lines of text with plain ASCII: without terminal
//! escapes, with each state of a progress bar on its own line, with ld.so's messages in English. Linear.

use crate::tables::translations;
use memchr::memmem::Finder;
use std::cmp::Reverse;
use std::sync::LazyLock;

const ESCAPE: u8 = 0x1b;

/// The longest text to treat as one escape (a title, a link).
const TITLE: usize = 4096;

/// Characters with a plain equivalent: quotation marks of word processors, borders of boxes, the no-break space.
const PLAIN: [(&str, &str); 16] = [
    ("\u{2018}", "'"),
    ("\u{2019}", "'"),
    ("\u{201c}", "\""),
    ("\u{201d}", "\""),
    ("\u{a0}", " "),
    ("\u{2500}", " "),
    ("\u{2502}", " "),
    ("\u{2503}", " "),
    ("\u{250c}", " "),
    ("\u{2510}", " "),
    ("\u{2514}", " "),
    ("\u{2518}", " "),
    ("\u{256d}", " "),
    ("\u{256e}", " "),
    ("\u{256f}", " "),
    ("\u{2570}", " "),
];

/// The replaced texts and their replacements: the longest first, since one may begin with another.
static REPLACED: LazyLock<Vec<(Finder<'static>, &str)>> = LazyLock::new(|| {
    let mut rows: Vec<_> = translations().iter().map(|row| (row.text, row.english)).chain(PLAIN).collect();
    rows.sort_by_key(|(text, _)| Reverse(text.len()));
    rows.into_iter().map(|(text, with)| (Finder::new(text), with)).collect()
});

/// A translation whose letters beyond ASCII were dropped or rewritten (`?`, `oe`, Latin-1): the parts between them.
/// `None` if too little remains.
fn remains(text: &'static str) -> Option<Vec<&'static str>> {
    let ascii = text.bytes().filter(u8::is_ascii_alphabetic).count();
    let replaced_letters = text.chars().filter(|letter| !letter.is_ascii()).count();
    let parts = text.split(|letter: char| !letter.is_ascii()).filter(|part| !part.is_empty());
    // Text before the first long part may vary: the match is not anchored there.
    let parts: Vec<&str> = parts.skip_while(|part| part.len() < 4).collect();
    (ascii >= 9 && ascii >= replaced_letters && !parts.is_empty()).then_some(parts)
}

static LOOSE: LazyLock<Vec<(Finder<'static>, Vec<&'static str>, &'static str)>> = LazyLock::new(|| {
    let rows = translations().iter().filter_map(|row| Some((remains(row.text)?, row.english)));
    let rows = rows.filter_map(|(parts, english)| {
        let first: &'static str = parts.first()?;
        Some((Finder::new(first), parts, english))
    });
    let mut rows: Vec<_> = rows.collect();
    rows.sort_by_key(|(_, parts, _)| Reverse(parts.iter().map(|part| part.len()).sum::<usize>()));
    rows
});

/// The remains of a letter beyond ASCII: nothing, another letter or two, or bytes of another encoding.
const LOST: usize = 4;

/// How much of the beginning of a translation may be skipped, in bytes.
const SKIPPED: usize = 24;

/// The end of the match that begins with the first part, if the other parts follow.
fn end_of(parts: &[&str], text: &[u8]) -> Option<usize> {
    let mut at = parts.first()?.len();
    for part in parts.iter().skip(1) {
        let rest = text.get(at..)?;
        let between = rest.iter().take_while(|byte| !matches!(byte, b' ' | b'\n')).count().min(LOST);
        let skipped = (0..=between).find(|skip| rest.get(*skip..).is_some_and(|it| it.starts_with(part.as_bytes())))?;
        at += skipped + part.len();
    }
    Some(at)
}

/// Only a line that names a library is searched for remains of ld.so's translated messages.
fn loosely(plain: &[u8]) -> Vec<u8> {
    let library = Finder::new(".so");
    let mut out = Vec::with_capacity(plain.len());
    for line in plain.split_inclusive(|byte| *byte == b'\n') {
        if library.find(line).is_none() {
            out.extend_from_slice(line);
            continue;
        }
        let mut line = line.to_vec();
        for (first, parts, english) in LOOSE.iter() {
            let Some(at) = first.find(&line) else { continue };
            let end = line.get(at..).and_then(|text| end_of(parts, text));
            if let Some(end) = end {
                // What was skipped of its beginning goes with it: ld.so puts its words after a colon.
                let before = line.get(..at).unwrap_or_default();
                let colon = before.windows(2).rposition(|pair| pair == b": ").map(|colon| colon + 2);
                let start = colon.filter(|colon| at - colon <= SKIPPED).unwrap_or(at);
                line.splice(start..at + end, english.bytes());
            }
        }
        out.extend(line);
    }
    out
}

/// The text as plain lines.
pub(super) fn clean(bytes: &[u8]) -> Vec<u8> {
    let plain = without_escapes(bytes);
    // An all-ASCII text needs no replacement of letters.
    let exact = if plain.is_ascii() {
        plain
    } else {
        REPLACED.iter().fold(plain, |plain, (text, with)| replaced(plain, text, with))
    };
    loosely(&exact)
}

fn replaced(plain: Vec<u8>, text: &Finder<'_>, with: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = plain.as_slice();
    while let Some((before, after)) = text.find(rest).and_then(|at| rest.split_at_checked(at)) {
        out.extend_from_slice(before);
        out.extend_from_slice(with.as_bytes());
        rest = after.get(text.needle().len()..).unwrap_or_default();
    }
    if out.is_empty() {
        return plain;
    }
    out.extend_from_slice(rest);
    out
}

/// Removes escapes (ECMA-48) and controls. A carriage return begins a line, since the terminal showed the overwritten
/// text too. Removes NUL, so that the ASCII of UTF-16 text is readable.
fn without_escapes(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            ESCAPE => rest = after_escape(tail),
            b'\r' => out.push(b'\n'),
            b'\n' | b'\t' => out.push(byte),
            0..0x20 | 0x7f => {}
            _ => out.push(byte),
        }
    }
    out
}

/// The rest after the escape at the start of `bytes`.
fn after_escape(bytes: &[u8]) -> &[u8] {
    let Some((&kind, tail)) = bytes.split_first() else { return bytes };
    match kind {
        // A control sequence: parameters, then one final byte. A truncated one ends where it breaks.
        b'[' => {
            let end = tail.iter().position(|byte| !(0x20..0x40).contains(byte)).unwrap_or(tail.len());
            match tail.get(end..) {
                Some([0x40..=0x7e, rest @ ..]) => rest,
                rest => rest.unwrap_or_default(),
            }
        }
        // A string, up to BEL or to ESC \.
        b']' | b'P' | b'X' | b'^' | b'_' => {
            let text = tail.get(..TITLE).unwrap_or(tail);
            let Some(end) = text.iter().position(|byte| matches!(*byte, 0x07 | ESCAPE | b'\n')) else { return tail };
            match tail.get(end..) {
                Some([0x07, rest @ ..] | [ESCAPE, b'\\', rest @ ..]) => rest,
                rest => rest.unwrap_or_default(),
            }
        }
        0x20..0x30 => tail.get(1..).unwrap_or_default(),
        0x30..0x7f => tail,
        _ => bytes,
    }
}

/// Joins the lines of a text that was wrapped to a page: with a blank if words were kept whole, without one if lines
/// end at one width. Either reading may be wrong.
pub(super) fn unwrapped(plain: &[u8]) -> [Vec<u8>; 2] {
    let lines = || plain.split(|byte| *byte == b'\n');
    let mut words = Vec::with_capacity(plain.len());
    for line in lines() {
        words.extend_from_slice(line.trim_ascii());
        words.push(b' ');
    }
    let width = |line: &[u8]| line.iter().filter(|byte| !(0x80..0xc0).contains(*byte)).count();
    let widest = lines().map(width).max().unwrap_or_default();
    let mut hard = Vec::with_capacity(plain.len());
    for line in lines() {
        hard.extend_from_slice(line);
        if width(line) < widest {
            hard.push(b'\n');
        }
    }
    [words, hard]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_and_controls_go() {
        for (printed, plain) in [
            (&b"\x1b[1;31mError\x1b[0m: x"[..], &b"Error: x"[..]),
            (b"\x1b]0;title\x07a\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", b"alink"),
            (b" 10%\r 20%\r\nend\r\n", b" 10%\n 20%\n\nend\n\n"),
            (b"\xff\xfeE\0r\0r\0", b"\xff\xfeErr"),
            (b"\x1b", b""),
            (b"\x1b[", b""),
            (b"\x1b[31", b""),
            (b"\x1b[3\nx", b"\nx"),
            (b"\x1b]never closed", b"never closed"),
            (b"\x1b(Bx\x1bMy\x1b\xc3\xa9", b"xy\xc3\xa9"),
        ] {
            assert_eq!(without_escapes(printed).escape_ascii().to_string(), plain.escape_ascii().to_string());
        }
    }

    #[test]
    fn translations_become_english() {
        let german =
            "x: libcudart.so.12: Kann die Shared-Object-Datei nicht öffnen: Datei oder Verzeichnis nicht gefunden";
        let plain = clean(german.as_bytes());
        assert!(plain.starts_with(b"x: libcudart.so.12: cannot open shared object file: "));
        assert_eq!(clean("version ‘GLIBCXX_3.4.30’".as_bytes()), b"version 'GLIBCXX_3.4.30'");
        // Bytes that are not UTF-8 stay unchanged.
        assert_eq!(clean(b"\xff\xc3 libcudart"), b"\xff\xc3 libcudart");
    }

    #[test]
    fn broken_lines_are_joined() {
        let [words, _] = unwrapped(b"  undefined symbol:   \n  nccl  ");
        assert_eq!(words, b"undefined symbol: nccl ");
        let [_, hard] = unwrapped(b"undefined symb\nol: ncclMemFre\ne\n");
        assert_eq!(hard, b"undefined symbol: ncclMemFree\n\n");
    }
}
