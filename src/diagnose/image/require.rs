//! What a host must have for the containers of an image: the lowest driver, the GPUs; in the forms that schedulers read.
//!
//! Takes the machines of the targets that use CUDA; asks the table of drivers and GPUs (`matrix`), and judges nothing itself.
//!
//! Forms: [`NVIDIA_REQUIRE_CUDA`], [node affinity] by the labels of [GPU feature discovery], and the [image compatibility]
//! artefact of Node Feature Discovery, which reads the same labels as its feature `local.label`.
//!
//! [`NVIDIA_REQUIRE_CUDA`]: https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/docker-specialized.html#constraints
//! [node affinity]: https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#node-affinity
//! [GPU feature discovery]: https://github.com/NVIDIA/k8s-device-plugin/blob/main/docs/gpu-feature-discovery/README.md
//! [image compatibility]: https://kubernetes-sigs.github.io/node-feature-discovery/stable/usage/image-compatibility.html

use crate::diagnose::{Matrix, Runs, matrix};
use crate::driver::{Assumed, Compute, Device, is_of_jetson, rules};
use crate::machine::Machine;
use crate::tables::{Version, compute_capabilities, driver_floor, drivers};
use goblin::elf::header::EM_X86_64;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// What a host must have.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Requirements {
    /// The lowest driver.
    pub driver: String,
    /// The CUDA release that this driver reports.
    pub cuda: Option<String>,
    /// The compute capabilities with code for them; empty where no code says so.
    pub compute: Vec<String>,
    /// What holds on that driver only with conditions.
    pub conditions: Vec<String>,
    /// The value of `NVIDIA_REQUIRE_CUDA`.
    pub nvidia_require_cuda: String,
}

/// A form of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequirementsForm {
    /// For people.
    Text,
    /// The variable that the container runtime reads.
    Cuda,
    /// A part of a pod.
    Kubernetes,
    /// The artefact of Node Feature Discovery.
    Nfd,
}

/// Whether all targets run on each pair: the worst answer counts.
pub(super) fn table(machines: &[&Machine], drivers: &[Assumed], gpus: &[Device]) -> Matrix {
    let mut tables = machines.iter().map(|machine| matrix(machine, drivers, gpus));
    let Some(mut all) = tables.next() else { return Matrix { cells: Vec::new() } };
    for table in tables {
        for (cell, other) in all.cells.iter_mut().zip(table.cells) {
            if other.runs > cell.runs {
                *cell = other;
            }
        }
    }
    all
}

/// The lowest driver branch that all targets run on; `None` where none uses CUDA, or no known driver suffices.
pub(super) fn lowest(machines: &[&Machine]) -> Option<Assumed> {
    if machines.is_empty() {
        return None;
    }
    let branches: Vec<Assumed> = branches().collect();
    // What runs on a driver runs on every later one.
    let fails = |driver: &Assumed| table(machines, std::slice::from_ref(driver), &[]).worst() == Some(Runs::No);
    branches.get(branches.partition_point(fails)).cloned()
}

/// The driver branches that are known, the oldest first.
pub(super) fn branches() -> impl Iterator<Item = Assumed> {
    drivers().iter().filter_map(|row| Assumed::branch(row.branch))
}

/// The requirements of the targets; `None` where none uses CUDA, or no known driver suffices.
pub(super) fn of(machines: &[&Machine]) -> Option<Requirements> {
    let lowest = &lowest(machines)?;
    let on_lowest = table(machines, std::slice::from_ref(lowest), &[]);
    // Of the branch in which a CUDA major begins, the first release of that major counts.
    let floors = (1..100).filter_map(driver_floor);
    let floor = floors.into_iter().find(|floor| floor.major() == lowest.release.major());
    let driver = floor.unwrap_or(&lowest.release);
    let conditions =
        on_lowest.cells.iter().flat_map(|cell| &cell.findings).map(|finding| finding.cause.clone()).collect();
    let is_x86 = machines.iter().all(|machine| machine.loader().architecture() == EM_X86_64);
    let devices: Vec<Device> = compute_capabilities()
        .iter()
        .filter_map(|row| Compute::of(&row.sm))
        .filter(|compute| !is_x86 || !is_of_jetson(*compute))
        .map(|compute| Device::new(&format!("sm_{}{}", compute.major, compute.minor), compute))
        .collect();
    // Each with the newest driver for it: later ones leave out old GPUs.
    let code = table(machines, &[], &devices);
    let has = code.cells.iter().filter(|cell| cell.runs != Runs::No);
    let compute: Vec<Compute> = has.filter_map(|cell| cell.gpu.as_ref()?.compute).collect();
    let cuda = rules::cuda_of_driver(driver);
    Some(Requirements {
        nvidia_require_cuda: require_cuda(driver, cuda.as_ref(), compute.iter().min()),
        driver: driver.to_string(),
        cuda: cuda.map(|cuda| cuda.to_string()),
        compute: compute.iter().map(ToString::to_string).collect(),
        conditions,
    })
}

/// The value of the variable: what stands between commas must all hold.
fn require_cuda(driver: &Version, cuda: Option<&Version>, compute: Option<&Compute>) -> String {
    let driver = cuda.map_or_else(|| format!("driver>={}", driver.major()), |cuda| format!("cuda>={cuda}"));
    compute.map_or_else(|| driver.clone(), |compute| format!("{driver},arch>={compute}"))
}

impl Requirements {
    /// In a form.
    #[must_use]
    pub fn form(&self, form: RequirementsForm) -> String {
        match form {
            RequirementsForm::Text => self.text(),
            RequirementsForm::Cuda => format!("NVIDIA_REQUIRE_CUDA={}\n", self.nvidia_require_cuda),
            RequirementsForm::Kubernetes => yaml(&self.kubernetes()),
            RequirementsForm::Nfd => yaml(&self.nfd()),
        }
    }

    fn text(&self) -> String {
        let cuda = self.cuda.as_ref().map(|cuda| format!(" (CUDA {cuda})")).unwrap_or_default();
        let mut text = format!("driver   {} or newer{cuda}\n", self.driver);
        if !self.compute.is_empty() {
            let _ = writeln!(text, "GPU      compute capability {}", self.compute.join(", "));
        }
        for condition in &self.conditions {
            let _ = writeln!(text, "but      on driver {}: {condition}", self.driver);
        }
        let _ = writeln!(text, "variable NVIDIA_REQUIRE_CUDA={}", self.nvidia_require_cuda);
        text
    }

    /// The parts of the driver's release.
    fn release(&self) -> (u64, u64) {
        let release = Version::parse(&self.driver);
        let numbers = release.as_ref().map(Version::numbers).unwrap_or_default();
        (numbers.first().copied().unwrap_or_default(), numbers.get(1).copied().unwrap_or_default())
    }

    /// The minors of each major capability.
    fn capabilities(&self) -> BTreeMap<u32, BTreeSet<u32>> {
        let mut found: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
        for compute in self.compute.iter().filter_map(|text| Compute::parse(text)) {
            found.entry(compute.major).or_default().insert(compute.minor);
        }
        found
    }

    /// The labels that must hold together, one list for each alternative: key, operator, values.
    fn alternatives(&self) -> Vec<Vec<(&'static str, &'static str, Vec<String>)>> {
        const DRIVER: &str = "nvidia.com/cuda.driver.major";
        const DRIVER_MINOR: &str = "nvidia.com/cuda.driver.minor";
        let (major, minor) = self.release();
        let more = |number: u64| vec![number.saturating_sub(1).to_string()];
        let mut drivers = Vec::new();
        if minor > 0 {
            drivers.push(vec![(DRIVER, "Gt", vec![major.to_string()])]);
            drivers.push(vec![(DRIVER, "In", vec![major.to_string()]), (DRIVER_MINOR, "Gt", more(minor))]);
        } else {
            drivers.push(vec![(DRIVER, "Gt", more(major))]);
        }
        let gpus: Vec<Vec<_>> = self
            .capabilities()
            .into_iter()
            .map(|(major, minors)| {
                let minors = minors.iter().map(ToString::to_string).collect();
                vec![
                    ("nvidia.com/gpu.compute.major", "In", vec![major.to_string()]),
                    ("nvidia.com/gpu.compute.minor", "In", minors),
                ]
            })
            .collect();
        if gpus.is_empty() {
            return drivers;
        }
        drivers.iter().flat_map(|driver| gpus.iter().map(move |gpu| [driver.clone(), gpu.clone()].concat())).collect()
    }

    fn kubernetes(&self) -> Value {
        let terms: Vec<Value> = self
            .alternatives()
            .into_iter()
            .map(|labels| {
                let expressions: Vec<Value> = labels
                    .into_iter()
                    .map(|(key, operator, values)| json!({"key": key, "operator": operator, "values": values}))
                    .collect();
                json!({"matchExpressions": expressions})
            })
            .collect();
        json!({"affinity": {"nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms},
        }}})
    }

    fn nfd(&self) -> Value {
        let any: Vec<Value> = self
            .alternatives()
            .into_iter()
            .map(|labels| {
                let expressions: serde_json::Map<String, Value> = labels
                    .into_iter()
                    .map(|(key, operator, values)| (key.to_owned(), json!({"op": operator, "value": values})))
                    .collect();
                json!({"matchFeatures": [{"feature": "local.label", "matchExpressions": expressions}]})
            })
            .collect();
        json!({
            "version": "v1alpha1",
            "compatibilities": [{
                "description": format!("NVIDIA driver {} or newer, and a GPU with code for it", self.driver),
                "rules": [{"name": "nvidia driver and gpu", "matchAny": any}],
            }],
        })
    }
}

/// A value as YAML: blocks of mappings and lists, every text in quotes as JSON has it, which YAML 1.2 reads alike.
fn yaml(value: &Value) -> String {
    let mut text = String::new();
    write_yaml(&mut text, value, 0);
    text
}

fn write_yaml(text: &mut String, value: &Value, depth: usize) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let is_plain =
                    key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'/' | b'-'));
                let key = if is_plain { key.clone() } else { Value::from(key.as_str()).to_string() };
                let _ = write!(text, "{indent}{key}:");
                write_under(text, value, depth);
            }
        }
        Value::Array(items) => {
            for item in items {
                let mut block = String::new();
                write_yaml(&mut block, item, depth + 1);
                let block = block.get(indent.len() + 2..).unwrap_or_default();
                let _ = write!(text, "{indent}- {block}");
            }
        }
        scalar => {
            let _ = writeln!(text, "{indent}{scalar}");
        }
    }
}

fn write_under(text: &mut String, value: &Value, depth: usize) {
    let is_scalar = |value: &Value| !value.is_object() && !value.is_array();
    match value {
        Value::Array(items) if items.iter().all(is_scalar) => {
            let _ = writeln!(text, " {value}");
        }
        value if is_scalar(value) => {
            let _ = writeln!(text, " {value}");
        }
        value => {
            text.push('\n');
            write_yaml(text, value, depth + 1);
        }
    }
}
