//! The newest torch build that runs on drivers and GPUs, from the tables, and the lines that install it.
//!
//! Takes drivers, devices and a Python; gives a build, and why no newer one. Looks at no installed torch, downloads
//! nothing: a build that came after the tables were read is unknown.

use super::matrix::Assumptions;
use crate::driver::rules::{self, Code, Verdict};
use crate::driver::{Device, support};
use crate::host::Hints;
use crate::report::SCHEMA;
use crate::tables::{TorchRow, Version, VersionRange, drivers_read, torch_builds, torch_builds_read};
use serde::Serialize;
use std::fmt::Write as _;

/// The index of `PyTorch`, with a directory for each CUDA.
const INDEX: &str = "https://download.pytorch.org/whl";

/// A build, and how to get it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NewestTorch {
    /// The version of the format.
    pub schema: u32,
    /// The release: `2.8.0`.
    pub torch: String,
    /// Its CUDA release: `12.6`.
    pub cuda: String,
    /// The Pythons that it has wheels for: `3.9 to 3.13`.
    pub python: String,
    /// What it was chosen for, in words.
    pub r#for: String,
    /// Whether it runs by minor-version compatibility only, on one of the drivers.
    pub by_minor_compatibility: bool,
    /// The index to install it from; absent: the default one of `PyPI`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<String>,
    /// The line for pip.
    pub pip: String,
    /// The line for uv.
    pub uv: String,
    /// The newest build of all, and why it does not run, where it is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newer: Option<String>,
    /// The day of the older of the tables that this is from.
    pub tables: String,
}

/// Why no build runs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no torch build in the tables runs on {wanted}: {because}")]
pub struct NoBuild {
    wanted: String,
    because: String,
    remedy: String,
}

impl Hints for NoBuild {
    fn hints(&self) -> Vec<String> {
        vec![self.remedy.clone()]
    }

    fn is_answer(&self) -> bool {
        true
    }
}

/// How well a build runs on a driver with a GPU: the reason against it, or whether the driver is of its CUDA release or a
/// later one.
fn fits(row: &TorchRow, driver: Option<&Version>, gpu: Option<&Device>) -> Result<bool, String> {
    let cuda = &row.cuda_version;
    let native = match driver.map(|driver| (driver, rules::on_driver(cuda, driver))) {
        None | Some((_, Verdict::Runs)) => true,
        Some((_, Verdict::RunsByMinorCompat { .. })) => false,
        Some((driver, Verdict::NeedsDriver { floor: Some(floor) })) => {
            return Err(format!("CUDA {cuda} requires driver {floor} or newer, not {driver}"));
        }
        Some((driver, _)) => return Err(format!("support of CUDA {cuda} by driver {driver} is not known")),
    };
    let Some((device, compute)) = gpu.and_then(|gpu| Some((gpu, gpu.compute?))) else { return Ok(native) };
    let code = Code::of_row(row).ok_or("the code in it is not in the tables")?;
    match rules::on_device(&code, compute, Some(cuda), driver.and_then(rules::cuda_of_driver).as_ref()) {
        Verdict::Runs | Verdict::PtxOnly { .. } => Ok(native),
        _ => Err(format!("it has no code for {} ({compute})", device.name)),
    }
}

/// How well it runs on all of them.
fn fits_all(row: &TorchRow, wanted: &Wanted<'_>) -> Result<bool, String> {
    if let Some(python) = wanted.python {
        let (low, high) = &row.cpython;
        let required = row.python.and_then(VersionRange::parse).is_none_or(|range| range.contains(python));
        let is_later = python > high && !python.starts_with(high);
        if !required || python < low || is_later {
            return Err(format!("it has wheels for Python {low} to {high}, not {python}"));
        }
    }
    let (drivers, gpus) = (&wanted.assumptions.drivers, &wanted.assumptions.gpus);
    let mut native = true;
    for gpu in gpus.iter().map(Some).chain(gpus.is_empty().then_some(None)) {
        for driver in drivers.iter().map(|driver| Some(&driver.release)).chain(drivers.is_empty().then_some(None)) {
            native &= fits(row, driver, gpu)?;
        }
    }
    Ok(native)
}

/// What a build is wanted for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'w> {
    /// The drivers and GPUs: all of them must run it.
    pub assumptions: &'w Assumptions,
    /// The Python that must have a wheel: `3.12`.
    pub python: Option<&'w Version>,
}

impl Wanted<'_> {
    fn text(&self) -> String {
        let mut parts: Vec<String> = self.assumptions.drivers.iter().map(|driver| format!("driver {driver}")).collect();
        parts.extend(self.assumptions.gpus.iter().map(|gpu| gpu.name.clone()));
        parts.extend(self.python.map(|python| format!("Python {python}")));
        if parts.is_empty() { "any driver".to_owned() } else { parts.join(", ") }
    }

    /// A GPU that one of the drivers does not support, and what to do.
    fn unsupported(&self) -> Option<(String, String)> {
        let pairs = self
            .assumptions
            .drivers
            .iter()
            .flat_map(|driver| self.assumptions.gpus.iter().map(move |gpu| (driver, gpu)));
        let mut wrong = pairs.filter_map(|(driver, gpu)| {
            let found = support(gpu, &driver.release, driver.flavour);
            found.says(gpu, &driver.release).filter(|_| found.is_refused()).zip(found.remedy())
        });
        wrong.next()
    }
}

/// The build to prefer of those that run: the newest release, the driver's own CUDA before a later one, `PyPI`'s before the
/// others, the latest CUDA. And whether the drivers are of its CUDA or a later one.
pub(super) fn preferred<'r>(
    rows: impl Iterator<Item = &'r TorchRow>,
    wanted: &Wanted<'_>,
) -> Option<(&'r TorchRow, bool)> {
    let found = rows.filter_map(|row| Some((row, fits_all(row, wanted).ok()?)));
    found.max_by_key(|(row, native)| (&row.version, *native, row.default, &row.cuda_version))
}

/// The newest build of the tables that runs on all drivers and GPUs that are wanted, with a wheel for the Python.
///
/// # Errors
/// None runs.
pub fn newest_torch(wanted: &Wanted<'_>) -> Result<NewestTorch, NoBuild> {
    let newest = torch_builds().iter().max_by_key(|row| (&row.version, row.default));
    let why = |row: &TorchRow| fits_all(row, wanted).err().unwrap_or_default();
    let none = |because: String, remedy: String| NoBuild { wanted: wanted.text(), because, remedy };
    if let Some((because, remedy)) = wanted.unsupported() {
        return Err(none(because, remedy));
    }
    let Some((row, native)) = preferred(torch_builds().iter(), wanted) else {
        let remedy = format!("install a newer driver, or a later cudashim: these tables are of {}", tables());
        return Err(none(newest.map(why).unwrap_or_default(), remedy));
    };
    let newer = newest.filter(|newest| newest.version > row.version);
    let index = (!row.default).then(|| format!("{INDEX}/{}", row.cuda));
    let options = index.as_ref().map(|index| format!(" --index-url {index}")).unwrap_or_default();
    Ok(NewestTorch {
        schema: SCHEMA,
        torch: row.version.to_string(),
        cuda: row.cuda_version.to_string(),
        python: format!("{} to {}", row.cpython.0, row.cpython.1),
        r#for: wanted.text(),
        by_minor_compatibility: !native,
        pip: format!("pip install torch=={}{options}", row.version),
        uv: format!("uv pip install torch=={}{options}", row.version),
        index,
        newer: newer.map(|newer| format!("torch {} for CUDA {}: {}", newer.version, newer.cuda_version, why(newer))),
        tables: tables().to_owned(),
    })
}

fn tables() -> &'static str {
    torch_builds_read().min(drivers_read())
}

/// The choice for people.
#[must_use]
pub fn newest_text(found: &NewestTorch) -> String {
    let mut text = format!("torch {} for CUDA {}: the newest build for {}\n", found.torch, found.cuda, found.r#for);
    if found.by_minor_compatibility {
        text.push_str("  it runs by minor-version compatibility: all but PTX of a later CUDA than the driver's\n");
    }
    let _ = writeln!(text, "  it has wheels for Python {}", found.python);
    if let Some(newer) = &found.newer {
        let _ = writeln!(text, "  not {newer}");
    }
    let _ = write!(
        text,
        "\n$ {}\n$ {}\n\nfrom tables of {}; a later build is not known here\n",
        found.pip, found.uv, found.tables
    );
    text
}
