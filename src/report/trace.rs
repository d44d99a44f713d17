//! What a traced command loaded (`trace`), as text and as wire types (`docs/json-schema/trace.json`).

use super::findings::{FindingLine, FindingList};
use super::json::{JsonPath, SCHEMA};
use crate::check::trace::{Call, Finding, Judgement, Load, NameRequest, Trace, Unresolved};
use crate::check::{MissingSymbol, Verdict};
use crate::tables::parse_library_name;
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

/// Missing files tried that one line of the text shows.
const SHOWN: usize = 4;

/// The report of `trace`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TraceReport {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The verdict.
    pub verdict: Verdict,
    /// The command, as typed.
    pub command: Vec<String>,
    /// The code it ended with; 128 and the signal's number where a signal ended it.
    pub exit: u8,
    /// How many missing files all searches of all processes tried.
    pub failed_opens: u64,
    /// Lines of the record that could not be read.
    pub lost: usize,
    /// The programs that ran, in the order they started.
    pub processes: Vec<TracedProcess>,
    /// The CUDA libraries that were mapped, by process, in order.
    pub objects: Vec<TracedObject>,
    /// Symbols that no mapped object defines.
    pub missing: Vec<TracedSymbol>,
    /// The CUDA names that were not found.
    pub not_found: Vec<TracedName>,
    /// What is wrong.
    pub findings: Vec<TracedFinding>,
}

/// A program that ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TracedProcess {
    /// Its number.
    pub pid: u32,
    /// Its parent's.
    pub parent: u32,
    /// Its file.
    pub program: JsonPath,
    /// Its arguments, as far as recorded.
    pub command: String,
    /// Whether it was forked off without starting a program.
    pub forked: bool,
    /// Missing files that its searches tried.
    pub failed_opens: u64,
}

/// A CUDA library that was mapped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TracedObject {
    /// The requested name.
    pub name: String,
    /// The file.
    pub path: JsonPath,
    /// `preload`, `path`, `rpath`, `ld_library_path`, `runpath`, `cache`, `default` or `audit`.
    pub rule: &'static str,
    /// The object that needs or opens it.
    pub needed_by: Option<JsonPath>,
    /// `needed`, `dlopen` or `preload`.
    pub call: Option<Call>,
    /// The process.
    pub pid: u32,
    /// Its index among the programs: several may have been one process, one after the other.
    #[serde(skip)]
    pub(super) process: usize,
    /// `DT_SONAME`.
    pub soname: Option<String>,
    /// The library it is by name.
    pub family: &'static str,
    /// Its release, if known.
    pub version: Option<String>,
    /// Missing files tried before it: the first of them.
    pub tried: Vec<JsonPath>,
    /// How many.
    pub tried_count: usize,
    /// The link-map namespace.
    pub namespace: u32,
    /// Whether it was still mapped at the end.
    pub mapped: bool,
}

/// A symbol that no mapped object defines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TracedSymbol {
    /// Its name; `None` where the whole node is missing.
    pub symbol: Option<String>,
    /// The required version node.
    pub node: Option<String>,
    /// The object that needs it.
    pub wanted_by: JsonPath,
    /// The library that should define it.
    pub provider: Option<JsonPath>,
}

/// A CUDA name that was not found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TracedName {
    /// The name.
    pub name: String,
    /// The object that needs or opens it.
    pub needed_by: JsonPath,
    /// `needed`, `dlopen` or `preload`.
    pub call: Call,
    /// The process.
    pub pid: u32,
    /// Its index among the programs.
    #[serde(skip)]
    pub(super) process: usize,
    /// Why it was not found.
    pub because: String,
    /// Files tried: the first of them.
    pub tried: Vec<JsonPath>,
    /// How many.
    pub tried_count: usize,
}

/// Something wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TracedFinding {
    /// A stable word for programs.
    pub id: &'static str,
    /// One clause for people.
    pub says: String,
    /// The process.
    pub pid: u32,
}

impl TraceReport {
    /// The report of a trace and its judgement.
    #[must_use]
    pub fn new(trace: &Trace, judgement: &Judgement, command: &[String], exit: u8) -> Self {
        let mut objects = Vec::new();
        let mut not_found = Vec::new();
        for (number, process) in trace.processes.iter().enumerate() {
            for load in process.loads.iter().filter(|load| !load.inherited) {
                objects.extend(traced(load, (number, process.pid), judgement));
            }
            for (request, unresolved) in &process.unresolved {
                not_found.extend(unresolved_name(request, unresolved, (number, process.pid)));
            }
        }
        Self {
            schema: SCHEMA,
            verdict: judgement.verdict,
            command: command.to_vec(),
            exit,
            failed_opens: trace.failed_opens(),
            lost: trace.unreadable,
            processes: trace
                .processes
                .iter()
                .map(|process| TracedProcess {
                    pid: process.pid,
                    parent: process.parent,
                    program: process.program.as_path().into(),
                    command: process.command.clone(),
                    forked: process.forked,
                    failed_opens: process.failed_opens,
                })
                .collect(),
            objects,
            missing: judgement.missing.iter().map(symbol).collect(),
            not_found,
            findings: judgement.findings.iter().map(finding).collect(),
        }
    }

    /// The findings, each with its process.
    #[must_use]
    pub fn listed(&self) -> FindingList {
        let line = |finding: &TracedFinding| {
            let command = self.last_of(finding.pid).and_then(|number| self.processes.get(number));
            let command = command.map(|process| process.command.as_str()).unwrap_or_default();
            let evidence = vec![format!("process: {} {command}", finding.pid)];
            FindingLine { evidence, ..FindingLine::of_row(finding.id, finding.says.clone(), None) }
        };
        FindingList {
            command: "trace",
            verdict: format!("`{}` ended with {}: {}", self.command.join(" "), self.exit, self.verdict),
            wrong: self.verdict != Verdict::Loads,
            findings: self.findings.iter().map(line).collect(),
        }
    }

    /// For people: the verdict, the findings, then each process with its libraries. `all` shows the failed searches.
    #[must_use]
    pub fn text(&self, all: bool) -> String {
        let mut text = String::new();
        self.verdict_text(&mut text);
        for (number, process) in self.processes.iter().enumerate() {
            let objects: Vec<_> = self.objects.iter().filter(|object| object.process == number).collect();
            let not_found: Vec<_> = self.not_found.iter().filter(|name| name.process == number).collect();
            if objects.is_empty() && not_found.is_empty() {
                continue;
            }
            let forked = if process.forked { format!(", forked by {}", process.parent) } else { String::new() };
            let _ = writeln!(text, "\n{} {}{forked}", process.pid, process.command);
            for object in objects {
                object_text(&mut text, object, all);
            }
            for name in not_found {
                let _ = writeln!(text, "  {}  {}", name.name, name.because);
                let _ = writeln!(text, "    {} {}", call_text(name.call), name.needed_by.to_path().display());
                if all {
                    tried_text(&mut text, &name.tried, name.tried_count);
                }
            }
        }
        text
    }

    /// The program that a process was at last, by its index.
    pub(super) fn last_of(&self, pid: u32) -> Option<usize> {
        self.processes.iter().rposition(|process| process.pid == pid)
    }

    fn verdict_text(&self, text: &mut String) {
        let counted = |count: usize, one: &str, many: &str| format!("{count} {}", if count == 1 { one } else { many });
        // Of several names for one library, the others may be missing.
        let stem = |name: &str| parse_library_name(name).map(|name| name.stem());
        let has_kind = |name: &str| self.objects.iter().any(|object| stem(&object.name) == stem(name));
        let names = self.not_found.iter().map(|it| it.name.as_str()).filter(|name| !has_kind(name));
        let in_vain = match names.collect::<BTreeSet<_>>().len() {
            count if count > 0 && self.verdict == Verdict::Loads => {
                format!("; {} not found", counted(count, "library", "libraries"))
            }
            _ => String::new(),
        };
        let _ = writeln!(
            text,
            "verdict: {}{in_vain} ({}, {}, {})",
            self.verdict,
            counted(self.processes.len(), "process", "processes"),
            counted(self.objects.len(), "CUDA library", "CUDA libraries"),
            counted(usize::try_from(self.failed_opens).unwrap_or(usize::MAX), "failed open", "failed opens"),
        );
        if self.lost > 0 {
            let _ = writeln!(text, "{} cannot be read", counted(self.lost, "record", "records"));
        }
        self.missing_text(text);
        for finding in &self.findings {
            let _ = writeln!(text, "{}: {}", finding.id, finding.says);
        }
    }

    /// One line for each pair of libraries that do not fit; of the symbols, the first.
    fn missing_text(&self, text: &mut String) {
        let mut rest = self.missing.as_slice();
        while let Some(first) = rest.first() {
            let pair = |symbol: &&TracedSymbol| {
                symbol.wanted_by == first.wanted_by && symbol.provider == first.provider && symbol.node == first.node
            };
            let count = rest.iter().take_while(pair).count();
            rest = rest.get(count..).unwrap_or_default();
            let node = first.node.as_ref().map_or_else(String::new, |node| format!(", version {node}"));
            let more = if count > 1 { format!(" and {} more", count - 1) } else { String::new() };
            let by = first.wanted_by.to_path();
            let symbol = first.symbol.as_deref().unwrap_or("(the whole node)");
            let _ = writeln!(text, "undefined symbol: {symbol}{node}{more}");
            let _ = writeln!(text, "  needed by {}", by.display());
            if let Some(provider) = &first.provider {
                let _ = writeln!(text, "  not defined in {}{}", provider.to_path().display(), self.rule_of(provider));
            }
        }
    }

    /// The rule that found a file, as a clause after its path.
    fn rule_of(&self, path: &JsonPath) -> String {
        let object = self.objects.iter().find(|object| object.path == *path);
        object.map_or_else(String::new, |object| format!(" (found by {})", rule_text(object.rule)))
    }
}

fn family_of(name: &std::ffi::OsStr) -> Option<&'static str> {
    Some(parse_library_name(Path::new(name).file_name()?)?.row.family)
}

fn traced(load: &Load, (process, pid): (usize, u32), judgement: &Judgement) -> Option<TracedObject> {
    let named = || family_of(&load.request.as_ref()?.0.name);
    let called = || family_of(load.soname.as_deref()?.as_ref());
    let family = family_of(load.path.as_os_str()).or_else(named).or_else(called)?;
    let request = load.request.as_ref().map(|(request, _)| request);
    let file = load.path.file_name().unwrap_or_default();
    Some(TracedObject {
        name: request.map_or(file, |request| &request.name).display().to_string(),
        path: load.path.as_path().into(),
        rule: load.request.as_ref().map_or("path", |(_, by)| by.id()),
        needed_by: request.map(|request| request.requester.as_path().into()),
        call: request.map(|request| request.call),
        pid,
        process,
        soname: load.soname.clone(),
        family,
        version: load.id.and_then(|id| judgement.releases.get(&id).cloned()),
        tried: request.map(paths).unwrap_or_default(),
        tried_count: request.map_or(0, |request| request.tried_count),
        namespace: load.namespace,
        mapped: load.stayed,
    })
}

fn unresolved_name(request: &NameRequest, unresolved: &Unresolved, (process, pid): (usize, u32)) -> Option<TracedName> {
    parse_library_name(Path::new(&request.name).file_name()?)?;
    Some(TracedName {
        name: request.name.display().to_string(),
        needed_by: request.requester.as_path().into(),
        call: request.call,
        pid,
        process,
        because: match unresolved {
            Unresolved::NotFound => "not found".to_owned(),
            Unresolved::NotMapped(path) => format!("not mapped, though `{}` is there", path.display()),
            Unresolved::Damaged(path, error) => format!("`{}`: {error}", path.display()),
        },
        tried: paths(request),
        tried_count: request.tried_count,
    })
}

fn paths(request: &NameRequest) -> Vec<JsonPath> {
    request.tried.iter().map(|path| path.as_path().into()).collect()
}

fn symbol(symbol: &MissingSymbol) -> TracedSymbol {
    TracedSymbol {
        symbol: symbol.symbol.clone(),
        node: symbol.node.clone(),
        wanted_by: symbol.needed_by.as_path().into(),
        provider: symbol.provider.as_deref().map(Into::into),
    }
}

fn finding(finding: &Finding) -> TracedFinding {
    TracedFinding { id: finding.id, says: finding.says.clone(), pid: finding.pid }
}

fn object_text(text: &mut String, object: &TracedObject, all: bool) {
    let version = object.version.as_ref().map_or_else(String::new, |version| format!("  {version}"));
    let path = object.path.to_path();
    // A name that is a path is shortened: the path follows.
    let request = object.name.as_str();
    let name = if request.contains('/') { request.rsplit('/').next().unwrap_or(request) } else { request };
    let gone = if object.mapped { "" } else { "  (unmapped later)" };
    let _ = writeln!(text, "  {name}{version}  by {}{gone}", rule_text(object.rule));
    let _ = writeln!(text, "    {}", path.display());
    if let (Some(call), Some(by)) = (object.call, &object.needed_by) {
        let _ = writeln!(text, "    {} {}", call_text(call), by.to_path().display());
    }
    if all {
        tried_text(text, &object.tried, object.tried_count);
    }
}

fn tried_text(text: &mut String, tried: &[JsonPath], count: usize) {
    if count == 0 {
        return;
    }
    let shown: Vec<String> =
        tried.iter().rev().take(SHOWN).rev().map(|path| path.to_path().display().to_string()).collect();
    let more = count.saturating_sub(shown.len());
    let more = if more > 0 { format!("{more} more, then ") } else { String::new() };
    let _ = writeln!(text, "    not found in: {more}{}", shown.join(", "));
}

pub(super) fn call_text(call: Call) -> &'static str {
    match call {
        Call::Needed => "needed by",
        Call::Dlopen => "opened by",
        Call::Preload => "preloaded into",
    }
}

pub(super) fn rule_text(rule: &str) -> &str {
    match rule {
        "preload" => "LD_PRELOAD",
        "rpath" => "DT_RPATH",
        "ld_library_path" => "LD_LIBRARY_PATH",
        "runpath" => "DT_RUNPATH",
        "cache" => "ld.so.cache",
        "default" => "a default directory",
        "audit" => "the plan",
        other => other,
    }
}
