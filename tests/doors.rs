//! One question by four doors: whoever starts a program, and however the shim comes to it, it is given the same library
//! from the same place.
//!
//! A consumer is a command line that ends by asking for cuBLAS, in a world where an older part of cuBLAS on
//! `LD_LIBRARY_PATH` stands in its way, so that it fails without us. What no door can reach says so. Java, Node, Go,
//! poetry, tox, uv and torchrun themselves are asked in `tests/real`, on real wheels.

use crate::support::*;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

mod native;
mod python;

/// How the shim comes to a consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    /// `cudashim run --`
    Run,
    /// `cudashim run --via audit --`
    Audit,
    /// `LD_PRELOAD=$(cudashim shim)`; `LD_AUDIT` for what is linked against CUDA, where a preload comes too late.
    Plain,
    /// `eval "$(cudashim env)"`
    Env,
}

const DOORS: [Door; 4] = [Door::Run, Door::Audit, Door::Plain, Door::Env];

/// Sonames in the order of their paths.
const ASKED: [&str; 2] = ["libcublas.so.12", "libcublasLt.so.12"];

/// A command line, and the kind of `env` for it.
struct Consumer {
    world: Machine,
    /// The path of its cuBLAS.
    right: PathBuf,
    words: Vec<OsString>,
    variables: Vec<(&'static str, OsString)>,
    /// The arguments of `cudashim env`.
    env_for: Vec<OsString>,
    /// Itself linked against cuBLAS.
    linked: bool,
    /// How many processes request a plan.
    askers: usize,
}

impl Consumer {
    /// The world has an environment with cuBLAS, and an older `libcublasLt` on `LD_LIBRARY_PATH`.
    fn new(world: Machine, venv: &Venv) -> Self {
        let right = venv.site.join("nvidia/cublas/lib");
        let first = Lib::new(ASKED[0]).defines(&["cublasCreate_v2"]).uses(ASKED[1], &["cublasLtCreate"]);
        let first = ("nvidia/cublas/lib/libcublas.so.12", first.link("-rpath,$ORIGIN"));
        // As NVIDIA's have it: thread-local storage of whole pages.
        let storage =
            "static __thread char much[8192] __attribute__((aligned(4096)));\nchar *own(void) { return much; }\n";
        let second = Lib::new(ASKED[1]).defines(&["cublasLtCreate"]).source(storage);
        let second = ("nvidia/cublas/lib/libcublasLt.so.12", second);
        venv.wheel("nvidia-cublas-cu12", "12.4.5.8", &[first, second]);
        let deps = Lib::new("libtorch_global_deps.so").unversioned().uses(ASKED[0], &["cublasCreate_v2"]);
        let deps = deps.link("-rpath,$ORIGIN/../../nvidia/cublas/lib").link("--disable-new-dtags");
        let pins = ["nvidia-cublas-cu12 (==12.4.5.8)"];
        venv.torch("2.5.1+cu124", Some("12.4"), &pins, &[("lib/libtorch_global_deps.so", deps)]);
        let older = world.path("opt/older");
        Lib::new(ASKED[1]).defines(&["cublasLtOther"]).build(&older.join(ASKED[1]));
        Self {
            right,
            words: Vec::new(),
            variables: vec![("LD_LIBRARY_PATH", older.into())],
            env_for: vec!["--python".into(), venv.dir.clone().into()],
            linked: false,
            askers: 1,
            world,
        }
    }

    fn words(mut self, words: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.words = words.into_iter().map(Into::into).collect();
        self
    }

    fn variable(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.variables.push((name, value.into()));
        self
    }

    /// The command with the world's variables, and those of the consumer.
    fn command(&self, mut command: Command) -> Process {
        let path = std::env::join_paths([self.world.path("bin"), "/usr/bin".into(), "/bin".into()]).unwrap();
        command.env("PATH", path).envs(self.variables.iter().map(|(name, value)| (name, value)));
        Process::of(&mut command)
    }

    fn bare(&self) -> Process {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]).env_clear().current_dir(self.world.root());
        self.command(command)
    }

    fn by(&self, door: Door) -> Process {
        let command = match door {
            Door::Run => self.run(&["run"]),
            Door::Audit => self.run(&["run", "--via", "audit"]),
            Door::Plain if self.linked => self.shell("LD_AUDIT=$(\"$0\" shim); export LD_AUDIT"),
            Door::Plain => self.shell("LD_PRELOAD=$(\"$0\" shim); export LD_PRELOAD"),
            Door::Env => self.shell("lines=$(\"$0\" env \"$1\" \"$2\"); eval \"$lines\""),
        };
        self.command(command)
    }

    fn run(&self, run: &[&str]) -> Command {
        let mut command = self.world.cudashim(run);
        command.arg("--").args(&self.words);
        command
    }

    /// A shell that makes its environment ready, then becomes the consumer.
    fn shell(&self, ready: &str) -> Command {
        let ours = self.world.cudashim([""; 0]);
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &format!("{ready}; shift 2; exec \"$@\"")]).arg(ours.get_program());
        command.args(&self.env_for).args(&self.words).env_clear().current_dir(self.world.root());
        command.envs(ours.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command
    }

    /// The cell of a table: where the libraries came from, and the error if that is wrong.
    fn cell(&self, seen: &Process) -> String {
        let mut lines: Vec<&str> = seen.out.lines().collect();
        lines.sort_unstable();
        if seen.code != Some(0) {
            lines.extend(seen.err.lines());
        }
        self.world.hidden(&lines.join("\n"))
    }

    /// Fails bare; gets the same by every door.
    fn is_served(&self) {
        let right = self.right.strip_prefix(self.world.root()).unwrap();
        let each = ASKED.iter().flat_map(|soname| vec![*soname; self.askers]);
        let right: Vec<_> = each.map(|soname| format!("[R]/{}", right.join(soname).display())).collect();
        let right = right.join("\n");
        assert_ne!(self.cell(&self.bare()), right, "it needs no help");
        let cells: Vec<_> = DOORS.iter().map(|&door| (door, self.cell(&self.by(door)))).collect();
        let wrong: Vec<_> = cells.iter().filter(|(_, cell)| *cell != right).collect();
        assert!(wrong.is_empty(), "{wrong:#?}\nnot: {right}");
    }
}
