//! A torch version as a user writes it: `2.5.1+cu124`, `2.5`, `>=2.4`, `cu124`, `latest`, `auto`.

use super::{Kind, Requirement};
use crate::python::TorchBuild;
use crate::tables::{TorchRow, Version, families, parse_library_name, sonames_of, torch_builds};
use std::path::Path;
use std::str::FromStr;

/// Why a SPEC is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// It cannot be parsed.
    #[error("invalid torch version `{0}`: expected `2.5.1+cu124`, `2.5`, `>=2.4`, `cu124`, `latest` or `auto`")]
    Malformed(String),
    /// No known release fits.
    #[error("no known torch release matches `{0}`")]
    Unknown(String),
}

/// A condition on torch's version and CUDA tag.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spec {
    text: String,
    bound: Option<(Bound, Version)>,
    tag: Option<String>,
    /// The newest release of the tables.
    latest: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bound {
    /// `2.5` is every 2.5.x.
    Prefix,
    AtLeast,
    Above,
    AtMost,
    Below,
}

impl FromStr for Spec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let malformed = || SpecError::Malformed(text.to_owned());
        let mut spec = Self { text: text.to_owned(), ..Self::default() };
        if text == "auto" {
            return Ok(spec);
        }
        if text == "latest" {
            spec.latest = true;
            return Ok(spec);
        }
        let (version, tag) = match text.split_once('+') {
            Some((version, tag)) => (version, Some(tag)),
            None if text.starts_with("cu") => ("", Some(text)),
            None => (text, None),
        };
        if let Some(tag) = tag {
            let is_cuda = tag
                .strip_prefix("cu")
                .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()));
            if !is_cuda && tag != "cpu" {
                return Err(malformed());
            }
            spec.tag = Some(tag.to_owned());
        }
        let bounds = [
            (">=", Bound::AtLeast),
            ("<=", Bound::AtMost),
            ("==", Bound::Prefix),
            (">", Bound::Above),
            ("<", Bound::Below),
            ("", Bound::Prefix),
        ];
        if !version.is_empty() {
            let (bound, version) = bounds
                .iter()
                .find_map(|(sign, bound)| version.strip_prefix(sign).map(|rest| (*bound, rest.trim())))
                .ok_or_else(malformed)?;
            let numeric =
                version.split('.').all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
            let version = Version::parse(version).filter(|_| numeric).ok_or_else(malformed)?;
            spec.bound = Some((bound, version));
        }
        if spec.bound.is_none() && spec.tag.is_none() {
            return Err(malformed());
        }
        Ok(spec)
    }
}

impl std::fmt::Display for Spec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.text.is_empty() { "auto" } else { &self.text })
    }
}

impl Spec {
    /// Whether it is `auto`.
    #[must_use]
    pub fn is_auto(&self) -> bool {
        self.bound.is_none() && self.tag.is_none() && !self.latest
    }

    /// Whether it is `latest`.
    #[must_use]
    #[doc(hidden)]
    pub fn is_latest(&self) -> bool {
        self.latest
    }

    /// Whether a torch version with its CUDA tag fits.
    #[must_use]
    #[doc(hidden)]
    pub fn admits(&self, version: &str, tag: Option<&str>) -> bool {
        let release = version.split('+').next().unwrap_or(version);
        let Some(found) = Version::parse(release) else { return self.is_auto() };
        let fits = self.bound.as_ref().is_none_or(|(bound, required)| match bound {
            Bound::Prefix => found.starts_with(required),
            Bound::AtLeast => found >= *required,
            Bound::Above => found > *required,
            Bound::AtMost => found <= *required,
            Bound::Below => found < *required,
        });
        let newest = || torch_builds().iter().map(|row| &row.version).max().is_some_and(|newest| found == *newest);
        (!self.latest || newest()) && fits && self.tag.as_deref().is_none_or(|required| tag == Some(required))
    }

    /// Whether an installed build fits.
    #[must_use]
    #[doc(hidden)]
    pub fn admits_build(&self, torch: &TorchBuild) -> bool {
        let tag = torch
            .cuda_release()
            .map_or("cpu".to_owned(), |(major, minor)| format!("cu{major}{}", minor.unwrap_or_default()));
        self.admits(&torch.version, Some(&tag))
    }

    /// The newest known build that fits, PyPI's own before others of the same release.
    #[doc(hidden)]
    pub fn known(&self) -> Result<&'static TorchRow, SpecError> {
        let fitting = torch_builds().iter().filter(|row| self.admits(row.version.as_str(), Some(row.cuda)));
        fitting
            .max_by_key(|row| (&row.version, row.default, row.cuda))
            .ok_or_else(|| SpecError::Unknown(self.text.clone()))
    }

    /// The requirement of the newest known build that fits: its pins, from the tables.
    #[doc(hidden)]
    pub fn require(&self) -> Result<Requirement, SpecError> {
        let row = self.known()?;
        let mut requirement = Requirement::new(Kind::Spec, format!("torch {}+{}", row.version, row.cuda));
        let major = row.cuda_version.major();
        let number = |value: u64| u32::try_from(value).ok();
        requirement.cuda = number(major).map(|major| (major, row.cuda_version.minor().and_then(number)));
        let by = Path::new("torch");
        for (family, range) in &row.pins {
            // The main library of a family is needed; its others vary between releases.
            let is_main = |soname: &&str| {
                parse_library_name(*soname).is_some_and(|name| name.stem().eq_ignore_ascii_case(family))
            };
            // cuDNN 8 and 9 were both built for CUDA 12: the pin decides.
            let pinned = range.exact().map(Version::major);
            let of_pin = |soname: &str| {
                parse_library_name(soname).and_then(|name| name.version).map(|version| version.major()) == pinned
            };
            let mains: Vec<&str> = sonames_of(major, family).filter(is_main).collect();
            let several = mains.len() > 1;
            for soname in sonames_of(major, family) {
                let main = mains.contains(&soname);
                if !several || of_pin(soname) {
                    requirement.need(soname, main, by);
                }
            }
            for wheel in families().iter().filter(|row| row.family == *family).flat_map(|row| row.wheel_names(major)) {
                requirement.pins.insert(wheel, range.clone());
            }
        }
        Ok(requirement)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_requirement_of_a_torch_that_is_not_installed() {
        let requirement = "2.5.1+cu124".parse::<Spec>().unwrap().require().unwrap();
        let hard = |soname: &str| requirement.needs.iter().find(|need| need.soname == soname).map(|need| need.hard);
        assert_eq!(hard("libcublas.so.12"), Some(true));
        assert_eq!(hard("libcudnn.so.9"), Some(true));
        // Later releases renamed the library: never both exist.
        assert_eq!(hard("libnvtx3interop.so.1"), Some(false));
        assert_eq!(hard("libcublas.so.13"), None);
        assert_eq!(hard("libcudnn.so.8"), None);
        assert_eq!(
            requirement.pins.get("nvidia-cublas-cu12").and_then(|range| range.exact()).unwrap().as_str(),
            "12.4.5.8"
        );
        assert_eq!(requirement.cuda, Some((12, Some(4))));
    }

    #[test]
    fn specs() {
        let admits = |spec: &str, version: &str, tag: &str| spec.parse::<Spec>().unwrap().admits(version, Some(tag));
        assert!(admits("2.5.1+cu124", "2.5.1+cu124", "cu124"));
        assert!(!admits("2.5.1+cu124", "2.5.1", "cu121"));
        assert!(admits("2.5", "2.5.1", "cu121"));
        assert!(!admits("2.5", "2.50.0", "cu121"));
        assert!(admits(">=2.4", "2.15.0", "cu132"));
        assert!(admits("cu124", "2.4.0", "cu124"));
        assert!(admits("auto", "anything", "cu1"));
        for bad in ["", "two", "2.x", "cu", "2.5+gpu", ">=", "2..1"] {
            assert!(bad.parse::<Spec>().is_err(), "{bad}");
        }
    }
}
