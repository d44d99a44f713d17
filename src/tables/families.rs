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
    /// The pip packages that hold it, without `-cuNN`; see [`FamilyRow::wheel_names`].
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
    /// for 13, while cuDNN, NCCL, cuSPARSELt and NVSHMEM keep the suffix.
    #[must_use]
    pub fn wheel_names(&self, cuda_major: u64) -> Vec<String> {
        let plain = self.owner == "toolkit" && cuda_major >= 13;
        let name = |wheel: &&str| {
            if plain { (*wheel).to_owned() } else { format!("{wheel}-cu{cuda_major}") }
        };
        self.wheels.iter().map(name).collect()
    }
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
    fn wheels_drop_their_suffix_with_cuda_13_only_in_the_toolkit() {
        let names = |stem, major| family_of_stem(stem).unwrap().wheel_names(major).join(" ");
        assert_eq!(names("cublasLt", 12), "nvidia-cublas-cu12");
        assert_eq!(names("cublasLt", 13), "nvidia-cublas");
        assert_eq!(names("cudnn_ops", 13), "nvidia-cudnn-cu13");
        assert_eq!(names("nccl", 13), "nvidia-nccl-cu13");
        assert_eq!(names("cuda", 13), "");
    }

    #[test]
    fn libraries_without_nodes_are_the_known_ones() {
        let without: Vec<_> =
            families().iter().filter(|row| row.nodes == Some(false) && row.lead == "lib").map(|row| row.stem).collect();
        let known = [
            "cuda",
            "cufile",
            "cufile_rdma",
            "cusparseLt",
            "nccl",
            "nvfatbin",
            "nvperf_host",
            "nvperf_target",
            "nvshmem_host",
            "nvvm",
        ];
        assert_eq!(without, known);
    }
}
