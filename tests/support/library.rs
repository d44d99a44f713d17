//! Libraries of a few functions, and the environments that wheels put them into.

use super::{library, version_script};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// A library to be built: what it is called, what it defines, what it takes from others.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Lib {
    soname: String,
    node: Option<String>,
    defines: Vec<String>,
    uses: Vec<(String, Option<String>, Vec<String>)>,
    arguments: Vec<String>,
    source: String,
}

impl Lib {
    /// A library whose one version node is its soname, as NVIDIA builds them.
    pub(crate) fn new(soname: &str) -> Self {
        Self {
            soname: soname.into(),
            node: Some(soname.into()),
            defines: Vec::new(),
            uses: Vec::new(),
            arguments: Vec::new(),
            source: String::new(),
        }
    }

    /// Without a version node: torch's own libraries, NCCL, cuSPARSELt.
    pub(crate) fn unversioned(mut self) -> Self {
        self.node = None;
        self
    }

    /// Functions it has.
    pub(crate) fn defines(mut self, symbols: &[&str]) -> Self {
        self.defines.extend(symbols.iter().map(|&symbol| symbol.into()));
        self
    }

    /// A needed entry for `soname`, and functions taken from that library's node.
    pub(crate) fn uses(mut self, soname: &str, symbols: &[&str]) -> Self {
        let symbols = symbols.iter().map(|&symbol| symbol.into()).collect();
        self.uses.push((soname.into(), Some(soname.into()), symbols));
        self
    }

    /// The same, of a node that has another name than the library, or of none.
    pub(crate) fn uses_of(mut self, soname: &str, node: Option<&str>, symbols: &[&str]) -> Self {
        let symbols = symbols.iter().map(|&symbol| symbol.into()).collect();
        self.uses.push((soname.into(), node.map(Into::into), symbols));
        self
    }

    /// The same, from a library without version nodes.
    pub(crate) fn takes(self, soname: &str, symbols: &[&str]) -> Self {
        self.uses_of(soname, None, symbols)
    }

    /// With one version node of this name.
    pub(crate) fn node(mut self, node: &str) -> Self {
        self.node = Some(node.into());
        self
    }

    /// Its own code.
    pub(crate) fn source(mut self, text: &str) -> Self {
        self.source.push_str(text);
        self
    }

    /// A further argument for the linker, such as `-rpath,$ORIGIN`.
    pub(crate) fn link(mut self, argument: &str) -> Self {
        self.arguments.push(format!("-Wl,{argument}"));
        self
    }

    /// Builds it at `path`.
    pub(crate) fn build(&self, path: &Path) -> PathBuf {
        static BUILT: Mutex<BTreeMap<Lib, Vec<u8>>> = Mutex::new(BTreeMap::new());
        let known = BUILT.lock().unwrap().get(self).cloned();
        let bytes = known.unwrap_or_else(|| self.bytes());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, &bytes).unwrap();
        BUILT.lock().unwrap().insert(self.clone(), bytes);
        path.to_owned()
    }

    /// The file. What it uses is linked against stand-ins that are gone afterwards.
    fn bytes(&self) -> Vec<u8> {
        let scratch = tempfile::tempdir().unwrap();
        let mut source = self.source.clone();
        let mut stubs = Vec::new();
        for (at, (soname, node, symbols)) in self.uses.iter().enumerate() {
            let stub = Self { node: node.clone(), ..Self::new(soname) };
            let stub = Self { defines: symbols.clone(), ..stub };
            stubs.push(stub.compile(scratch.path(), &format!("stub{at}.so"), "", &[]).display().to_string());
            for symbol in symbols {
                let _ = writeln!(source, "int {symbol}(void);\nint (*use_{symbol}_{at})(void) = {symbol};");
            }
        }
        fs::read(self.compile(scratch.path(), "built.so", &source, &stubs)).unwrap()
    }

    fn compile(&self, dir: &Path, out: &str, uses: &str, others: &[String]) -> PathBuf {
        let mut source = uses.to_owned();
        for symbol in &self.defines {
            let _ = writeln!(source, "int {symbol}(void) {{ return 0; }}");
        }
        let mut arguments = vec![format!("-Wl,-soname,{}", self.soname), "-Wl,--no-as-needed".into()];
        if let Some(node) = &self.node {
            let globals: String = self.defines.iter().map(|symbol| format!("{symbol};")).collect();
            let global = if globals.is_empty() { String::new() } else { format!("global: {globals}") };
            arguments.push(version_script(dir, &format!("{out}.map"), &format!("{node} {{ {global} local: *; }};\n")));
        }
        arguments.extend(others.iter().cloned());
        arguments.extend(self.arguments.iter().cloned());
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        library(dir, out, &source, &arguments)
    }
}

/// A virtual environment.
pub(crate) struct Venv {
    /// Its directory.
    pub(crate) dir: PathBuf,
    /// Its `site-packages`.
    pub(crate) site: PathBuf,
}

impl Venv {
    /// Its interpreter.
    pub(crate) fn python(&self) -> PathBuf {
        self.dir.join("bin/python")
    }

    /// What its torch loads first.
    pub(crate) fn torch_deps(&self) -> PathBuf {
        self.site.join("torch/lib/libtorch_global_deps.so")
    }

    /// Its interpreter by itself, loading that.
    pub(crate) fn load(&self) -> Command {
        let mut command = Command::new(self.python());
        command.env_clear().arg("--load").arg(self.torch_deps());
        command
    }

    /// Installs a wheel that holds libraries at these paths below `site-packages`.
    pub(crate) fn wheel<P: AsRef<str>>(&self, name: &str, version: &str, libraries: &[(P, Lib)]) -> &Self {
        let mut record = String::new();
        for (path, library) in libraries {
            let path = path.as_ref();
            let size = fs::metadata(library.build(&self.site.join(path))).unwrap().len();
            let _ = writeln!(record, "{path},,{size}");
        }
        self.dist_info(name, version, "", &record);
        self
    }

    /// Installs one of NVIDIA's wheels for CUDA 12, which holds this library: `cuda_runtime` for `nvidia-cuda-runtime-cu12`.
    pub(crate) fn nvidia(&self, dir: &str, version: &str, library: Lib) -> &Self {
        let path = format!("nvidia/{dir}/lib/{}", library.soname);
        self.wheel(&format!("nvidia-{}-cu12", dir.replace('_', "-")), version, &[(path, library)])
    }

    /// Installs a torch build with libraries at these paths below `torch`.
    pub(crate) fn torch(&self, version: &str, cuda: Option<&str>, pins: &[&str], libraries: &[(&str, Lib)]) -> &Self {
        let dir = self.site.join("torch");
        fs::create_dir_all(dir.join("lib")).unwrap();
        fs::write(dir.join("__init__.py"), "").unwrap();
        let cuda = cuda.map_or("None".into(), |cuda| format!("'{cuda}'"));
        fs::write(dir.join("version.py"), format!("__version__ = '{version}'\ncuda = {cuda}\n")).unwrap();
        for (path, library) in libraries {
            library.build(&dir.join(path));
        }
        let requires: String = pins.iter().map(|pin| format!("Requires-Dist: {pin}\n")).collect();
        self.dist_info("torch", version, &requires, "");
        self
    }

    /// Writes down that a package is installed; `more` are further lines of its metadata.
    pub(crate) fn dist_info(&self, name: &str, version: &str, more: &str, record: &str) {
        let dir = self.site.join(format!("{}-{version}.dist-info", name.replace('-', "_")));
        fs::create_dir_all(&dir).unwrap();
        let metadata = format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{more}\n");
        fs::write(dir.join("METADATA"), metadata).unwrap();
        fs::write(dir.join("RECORD"), record).unwrap();
    }
}
