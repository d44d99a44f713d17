//! `cudashim demo`: an import of torch on tiny libraries, broken, explained, healed.
//!
//! Takes the objects that the build made; prints real results: ld.so's message from a child process, and the output of
//! the functions behind `resolve` and `run`. Needs no GPU, no Python and no library of NVIDIA's, and leaves no files
//! behind.

mod machine;
mod page;

use super::answer::answer;
use super::args::{Cli, Command as CliCommand};
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
/// ld.so's message about the toolkit's copy.
const MISSING: &str = "undefined symbol: __nvJitLinkComplete_12_4";

const IMPORT: [&str; 3] = ["python", "-c", "import torch"];
const EXPLAIN: [&str; 4] = ["cudashim", "resolve", "--explain", SONAME];
const RUN: [&str; 6] = ["cudashim", "run", "--", "python", "-c", "import torch"];

/// Why the demo cannot run.
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
        /// The first character that ld.so interprets.
        character: char,
    },
    /// A file of the demo cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The stand-in for Python cannot be run.
    #[error("cannot start the demo's `python`")]
    Start {
        /// The system's error.
        source: io::Error,
    },
    /// The directory of the demo is still there.
    #[error("cannot remove `{}`", path.display())]
    Remove {
        /// The directory.
        path: PathBuf,
        /// The system's error.
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
            // The demo wrote the file, so its interpreter is missing.
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
    let outcome = Demo::new(&machine, io::stdout().lock()).run();
    machine.remove()?;
    Ok(match outcome? {
        None => ExitCode::SUCCESS,
        Some(failed_step) => {
            output::note(&format!("{failed_step}: this is not the expected result of the demo"));
            ExitCode::from(1)
        }
    })
}

/// The demo, printed step by step.
struct Demo<'m, W> {
    context: Context,
    page: Page<W>,
    dir: &'m Path,
}

impl<'m, W: Write> Demo<'m, W> {
    fn new(machine: &'m Machine, out: W) -> Self {
        Self { context: Context::of(machine.host()), page: Page::new(machine, out), dir: machine.dir() }
    }

    /// Runs all steps; gives the step that failed, if any.
    fn run(&mut self) -> Result<Option<&'static str>> {
        self.page.heading("Tiny libraries stand for a venv with torch 2.5.1+cu124 and for a CUDA 12.1 toolkit:")?;
        self.page.legend()?;
        if !self.breaks()? {
            return Ok(Some("step 1: the import did not fail with the symbol that the toolkit's copy does not define"));
        }
        let chosen = match self.is_explained() {
            Ok(chosen) => chosen,
            Err(error) => return failed_step(error, "step 2: nothing was chosen"),
        };
        match self.is_healed(&chosen) {
            Ok(true) => {}
            Ok(false) => return Ok(Some("step 3: the import did not map the chosen copy, and only that")),
            Err(error) => return failed_step(error, "step 3: there was nothing to run"),
        }
        self.page.heading("\nOn your own machine: cudashim run -- python train.py")?;
        Ok(None)
    }

    /// Step 1: ld.so alone.
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
        Ok(output.status.code() == Some(1) && self.show(&output)?.contains(MISSING))
    }

    /// Step 2: which copy is chosen, and why not the other. Gives the chosen copy.
    fn is_explained(&mut self) -> Result<PathBuf> {
        self.page.heading(
            "\n2. It is explained, under the same LD_LIBRARY_PATH, which is looked into like any other place",
        )?;
        self.page.command(None, &EXPLAIN)?;
        let Some(CliCommand::Resolve(args)) = Cli::try_parse_from(EXPLAIN).ok().map(|cli| cli.command) else {
            bail!("cannot parse `{}`", EXPLAIN.join(" "))
        };
        let mut request = self.context.request(&args.choice, None, &[])?;
        request.policy.explain = true;
        let report = answer(&self.context, &request)?.report()?;
        let mut library = resolve::explained(&report, SONAME)?.clone();
        let found = library.refused.len();
        // The machine may have real copies. They were considered too, but are not part of the demo.
        library.refused.retain(|copy| copy.path.to_path().starts_with(self.dir));
        self.page.output(&explanation_text(&library))?;
        if let Some(others @ 1..) = found.checked_sub(library.refused.len()) {
            self.page.output(&format!("\n  and {others} of this machine's own refused"))?;
        }
        Ok(library.path.to_path())
    }

    /// Step 3: the same import under `run`; whether it maps the chosen copy, and only that.
    fn is_healed(&mut self, chosen: &Path) -> Result<bool> {
        self.page.heading("\n3. It is healed, under the same LD_LIBRARY_PATH and with the same files")?;
        self.page.command(None, &RUN)?;
        let Some(CliCommand::Run(args)) = Cli::try_parse_from(RUN).ok().map(|cli| cli.command) else {
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
        let text = self.show(&output)?;
        self.page.output(&format!("\nAll that `run` changed:\n{}", set.join("\n")))?;
        Ok(output.status.success()
            && text.trim_end().ends_with(&format!("imported; {SONAME} from {}", chosen.display())))
    }

    fn finish(&self, mut command: Command) -> std::result::Result<Output, DemoError> {
        command.current_dir(self.context.host().cwd()).output().map_err(|source| DemoError::Start { source })
    }

    /// Prints the output of a child, and returns it.
    fn show(&mut self, output: &Output) -> io::Result<String> {
        let text = [output.stdout.as_slice(), &output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        self.page.output(&text)?;
        Ok(text)
    }
}

/// The failed step, after printing its error. Errors of the demo itself are returned.
fn failed_step(error: Failure, step: &'static str) -> Result<Option<&'static str>> {
    if error.find::<DemoError>().is_some() || error.is_broken_pipe() {
        return Err(error);
    }
    output::failure(&error);
    Ok(Some(step))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// The failed step on a changed machine, and the last command printed.
    fn outcome(change: impl FnOnce(&Machine)) -> (Option<&'static str>, String) {
        let machine = Machine::new().unwrap();
        change(&machine);
        let mut page = Vec::new();
        let failed_step = Demo::new(&machine, &mut page).run().unwrap();
        let page = String::from_utf8(page).unwrap();
        (failed_step, page.lines().rfind(|line| line.starts_with("$ ")).unwrap_or_default().to_owned())
    }

    // One test for all: while one thread writes a program, another that forks keeps that file open for an instant, and
    // it cannot be run ("Text file busy").
    #[test]
    fn a_failed_step_is_reported() {
        let (failed_step, last) = outcome(|_| {});
        assert_eq!((failed_step, last.as_str()), (None, "$ cudashim run -- python -c 'import torch'"));

        let (failed_step, last) = outcome(|machine| {
            let right = machine.site().join("nvidia/nvjitlink/lib").join(SONAME);
            fs::copy(right, machine.dir().join("cuda-12.1/lib64").join(SONAME)).unwrap();
        });
        assert!(failed_step.unwrap().starts_with("step 1"));
        assert_eq!(last, "$ LD_LIBRARY_PATH=$DEMO/cuda-12.1/lib64 python -c 'import torch'");

        let (failed_step, last) =
            outcome(|machine| fs::remove_dir_all(machine.site().join("nvidia/nvjitlink")).unwrap());
        assert!(failed_step.unwrap().starts_with("step 2"));
        assert_eq!(last, "$ cudashim resolve --explain libnvJitLink.so.12");

        let (failed_step, last) = outcome(|machine| fs::write(machine.dir().join("cache"), "no directory").unwrap());
        assert!(failed_step.unwrap().starts_with("step 3"));
        assert_eq!(last, "$ cudashim run -- python -c 'import torch'");
    }
}
