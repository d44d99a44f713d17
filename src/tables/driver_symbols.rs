//! `data/driver_symbols.tsv`: the CUDA release whose driver first has a function.
//!
//! Takes a symbol of libcuda; returns the release. Never reads an installed libcuda.

use super::{Version, table};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// The CUDA release whose libcuda first has a symbol; `None` for those before 11.0, and unknown ones.
///
/// ```
/// use cudashim::internal::tables::driver_symbol;
///
/// assert_eq!(driver_symbol("cuGreenCtxCreate").unwrap().as_str(), "12.4");
/// assert!(driver_symbol("cuInit").is_none());
/// ```
#[must_use]
pub fn driver_symbol(symbol: &str) -> Option<&'static Version> {
    // The variants for the stream of each thread came with the function.
    let name = symbol.strip_suffix("_ptsz").or_else(|| symbol.strip_suffix("_ptds")).unwrap_or(symbol);
    TABLE.get(name)
}

const TEXT: &str = include_str!("../../data/driver_symbols.tsv");

static TABLE: LazyLock<BTreeMap<&'static str, Version>> = LazyLock::new(|| {
    let row = |cells: &table::Cells<'_>| {
        cells.text("source")?;
        Some((cells.text("symbol")?, Version::parse(cells.text("cuda")?)?))
    };
    table::read(TEXT, row).into_iter().collect()
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::driver_cuda;
    use crate::tables::table::tests::check;

    #[test]
    fn table_is_whole() {
        check(TEXT, &["symbol", "cuda", "source"], TABLE.len());
        assert!(TABLE.values().all(|cuda| cuda.minor().is_some() && cuda.major() >= 11));
        assert!(TABLE.values().any(|cuda| Some(cuda) == driver_cuda(615)));
        assert_eq!(driver_symbol("cuGraphAddNode_v2").map(Version::as_str), Some("12.3"));
        assert_eq!(driver_symbol("cuStreamGetCaptureInfo_v3_ptsz").map(Version::as_str), Some("12.3"));
    }
}
