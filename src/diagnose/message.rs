//! Recognises known messages in an error text, and the names in each.
//!
//! Takes bytes from a terminal or a log; gives the messages of `data/messages.tsv`, the most specific first. Never
//! reads the machine, never fails; the work is linear in the length of the text ([`Window`] bounds that).

mod clean;
mod window;

pub use window::Window;

use crate::tables::{MessageRow, brings, messages};
use memchr::memmem::Finder;
use regex_lite::Captures;
use serde::Serialize;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// A longer line is split into pieces of this length.
const PIECE: usize = 4096;

/// How much of the neighbouring pieces to include: a message may cross the border.
const OVERLAP: usize = 1024;

/// The most pieces to try a row on, fewer if they are long ([`BYTES`]): a text with more of them repeats itself.
const TRIES: usize = 1000;

/// The most bytes to try a row on: the cost of an expression grows with them.
const BYTES: usize = TRIES << 10;

/// The most different messages to keep.
const KEPT: usize = 64;

/// The most characters of a line to show.
const SHOWN: usize = 240;

/// The longest text to try with its lines joined: more than anybody pastes.
const PASTED: usize = 1 << 20;

/// A message that is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Message {
    /// The finding ids that it may indicate, the likeliest first.
    pub ids: Vec<&'static str>,
    /// How specific it is, 1 to 9; 0: relevant only if the machine has such a finding.
    pub weight: u8,
    /// The cause in one clause.
    pub says: String,
    /// The line, without escapes, shortened if it is long.
    pub text: String,
    /// The names in the message: `library`, `symbol`, `asker`, … (`data/messages.tsv`).
    pub names: BTreeMap<&'static str, String>,
    /// How often it occurs.
    pub count: u32,
    /// The page that documents the message or its meaning.
    pub source: &'static str,
}

impl Message {
    /// The value of a named group.
    #[must_use]
    pub fn name(&self, group: &str) -> Option<&str> {
        self.names.get(group).map(String::as_str)
    }

    fn new(row: &'static MessageRow, line: &str, found: &Captures<'_>) -> Self {
        let groups = row.regex().into_iter().flat_map(|regex| regex.capture_names().flatten());
        let text = |group| found.name(group).map(|found| found.as_str().to_owned());
        let names: BTreeMap<_, _> =
            groups.filter_map(|group| text(group).map(|text| (group, release(group, text)))).collect();
        let fill = |says: String, (group, text): (&&str, &String)| says.replace(&format!("{{{group}}}"), text);
        // The line from its beginning, unless the message lies beyond the shown part.
        let start = found.get(0).map_or(0, |whole| whole.start());
        let from = if start > SHOWN / 2 { start } else { 0 };
        let line = line.get(from..).unwrap_or_default().trim_ascii();
        Self {
            ids: row.ids.clone(),
            weight: row.weight,
            says: names.iter().fold(row.says.to_owned(), fill),
            text: line.chars().take(SHOWN).collect(),
            names,
            count: 1,
            source: row.source,
        }
    }
}

/// Normalises a release: CUDA writes 12.8 as 12080, and torch writes cuDNN's as a Python tuple.
fn release(group: &str, text: String) -> String {
    match text.parse::<u32>() {
        Ok(number) if group == "cuda" && number >= 1000 => format!("{}.{}", number / 1000, number % 1000 / 10),
        _ if matches!(group, "wanted" | "found") => text.replace(", ", "."),
        _ => text,
    }
}

/// The keys of all rows, and the rows of each.
static KEYS: LazyLock<Vec<(Finder<'static>, Vec<usize>)>> = LazyLock::new(|| {
    let mut rows: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (at, row) in messages().iter().enumerate() {
        for key in &row.keys {
            rows.entry(key).or_default().push(at);
        }
    }
    rows.into_iter().map(|(key, rows)| (Finder::new(key), rows)).collect()
});

/// The messages of a text, the most specific first; equally specific ones in text order.
#[must_use]
pub fn recognise(bytes: &[u8]) -> Vec<Message> {
    let plain = clean::clean(bytes);
    let mut found = on_lines(&plain);
    if found.iter().all(|message| message.weight <= 1) && plain.len() <= PASTED {
        // No message on one line: the text may have been wrapped to a page.
        let readings = clean::unwrapped(&plain).into_iter().map(|text| on_lines(&text));
        found = readings.chain([found]).max_by_key(|found| found.first().map(|first| first.weight)).unwrap_or_default();
    }
    found
}

fn on_lines(plain: &[u8]) -> Vec<Message> {
    let mut found: Vec<(usize, Message)> = Vec::new();
    let mut tried = vec![0; messages().len()];
    let mut piece = Piece::default();
    let mut rows: Vec<usize> = Vec::new();
    let find = |finder: &Finder<'_>, from: usize| Some(from + finder.find(plain.get(from..)?)?);
    // The next position of each key.
    let mut next: Vec<Option<usize>> = KEYS.iter().map(|(finder, _)| find(finder, 0)).collect();
    while let Some(first) = next.iter().flatten().min() {
        piece = piece.next(plain, *first);
        for (at, (finder, of_key)) in next.iter_mut().zip(KEYS.iter()) {
            if at.is_some_and(|at| piece.has(at)) {
                rows.extend(of_key);
                *at = find(finder, piece.end);
            }
        }
        take(&mut found, &mut tried, plain, &piece, &mut rows);
    }
    // The sort is stable: equally specific messages stay in text order.
    found.sort_by_key(|(_, message)| std::cmp::Reverse(message.weight));
    let mut rest: Vec<Message> = found.into_iter().map(|(_, message)| message).collect();
    let mut ordered = Vec::with_capacity(rest.len());
    while !rest.is_empty() {
        let first = cause(&rest, 0, &mut vec![false; rest.len()]);
        ordered.push(rest.remove(first));
    }
    ordered
}

/// For each message, the index of the message that caused it; its own index if none did.
fn cause(messages: &[Message], of: usize, seen: &mut [bool]) -> usize {
    seen[of] = true;
    let id = messages[of].ids.first().copied().unwrap_or_default();
    let causes = |at: &usize| messages[*at].ids.first().is_some_and(|cause| brings(cause).contains(&id));
    match (0..messages.len()).filter(|at| !seen[*at] && messages[*at].weight > 0).find(causes) {
        Some(at) => cause(messages, at, seen),
        None => of,
    }
}

/// Records the match of the heaviest row that fits a piece.
fn take(found: &mut Vec<(usize, Message)>, tried: &mut [usize], plain: &[u8], piece: &Piece, rows: &mut Vec<usize>) {
    let text = piece.text(plain);
    rows.sort_unstable();
    rows.dedup();
    rows.sort_by_key(|at| std::cmp::Reverse(messages().get(*at).map(|row| row.weight)));
    for at in rows.drain(..) {
        let (Some(row), Some(tried)) = (messages().get(at), tried.get_mut(at)) else { continue };
        if *tried >= BYTES {
            continue;
        }
        *tried += text.len().max(BYTES / TRIES);
        let Some(captures) = row.regex().and_then(|regex| regex.captures(&text)) else { continue };
        let message = Message::new(row, &text, &captures);
        let same = |(of, known): &&mut (usize, Message)| *of == at && known.names == message.names;
        if let Some((_, known)) = found.iter_mut().find(same) {
            known.count = known.count.saturating_add(1);
        } else if found.len() < KEPT {
            found.push((at, message));
        }
        break;
    }
}

/// A line, or a piece of a long one.
#[derive(Debug, Default)]
struct Piece {
    start: usize,
    end: usize,
    line_start: usize,
    line_end: usize,
}

impl Piece {
    /// The piece that contains `at`, after `self`. Scans a line once, however many pieces it has.
    fn next(&self, plain: &[u8], at: usize) -> Self {
        let (line_start, line_end) = if (self.line_start..self.line_end).contains(&at) {
            (self.line_start, self.line_end)
        } else {
            let known = self.line_end.min(at);
            let behind = memchr::memrchr(b'\n', plain.get(known..at).unwrap_or_default());
            let ahead = memchr::memchr(b'\n', plain.get(at..).unwrap_or_default());
            (behind.map_or(known, |newline| known + newline + 1), ahead.map_or(plain.len(), |newline| at + newline))
        };
        let start = line_start + (at - line_start) / PIECE * PIECE;
        Self { start, end: line_end.min(start + PIECE), line_start, line_end }
    }

    fn has(&self, at: usize) -> bool {
        (self.start..self.end).contains(&at)
    }

    /// The piece with the parts of its neighbours.
    fn text<'t>(&self, plain: &'t [u8]) -> Cow<'t, str> {
        let start = self.start.saturating_sub(OVERLAP).max(self.line_start);
        String::from_utf8_lossy(plain.get(start..self.line_end.min(self.end + OVERLAP)).unwrap_or_default())
    }
}
