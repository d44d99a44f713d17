//! Findings as SARIF 2.1.0, for code scanning and the viewers of editors.
//!
//! Takes a list of findings and the directory of the checkout; gives a log of one run whose rules are the rows of
//! `data/findings.tsv` that occur. Every result has a location, because code scanning refuses one without: the file to
//! blame, else the checkout. Form: <https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html>.

use super::findings::{FindingLine, FindingList};
use super::human::sanitized;
use crate::tables::{FindingRow, Group, Phase, RemedyRow, Severity};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The log.
pub(super) fn sarif(list: &FindingList, base: &Path) -> String {
    let mut rules: Vec<(&str, Value)> = Vec::new();
    let mut results = Vec::new();
    for finding in &list.findings {
        let index = rules.iter().position(|(id, _)| *id == finding.id).unwrap_or_else(|| {
            rules.push((&finding.id, rule(finding)));
            rules.len() - 1
        });
        results.push(result(finding, index, base));
    }
    if list.is_unexplained() {
        results.push(json!({
            "level": level(Severity::Fatal),
            "message": { "text": sanitized(&list.verdict) },
            "locations": [location(None, base)],
            "partialFingerprints": { "verdict/v1": digest(&[list.command.as_bytes(), list.verdict.as_bytes()]) },
        }));
    }
    let rules: Vec<Value> = rules.into_iter().map(|(_, rule)| rule).collect();
    let log = json!({
        "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "cudashim",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            }},
            "automationDetails": { "id": format!("cudashim/{}/", list.command) },
            "invocations": [{
                "executionSuccessful": true,
                "exitCode": u8::from(list.wrong),
                "properties": { "summary": sanitized(&list.summary()) },
            }],
            "originalUriBaseIds": { ROOT: { "uri": format!("{}/", file_uri(base).trim_end_matches('/')) } },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    });
    format!("{log:#}\n")
}

/// The base that paths of the checkout are relative to.
const ROOT: &str = "%SRCROOT%";

fn result(finding: &FindingLine, index: usize, base: &Path) -> Value {
    let text: Vec<String> = std::iter::once(finding.says.clone()).chain(finding.details()).collect();
    let path = finding.path.as_deref();
    let of_path = path.map(|path| path.as_os_str().as_bytes()).unwrap_or_default();
    json!({
        "ruleId": finding.id,
        "ruleIndex": index,
        "level": level(finding.severity),
        "message": { "text": sanitized(&text.join("\n")) },
        "locations": [location(path, base)],
        "partialFingerprints": {
            "finding/v1": digest(&[finding.id.as_bytes(), of_path, finding.says.as_bytes()]),
        },
    })
}

fn rule(finding: &FindingLine) -> Value {
    let Some(row) = finding.row() else { return json!({ "id": finding.id }) };
    json!({
        "id": row.id,
        "name": pascal(row.id),
        "shortDescription": { "text": row.title },
        "fullDescription": { "text": format!("{}.", row.title) },
        "help": { "text": help(row) },
        "helpUri": row.source,
        "defaultConfiguration": { "level": level(row.severity) },
        "properties": { "tags": [group(row.group), phase(row.phase)] },
    })
}

/// The id as the name that viewers show: `no-driver` is `NoDriver`.
fn pascal(id: &str) -> String {
    let word = |word: &str| {
        let (first, rest) = word.split_at_checked(1).unwrap_or_default();
        first.to_ascii_uppercase() + rest
    };
    id.split('-').map(word).collect()
}

/// What heals it, in general: of a command line that depends on the case, its name.
fn help(row: &FindingRow) -> String {
    let mut text = format!("{}.\n", row.title);
    for remedy in &row.remedies {
        let _ = match remedy {
            RemedyRow::Command("{run}") => writeln!(text, "- start the program with `cudashim run`"),
            RemedyRow::Command(line) => writeln!(text, "- run `{line}`"),
            RemedyRow::Action(action) => writeln!(text, "- {action}"),
        };
    }
    if let Some(advice) = row.advice {
        let _ = writeln!(text, "- {advice}");
    }
    let _ = write!(text, "See {}", row.source);
    text
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Fatal => "error",
        Severity::Warning => "warning",
        Severity::Fact => "note",
    }
}

fn group(group: Group) -> &'static str {
    match group {
        Group::Driver => "driver",
        Group::Libraries => "libraries",
        Group::Environment => "environment",
        Group::Frameworks => "frameworks",
    }
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Start => "start",
        Phase::Import => "import",
        Phase::Use => "use",
        Phase::Gpu => "gpu",
    }
}

fn location(path: Option<&Path>, base: &Path) -> Value {
    let artifact = match path.map(|path| path.strip_prefix(base)) {
        Some(Err(_)) => json!({ "uri": file_uri(path.unwrap_or(base)) }),
        Some(Ok(below)) if !below.as_os_str().is_empty() => json!({ "uri": encoded(below), "uriBaseId": ROOT }),
        _ => json!({ "uri": "./", "uriBaseId": ROOT }),
    };
    // Code scanning shows a result at a line, also of a file without lines.
    json!({ "physicalLocation": { "artifactLocation": artifact, "region": { "startLine": 1 } } })
}

/// A path as a URI (RFC 8089). Every byte of a name survives.
fn file_uri(path: &Path) -> String {
    format!("file://{}", encoded(path))
}

/// The bytes of a path that are not unreserved, percent-encoded (RFC 3986, 2.3). A relative path whose first part has a
/// colon would else be read as a scheme.
fn encoded(path: &Path) -> String {
    path.as_os_str().as_bytes().iter().fold(String::new(), |mut out, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => out.push(char::from(*byte)),
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
        out
    })
}

/// What tells results of two runs to be the same one.
fn digest(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
        hash.update([0]);
    }
    base16ct::lower::encode_string(&hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;

    #[test]
    fn every_byte_of_a_path_survives() {
        assert_eq!(file_uri(Path::new(OsStr::from_bytes(b"/a b/\xff:%"))), "file:///a%20b/%FF%3A%25");
    }
}
