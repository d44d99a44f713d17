//! The files by which an environment heals its own Python, however that is started.
//!
//! Takes the site directory of an environment and the binary to ask; writes `cudashim.pth`, `cudashim.start` (PEP 829), the
//! hook that both lead to, and a manifest, or takes them away. Never touches a file that is not its own: what a manifest says
//! is compared and not obeyed.

mod conda;
mod kernel;
mod part;

pub use conda::Conda;
pub use kernel::{Kernel, kernels};
pub use part::{EnableError, State};

use crate::host::Host;
use crate::tables::frameworks;
use part::Manifest;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The hook: what asks and opens.
pub const HOOK: &str = include_str!("../../python/cudashim/_hook.py");

/// The finder that waits for the first import of a known module, as a `.pth` line and the hook run it.
const FINDER: &str = include_str!("enable/finder.py");

const PTH: &str = "cudashim.pth";
const START: &str = "cudashim.start";
const MODULE: &str = "_cudashim_hook";
const MANIFEST: &str = "cudashim.enabled.json";
/// Where Python keeps the bytecode of the hook.
const DIRS: [&str; 1] = ["__pycache__"];

/// The directory of an environment that its Python reads when it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// `lib/python3.12/site-packages`.
    pub dir: PathBuf,
    /// The environment.
    pub prefix: PathBuf,
}

/// Whether the Python of one of these directories heals itself.
#[must_use]
pub fn is_enabled(host: &Host, sites: &[PathBuf]) -> bool {
    sites.iter().any(|dir| [MANIFEST, PTH].iter().all(|name| host.is_file(&dir.join(name))))
}

impl Site {
    /// Writes the files; `binary` is asked when a framework is imported. What was written is taken back where one of them
    /// cannot be.
    ///
    /// # Errors
    /// A file of another's stands in the place of one, or it cannot be written.
    pub fn enable(&self, binary: &Path, force: bool) -> Result<Vec<PathBuf>, EnableError> {
        let files = self.files(binary);
        for (path, _) in &files {
            part::own(path, |bytes| is_ours(path, bytes), force)?;
        }
        let said = String::from_utf8_lossy(&portable(binary, &self.prefix)).into_owned();
        let manifest = Manifest::new(said, &files, &self.dir, &DIRS);
        part::write(std::iter::once((self.dir.join(MANIFEST), manifest.to_bytes())).chain(files))
    }

    /// Takes the files away, whatever the manifest says.
    ///
    /// # Errors
    /// One was changed since (not with `force`), or cannot be removed.
    pub fn disable(&self, force: bool) -> Result<Vec<PathBuf>, EnableError> {
        let manifest = Manifest::read(&self.dir.join(MANIFEST));
        let mut gone = Vec::new();
        for name in [PTH, START, &format!("{MODULE}.py")] {
            let path = self.dir.join(name);
            let Some(bytes) = part::bytes(&path)? else { continue };
            let known = manifest.as_ref().ok().and_then(|manifest| manifest.holds(name, &bytes));
            if !force && !known.unwrap_or_else(|| is_ours(&path, &bytes)) {
                return Err(EnableError::Changed(path));
            }
            gone.push(path);
        }
        let is_kept =
            |name: &str| name.starts_with(MODULE) && Path::new(name).extension().is_some_and(|end| end == "pyc");
        gone.extend(part::named(&self.dir.join("__pycache__"), is_kept));
        if self.dir.join(MANIFEST).symlink_metadata().is_ok() {
            gone.push(self.dir.join(MANIFEST));
        }
        part::remove(&gone)?;
        if let Ok(manifest) = manifest {
            manifest.remove_made(&self.dir, &DIRS);
        }
        Ok(gone)
    }

    /// Whether it is enabled, by whom, and whether that is as it was written.
    #[must_use]
    pub fn state(&self) -> State {
        let module = format!("{MODULE}.py");
        let names = [PTH, START, &module];
        let manifest = self.dir.join(MANIFEST);
        let is_there = |name: &&str| self.dir.join(name).symlink_metadata().is_ok();
        match part::state(&self.dir, &manifest, &names) {
            State::Off if names.iter().any(is_there) => State::Broken(format!("`{}` is missing", manifest.display())),
            State::On { version, .. } => {
                let binary = Manifest::read(&manifest).map(|manifest| manifest.binary_in(&self.prefix));
                State::On { version, binary: binary.unwrap_or_default() }
            }
            state => state,
        }
    }

    fn files(&self, binary: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        let mut known: Vec<&str> = frameworks().iter().flat_map(|row| row.modules.iter().copied()).collect();
        known.sort_unstable();
        let finder = FINDER.replace("KNOWN", &known.join(" "));
        let hook = HOOK
            .replacen("BINARY = \"\"", &format!("BINARY = {}", python_text(&portable(binary, &self.prefix))), 1)
            .replacen("VERSION = \"\"", &format!("VERSION = \"{}\"", env!("CARGO_PKG_VERSION")), 1);
        // What `cudashim.start` names; a `.pth` line has the same in it, and does not read this file until it is needed.
        let hook = format!("{hook}\n\ndef start():\n{}", indented(&finder));
        // Names of its own: a line of a `.pth` file runs among those of `site`.
        let code = format!("({}, {{}})", python_text(finder.as_bytes()));
        let line = format!("import sys; exec{code}\n");
        [(PTH.to_owned(), line), (START.to_owned(), format!("{MODULE}:start\n")), (format!("{MODULE}.py"), hook)]
            .map(|(name, text)| (self.dir.join(name), text.into_bytes()))
            .into()
    }
}

/// The path of the binary, from the environment where it stands in that: an environment may be moved.
fn portable(binary: &Path, prefix: &Path) -> Vec<u8> {
    match binary.strip_prefix(prefix) {
        Ok(below) => [b"{prefix}/", below.as_os_str().as_bytes()].concat(),
        Err(_) => binary.as_os_str().as_bytes().to_vec(),
    }
}

/// Whether a file is one of ours, where no manifest tells.
fn is_ours(path: &Path, bytes: &[u8]) -> bool {
    let marks: [&[u8]; 2] = [b"_cudashim_hook", b"cudashim enable"];
    let name = path.file_name().unwrap_or_default().as_bytes();
    let mark = if name.ends_with(b".py") { marks[1] } else { marks[0] };
    memchr::memmem::find(bytes, mark).is_some()
}

fn indented(code: &str) -> String {
    code.lines().map(|line| if line.is_empty() { "\n".to_owned() } else { format!("    {line}\n") }).collect()
}

/// Bytes as a literal of Python's, as `os.fsdecode` would read them: what is not UTF-8 is a lone surrogate.
fn python_text(bytes: &[u8]) -> String {
    let mut text = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            let _ = match c {
                '"' | '\\' => write!(text, "\\{c}"),
                '\n' => write!(text, "\\n"),
                c if c.is_ascii() && !c.is_ascii_control() => write!(text, "{c}"),
                c => write!(text, "\\U{:08x}", u32::from(c)),
            };
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "\\udc{byte:02x}");
        }
    }
    text + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_read_back_as_it_is() {
        assert_eq!(python_text(b"/a b/\"c\"\\\n"), r#""/a b/\"c\"\\\n""#);
        assert_eq!(python_text(b"/\xc3\xa9/\xff"), r#""/\U000000e9/\udcff""#);
    }

    #[test]
    fn a_binary_in_the_environment_moves_with_it() {
        assert_eq!(portable("/v/bin/cudashim".as_ref(), "/v".as_ref()), b"{prefix}/bin/cudashim");
        assert_eq!(portable("/usr/bin/cudashim".as_ref(), "/v".as_ref()), b"/usr/bin/cudashim");
    }
}
