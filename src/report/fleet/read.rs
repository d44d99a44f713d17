//! Saved scans of many nodes, read line by line.
//!
//! Takes lines of `scan --format jsonl`, those of one node together or between those of others; gives each scan that is whole,
//! and what was left out. Of a scan only what tells two nodes apart is kept, and what nodes have in common is kept once.

use super::super::json::{JsonPath, SCHEMA};
use super::LeftOut;
use crate::host::escape;
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::io::{self, BufRead, Read};
use std::sync::Arc;

/// Bytes of a line: that of a library has two thousand, the last line of a scan with a thousand problems some hundred
/// thousand.
const LINE: u64 = 16 << 20;

/// The place of libraries that only a running process shows: they come and go with jobs.
const OF_PROCESS: &str = "process";

/// What a path holds on one or more nodes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Thing {
    /// The path, with escapes where it is not UTF-8.
    pub(super) path: String,
    /// The file; `None` where a problem is all that is known.
    pub(super) file: Option<File>,
    /// The ids of its problems, sorted.
    pub(super) problems: Vec<String>,
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct File {
    pub(super) family: String,
    pub(super) soname: Option<String>,
    pub(super) version: Option<String>,
    pub(super) cuda: Option<String>,
    pub(super) build_id: Option<String>,
    pub(super) sha256: Option<String>,
    pub(super) size: u64,
    pub(super) owner: (String, Option<String>, Option<String>),
    pub(super) stub: bool,
    pub(super) unusable: Option<String>,
}

/// A whole scan.
#[derive(Debug)]
pub(super) struct NodeScan {
    pub(super) host: String,
    /// When it was made, as RFC 3339 in UTC: in the order of text.
    pub(super) at: String,
    pub(super) driver: Option<String>,
    /// The things, by their number, each with the time of its file.
    pub(super) things: Vec<(u32, Option<String>)>,
    /// Whether a file is newer than the scan.
    pub(super) newer: bool,
}

/// All things, each once.
#[derive(Debug, Default)]
pub(super) struct Things {
    numbers: HashMap<Arc<Thing>, u32>,
    all: Vec<Arc<Thing>>,
}

impl Things {
    fn number(&mut self, thing: Thing) -> u32 {
        if let Some(number) = self.numbers.get(&thing) {
            return *number;
        }
        let number = u32::try_from(self.all.len()).unwrap_or(u32::MAX);
        let thing = Arc::new(thing);
        self.all.push(Arc::clone(&thing));
        self.numbers.insert(thing, number);
        number
    }

    pub(super) fn get(&self, number: u32) -> Option<&Thing> {
        self.all.get(usize::try_from(number).ok()?).map(Arc::as_ref)
    }
}

/// A line of any kind: one pass, and no copy of what is not kept.
#[derive(Deserialize)]
struct Line<'l> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'l, str>,
    #[serde(borrow, default)]
    host: Option<Cow<'l, str>>,
    schema: Option<u32>,
    #[serde(borrow, default)]
    at: Option<Cow<'l, str>>,
    driver: Option<String>,
    path: Option<JsonPath>,
    #[serde(borrow, default)]
    place: Option<Cow<'l, str>>,
    family: Option<String>,
    soname: Option<String>,
    version: Option<String>,
    cuda: Option<String>,
    build_id: Option<String>,
    sha256: Option<String>,
    size: Option<u64>,
    owner: Option<Owner>,
    modified: Option<String>,
    #[serde(default)]
    stub: bool,
    unusable: Option<String>,
    count: Option<usize>,
    #[serde(default)]
    stopped: bool,
    #[serde(default)]
    problems: Vec<Problem>,
}

#[derive(Deserialize)]
struct Owner {
    kind: String,
    name: Option<String>,
    version: Option<String>,
}

#[derive(Deserialize)]
struct Problem {
    id: String,
    path: JsonPath,
}

/// A scan whose last line is not read yet.
struct Open {
    scan: NodeScan,
    count: usize,
    /// The paths of libraries that only a process shows.
    of_process: HashSet<String>,
}

/// Reads scans from one source; gives each whole one to `done`.
///
/// # Errors
/// The source cannot be read. What is no scan is left out.
pub(super) fn read(
    source: &str,
    mut input: impl BufRead,
    things: &mut Things,
    left_out: &mut Vec<LeftOut>,
    mut done: impl FnMut(NodeScan),
) -> io::Result<()> {
    let mut reader = Reader { things, open: HashMap::new(), current: None, headless: false, refused: HashSet::new() };
    let mut bytes = Vec::new();
    let mut bad: Option<(usize, String, usize)> = None;
    for number in 1.. {
        bytes.clear();
        if (&mut input).take(LINE).read_until(b'\n', &mut bytes)? == 0 {
            break;
        }
        let is_whole = bytes.ends_with(b"\n") || u64::try_from(bytes.len()).unwrap_or(LINE) < LINE;
        let line = bytes.trim_ascii();
        if line.is_empty() {
            continue;
        }
        let read = if is_whole { reader.line(line) } else { Err("longer than any line of a scan".to_owned()) };
        if !is_whole {
            input.skip_until(b'\n')?;
        }
        match read {
            Ok(None) => {}
            Ok(Some(Ok(scan))) => done(scan),
            Ok(Some(Err((host, why)))) => left_out.push(LeftOut::scan(source, number, Some(host), why)),
            Err(why) => match &mut bad {
                Some((_, _, more)) => *more += 1,
                None => bad = Some((number, why, 0)),
            },
        }
    }
    if let Some((number, why, more)) = bad {
        let lines = if more == 1 { "line" } else { "lines" };
        let why = if more > 0 { format!("{why}; and {more} more {lines}") } else { why };
        left_out.push(LeftOut::scan(source, number, None, why));
    }
    let mut cut: Vec<String> = reader.open.into_keys().collect();
    cut.sort();
    left_out.extend(
        cut.into_iter().map(|host| LeftOut::scan(source, 0, Some(host), "the last line is missing".to_owned())),
    );
    Ok(())
}

/// A scan, or the host whose scan is left out with the reason.
type Ended = Result<NodeScan, (String, String)>;

struct Reader<'t> {
    things: &'t mut Things,
    open: HashMap<String, Open>,
    /// The host of the last first line: lines of an earlier format name none.
    current: Option<String>,
    /// Whether lines of no node were seen.
    headless: bool,
    /// The hosts whose first lines were refused.
    refused: HashSet<String>,
}

impl Reader<'_> {
    fn line(&mut self, bytes: &[u8]) -> Result<Option<Ended>, String> {
        let line: Line<'_> =
            serde_json::from_slice(bytes).map_err(|error| format!("not a line of `scan --format jsonl`: {error}"))?;
        match &*line.kind {
            "node" => self.first(line),
            "library" | "end" => {
                let host = line.host.as_deref().or(self.current.as_deref()).map(str::to_owned);
                let Some((host, open)) = host.and_then(|host| self.open.remove_entry(&host)) else {
                    return self.without_first(&line);
                };
                if line.kind == "end" {
                    return Ok(Some(self.ended(open, line).map_err(|why| (host, why))));
                }
                let mut open = open;
                let read = self.library(&mut open, line);
                self.open.insert(host, open);
                read.map(|()| None)
            }
            // A later cudashim may have more to say.
            _ => Ok(None),
        }
    }

    fn first(&mut self, line: Line<'_>) -> Result<Option<Ended>, String> {
        let host = line.host.as_deref().unwrap_or_default().to_owned();
        let schema = line.schema.unwrap_or_default();
        self.current = Some(host.clone());
        let refuse = |reader: &mut Self, why: String| {
            reader.refused.insert(host.clone());
            Ok(Some(Err((host.clone(), why))))
        };
        if schema != SCHEMA {
            return refuse(self, format!("format {schema}; this cudashim reads {SCHEMA}"));
        }
        let at = line.at.as_deref().unwrap_or_default().to_owned();
        // All are written alike, so that the order of texts is that of times.
        if at.len() != "2026-01-01T00:00:00Z".len() || humantime::parse_rfc3339(&at).is_err() {
            return refuse(self, format!("time `{}` is none", escape::bytes(at.as_bytes())));
        }
        if host.is_empty() {
            return refuse(self, "no name of a node".to_owned());
        }
        self.refused.remove(&host);
        let driver = line.driver;
        let scan = NodeScan { host: host.clone(), at, driver, things: Vec::new(), newer: false };
        let before = self.open.insert(host.clone(), Open { scan, count: 0, of_process: HashSet::new() });
        Ok(before.map(|_| Err((host, "the last line is missing, and another scan of the node begins".to_owned()))))
    }

    /// A line of a scan without a first line: said once, not for each library.
    fn without_first(&mut self, line: &Line<'_>) -> Result<Option<Ended>, String> {
        let host = line.host.as_deref().or(self.current.as_deref()).map(str::to_owned);
        if host.as_ref().is_some_and(|host| self.refused.contains(host)) || std::mem::replace(&mut self.headless, true)
        {
            return Ok(None);
        }
        let what = host.map(|host| format!(" of `{}`", escape::bytes(host.as_bytes()))).unwrap_or_default();
        Err(format!("the scan{what} has no first line: it was cut, or made by an earlier cudashim"))
    }

    fn library(&mut self, open: &mut Open, line: Line<'_>) -> Result<(), String> {
        let missing = |field: &str| format!("not a line of `scan --format jsonl`: `{field}` is missing");
        let path = text(&line.path.ok_or_else(|| missing("path"))?);
        if line.place.as_deref() == Some(OF_PROCESS) {
            open.of_process.insert(path);
            open.count += 1;
            return Ok(());
        }
        let owner = line.owner.ok_or_else(|| missing("owner"))?;
        let thing = Thing {
            path,
            file: Some(File {
                family: line.family.unwrap_or_default(),
                soname: line.soname,
                version: line.version,
                cuda: line.cuda,
                build_id: line.build_id,
                sha256: line.sha256,
                size: line.size.ok_or_else(|| missing("size"))?,
                owner: (owner.kind, owner.name, owner.version),
                stub: line.stub,
                unusable: line.unusable,
            }),
            problems: Vec::new(),
        };
        open.count += 1;
        open.scan.newer |= line.modified.as_ref().is_some_and(|modified| *modified > open.scan.at);
        open.scan.things.push((self.things.number(thing), line.modified));
        Ok(())
    }

    /// The scan with the problems of its last line.
    fn ended(&mut self, open: Open, line: Line<'_>) -> Result<NodeScan, String> {
        let Open { mut scan, count, of_process } = open;
        if line.stopped {
            return Err("interrupted".to_owned());
        }
        if line.count != Some(count) {
            let says = line.count.map_or_else(|| "an unknown number".to_owned(), |count| count.to_string());
            return Err(format!("{count} of {says} libraries: lines are missing"));
        }
        let mut problems: HashMap<String, Vec<String>> = HashMap::new();
        for problem in line.problems {
            let path = text(&problem.path);
            if !of_process.contains(&path) {
                problems.entry(path).or_default().push(problem.id);
            }
        }
        let sorted = |mut ids: Vec<String>| {
            ids.sort();
            ids.dedup();
            ids
        };
        if !problems.is_empty() {
            for (number, _) in &mut scan.things {
                let Some(thing) = self.things.get(*number) else { continue };
                if let Some(ids) = problems.remove(&thing.path) {
                    *number = self.things.number(Thing { problems: sorted(ids), ..thing.clone() });
                }
            }
        }
        for (path, ids) in problems {
            let number = self.things.number(Thing { path, file: None, problems: sorted(ids) });
            scan.things.push((number, None));
        }
        Ok(scan)
    }
}

/// A path as text, with escapes where it is not UTF-8.
fn text(path: &JsonPath) -> String {
    match path {
        JsonPath::Text(text) => text.clone(),
        JsonPath::Bytes { .. } => escape::path(&path.to_path()),
    }
}
