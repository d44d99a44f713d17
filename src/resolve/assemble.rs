//! A chosen set as a plan: its order, aliases, replaced paths, and the libraries that stay where ld.so finds them,
//! listed for their needs and to save ld.so its search.

use super::problem::Member;
use super::runtime::Runtime;
use super::{Choice, Refused, Resolution};
use crate::driver::Chosen;
use crate::inventory::{Inventory, Library, built_for};
use crate::loader::Mapped;
use crate::loader::Object;
use crate::plan::{How, Plan, PlanFor, PlanLibrary};
use crate::resolve::solve::Solution;
use crate::tables::parse_library_name;
use crate::target::{Closure, Kind, Requirement};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// The object that a needed name resolves to in the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Node {
    /// A chosen library, by its index.
    Member(usize),
    /// An object that stays where ld.so finds it, by its index in the link map.
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
    solution: &Solution,
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
    assembly.add_aliases(&mut plan, &libraries, solution.major);
    assembly.add_replaces(&mut plan, requirement, inventory);
    let mut set: Vec<Choice> = Vec::new();
    for library in plan.chosen() {
        if let Some((choice, _)) =
            assembly.by_soname.get(&library.soname).and_then(|index| assembly.members.get(*index))
        {
            set.push(choice.clone());
        }
    }
    let unserved = solution.unserved.iter().map(|unserved| (unserved.soname.clone(), unserved.to_string())).collect();
    Resolution { plan, set, unserved, torn: Vec::new() }
}

/// The objects that the set is chosen for: the consumer's own, and those that open libraries by name for it.
fn proven_objects(closure: &Closure<'_>, requirement: &Requirement) -> Vec<PathBuf> {
    let own = closure.own().into_iter().map(|(_, mapped)| mapped.path.as_path());
    let all = own.chain(requirement.openers.iter().map(PathBuf::as_path)).filter(|path| path.is_absolute());
    let objects: BTreeSet<&Path> = all.collect();
    objects.into_iter().map(Path::to_owned).collect()
}

fn driver_choice(library: &Library, because: &str) -> Choice {
    Choice {
        soname: library.load_name().to_owned(),
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
            // The needed name, not the soname: bundlers rename needed entries more often than sonames.
            Node::Kept(index) => {
                let mapped = self.mapped(index)?;
                let bare = mapped.names.iter().find_map(|name| name.to_str().filter(|name| !name.contains('/')));
                bare.or_else(|| mapped.object.name().to_str())
            }
        }
    }

    /// The object that a needed name resolves to; `None` for one mapped at startup or not found, and for an NVIDIA
    /// library outside the set.
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
        // A relative path (an empty LD_LIBRARY_PATH element) is valid in one working directory only.
        (!self.closure.at_startup(index) && kept.path.is_absolute()).then_some(Node::Kept(index))
    }

    fn children(&self, node: Node) -> Vec<Node> {
        self.object(node).map(|object| self.needed_nodes(object)).unwrap_or_default()
    }

    fn needed_nodes(&self, object: &Object) -> Vec<Node> {
        object.facts.needed.iter().filter_map(|name| self.node(name)).collect()
    }

    /// All nodes below `start`, dependencies first.
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

    /// Marks members that others need: they must be mapped first.
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

    /// Whether a consumer's object may be opened by its bare name, and then needs a chosen library.
    fn needs_members(&self, index: usize, mapped: &Mapped) -> bool {
        let library = mapped.object.name().to_str().is_some_and(|name| name.starts_with("lib"));
        library
            && mapped.path.is_absolute()
            && !self.closure.at_startup(index)
            && self.below(&self.needed_nodes(&mapped.object)).iter().any(|node| matches!(node, Node::Member(_)))
    }

    /// Adds all libraries of the plan, dependencies first.
    fn add_libraries(&self, plan: &mut Plan) {
        let mut start: Vec<Node> = Vec::new();
        for (index, mapped) in self.roots() {
            if self.needs_members(index, mapped) {
                start.push(Node::Kept(index));
            }
            start.extend(self.needed_nodes(&mapped.object));
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

    /// `libnvrtc.so` for libnvrtc.so.12; `libcudnn_ops.so.9.10.2` and `libcudnn_ops.so.9.10`, which cuDNN 9 opens
    /// first, for `libcudnn_ops.so.9`.
    fn add_aliases(&self, plan: &mut Plan, libraries: &[Option<&Library>], major: Option<u32>) {
        let mut aliases = BTreeMap::new();
        let members =
            self.members.iter().zip(libraries).filter_map(|((choice, _), library)| Some((choice, (*library)?)));
        let mut members: Vec<(&Choice, &Library)> = members.collect();
        // Of two majors, a name without a version is of the first set.
        members.sort_by_key(|(_, library)| library.cuda.map(|(found, _)| Some(found) == major));
        for (choice, library) in members {
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

    /// Other copies in the consumer's directories, which its code opens by path. torch opens all wheels of a name when it
    /// starts, whatever their major, and what it maps is what its files find.
    fn add_replaces(&self, plan: &mut Plan, requirement: &Requirement, inventory: &Inventory) {
        for library in &inventory.libraries {
            let soname = library.load_name();
            let Some((choice, object)) = self.by_soname.get(soname).and_then(|index| self.members.get(*index)) else {
                continue;
            };
            if library.renamed.is_none()
                && requirement.sites.contains(&library.place.root)
                && library.stat.id != object.stat.id
                && (requirement.kind == Kind::Torch || is_of_one_major(library, object, inventory))
            {
                let paths = library.names.iter().map(|name| library.place.dir.join(name)).chain([library.path.clone()]);
                plan.replaces.extend(paths.map(|path| (path, choice.soname.clone())));
            }
        }
        plan.replaces.sort();
    }
}

/// Whether a copy is built for the same CUDA major as a chosen one, or either serves every major: a package that opens the
/// copy for its own major by path gets that.
fn is_of_one_major(copy: &Library, chosen: &Object, inventory: &Inventory) -> bool {
    let chosen = inventory.libraries.iter().find(|library| library.stat.id == chosen.stat.id);
    let majors = built_for(copy).zip(chosen.and_then(built_for));
    majors.is_none_or(|((one, _), (other, _))| one == other)
}
