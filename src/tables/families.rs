//! `data/families.tsv`: the library of a stem, and the groups that must be of one release.
//!
//! Takes a stem (`cublasLt` of `libcublasLt.so.12`); returns its row. Never reads files.

use std::sync::LazyLock;

use super::table::{self, yes_no};

/// One run-time library of NVIDIA's.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FamilyRow {
    /// The `<stem>` of `lib<stem>.so.N`, exactly as in the file name.
    pub stem: &'static str,
    /// The prefix of the stem: `lib`, or empty for NVSHMEM's plugins.
    pub lead: &'static str,
    /// The usual name of the library: `cudart`, `cudnn`, `driver`, ….
    pub family: &'static str,
    /// The group: its libraries must be of one release.
    pub group: Option<&'static str>,
    /// The product that it is released with: `toolkit`, `driver`, `cudnn`, `nccl`, ….
    pub owner: &'static str,
    /// The prefix of the symbols of its C interface.
    pub prefix: Option<&'static str>,
    /// Whether it defines a version node equal to its soname; `None` where that is unknown.
    pub nodes: Option<bool>,
    /// The pip packages that hold it: without `-cuNN`, or with `{}` for the CUDA major where it is within the name; see
    /// [`FamilyRow::wheel_names`].
    pub wheels: Vec<&'static str>,
    /// Whether any opener is known to use `lib<stem>.so`, without a version.
    pub bare: bool,
    /// The source.
    pub source: &'static str,
}

impl FamilyRow {
    /// The name without a version: `libcudnn.so`.
    #[must_use]
    pub fn bare_name(&self) -> String {
        format!("{}{}.so", self.lead, self.stem)
    }

    /// Whether it belongs to the kernel driver, not to a toolkit.
    #[must_use]
    pub fn is_driver(&self) -> bool {
        self.owner == "driver"
    }

    /// The pip packages that hold it for a CUDA major: `nvidia-cublas-cu12`, but `nvidia-cublas`
    /// for 13, while cuDNN, NCCL, cuSPARSELt and NVSHMEM keep the suffix. Before 11 there are none: a name made up for
    /// those is nobody's, or anybody's.
    #[must_use]
    pub fn wheel_names(&self, cuda_major: u64) -> Vec<String> {
        if cuda_major < FIRST_MAJOR {
            return Vec::new();
        }
        let plain = self.owner == "toolkit" && cuda_major >= 13;
        let name = |wheel: &&str| match wheel.split_once(MAJOR) {
            Some((front, rest)) => format!("{front}{cuda_major}{rest}"),
            None if plain => (*wheel).to_owned(),
            None => format!("{wheel}-cu{cuda_major}"),
        };
        self.wheels.iter().map(name).collect()
    }

    /// Whether a pip package is one that holds it, for any CUDA major.
    #[must_use]
    pub fn is_wheel(&self, package: &str) -> bool {
        self.wheels.iter().any(|wheel| wheel_fits(wheel, package))
    }
}

/// The first CUDA major that NVIDIA published as pip packages.
const FIRST_MAJOR: u64 = 11;

/// The place of the CUDA major in the name of a wheel.
const MAJOR: &str = "{}";

/// Whether a package is a wheel of the table: `nvidia-cublas` and `nvidia-cublas-cu12` of `nvidia-cublas`,
/// `tensorrt-cu12-libs` and the earlier `tensorrt-libs` of `tensorrt-cu{}-libs`.
fn wheel_fits(wheel: &str, package: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match wheel.split_once(MAJOR) {
        Some((front, rest)) => {
            let major = package.strip_prefix(front).and_then(|tail| tail.strip_suffix(rest));
            let earlier = front.strip_suffix("-cu").is_some_and(|front| package.strip_prefix(front) == Some(rest));
            major.is_some_and(digits) || earlier
        }
        None => package
            .strip_prefix(wheel)
            .is_some_and(|tail| tail.is_empty() || tail.strip_prefix("-cu").is_some_and(digits)),
    }
}

/// The CUDA major in the name of a wheel: `nvidia-cublas-cu12`, `tensorrt-cu12-libs`, `nvidia-dali-cuda120`, `cupy-cuda12x`.
#[must_use]
pub fn cuda_major_of_wheel(package: &str) -> Option<u32> {
    let (_, tail) = package.rsplit_once("-cu")?;
    let (tail, scale) = tail.strip_prefix("da").map_or((tail, 1), |tail| (tail, 10));
    let (digits, rest) = tail.split_at(tail.bytes().take_while(u8::is_ascii_digit).count());
    let rest = rest.strip_prefix('x').unwrap_or(rest);
    let number: u32 = digits.parse().ok().filter(|_| rest.is_empty() || rest.starts_with('-'))?;
    Some(if number >= 100 { number / scale } else { number })
}

/// Every row, sorted by stem.
#[must_use]
pub fn families() -> &'static [FamilyRow] {
    &TABLE
}

/// The row of a stem, exactly as in the file name.
#[must_use]
pub fn family_of_stem(stem: &str) -> Option<&'static FamilyRow> {
    let at = TABLE.binary_search_by(|row| row.stem.cmp(stem)).ok()?;
    TABLE.get(at)
}

/// The library that defines a symbol, by its prefix.
#[must_use]
pub fn family_of_symbol(symbol: &str) -> Option<&'static FamilyRow> {
    let symbol = symbol.trim_start_matches('_');
    let begins = |row: &&FamilyRow| {
        let rest = row.prefix.and_then(|prefix| symbol.strip_prefix(prefix));
        // The driver's own is short: `cuInit`, but not `custatevecCreate`.
        rest.is_some_and(|rest| row.prefix != Some("cu") || rest.starts_with(|next: char| next.is_ascii_uppercase()))
    };
    // The longest prefix decides: cublasLt before cublas; the first stem of a family owns the prefix.
    let rows = families().iter().filter(begins);
    rows.max_by_key(|row| (row.prefix.map(str::len), std::cmp::Reverse(row.stem.len())))
}

/// The rows that must come from one release together.
pub fn group_members(group: &str) -> impl Iterator<Item = &'static FamilyRow> {
    families().iter().filter(move |row| row.group == Some(group))
}

const TEXT: &str = include_str!("../../data/families.tsv");

static TABLE: LazyLock<Vec<FamilyRow>> = LazyLock::new(|| {
    let mut rows = table::read(TEXT, |cells| {
        Some(FamilyRow {
            stem: cells.text("stem")?,
            lead: match cells.text("lead")? {
                "lib" => "lib",
                "none" => "",
                _ => return None,
            },
            family: cells.text("family")?,
            group: cells.text("group"),
            owner: cells.text("owner")?,
            prefix: cells.text("prefix"),
            nodes: cells.maybe("nodes", yes_no)?,
            wheels: cells.list("wheel", ' '),
            bare: yes_no(cells.text("bare")?)?,
            source: cells.text("source")?,
        })
    });
    // A test checks the order of the file; sorting again is cheap and keeps look-ups correct.
    rows.sort_by_key(|row| row.stem);
    rows
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::table::tests::{check, check_ids, check_sorted};
    use std::collections::BTreeMap;

    #[test]
    fn table_is_whole() {
        let columns = ["stem", "lead", "family", "group", "owner", "prefix", "nodes", "wheel", "bare", "source"];
        check(TEXT, &columns, families().len());
        check_ids(TEXT, families().iter().map(|row| row.source));
        let lines = TEXT.lines().filter(|line| !line.starts_with('#')).skip(1);
        check_sorted(lines.map(|line| line.split('\t').next()));
    }

    #[test]
    fn groups_are_those_of_the_rules() {
        let stems = |group| group_members(group).map(|row| row.stem).collect::<Vec<_>>();
        assert_eq!(stems("cublas"), ["cublas", "cublasLt", "nvblas"]);
        assert_eq!(stems("nvrtc"), ["nvrtc", "nvrtc-builtins"]);
        assert_eq!(stems("cupti"), ["checkpoint", "cupti", "nvperf_host", "nvperf_target", "pcsamplingutil"]);
        assert_eq!(stems("cudnn").len(), 16);
        assert!(stems("driver").contains(&"nvidia-ptxjitcompiler"));
        let mut family = BTreeMap::new();
        for row in families() {
            let Some(group) = row.group else { continue };
            assert_eq!(*family.entry(group).or_insert(row.family), row.family, "a group crosses families");
            assert!(group_members(group).count() > 1, "{group} has one member");
        }
    }

    #[test]
    fn stems_are_found_exactly() {
        assert_eq!(family_of_stem("cublasLt").unwrap().family, "cublas");
        assert_eq!(family_of_stem("cuda").unwrap().family, "driver");
        assert_eq!(family_of_stem("nvrtc.alt").unwrap().family, "nvrtc-alt");
        for stem in ["", "cublaslt", "cudart_stub", "curl", "cud", "cudnn_"] {
            assert!(family_of_stem(stem).is_none(), "{stem}");
        }
        for row in families() {
            assert_eq!(family_of_stem(row.stem).unwrap().stem, row.stem);
        }
    }

    #[test]
    fn a_symbol_is_of_the_longest_prefix() {
        let family = |symbol| family_of_symbol(symbol).map(|row| row.family);
        assert_eq!(family("cuModuleLoadData"), Some("driver"));
        assert_eq!(family("__nvJitLinkCreate_12_8"), Some("nvjitlink"));
        assert_eq!(family("cublasLtMatmul"), Some("cublas"));
        assert_eq!((family("custom"), family("malloc")), (None, None));
    }

    #[test]
    fn wheels_drop_their_suffix_with_cuda_13_only_in_the_toolkit() {
        let names = |stem, major| family_of_stem(stem).unwrap().wheel_names(major).join(" ");
        assert_eq!(names("cublasLt", 12), "nvidia-cublas-cu12");
        assert_eq!(names("cublasLt", 13), "nvidia-cublas");
        assert_eq!(names("cudnn_ops", 13), "nvidia-cudnn-cu13");
        assert_eq!(names("nccl", 13), "nvidia-nccl-cu13");
        assert_eq!(names("cuda", 13), "");
        assert_eq!((names("cublas", 11).as_str(), names("cublas", 9).as_str()), ("nvidia-cublas-cu11", ""));
    }

    #[test]
    fn wheels_with_the_major_within_their_name() {
        let row = |stem| family_of_stem(stem).unwrap();
        assert_eq!(row("nvinfer").wheel_names(12), ["tensorrt-cu12-libs"]);
        assert_eq!(row("dali").wheel_names(13), ["nvidia-dali-cuda130"]);
        for (stem, package, fits) in [
            ("cublas", "nvidia-cublas-cu12", true),
            ("cublas", "nvidia-cublas", true),
            ("cublas", "nvidia-cublasmp-cu12", false),
            ("cublas", "nvidia-cublas-cu12-stubs", false),
            ("nvinfer", "tensorrt-cu12-libs", true),
            ("nvinfer", "tensorrt-libs", true),
            ("nvinfer", "tensorrt-cu12", false),
            ("dali", "nvidia-dali-cuda120", true),
            ("dali", "nvidia-dali-nightly-cuda120", false),
        ] {
            assert_eq!(row(stem).is_wheel(package), fits, "{package}");
        }
        for (package, major) in [
            ("nvidia-cublas-cu12", Some(12)),
            ("tensorrt-cu12-libs", Some(12)),
            ("nvidia-dali-cuda120", Some(12)),
            ("cupy-cuda12x", Some(12)),
            ("jax-cuda13-plugin", Some(13)),
            ("nvidia-cublas", None),
            ("nvidia-cusparselt-custom", None),
        ] {
            assert_eq!(cuda_major_of_wheel(package), major, "{package}");
        }
    }

    #[test]
    fn libraries_of_the_toolkit_without_nodes_are_the_known_ones() {
        let without = |row: &&FamilyRow| row.nodes == Some(false) && row.lead == "lib" && row.owner == "toolkit";
        let without: Vec<_> = families().iter().filter(without).map(|row| row.stem).collect();
        let known = [
            "cufile",
            "cufile_rdma",
            "nvfatbin",
            "nvperf_host",
            "nvperf_target",
            "nvvm",
            "sanitizer-collection",
            "sanitizer-public",
        ];
        assert_eq!(without, known);
    }
}
