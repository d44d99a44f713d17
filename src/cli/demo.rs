//! `cudashim demo`: the whole story on tiny libraries, broken, explained, healed.
//!
//! Takes nothing but the objects that the build made; prints what really happened: ld.so's own words from a child
//! process, and the answers of the very functions behind `resolve` and `run`. Neither needs a GPU, nor a Python, nor a
//! library of NVIDIA's, and nothing stays behind.

mod machine;
mod page;

use super::answer::answer;
use super::args::{Cli, Command as Asked};
use super::context::Context;
use super::failure::{Failure, Result, bail};
use super::{output, resolve, run};
use crate::host::Hints;
use crate::python;
use crate::report::explanation_text;
use clap::Parser;
use machine::Machine;
use page::Page;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};

const SONAME: &str = "libnvJitLink.so.12";
/// What the toolkit's copy lacks, in ld.so's words.
const MISSING: &str = "undefined symbol: __nvJitLinkComplete_12_4";

const IMPORT: [&str; 3] = ["python", "-c", "import torch"];
const EXPLAIN: [&str; 4] = ["cudashim", "resolve", "--explain", SONAME];
const RUN: [&str; 6] = ["cudashim", "run", "--", "python", "-c", "import torch"];

/// Why the story cannot be told.
#[derive(Debug, thiserror::Error)]
pub(super) enum DemoError {
    /// The program was built for a target without glibc, or one that `demo/` has no names for.
    #[error("cannot run the demo: this build carries no libraries for it")]
    Unsupported,
    /// Nothing below the temporary directory can be run.
    #[error("cannot run programs in `{}`: its file system is mounted noexec", path.display())]
    NoExec {
        /// The temporary directory.
        path: PathBuf,
    },
    /// The path cannot stand in the loader's variables.
    #[error("cannot use `{}` in LD_LIBRARY_PATH and LD_PRELOAD: path contains `{character}`", path.display())]
    Unspeakable {
        /// The temporary directory.
        path: PathBuf,
        /// The first character that ld.so would take for something else.
        character: char,
    },
    /// A file of the demo cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The stand-in for Python cannot be run.
    #[error("cannot start the demo's `python`")]
    Start {
        /// What the system said.
        source: io::Error,
    },
    /// The directory of the demo is still there.
    #[error("cannot remove `{}`", path.display())]
    Remove {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Hints for DemoError {
    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::Unsupported => Some("build cudashim for x86_64-unknown-linux-gnu or aarch64-unknown-linux-gnu"),
            Self::NoExec { .. } => Some("set `TMPDIR` to a directory on a file system that may hold programs"),
            Self::Unspeakable { .. } => {
                Some("set `TMPDIR` to a directory without spaces, colons, semicolons or `$` in its path")
            }
            Self::Write { .. } => Some("set `TMPDIR` to a directory that can be written"),
            // The file is there, we wrote it: it is the loader named in it that is missing.
            Self::Start { source } if source.kind() == io::ErrorKind::NotFound => {
                Some("run the demo on a machine with glibc")
            }
            Self::Start { .. } | Self::Remove { .. } => None,
        };
        hint.map(ToOwned::to_owned).into_iter().collect()
    }
}

pub(super) fn demo() -> Result<ExitCode> {
    let machine = Machine::new()?;
    let told = Story::new(&machine, io::stdout().lock()).tell();
    machine.remove()?;
    Ok(match told? {
        None => ExitCode::SUCCESS,
        Some(otherwise) => {
            output::note(&format!("{otherwise}: this is not what the demo was to show"));
            ExitCode::from(1)
        }
    })
}

/// The story, told as it happens.
struct Story<'m, W> {
    context: Context,
    page: Page<W>,
    dir: &'m Path,
}

impl<'m, W: Write> Story<'m, W> {
    fn new(machine: &'m Machine, out: W) -> Self {
        Self { context: Context::of(machine.host()), page: Page::new(machine, out), dir: machine.dir() }
    }

    /// Tells it; gives what went otherwise, if anything did.
    fn tell(&mut self) -> Result<Option<&'static str>> {
        self.page.heading("Tiny libraries stand for a venv with torch 2.5.1+cu124 and for a CUDA 12.1 toolkit:")?;
        self.page.legend()?;
        if !self.breaks()? {
            return Ok(Some("step 1: the import did not fail by the symbol that the toolkit's copy lacks"));
        }
        let chosen = match self.is_explained() {
            Ok(chosen) => chosen,
            Err(error) => return otherwise(error, "step 2: nothing was chosen"),
        };
        match self.is_healed(&chosen) {
            Ok(true) => {}
            Ok(false) => return Ok(Some("step 3: the import did not map the chosen copy, and only that")),
            Err(error) => return otherwise(error, "step 3: there was nothing to run"),
        }
        self.page.heading("\nOn your own machine: cudashim run -- python train.py")?;
        Ok(None)
    }

    /// What ld.so does by itself.
    fn breaks(&mut self) -> Result<bool> {
        self.page.heading("\n1. It breaks: LD_LIBRARY_PATH names the toolkit, as many a shell profile does")?;
        let variable = "LD_LIBRARY_PATH";
        self.page.command(self.context.host().env(variable).map(|value| (variable, value)), &IMPORT)?;
        let [name, arguments @ ..] = IMPORT;
        let file = python::find_on_path(self.context.host(), OsStr::new(name))
            .ok_or(DemoError::Start { source: io::ErrorKind::NotFound.into() })?;
        let mut command = Command::new(file);
        command.arg0(name).args(arguments).env_clear().envs(self.context.host().environment());
        let output = self.finish(command)?;
        Ok(output.status.code() == Some(1) && self.said(&output)?.contains(MISSING))
    }

    /// Which copy is chosen, and why not the other. Gives the chosen one.
    fn is_explained(&mut self) -> Result<PathBuf> {
        self.page.heading(
            "\n2. It is explained, under the same LD_LIBRARY_PATH, which is looked into like any other place",
        )?;
        self.page.command(None, &EXPLAIN)?;
        let Some(Asked::Resolve(args)) = Cli::try_parse_from(EXPLAIN).ok().map(|cli| cli.command) else {
            bail!("cannot parse `{}`", EXPLAIN.join(" "))
        };
        let mut request = self.context.request(&args.choice, None, &[])?;
        request.policy.explain = true;
        let report = answer(&self.context, &request)?.report()?;
        let mut library = resolve::explained(&report, SONAME)?.clone();
        let found = library.refused.len();
        // A real machine may have copies of its own. They were weighed like the others, but are not of the story.
        library.refused.retain(|copy| copy.path.to_path().starts_with(self.dir));
        self.page.output(&explanation_text(&library))?;
        if let Some(others @ 1..) = found.checked_sub(library.refused.len()) {
            self.page.output(&format!("\n  and {others} of this machine's own refused"))?;
        }
        Ok(library.path.to_path())
    }

    /// The same import under `run`; whether it maps the chosen copy, and only that.
    fn is_healed(&mut self, chosen: &Path) -> Result<bool> {
        self.page.heading("\n3. It is healed, under the same LD_LIBRARY_PATH and with the same files")?;
        self.page.command(None, &RUN)?;
        let Some(Asked::Run(args)) = Cli::try_parse_from(RUN).ok().map(|cli| cli.command) else {
            bail!("cannot parse `{}`", RUN.join(" "))
        };
        let Ok(command) = run::prepare(&self.context, &args)? else { return Ok(false) };
        let mut set = Vec::new();
        for (name, value) in command.get_envs() {
            let Some(value) =
                value.filter(|value| self.context.host().environment().get(name).is_none_or(|known| known != value))
            else {
                continue;
            };
            set.push(format!("  {}={}", name.display(), value.display()));
        }
        let output = self.finish(command)?;
        let said = self.said(&output)?;
        self.page.output(&format!("\nAll that `run` changed:\n{}", set.join("\n")))?;
        Ok(output.status.success()
            && said.trim_end().ends_with(&format!("imported; {SONAME} from {}", chosen.display())))
    }

    fn finish(&self, mut command: Command) -> std::result::Result<Output, DemoError> {
        command.current_dir(self.context.host().cwd()).output().map_err(|source| DemoError::Start { source })
    }

    /// Prints what a child said, and gives it.
    fn said(&mut self, output: &Output) -> io::Result<String> {
        let said = [output.stdout.as_slice(), &output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        self.page.output(&said)?;
        Ok(said)
    }
}

/// What went otherwise where a command of the story failed. What keeps the story itself from being told goes up.
fn otherwise(error: Failure, says: &'static str) -> Result<Option<&'static str>> {
    if error.find::<DemoError>().is_some() || error.is_broken_pipe() {
        return Err(error);
    }
    output::failure(&error);
    Ok(Some(says))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// What goes otherwise on a machine that something was done to, and the last command told.
    fn told(change: impl FnOnce(&Machine)) -> (Option<&'static str>, String) {
        let machine = Machine::new().unwrap();
        change(&machine);
        let mut page = Vec::new();
        let told = Story::new(&machine, &mut page).tell().unwrap();
        let page = String::from_utf8(page).unwrap();
        (told, page.lines().rfind(|line| line.starts_with("$ ")).unwrap_or_default().to_owned())
    }

    // One test for all: while one thread writes a program, another that forks keeps that file open for an instant, and
    // it cannot be run ("Text file busy").
    #[test]
    fn another_story_is_told_as_such() {
        let (otherwise, last) = told(|_| {});
        assert_eq!((otherwise, last.as_str()), (None, "$ cudashim run -- python -c 'import torch'"));

        let (otherwise, last) = told(|machine| {
            let right = machine.site().join("nvidia/nvjitlink/lib").join(SONAME);
            fs::copy(right, machine.dir().join("cuda-12.1/lib64").join(SONAME)).unwrap();
        });
        assert!(otherwise.unwrap().starts_with("step 1"));
        assert_eq!(last, "$ LD_LIBRARY_PATH=$DEMO/cuda-12.1/lib64 python -c 'import torch'");

        let (otherwise, last) = told(|machine| fs::remove_dir_all(machine.site().join("nvidia/nvjitlink")).unwrap());
        assert!(otherwise.unwrap().starts_with("step 2"));
        assert_eq!(last, "$ cudashim resolve --explain libnvJitLink.so.12");

        let (otherwise, last) = told(|machine| fs::write(machine.dir().join("cache"), "no directory").unwrap());
        assert!(otherwise.unwrap().starts_with("step 3"));
        assert_eq!(last, "$ cudashim run -- python -c 'import torch'");
    }
}
