//! Where ld.so looks for a name, as text for people and as `why --format json` (`docs/json-schema/why.json`).

use super::json::{JsonPath, SCHEMA};
use crate::loader::{Candidate, CandidateFile, Fate, Rule, Station, Why};
use serde::Serialize;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// One path that is tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WhyCandidate {
    /// The path.
    pub path: JsonPath,
    /// `nothing`, `no_directory`, `closed`, `foreign`, `damaged` or `object`.
    pub stands: &'static str,
    /// Details: the error, or the target of a link.
    pub says: Option<String>,
    /// `passed_over`, `taken`, `ends` or `not_reached`.
    pub fate: Fate,
}

/// One entry of a search path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WhyPlace {
    /// The rule.
    pub rule: Rule,
    /// The object whose run path it is.
    pub of: Option<JsonPath>,
    /// Which entry of its list, from 1.
    pub entry: Option<usize>,
    /// The directory.
    pub dir: Option<JsonPath>,
    /// Why it is not searched, or finds nothing.
    pub note: Option<String>,
    /// The paths that are tried.
    pub tried: Vec<WhyCandidate>,
}

/// A file and the rule that finds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WhyWinner {
    /// The file.
    pub path: JsonPath,
    /// The rule.
    pub rule: Rule,
}

/// The mapped object that has the name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WhyMapped {
    /// Its path.
    pub path: JsonPath,
    /// The rule that found it.
    pub rule: Rule,
    /// The object that needed it.
    pub needed_by: Option<JsonPath>,
}

/// What the name would resolve to without an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WhyWithout {
    /// The entries left out, as indices into `places`.
    pub places: Vec<usize>,
    /// The file it resolves to then.
    pub winner: Option<WhyWinner>,
}

/// The report of `why`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WhyReport {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The name.
    pub name: JsonPath,
    /// The object that needs it.
    pub r#for: JsonPath,
    /// The file it resolves to.
    pub winner: Option<WhyWinner>,
    /// The object of that name that is already mapped.
    pub mapped: Option<WhyMapped>,
    /// What a search would find.
    pub search: Option<WhyWinner>,
    /// Every place, in order.
    pub places: Vec<WhyPlace>,
    /// What the name would resolve to with entries left out, one more each time.
    pub without: Vec<WhyWithout>,
}

impl WhyReport {
    /// The report of an answer.
    #[must_use]
    pub fn new(why: &Why) -> Self {
        let winner = |(path, rule): (&Path, Rule)| WhyWinner { path: path.into(), rule };
        let found = |found: &Option<(PathBuf, Rule)>| found.as_ref().map(|(path, rule)| winner((path, *rule)));
        let mut left_out = Vec::new();
        let without = why.without.iter().map(|without| {
            left_out.push(without.station);
            WhyWithout { places: left_out.clone(), winner: found(&without.winner) }
        });
        Self {
            schema: SCHEMA,
            name: Path::new(&why.name).into(),
            r#for: why.consumer.as_path().into(),
            winner: why.winner().map(winner),
            mapped: why.mapped.as_ref().map(|(path, rule, by)| WhyMapped {
                path: path.as_path().into(),
                rule: *rule,
                needed_by: by.as_deref().map(JsonPath::from),
            }),
            search: found(&why.found),
            places: why.stations.iter().map(place).collect(),
            without: without.collect(),
        }
    }
}

fn place(station: &Station) -> WhyPlace {
    WhyPlace {
        rule: station.rule,
        of: station.of.as_deref().map(JsonPath::from),
        entry: station.entry,
        dir: station.dir.as_deref().map(JsonPath::from),
        note: station.note.clone(),
        tried: station.candidates.iter().map(candidate).collect(),
    }
}

fn candidate(candidate: &Candidate) -> WhyCandidate {
    let (stands, says) = match &candidate.file {
        CandidateFile::Nothing => ("nothing", None),
        CandidateFile::NoDirectory => ("no_directory", None),
        CandidateFile::Closed(says) => ("closed", Some(says.clone())),
        CandidateFile::Foreign(says) => ("foreign", Some(says.clone())),
        CandidateFile::Damaged(says) => ("damaged", Some(says.clone())),
        CandidateFile::Object(link) => ("object", link.as_ref().map(|path| path.display().to_string())),
    };
    WhyCandidate { path: candidate.path.as_path().into(), stands, says, fate: candidate.fate }
}

/// The answer step by step.
#[must_use]
pub fn why_text(why: &Why) -> String {
    let mut text = format!("{} for {}\n\n", why.name.display(), why.consumer.display());
    match &why.mapped {
        Some((path, rule, by)) => {
            let by = by.as_ref().map(|by| format!(", for {}", by.display())).unwrap_or_default();
            let _ = writeln!(text, "mapped already\n  → {} [{rule}{by}]", path.display());
            text.push_str("    taken: ld.so searches only if no mapped object has the name\n");
        }
        None => text.push_str("mapped already\n    no object has the name\n"),
    }
    let mut list = None;
    for station in &why.stations {
        let key = (station.rule, &station.of, station.note.is_some());
        if list != Some(key) {
            text.push_str(&heading(station));
            list = Some(key);
        }
        if let Some(note) = &station.note {
            let _ = writeln!(text, "    {note}");
            continue;
        }
        // Empty subdirectories for processors are not shown.
        let shown = station.candidates.iter().enumerate().filter(|(index, candidate)| {
            *index + 1 == station.candidates.len()
                || !matches!(candidate.file, CandidateFile::Nothing | CandidateFile::NoDirectory)
        });
        for (_, candidate) in shown {
            let mark = match candidate.fate {
                Fate::Taken if why.mapped.is_none() => "→",
                Fate::Ends => "×",
                _ => " ",
            };
            let number = station.entry.map(|entry| format!("{entry}. ")).unwrap_or_default();
            let _ = writeln!(text, "  {mark} {number}{}", candidate.path.display());
            let _ = writeln!(text, "       {}", described(candidate, why.mapped.is_some()));
        }
    }
    let _ = writeln!(text, "\n{}", verdict(why));
    // A mapped object overrides any search result.
    let mut so_far = if why.mapped.is_some() { "if it were not mapped, without" } else { "without" }.to_owned();
    for without in &why.without {
        let Some(station) = why.stations.get(without.station) else { continue };
        let _ = write!(so_far, " {}", called(station));
        let what = match &without.winner {
            Some((path, rule)) => format!("{} [{rule}]", path.display()),
            None => "not found".to_owned(),
        };
        let _ = writeln!(text, "{so_far}: {what}");
        so_far.push_str(" and");
    }
    text
}

fn heading(station: &Station) -> String {
    let of = station.of.as_ref().map(|of| format!(" of {}", of.display())).unwrap_or_default();
    format!("{}{of}\n", list_name(station.rule))
}

fn list_name(rule: Rule) -> &'static str {
    match rule {
        Rule::Rpath => "DT_RPATH",
        Rule::LdLibraryPath => "LD_LIBRARY_PATH",
        Rule::Runpath => "DT_RUNPATH",
        Rule::Cache => "ld.so.cache",
        Rule::Default => "default directories",
        _ => "path",
    }
}

/// An entry in words.
fn called(station: &Station) -> String {
    let list = list_name(station.rule);
    match (station.entry, &station.dir, &station.of) {
        (Some(entry), Some(_), Some(of)) => {
            format!("entry {entry} of {list} of `{}`", of.file_name().unwrap_or_default().display())
        }
        (Some(entry), Some(dir), None) => format!("entry {entry} of {list} (`{}`)", dir.display()),
        _ => list.to_owned(),
    }
}

fn described(candidate: &Candidate, mapped: bool) -> String {
    let stands = match &candidate.file {
        CandidateFile::Nothing => "no such file".to_owned(),
        CandidateFile::NoDirectory => "no such directory".to_owned(),
        CandidateFile::Closed(says) => format!("cannot be opened: {says}"),
        CandidateFile::Foreign(says) | CandidateFile::Damaged(says) => says.clone(),
        CandidateFile::Object(Some(link)) => format!("a link to {}", link.display()),
        CandidateFile::Object(None) => "an object".to_owned(),
    };
    let fate = match (candidate.fate, &candidate.file) {
        (Fate::Taken, _) if mapped => "would be taken",
        (Fate::Taken, _) => "taken",
        (Fate::Ends, _) => "ld.so stops here",
        (Fate::PassedOver, CandidateFile::Closed(_) | CandidateFile::Foreign(_)) => "skipped",
        (Fate::NotReached, CandidateFile::Object(_) | CandidateFile::Damaged(_)) => "not reached",
        _ => "",
    };
    if fate.is_empty() { stands } else { format!("{stands}: {fate}") }
}

fn verdict(why: &Why) -> String {
    match why.winner() {
        Some((path, Rule::Mapped)) => format!("resolves to {}, which is mapped already", path.display()),
        Some((path, rule)) => format!("resolves to {} [{rule}]", path.display()),
        None => {
            let damaged = why.stations.iter().flat_map(|station| &station.candidates).find(|it| it.fate == Fate::Ends);
            match damaged {
                Some(candidate) => format!("not found: {} ends the search", candidate.path.display()),
                None => "not found".to_owned(),
            }
        }
    }
}
