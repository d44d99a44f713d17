//! What the user types. Types only; what it means is decided elsewhere.

use super::assume::AssumeArgs;
use super::enable_args::{DisableArgs, EnableArgs};
use super::format::{self, Format, one_of};
use super::image_args::ImageArgs;
use super::node_args::{FleetArgs, NodeArgs};
use super::shared_args::RedactArgs;
pub(super) use super::shared_args::{ChoiceArgs, WhoArgs};
use super::stage_args::StageArgs;
use crate::target::Spec;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;

/// Find every copy of NVIDIA's libraries, choose the set that fits, and make programs load it
#[derive(Debug, Parser)]
#[command(name = "cudashim", version, max_term_width = 100, arg_required_else_help = true)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,

    /// Print more: -v decisions, -vv directories searched
    ///
    /// A cached answer was decided earlier and prints less: set `CUDASHIM_CACHE` to an empty directory to see everything.
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub(super) verbose: u8,

    /// Print no report and no notes, only errors; the exit status is the answer
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(super) quiet: bool,

    /// When to use colour
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = Color::Auto, global = true)]
    pub(super) color: Color,

    /// Look at the machine image mounted at this directory
    #[arg(long, value_name = "DIR", global = true)]
    pub(super) root: Option<PathBuf>,
}

impl Cli {
    /// Parses the command line `run -- CMD` without clap, which takes a quarter of a millisecond: most starts have this
    /// form. `None`: any other command line.
    pub(super) fn plain_run(words: &[OsString]) -> Option<Self> {
        let [run, dashes, command @ ..] = words else { return None };
        if run != "run" || dashes != "--" || command.is_empty() {
            return None;
        }
        let choice = ChoiceArgs {
            who: WhoArgs { torch: Spec::default(), python: None },
            files: Vec::new(),
            places: Vec::new(),
            fixed: Vec::new(),
            forbidden: Vec::new(),
        };
        let command = command.to_vec();
        let assume = AssumeArgs::default();
        let run =
            RunArgs { choice, plan: None, check: false, force: false, assume, prewarm: false, via: Via::Auto, command };
        Some(Self { command: Command::Run(run), verbose: 0, quiet: false, color: Color::Auto, root: None })
    }

    /// Why `--root` cannot be used with this command, if so.
    pub(super) fn refuses_root(&self) -> Option<&'static str> {
        match &self.command {
            Command::Run(_)
            | Command::Trace(_)
            | Command::Env(_)
            | Command::Shim(_)
            | Command::Stage(_)
            | Command::Enable(_)
            | Command::Disable(_)
            | Command::Status(_)
            | Command::Demo => Some("programs of an image cannot be started here"),
            Command::Doctor(args) if !args.command.is_empty() => Some("programs of an image cannot be started here"),
            Command::Scan(args) if args.probe => Some("libraries of an image cannot be loaded here"),
            Command::Inspect(args) if args.probe => Some("libraries of an image cannot be loaded here"),
            Command::Check(args) if args.pid.is_some() => Some("an image has no processes"),
            Command::Image(_) => Some("name the directory as the image"),
            Command::Fleet(_) | Command::Man { .. } | Command::Completions { .. } => {
                Some("this command looks at no machine")
            }
            _ => None,
        }
    }

    /// Whether the exit status is that of the started command.
    pub(super) fn is_run(&self) -> bool {
        match &self.command {
            Command::Run(_) | Command::Trace(_) => true,
            Command::Doctor(args) => !args.command.is_empty(),
            _ => false,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Color {
    /// On a terminal
    Auto,
    /// Into files and pipes too
    Always,
    /// Never
    Never,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run a command with the libraries that fit it
    Run(RunArgs),
    /// Print shell lines that do the same for every later command
    Env(EnvArgs),
    /// Print the path of the preload object, for `LD_PRELOAD`
    Shim(ShimArgs),
    /// Copy the set to a disk or memory of this node, for `run`
    Stage(StageArgs),
    /// Heal an environment for good, however its Python is started
    Enable(EnableArgs),
    /// Undo `enable`, to the last byte
    Disable(DisableArgs),
    /// Show what is enabled, and whether it is unchanged
    Status(StatusArgs),
    /// Report what is wrong with this machine, why, and what to type
    Doctor(DoctorArgs),
    /// Predict whether it loads: each file, its rule, what is missing
    Check(CheckArgs),
    /// Show where ld.so looks for a library, and what it resolves to
    Why(WhyArgs),
    /// Run a command and report which CUDA libraries it really loads
    Trace(TraceArgs),
    /// Judge a container image: what loads, and what a host must have
    Image(ImageArgs),
    /// Show the set that fits, and why
    Resolve(ResolveArgs),
    /// Write the set to a file to keep beside requirements.txt
    Lock(LockArgs),
    /// Compare a lock file with this machine
    Verify(VerifyArgs),
    /// List every CUDA library: release, owner, how found, problems
    Scan(ScanArgs),
    /// Show one library in full
    Inspect(InspectArgs),
    /// Compare two libraries, or two saved scans
    Diff(DiffArgs),
    /// Say whether this node is fit for a job, before the job starts
    Node(NodeArgs),
    /// Compare the saved scans of many nodes
    Fleet(FleetArgs),
    /// Break, explain and heal an import of torch, on tiny libraries
    Demo,
    /// Print the manual page
    Man {
        /// Of this command
        #[arg(value_name = "COMMAND")]
        of: Option<String>,
    },
    /// Print a completion script
    Completions {
        /// For this shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
pub(super) struct ShimArgs {
    /// Write it to this file, to name in an image's or a unit's `LD_PRELOAD`
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// The environment: its directory, or its interpreter
    #[arg(value_name = "ENV")]
    pub(super) env: Option<PathBuf>,

    /// The form of the report
    #[arg(long, value_parser = one_of(format::REPORT), default_value = "human")]
    pub(super) format: Format,
}

#[derive(Debug, Args)]
pub(super) struct EnvArgs {
    /// The target: an environment or project, an interpreter, a program or library
    #[arg(value_name = "TARGET", conflicts_with_all = ["python", "files"])]
    pub(super) target: Option<PathBuf>,

    #[command(flatten)]
    pub(super) choice: ChoiceArgs,

    /// Print the lines even if the target does not load with them
    #[arg(long)]
    pub(super) force: bool,

    /// The shell that reads the lines
    #[arg(long, value_enum, default_value_t = Shell::Sh)]
    pub(super) shell: Shell,

    /// Print the lines that undo it
    #[arg(long, conflicts_with_all = ["target", "torch", "python", "files", "places", "fixed", "forbidden", "force"])]
    pub(super) unset: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Shell {
    /// sh, bash, zsh, dash, ksh
    Sh,
    /// fish
    Fish,
}

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(super) struct ScanArgs {
    /// Search only these directories, and all below them
    #[arg(value_name = "PATH")]
    pub(super) paths: Vec<PathBuf>,

    /// Search the whole disk, where no PATH is given
    #[arg(long)]
    pub(super) deep: bool,

    /// Cross into other mounted file systems, network ones too
    #[arg(long)]
    pub(super) all_mounts: bool,

    /// Show every name of a file, and read the files that a package records, too
    #[arg(long)]
    pub(super) all: bool,

    /// Load each library in a separate process, and ask it for its version
    #[arg(long)]
    pub(super) probe: bool,

    /// Read every byte: its SHA-256, and whether it is the file that its package recorded
    #[arg(long)]
    pub(super) hash: bool,

    /// Exit with 1 if there are problems
    #[arg(long)]
    pub(super) strict: bool,

    #[command(flatten)]
    pub(super) redact: RedactArgs,

    /// How to print the list
    #[arg(long, value_parser = one_of(format::SCAN), default_value = "human")]
    pub(super) format: Format,
}

#[derive(Debug, Args)]
pub(super) struct InspectArgs {
    /// Libraries: files, or names such as `libcudnn.so.9`, of the environment
    #[arg(required = true, value_name = "FILE|NAME")]
    pub(super) files: Vec<PathBuf>,

    /// Load it in a separate process, and ask it for its version
    #[arg(long)]
    pub(super) probe: bool,

    /// Read every byte: its SHA-256, and whether it is the file that its package recorded
    #[arg(long)]
    pub(super) hash: bool,

    /// How to print it
    #[arg(long, value_parser = one_of(format::LIST), default_value = "human")]
    pub(super) format: Format,
}

#[derive(Debug, Args)]
pub(super) struct DiffArgs {
    /// A library, or a saved scan (`scan --format json`)
    pub(super) a: PathBuf,

    /// The one to compare it with
    pub(super) b: PathBuf,

    /// How to print the comparison
    #[arg(long, value_parser = one_of(format::LIST), default_value = "human")]
    pub(super) format: Format,
}

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// The target: an environment, a project with `.venv`, an interpreter
    #[arg(value_name = "TARGET", conflicts_with = "python")]
    pub(super) target: Option<PathBuf>,

    #[command(flatten)]
    pub(super) who: WhoArgs,

    /// Explain the error in this file, `-` for standard input
    #[arg(long, value_name = "FILE|-")]
    pub(super) error: Option<PathBuf>,

    /// Show all findings with all evidence
    #[arg(long)]
    pub(super) all: bool,

    /// Do not ask the driver for its devices
    #[arg(long)]
    pub(super) no_devices: bool,

    #[command(flatten)]
    pub(super) redact: RedactArgs,

    /// Write a record of the driver to a file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["drivers", "gpus"])]
    pub(super) record: Option<PathBuf>,

    /// Judge the driver in this file instead of the installed one
    #[arg(long, value_name = "FILE", conflicts_with_all = ["record", "drivers", "gpus"])]
    pub(super) recorded: Option<PathBuf>,

    #[command(flatten)]
    pub(super) assume: AssumeArgs,

    /// Show why the target runs, or does not, on each driver and GPU
    #[arg(long)]
    pub(super) explain: bool,

    /// How to print the diagnosis
    #[arg(long, value_parser = one_of(format::DIAGNOSIS), default_value = "human")]
    pub(super) format: Format,

    /// Run this command, and explain its failure
    #[arg(last = true, value_name = "CMD", conflicts_with_all = ["error", "recorded", "drivers", "gpus"])]
    pub(super) command: Vec<OsString>,
}

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(super) struct CheckArgs {
    /// What to check: an environment's directory, programs, libraries, names to be opened (`libcudnn.so.9`), known packages
    /// (`cupy`); without any, the torch of the active environment
    #[arg(value_name = "TARGET")]
    pub(super) subjects: Vec<PathBuf>,

    #[command(flatten)]
    pub(super) who: WhoArgs,

    /// A program or library to check, instead of torch
    #[arg(long = "for", value_name = "PATH")]
    pub(super) files: Vec<PathBuf>,

    /// List the frameworks that are known by name, and those that are installed
    #[arg(long, conflicts_with_all = ["subjects", "files", "pid", "maps", "plan", "bare", "no_symbols", "all", "strict"])]
    pub(super) list: bool,

    /// What this running process has mapped
    #[arg(long, value_name = "N", conflicts_with_all = ["subjects", "torch", "python", "files", "maps", "drivers", "gpus"])]
    pub(super) pid: Option<u32>,

    /// What a saved copy of `/proc/PID/maps` lists; with `--root`, of the machine mounted there
    #[arg(long, value_name = "FILE", conflicts_with_all = ["subjects", "torch", "python", "files", "drivers", "gpus"])]
    pub(super) maps: Option<PathBuf>,

    /// Check with this plan in force; of a process, whether it has mapped the plan's files
    #[arg(long, value_name = "FILE")]
    pub(super) plan: Option<PathBuf>,

    /// Check without the plan that is in force (`eval "$(cudashim env)"`)
    #[arg(long, conflicts_with_all = ["plan", "pid", "maps"])]
    pub(super) bare: bool,

    /// Only find the files: check no symbols and no version nodes
    #[arg(long)]
    pub(super) no_symbols: bool,

    /// Show the system's libraries, too
    #[arg(long)]
    pub(super) all: bool,

    /// Exit with 1 if there is any finding
    #[arg(long)]
    pub(super) strict: bool,

    #[command(flatten)]
    pub(super) assume: AssumeArgs,

    /// Show why the target runs, or does not, on each driver and GPU
    #[arg(long)]
    pub(super) explain: bool,

    #[command(flatten)]
    pub(super) redact: RedactArgs,

    /// How to print the answer
    #[arg(long, value_parser = one_of(format::PAGE), default_value = "human")]
    pub(super) format: Format,
}

#[derive(Debug, Args)]
pub(super) struct WhyArgs {
    /// A soname, or a name as it is given to dlopen
    #[arg(value_name = "NAME")]
    pub(super) name: PathBuf,

    /// The program or library that needs it, or the environment whose torch does
    #[arg(long = "for", value_name = "PATH")]
    pub(super) file: Option<PathBuf>,

    /// The Python whose torch is loaded first: an interpreter, a name on PATH, an environment's directory, or a project
    /// with `.venv`
    #[arg(long, value_name = "PY")]
    pub(super) python: Option<PathBuf>,

    /// How to print the answer
    #[arg(long, value_parser = one_of(format::REPORT), default_value = "human")]
    pub(super) format: Format,
}

#[derive(Debug, Args)]
pub(super) struct ResolveArgs {
    /// The target: an environment or project, an interpreter, a program or library
    #[arg(value_name = "TARGET", conflicts_with_all = ["python", "files"])]
    pub(super) target: Option<PathBuf>,

    #[command(flatten)]
    pub(super) choice: ChoiceArgs,

    /// Explain why this copy of a library was chosen, and why each other copy was not
    #[arg(long, value_name = "SONAME")]
    pub(super) explain: Option<String>,

    /// Write the plan to a file, for `run --plan`
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["explain", "drivers", "gpus"])]
    pub(super) output: Option<PathBuf>,

    #[command(flatten)]
    pub(super) assume: AssumeArgs,

    /// How to print the set
    #[arg(long, value_parser = one_of(format::REPORT), default_value = "human")]
    pub(super) format: Format,
}

#[derive(Debug, Args)]
pub(super) struct LockArgs {
    /// The target: an environment or project, an interpreter, a program or library
    #[arg(value_name = "TARGET", conflicts_with_all = ["python", "files"])]
    pub(super) target: Option<PathBuf>,

    #[command(flatten)]
    pub(super) choice: ChoiceArgs,

    /// The file
    #[arg(short, long, value_name = "FILE", default_value = "cudashim.lock")]
    pub(super) output: PathBuf,

    /// Write nothing; exit with 1 if the file is not what would be written
    #[arg(long)]
    pub(super) check: bool,

    /// Write it even if the target does not load with it
    #[arg(long)]
    pub(super) force: bool,
}

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// The lock file
    #[arg(value_name = "FILE", default_value = "cudashim.lock")]
    pub(super) file: PathBuf,

    /// Find the same files at their paths here, and write the lock anew
    #[arg(long)]
    pub(super) relocate: bool,

    /// Write that to another file
    #[arg(short, long, value_name = "FILE", requires = "relocate")]
    pub(super) output: Option<PathBuf>,

    /// The Python of this machine: an interpreter, a name on PATH, an environment's directory, or a project with `.venv`
    #[arg(long, value_name = "PY")]
    pub(super) python: Option<PathBuf>,

    /// An additional directory to search for the files
    #[arg(long = "place", value_name = "DIR", requires = "relocate")]
    pub(super) places: Vec<PathBuf>,

    /// How to print the answer
    #[arg(long, value_parser = one_of(format::FINDINGS), default_value = "human")]
    pub(super) format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Via {
    /// Whichever suits the command
    Auto,
    /// The preload object in `LD_PRELOAD`
    Preload,
    /// The preload object as an auditor of ld.so, in `LD_AUDIT`
    Audit,
}

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    pub(super) choice: ChoiceArgs,

    /// Use this plan or lock file, and choose nothing (`--place` names directories outside the environment that it may use)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["torch", "python", "files", "fixed", "forbidden"])]
    pub(super) plan: Option<PathBuf>,

    /// Refuse to start if libraries would not load or the GPU would not be used [also: `CUDASHIM_CHECK=1`]
    #[arg(long)]
    pub(super) check: bool,

    /// Start it even if its libraries do not load
    #[arg(long)]
    pub(super) force: bool,

    #[command(flatten)]
    pub(super) assume: AssumeArgs,

    /// Read the libraries ahead, beside the command: for a slow or cold disk [also: `CUDASHIM_PREWARM=1`]
    #[arg(long)]
    pub(super) prewarm: bool,

    /// How the command is made to load the libraries
    #[arg(long, value_enum, default_value_t = Via::Auto)]
    pub(super) via: Via,

    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    pub(super) command: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(super) struct TraceArgs {
    /// Trace with this plan in force; without it, nothing is changed
    #[arg(long, value_name = "FILE")]
    pub(super) plan: Option<PathBuf>,

    /// Write the report to a file, instead of stderr (for people) or stdout (other forms)
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,

    #[command(flatten)]
    pub(super) redact: RedactArgs,

    /// How to print the report
    #[arg(long, value_parser = one_of(format::PAGE), default_value = "human")]
    pub(super) format: Format,

    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    pub(super) command: Vec<OsString>,
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
