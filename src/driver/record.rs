//! The driver of a machine as a JSON file.

use super::{Driver, RECORD};
use crate::host::Hints;
use serde::{Deserialize, Serialize};

/// Why a record cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// It is not a record.
    #[error("not a recorded driver: {0}")]
    Malformed(#[from] serde_json::Error),
    /// It was written by a later cudashim.
    #[error("the record has format {found}; this cudashim reads {RECORD}")]
    Newer {
        /// Its format.
        found: u32,
    },
}

impl Hints for RecordError {}

#[derive(Serialize, Deserialize)]
struct Record<M> {
    schema: u32,
    #[serde(flatten)]
    machine: M,
}

#[derive(Deserialize)]
struct Head {
    schema: u32,
}

impl Driver {
    /// The machine as JSON.
    ///
    /// # Errors
    /// None that is known: all fields have a JSON form.
    pub fn to_json(&self) -> Result<String, RecordError> {
        Ok(serde_json::to_string_pretty(&Record { schema: RECORD, machine: self })? + "\n")
    }

    /// Reads the output of [`Driver::to_json`]. Skips unknown fields; missing ones count as not seen.
    pub fn from_json(text: &str) -> Result<Self, RecordError> {
        let Head { schema: found } = serde_json::from_str(text)?;
        if found > RECORD {
            return Err(RecordError::Newer { found });
        }
        Ok(serde_json::from_str::<Record<Self>>(text)?.machine)
    }
}

/// Paths as text, also those that are not UTF-8.
pub(super) mod path {
    use crate::host::escape;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use std::path::{Path, PathBuf};

    pub(crate) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&escape::path(path))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
        let text = String::deserialize(deserializer)?;
        escape::parse_path(&text).ok_or_else(|| D::Error::custom("a path that is not escaped"))
    }
}
