//! The link map of a running process: observed, not predicted.

use super::{LinkMap, Object, Rule};
use crate::host::FileId;
use std::path::PathBuf;
use std::sync::Arc;

impl LinkMap<'_> {
    /// The index of an object in [`LinkMap::objects`], by its file.
    #[must_use]
    pub fn by_file(&self, id: FileId) -> Option<usize> {
        self.objects.iter().position(|mapped| mapped.object.stat.id == id)
    }

    /// Takes the mapped objects of a process, the program first; resolves what they need among them, without a search.
    pub fn adopt(&mut self, mapped: impl IntoIterator<Item = (PathBuf, Arc<Object>)>) {
        self.interpreter = None;
        for (path, object) in mapped {
            let name = path.clone().into_os_string();
            let index = self.add(path, object, Rule::Mapped, None, self.program.is_some().then_some(name.as_os_str()));
            self.program.get_or_insert(index);
        }
        for index in 0..self.objects.len() {
            let needed = self.objects.get(index).map(|mapped| mapped.object.facts.needed.clone()).unwrap_or_default();
            let found: Vec<usize> = needed.iter().filter_map(|name| self.names.of(name)).collect();
            for needed in &found {
                // Needs may be circular; loaders must not be.
                let loaders = std::iter::successors(Some(index), |at| self.objects.get(*at).and_then(|it| it.loader));
                let above = loaders.take(self.objects.len()).any(|above| above == *needed);
                if let Some(needed) = self.objects.get_mut(*needed).filter(|_| !above && Some(*needed) != self.program)
                {
                    needed.loader.get_or_insert(index);
                }
            }
            if let Some(mapped) = self.objects.get_mut(index) {
                mapped.led_to = Some(found.iter().map(|needed| (*needed, false)).collect());
                mapped.needed = found;
            }
        }
    }
}
