//! Two libraries compared (`diff`, `docs/json-schema/diff.json`), as wire types and as text.

use super::findings::{FindingLine, FindingList};
use super::json::{JsonPath, SCHEMA};
use super::layout::{Page, Width};
use crate::inventory::scan::Comparison;
use crate::loader::Object;
use serde::Serialize;

/// Two libraries compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ComparisonReport {
    /// [`SCHEMA`].
    pub schema: u32,
    /// `libraries`.
    pub compared: &'static str,
    /// The first.
    pub a: Side,
    /// The second.
    pub b: Side,
    /// Whether the second can replace the first for every possible consumer.
    pub stands_in: bool,
    /// Symbols, as `name@node`.
    pub symbols: Change,
    /// Version nodes.
    pub nodes: Change,
    /// Needed entries.
    pub needed: Change,
    /// How many libraries here need the first.
    pub users: usize,
    /// Those of them that would break.
    pub breaks: Vec<Broken>,
}

/// One of two libraries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Side {
    /// Where it is.
    pub path: JsonPath,
    /// Its release.
    pub version: Option<String>,
    /// `DT_SONAME`.
    pub soname: Option<String>,
    /// The GNU build ID in hex.
    pub build_id: Option<String>,
    /// Bytes.
    pub size: u64,
}

/// The differences between the two.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Only in the second.
    pub gained: Vec<String>,
    /// Only in the first.
    pub lost: Vec<String>,
}

/// A library that would break with the second.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Broken {
    /// Where it is.
    pub path: JsonPath,
    /// The first symbol that would be undefined; `None` if the second has another soname than the one needed.
    pub symbol: Option<String>,
}

impl ComparisonReport {
    /// The report of a comparison.
    #[must_use]
    pub fn new(a: &Object, b: &Object, comparison: &Comparison) -> Self {
        let side = |object: &Object| Side {
            path: object.path.as_path().into(),
            version: None,
            soname: object.facts.soname.as_ref().map(|name| name.display().to_string()),
            build_id: object.facts.build_id.clone(),
            size: object.stat.size,
        };
        let change = |gained: &[String], lost: &[String]| Change { gained: gained.to_vec(), lost: lost.to_vec() };
        let broken = comparison.broken.iter();
        Self {
            schema: SCHEMA,
            compared: "libraries",
            a: side(a),
            b: side(b),
            stands_in: comparison.stands_in(),
            symbols: change(&comparison.gained, &comparison.lost),
            nodes: change(&comparison.nodes_gained, &comparison.nodes_lost),
            needed: change(&comparison.needs_gained, &comparison.needs_lost),
            users: comparison.users,
            breaks: broken
                .map(|(path, symbol)| Broken { path: path.as_path().into(), symbol: symbol.clone() })
                .collect(),
        }
    }

    /// With the releases that are known.
    #[must_use]
    pub fn with_releases(mut self, a: Option<String>, b: Option<String>) -> Self {
        (self.a.version, self.b.version) = (a, b);
        self
    }

    /// The libraries that would break, as findings.
    #[must_use]
    pub fn listed(&self) -> FindingList {
        let line = |broken: &Broken| {
            let path = broken.path.to_path();
            let name = path.file_name().unwrap_or_default().display().to_string();
            if let Some(symbol) = &broken.symbol {
                let says = format!("`{name}` needs `{symbol}`, which the second library does not define");
                return FindingLine::of_row("undefined-symbol", says, Some(path));
            }
            let soname = self.a.soname.as_deref().unwrap_or("none");
            let says = format!("`{name}` needs `{soname}`, which is not the soname of the second library");
            FindingLine::of_row("library-not-found", says, Some(path))
        };
        FindingList {
            command: "diff",
            verdict: self.verdict().to_owned(),
            wrong: !self.stands_in,
            findings: self.breaks.iter().map(line).collect(),
        }
    }

    fn verdict(&self) -> &'static str {
        if self.stands_in {
            "the second may stand in for the first"
        } else {
            "the second may NOT stand in for the first"
        }
    }

    /// The comparison as text.
    #[must_use]
    pub fn text(&self, width: Width) -> String {
        let mut page = Page::new(width);
        page.path("- ", &self.a.path.to_path());
        page.path("+ ", &self.b.path.to_path());
        if self.a.build_id.is_some() && self.a.build_id == self.b.build_id && self.a.size == self.b.size {
            page.words("", 2, "the same build: equal build IDs and sizes");
        }
        if let (Some(a), Some(b)) = (&self.a.version, &self.b.version) {
            let releases = if a == b { format!("release {a}") } else { format!("release: {a} → {b}") };
            page.words("", 2, &releases);
        }
        let name = |side: &Side| side.soname.clone().unwrap_or_else(|| "none".to_owned());
        if self.a.soname != self.b.soname {
            page.words("", 2, &format!("soname: {} → {}", name(&self.a), name(&self.b)));
        }
        for (label, change) in [("nodes", &self.nodes), ("needed", &self.needed), ("symbols", &self.symbols)] {
            if change.gained.is_empty() && change.lost.is_empty() {
                continue;
            }
            page.words("", 2, &format!("{label}: {} added, {} removed", change.gained.len(), change.lost.len()));
            for (sign, list) in [('-', &change.lost), ('+', &change.gained)] {
                for symbol in list.iter().take(SHOWN) {
                    page.words(&format!("  {sign} "), 6, symbol);
                }
                if list.len() > SHOWN {
                    page.words(&format!("  {sign} "), 6, &format!("and {} more", list.len() - SHOWN));
                }
            }
        }
        page.blank();
        page.words("", 2, self.verdict());
        let libraries = |count: usize| if count == 1 { "1 library".to_owned() } else { format!("{count} libraries") };
        match (self.users, self.breaks.len()) {
            (0, _) => page.words("", 2, "nothing that was looked at here needs the first"),
            (users, 0) => {
                page.words("", 2, &format!("of {} here that need the first, none would break", libraries(users)));
            }
            (users, breaks) => {
                page.words("", 2, &format!("of {} here that need the first, {breaks} would break:", libraries(users)));
            }
        }
        for broken in self.breaks.iter().take(SHOWN) {
            page.path("  ", &broken.path.to_path());
            let why = match &broken.symbol {
                Some(symbol) => format!("needs `{symbol}`"),
                None => format!("needs `{}`", name(&self.a)),
            };
            page.words("    ", 6, &why);
        }
        if self.breaks.len() > SHOWN {
            page.words("  ", 4, &format!("and {} more", self.breaks.len() - SHOWN));
        }
        page.finish()
    }
}

/// Lines of each list that a page shows.
const SHOWN: usize = 20;
