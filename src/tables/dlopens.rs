//! `data/dlopens.tsv`: the libraries that NVIDIA's libraries and packages open by name.
//!
//! Takes the stem of a library or the name of a package; returns the names it passes to `dlopen`. `DT_NEEDED` is
//! not here: it is read from the file itself.

use std::sync::LazyLock;

use super::table::{self, yes_no};
use super::{Version, VersionRange, sonames};

/// A name that is passed to `dlopen`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DlopenRow {
    /// The opener: the stem of a library, or `python:<package>`, `rust:<crate>`.
    pub who: &'static str,
    /// The releases of the opener that are known to open it.
    pub versions: VersionRange,
    /// The name, with the placeholders `{major}`, `{minor}`, `{patch}`, `{cuda_major}`, `{number}` and `*`;
    /// see [`DlopenRow::expand`].
    pub name: &'static str,
    /// Whether the opener fails without it.
    pub required: bool,
    /// The source.
    pub source: &'static str,
}

impl DlopenRow {
    /// The name that a release of the opener opens, `libnvrtc-builtins.so.12.4`; `None` where
    /// the table leaves a part open (`*`), `version` is too short to fill it, or the CUDA major has no such library.
    #[must_use]
    pub fn expand(&self, version: &Version, cuda_major: u64) -> Option<String> {
        let numbers = version.numbers();
        let parts = [
            ("{major}", numbers.first().copied()),
            ("{minor}", numbers.get(1).copied()),
            ("{patch}", numbers.get(2).copied()),
            ("{cuda_major}", Some(cuda_major)),
        ];
        let mut name = self.name.to_owned();
        for (part, number) in parts {
            if name.contains(part) {
                name = name.replace(part, &number?.to_string());
            }
        }
        if let Some((file, _)) = name.split_once(".so.{number}") {
            let stem = file.strip_prefix("lib")?;
            let of_major = sonames().iter().filter(|row| row.cuda_major == cuda_major && row.stem == stem);
            of_major.map(|row| row.soname).next_back()?.clone_into(&mut name);
        }
        (!name.contains('*')).then_some(name)
    }
}

/// Every row, by opener, then name.
#[must_use]
pub fn dlopens() -> &'static [DlopenRow] {
    &TABLE
}

/// The rows of a library (by stem) or a package (`python:cupy`); of all releases where `version` is unknown.
pub fn dlopens_of<'q>(
    who: &'q str,
    version: Option<&'q Version>,
) -> impl Iterator<Item = &'static DlopenRow> + use<'q> {
    dlopens().iter().filter(move |row| row.who == who && version.is_none_or(|version| row.versions.contains(version)))
}

const TEXT: &str = include_str!("../../data/dlopens.tsv");

static TABLE: LazyLock<Vec<DlopenRow>> = LazyLock::new(|| {
    table::read(TEXT, |cells| {
        Some(DlopenRow {
            who: cells.text("who")?,
            versions: cells.maybe("versions", VersionRange::parse)?.unwrap_or_else(VersionRange::any),
            name: cells.text("name")?,
            required: yes_no(cells.text("required")?)?,
            source: cells.text("source")?,
        })
    })
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::table::tests::{check, check_sorted};
    use crate::tables::{families, family_of_stem, parse_library_name};

    #[test]
    fn table_is_whole() {
        check(TEXT, &["who", "versions", "name", "required", "source"], dlopens().len());
        check_sorted(dlopens().iter().map(|row| (row.who, row.name, row.versions.to_string())));
    }

    #[test]
    fn placeholders_are_known() {
        let version = Version::parse("1.2.3.4").unwrap();
        for row in dlopens() {
            match row.expand(&version, 12) {
                Some(name) => assert!(!name.contains(['{', '}', '*']), "{name}"),
                None => assert!(row.name.contains('*'), "{}", row.name),
            }
            assert!(row.name.contains(".so"), "{}", row.name);
        }
    }

    #[test]
    fn bare_names_are_bare_in_the_families() {
        for row in dlopens() {
            let Some(name) = parse_library_name(row.name) else {
                continue;
            };
            if name.version.is_none() {
                assert!(name.row.bare, "{} opens {}", row.who, row.name);
            }
        }
        for row in families().iter().filter(|row| row.bare) {
            assert!(dlopens().iter().any(|opened| opened.name == row.bare_name()), "nobody opens {}", row.bare_name());
        }
    }

    fn opened_by(who: &str, version: &str, cuda: u64) -> Vec<String> {
        let version = Version::parse(version).unwrap();
        dlopens_of(who, Some(&version)).filter_map(|row| row.expand(&version, cuda)).collect()
    }

    #[test]
    fn cudnn_9_opens_the_longest_name_first_and_8_its_own_parts() {
        let nine = opened_by("cudnn", "9.10.2.21", 12);
        for name in ["libcudnn_graph.so.9.10.2", "libcudnn_graph.so.9.10", "libcudnn_graph.so.9", "libcudnn_ops.so.9"] {
            assert!(nine.iter().any(|opened| opened == name), "{name}");
        }
        assert!(!nine.iter().any(|opened| opened.contains("_ext")));
        let eight = opened_by("cudnn", "8.9.2.26", 12);
        assert!(
            eight.contains(&"libcudnn_cnn_train.so.8".to_owned()) && eight.iter().all(|name| name.ends_with(".so.8"))
        );
    }

    #[test]
    fn nvrtc_opens_the_builtins_of_its_own_minor() {
        assert!(opened_by("nvrtc", "12.4.127", 12).contains(&"libnvrtc-builtins.so.12.4".to_owned()));
        assert!(opened_by("cublasLt", "12.8.4.1", 12).contains(&"libnvrtc.so.12".to_owned()));
        assert!(!opened_by("cublasLt", "12.4.5.8", 12).contains(&"libnvrtc.so.12".to_owned()));
        assert!(opened_by("cudnn_graph", "9.1.0.70", 12).contains(&"libnvrtc.so".to_owned()));
    }

    #[test]
    fn a_short_version_fills_no_long_name() {
        let row = dlopens_of("cudnn", None).find(|row| row.name.contains("{patch}")).unwrap();
        assert_eq!(row.expand(&Version::parse("9.1").unwrap(), 12), None);
    }

    #[test]
    fn library_openers_are_spelt_as_stems() {
        for row in dlopens() {
            let foreign = row.who.contains(':')
                || ["torch", "c10", "ctranslate2", "triton", "proton", "tensorflow"]
                    .iter()
                    .any(|p| row.who.starts_with(p));
            assert!(foreign || family_of_stem(row.who).is_some(), "{}", row.who);
        }
    }
}
