//! A directory of small libraries and programs, made with the C compiler, and runs of them.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

pub(crate) struct Lab {
    dir: TempDir,
}

impl Lab {
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("lab").tempdir().unwrap();
        Self { dir }
    }

    pub(crate) fn root(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// A shared object with a soname of its own.
    pub(crate) fn library(&self, name: &str, soname: &str, source: &str, args: &[&str]) -> PathBuf {
        let soname = format!("-Wl,-soname,{soname}");
        self.compile(name, source, &[&["-shared", "-fPIC", soname.as_str()], args].concat())
    }

    /// A library whose function `which` tells the copies apart.
    pub(crate) fn copy(&self, name: &str, soname: &str, which: u32) -> PathBuf {
        self.library(name, soname, &format!("int which(void) {{ return {which}; }}"), &[])
    }

    pub(crate) fn program(&self, name: &str, source: &str, args: &[&str]) -> PathBuf {
        self.compile(name, source, args)
    }

    fn compile(&self, name: &str, source: &str, args: &[&str]) -> PathBuf {
        let c = self.write(&format!("{name}.c"), source);
        let path = self.path(name);
        // Without --as-needed: a needed name stands there because the test says so.
        let output = Command::new("cc")
            .current_dir(self.root())
            .arg(&c)
            .args(["-O0", "-Wl,--no-as-needed", "-o"])
            .arg(&path)
            .args(args)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        path
    }
}

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

/// What a run printed, with the lab's directory written as `[R]`.
pub(crate) struct Ran {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) code: Option<i32>,
}

impl Ran {
    pub(crate) fn of(lab: &Lab, output: &Output) -> Self {
        let clean = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(lab.root().to_str().unwrap(), "[R]");
        Self { out: clean(&output.stdout), err: clean(&output.stderr), code: output.status.code() }
    }
}

/// A command that sees nothing of this test's own environment.
pub(crate) fn clean_command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C");
    command
}
