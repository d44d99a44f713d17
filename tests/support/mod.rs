//! What several tests build on: small objects made with the C compiler.
#![allow(clippy::unwrap_used)] // A test that cannot build its objects says why by failing.

pub(crate) mod elf;
pub(crate) mod lab;
pub(crate) mod world;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Compiles C `source` into `dir`/`out` with exactly these arguments, and gives its path.
///
/// `$CC` names the compiler, else it is `cc`. A failure ends the test with the compiler's words.
pub(crate) fn cc(dir: &Path, out: &str, source: &str, args: &[&str]) -> PathBuf {
    let object = dir.join(out);
    let unit = dir.join(format!("{out}.c"));
    std::fs::create_dir_all(object.parent().unwrap()).unwrap();
    std::fs::write(&unit, source).unwrap();
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    // The source comes before the arguments: a library must follow what needs it.
    let mut command = Command::new(compiler);
    command.current_dir(dir).arg("-o").arg(&object).arg(&unit).args(args);
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
    object
}

/// [`cc`] for a shared library.
pub(crate) fn library(dir: &Path, out: &str, source: &str, args: &[&str]) -> PathBuf {
    cc(dir, out, source, &[&["-shared", "-fPIC", "-Wl,--build-id=sha1"], args].concat())
}

/// Writes a linker's version script into `dir` and gives the argument that names it.
pub(crate) fn version_script(dir: &Path, name: &str, script: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, script).unwrap();
    format!("-Wl,--version-script={}", path.display())
}

/// What a command printed and how it ended.
pub(crate) struct Seen {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Seen {
    pub(crate) fn of(command: &mut Command) -> Self {
        let output = command.stdin(Stdio::null()).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// All of it as one text, with the machine's directory as `[WORLD]`.
    pub(crate) fn all(&self, world: &world::World) -> String {
        let mut all = format!("exit {}\n", self.code.map_or("by signal".into(), |code| code.to_string()));
        for (name, text) in [("stdout", &self.out), ("stderr", &self.err)] {
            if !text.is_empty() {
                let _ = write!(all, "--- {name}\n{text}");
            }
        }
        let mut all = all.replace(&*world.root().to_string_lossy(), "[WORLD]");
        // The shim's lines carry the number of the process.
        while let Some(at) = all.find("cudashim[") {
            let digits = all[at..].find(']').unwrap();
            all.replace_range(at + "cudashim".len()..=at + digits, " in [PID]");
        }
        all
    }
}
