//! Plans of users, compiled once for this machine and kept as answers are.
//!
//! Takes the bytes of a plan or lock, and who it is handed to; gives the image that was compiled of it, as long as the
//! directories of its libraries, its programs and the version of its torch are unchanged. A library that was overwritten in its
//! place is not seen here: the shim looks at each when it hands it out. A thousand ranks ask one file system.

use super::answer::{Answer, Found};
use super::files::Known;
use super::key::Key;
use super::{Cached, Handed, PlanCache};
use crate::host::Host;
use crate::launch::Target;
use crate::plan::Plan;
use crate::python::Command;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The name of a question about a plan.
#[derive(Debug, Clone)]
pub struct PlanKey(String);

impl PlanCache {
    /// The question that the bytes of a plan are for whoever a command starts.
    #[must_use]
    pub fn plan_key(host: &Host, bytes: &[u8], command: Option<&Command>, places: &[PathBuf], force: bool) -> PlanKey {
        let mut key = Key::of_programs(host, command.map(|command| command.program.clone()));
        key.add("plan", OsStr::from_bytes(bytes));
        key.add("force", OsStr::new(if force { "yes" } else { "no" }));
        for place in places {
            key.add("place", host.absolute(place).as_os_str());
        }
        if let Some(command) = command {
            key.add("command", command.program.as_os_str());
            key.add("python", OsStr::new(&format!("{:?}", command.python)));
        }
        PlanKey(key.digest())
    }

    /// The image of a plan that was compiled before, with its notes.
    #[must_use]
    pub fn compiled_before(&self, host: &Host, key: &PlanKey) -> Option<Cached> {
        let answer = self.lookup(host, &key.0)?;
        matches!(answer.found, Found::Image(_))
            .then(|| self.cached(answer))
            .filter(|it| matches!(it.handed, Handed::Plan(_)))
    }

    /// Keeps the image of a plan with its notes.
    pub fn keep_compiled(
        &self,
        host: &Host,
        key: &PlanKey,
        plan: &Plan,
        image: &Path,
        target: Target,
        notes: Vec<String>,
    ) {
        let host = host.anew();
        for place in directories(plan).into_iter().chain(plan.programs.iter().map(PathBuf::as_path)) {
            let _ = host.stat(place);
        }
        for torch in plan.made_for.iter().filter(|made| made.kind == "torch") {
            let _ = torch.path.as_ref().map(|dir| host.stat(&dir.join("version.py")));
        }
        let names = [image.to_owned(), image.with_extension("plan")];
        let names = names.iter().filter_map(|path| path.file_name()?.to_str());
        let files: Vec<Known> = names.filter_map(|name| Known::find(&self.dir, name)).collect();
        if let (Some(name), 2) = (image.file_name().and_then(OsStr::to_str), files.len()) {
            let found = Found::Image(name.to_owned());
            let answer = Answer { found, target, warnings: notes, stops: Vec::new(), files };
            self.keep(&host, &key.0, &answer, &host.stamps());
        }
    }
}

/// The directories of the plan's libraries: another file in one changes its time.
fn directories(plan: &Plan) -> BTreeSet<&Path> {
    plan.libraries
        .iter()
        .filter(|library| plan.is_its_own(library))
        .filter_map(|library| library.path.parent())
        .collect()
}
