//! What `stage` did: text, or JSON (`docs/json-schema/stage.json`).

use super::{JsonPath, SCHEMA};
use serde::Serialize;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// The report of `stage`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StageReport {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The user's directory of stages.
    pub dir: JsonPath,
    /// The image that hands the copies out.
    pub image: Option<JsonPath>,
    /// The number of copies.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Whether they were copied now.
    pub copied: bool,
    /// What was removed.
    pub removed: Vec<StagedCopy>,
    /// The variable by which `run` finds it.
    #[serde(skip)]
    variable: Option<(&'static str, PathBuf)>,
    #[serde(skip)]
    clean: bool,
}

/// A stage that was removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StagedCopy {
    /// Its directory.
    pub path: JsonPath,
    /// Its bytes.
    pub bytes: u64,
}

impl StagedCopy {
    /// One of this size.
    #[must_use]
    pub fn new(path: &Path, bytes: u64) -> Self {
        Self { path: path.into(), bytes }
    }
}

impl StageReport {
    /// Of a stage that was made, or was there.
    #[must_use]
    pub fn made(
        dir: &Path,
        image: &Path,
        files: usize,
        bytes: u64,
        copied: bool,
        variable: Option<(&'static str, PathBuf)>,
    ) -> Self {
        let image = Some(image.into());
        Self {
            schema: SCHEMA,
            dir: dir.into(),
            image,
            files,
            bytes,
            copied,
            removed: Vec::new(),
            variable,
            clean: false,
        }
    }

    /// Of `--clean`.
    #[must_use]
    pub fn cleaned(dir: &Path, removed: Vec<StagedCopy>) -> Self {
        let dir = dir.into();
        Self {
            schema: SCHEMA,
            dir,
            image: None,
            files: 0,
            bytes: 0,
            copied: false,
            removed,
            variable: None,
            clean: true,
        }
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let dir = self.dir.to_path();
        let mib = |bytes: u64| format!("{} MiB", bytes.div_ceil(1 << 20));
        if self.clean {
            let bytes = self.removed.iter().map(|found| found.bytes).sum();
            return format!(
                "removed {} from `{}`: {}\n",
                counted(self.removed.len(), "set"),
                dir.display(),
                mib(bytes)
            );
        }
        let (files, bytes) = (counted(self.files, "file"), mib(self.bytes));
        let mut text = if self.copied {
            format!("copied {files}, {bytes}, to `{}`\n", dir.display())
        } else {
            format!("{files}, {bytes}, are in `{}` already\n", dir.display())
        };
        if let Some((name, value)) = &self.variable {
            let _ = writeln!(text, "`run` hands them out where {name} is `{}`", value.display());
        }
        text
    }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
