//! Many nodes compared: which are alike, what differs on the others, and since when.
//!
//! Takes saved scans, one of each node; gives a [`FleetReport`]. Nodes with the same files form a group, so that the memory taken
//! depends on how many groups there are, not on how many nodes. What most nodes have counts as usual; which of two is right is
//! not judged. Equal scans in any order give the same report.

mod differences;
mod nodes;
mod page;
mod read;
mod row;
mod text;

pub use differences::{FleetDifference, FleetValue};
pub use nodes::node_list;
pub use row::FleetRow;
pub use text::{fleet_text, left_out_notes};

use super::json::SCHEMA;
use read::{NodeScan, Things};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, BufRead};

/// Scans, read one after the other.
///
/// ```
/// use cudashim::internal::report::Fleet;
///
/// let scan = |host: &str| format!(
///     "{{\"type\":\"node\",\"host\":\"{host}\",\"schema\":1,\"at\":\"2026-11-30T15:00:00Z\",\"driver\":null}}\n\
///      {{\"type\":\"end\",\"host\":\"{host}\",\"schema\":1,\"stopped\":false,\"count\":0,\"problems\":[]}}\n"
/// );
/// let mut fleet = Fleet::default();
/// for host in ["node01", "node02"] {
///     fleet.read("stdin", scan(host).as_bytes()).unwrap();
/// }
/// assert_eq!(fleet.report().groups[0].nodes, "node[01-02]");
/// ```
#[derive(Debug, Default)]
pub struct Fleet {
    things: Things,
    /// Every state, with its number.
    numbers: HashMap<Key, usize>,
    states: Vec<State>,
    nodes: BTreeMap<String, Seen>,
    repeated: BTreeMap<String, Repeated>,
    left_out: Vec<LeftOut>,
}

/// What a node is compared by.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    driver: Option<String>,
    things: Box<[u32]>,
}

/// What some nodes have in common.
#[derive(Debug)]
struct State {
    driver: Option<String>,
    /// By number.
    things: Box<[u32]>,
    /// The earliest and the latest time of each file.
    times: Vec<Option<(String, String)>>,
}

/// The scan of a node that counts.
#[derive(Debug)]
struct Seen {
    at: String,
    state: usize,
    newer: bool,
}

/// A scan that was not used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Its file, or `standard input`.
    pub source: String,
    /// The line that shows it; absent where that is the end of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// The node, if it is known.
    pub host: Option<String>,
    /// The reason.
    pub why: String,
}

impl LeftOut {
    /// `line` 0: the end of the source.
    fn scan(source: &str, line: usize, host: Option<String>, why: String) -> Self {
        Self { source: source.to_owned(), line: Some(line).filter(|line| *line > 0), host, why }
    }
}

/// A node with more than one scan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Repeated {
    /// The node.
    pub host: String,
    /// The time of the scan that counts: the latest.
    pub at: String,
    /// How many others there are.
    pub others: usize,
}

/// The report of `fleet`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FleetReport {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The number of nodes.
    pub nodes: usize,
    /// The time of the earliest scan that counts.
    pub from: Option<String>,
    /// The time of the latest.
    pub to: Option<String>,
    /// Nodes with the same files, the largest group first.
    pub groups: Vec<FleetGroup>,
    /// What differs from what most nodes have.
    pub differences: Vec<FleetDifference>,
    /// Nodes with a file that is newer than their scan: their clock is slow, or that of their file server is fast. Times of
    /// their files are not shown.
    pub clocks: Vec<String>,
    /// Nodes that were scanned more than once.
    pub repeated: Vec<Repeated>,
    /// What was not used.
    pub left_out: Vec<LeftOut>,
    #[serde(skip)]
    rows: Vec<FleetRow>,
}

/// Nodes with the same files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FleetGroup {
    /// Its number, from 1.
    pub group: usize,
    /// The nodes as Slurm writes them.
    pub nodes: String,
    /// The same, each.
    pub hosts: Vec<String>,
    /// The driver.
    pub driver: Option<String>,
    /// The number of libraries.
    pub libraries: usize,
}

impl Fleet {
    /// Reads scans from a source, whose name is for messages. What is no whole scan is left out.
    ///
    /// # Errors
    /// The source cannot be read.
    pub fn read(&mut self, source: &str, input: impl BufRead) -> io::Result<()> {
        let Self { things, numbers, states, nodes, repeated, left_out } = self;
        read::read(source, input, things, left_out, |scan| {
            if let Some(seen) = nodes.get(&scan.host) {
                let latest = seen.at.clone().max(scan.at.clone());
                let repeated = repeated.entry(scan.host.clone());
                let repeated =
                    repeated.or_insert_with(|| Repeated { host: scan.host.clone(), at: String::new(), others: 0 });
                repeated.others += 1;
                repeated.at = latest;
                if scan.at < seen.at {
                    return;
                }
            }
            let (host, at, newer) = (scan.host.clone(), scan.at.clone(), scan.newer);
            nodes.insert(host, Seen { at, state: state(numbers, states, scan), newer });
        })
    }

    /// Whether no whole scan was read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// What was not used.
    #[must_use]
    pub fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    /// The comparison.
    #[must_use]
    pub fn report(self) -> FleetReport {
        let mut hosts: Vec<Vec<&str>> = vec![Vec::new(); self.states.len()];
        for (host, seen) in &self.nodes {
            if let Some(hosts) = hosts.get_mut(seen.state) {
                hosts.push(host);
            }
        }
        // A state may have lost its nodes to later scans. The first node breaks a tie.
        let mut order: Vec<usize> =
            (0..self.states.len()).filter(|at| hosts.get(*at).is_some_and(|hosts| !hosts.is_empty())).collect();
        order.sort_by_key(|at| hosts.get(*at).map(|hosts| (std::cmp::Reverse(hosts.len()), hosts.first().copied())));
        let members: Vec<Member<'_>> = order
            .iter()
            .filter_map(|at| Some(Member { state: self.states.get(*at)?, hosts: hosts.get(*at)? }))
            .collect();
        let groups = members.iter().enumerate().map(|(at, member)| FleetGroup {
            group: at + 1,
            nodes: node_list(member.hosts.iter().copied()),
            hosts: member.hosts.iter().map(|host| (*host).to_owned()).collect(),
            driver: member.state.driver.clone(),
            libraries: member.things(&self.things).filter(|thing| thing.file.is_some()).count(),
        });
        let times = |hosts: &[&str]| {
            let times = hosts.iter().filter_map(|host| self.nodes.get(*host)).map(|seen| seen.at.as_str());
            times.fold(None::<(&str, &str)>, |known, at| match known {
                Some((first, last)) => Some((first.min(at), last.max(at))),
                None => Some((at, at)),
            })
        };
        let all: BTreeSet<&str> = self.nodes.values().map(|seen| seen.at.as_str()).collect();
        FleetReport {
            schema: SCHEMA,
            nodes: self.nodes.len(),
            from: all.first().map(|at| (*at).to_owned()),
            to: all.last().map(|at| (*at).to_owned()),
            groups: groups.collect(),
            differences: differences::of(&members, &self.things, times),
            clocks: self.nodes.iter().filter(|(_, seen)| seen.newer).map(|(host, _)| host.clone()).collect(),
            repeated: self.repeated.into_values().collect(),
            rows: row::of(&members, &self.things, times),
            left_out: self.left_out,
        }
    }
}

/// The number of a scan's state, which the scan is added to.
fn state(numbers: &mut HashMap<Key, usize>, states: &mut Vec<State>, mut scan: NodeScan) -> usize {
    scan.things.sort();
    scan.things.dedup_by_key(|(number, _)| *number);
    let things: Box<[u32]> = scan.things.iter().map(|(number, _)| *number).collect();
    let key = Key { driver: scan.driver.clone(), things: things.clone() };
    let at = *numbers.entry(key).or_insert_with(|| {
        let times = vec![None; things.len()];
        states.push(State { driver: scan.driver.clone(), things, times });
        states.len() - 1
    });
    // Times of a clock that is off would be wrong for the whole group.
    let times = scan.things.into_iter().map(|(_, time)| time.filter(|_| !scan.newer));
    for (known, time) in states.get_mut(at).into_iter().flat_map(|state| &mut state.times).zip(times) {
        let Some(time) = time else { continue };
        *known = Some(match known.take() {
            Some((first, last)) if time < first => (time, last),
            Some((first, last)) if time > last => (first, time),
            Some(known) => known,
            None => (time.clone(), time),
        });
    }
    at
}

/// A group while the report is made.
struct Member<'f> {
    state: &'f State,
    hosts: &'f [&'f str],
}

impl<'f> Member<'f> {
    fn things(&self, things: &'f Things) -> impl Iterator<Item = &'f read::Thing> {
        self.state.things.iter().filter_map(|number| things.get(*number))
    }
}

impl FleetReport {
    /// Whether all nodes are alike, and every scan was used.
    #[must_use]
    pub fn is_fine(&self) -> bool {
        self.groups.len() <= 1 && self.left_out.is_empty()
    }

    /// One flat row for each library of each group, and for each that a group lacks.
    #[must_use]
    pub fn rows(&self) -> &[FleetRow] {
        &self.rows
    }
}
