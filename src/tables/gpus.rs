//! `data/gpus.tsv`: GPUs by name.
//!
//! Takes a name or a PCI device id; returns rows. Never looks at the bus.

use super::{ComputeRow, Modules, Version, compute_capabilities, table};
use std::sync::LazyLock;

/// A GPU as it is sold.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GpuRow {
    /// Its name as the driver prints it, without `NVIDIA`.
    pub name: &'static str,
    /// Its PCI device ids, four hexadecimal digits each.
    pub pci: Vec<&'static str>,
    /// Its compute capability.
    pub compute: Version,
    /// Its product line.
    pub class: GpuClass,
    /// The first driver branch for it, where later than for the first GPU of its capability.
    pub first_driver: Option<u64>,
    /// The kernel modules that drive it, where other than for its capability.
    pub modules: Option<Modules>,
    /// The source.
    pub source: &'static str,
}

/// A product line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum GpuClass {
    /// For games.
    GeForce,
    /// TITAN.
    Titan,
    /// For workstations: Quadro, RTX.
    Rtx,
    /// For servers: Tesla and what came after.
    DataCenter,
    /// A system on a chip.
    Jetson,
}

/// Every GPU, by name.
#[must_use]
pub fn gpus() -> &'static [GpuRow] {
    &TABLE
}

/// Words of a name that do not distinguish GPUs: a name without them is the same name.
const LINES: [&str; 6] = ["nvidia", "geforce", "tesla", "quadro", "rtx", "gpu"];

/// Words that a name is often written without, although they distinguish GPUs of two generations.
const GENERATIONS: [&str; 5] = ["ada", "ampere", "blackwell", "turing", "generation"];

/// Why a name is not that of one GPU.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GpuNameError {
    /// No GPU of the table has it.
    #[error("cannot find a GPU named `{name}` in the table")]
    Unknown {
        /// The name.
        name: String,
        /// The names most like it, the nearest first.
        near: Vec<&'static str>,
    },
    /// GPUs that differ have it.
    #[error("cannot decide which GPU `{name}` is: several have this name")]
    Ambiguous {
        /// The name.
        name: String,
        /// Their names.
        rows: Vec<&'static str>,
    },
}

/// The GPU of a name as the driver prints it or a person writes it: `NVIDIA H100 80GB HBM3`, `h100 pcie`, `H100`, `5090`,
/// `RTX5090`, or of a PCI device id: `10de:2330`, `0x2330`. Of several that are alike in all but the name, the first, with
/// the name that they share.
///
/// ```
/// use cudashim::internal::tables::gpu_named;
///
/// let name = |text| gpu_named(text).map(|(_, name)| name);
/// assert_eq!(name("5090").unwrap(), "GeForce RTX 5090");
/// assert_eq!(name("h100").unwrap(), "H100");
/// assert!(name("RTX 6000").is_err());
/// ```
///
/// # Errors
/// No GPU of the table has the name, or several that differ have it.
pub fn gpu_named(text: &str) -> Result<(&'static GpuRow, String), GpuNameError> {
    let wanted = words(text);
    let whole = wanted.strip_prefix(&["nvidia".to_owned()][..]).unwrap_or(&wanted);
    if let Some(row) = gpus().iter().find(|row| words(row.name) == whole) {
        return Ok((row, row.name.to_owned()));
    }
    let id = text.strip_prefix("10de:").or_else(|| text.strip_prefix("0x")).map(str::to_ascii_lowercase);
    if let Some(row) = id.and_then(|id| gpus().iter().find(|row| row.pci.contains(&id.as_str()))) {
        return Ok((row, row.name.to_owned()));
    }
    let unknown = || {
        let mut near: Vec<(f64, &str)> = gpus().iter().map(|row| (likeness(row, &wanted), row.name)).collect();
        near.sort_by(|a, b| b.0.total_cmp(&a.0));
        let near = near.into_iter().filter(|(score, _)| *score > 0.8).take(5).map(|(_, name)| name);
        GpuNameError::Unknown { name: text.to_owned(), near: near.collect() }
    };
    if wanted.iter().all(|word| is_line(word)) {
        return Err(unknown());
    }
    // Each with the words that the text leaves out.
    let mut rows: Vec<(&GpuRow, Vec<String>)> = matching(&wanted);
    if rows.is_empty() {
        // `RTX5090`, `gtx1080ti`.
        rows = matching(&words(&split_digits(text)));
    }
    let alike = |rows: &[(&GpuRow, Vec<String>)]| {
        let mut kinds = rows.iter().map(|(row, _)| (&row.compute, row.class, row.first_driver, row.modules));
        let first = kinds.next();
        kinds.all(|kind| Some(&kind) == first.as_ref())
    };
    let exact = |(_, rest): &(&GpuRow, Vec<String>)| rest.is_empty();
    let readings = |(_, rest): &(&GpuRow, Vec<String>)| rest.iter().all(|word| GENERATIONS.contains(&word.as_str()));
    if !alike(&rows) && rows.iter().any(exact) {
        rows.retain(readings);
    }
    match rows.iter().min_by_key(|(row, rest)| (rest.len(), row.name.len())) {
        None => Err(unknown()),
        Some((row, rest)) if alike(&rows) => {
            Ok((row, if rest.is_empty() { row.name.to_owned() } else { shared(&rows) }))
        }
        Some(_) => {
            Err(GpuNameError::Ambiguous { name: text.to_owned(), rows: rows.iter().map(|(row, _)| row.name).collect() })
        }
    }
}

/// The words that all of the names begin with; the first name if they begin with different ones.
fn shared(rows: &[(&GpuRow, Vec<String>)]) -> String {
    let parts = |name: &'static str| name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|part| !part.is_empty());
    let first = rows.first().map_or("", |(row, _)| row.name);
    let all = |(at, word): &(usize, &str)| rows.iter().all(|(row, _)| parts(row.name).nth(*at) == Some(word));
    let common: Vec<&str> = parts(first).enumerate().take_while(all).map(|(_, word)| word).collect();
    if common.is_empty() { first.to_owned() } else { common.join(" ") }
}

/// The rows that have all of these words, each with its other words but those of product lines.
fn matching(wanted: &[String]) -> Vec<(&'static GpuRow, Vec<String>)> {
    let rest = |row: &GpuRow| {
        let mut own = words(row.name);
        for word in wanted.iter().filter(|word| *word != "nvidia") {
            match own.iter().position(|one| one == word) {
                Some(at) => drop(own.remove(at)),
                // `GeForce 5090`, `Tesla H100`: people add a line that the name does not have.
                None if is_line(word) => {}
                None => return None,
            }
        }
        own.retain(|word| !is_line(word));
        Some(own)
    };
    gpus().iter().filter_map(|row| Some((row, rest(row)?))).collect()
}

fn is_line(word: &str) -> bool {
    LINES.contains(&word)
}

fn words(text: &str) -> Vec<String> {
    let parts = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|part| !part.is_empty());
    parts.map(str::to_ascii_lowercase).collect()
}

/// With a blank between letters and digits.
fn split_digits(text: &str) -> String {
    let mut out = String::new();
    let mut before: Option<char> = None;
    for c in text.chars() {
        if before.is_some_and(|before| before.is_alphabetic() != c.is_alphabetic()) {
            out.push(' ');
        }
        out.push(c);
        before = Some(c);
    }
    out
}

fn likeness(row: &GpuRow, wanted: &[String]) -> f64 {
    let text =
        |words: &[String]| words.iter().filter(|word| !is_line(word)).map(String::as_str).collect::<Vec<_>>().join(" ");
    strsim::jaro_winkler(&text(&words(row.name)), &text(wanted))
}

impl GpuRow {
    /// The row of its compute capability.
    #[must_use]
    pub fn capability(&self) -> Option<&'static ComputeRow> {
        compute_capabilities().iter().find(|row| row.sm == self.compute)
    }
}

const TEXT: &str = include_str!("../../data/gpus.tsv");

static TABLE: LazyLock<Vec<GpuRow>> = LazyLock::new(|| {
    table::read(TEXT, |cells| {
        Some(GpuRow {
            name: cells.text("name")?,
            pci: cells.list("pci", ' '),
            compute: Version::parse(cells.text("compute")?)?,
            class: match cells.text("class")? {
                "geforce" => GpuClass::GeForce,
                "titan" => GpuClass::Titan,
                "rtx" => GpuClass::Rtx,
                "datacenter" => GpuClass::DataCenter,
                "jetson" => GpuClass::Jetson,
                _ => return None,
            },
            first_driver: cells.maybe("first_driver", |cell| cell.parse().ok())?,
            modules: cells.maybe("modules", Modules::parse)?,
            source: cells.text("source")?,
        })
    })
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::table::tests::{check, check_ids};
    use std::collections::BTreeSet;

    #[test]
    fn names_as_people_write_them() {
        for (text, name) in [
            ("5090", "GeForce RTX 5090"),
            ("RTX5090", "GeForce RTX 5090"),
            ("NVIDIA GeForce RTX 5090", "GeForce RTX 5090"),
            ("rtx 4090 laptop", "GeForce RTX 4090 Laptop GPU"),
            ("gtx1080ti", "GeForce GTX 1080 Ti"),
            ("1080 ti", "GeForce GTX 1080 Ti"),
            ("h100 pcie", "H100 PCIe"),
            ("H100", "H100"),
            ("A100", "A100"),
            ("a100 80gb", "A100"),
            ("V100", "Tesla V100"),
            ("T4", "Tesla T4"),
            ("Tesla H100", "H100"),
            ("A6000", "RTX A6000"),
            ("L4", "L4"),
            ("RTX 6000 Ada", "RTX 6000 Ada Generation"),
            ("RTX PRO 6000", "RTX PRO 6000 Blackwell"),
            ("10de:2330", "H100 80GB HBM3"),
            ("0x1eb8", "Tesla T4"),
        ] {
            assert_eq!(gpu_named(text).map(|(_, name)| name).as_deref(), Ok(name), "{text}");
        }
        // Turing and Ada; Maxwell and Pascal.
        for text in ["RTX 6000", "Titan X", "RTX 4000"] {
            assert!(matches!(gpu_named(text), Err(GpuNameError::Ambiguous { .. })), "{text}: {:?}", gpu_named(text));
        }
        for (text, near) in [("H1000", "H100"), ("RTX 5095", "GeForce RTX 5090"), ("GTX 1O80", "GeForce GTX 1080")] {
            let Err(GpuNameError::Unknown { near: found, .. }) = gpu_named(text) else { panic!("{text}") };
            assert!(found.contains(&near), "{text}: {found:?}");
        }
        for text in ["", "NVIDIA", "RTX", "GeForce", "zzzzzz"] {
            assert!(matches!(gpu_named(text), Err(GpuNameError::Unknown { .. })), "{text}");
        }
    }

    /// Each row is found by its own name.
    #[test]
    fn names_are_found() {
        for row in gpus() {
            assert_eq!(gpu_named(row.name).map(|(_, name)| name).as_deref(), Ok(row.name));
        }
    }

    #[test]
    fn table_is_whole() {
        check(TEXT, &["name", "pci", "compute", "class", "first_driver", "modules", "source"], gpus().len());
        check_ids(TEXT, gpus().iter().map(|row| row.source));
        let names: BTreeSet<String> = gpus().iter().map(|row| row.name.to_ascii_lowercase()).collect();
        assert_eq!(names.len(), gpus().len(), "a name twice");
        for row in gpus() {
            let capability = row.capability().unwrap_or_else(|| panic!("{}: no row for {}", row.name, row.compute));
            let hex = |id: &&str| id.len() == 4 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            assert!(row.pci.iter().all(hex), "{}: {:?}", row.name, row.pci);
            let later = row.first_driver.is_none_or(|own| capability.first_driver.is_none_or(|first| own > first));
            assert!(later, "{}: {:?}, {}: {:?}", row.name, row.first_driver, row.compute, capability.first_driver);
        }
    }
}
