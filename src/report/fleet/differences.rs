//! What differs between groups of nodes: at each path, what most nodes have there, and what others have.

use super::read::{File, Thing, Things};
use super::{Member, node_list};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// What some nodes have in place of what most nodes have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FleetDifference {
    /// The nodes as Slurm writes them.
    pub nodes: String,
    /// The same, each.
    pub hosts: Vec<String>,
    /// `driver`, `release`, `missing` (most nodes have it), `extra` (most do not), `damaged`, `build` (of one release), or
    /// `problems` (of one file).
    pub kind: &'static str,
    /// The name of the library; `driver`.
    pub name: String,
    /// Its path; absent for the driver.
    pub path: Option<String>,
    /// What these nodes have; absent where they lack it.
    pub has: Option<FleetValue>,
    /// What most nodes have; absent where they lack it.
    pub usual: Option<FleetValue>,
    /// How many nodes have the usual.
    pub usual_count: usize,
    /// The earliest time of the file on these nodes, as far as known.
    pub since: Option<String>,
    /// The latest.
    pub until: Option<String>,
    /// The earliest scan of these nodes.
    pub seen_from: Option<String>,
    /// The latest.
    pub seen_to: Option<String>,
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FleetValue {
    /// The release.
    pub version: Option<String>,
    /// Bytes; absent for the driver, and where only a problem is known.
    pub size: Option<u64>,
    /// The build ID.
    pub build_id: Option<String>,
    /// Why nothing may load it.
    pub unusable: Option<String>,
    /// The ids of its problems.
    pub problems: Vec<String>,
}

impl FleetValue {
    fn of(thing: &Thing) -> Self {
        let file = thing.file.as_ref();
        Self {
            version: file.and_then(|file| file.version.clone()),
            size: file.map(|file| file.size),
            build_id: file.and_then(|file| file.build_id.clone()),
            unusable: file.and_then(|file| file.unusable.clone()),
            problems: thing.problems.clone(),
        }
    }

    fn driver(version: Option<&str>) -> Option<Self> {
        let version = Some(version?.to_owned());
        Some(Self { version, size: None, build_id: None, unusable: None, problems: Vec::new() })
    }
}

/// All differences: by the first group that has them, the driver first, then by path.
pub(super) fn of<'f>(
    members: &[Member<'f>],
    things: &'f Things,
    times: impl Fn(&[&str]) -> Option<(&'f str, &'f str)>,
) -> Vec<FleetDifference> {
    let mut paths: BTreeMap<&str, BTreeMap<usize, (u32, usize)>> = BTreeMap::new();
    for (at, member) in members.iter().enumerate() {
        for (place, number) in member.state.things.iter().enumerate() {
            let Some(thing) = things.get(*number) else { continue };
            paths.entry(&thing.path).or_default().insert(at, (*number, place));
        }
    }
    let mut found: Vec<(Vec<usize>, FleetDifference)> = Vec::new();
    let mut add = |at: &Compared<'_, '_>, of: &Difference<'_>| {
        let mut hosts: Vec<&str> =
            of.groups.iter().filter_map(|at| members.get(*at)).flat_map(|it| it.hosts).copied().collect();
        hosts.sort_unstable();
        let seen = times(&hosts);
        let files: Vec<&(String, String)> = of
            .groups
            .iter()
            .filter_map(|group| {
                let (_, place) = at.by_group?.get(group)?;
                members.get(*group)?.state.times.get(*place)?.as_ref()
            })
            .collect();
        found.push((
            of.groups.to_vec(),
            FleetDifference {
                nodes: node_list(hosts.iter().copied()),
                hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
                kind: of.kind,
                name: at.name.to_owned(),
                path: at.path.map(str::to_owned),
                has: of.has.clone(),
                usual: of.usual.clone(),
                usual_count: of.usual_count,
                since: files.iter().map(|(first, _)| first.clone()).min(),
                until: files.iter().map(|(_, last)| last.clone()).max(),
                seen_from: seen.map(|(first, _)| first.to_owned()),
                seen_to: seen.map(|(_, last)| last.to_owned()),
            },
        ));
    };
    let drivers = members.iter().map(|member| member.state.driver.as_deref());
    let drivers = values(members, drivers);
    if let Some(((usual, usual_groups), others)) = drivers.split_first() {
        for (has, groups) in others {
            let difference = Difference {
                groups,
                kind: "driver",
                has: FleetValue::driver(*has),
                usual: FleetValue::driver(*usual),
                usual_count: nodes(members, usual_groups),
            };
            add(&Compared { name: "driver", path: None, by_group: None }, &difference);
        }
    }
    for (path, by_group) in &paths {
        // One number everywhere: the usual case.
        let first = by_group.values().next().map(|(number, _)| *number);
        if by_group.len() == members.len() && by_group.values().all(|(number, _)| Some(*number) == first) {
            continue;
        }
        let here = (0..members.len()).map(|at| by_group.get(&at).map(|(number, _)| *number));
        let here = values(members, here);
        let Some(((usual, usual_groups), others)) = here.split_first() else { continue };
        let thing = |number: &Option<u32>| things.get((*number)?);
        let known = here.iter().filter_map(|(number, _)| thing(number)).find_map(|thing| thing.file.as_ref());
        let file_name = path.rsplit('/').next().unwrap_or(path);
        let name = known.and_then(|file| file.soname.as_deref()).unwrap_or(file_name);
        for (has, groups) in others {
            let (has, usual) = (thing(has), thing(usual));
            let difference = Difference {
                groups,
                kind: kind(has, usual),
                has: has.map(FleetValue::of),
                usual: usual.map(FleetValue::of),
                usual_count: nodes(members, usual_groups),
            };
            add(&Compared { name, path: Some(path), by_group: Some(by_group) }, &difference);
        }
    }
    // By the nodes, then as found: the driver first, then by path.
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    found.into_iter().map(|(_, difference)| difference).collect()
}

/// A path, or the driver.
struct Compared<'f, 'p> {
    name: &'f str,
    path: Option<&'f str>,
    by_group: Option<&'p BTreeMap<usize, (u32, usize)>>,
}

/// A value that is not the usual one.
struct Difference<'v> {
    groups: &'v [usize],
    kind: &'static str,
    has: Option<FleetValue>,
    usual: Option<FleetValue>,
    usual_count: usize,
}

fn nodes(members: &[Member<'_>], groups: &[usize]) -> usize {
    groups.iter().filter_map(|at| members.get(*at)).map(|member| member.hosts.len()).sum()
}

/// The values of the groups, each with its groups: the one that most nodes have first; of two, that of the larger group.
pub(super) fn values<V: Ord>(members: &[Member<'_>], of_groups: impl Iterator<Item = V>) -> Vec<(V, Vec<usize>)> {
    let mut values: BTreeMap<V, Vec<usize>> = BTreeMap::new();
    for (at, value) in of_groups.enumerate() {
        values.entry(value).or_default().push(at);
    }
    let mut values: Vec<(V, Vec<usize>)> = values.into_iter().collect();
    values.sort_by_key(|(_, groups)| (std::cmp::Reverse(nodes(members, groups)), groups.first().copied()));
    values
}

fn kind(has: Option<&Thing>, usual: Option<&Thing>) -> &'static str {
    let file = |thing: Option<&'_ Thing>| thing.and_then(|thing| thing.file.clone());
    match (file(has), file(usual)) {
        (None, Some(_)) => "missing",
        (Some(File { unusable: Some(_), stub: false, .. }), usual)
            if usual.as_ref().is_none_or(|usual| usual.unusable.is_none()) =>
        {
            "damaged"
        }
        (Some(_), None) => "extra",
        (Some(has), Some(usual)) if has.version != usual.version => "release",
        (Some(has), Some(usual)) if has != usual => "build",
        _ => "problems",
    }
}

/// The directory of a path.
pub(super) fn directory(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| if dir.is_empty() { "/" } else { dir })
}

/// The directories of differences, each once.
pub(super) fn directories<'d>(of: &[&'d FleetDifference]) -> BTreeSet<&'d str> {
    of.iter().filter_map(|it| it.path.as_deref()).map(directory).collect()
}
