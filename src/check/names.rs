//! Consumers that are known to open libraries by name: the frameworks of `data/frameworks.tsv`, the rows of
//! `data/dlopens.tsv`.
//!
//! Takes a common name (`cupy`, `ctranslate2`); gives the names that this consumer opens. Never checks whether the
//! consumer is installed; a known release narrows the rows.

use crate::host::Host;
use crate::python::{Distribution, requirements};
use crate::tables::{
    FrameworkRow, Search, Version, VersionRange, cuda_major_of_wheel, dlopens, dlopens_of, framework, frameworks,
};
use std::collections::{BTreeMap, BTreeSet};

/// A consumer of the tables.
#[derive(Debug, Clone)]
pub struct Consumer {
    /// Its name in `data/dlopens.tsv`: `python:cupy`, `ctranslate2`; else its common name.
    pub who: &'static str,
    /// Its row of `data/frameworks.tsv`; `None` for a library of NVIDIA's.
    pub framework: Option<&'static FrameworkRow>,
}

/// The consumer of a common name, or of a name in `data/dlopens.tsv`.
#[must_use]
pub fn consumers_of(common_name: &str) -> Option<Consumer> {
    if let Some(row) = framework(common_name) {
        return Some(Consumer::of(row));
    }
    let fits = |who: &str| who == common_name || who.split_once(':').is_some_and(|(_, name)| name == common_name);
    let who = dlopens().iter().find(|row| fits(row.who))?.who;
    Some(Consumer { who, framework: frameworks().iter().find(|row| row.opens == Some(who)) })
}

/// The common names of the frameworks.
#[must_use]
pub fn known_consumers() -> Vec<&'static str> {
    frameworks().iter().map(|row| row.name).collect()
}

impl Consumer {
    /// The consumer that a framework is.
    #[must_use]
    pub fn of(row: &'static FrameworkRow) -> Self {
        Self { who: row.opens.unwrap_or(row.name), framework: Some(row) }
    }

    /// Whether Python code, or code in a file of its own, opens the names: those of a native library are in its own rows.
    pub(super) fn is_python(&self) -> bool {
        self.who.starts_with("python:")
    }

    /// Whether a package is this consumer or a part of it: `cupy-cuda12x`, `jax-cuda12-plugin`, `paddlepaddle-gpu`.
    #[must_use]
    pub fn is_package(&self, distribution: &Distribution) -> bool {
        self.framework.is_some_and(|row| row.is_package(&distribution.name))
    }

    /// Whether it opens the libraries in NVIDIA's wheels by path (`_load_nvidia_libraries` of JAX).
    pub(super) fn opens_wheels(&self) -> bool {
        self.framework.is_some_and(|row| row.looks(Search::Wheels))
    }

    /// The CUDA major that it is for: of the name of its package, else of the wheels that it requires, else of all that is
    /// installed, where that agrees.
    #[must_use]
    pub fn major(&self, host: &Host, installed: &[Distribution]) -> Option<u64> {
        let own = || installed.iter().filter(|package| self.is_package(package));
        let named = cuda_major(own());
        let extras = self.framework.map(|row| row.extras.as_slice()).unwrap_or_default();
        let required = || {
            let all = own().flat_map(|package| requirements(host, package, extras));
            only(all.filter_map(|(name, range)| major_of_requirement(&name, range.as_ref())))
        };
        named.or_else(required).or_else(|| cuda_major(installed.iter()))
    }

    /// The names that it opens for a CUDA major, each with whether it is required. Of the `installed` packages its own
    /// decides its release.
    #[must_use]
    pub fn names(&self, installed: &[Distribution], major: Option<u64>) -> Vec<(String, bool)> {
        let version = installed
            .iter()
            .find(|distribution| self.is_package(distribution))
            .and_then(|distribution| Version::parse(&distribution.version));
        let major = major.unwrap_or_default();
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

/// The CUDA major in the names of packages, if they agree: `nvidia-cublas-cu12`, `cupy-cuda12x`, `jax-cuda12-plugin`.
#[must_use]
pub(super) fn cuda_major<'d>(packages: impl Iterator<Item = &'d Distribution>) -> Option<u64> {
    only(packages.filter_map(|package| cuda_major_of_wheel(&package.name).map(u64::from)))
}

/// The CUDA major of a required package: in its name, or in the release of the toolkit.
fn major_of_requirement(name: &str, range: Option<&VersionRange>) -> Option<u64> {
    let of_nvidia = name.starts_with("nvidia-") || name == "cuda-toolkit";
    let of_toolkit = || {
        let text = range.filter(|_| name == "cuda-toolkit" || name == "nvidia-cuda-runtime")?.to_string();
        let digits: String =
            text.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    };
    cuda_major_of_wheel(name).map(u64::from).or_else(of_toolkit).filter(|_| of_nvidia)
}

fn only(majors: impl Iterator<Item = u64>) -> Option<u64> {
    let majors: BTreeSet<u64> = majors.collect();
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
        assert_eq!(consumers_of("xformers").unwrap().who, "xformers");
        assert!(consumers_of("no-such-thing").is_none());
    }

    #[test]
    fn packages_decide_the_cuda_major() {
        let major = |list: &[(&str, &str)]| cuda_major(installed(list).iter());
        let jax = consumers_of("jax").unwrap();
        let names = |major: Option<u64>| {
            jax.names(&installed(&[]), major).into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        assert!(names(Some(12)).contains(&"libcublas.so.12".to_owned()));
        assert!(names(Some(12)).contains(&"libcufft.so.11".to_owned()));
        assert!(names(Some(13)).contains(&"libcufft.so.12".to_owned()));
        let unknown = names(None);
        assert!(unknown.contains(&"libcudnn.so.9".to_owned()) && !unknown.iter().any(|name| name.contains("cublas")));
        assert_eq!(major(&[("cupy-cuda12x", "14.2.0")]), Some(12));
        assert_eq!(major(&[("nvidia-dali-cuda130", "2.4.0")]), Some(13));
        assert_eq!(major(&[("a-cu12", "1"), ("b-cu13", "1")]), None);
        let range = VersionRange::parse("==13.*").unwrap();
        assert_eq!(major_of_requirement("cuda-toolkit", Some(&range)), Some(13));
        assert_eq!(major_of_requirement("nvidia-cublas-cu12", None), Some(12));
        assert_eq!(major_of_requirement("numpy", None), None);
    }
}
