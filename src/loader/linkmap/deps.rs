//! Maps needed objects and filters, breadth first, as `_dl_map_object_deps` (`elf/dl-deps.c`).
//!
//! Takes the roots of a stage; maps all they reach, and returns the search list. Stops where ld.so would.

use super::super::failure::Words;
use super::{LinkMap, Listed, Missing};
use crate::elf::Role;
use crate::loader::{Dependency, ObjectError};
use std::collections::BTreeSet;
use std::sync::Arc;

impl LinkMap<'_> {
    /// Follows the needed entries of `roots`; returns all they reach, breadth first, a filter's object before the
    /// filter.
    ///
    /// Libraries that filter each other are moved before each other without end: glibc keeps the list on its stack,
    /// and dies when that is full. The sign is that nothing new appears.
    pub(super) fn map_needed(&mut self, roots: &[usize]) -> Vec<usize> {
        let mut known = Known::default();
        for root in roots {
            known.append(*root);
        }
        let (mut at, mut again, mut moved) = (0, 0, (0, 0));
        while let Some(&(index, _)) = known.list.get(at) {
            if let Some((_, done)) = known.list.get_mut(at) {
                *done = true;
            }
            again = if known.walked(index) { again + 1 } else { 0 };
            if again > ROUNDS * known.list.len() {
                self.record_circle(moved.0, moved.1);
                break;
            }
            self.walk(index);
            let mut here = at;
            for (needed, is_filter) in self.dependencies(index) {
                if !is_filter {
                    known.append(needed);
                } else if known.put_before(here, needed) {
                    self.move_before(needed, index);
                    moved = (index, needed);
                    here += 1;
                }
            }
            while known.list.get(at).is_some_and(|(_, done)| *done) {
                at += 1;
            }
        }
        known.list.into_iter().map(|(index, _)| index).collect()
    }

    /// Records that the object at `by` filters the one at `of`, whose filters reach `by`.
    fn record_circle(&mut self, by: usize, of: usize) {
        let Some((by, of)) = self.objects.get(by).zip(self.objects.get(of)) else { return };
        let (needed_by, path) = (by.path.clone(), of.path.clone());
        let name = of.names.first().cloned().unwrap_or_else(|| path.clone().into_os_string());
        let words = Words::Killed(path.clone(), FILTER_CIRCLE.to_owned());
        let startup = self.is_starting();
        let unusable = Some((path, ObjectError::Refused(FILTER_CIRCLE)));
        self.missing.push(Missing { name, needed_by, unusable, words, startup });
    }

    /// The dependencies of the object at `index`, each with whether it is a filter's.
    fn dependencies(&self, index: usize) -> Vec<(usize, bool)> {
        self.objects.get(index).and_then(|mapped| mapped.led_to.clone()).unwrap_or_default()
    }

    fn move_before(&mut self, moved: usize, place: usize) {
        self.list.retain(|listed| *listed != Listed::Object(moved));
        let at = self.list.iter().position(|listed| *listed == Listed::Object(place)).unwrap_or(self.list.len());
        self.list.insert(at, Listed::Object(moved));
    }

    /// Maps what the object at `index` needs, unless an earlier `dlopen` did.
    fn walk(&mut self, index: usize) {
        let Some(mapped) = self.objects.get(index).filter(|mapped| mapped.led_to.is_none()) else { return };
        let (object, path) = (Arc::clone(&mapped.object), mapped.path.clone());
        // `__RTLD_DLOPEN` holds for all that a `dlopen` maps.
        let role = if self.is_starting() { Role::Library } else { Role::Opened };
        let mut found = Vec::with_capacity(object.facts.dependencies.len());
        for dependency in &object.facts.dependencies {
            let (Dependency::Needed(name) | Dependency::Filter(name) | Dependency::Auxiliary(name)) = dependency;
            let expanded = match self.expand(name, index) {
                Ok(Some(expanded)) => expanded,
                Ok(None) => continue,
                Err(failure) => {
                    self.miss(name, path.clone(), &failure);
                    continue;
                }
            };
            let handed = self.handed.get(&expanded).map(|file| file.clone().into_os_string());
            match self.find(handed.as_ref().unwrap_or(&expanded), Some(index), None, role) {
                Ok(needed) if handed.is_some() => {
                    // The object keeps the name: version needs refer to it.
                    self.names.add(&expanded, needed);
                    found.push((needed, false));
                }
                Ok(needed) => found.push((needed, !matches!(dependency, Dependency::Needed(_)))),
                // "We are not interested in the error message."
                Err(_) if matches!(dependency, Dependency::Auxiliary(_)) => {}
                Err(failure) => self.miss(&expanded, path.clone(), &failure),
            }
        }
        if let Some(mapped) = self.objects.get_mut(index) {
            mapped.needed = found.iter().map(|(needed, _)| *needed).collect();
            mapped.led_to = Some(found);
        }
    }
}

/// `struct list` of `elf/dl-deps.c`: the search list under construction, each object with whether it was visited.
#[derive(Default)]
struct Known {
    list: Vec<(usize, bool)>,
    /// `l_reserved`.
    seen: BTreeSet<usize>,
    /// Objects that were visited at least once.
    walked: BTreeSet<usize>,
}

impl Known {
    fn mark(&mut self, index: usize) -> bool {
        self.seen.insert(index)
    }

    /// Whether an object was visited before.
    fn walked(&mut self, index: usize) -> bool {
        !self.walked.insert(index)
    }

    fn append(&mut self, index: usize) {
        if self.mark(index) {
            self.list.push((index, false));
        }
    }

    /// Moves an object before its filter, unless it precedes it already.
    fn put_before(&mut self, place: usize, index: usize) -> bool {
        if !self.mark(index) {
            let later = self.list.iter().skip(place + 1).position(|(known, _)| *known == index);
            let Some(later) = later else { return false };
            self.list.remove(place + 1 + later);
        }
        self.list.insert(place.min(self.list.len()), (index, false));
        true
    }
}

/// The fault of a library that filters its own filter.
pub const FILTER_CIRCLE: &str = "its filters form a circle, which overflows ld.so's stack";
/// How many rounds over all objects, without a new one, count as a circle.
const ROUNDS: usize = 2;
