//! A chosen set as a plan: order, aliases, replaced paths, triggers, and what is kept to spare ld.so its
//! search.

use super::problem::Member;
use super::runtime::Runtime;
use super::{Choice, Refused, Resolution};
use crate::consumer::{Closure, Requirement};
use crate::driver::Chosen;
use crate::facts::parse_library_name;
use crate::inventory::{Inventory, Library};
use crate::loader::Mapped;
use crate::objects::Object;
use crate::plan::{How, Plan, PlanFor, PlanLibrary};
use crate::solve::Unserved;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// What a needed name leads to in the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Node {
    /// A chosen library, by its index.
    Member(usize),
    /// An object left where ld.so finds it, by its index in the link map.
    Kept(usize),
}

struct Assembly<'a> {
    closure: &'a Closure<'a>,
    members: Vec<(Choice, &'a Object)>,
    by_soname: BTreeMap<String, usize>,
}

pub(super) fn resolution(
    requirement: &Requirement,
    closure: &Closure<'_>,
    inventory: &Inventory,
    members: Vec<Member<'_>>,
    driver: &Chosen<'_>,
    runtime: &[Runtime],
    unserved: &[Unserved],
) -> Resolution {
    let mut chosen: Vec<(Choice, &Object, Option<&Library>)> = Vec::new();
    for member in members {
        if let Some(object) = &member.library.object {
            chosen.push((member.choice, object, Some(member.library)));
        }
    }
    for library in &driver.libraries {
        if let Some(object) = &library.object {
            chosen.push((driver_choice(library, &driver.because), object, Some(library)));
        }
    }
    for library in runtime {
        let choice = Choice {
            soname: library.soname.clone(),
            path: library.path.clone(),
            version: None,
            how: How::Preload,
            because: library.because.clone(),
            refused: library
                .refused
                .iter()
                .map(|(path, because)| Refused { path: path.clone(), version: None, because: because.clone() })
                .collect(),
        };
        chosen.push((choice, &library.object, None));
    }
    chosen.sort_by(|a, b| a.0.soname.cmp(&b.0.soname));
    chosen.dedup_by(|a, b| a.0.soname == b.0.soname);
    let libraries: Vec<Option<&Library>> = chosen.iter().map(|(_, _, library)| *library).collect();
    let members: Vec<(Choice, &Object)> = chosen.into_iter().map(|(choice, object, _)| (choice, object)).collect();
    let by_soname = members.iter().enumerate().map(|(index, (choice, _))| (choice.soname.clone(), index)).collect();
    let mut assembly = Assembly { closure, members, by_soname };
    assembly.mark_preloads();

    let mut plan = Plan {
        made_for: vec![PlanFor {
            kind: requirement.kind.to_string(),
            text: requirement.text.clone(),
            path: requirement.path.clone(),
        }],
        programs: requirement.programs.clone(),
        objects: proven_objects(closure, requirement),
        ..Plan::default()
    };
    assembly.add_libraries(&mut plan);
    assembly.add_aliases(&mut plan, &libraries);
    assembly.add_replaces(&mut plan, requirement, inventory);
    assembly.add_triggers(&mut plan);
    let mut set: Vec<Choice> = Vec::new();
    for library in plan.chosen() {
        if let Some((choice, _)) =
            assembly.by_soname.get(&library.soname).and_then(|index| assembly.members.get(*index))
        {
            set.push(choice.clone());
        }
    }
    let bundles = assembly.bundles(&plan);
    let renamed = assembly.renamed(&plan);
    let unserved = unserved.iter().map(|unserved| (unserved.soname.clone(), unserved.to_string())).collect();
    Resolution { plan, set, bundles, renamed, unserved, torn: Vec::new() }
}

/// The objects that the set is chosen for: the consumer's own, and what opens libraries by name for it.
fn proven_objects(closure: &Closure<'_>, requirement: &Requirement) -> Vec<PathBuf> {
    let own = closure.own().into_iter().map(|(_, mapped)| mapped.path.as_path());
    let all = own.chain(requirement.openers.iter().map(PathBuf::as_path)).filter(|path| path.is_absolute());
    let objects: BTreeSet<&Path> = all.collect();
    objects.into_iter().map(Path::to_owned).collect()
}

fn driver_choice(library: &Library, because: &str) -> Choice {
    Choice {
        soname: library.asked_as().to_owned(),
        path: library.path.clone(),
        version: library.version.as_ref().map(ToString::to_string),
        how: How::Redirect,
        because: because.to_owned(),
        refused: Vec::new(),
    }
}

impl Assembly<'_> {
    fn object(&self, node: Node) -> Option<&Object> {
        match node {
            Node::Member(index) => self.members.get(index).map(|(_, object)| *object),
            Node::Kept(index) => self.mapped(index).map(|mapped| &*mapped.object),
        }
    }

    fn mapped(&self, index: usize) -> Option<&Mapped> {
        self.closure.map().objects().get(index)
    }

    fn soname(&self, node: Node) -> Option<&str> {
        match node {
            Node::Member(index) => self.members.get(index).map(|(choice, _)| choice.soname.as_str()),
            // As it is asked for: the needed entries of a bundle are renamed more often than its sonames.
            Node::Kept(index) => {
                self.mapped(index)?.names.iter().find_map(|name| name.to_str().filter(|name| !name.contains('/')))
            }
        }
    }

    /// What a needed name leads to; `None` for what is mapped from the start, what nobody finds, and
    /// libraries of NVIDIA's that are not in the set.
    fn node(&self, name: &OsStr) -> Option<Node> {
        if let Some(index) = name.to_str().and_then(|name| self.by_soname.get(name)) {
            return Some(Node::Member(*index));
        }
        if parse_library_name(name).is_some_and(|name| name.hash.is_none()) {
            return None;
        }
        let objects = self.closure.map().objects();
        let index = objects.iter().position(|mapped| mapped.names.iter().any(|known| known == name))?;
        let kept = objects.get(index)?;
        // A path that is not absolute (an empty LD_LIBRARY_PATH element) holds in one directory only.
        (!self.closure.at_startup(index) && kept.path.is_absolute()).then_some(Node::Kept(index))
    }

    fn children(&self, node: Node) -> Vec<Node> {
        self.object(node).map(|object| self.needed_nodes(object)).unwrap_or_default()
    }

    fn needed_nodes(&self, object: &Object) -> Vec<Node> {
        object.facts.needed.iter().filter_map(|name| self.node(name)).collect()
    }

    /// Everything below `start`, each after what it needs itself.
    fn below(&self, start: &[Node]) -> Vec<Node> {
        let mut done = Vec::new();
        let mut seen = BTreeSet::new();
        // Depth first with an explicit stack: needed entries may form cycles and long chains.
        let mut stack: Vec<(Node, bool)> = start.iter().rev().map(|node| (*node, false)).collect();
        while let Some((node, expanded)) = stack.pop() {
            if expanded {
                done.push(node);
            } else if seen.insert(node) {
                stack.push((node, true));
                stack.extend(self.children(node).into_iter().rev().map(|child| (child, false)));
            }
        }
        done
    }

    fn roots(&self) -> Vec<(usize, &Mapped)> {
        self.closure.own()
    }

    /// A member that something needs must be mapped before that is loaded.
    fn mark_preloads(&mut self) {
        let mut needed = BTreeSet::new();
        let own: Vec<&Object> = self.roots().into_iter().map(|(_, mapped)| &*mapped.object).collect();
        for object in own.into_iter().chain(self.members.iter().map(|(_, object)| *object)) {
            needed.extend(object.facts.needed.iter().filter_map(|name| match self.node(name) {
                Some(Node::Member(index)) => Some(index),
                _ => None,
            }));
        }
        for index in needed {
            if let Some((choice, _)) = self.members.get_mut(index) {
                choice.how = How::Preload;
            }
        }
    }

    /// All libraries of the plan, each after what it needs.
    fn add_libraries(&self, plan: &mut Plan) {
        let mut start: Vec<Node> = Vec::new();
        for (_, mapped) in self.roots() {
            start.extend(mapped.object.facts.needed.iter().filter_map(|name| self.node(name)));
        }
        start.extend((0..self.members.len()).map(Node::Member));
        let mut named = BTreeSet::new();
        for node in self.below(&start) {
            let (Some(soname), Some(object)) = (self.soname(node), self.object(node)) else { continue };
            if !named.insert(soname.to_owned()) {
                continue;
            }
            let identity = object.facts.build_id.as_ref().map(|id| format!("build-id:{id}"));
            let (path, version, how) = match node {
                Node::Member(index) => {
                    let Some((choice, _)) = self.members.get(index) else { continue };
                    (choice.path.clone(), choice.version.clone(), choice.how)
                }
                Node::Kept(index) => {
                    let Some(mapped) = self.mapped(index) else { continue };
                    (mapped.path.clone(), None, How::Keep)
                }
            };
            let file = object.stat;
            plan.libraries.push(PlanLibrary {
                soname: soname.to_owned(),
                path,
                id: file.id,
                size: file.size,
                mtime: file.mtime,
                identity,
                version,
                how,
            });
        }
    }

    /// `libnvrtc.so` for libnvrtc.so.12; `libcudnn_ops.so.9.10.2` and `libcudnn_ops.so.9.10`, which cuDNN 9 asks for first,
    /// for `libcudnn_ops.so.9`.
    fn add_aliases(&self, plan: &mut Plan, libraries: &[Option<&Library>]) {
        let mut aliases = BTreeMap::new();
        for ((choice, _), library) in self.members.iter().zip(libraries) {
            let Some(library) = library else { continue };
            let row = library.row;
            let stem = row.bare_name();
            if row.group == Some("cudnn")
                && let Some(version) = &library.version
            {
                for count in 2..=3 {
                    let digits: Vec<String> = version.numbers().iter().take(count).map(u64::to_string).collect();
                    aliases.insert(format!("{stem}.{}", digits.join(".")), choice.soname.clone());
                }
            }
            aliases.insert(stem, choice.soname.clone());
        }
        aliases.retain(|name, soname| name != soname && !self.by_soname.contains_key(name));
        plan.aliases = aliases.into_iter().collect();
    }

    /// Other copies in the consumer's own directories, which its own code opens by path.
    fn add_replaces(&self, plan: &mut Plan, requirement: &Requirement, inventory: &Inventory) {
        for library in &inventory.libraries {
            let soname = library.asked_as();
            let Some((choice, object)) = self.by_soname.get(soname).and_then(|index| self.members.get(*index)) else {
                continue;
            };
            if library.renamed.is_none()
                && requirement.sites.contains(&library.place.root)
                && library.stat.id != object.stat.id
            {
                let paths = library.names.iter().map(|name| library.place.dir.join(name)).chain([library.path.clone()]);
                plan.replaces.extend(paths.map(|path| (path, choice.soname.clone())));
            }
        }
        plan.replaces.sort();
    }

    fn add_triggers(&self, plan: &mut Plan) {
        let held: BTreeSet<&str> = plan.libraries.iter().map(|library| library.soname.as_str()).collect();
        let mut triggers: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut add = |name: &str, object: &Object| {
            let start: Vec<Node> = object.facts.needed.iter().filter_map(|name| self.node(name)).collect();
            let below: Vec<String> = self
                .below(&start)
                .into_iter()
                .filter_map(|node| self.soname(node))
                .filter(|soname| *soname != name && held.contains(soname))
                .map(str::to_owned)
                .collect();
            if !below.is_empty() {
                triggers.insert(name.to_owned(), below);
            }
        };
        for (_, mapped) in self.roots() {
            if let Some(name) = mapped.object.name().to_str() {
                add(name, &mapped.object);
            }
        }
        for library in &plan.libraries {
            let object = match self.by_soname.get(&library.soname) {
                Some(index) => self.members.get(*index).map(|(_, object)| *object),
                None => self.closure.map().by_name(OsStr::new(&library.soname)).map(|mapped| &*mapped.object),
            };
            if let Some(object) = object {
                add(&library.soname, object);
            }
        }
        plan.triggers = triggers.into_iter().collect();
    }

    /// Libraries that are needed by another name than their soname: mapped by path, they would not be found again.
    fn renamed(&self, plan: &Plan) -> Vec<String> {
        let kept = plan.libraries.iter().filter(|library| library.how == How::Keep);
        let other = |name: &str| {
            let mapped = self.closure.map().by_name(OsStr::new(name));
            mapped.is_some_and(|mapped| mapped.object.facts.soname.as_deref() != Some(OsStr::new(name)))
        };
        kept.map(|library| &library.soname).filter(|name| other(name)).cloned().collect()
    }

    /// What the consumer's own roots need, when that is a library left where it is: it and all below it, breadth
    /// first as `_dl_map_object_deps` goes, so that symbols are looked up in the order they would be without us.
    fn bundles(&self, plan: &Plan) -> Vec<(String, Vec<String>)> {
        let held: BTreeSet<&str> = plan.libraries.iter().map(|library| library.soname.as_str()).collect();
        let roots = self.closure.roots().iter().filter_map(|index| self.mapped(*index));
        let mut starts = BTreeSet::new();
        for mapped in roots {
            starts.extend(self.needed_nodes(&mapped.object).into_iter().filter(|node| matches!(node, Node::Kept(_))));
        }
        let mut bundles = BTreeMap::new();
        for start in starts {
            let mut order = vec![start];
            let mut at = 0;
            while let Some(node) = order.get(at).copied() {
                at += 1;
                for child in self.children(node) {
                    if !order.contains(&child) {
                        order.push(child);
                    }
                }
            }
            let names: Vec<String> = order
                .iter()
                .filter_map(|node| self.soname(*node))
                .filter(|name| held.contains(name))
                .map(str::to_owned)
                .collect();
            if let Some(name) =
                self.soname(start).filter(|name| plan.triggers.iter().any(|(trigger, _)| trigger == name))
            {
                bundles.insert(name.to_owned(), names);
            }
        }
        bundles.into_iter().collect()
    }
}
