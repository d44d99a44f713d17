//! A link map as a process really has it: given, not predicted.

use super::{LinkMap, Object, Rule};
use crate::host::FileId;
use std::path::PathBuf;
use std::sync::Arc;

impl LinkMap<'_> {
    /// The place of an object among [`LinkMap::objects`], by the file it is.
    #[must_use]
    pub fn by_file(&self, id: FileId) -> Option<usize> {
        self.objects.iter().position(|mapped| mapped.object.stat.id == id)
    }

    /// Takes objects as they are mapped in a process, the program first; what they need is looked for among them, and
    /// nothing is searched.
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
                // Who needs whom may run in a circle; who loaded whom may not.
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
