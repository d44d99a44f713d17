//! An image of a container, read without a container engine and without unpacking it.
//!
//! Takes a root directory, an archive of `docker save` or of an OCI layout (plain, gzip, zstd), or the directory of an
//! OCI layout; gives its file system as a [`Host`], its layers and its configuration. Reads the archive once, in order; a layer that lies
//! in it unpacked is not read but for its headers. Of a packed one, the files that may matter are
//! kept in a file without a name (`keep`). Names of an archive never reach the disk. Judges nothing.

mod blobs;
mod error;
mod keep;
mod layer;
mod manifest;
mod source;
mod tar;

pub use error::{Fault, ImageError};
pub use manifest::{Config, Execution, Platform};

use crate::host::{Host, Tree};
use blobs::Blobs;
use serde::Serialize;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a container gets where the image sets no `PATH` (`DefaultPathEnv` of Docker and containerd).
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The form of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Form {
    /// A directory that is its root.
    Root,
    /// An archive of `docker save`.
    DockerArchive,
    /// An archive of an OCI layout.
    OciArchive,
    /// The directory of an OCI layout.
    OciLayout,
}

/// Which image of several.
#[derive(Debug, Clone, Default)]
pub struct Which {
    /// Its name: `repository:tag`.
    pub tag: Option<String>,
    /// `os/architecture`.
    pub platform: Option<String>,
    /// Variables, beside those of the image.
    pub env: Vec<(OsString, OsString)>,
}

/// A layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LayerInfo {
    /// Its digest, or its name in the archive.
    pub name: String,
    /// The bytes of its files.
    pub size: u64,
    /// The command that made it.
    pub command: Option<String>,
}

/// An image.
#[derive(Debug)]
#[non_exhaustive]
pub struct Image {
    /// What was named.
    pub path: PathBuf,
    /// Its form.
    pub form: Form,
    /// Its names.
    pub tags: Vec<String>,
    /// What it runs on; `None` of a root directory.
    pub platform: Option<Platform>,
    /// Its layers, the lowest first; none of a root directory.
    pub layers: Vec<LayerInfo>,
    /// How a container of it starts.
    pub execution: Execution,
    /// Its files, in the environment of a container.
    pub host: Host,
}

impl Image {
    /// Reads an image.
    ///
    /// # Errors
    /// If it cannot be read, is damaged or exceeds a limit, or if it is one of several and none is chosen.
    pub fn open(path: &Path, wanted: &Which) -> Result<Self, ImageError> {
        Self::read(path, wanted).map_err(|fault| ImageError { path: path.to_owned(), fault })
    }

    fn read(path: &Path, wanted: &Which) -> Result<Self, Fault> {
        let disk = Host::current();
        if disk.is_dir(path) && !Blobs::is_layout(&disk, path) {
            let execution = Execution::default();
            let (env, cwd) = surroundings(&execution, wanted);
            let host = Host::new(disk.absolute(path), env, cwd);
            let (form, path) = (Form::Root, path.to_owned());
            return Ok(Self { path, form, tags: Vec::new(), platform: None, layers: Vec::new(), execution, host });
        }
        let mut blobs = Blobs::open(&disk, path)?;
        let found = blobs.choose(wanted)?;
        let mut tree = Tree::new(path.to_owned());
        let mut commands = found.config.commands();
        let mut layers = Vec::new();
        for (number, name) in found.layers.iter().enumerate() {
            let layer = blobs.layer(name)?;
            layers.push(LayerInfo { name: name.clone(), size: layer.size, command: commands.next().flatten() });
            layer.add_to(&mut tree, number)?;
        }
        drop(commands);
        let execution = found.config.execution.unwrap_or_default();
        let (env, cwd) = surroundings(&execution, wanted);
        Ok(Self {
            path: path.to_owned(),
            form: found.form,
            tags: found.tags,
            platform: Some(found.config.platform),
            layers,
            execution,
            host: Host::of_tree(Arc::new(tree), env, cwd),
        })
    }

    /// The command that a container runs.
    #[must_use]
    pub fn command(&self) -> Vec<OsString> {
        let words = [&self.execution.entrypoint, &self.execution.cmd];
        words.into_iter().flatten().flatten().map(OsString::from).collect()
    }
}

/// The environment and the working directory of a container.
fn surroundings(execution: &Execution, wanted: &Which) -> (BTreeMap<OsString, OsString>, PathBuf) {
    let mut env = BTreeMap::from([(OsString::from("PATH"), OsString::from(PATH))]);
    // The engine reads it from `/etc/passwd`; other users have homes of their own there.
    if execution.user.as_deref().is_none_or(|user| matches!(user, "" | "0" | "root" | "0:0" | "root:root")) {
        env.insert("HOME".into(), "/root".into());
    }
    for variable in execution.env.iter().flatten() {
        if let Some((name, value)) = variable.split_once('=') {
            env.insert(name.into(), OsString::from_vec(value.as_bytes().to_vec()));
        }
    }
    env.extend(wanted.env.iter().cloned());
    let cwd = execution.working_dir.as_deref().filter(|dir| dir.starts_with('/')).unwrap_or("/");
    (env, cwd.into())
}
