//! The comparison as flat rows, for a table or a Parquet file: every row has the same columns, each a text, a number or null.

use super::read::{Thing, Things};
use super::{Member, node_list};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// A library of a group of nodes, or one that the group lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FleetRow {
    /// The number of the group, from 1: the largest.
    pub group: usize,
    /// Its nodes as Slurm writes them.
    pub nodes: String,
    /// How many they are.
    pub node_count: usize,
    /// The time of their earliest scan.
    pub first_scan: Option<String>,
    /// The time of their latest.
    pub last_scan: Option<String>,
    /// Their driver.
    pub driver: Option<String>,
    /// `usual`: as on most nodes; `differs`; `missing`: most nodes have it.
    pub state: &'static str,
    /// The path of the library.
    pub path: String,
    /// Its soname; else its file name.
    pub library: String,
    /// The library it is by name.
    pub family: Option<String>,
    /// Its release.
    pub version: Option<String>,
    /// The CUDA release it is built for.
    pub cuda: Option<String>,
    /// Its build ID.
    pub build_id: Option<String>,
    /// Bytes.
    pub size: Option<u64>,
    /// The kind of its owner.
    pub owner_kind: Option<String>,
    /// The package.
    pub owner: Option<String>,
    /// The version of the package.
    pub owner_version: Option<String>,
    /// Why nothing may load it.
    pub unusable: Option<String>,
    /// The ids of its problems, separated by commas.
    pub problems: Option<String>,
    /// The earliest time of the file on these nodes.
    pub first_modified: Option<String>,
    /// The latest.
    pub last_modified: Option<String>,
}

/// The rows, by group, then by path.
pub(super) fn of<'f>(
    members: &[Member<'f>],
    things: &'f Things,
    times: impl Fn(&[&str]) -> Option<(&'f str, &'f str)>,
) -> Vec<FleetRow> {
    let usual = usual(members, things);
    let mut rows = Vec::new();
    for (at, member) in members.iter().enumerate() {
        let scans = times(member.hosts);
        let blank = |path: &str, state| FleetRow {
            group: at + 1,
            nodes: String::new(),
            node_count: member.hosts.len(),
            first_scan: scans.map(|(first, _)| first.to_owned()),
            last_scan: scans.map(|(_, last)| last.to_owned()),
            driver: member.state.driver.clone(),
            state,
            path: path.to_owned(),
            library: path.rsplit('/').next().unwrap_or(path).to_owned(),
            family: None,
            version: None,
            cuda: None,
            build_id: None,
            size: None,
            owner_kind: None,
            owner: None,
            owner_version: None,
            unusable: None,
            problems: None,
            first_modified: None,
            last_modified: None,
        };
        let mut own: Vec<FleetRow> = Vec::new();
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        for (number, time) in member.state.things.iter().zip(&member.state.times) {
            let Some(thing) = things.get(*number) else { continue };
            seen.insert(&thing.path);
            let state = if usual.get(thing.path.as_str()) == Some(&Some(*number)) { "usual" } else { "differs" };
            own.push(filled(blank(&thing.path, state), thing, time.as_ref()));
        }
        let lacks = usual.iter().filter(|(path, number)| number.is_some() && !seen.contains(*path));
        own.extend(lacks.map(|(path, number)| {
            let file = number.and_then(|number| things.get(number)?.file.as_ref());
            let row = blank(path, "missing");
            match file {
                Some(file) => FleetRow {
                    library: file.soname.clone().unwrap_or(row.library),
                    family: Some(file.family.clone()),
                    ..row
                },
                None => row,
            }
        }));
        own.sort_by(|one, other| one.path.cmp(&other.path));
        let nodes = node_list(member.hosts.iter().copied());
        rows.extend(own.into_iter().map(|row| FleetRow { nodes: nodes.clone(), ..row }));
    }
    rows
}

fn filled(row: FleetRow, thing: &Thing, time: Option<&(String, String)>) -> FleetRow {
    let problems = Some(thing.problems.join(",")).filter(|problems| !problems.is_empty());
    let row = FleetRow {
        problems,
        first_modified: time.map(|(first, _)| first.clone()),
        last_modified: time.map(|(_, last)| last.clone()),
        ..row
    };
    let Some(file) = thing.file.clone() else { return row };
    let (owner_kind, owner, owner_version) = file.owner;
    FleetRow {
        library: file.soname.unwrap_or(row.library),
        family: Some(file.family),
        version: file.version,
        cuda: file.cuda,
        build_id: file.build_id,
        size: Some(file.size),
        owner_kind: Some(owner_kind),
        owner,
        owner_version,
        unusable: file.unusable,
        ..row
    }
}

/// What most nodes have at each path; `None` where most have nothing.
fn usual<'f>(members: &[Member<'f>], things: &'f Things) -> BTreeMap<&'f str, Option<u32>> {
    let mut all: BTreeMap<&str, BTreeMap<usize, u32>> = BTreeMap::new();
    for (at, member) in members.iter().enumerate() {
        for number in &member.state.things {
            if let Some(thing) = things.get(*number) {
                all.entry(&thing.path).or_default().insert(at, *number);
            }
        }
    }
    let usual = all.into_iter().map(|(path, by_group)| {
        let here = (0..members.len()).map(|at| by_group.get(&at).copied());
        (path, super::differences::values(members, here).into_iter().next().and_then(|(number, _)| number))
    });
    usual.collect()
}
