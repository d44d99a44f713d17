//! The descriptions of an image: of `docker save`, of the OCI, and its configuration.
//!
//! Takes JSON texts; gives values. Knows no archive.
//!
//! Sources: <https://github.com/opencontainers/image-spec> (`image-index.md`, `manifest.md`, `config.md`),
//! <https://github.com/moby/docker-image-spec>.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// An entry of `manifest.json`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Saved {
    pub(super) config: String,
    #[serde(default)]
    pub(super) repo_tags: Option<Vec<String>>,
    pub(super) layers: Vec<String>,
}

/// An index or a manifest of the OCI: `manifests` or `config` and `layers`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Manifest {
    pub(super) manifests: Option<Vec<Descriptor>>,
    pub(super) config: Option<Descriptor>,
    pub(super) layers: Option<Vec<Descriptor>>,
}

/// What names a blob.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Descriptor {
    pub(super) digest: String,
    pub(super) size: u64,
    pub(super) platform: Option<Platform>,
    pub(super) annotations: BTreeMap<String, String>,
}

impl Descriptor {
    /// The name that a tool gave the image.
    pub(super) fn name(&self) -> Option<&str> {
        let keys = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];
        keys.iter().find_map(|key| self.annotations.get(*key)).map(String::as_str)
    }

    /// Whether it is a signature or an attestation, no image.
    pub(super) fn is_beside(&self) -> bool {
        self.annotations.contains_key("vnd.docker.reference.type")
            || self.platform.as_ref().is_some_and(|platform| platform.architecture == "unknown")
    }
}

/// What an image runs on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Platform {
    /// `linux`.
    pub os: String,
    /// `amd64`, `arm64`.
    pub architecture: String,
    /// `v8`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// That of this program.
    #[must_use]
    pub fn here() -> Self {
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        Self { os: "linux".to_owned(), architecture: architecture.to_owned(), variant: None }
    }

    /// Whether `OS/ARCHITECTURE[/VARIANT]`, or a part of it, names it.
    #[must_use]
    pub fn is(&self, text: &str) -> bool {
        let parts: Vec<&str> = text.split('/').collect();
        let variant = |variant: &str| self.variant.as_deref().is_none_or(|own| own == variant);
        match *parts {
            [architecture] => architecture == self.architecture,
            [os, architecture] => os == self.os && architecture == self.architecture,
            [os, architecture, of] => os == self.os && architecture == self.architecture && variant(of),
            _ => false,
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

/// The configuration of an image.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Config {
    #[serde(flatten)]
    pub(super) platform: Platform,
    #[serde(rename = "config")]
    pub(super) execution: Option<Execution>,
    history: Option<Vec<History>>,
}

/// How a container of it starts.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, rename_all(deserialize = "PascalCase"))]
#[non_exhaustive]
pub struct Execution {
    /// `NAME=VALUE`.
    pub env: Option<Vec<String>>,
    /// The first words of its command.
    pub entrypoint: Option<Vec<String>>,
    /// The words after them, or all.
    pub cmd: Option<Vec<String>>,
    /// The working directory.
    pub working_dir: Option<String>,
    /// The user.
    pub user: Option<String>,
}

/// A step that made it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct History {
    created_by: Option<String>,
    empty_layer: Option<bool>,
}

impl Config {
    /// The commands that made the layers, in their order.
    pub(super) fn commands(&self) -> impl Iterator<Item = Option<String>> {
        let history = self.history.as_deref().unwrap_or_default();
        history.iter().filter(|step| step.empty_layer != Some(true)).map(|step| step.created_by.clone())
    }
}
