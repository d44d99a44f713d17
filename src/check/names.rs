//! Consumers that are known to open libraries by name: the rows of `data/dlopens.tsv`.
//!
//! Takes a common name (`cupy`, `ctranslate2`); gives the names that this consumer opens. Never checks whether the
//! consumer is installed; a known release narrows the rows.

use crate::python::Distribution;
use crate::tables::{Version, dlopens, dlopens_of};
use std::collections::{BTreeMap, BTreeSet};

/// A consumer of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consumer {
    /// Its name in the table: `python:cupy`, `ctranslate2`.
    pub who: &'static str,
}

/// The consumers that are not NVIDIA libraries themselves, by common name.
#[must_use]
pub fn consumers_of(common_name: &str) -> Option<Consumer> {
    let fits = |who: &str| who == common_name || who.split_once(':').is_some_and(|(_, name)| name == common_name);
    dlopens().iter().find(|row| fits(row.who)).map(|row| Consumer { who: row.who })
}

/// The common names that [`consumers_of`] accepts.
#[must_use]
pub fn known_consumers() -> Vec<&'static str> {
    let mut names: Vec<_> = dlopens()
        .iter()
        .map(|row| Consumer { who: row.who })
        .filter(Consumer::is_python)
        .map(|it| it.plain())
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

impl Consumer {
    /// The common name: `cupy`.
    fn plain(&self) -> &'static str {
        self.who.split_once(':').map_or(self.who, |(_, name)| name)
    }

    /// Whether it is a Python package, not a library.
    pub(super) fn is_python(&self) -> bool {
        self.who.starts_with("python:")
    }

    /// Whether a package is this consumer or a part of it: `cupy-cuda12x`, `jax-cuda12-plugin`, `paddlepaddle-gpu`.
    pub(super) fn is_package(&self, distribution: &Distribution) -> bool {
        let rest = distribution.name.strip_prefix(self.plain());
        let rest = rest.or_else(|| distribution.name.strip_prefix("paddlepaddle").filter(|_| self.plain() == "paddle"));
        let parts = ["-cuda", "-cu1", "-gpu", "-rocm", "-cpu"];
        rest.is_some_and(|rest| rest.is_empty() || parts.iter().any(|part| rest.starts_with(part)))
    }

    /// Whether it opens the libraries in NVIDIA's wheels by path (`_load_nvidia_libraries` of JAX).
    pub(super) fn opens_wheels(&self) -> bool {
        self.who == "python:jax"
    }

    /// The names that it opens, each with whether it is optional. The `installed` packages decide its release and its
    /// CUDA major.
    #[must_use]
    pub fn names(&self, installed: &[Distribution]) -> Vec<(String, bool)> {
        let version = installed
            .iter()
            .find(|distribution| self.is_package(distribution))
            .and_then(|distribution| Version::parse(&distribution.version));
        let major = cuda_major(installed).unwrap_or_default();
        let Some(unknown) = Version::parse("0") else { return Vec::new() };
        let mut names: BTreeMap<String, bool> = BTreeMap::new();
        for row in dlopens_of(self.who, version.as_ref()) {
            if row.name.contains("{cuda_major}") && major == 0 {
                continue;
            }
            if let Some(name) = row.expand(version.as_ref().unwrap_or(&unknown), major) {
                *names.entry(name).or_default() |= row.required;
            }
        }
        names.into_iter().collect()
    }
}

/// The CUDA major in the names of installed packages, if they agree: `nvidia-cublas-cu12`, `cupy-cuda12x`.
#[must_use]
pub(super) fn cuda_major(installed: &[Distribution]) -> Option<u64> {
    let majors: BTreeSet<u64> = installed
        .iter()
        .filter_map(|distribution| {
            let (_, tail) = distribution.name.rsplit_once("-cu")?;
            let digits: String = tail.trim_start_matches("da").chars().take_while(char::is_ascii_digit).collect();
            digits.parse().ok()
        })
        .collect();
    majors.first().copied().filter(|_| majors.len() == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn installed(list: &[(&str, &str)]) -> Vec<Distribution> {
        let one = |(name, version): &(&str, &str)| Distribution {
            name: (*name).to_owned(),
            version: (*version).to_owned(),
            dir: "/site".into(),
        };
        list.iter().map(one).collect()
    }

    #[test]
    fn common_names() {
        assert_eq!(consumers_of("cupy").unwrap().who, "python:cupy");
        assert_eq!(consumers_of("ctranslate2").unwrap().who, "ctranslate2");
        assert_eq!(consumers_of("no-such-thing"), None);
    }

    #[test]
    fn packages_decide_the_cuda_major() {
        let jax = consumers_of("jax").unwrap();
        let names =
            |list: &[(&str, &str)]| jax.names(&installed(list)).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert!(names(&[("nvidia-cublas-cu12", "12.9.1.4")]).contains(&"libcublas.so.12".to_owned()));
        let unknown = names(&[]);
        assert!(unknown.contains(&"libcudnn.so.9".to_owned()) && !unknown.iter().any(|name| name.contains("cublas")));
        assert_eq!(cuda_major(&installed(&[("cupy-cuda12x", "14.2.0")])), Some(12));
        assert_eq!(cuda_major(&installed(&[("a-cu12", "1"), ("b-cu13", "1")])), None);
    }
}
