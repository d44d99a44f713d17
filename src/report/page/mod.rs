//! A report as one page of HTML, for a person who has a browser and no cudashim.
//!
//! Takes findings, facts, pictures of who loads what, and tables; gives one file. It loads nothing and sends nothing, is
//! read without its script, by keyboard, on a phone, and on paper; the same values give the same bytes. Judges nothing.

mod found;
mod grid;
mod loaded;
mod markup;
mod scanned;
mod traced;
mod tree;
mod values;

pub use loaded::{check_page, loaded_picture, loaded_table};
pub use scanned::scan_page;
pub use values::{Mark, Node, NodeKind, PageCell, PageTable, Picture};

use super::findings::FindingList;
use crate::tables::Severity;
use base64ct::{Base64, Encoding as _};
use markup::{Attribute, Markup};
use sha2::{Digest as _, Sha256};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// A report as a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebPage {
    list: FindingList,
    facts: Vec<(String, String)>,
    pictures: Vec<Picture>,
    tables: Vec<PageTable>,
}

impl WebPage {
    /// A page of findings, the worst first.
    #[must_use]
    pub fn new(mut list: FindingList) -> Self {
        list.findings.sort_by_key(|finding| finding.severity);
        Self { list, facts: Vec::new(), pictures: Vec::new(), tables: Vec::new() }
    }

    /// With a fact below the verdict: a name of one word, and a sentence.
    #[must_use]
    pub fn fact(mut self, name: &str, value: impl Into<String>) -> Self {
        self.facts.push((name.to_owned(), value.into()));
        self
    }

    /// With a picture, if there is anything to see.
    #[must_use]
    pub fn picture(mut self, picture: Picture) -> Self {
        self.pictures.extend(Some(picture).filter(|picture| !picture.is_empty()));
        self
    }

    /// With a table, if it has rows.
    #[must_use]
    pub fn table(mut self, table: PageTable) -> Self {
        self.tables.extend(Some(table).filter(|table| !table.rows.is_empty()));
        self
    }

    /// The page with every text changed, as a report for the public is.
    #[must_use]
    pub fn redacted(mut self, change: &dyn Fn(&str) -> String) -> Self {
        self.list = self.list.redacted(change);
        let facts = self.facts.iter_mut().map(|(_, value)| value);
        let pictures = self.pictures.iter_mut().flat_map(Picture::texts);
        let tables = self.tables.iter_mut().flat_map(PageTable::texts);
        facts.chain(pictures).chain(tables).for_each(|text| *text = change(text));
        self
    }

    /// The page as HTML.
    #[must_use]
    pub fn html(&self) -> String {
        let mut markup = Markup::default();
        markup.constant("<!doctype html>\n<html lang=\"en\">\n");
        markup.element("head", &[], |markup| self.head(markup));
        markup.element("body", &[], |markup| {
            markup.element("header", &[], |markup| self.top(markup));
            markup.element("main", &[], |markup| self.main(markup));
            markup.element("footer", &[], |markup| {
                markup.text(concat!(
                    "cudashim ",
                    env!("CARGO_PKG_VERSION"),
                    ". This page loads nothing and sends nothing."
                ));
            });
            markup.asset("script", SCRIPT);
        });
        markup.constant("</html>\n");
        markup.finish()
    }

    fn head(&self, markup: &mut Markup) {
        markup.constant("\n<meta charset=\"utf-8\">\n");
        markup.policy(&integrity(STYLE), &integrity(SCRIPT));
        markup.constant(
            "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n\
             <meta name=\"format-detection\" content=\"telephone=no\">\n\
             <meta name=\"referrer\" content=\"no-referrer\">\n\
             <link rel=\"icon\" href=\"data:,\">\n",
        );
        markup.element("title", &[], |markup| {
            markup.text(&format!("cudashim {}: {}", self.list.command, self.list.verdict));
        });
        markup.asset("style", STYLE);
    }

    /// What was asked, the answer, what it is about, and what the page has.
    fn top(&self, markup: &mut Markup) {
        let (class, word) = self.standing();
        markup.classed("p", "command", |markup| {
            markup.element("span", &[], |markup| markup.text(&format!("cudashim {}", self.list.command)));
            markup.text(" ");
            markup.labelled("span", &format!("pill {class}"), word);
        });
        markup.element("h1", &[], |markup| markup.sentence(&self.list.verdict));
        if !self.facts.is_empty() {
            markup.classed("dl", "facts", |markup| {
                for (name, value) in &self.facts {
                    markup.element("div", &[], |markup| {
                        markup.element("dt", &[], |markup| markup.text(name));
                        markup.element("dd", &[], |markup| markup.sentence(value));
                    });
                }
            });
        }
        markup.element("nav", &[(Attribute::AriaLabel, "Parts of this page")], |markup| {
            let count = |count: usize| format!(" {count}");
            let findings =
                (!self.list.findings.is_empty()).then(|| ("findings".to_owned(), "Findings", self.list.findings.len()));
            let pictures = self.pictures.iter().enumerate();
            let pictures = pictures.map(|(at, picture)| (format!("picture{at}"), &*picture.title, picture.nodes.len()));
            let tables = self.tables.iter().enumerate();
            let tables = tables.map(|(at, table)| (format!("table{at}"), &*table.title, table.rows.len()));
            for (id, title, number) in findings.into_iter().chain(pictures).chain(tables) {
                markup.link_here(&id, |markup| {
                    markup.sentence(title);
                    markup.labelled("span", "count", &count(number));
                });
                markup.text(" ");
            }
        });
    }

    /// The answer in a word: how bad the worst finding is.
    fn standing(&self) -> (&'static str, &'static str) {
        match self.list.findings.iter().map(|finding| finding.severity).min() {
            Some(Severity::Fatal) => ("fatal", "fatal"),
            Some(Severity::Warning) => ("warning", "warning"),
            _ if self.list.wrong => ("fatal", "something wrong"),
            _ => ("fine", "nothing wrong"),
        }
    }

    fn main(&self, markup: &mut Markup) {
        found::write(markup, &self.list);
        for (number, picture) in self.pictures.iter().enumerate() {
            section(markup, &format!("picture{number}"), &picture.title, |markup| {
                let below = format!("Paths without a leading slash are below `{}`.", picture.base);
                for says in
                    [Some(&picture.says), Some(&below).filter(|_| !picture.base.is_empty())].into_iter().flatten()
                {
                    if !says.is_empty() {
                        markup.classed("p", "says", |markup| markup.sentence(says));
                    }
                }
                tree::write(markup, picture, number);
            });
        }
        for (number, table) in self.tables.iter().enumerate() {
            section(markup, &format!("table{number}"), &table.title, |markup| grid::write(markup, table));
        }
    }
}

/// A part of the page.
fn section(markup: &mut Markup, id: &str, title: &str, inner: impl FnOnce(&mut Markup)) {
    markup.element("section", &[(Attribute::Id, id), (Attribute::AriaLabel, title)], |markup| {
        markup.element("h2", &[], |markup| markup.sentence(title));
        inner(markup);
    });
}

/// The class of the worst of some severities; none: empty.
fn worst_class(severities: impl IntoIterator<Item = Severity>) -> &'static str {
    match severities.into_iter().min() {
        Some(Severity::Fatal) => "fatal",
        Some(Severity::Warning) => "warning",
        Some(Severity::Fact) => "fact",
        None => "",
    }
}

/// The source expression of a style or program in a policy (<https://www.w3.org/TR/CSP3/#grammardef-hash-source>).
fn integrity(content: &str) -> String {
    let mut buffer = [0; 44];
    let digest = Sha256::digest(content.as_bytes());
    format!("sha256-{}", Base64::encode(&digest, &mut buffer).unwrap_or_default())
}
