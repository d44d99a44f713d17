//! What the commands share: the machine, the request of the arguments, the cache directory and the objects in it.
//!
//! Takes the arguments, or a machine; gives each part on first use. Prints nothing but notes.

use super::args::{ChoiceArgs, Cli};
use super::failure::{Failure, Result, bail};
use super::output;
use crate::host::{Host, Kind, write_target};
use crate::launch::probe::Prober;
use crate::launch::shim;
use crate::launch::stage::Stages;
use crate::machine::{Machine, PlanCache, Request};
use crate::plan::Plan;
use crate::resolve::Policy;
use once_cell::unsync::OnceCell;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// The machine, and the cache directory of this program.
pub(super) struct Context {
    host: Host,
    cache_dir: OnceCell<PathBuf>,
}

impl Context {
    /// The context of the command line: this machine, or the image of `--root`.
    pub(super) fn new(cli: &Cli) -> Self {
        let host = Host::current();
        Self::of(match &cli.root {
            Some(root) => Host::new(host.absolute(root), host.environment().clone(), "/".into()),
            None => host,
        })
    }

    /// The context of a machine.
    pub(super) fn of(host: Host) -> Self {
        Self { host, cache_dir: OnceCell::new() }
    }

    /// The machine, as files and environment.
    pub(super) fn host(&self) -> &Host {
        &self.host
    }

    /// The directory of a checkout, the working directory; the files of an image are in none.
    pub(super) fn checkout(&self) -> &Path {
        if self.host.is_live() { self.host.cwd() } else { self.host.root() }
    }

    /// The machine, with nothing computed yet.
    pub(super) fn machine(&self) -> Machine {
        Machine::new(self.host.clone(), Request::default())
    }

    /// The directory for files that can be made again.
    pub(super) fn cache_dir(&self) -> Result<&Path> {
        let dir = || shim::own_cache_dir(|name| self.host.env(name).map(OsString::from));
        Ok(self.cache_dir.get_or_try_init(dir)?)
    }

    /// The cache of answers.
    pub(super) fn cache(&self) -> Result<PlanCache> {
        Ok(PlanCache::open(self.cache_dir()?)?)
    }

    /// The shim on disk, with this program's path in it so that it can request a plan.
    pub(super) fn shim(&self) -> Result<PathBuf> {
        Ok(shim::install(self.cache_dir()?, std::env::current_exe().ok().as_deref())?)
    }

    /// The tracer on disk, with the same path in it.
    pub(super) fn tracer(&self) -> Result<PathBuf> {
        Ok(shim::install_tracer(self.cache_dir()?, std::env::current_exe().ok().as_deref())?)
    }

    /// The image that hands out copies on a disk of this node, where those of another image are staged and unchanged.
    pub(super) fn staged(&self, image: &Path) -> Option<PathBuf> {
        let stages = Stages::of(&self.host, None);
        let copies_image = stages.image(image)?;
        let plan = Plan::read(&copies_image.with_extension("plan")).ok()?;
        let mut copies = plan.libraries.iter().filter(|library| library.path.starts_with(stages.dir()));
        if let Some(copy) = copies.find(|library| library.drift(&self.host).is_some()) {
            output::note(&format!(
                "`{}` has changed since it was copied: no copy is used; run `cudashim stage`",
                copy.path.display()
            ));
            return None;
        }
        log::info!("{}: copies are staged", copies_image.display());
        Some(copies_image)
    }

    /// The probe, which calls version functions of libraries.
    pub(super) fn prober(&self) -> Result<Prober> {
        Ok(Prober::new(self.cache_dir()?)?)
    }

    /// The request of the arguments.
    pub(super) fn request(&self, args: &ChoiceArgs, target: Option<&Path>, command: &[OsString]) -> Result<Request> {
        let host = &self.host;
        let forbidden = args.forbidden.iter().map(|path| ("--forbid", path, false));
        for (option, path, is_dir) in args.places.iter().map(|path| ("--place", path, true)).chain(forbidden) {
            self.require_path(option, path, is_dir)?;
        }
        let listed = std::env::split_paths(host.env("CUDASHIM_PLACE").unwrap_or_default());
        for dir in listed.filter(|dir| !dir.as_os_str().is_empty() && !host.is_dir(&host.absolute(dir))) {
            output::note(&format!("CUDASHIM_PLACE names `{}`, which is not a directory", dir.display()));
        }
        let mut request = Request {
            spec: args.who.torch.clone(),
            python: args.who.python.clone(),
            files: args.files.clone(),
            places: args.places.clone(),
            policy: Policy {
                fixed: args.fixed.iter().map(|(soname, path)| (soname.clone(), host.absolute(path))).collect(),
                forbidden: args.forbidden.iter().map(|path| host.absolute(path)).collect(),
                explain: false,
            },
            command: command.to_vec(),
        };
        match target {
            Some(target) if self.is_object(target) => request.files = vec![target.to_owned()],
            Some(target) => request.python = Some(target.to_owned()),
            None => {}
        }
        Ok(request)
    }

    /// Whether a word names a program or library as the target, not a Python.
    fn is_object(&self, word: &Path) -> bool {
        let name = word.file_name().unwrap_or_default().as_encoded_bytes();
        let is_elf = || self.host.read_start(&self.host.absolute(word), 4).is_ok_and(|start| start == b"\x7fELF");
        !name.starts_with(b"python") && !name.starts_with(b"pypy") && is_elf()
    }

    /// Fails if the path of an option is missing.
    fn require_path(&self, option: &str, path: &Path, is_dir: bool) -> Result<()> {
        match self.host.stat(&self.host.absolute(path)) {
            Ok(stat) if is_dir && stat.kind != Kind::Directory => {
                Err(Failure::new(format!("cannot search `{}`: not a directory", path.display()))
                    .hint(format!("`{option}` takes a directory; `--use SONAME=PATH` takes a file")))
            }
            Ok(_) => Ok(()),
            Err(error) => Err(Failure::new(format!("cannot use `{option} {}`: {}", path.display(), reason(&error)))
                .hint(format!("check the path, or leave `{option}` out"))),
        }
    }
}

/// The system's message, without its number.
pub(super) fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

/// The path to write a user's file to, on this machine even with `--root`: symbolic links are followed, and only a
/// regular file is replaced.
pub(super) fn kept_file(file: &Path) -> Result<PathBuf> {
    let path = write_target(file)
        .map_err(|error| Failure::new(format!("cannot write `{}`: {}", file.display(), reason(&error))))?;
    match Host::current().stat(&path) {
        Ok(stat) if stat.kind != Kind::File => bail!("cannot write `{}`: not a regular file", file.display()),
        _ => Ok(path),
    }
}

/// The first word of a command, for a sentence.
pub(super) fn name_of(command: &[OsString]) -> String {
    command.first().map(|word| OsStr::display(word).to_string()).unwrap_or_default()
}
