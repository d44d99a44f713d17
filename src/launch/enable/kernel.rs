//! A Jupyter kernel that is started with the shim: its `kernel.json`.
//!
//! Takes the directory of a kernel; writes the shim beside its `kernel.json` and names it there, and puts the file back
//! byte for byte. Where that was changed since, only what is ours is taken out of it.

use super::part::{self, EnableError, Manifest, State};
use crate::launch::shim;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

const FILE: &str = "kernel.json";
const SHIM: &str = "libcudashim.so";
const MANIFEST: &str = "cudashim.enabled.json";

/// A kernel, by its directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel(pub PathBuf);

/// The kernels in directories of data, in their order, each with its name.
#[must_use]
pub fn kernels(data: &[PathBuf]) -> Vec<(String, Kernel)> {
    let dirs = data.iter().map(|dir| dir.join("kernels"));
    let found = dirs.flat_map(|dir| part::named(&dir, |_| true)).filter(|dir| dir.join(FILE).is_file());
    found.filter_map(|dir| Some((dir.file_name()?.to_str()?.to_owned(), Kernel(dir)))).collect()
}

impl Kernel {
    /// Names the shim, which asks `binary`, in the environment of the kernel.
    ///
    /// # Errors
    /// `kernel.json` cannot be read or written.
    pub fn enable(&self, binary: &Path) -> Result<Vec<PathBuf>, EnableError> {
        shim::check_expressible(&self.0)?;
        let (path, object) = (self.0.join(FILE), self.0.join(SHIM));
        let known = Manifest::read(&self.0.join(MANIFEST)).ok().and_then(|manifest| manifest.was);
        let was = match known {
            // Enabled already: what it was before is kept.
            Some(was) => was,
            None => self.text()?,
        };
        let mut spec = parsed(&path, &self.text()?)?;
        let Some(environment) = environment(&mut spec) else { return Err(malformed(&path)) };
        let listed = environment.get("LD_PRELOAD").and_then(Value::as_str).unwrap_or_default();
        environment.insert("LD_PRELOAD".to_owned(), Value::from(preloaded(listed, &object)));
        let text = written(&spec);
        let files = vec![(object, shim::image_for(Some(binary))?), (path, text)];
        let mut manifest = Manifest::new(binary.display().to_string(), &files, &self.0, &[]);
        manifest.was = Some(was);
        part::write(std::iter::once((self.0.join(MANIFEST), manifest.to_bytes())).chain(files))
    }

    /// Puts `kernel.json` back as it was.
    ///
    /// # Errors
    /// It cannot be read or written.
    pub fn disable(&self) -> Result<Vec<PathBuf>, EnableError> {
        let (path, object) = (self.0.join(FILE), self.0.join(SHIM));
        let ours = [self.0.join(MANIFEST), object.clone()];
        if ours.iter().all(|path| path.symlink_metadata().is_err()) {
            return Ok(Vec::new());
        }
        let manifest = Manifest::read(&self.0.join(MANIFEST)).ok();
        let text = self.text()?;
        let is_whole = manifest.as_ref().and_then(|manifest| manifest.holds(FILE, text.as_bytes())) == Some(true);
        let bytes = match manifest.and_then(|manifest| manifest.was).filter(|_| is_whole) {
            Some(was) => was.into_bytes(),
            None => without(&path, &text, &object)?,
        };
        if bytes != text.as_bytes() {
            part::write([(path.clone(), bytes)])?;
        }
        part::remove(&ours)?;
        Ok([vec![path], ours.into()].concat())
    }

    /// Whether it is enabled.
    #[must_use]
    pub fn state(&self) -> State {
        part::state(&self.0, &self.0.join(MANIFEST), &[SHIM, FILE])
    }

    fn text(&self) -> Result<String, EnableError> {
        let path = self.0.join(FILE);
        let bytes = part::bytes(&path)?
            .ok_or_else(|| EnableError::Read { path: path.clone(), says: "there is no such file".to_owned() })?;
        String::from_utf8(bytes).map_err(|_| malformed(&path))
    }
}

/// The text without what was put into it.
fn without(path: &Path, text: &str, object: &Path) -> Result<Vec<u8>, EnableError> {
    let mut spec = parsed(path, text)?;
    let Some(environment) = environment(&mut spec) else { return Err(malformed(path)) };
    let listed = environment.get("LD_PRELOAD").and_then(Value::as_str).unwrap_or_default();
    let rest = others(listed, object);
    if rest == listed {
        return Ok(text.into());
    }
    if rest.is_empty() {
        environment.remove("LD_PRELOAD");
    } else {
        environment.insert("LD_PRELOAD".to_owned(), Value::from(rest));
    }
    if environment.is_empty() {
        spec.remove("env");
    }
    Ok(written(&spec))
}

fn parsed(path: &Path, text: &str) -> Result<Map<String, Value>, EnableError> {
    serde_json::from_str(text).map_err(|_| malformed(path))
}

fn written(spec: &Map<String, Value>) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(spec).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

fn environment(spec: &mut Map<String, Value>) -> Option<&mut Map<String, Value>> {
    spec.entry("env").or_insert_with(|| Value::Object(Map::new())).as_object_mut()
}

fn malformed(path: &Path) -> EnableError {
    EnableError::Read { path: path.to_owned(), says: "it is no description of a kernel".to_owned() }
}

/// The entries of a list without ours.
fn others(listed: &str, object: &Path) -> String {
    let entries = listed.split([':', ' ']).filter(|entry| !entry.is_empty() && Path::new(entry) != object);
    entries.collect::<Vec<_>>().join(":")
}

fn preloaded(listed: &str, object: &Path) -> String {
    let rest = others(listed, object);
    let object = object.display();
    if rest.is_empty() { object.to_string() } else { format!("{object}:{rest}") }
}
