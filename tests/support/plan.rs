//! A plan written by hand, record by record.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Device and inode, size and time, as a plan has them.
fn state(path: &Path) -> [String; 3] {
    let meta = fs::metadata(path).unwrap();
    let mtime = i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec());
    [format!("{}:{}", meta.dev(), meta.ino()), meta.len().to_string(), mtime.to_string()]
}

/// A plan written by hand, record by record.
#[derive(Clone, Default)]
pub(crate) struct PlanText {
    lines: Vec<String>,
}

/// The name of an image's file, and its bytes.
pub(crate) type ImageFile = (String, Vec<u8>);

impl PlanText {
    pub(crate) fn new() -> Self {
        Self { lines: vec!["cudashim-plan\t1".into()] }
    }

    pub(crate) fn record(mut self, fields: &[&str]) -> Self {
        self.lines.push(fields.join("\t"));
        self
    }

    /// A library with the identity its file has now.
    pub(crate) fn lib(self, soname: &str, path: &Path, how: &str) -> Self {
        let [id, size, mtime] = state(path);
        self.record(&["lib", soname, path.to_str().unwrap(), &id, &size, &mtime, "-", "-", how])
    }

    /// A program that it is for, by the path it is started by.
    pub(crate) fn program(self, path: &Path) -> Self {
        self.record(&["program", path.to_str().unwrap()])
    }

    /// A plan as the shim reads it, on this machine.
    pub(crate) fn image(&self) -> ImageFile {
        let plan = cudashim::Plan::parse(self.text().as_bytes()).unwrap();
        let host = cudashim::Host::new("/".into(), BTreeMap::new(), "/".into());
        let image = cudashim::internal::plan::Image::compile(&plan, &host).unwrap();
        (image.file_name(), image.bytes)
    }

    pub(crate) fn text(&self) -> String {
        let count = self.lines.len();
        format!("{}\nend\t{count}\n", self.lines.join("\n"))
    }
}
