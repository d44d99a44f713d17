//! What the user types. Types only; what it means is decided elsewhere.

use crate::target::Spec;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;

/// Finds every copy of NVIDIA's libraries, picks the set that fits, and hands it out.
#[derive(Debug, Parser)]
#[command(name = "cudashim", version, max_term_width = 100, arg_required_else_help = true)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,

    /// Say more: -v decisions, -vv where was looked (a kept answer was decided before)
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub(super) verbose: u8,

    /// Say nothing but errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(super) quiet: bool,

    /// When to use colour
    #[arg(long, value_enum, default_value_t = Color::Auto, global = true)]
    pub(super) color: Color,

    /// How to print results
    #[arg(long, value_enum, default_value_t = Format::Human, global = true)]
    pub(super) format: Format,

    /// Look at the machine mounted at this directory
    #[arg(long, value_name = "DIR", global = true)]
    pub(super) root: Option<PathBuf>,
}

impl Cli {
    /// The command line `run -- CMD`, read by hand: nearly every start has this form, and clap takes a quarter of a
    /// millisecond for any. `None`: another one.
    pub(super) fn plain_run(words: &[OsString]) -> Option<Self> {
        let [run, dashes, command @ ..] = words else { return None };
        if run != "run" || dashes != "--" || command.is_empty() {
            return None;
        }
        let consumer = ConsumerArgs {
            meant: MeantArgs { torch: Spec::default(), python: None },
            files: Vec::new(),
            places: Vec::new(),
            fixed: Vec::new(),
            forbidden: Vec::new(),
        };
        let command = command.to_vec();
        let run = RunArgs { consumer, plan: None, check: false, force: false, via: Via::Auto, command };
        let command = Command::Run(run);
        Some(Self { command, verbose: 0, quiet: false, color: Color::Auto, format: Format::Human, root: None })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Human,
    Json,
    /// One JSON object a line, as soon as it is known (`scan`)
    Jsonl,
    /// For a bug thread (`doctor`)
    Markdown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run a command with the libraries that fit it
    Run(RunArgs),
    /// Run a command and tell which CUDA libraries it loads: for whom, by which rule, what was tried in vain
    Trace(TraceArgs),
    /// Show the set that would be handed out, and why
    Resolve(ResolveArgs),
    /// Write the set to a file to keep beside requirements.txt
    Lock(LockArgs),
    /// Say what of a lock holds on this machine, and what drifted
    Verify(VerifyArgs),
    /// Show what would be mapped today, by which rule, and what is missing or torn
    Check(CheckArgs),
    /// Show each place where ld.so looks for a library, and what wins
    Why(WhyArgs),
    /// List every CUDA library on the machine: what it is, whose, how it is reached, what is wrong
    Scan(ScanArgs),
    /// Show one file in full
    Inspect {
        /// ELF files
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,

        /// Load it, in a process of its own, and ask it what it is
        #[arg(long)]
        probe: bool,

        /// Read the whole file: its SHA-256, and whether it is the one its package recorded
        #[arg(long)]
        hash: bool,
    },
    /// Compare two libraries, or two saved scans (`scan --format json`)
    Diff {
        /// The first
        a: PathBuf,
        /// The second
        b: PathBuf,
    },
    /// Print shell lines that hand the set to everything started later
    Env(EnvArgs),
    /// Print the path for `LD_PRELOAD`, writing the shim first
    Shim,
    /// Say what is wrong with this machine, why, and what to do
    Doctor(DoctorArgs),
    /// Tell the whole story on tiny libraries: broken, explained, healed
    Demo,
    /// Print a completion script
    Completions {
        /// For this shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man {
        /// Of this command
        #[arg(value_name = "COMMAND")]
        of: Option<String>,
    },
}

/// Whom it is for.
#[derive(Debug, Clone, Args)]
pub(super) struct MeantArgs {
    /// The torch meant: `2.5.1+cu124`, `2.5`, `>=2.4`, `cu124`, or `auto`
    #[arg(long, value_name = "SPEC", default_value = "auto")]
    pub(super) torch: Spec,

    /// The interpreter, or the directory of its environment
    #[arg(long, value_name = "PY")]
    pub(super) python: Option<PathBuf>,
}

/// Whom it is for, and what the user lays down.
#[derive(Debug, Clone, Args)]
pub(super) struct ConsumerArgs {
    #[command(flatten)]
    pub(super) meant: MeantArgs,

    /// ELF files to serve instead of a torch
    #[arg(long = "for", value_name = "PATH")]
    pub(super) files: Vec<PathBuf>,

    /// Look there too: a directory of libraries, a site-packages, a venv, a toolkit
    #[arg(long = "place", value_name = "DIR")]
    pub(super) places: Vec<PathBuf>,

    /// Take this copy for a soname, or fail
    #[arg(long = "use", value_name = "SONAME=PATH", value_parser = parse_use)]
    pub(super) fixed: Vec<(String, PathBuf)>,

    /// Do not take this file, or anything in this directory
    #[arg(long = "forbid", value_name = "PATH")]
    pub(super) forbidden: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct EnvArgs {
    #[command(flatten)]
    pub(super) consumer: ConsumerArgs,

    /// Print the lines even where what they are for does not load
    #[arg(long)]
    pub(super) force: bool,
}

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(super) struct ScanArgs {
    /// Look into these trees only
    #[arg(value_name = "PATH")]
    pub(super) paths: Vec<PathBuf>,

    /// Look into whole trees: the disk, where no PATH is given
    #[arg(long)]
    pub(super) deep: bool,

    /// Cross into other mounted file systems, those of a network too
    #[arg(long)]
    pub(super) all_mounts: bool,

    /// Show every name of a file, and look inside those that a package vouches for, too
    #[arg(long)]
    pub(super) all: bool,

    /// Load each library, in a process of its own, and ask it what it is
    #[arg(long)]
    pub(super) probe: bool,

    /// Read every file whole: its SHA-256, and whether it is the one its package recorded
    #[arg(long)]
    pub(super) hash: bool,

    /// Exit with 1 where there are problems
    #[arg(long)]
    pub(super) strict: bool,
}

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    #[command(flatten)]
    pub(super) meant: MeantArgs,

    /// Explain the error in this text, `-` for standard input
    #[arg(long, value_name = "FILE|-")]
    pub(super) error: Option<PathBuf>,

    /// Leave nothing out
    #[arg(long)]
    pub(super) all: bool,

    /// Do not ask the driver for its devices
    #[arg(long)]
    pub(super) no_devices: bool,

    /// Leave out the names of users and of the machine
    #[arg(long)]
    pub(super) redact: bool,

    /// Write what was seen of the driver to a file
    #[arg(long, value_name = "FILE")]
    pub(super) record: Option<PathBuf>,

    /// Judge the driver in this file instead of the one that is here
    #[arg(long, value_name = "FILE", conflicts_with = "record")]
    pub(super) recorded: Option<PathBuf>,

    /// Run this command, and explain what it fails with
    #[arg(last = true, value_name = "CMD", conflicts_with_all = ["error", "recorded"])]
    pub(super) command: Vec<OsString>,
}

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(super) struct CheckArgs {
    /// Programs, libraries to be opened, names to be opened (`libcudnn.so.9`), known consumers (`cupy`); the torch of
    /// the interpreter meant, where nothing is named
    #[arg(value_name = "FILE|NAME")]
    pub(super) subjects: Vec<PathBuf>,

    #[command(flatten)]
    pub(super) meant: MeantArgs,

    /// ELF files to check instead of a torch
    #[arg(long = "for", value_name = "PATH")]
    pub(super) files: Vec<PathBuf>,

    /// What this running process has mapped
    #[arg(long, value_name = "N", conflicts_with_all = ["subjects", "torch", "python", "files", "maps"])]
    pub(super) pid: Option<u32>,

    /// What a saved copy of `/proc/PID/maps` lists; with `--root`, of the machine mounted there
    #[arg(long, value_name = "FILE", conflicts_with_all = ["subjects", "torch", "python", "files"])]
    pub(super) maps: Option<PathBuf>,

    /// As if this plan were handed out; for a process: is that what it has mapped
    #[arg(long, value_name = "FILE")]
    pub(super) plan: Option<PathBuf>,

    /// As if no plan were in force (`eval "$(cudashim env)"`)
    #[arg(long, conflicts_with_all = ["plan", "pid", "maps"])]
    pub(super) bare: bool,

    /// Only find the files: look at no symbol and no version node
    #[arg(long)]
    pub(super) no_symbols: bool,

    /// Show the system's libraries, too
    #[arg(long)]
    pub(super) all: bool,

    /// Exit with 1 where there is any finding
    #[arg(long)]
    pub(super) strict: bool,
}

#[derive(Debug, Args)]
pub(super) struct WhyArgs {
    /// A soname, or a name as it is given to dlopen
    #[arg(value_name = "NAME")]
    pub(super) name: PathBuf,

    /// The object that asks: a program or a library
    #[arg(long = "for", value_name = "PATH")]
    pub(super) file: Option<PathBuf>,

    /// The interpreter whose torch is loaded first, or the directory of its environment
    #[arg(long, value_name = "PY")]
    pub(super) python: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct ResolveArgs {
    #[command(flatten)]
    pub(super) consumer: ConsumerArgs,

    /// Why this copy of a library, and why none of the others
    #[arg(long, value_name = "SONAME")]
    pub(super) explain: Option<String>,

    /// Write the plan to a file, for `run --plan`
    #[arg(short, long, value_name = "FILE", conflicts_with = "explain")]
    pub(super) output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct LockArgs {
    #[command(flatten)]
    pub(super) consumer: ConsumerArgs,

    /// The file
    #[arg(short, long, value_name = "FILE", default_value = "cudashim.lock")]
    pub(super) output: PathBuf,

    /// Write nothing; exit with 1 where the file is not what would be written
    #[arg(long)]
    pub(super) check: bool,

    /// Write it even where what it is for does not load with it
    #[arg(long)]
    pub(super) force: bool,
}

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// The lock
    #[arg(value_name = "FILE", default_value = "cudashim.lock")]
    pub(super) file: PathBuf,

    /// Where the same files stand elsewhere, write the lock anew with their paths
    #[arg(long)]
    pub(super) relocate: bool,

    /// Write that to another file
    #[arg(short, long, value_name = "FILE", requires = "relocate")]
    pub(super) output: Option<PathBuf>,

    /// The interpreter of this machine, or the directory of its environment
    #[arg(long, value_name = "PY")]
    pub(super) python: Option<PathBuf>,

    /// Look for the files there too
    #[arg(long = "place", value_name = "DIR", requires = "relocate")]
    pub(super) places: Vec<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Via {
    /// The best for the command
    Auto,
    /// The shim in `LD_PRELOAD`
    Preload,
    /// The shim as an auditor of the loader, in `LD_AUDIT`
    Audit,
}

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    pub(super) consumer: ConsumerArgs,

    /// Hand out this plan; look at nothing else (`--place` names directories outside of the environment that it may use)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["torch", "python", "files", "fixed", "forbidden"])]
    pub(super) plan: Option<PathBuf>,

    /// Start it only where its libraries load and no framework would use the CPU in silence [also: `CUDASHIM_CHECK=1`]
    #[arg(long)]
    pub(super) check: bool,

    /// Start it even where its libraries do not load
    #[arg(long)]
    pub(super) force: bool,

    /// How the libraries are handed out
    #[arg(long, value_enum, default_value_t = Via::Auto)]
    pub(super) via: Via,

    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    pub(super) command: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(super) struct TraceArgs {
    /// Hand out this plan meanwhile; without it, all is left as it is
    #[arg(long, value_name = "FILE")]
    pub(super) plan: Option<PathBuf>,

    /// Write the report to a file, instead of stderr (JSON: stdout)
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,

    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    pub(super) command: Vec<OsString>,
}

fn parse_use(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((soname, path)) if !soname.is_empty() && !path.is_empty() => Ok((soname.to_owned(), PathBuf::from(path))),
        _ => Err("write SONAME=PATH, such as libnvrtc.so.12=/opt/x/libnvrtc.so.12".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_run_is_read_as_clap_reads_it() {
        let words = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        for text in
            ["run -- python", "run -- python -c pass --torch x", "run -- -v", "run -- -- x", "run -- a run -- b"]
        {
            let by_hand = Cli::plain_run(&words(text)).unwrap();
            let mut all = words("cudashim");
            all.extend(words(text));
            let by_clap = Cli::try_parse_from(all).unwrap();
            let shown = |cli: &Cli| format!("{cli:?}").replace("text: \"auto\"", "text: \"\"");
            assert_eq!(shown(&by_hand), shown(&by_clap), "{text}");
        }
        for text in ["run", "run --", "run python", "run -v -- python", "trace -- python"] {
            assert!(Cli::plain_run(&words(text)).is_none(), "{text}");
        }
    }
}
