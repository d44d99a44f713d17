//! The comparison for people: how many nodes are alike, then a line for each difference.

use super::differences::{directories, directory};
use super::{FleetDifference, FleetReport, FleetValue, LeftOut, node_list};
use crate::host::escape;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// The report for people.
#[must_use]
pub fn fleet_text(report: &FleetReport) -> String {
    let mut text = format!("{}\n", verdict(report));
    let mut left: &[FleetDifference] = &report.differences;
    while let Some(first) = left.first() {
        // Libraries of one directory that differ alike, as those of a driver, are one line.
        let alike = left.iter().take_while(|other| is_alike(first, other)).collect::<Vec<_>>();
        left = left.get(alike.len()..).unwrap_or_default();
        let _ = writeln!(text, "{}", line(report, &alike));
    }
    text
}

/// How many nodes are alike.
pub(super) fn verdict(report: &FleetReport) -> String {
    let nodes = if report.nodes == 1 { "node" } else { "nodes" };
    let when = match (&report.from, &report.to) {
        (Some(from), Some(to)) if from == to => format!(" (scanned {from})"),
        (Some(from), Some(to)) => format!(" (scanned {from} to {to})"),
        _ => String::new(),
    };
    match &*report.groups {
        [one] => format!("{} {nodes} alike: {}{when}", report.nodes, one.nodes),
        [most, ..] => format!(
            "{} {nodes} in {} groups{when}; {} alike: {}",
            report.nodes,
            report.groups.len(),
            most.hosts.len(),
            most.nodes
        ),
        [] => "no nodes".to_owned(),
    }
}

fn is_alike(one: &FleetDifference, other: &FleetDifference) -> bool {
    let release = |value: &Option<FleetValue>| value.as_ref().map(|value| value.version.clone());
    let place = |it: &FleetDifference| it.path.as_deref().map(|path| directory(path).to_owned());
    one == other
        || one.hosts == other.hosts
            && one.kind == other.kind
            && one.usual_count == other.usual_count
            && place(one) == place(other)
            && release(&one.has) == release(&other.has)
            && release(&one.usual) == release(&other.usual)
            && !matches!(one.kind, "damaged" | "build" | "problems")
}

fn line(report: &FleetReport, alike: &[&FleetDifference]) -> String {
    let Some(first) = alike.first() else { return String::new() };
    let names: BTreeSet<&str> = alike.iter().map(|it| it.name.as_str()).collect();
    let name = match names.len() {
        1 => harmless(&first.name),
        count => format!("{} and {} more", harmless(&first.name), count - 1),
    };
    let others = report.nodes.saturating_sub(first.hosts.len());
    let whom = if first.usual_count == others { "the other" } else { "most," };
    let mut text = format!(
        "{}: {name} {}, {whom} {}: {}",
        first.nodes,
        said(first.has.as_ref(), first.usual.as_ref()),
        first.usual_count,
        said(first.usual.as_ref(), first.has.as_ref())
    );
    let dirs = directories(alike);
    if let Some(dir) = dirs.first() {
        let _ = write!(text, "; in {}", harmless(dir));
    }
    let since = alike.iter().filter_map(|it| it.since.as_deref()).min();
    let until = alike.iter().filter_map(|it| it.until.as_deref()).max();
    match (since, until, &first.seen_from) {
        (Some(since), Some(until), _) if since == until => {
            let _ = write!(text, ", since {since}");
        }
        (Some(since), Some(until), _) => {
            let _ = write!(text, ", since {since} to {until}");
        }
        (_, _, Some(seen)) => {
            let _ = write!(text, ", seen {seen}");
        }
        _ => {}
    }
    text
}

/// What is at a path, with what tells it from the other.
pub(super) fn said(value: Option<&FleetValue>, other: Option<&FleetValue>) -> String {
    let Some(value) = value else { return "missing".to_owned() };
    if let Some(why) = value.unusable.as_ref().filter(|why| other.and_then(|it| it.unusable.as_ref()) != Some(*why)) {
        return match value.size {
            Some(0) => "of 0 bytes".to_owned(),
            _ => format!("not loadable ({})", harmless(why)),
        };
    }
    // Of a path without a file only its problems are known.
    if value.version.is_none() && value.size.is_none() {
        return harmless(&format!("with {}", value.problems.join(", ")));
    }
    let version = value.version.as_deref().map_or_else(|| "of an unknown release".to_owned(), harmless);
    let Some(other) =
        other.filter(|other| other.version == value.version && other.unusable.is_none() && value.size.is_some())
    else {
        return version;
    };
    let id = |value: &FleetValue| value.build_id.as_deref().map_or("none", |id| id.get(..8).unwrap_or(id)).to_owned();
    if other.size != value.size {
        return format!("{version} of {} bytes", value.size.unwrap_or_default());
    }
    if id(other) != id(value) {
        return format!("{version} of build {}", id(value));
    }
    if other.problems != value.problems {
        let problems = if value.problems.is_empty() { "no problem".to_owned() } else { value.problems.join(", ") };
        return format!("{version} with {}", harmless(&problems));
    }
    format!("{version} of another owner or content")
}

/// On one line.
fn harmless(text: &str) -> String {
    escape::bytes(text.as_bytes())
}

/// What was not used, in a line for each reason.
#[must_use]
pub fn left_out_notes(all: &[LeftOut]) -> Vec<String> {
    let mut by_reason: BTreeMap<&str, Vec<&LeftOut>> = BTreeMap::new();
    for one in all {
        by_reason.entry(&one.why).or_default().push(one);
    }
    let note = |(why, of): (&str, Vec<&LeftOut>)| {
        let hosts: Vec<&str> = of.iter().filter_map(|one| one.host.as_deref()).collect();
        if of.len() > 1 && hosts.len() == of.len() {
            return vec![format!("the scans of {} are left out: {}", node_list(hosts), harmless(why))];
        }
        of.iter().map(ToString::to_string).collect()
    };
    by_reason.into_iter().flat_map(note).collect()
}

impl FleetReport {
    /// What a reader must know of the input, in a line each.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let list = |hosts: &[&str]| node_list(hosts.iter().copied());
        let mut lines = left_out_notes(&self.left_out);
        let repeated: Vec<&str> = self.repeated.iter().map(|it| it.host.as_str()).collect();
        if !repeated.is_empty() {
            lines.push(format!("{}: scanned more than once; the latest scan counts", list(&repeated)));
        }
        let clocks: Vec<&str> = self.clocks.iter().map(String::as_str).collect();
        if !clocks.is_empty() {
            let says = "a file is newer than the scan: clocks differ, and no time of a file is shown";
            lines.push(format!("{}: {says}", list(&clocks)));
        }
        lines
    }
}

impl std::fmt::Display for LeftOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", harmless(&self.source))?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        match &self.host {
            Some(host) => write!(f, ": the scan of {} is left out: {}", node_list([&**host]), harmless(&self.why)),
            None => write!(f, ": left out: {}", harmless(&self.why)),
        }
    }
}
