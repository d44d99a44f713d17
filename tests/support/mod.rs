//! What several tests build on: small objects made with the C compiler.
#![allow(clippy::unwrap_used)] // A test that cannot build its objects says why by failing.

pub(crate) mod lab;
pub(crate) mod world;

use std::path::{Path, PathBuf};
use std::process::Command;

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
