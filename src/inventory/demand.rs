//! The symbols that an object needs, by the library that each binds to.

use crate::loader::Object;
use crate::tables::{LibraryName, parse_library_name};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// A strong undefined symbol and its version node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Symbol {
    /// The name.
    pub name: String,
    /// The node; `None` where the object was linked against a library without nodes.
    pub node: Option<String>,
}

/// The symbols that an object needs from a soname.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SymbolDemand {
    /// The object.
    pub by: PathBuf,
    /// The soname.
    pub soname: String,
    /// The symbols, sorted.
    pub symbols: Vec<Symbol>,
}

/// The version nodes that an object needs of a soname outside NVIDIA's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeDemand {
    /// The object.
    pub by: PathBuf,
    /// The soname.
    pub soname: String,
    /// The nodes.
    pub nodes: Vec<String>,
}

/// The name if it is that of an NVIDIA library, not of a bundle's renamed copy.
pub(crate) fn family_name(name: &OsStr) -> Option<LibraryName<'_>> {
    parse_library_name(name).filter(|name| name.hash.is_none())
}

/// The strong undefined symbols of `object`, by the NVIDIA soname they bind to.
///
/// A versioned symbol names its provider (`vn_file`). An unversioned one can only come from a library without nodes: of
/// those needed, the one with its API prefix.
#[must_use]
pub fn symbols_by_provider(object: &Object) -> BTreeMap<String, Vec<Symbol>> {
    let needed = families_needed(object);
    let mut found: BTreeMap<String, Vec<Symbol>> = BTreeMap::new();
    if needed.is_empty() {
        return found;
    }
    let undefined = object.elf().and_then(|elf| elf.undefined()).unwrap_or_else(|error| {
        log::warn!("cannot read the undefined symbols of {}: {error}", object.path.display());
        Vec::new()
    });
    for symbol in undefined.iter().filter(|symbol| !symbol.weak) {
        let (soname, node) = if let Some(version) = symbol.version {
            let Some((soname, _)) = needed.iter().find(|(soname, _)| soname.as_bytes() == version.file) else {
                continue;
            };
            (*soname, Some(String::from_utf8_lossy(version.node).into_owned()))
        } else {
            let Some(soname) = by_prefix(&needed, symbol.name) else { continue };
            (soname, None)
        };
        let name = String::from_utf8_lossy(symbol.name).into_owned();
        found.entry(soname.to_owned()).or_default().push(Symbol { name, node });
    }
    for symbols in found.values_mut() {
        symbols.sort();
        symbols.dedup();
    }
    found
}

/// The provider of an unversioned symbol: one of the libraries without nodes that `object` needs.
pub(crate) fn unversioned_provider<'o>(object: &'o Object, symbol: &[u8]) -> Option<&'o str> {
    by_prefix(&families_needed(object), symbol)
}

fn families_needed(object: &Object) -> Vec<(&str, LibraryName<'_>)> {
    object.facts.needed.iter().filter_map(|name| Some((name.to_str()?, family_name(name)?))).collect()
}

/// The longest API prefix of a symbol.
fn by_prefix<'o>(needed: &[(&'o str, LibraryName<'o>)], symbol: &[u8]) -> Option<&'o str> {
    let prefix_of = |name: &LibraryName<'_>| {
        name.row.prefix.filter(|prefix| name.row.nodes != Some(true) && symbol.starts_with(prefix.as_bytes()))
    };
    needed.iter().filter_map(|(soname, name)| Some((prefix_of(name)?.len(), *soname))).max().map(|(_, soname)| soname)
}

/// The version nodes `object` needs of the GNU runtime libraries, by soname.
#[must_use]
pub fn nodes_needed(object: &Object) -> BTreeMap<String, Vec<String>> {
    let needs = object.elf().and_then(|elf| elf.version_needs()).unwrap_or_default();
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for need in needs {
        let file = String::from_utf8_lossy(need.file).into_owned();
        if parse_library_name(OsStr::from_bytes(need.file)).is_some() {
            continue;
        }
        let nodes = need
            .versions
            .iter()
            .filter(|version| !version.weak)
            .map(|version| String::from_utf8_lossy(version.name).into_owned());
        found.entry(file).or_default().extend(nodes);
    }
    found
}
