//! An installed torch: its place, its build and its pins, read without importing it.

use super::{Distribution, distributions, pins};
use crate::host::Host;
use crate::tables::{VersionRange, parse_library_name};
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// `c10::Error::Error(SourceLocation, std::string)` with the string of the new ABI: libc10.so defines
/// it where torch was built with `_GLIBCXX_USE_CXX11_ABI=1`.
const CXX11_SYMBOL: &[u8] = b"_ZN3c105ErrorC2ENS_14SourceLocationENSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEE";

/// Why no torch is found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TorchError {
    /// No directory holds one.
    #[error("no torch in {}", display_list(.0))]
    NotInstalled(Vec<PathBuf>),
}

fn display_list(paths: &[PathBuf]) -> String {
    let shown: Vec<String> = paths.iter().map(|path| format!("`{}`", path.display())).collect();
    if shown.is_empty() { "any directory".to_owned() } else { shown.join(", ") }
}

/// An installed torch.
///
/// ```
/// use cudashim::{Host, TorchBuild};
/// let host = Host::current();
/// if let Ok(torch) = TorchBuild::find(&host, &["/opt/venv/lib/python3.12/site-packages".into()]) {
///     println!("torch {} for CUDA {:?}", torch.version, torch.cuda);
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TorchBuild {
    /// The `torch` directory.
    pub dir: PathBuf,
    /// As `torch.__version__`: `2.5.1+cu124`.
    pub version: String,
    /// As `torch.version.cuda`: `12.4`; `None` for a build without CUDA.
    pub cuda: Option<String>,
    /// `_GLIBCXX_USE_CXX11_ABI`, if libc10.so shows it.
    pub cxx11_abi: Option<bool>,
    /// The pins of its metadata, by package name.
    pub pins: BTreeMap<String, VersionRange>,
    /// The directories that were searched.
    #[doc(hidden)]
    pub sites: Vec<PathBuf>,
}

impl TorchBuild {
    /// The torch that `import torch` would find in these directories.
    #[doc(hidden)]
    pub fn find(host: &Host, sites: &[PathBuf]) -> Result<Self, TorchError> {
        let found = sites.iter().find(|site| host.is_file(&site.join("torch/__init__.py")));
        let Some(site) = found else { return Err(TorchError::NotInstalled(sites.to_vec())) };
        let dir = site.join("torch");
        let text = host.read_text(&dir.join("version.py")).unwrap_or_default();
        let installed: Vec<Distribution> = sites.iter().flat_map(|site| distributions(host, site)).collect();
        let recorded =
            installed.iter().find(|distribution| distribution.name == "torch").map(|torch| torch.version.clone());
        let version = assigned(&text, "__version__").or(recorded).unwrap_or_default();
        let cuda = assigned(&text, "cuda").or_else(|| {
            // A missing or truncated `version.py` does not mean a build without CUDA.
            let recorded = text.lines().any(|line| is_assignment(line, "cuda"));
            if recorded { None } else { cuda_of_tag(&version).or_else(|| cuda_of_library(host, &dir)) }
        });
        let pins = pins(host, &installed, "torch");
        let cxx11_abi = host.map(&dir.join("lib/libc10.so")).ok().and_then(|(map, _)| {
            let elf = crate::elf::Elf::parse(&map).ok()?;
            Some(elf.defines(CXX11_SYMBOL, None))
        });
        Ok(Self { dir, version, cuda, cxx11_abi, pins, sites: sites.to_vec() })
    }

    /// The version and the CUDA release in `torch/version.py`. Reads nothing else.
    #[must_use]
    #[doc(hidden)]
    pub fn recorded_version(host: &Host, dir: &Path) -> Option<(String, Option<String>)> {
        let text = host.read_text(&dir.join("version.py")).ok()?;
        Some((assigned(&text, "__version__")?, assigned(&text, "cuda")))
    }

    /// The CUDA release it was built with: major and minor.
    #[must_use]
    pub fn cuda_release(&self) -> Option<(u32, Option<u32>)> {
        let mut parts = self.cuda.as_deref()?.split('.');
        Some((parts.next()?.parse().ok()?, parts.next().and_then(|minor| minor.parse().ok())))
    }

    /// The site directory it is installed in.
    #[must_use]
    pub fn site(&self) -> &Path {
        self.dir.parent().unwrap_or(&self.dir)
    }
}

/// The CUDA release in the tag of a version: `2.5.1+cu124`. The last digit is the minor.
fn cuda_of_tag(version: &str) -> Option<String> {
    let digits = version.split_once("+cu")?.1.split('.').next()?;
    let (major, minor) = digits.split_at_checked(digits.len().checked_sub(1)?)?;
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (number(major) && number(minor)).then(|| format!("{major}.{minor}"))
}

/// The CUDA major that torch's own library is linked against.
fn cuda_of_library(host: &Host, dir: &Path) -> Option<String> {
    let (map, _) = host.map(&dir.join("lib/libtorch_cuda.so")).ok()?;
    let elf = crate::elf::Elf::parse(&map).ok()?;
    let mut majors = elf.needed().iter().filter_map(|name| {
        let name = parse_library_name(std::ffi::OsStr::from_bytes(name))?;
        // These two have CUDA's own numbers.
        matches!(name.row.stem, "cudart" | "cublas").then_some(name.version?.major())
    });
    majors.next().map(|major| major.to_string())
}

/// Whether a line assigns to `name`, whatever it assigns.
fn is_assignment(line: &str, name: &str) -> bool {
    let rest = line.strip_prefix(name).map(str::trim_start);
    rest.is_some_and(|rest| rest.starts_with('=') || rest.starts_with(':') && rest.contains('='))
}

/// The string assigned to `name` at the top level of a Python file: `name = '…'` or `name: T = '…'`.
fn assigned(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let rest = line.strip_prefix(name)?.trim_start();
        let value = match rest.strip_prefix(':') {
            Some(annotated) => annotated.split_once('=')?.1,
            None => rest.strip_prefix('=')?,
        };
        let value = value.trim();
        let quote = value.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
        value.get(1..)?.split(quote).next().map(str::to_owned)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cuda_release_of_a_tag() {
        for (version, cuda) in [
            ("2.5.1+cu124", Some("12.4")),
            ("1.7.1+cu92", Some("9.2")),
            ("2.9.0+cu130.with.more", Some("13.0")),
            ("2.5.1+cpu", None),
            ("2.5.1+cu", None),
            ("2.5.1+cu4", None),
            ("2.5.1", None),
        ] {
            assert_eq!(cuda_of_tag(version).as_deref(), cuda, "{version}");
        }
    }

    #[test]
    fn a_missing_assignment_differs_from_none() {
        assert!(is_assignment("cuda = None", "cuda") && is_assignment("cuda: Optional[str] = None", "cuda"));
        assert!(!is_assignment("cuda_x = None", "cuda") && !is_assignment("cuda", "cuda"));
    }

    #[test]
    fn version_files_of_all_releases() {
        assert_eq!(assigned("__version__ = '1.13.1+cu117'\ncuda = '11.7'\n", "cuda").as_deref(), Some("11.7"));
        assert_eq!(assigned("cuda: Optional[str] = '12.8'", "cuda").as_deref(), Some("12.8"));
        assert_eq!(assigned("cuda: Optional[str] = None", "cuda"), None);
        assert_eq!(assigned("cuda = None\n", "cuda"), None);
        assert_eq!(assigned("cuda_x = '1'\n", "cuda"), None);
    }
}
