//! Whether a target runs on drivers and GPUs that are not here: a table of both.
//!
//! Takes a machine, drivers and devices; gives a cell for each pair, by the rules about the driver that `doctor` has. Judges
//! nothing that depends on neither: whether the libraries load is `check`'s and `doctor`'s to say.

use super::{Case, Finding, driver, judging};
use crate::driver::{Assumed, AssumedError, Device, gpu_of, newest_branch};
use crate::machine::Machine;
use crate::tables::{Severity, Version};
use serde::Serialize;
use std::collections::BTreeMap;

/// Drivers and GPUs to judge instead of those that are here: each driver with each GPU.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Assumptions {
    /// The drivers; none: the newest for each GPU.
    pub drivers: Vec<Assumed>,
    /// The GPUs; none: each driver alone.
    pub gpus: Vec<Device>,
}

impl Assumptions {
    /// Those of these names: `535`, `570.124.06,open`; `H100`, `sm_90`.
    ///
    /// # Errors
    /// A name is not that of a driver, or not that of one GPU.
    pub fn parse(drivers: &[String], gpus: &[String]) -> Result<Self, AssumedError> {
        Ok(Self {
            drivers: drivers.iter().map(|driver| driver.parse()).collect::<Result<_, _>>()?,
            gpus: gpus.iter().map(|gpu| gpu_of(gpu)).collect::<Result<_, _>>()?,
        })
    }

    /// A driver of this release, with these devices.
    #[must_use]
    pub fn of(release: &Version, devices: &[Device]) -> Self {
        Self { drivers: vec![Assumed { release: release.clone(), flavour: None }], gpus: devices.to_vec() }
    }

    /// Whether nothing is assumed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.drivers.is_empty() && self.gpus.is_empty()
    }

    /// Whether there is more than one pair.
    #[must_use]
    pub fn is_table(&self) -> bool {
        self.drivers.len() > 1 || self.gpus.len() > 1
    }

    /// The machine with each pair, driver by driver.
    #[must_use]
    pub fn machines(&self, machine: &Machine) -> Vec<Machine> {
        let newest = |gpu: &Device| newest_branch(gpu).and_then(Assumed::branch);
        if self.drivers.is_empty() {
            let pairs = self.gpus.iter().filter_map(|gpu| Some((newest(gpu)?, gpu)));
            return pairs.map(|(driver, gpu)| machine.assuming(&driver, vec![gpu.clone()])).collect();
        }
        let of_driver = |driver: &Assumed| {
            let bare = machine.assuming(driver, Vec::new());
            let mut machines: Vec<Machine> = self.gpus.iter().map(|gpu| bare.with_gpus(vec![gpu.clone()])).collect();
            if machines.is_empty() {
                machines.push(bare);
            }
            machines
        };
        self.drivers.iter().flat_map(of_driver).collect()
    }
}

/// The table.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Matrix {
    /// The cells, driver by driver, each in the order of the GPUs.
    pub cells: Vec<Cell>,
}

/// A driver, a GPU, and whether the target runs on them.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Cell {
    /// The driver; `None` if only GPUs were given: the newest for the GPU.
    pub driver: Option<String>,
    /// The GPU; `None` if only drivers were given.
    pub gpu: Option<Device>,
    /// The answer.
    pub runs: Runs,
    /// The answer as a sentence.
    pub says: String,
    /// The findings behind it, the worst first.
    pub findings: Vec<Finding>,
}

/// Whether a target runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Runs {
    /// It does.
    Yes,
    /// It does on conditions, which the findings name.
    Conditions,
    /// It does not.
    No,
}

impl Matrix {
    /// The worst of its answers; `None` without cells.
    #[must_use]
    pub fn worst(&self) -> Option<Runs> {
        self.cells.iter().map(|cell| cell.runs).max()
    }
}

/// Judges the target of a machine on each of the drivers with each of the GPUs. Without drivers, each GPU is judged with
/// the newest driver for it; without GPUs, each driver alone. Keeps only remedies that need no trial on a model.
#[must_use]
pub fn matrix(machine: &Machine, drivers: &[Assumed], gpus: &[Device]) -> Matrix {
    if !drivers.is_empty() {
        return Matrix { cells: drivers.iter().flat_map(|assumed| row(machine, assumed, gpus)).collect() };
    }
    // The GPUs with one newest driver share its machine.
    let mut of_newest: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (at, gpu) in gpus.iter().enumerate() {
        if let Some(branch) = newest_branch(gpu) {
            of_newest.entry(branch).or_default().push(at);
        }
    }
    let mut cells: BTreeMap<usize, Cell> = BTreeMap::new();
    for (branch, places) in of_newest {
        let Some(newest) = Assumed::branch(branch) else { continue };
        let devices: Vec<Device> = places.iter().filter_map(|&at| gpus.get(at).cloned()).collect();
        let of_newest = row(machine, &newest, &devices).into_iter().map(|cell| Cell { driver: None, ..cell });
        cells.extend(places.into_iter().zip(of_newest));
    }
    Matrix { cells: cells.into_values().collect() }
}

fn row(machine: &Machine, assumed: &Assumed, gpus: &[Device]) -> Vec<Cell> {
    let machine = machine.assuming(assumed, Vec::new());
    judging(&machine, |case| {
        // Files are judged for themselves, whatever torch is beside them.
        let torch = case.torch.filter(|_| machine.request().files.is_empty());
        let case = &Case { torch, ..*case };
        if gpus.is_empty() {
            return vec![cell(case, assumed, None)];
        }
        gpus.iter().map(|gpu| cell(case, assumed, Some(gpu))).collect()
    })
}

fn cell(case: &Case<'_>, assumed: &Assumed, gpu: Option<&Device>) -> Cell {
    let with_gpu = case.driver.clone().with_devices(assumed.answers(gpu.cloned().into_iter().collect()));
    let case = Case { driver: &with_gpu, ..*case };
    let mut findings = driver::findings(&case);
    for finding in &mut findings {
        // What was not tried on the model of this pair is not printed.
        finding.remedies.retain(|remedy| remedy.change.is_none());
    }
    findings.sort_by_key(|finding| finding.severity);
    let runs = match findings.first().map(|finding| finding.severity) {
        Some(Severity::Fatal) => Runs::No,
        Some(_) => Runs::Conditions,
        None => Runs::Yes,
    };
    let says = findings.first().map_or_else(|| driver::fits(&case), |finding| finding.cause.clone());
    Cell { driver: Some(assumed.to_string()), gpu: gpu.cloned(), runs, says, findings }
}
