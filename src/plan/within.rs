//! The trust in the libraries of a lock: a lock comes with a repository, and so may the files that it names.
//!
//! Takes a foreign plan and its command; gives the plan without the libraries outside the command's environment, the
//! toolkits, the system's directories and the given places, and those by soname. Code of the environment runs anyway; a
//! library elsewhere counts only if no other user can write to it.

use crate::host::{Host, trusted_in_sandbox};
use crate::inventory::places;
use crate::loader::Objects;
use crate::loader::{LinkMap, Loader};
use crate::plan::Plan;
use crate::python::{Command, Interpreter};
use std::path::{Component, Path, PathBuf};

/// The plan with the libraries that the command may get; the others by soname, with a clause to follow the path.
#[must_use]
pub fn within(host: &Host, plan: Plan, command: Option<&Command>, given: &[PathBuf]) -> (Plan, Vec<(String, String)>) {
    let near = command.map(|command| prefixes(host, command)).unwrap_or_default();
    let mut far = None;
    let mut refused = Vec::new();
    let mut libraries = plan.libraries.clone();
    libraries.retain(|library| {
        if below(host, &near, &library.path) {
            return true;
        }
        // May start the interpreter, so only on demand.
        let far = far.get_or_insert_with(|| Far::of(host, command, given));
        let why = far.refuses(host, &library.path);
        refused.extend(why.clone().map(|why| (library.soname.clone(), why)));
        why.is_none()
    });
    (Plan { libraries, ..plan }, refused)
}

/// The library directories of the environments of a Python: by the path that starts it, and by its real path.
fn prefixes(host: &Host, command: &Command) -> Vec<PathBuf> {
    let real = host.canonical(&command.program).ok();
    let programs = std::iter::once(&command.program).chain(&real).filter(|_| command.python.is_some());
    let bins =
        programs.filter_map(|program| program.parent()).filter(|bin| bin.file_name().is_some_and(|n| n == "bin"));
    bins.filter_map(|bin| bin.parent()).map(|prefix| prefix.join("lib")).collect()
}

/// The other directories of a command's libraries.
struct Far {
    /// The import paths of the interpreter.
    sites: Vec<PathBuf>,
    /// Toolkits, the system, the given places, and the directories of a native program's libraries.
    machine: Vec<PathBuf>,
}

impl Far {
    fn of(host: &Host, command: Option<&Command>, given: &[PathBuf]) -> Self {
        let objects = Objects::new(host);
        let loader = Loader::new(&objects);
        let python = command.and_then(|command| Some((&command.program, command.python.as_ref()?)));
        let interpreter = python.and_then(|(program, options)| Interpreter::find(host, program, options).ok());
        let mut machine: Vec<PathBuf> = places::machine(host, &loader).into_iter().map(|place| place.root).collect();
        let listed = std::env::split_paths(host.env("CUDASHIM_PLACE").unwrap_or_default());
        let named = given.iter().cloned().chain(listed.filter(|dir| !dir.as_os_str().is_empty()));
        machine.extend(named.map(|dir| host.absolute(&dir)));
        if let Some(command) = command.filter(|command| command.python.is_none()) {
            machine.extend(linked(&loader, &command.program));
        }
        machine.retain(|dir| dir.is_absolute() && dir != Path::new("/"));
        Self { sites: interpreter.map(|interpreter| interpreter.paths).unwrap_or_default(), machine }
    }

    fn refuses(&self, host: &Host, path: &Path) -> Option<String> {
        if below(host, &self.sites, path) {
            return None;
        }
        if !below(host, &self.machine, path) {
            return Some("is outside the environment of the command".to_owned());
        }
        let why = trusted_in_sandbox(path).err().filter(|why| host.is_live() && !why.is_missing())?;
        Some(format!("others may change it: {why}"))
    }
}

/// The directories and the run paths of the objects that a program is linked with.
fn linked(loader: &Loader, program: &Path) -> Vec<PathBuf> {
    let mut map = LinkMap::new(loader);
    let _ = map.start(program);
    let dirs = map.objects().iter().flat_map(|mapped| {
        let own = mapped.path.parent().map(Path::to_owned);
        own.into_iter().chain(loader.run_path(&mapped.path, &mapped.object))
    });
    dirs.collect()
}

/// Whether a file is below one of the directories, by its path or with the links of its directory resolved. The target
/// of a link in such a directory counts as part of it.
fn below(host: &Host, dirs: &[PathBuf], path: &Path) -> bool {
    let plain = !path.components().any(|part| part == Component::ParentDir);
    let real = path.parent().and_then(|dir| host.canonical(dir).ok());
    dirs.iter().any(|dir| {
        plain && path.starts_with(dir)
            || real.as_ref().is_some_and(|real| host.canonical(dir).is_ok_and(|dir| real.starts_with(dir)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::FileId;
    use crate::plan::{How, PlanLibrary};
    use crate::python::Options;
    use std::collections::BTreeMap;
    use std::fs;
    use std::os::unix::fs::symlink;

    /// A cloned repository, and an environment beside it.
    fn world() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        for part in ["repo", "env/bin", "env/lib/python3.11/site-packages/nvidia", "toolkit"] {
            fs::create_dir_all(root.join(part)).unwrap();
        }
        fs::write(root.join("env/pyvenv.cfg"), "version = 3.11\n").unwrap();
        for file in ["repo/x.so", "env/bin/python", "toolkit/x.so", "env/lib/python3.11/site-packages/nvidia/x.so"] {
            fs::write(root.join(file), "").unwrap();
        }
        symlink(root.join("repo/x.so"), root.join("repo/link.so")).unwrap();
        symlink(root.join("env/lib"), root.join("repo/env")).unwrap();
        (dir, root)
    }

    /// The reason against a library at this path.
    fn why(root: &Path, path: &Path, given: &[PathBuf]) -> Option<String> {
        let host = Host::new("/".into(), BTreeMap::new(), root.join("repo"));
        let program = root.join("env/bin/python");
        let command = Command { file: program.clone(), program, python: Some(Options::default()) };
        let library = PlanLibrary {
            soname: "libcudart.so.12".into(),
            path: path.to_owned(),
            id: FileId { dev: 0, ino: 0 },
            size: 0,
            mtime: 0,
            identity: None,
            version: None,
            how: How::Redirect,
        };
        let plan = Plan { libraries: vec![library], ..Plan::default() };
        let (plan, refused) = within(&host, plan, Some(&command), given);
        assert_eq!(plan.libraries.len() + refused.len(), 1);
        refused.into_iter().next().map(|(_, why)| why)
    }

    #[test]
    fn a_file_of_the_repository_is_refused() {
        let (_dir, root) = world();
        for path in [
            root.join("repo/x.so"),
            root.join("repo/link.so"),
            root.join("env/lib/../../repo/x.so"),
            root.join("env/lib/python3.11/site-packages/../../../../repo/x.so"),
            root.join("repo/env/../x.so"),
            PathBuf::from("/proc/self/cwd/x.so"),
            root.join("toolkit/x.so"),
        ] {
            assert_eq!(
                why(&root, &path, &[]).as_deref(),
                Some("is outside the environment of the command"),
                "{path:?}"
            );
        }
    }

    #[test]
    fn libraries_of_the_command_are_accepted() {
        let (_dir, root) = world();
        let own = root.join("env/lib/python3.11/site-packages/nvidia");
        // An environment of links into a store, as uv makes them.
        symlink(root.join("toolkit/x.so"), own.join("link.so")).unwrap();
        for path in [own.join("x.so"), own.join("link.so"), root.join("repo/env/python3.11/site-packages/nvidia/x.so")]
        {
            assert_eq!(why(&root, &path, &[]), None, "{path:?}");
        }
        // A given place, unless others can write to it.
        let toolkit = root.join("toolkit");
        assert_eq!(why(&root, &toolkit.join("x.so"), std::slice::from_ref(&toolkit)), None);
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        fs::set_permissions(&toolkit, mode).unwrap();
        let says = why(&root, &toolkit.join("x.so"), &[toolkit]).unwrap();
        assert!(says.starts_with("others may change it: `"), "{says}");
    }
}
