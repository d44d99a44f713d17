//! `data/messages.tsv`: the messages of programs about failures of CUDA's libraries, and their findings.
//!
//! Takes nothing; returns the rows, each with a regular expression that is compiled at its first use. Also
//! `data/translations.tsv`: ld.so's messages in other languages.

use std::sync::LazyLock;

use once_cell::sync::OnceCell;
use regex_lite::Regex;

use super::{families, table};

/// A message.
#[derive(Debug)]
#[non_exhaustive]
pub struct MessageRow {
    /// Texts, of which every such message has one.
    pub keys: Vec<&'static str>,
    /// The possible kinds of finding, the likeliest first.
    pub ids: Vec<&'static str>,
    /// The weight of the message as evidence; 0: none by itself.
    pub weight: u8,
    /// The cause in one clause, with `{group}` for the text of a group of the expression.
    pub says: &'static str,
    /// The page of the message, or of its meaning.
    pub source: &'static str,
    pattern: String,
    regex: OnceCell<Regex>,
}

impl MessageRow {
    /// The expression, searched for in the whole message as one line.
    #[must_use]
    pub fn regex(&self) -> Option<&Regex> {
        self.regex.get_or_try_init(|| Regex::new(&self.pattern)).ok()
    }
}

/// A message of ld.so or a shell in another language.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct TranslationRow {
    /// The translated text.
    pub text: &'static str,
    /// The English text.
    pub english: &'static str,
}

/// Every message, in the order of the table.
#[must_use]
pub fn messages() -> &'static [MessageRow] {
    &MESSAGES
}

/// Every translation.
#[must_use]
pub fn translations() -> &'static [TranslationRow] {
    &TRANSLATIONS
}

const TEXT: &str = include_str!("../../data/messages.tsv");
const TRANSLATED: &str = include_str!("../../data/translations.tsv");

/// The usual expressions of groups; those of libraries are built from `data/families.tsv`.
const SHAPES: [(&str, &str); 4] = [
    ("{symbol}", "(?<symbol>[A-Za-z_][0-9A-Za-z_]*)"),
    ("{library}", r"(?<library>lib[0-9A-Za-z_+-]+\.so(?:\.[0-9]+)*)"),
    ("{asker}", r#"(?<asker>[^\s:'"()]+)"#),
    ("{file}", r#"(?<file>[^\s:'"()]+)"#),
];

/// The file name of a library of the table, of the driver or not: `copy` is the hash that auditwheel adds to the stem.
fn library(of_driver: bool, copy: &str) -> String {
    let rows = families().iter().filter(|row| row.is_driver() == of_driver);
    let stems: Vec<String> = rows.map(|row| format!("{}{}", row.lead, regex_lite::escape(row.stem))).collect();
    format!(r"\b(?<library>(?:{}){copy}\.so(?:\.[0-9]+)*)", stems.join("|"))
}

/// The same on Windows: `cublasLt64_12.dll`, `cudart64_110.dll`, `nvinfer_10.dll`.
fn dll() -> String {
    let stems: Vec<String> = families().iter().map(|row| regex_lite::escape(row.stem)).collect();
    format!(r"\b(?<name>(?:{}|nvinfer[a-z_]*|nvonnxparser)(?:64)?(?:_[0-9]+)*\.dll)", stems.join("|"))
}

static MESSAGES: LazyLock<Vec<MessageRow>> = LazyLock::new(|| {
    let of_table = [
        ("{known}", library(false, "(?:[-.][0-9a-f]{8})?")),
        ("{dashed}", library(false, "-[0-9a-f]{8}")),
        ("{dotted}", library(false, r"\.[0-9a-f]{8}")),
        ("{driver}", library(true, "(?:[-.][0-9a-f]{8})?")),
        ("{dll}", dll()),
    ];
    let shapes = SHAPES.iter().map(|(name, shape)| (*name, *shape));
    let shapes: Vec<_> = shapes.chain(of_table.iter().map(|(name, shape)| (*name, shape.as_str()))).collect();
    table::read(TEXT, |cells| {
        let pattern = cells.text("pattern")?.to_owned();
        Some(MessageRow {
            keys: cells.text("key")?.split(" | ").collect(),
            ids: cells.list("ids", ' '),
            weight: cells.text("weight")?.parse().ok()?,
            says: cells.text("says")?,
            source: cells.text("source")?,
            pattern: shapes.iter().fold(pattern, |pattern, (name, shape)| pattern.replace(name, shape)),
            regex: OnceCell::new(),
        })
    })
});

static TRANSLATIONS: LazyLock<Vec<TranslationRow>> = LazyLock::new(|| {
    table::read(TRANSLATED, |cells| Some(TranslationRow { text: cells.text("text")?, english: cells.text("english")? }))
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::finding_row;
    use crate::tables::table::tests::check;

    #[test]
    fn table_is_whole() {
        check(TEXT, &["key", "pattern", "ids", "weight", "says", "source"], messages().len());
        let groups = [
            "library", "symbol", "node", "asker", "file", "version", "wanted", "found", "cuda", "name", "package",
            "device", "operator",
        ];
        for row in messages() {
            let regex = row.regex().unwrap_or_else(|| panic!("no expression: {}", row.pattern));
            let names: Vec<&str> = regex.capture_names().flatten().collect();
            assert!(names.iter().all(|name| groups.contains(name)), "{names:?} in {}", row.pattern);
            for group in row.says.split('{').skip(1).filter_map(|rest| rest.split('}').next()) {
                assert!(names.contains(&group), "`{}` has no group {group}", row.pattern);
            }
            for id in &row.ids {
                assert!(finding_row(id).is_some(), "{id} is not in data/findings.tsv");
            }
            assert!(!row.ids.is_empty() && row.weight <= 9 && row.source.starts_with("https://"), "{}", row.pattern);
            assert!(!row.says.ends_with('.'), "{}", row.says);
        }
    }

    #[test]
    fn translations_are_of_messages() {
        check(TRANSLATED, &["text", "english", "language", "source"], translations().len());
        for row in translations() {
            assert!(
                messages().iter().any(|message| message.keys.iter().any(|key| row.english.contains(key))),
                "{}",
                row.english
            );
        }
    }
}
