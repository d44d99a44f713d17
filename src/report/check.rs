//! A judgement as a tree for people, and the wire types of `check --format json` (`docs/json-schema/check.json`).

use super::findings::{FindingLine, FindingList, shown};
use super::json::{JsonPath, SCHEMA};
use crate::check::{Cause, Finding, JudgedObject, Judgement, Stage, Verdict};
use crate::loader::Rule;
use serde::Serialize;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// One mapped object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckObject {
    /// The requested name.
    pub name: JsonPath,
    /// Its path.
    pub path: JsonPath,
    /// `preload`, `mapped`, `path`, `rpath`, `ld_library_path`, `runpath`, `cache` or `default`.
    pub rule: Rule,
    /// The object that caused it to be mapped.
    pub needed_by: Option<JsonPath>,
    /// `startup`, `load` or `later`.
    pub phase: Stage,
    /// The release of a library of NVIDIA's.
    pub version: Option<String>,
    /// Whether the file was removed or replaced since it was mapped.
    pub deleted: bool,
}

/// An undefined symbol, or a missing version node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckMissing {
    /// The symbol; absent where the whole node is missing.
    pub symbol: Option<String>,
    /// Its version node.
    pub node: Option<String>,
    /// The object that needs it.
    pub wanted_by: JsonPath,
    /// The file that should define it.
    pub provider: Option<JsonPath>,
    /// Whether it is needed only later: by an object opened later, or by a lazily bound call.
    pub later: bool,
}

/// A name that is not found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckNotFound {
    /// The name.
    pub name: JsonPath,
    /// The object that needs it.
    pub needed_by: Option<JsonPath>,
    /// ld.so's message.
    pub says: String,
    /// Whether only objects opened later need it.
    pub later: bool,
    /// Whether the consumer loads without it.
    pub optional: bool,
}

/// Something wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckFinding {
    /// A stable word.
    pub id: String,
    /// A sentence.
    pub says: String,
    /// The file to blame.
    pub path: Option<JsonPath>,
}

/// The sonames of a plan, by the file a process has mapped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckPlan {
    /// Mapped from the planned file.
    pub mapped: Vec<String>,
    /// Mapped from another file.
    pub elsewhere: Vec<String>,
    /// Not mapped so far.
    pub not_yet: Vec<String>,
}

/// The report of `check`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// [`SCHEMA`].
    pub schema: u32,
    /// What was judged.
    pub r#for: String,
    /// Where it is.
    pub path: Option<JsonPath>,
    /// `loads`, `torn` or `fails`.
    pub verdict: Verdict,
    /// The first line that ld.so prints, if loading fails.
    pub error: Option<String>,
    /// The objects, in the order of the map.
    pub objects: Vec<CheckObject>,
    /// Undefined symbols and missing nodes.
    pub missing: Vec<CheckMissing>,
    /// Names that are not found.
    pub not_found: Vec<CheckNotFound>,
    /// What is wrong.
    pub findings: Vec<CheckFinding>,
    /// The sonames of a plan, by the file a process has mapped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<CheckPlan>,
    /// What to do next.
    pub next: Vec<String>,
}

impl CheckReport {
    /// The report of a judgement.
    #[must_use]
    pub fn new(judgement: &Judgement, next: &[String]) -> Self {
        let path_of = |index: Option<usize>| {
            index.and_then(|index| judgement.objects.get(index)).map(|object| object.path.as_path().into())
        };
        let objects = judgement.objects.iter().map(|object| CheckObject {
            name: Path::new(&object.name).into(),
            path: object.path.as_path().into(),
            // The kernel maps ld.so before any search.
            rule: if object.rule == Rule::Interpreter { Rule::Mapped } else { object.rule },
            needed_by: path_of(object.needed_by),
            phase: object.phase,
            version: object.version.as_ref().map(ToString::to_string),
            deleted: object.deleted,
        });
        let missing = judgement.missing.iter().map(|missing| CheckMissing {
            symbol: missing.symbol.clone(),
            node: missing.node.clone(),
            wanted_by: missing.needed_by.as_path().into(),
            provider: missing.provider.as_deref().map(JsonPath::from),
            later: missing.later,
        });
        let not_found = judgement.not_found.iter().map(|entry| CheckNotFound {
            name: Path::new(&entry.name).into(),
            needed_by: entry.needed_by.as_deref().map(JsonPath::from),
            says: entry.says.clone(),
            later: entry.later,
            optional: entry.optional,
        });
        let findings = judgement.findings.iter().map(|finding| CheckFinding {
            id: finding.id.to_owned(),
            says: finding.says(),
            path: finding.path().map(JsonPath::from),
        });
        Self {
            schema: SCHEMA,
            r#for: judgement.of.clone(),
            path: judgement.at.as_deref().map(JsonPath::from),
            verdict: judgement.verdict,
            error: judgement.error.clone(),
            objects: objects.collect(),
            missing: missing.collect(),
            not_found: not_found.collect(),
            findings: findings.collect(),
            plan: judgement.planned.as_ref().map(|planned| CheckPlan {
                mapped: planned.mapped.clone(),
                elsewhere: planned.elsewhere.clone(),
                not_yet: planned.not_yet.clone(),
            }),
            next: next.to_vec(),
        }
    }
}

/// The findings of a judgement, each with the lines that heal all of them; `wrong`: the answer is no.
#[must_use]
pub fn check_findings(judgement: &Judgement, next: &[String], wrong: bool) -> FindingList {
    let line = |finding: &Finding| {
        let symbols = match &finding.cause {
            Cause::Undefined { symbols, .. } => symbols.as_slice(),
            _ => &[],
        };
        let symbols = symbols.iter().take(SYMBOLS).map(|symbol| format!("symbol: {symbol}"));
        let files = finding.files().map(|file| {
            let version = file.version.as_ref().map(|version| format!(": {version}")).unwrap_or_default();
            let rule = file.rule.map(|rule| format!(", found by {rule}")).unwrap_or_default();
            format!("file: {}{version}{rule}", shown(&file.path))
        });
        let by = finding.by().map(|by| format!("needed by: {}", shown(by)));
        let row = FindingLine::of_row(finding.id, finding.says(), finding.path().or(finding.by()).map(Path::to_owned));
        let commands = next.iter().map(|line| format!("$ {line}"));
        FindingLine {
            severity: finding.severity,
            evidence: files.chain(by).chain(symbols).collect(),
            remedies: if next.is_empty() { row.remedies } else { commands.collect() },
            ..row
        }
    };
    FindingList {
        command: "check",
        verdict: verdict_line(judgement),
        wrong,
        findings: judgement.findings.iter().map(line).collect(),
    }
}

/// Undefined symbols of one finding that are listed.
const SYMBOLS: usize = 5;

/// How much of a tree is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// Without the system's libraries.
    Folded,
    /// Everything.
    All,
}

/// The judgement as a tree; each object once, below the object that caused it to be mapped.
#[must_use]
pub fn check_text(judgement: &Judgement, next: &[String], view: View) -> String {
    let mut tree = Tree::new(judgement, view);
    tree.draw();
    let Tree { mut text, hidden, .. } = tree;
    if hidden > 0 {
        let (what, verb) = if hidden == 1 { ("library", "is") } else { ("libraries", "are") };
        let _ = writeln!(text, "\n{hidden} {what} of the system {verb} not shown; `--all` shows them");
    }
    for finding in &judgement.findings {
        let _ = write!(text, "\n{}\n  {}\n", finding.id, finding.says());
    }
    if let Some(planned) = &judgement.planned {
        let count = |list: &[String]| list.len();
        let _ = writeln!(
            text,
            "\nplan: {} mapped as planned, {} from another file, {} not mapped yet",
            count(&planned.mapped),
            count(&planned.elsewhere),
            count(&planned.not_yet)
        );
    }
    let _ = writeln!(text, "\n{}", verdict_line(judgement));
    for line in next {
        let _ = writeln!(text, "type: {line}");
    }
    text
}

fn verdict_line(judgement: &Judgement) -> String {
    let of = &judgement.of;
    let later = judgement.not_found.iter().filter(|entry| entry.later && !entry.optional).count();
    match (&judgement.verdict, &judgement.error) {
        (Verdict::Fails, Some(error)) => format!("{of} fails: {error}"),
        (Verdict::Fails, None) => format!("{of} fails"),
        (Verdict::Torn, _) => format!("{of} loads, but is torn: parts of one group are of different releases"),
        (Verdict::Loads, _) if later > 0 => {
            let (what, is) =
                if later == 1 { ("1 library".to_owned(), "is") } else { (format!("{later} libraries"), "are") };
            format!("{of} loads, but {what} that it opens later {is} not found")
        }
        (Verdict::Loads, _) => format!("{of} loads"),
    }
}

/// The rule that found an object, and when, in a few words.
pub(super) fn rule_text(object: &JudgedObject) -> String {
    let rule = match (object.phase, object.rule) {
        (Stage::Later, Rule::Mapped) => "opened later".to_owned(),
        (Stage::Later, rule) => format!("opened later, {rule}"),
        (_, Rule::Mapped) => "mapped".to_owned(),
        (_, rule) => rule.to_string(),
    };
    if object.deleted { format!("{rule}, replaced since") } else { rule }
}

/// Whether an object is one of the system's libraries, which are many and rarely the cause.
pub(super) fn is_of_system(object: &JudgedObject) -> bool {
    let usual = matches!(object.rule, Rule::Cache | Rule::Default) || is_system(&object.path);
    !object.ours && !object.deleted && (object.phase == Stage::Startup || usual)
}

struct Tree<'j> {
    judgement: &'j Judgement,
    view: View,
    children: BTreeMap<Option<usize>, Vec<usize>>,
    /// The directory that paths are relative to.
    base: Option<PathBuf>,
    text: String,
    hidden: usize,
}

impl<'j> Tree<'j> {
    fn new(judgement: &'j Judgement, view: View) -> Self {
        let mut children: BTreeMap<Option<usize>, Vec<usize>> = BTreeMap::new();
        for (index, object) in judgement.objects.iter().enumerate() {
            children.entry(object.needed_by).or_default().push(index);
        }
        let mut text = judgement.of.clone();
        if let Some(at) = &judgement.at
            && !judgement.of.contains(&*at.to_string_lossy())
        {
            let _ = write!(text, " in {}", at.display());
        }
        text.push('\n');
        let base = judgement.at.as_deref().map(site_of);
        Self { judgement, view, children, base, text, hidden: 0 }
    }

    fn draw(&mut self) {
        let tops: Vec<usize> = self.children.get(&None).cloned().unwrap_or_default();
        for index in tops {
            if self.shows(index) {
                self.text.push('\n');
                self.node(index, "", "");
            } else {
                self.hidden += 1;
                self.below(index, "", true);
            }
        }
        self.not_found(None, "");
    }

    fn object(&self, index: usize) -> Option<&'j JudgedObject> {
        self.judgement.objects.get(index)
    }

    /// Whether an object is shown.
    fn shows(&self, index: usize) -> bool {
        self.view == View::All || self.object(index).is_some_and(|object| !is_of_system(object))
    }

    fn node(&mut self, index: usize, lead: &str, below: &str) {
        let Some(object) = self.object(index) else { return };
        let version = object.version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
        let shown = object.path.components().collect::<PathBuf>();
        let tidy = crate::host::tidy(&shown);
        let dir = match (&self.base, tidy.parent()) {
            (Some(base), Some(dir)) => dir.strip_prefix(base).unwrap_or(dir).display().to_string(),
            (None, Some(dir)) => dir.display().to_string(),
            (_, None) => String::new(),
        };
        let rule = rule_text(object);
        let name = object.name.display();
        let from = if tidy.file_name() == Some(OsStr::new(&object.name)) {
            dir
        } else {
            format!("{dir}/{}", tidy.file_name().unwrap_or_default().display())
        };
        let _ = writeln!(self.text, "{lead}{name}{version} [{rule}] {from}");
        self.below(index, below, false);
        self.not_found(Some(&object.path), below);
    }

    /// The objects that an object caused to be mapped. Children of a hidden object are shown below its parent.
    fn below(&mut self, index: usize, below: &str, folded: bool) {
        let children = self.children.get(&Some(index)).cloned().unwrap_or_default();
        let mut visible = Vec::new();
        for child in children {
            if self.shows(child) {
                visible.push(child);
            } else {
                self.hidden += 1;
                self.below(child, below, true);
            }
        }
        let more = !folded && self.object(index).is_some_and(|object| self.has_not_found(&object.path));
        let end = visible.len().saturating_sub(1);
        for (at, child) in visible.into_iter().enumerate() {
            let is_last = at == end && !more;
            let (lead, deeper) = if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            self.node(child, &format!("{below}{lead}"), &format!("{below}{deeper}"));
        }
    }

    fn has_not_found(&self, path: &Path) -> bool {
        self.judgement.not_found.iter().any(|entry| entry.needed_by.as_deref() == Some(path))
    }

    fn not_found(&mut self, by: Option<&Path>, below: &str) {
        let entries: Vec<_> =
            self.judgement.not_found.iter().filter(|entry| entry.needed_by.as_deref() == by).collect();
        let end = entries.len().saturating_sub(1);
        for (at, entry) in entries.into_iter().enumerate() {
            let lead = match (by, at == end) {
                (None, _) => "",
                (_, true) => "└─ ",
                (_, false) => "├─ ",
            };
            let later = if entry.later { "opened later, " } else { "" };
            let what = match (&entry.damaged, entry.optional) {
                (Some(path), _) => format!("{}: {}", path.display(), entry.says),
                (None, true) if entry.later => "not found, optional".to_owned(),
                (None, _) => "not found".to_owned(),
            };
            let _ = writeln!(self.text, "{below}{lead}{} [{later}{what}]", entry.name.display());
        }
    }
}

/// The directory that paths are relative to: a site directory, an environment, or that of a file.
pub(super) fn site_of(at: &Path) -> PathBuf {
    let named = |dir: &&Path| dir.file_name().is_some_and(|name| name == "site-packages" || name == "dist-packages");
    at.ancestors().find(named).unwrap_or(at).to_owned()
}

fn is_system(path: &Path) -> bool {
    ["/lib", "/lib64", "/usr/lib", "/usr/lib64"].iter().any(|dir| path.starts_with(dir))
}
