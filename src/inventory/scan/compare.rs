//! The difference of two libraries, and whether one can replace the other.
//!
//! The test is the loader's (glibc's `elf/dl-lookup.c`): under the same soname, B must define every symbol and node of
//! A. More symbols never hurt.

use crate::elf::{Elf, ElfError};
use crate::inventory::symbols_by_provider;
use crate::loader::Object;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Two libraries compared: `gained` is only in B, `lost` only in A.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use]
pub struct Comparison {
    /// The sonames, where they differ.
    pub sonames: Option<(String, String)>,
    /// Defined symbols with their nodes: `name@node`.
    pub gained: Vec<String>,
    /// As `gained`.
    pub lost: Vec<String>,
    /// Version nodes.
    pub nodes_gained: Vec<String>,
    /// As `nodes_gained`.
    pub nodes_lost: Vec<String>,
    /// Needed entries.
    pub needs_gained: Vec<String>,
    /// As `needs_gained`.
    pub needs_lost: Vec<String>,
    /// The number of libraries here that need A.
    pub users: usize,
    /// Those that B would break, with the first symbol that each needs and B does not define; `None` where B does not
    /// have the soname that it needs.
    pub broken: Vec<(PathBuf, Option<String>)>,
}

impl Comparison {
    /// Compares two objects; `users` are the libraries that may need A.
    ///
    /// # Errors
    /// Where the symbols of either cannot be read.
    pub fn new<'o>(a: &Object, b: &Object, users: impl IntoIterator<Item = &'o Object>) -> Result<Self, ElfError> {
        let (of_a, of_b) = (defined(&a.elf()?)?, defined(&b.elf()?)?);
        let (nodes_a, nodes_b) = (nodes(&a.elf()?)?, nodes(&b.elf()?)?);
        let needed = |object: &Object| -> BTreeSet<String> {
            object.facts.needed.iter().map(|name| name.display().to_string()).collect()
        };
        let soname =
            |object: &Object| object.facts.soname.as_ref().map(|name| name.display().to_string()).unwrap_or_default();
        let lost = beyond(&of_a, &of_b);
        let missing: BTreeSet<&String> = lost.iter().collect();
        let name = soname(a);
        let renamed = name != soname(b);
        // One file under several names is one user; A itself is none.
        let mut seen = BTreeSet::from([a.stat.id]);
        let mut count = 0;
        let mut broken = Vec::new();
        for user in users {
            let needs = user.facts.needed.iter().any(|needed| needed.to_str() == Some(&name));
            if name.is_empty() || !needs || !seen.insert(user.stat.id) {
                continue;
            }
            count += 1;
            let taken = symbols_by_provider(user).remove(&name).unwrap_or_default();
            let mut taken = taken.iter().map(|symbol| spelled(&symbol.name, symbol.node.as_deref()));
            match taken.find(|symbol| missing.contains(symbol)) {
                Some(symbol) => broken.push((user.path.clone(), Some(symbol))),
                None if renamed => broken.push((user.path.clone(), None)),
                None => {}
            }
        }
        Ok(Self {
            sonames: (soname(a) != soname(b)).then(|| (soname(a), soname(b))),
            users: count,
            broken,
            gained: beyond(&of_b, &of_a),
            nodes_gained: beyond(&nodes_b, &nodes_a),
            nodes_lost: beyond(&nodes_a, &nodes_b),
            needs_gained: beyond(&needed(b), &needed(a)),
            needs_lost: beyond(&needed(a), &needed(b)),
            lost,
        })
    }

    /// Whether B can replace A for every possible user.
    #[must_use]
    pub fn stands_in(&self) -> bool {
        self.sonames.is_none() && self.lost.is_empty() && self.nodes_lost.is_empty()
    }
}

fn beyond(more: &BTreeSet<String>, less: &BTreeSet<String>) -> Vec<String> {
    more.difference(less).cloned().collect()
}

fn defined(elf: &Elf<'_>) -> Result<BTreeSet<String>, ElfError> {
    let symbols = elf.definitions()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(symbols.iter().map(|symbol| spelled(&text(symbol.name), symbol.node.map(text).as_deref())).collect())
}

fn nodes(elf: &Elf<'_>) -> Result<BTreeSet<String>, ElfError> {
    let definitions = elf.version_definitions()?;
    Ok(definitions
        .iter()
        .filter(|node| !node.base)
        .map(|node| String::from_utf8_lossy(node.name).into_owned())
        .collect())
}

fn spelled(name: &str, node: Option<&str>) -> String {
    node.map_or_else(|| name.to_owned(), |node| format!("{name}@{node}"))
}
