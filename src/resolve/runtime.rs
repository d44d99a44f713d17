//! The GNU runtime libraries: they join the set only where the copy that ld.so finds does not define
//! a needed version node.

use crate::inventory::Inventory;
use crate::loader::Loader;
use crate::loader::Object;
use crate::target::{Closure, Requirement};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::Arc;

/// The libraries that may join: those that compilers ship, often several per machine.
pub(super) const SONAMES: [&str; 3] = ["libstdc++.so.6", "libgcc_s.so.1", "libgomp.so.1"];

/// A runtime library chosen over the one that ld.so finds.
pub(super) struct Runtime {
    pub(super) soname: String,
    pub(super) path: PathBuf,
    pub(super) object: Arc<Object>,
    pub(super) because: String,
    /// The copy that ld.so finds, if any, and the reason against it.
    pub(super) refused: Option<(PathBuf, String)>,
}

pub(super) fn choose(
    requirement: &Requirement,
    closure: &Closure<'_>,
    inventory: &Inventory,
    loader: &Loader,
) -> Vec<Runtime> {
    let mut needed: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for demand in &requirement.nodes {
        if SONAMES.contains(&demand.soname.as_str()) {
            needed.entry(&demand.soname).or_default().extend(demand.nodes.iter().map(String::as_str));
        }
    }
    let mut chosen = Vec::new();
    for (soname, nodes) in needed {
        let today = closure.map().by_name(OsStr::new(soname)).map(|mapped| Arc::clone(&mapped.object));
        let Some(missing) = today.as_ref().map_or(nodes.first().copied(), |object| first_undefined(object, &nodes))
        else {
            continue;
        };
        let mut dirs: Vec<PathBuf> = requirement.path.iter().map(|path| path.join("lib")).collect();
        dirs.extend(requirement.sites.iter().filter_map(|site| site.ancestors().nth(2)).map(PathBuf::from));
        dirs.extend(inventory.libraries.iter().map(|library| library.place.dir.clone()));
        dirs.extend(loader.cache().lookup(OsStr::new(soname)).and_then(|path| path.parent()).map(PathBuf::from));
        dirs.extend(loader.default_dirs().iter().cloned());
        let found = dirs.into_iter().map(|dir| dir.join(soname)).find_map(|path| {
            let object = loader.objects().open(&path).ok()?;
            first_undefined(&object, &nodes).is_none().then_some((path, object))
        });
        if let Some((path, object)) = found {
            let refused =
                today.map(|object| (object.path.clone(), format!("does not define the version node `{missing}`")));
            let because = format!("defines the version node `{missing}`, which is needed");
            chosen.push(Runtime { soname: soname.to_owned(), path, object, because, refused });
        } else {
            log::warn!("no copy of {soname} found that defines `{missing}`");
        }
    }
    chosen
}

/// The first of `nodes` that the object does not define.
fn first_undefined<'n>(object: &Object, nodes: &BTreeSet<&'n str>) -> Option<&'n str> {
    let defined = object.elf().and_then(|elf| elf.version_definitions()).unwrap_or_default();
    nodes.iter().copied().find(|node| !defined.iter().any(|definition| definition.name == node.as_bytes()))
}
