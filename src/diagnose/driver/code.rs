//! Whether the libraries of an environment have code for its GPUs, by their fat binaries.
//!
//! torch's own code is in the tables ([`super::builds`]). A library without code for a GPU fails when it is used there: a
//! warning, but for the library that a target without torch is about.

use super::super::judged::TargetKind;
use super::super::{Case, Finding, Remedy};
use crate::driver::rules::{self, Code, Verdict};
use crate::driver::{Compute, Device, capability};
use crate::tables::{FamilyRow, Severity, Version, parse_library_name};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Libraries that other libraries do without where they have no code: sparse kernels for Ampere and later, storage,
/// communication, profiling.
const OPTIONAL: [&str; 5] = ["cusparselt", "cufile", "nvshmem", "cupti", "cutensor"];

/// Names in one sentence.
const NAMED: usize = 3;

/// A library with code for GPUs.
struct Carrier {
    path: PathBuf,
    row: Option<&'static FamilyRow>,
    code: Code,
    /// Its CUDA release.
    cuda: Option<Version>,
}

impl Carrier {
    fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().display().to_string()
    }
}

/// The findings, for each device.
pub(super) fn findings(case: &Case<'_>) -> Vec<Finding> {
    let devices = case.driver.devices();
    if devices.is_empty() {
        return Vec::new();
    }
    let all = carriers(case);
    let mut found: Vec<Finding> = Vec::new();
    for device in devices {
        let Some(compute) = device.compute else { continue };
        let cudnn = cudnn(case, device, compute);
        // One finding about cuDNN.
        let is_other = |it: &&Carrier| cudnn.is_none() || it.row.is_none_or(|row| row.group != Some("cudnn"));
        let carriers: Vec<&Carrier> = all.iter().filter(is_other).collect();
        let of_device = dropped(case, device, compute).into_iter().chain(cudnn);
        let of_device = of_device.chain(without_code(case, device, compute, &carriers));
        for finding in of_device {
            if found.iter().all(|known| known.cause != finding.cause) {
                found.push(finding);
            }
        }
    }
    found
}

/// The objects of the judged link maps and of the chosen set that have such code.
fn carriers(case: &Case<'_>) -> Vec<Carrier> {
    let own = |path: &Path| case.torch.is_some_and(|torch| path.starts_with(&torch.dir));
    let mut paths: BTreeSet<PathBuf> = BTreeSet::new();
    for judged in case.judged {
        paths.extend(judged.judgement.objects.iter().map(|object| object.path.clone()));
    }
    let set = case.answer.as_ref().ok().and_then(|answer| answer.resolution.as_ref());
    paths.extend(set.iter().flat_map(|set| &set.set).map(|choice| choice.path.clone()));
    let mut seen = BTreeSet::new();
    let carrier = |path: PathBuf| {
        let stat = case.host.stat(&path).ok()?;
        let name = parse_library_name(path.file_name()?);
        let row = name.map(|name| name.row);
        if own(&path)
            || row.is_some_and(|row| row.is_driver() || OPTIONAL.contains(&row.family))
            || !seen.insert(stat.id)
        {
            return None;
        }
        let code = Code::of_fat_binaries(&case.machine.gpu_code(&path)?)?;
        // What NVIDIA compiled for the default of its compiler alone has no kernels, as cuFFTW.
        if row.is_some() && code.ptx.is_empty() && code.cubins.len() == 1 {
            return None;
        }
        let library = case.inventory.libraries.iter().find(|library| library.stat.id == stat.id);
        let (major, minor) = library.and_then(|library| library.cuda).map_or((None, None), |(a, b)| (Some(a), b));
        let cuda = major.zip(minor).and_then(|(major, minor)| Version::parse(&format!("{major}.{minor}")));
        Some(Carrier { path, row, code, cuda })
    };
    paths.into_iter().filter_map(carrier).collect()
}

/// The libraries that have no code for a device, and those with PTX that its driver does not compile.
fn without_code(case: &Case<'_>, device: &Device, compute: Compute, carriers: &[&Carrier]) -> Vec<Finding> {
    let driver = case.driver.driver_cuda();
    let judged = |carrier: &Carrier| rules::on_device(&carrier.code, compute, carrier.cuda.as_ref(), driver.as_ref());
    let which =
        |wanted: fn(&Verdict) -> bool| carriers.iter().copied().filter(|it| wanted(&judged(it))).collect::<Vec<_>>();
    let none = which(|verdict| matches!(verdict, Verdict::NoCode { .. }));
    let too_new = which(|verdict| matches!(verdict, Verdict::PtxTooNew { .. }));
    let seen = |found: Finding, carriers: &[&Carrier]| {
        let found = found.seen("device", format!("{}, compute capability {compute}", device.name));
        carriers.iter().fold(found, |found, carrier| {
            found.seen_at("file", &carrier.path, format!("has code for {}", carrier.code.list()))
        })
    };
    let mut findings = Vec::new();
    if let (false, Some(found)) = (none.is_empty(), case.finding("no-code-for-device")) {
        let severity =
            if none.iter().any(|carrier| is_target(case, carrier)) { Severity::Fatal } else { Severity::Warning };
        let because = format!("{} for {} ({compute})", clause(&none, "has no code", "have no code"), device.name);
        findings.push(seen(found.because(because), &none).severity(severity));
    }
    if let (false, Some(found)) = (too_new.is_empty(), case.finding("ptx-unsupported-toolchain")) {
        let own = driver.map_or_else(String::new, |driver| format!(" (CUDA {driver})"));
        let clause = clause(&too_new, "has only PTX", "have only PTX");
        let because = format!("{clause} for {} ({compute}), of a later CUDA than the driver's{own}", device.name);
        findings.push(seen(found.because(because), &too_new).healed_by([Remedy::action("install a newer driver")]));
    }
    findings
}

/// `a`, `b` and 3 more have.
fn clause(carriers: &[&Carrier], one: &str, several: &str) -> String {
    let names: Vec<String> = carriers.iter().take(NAMED).map(|carrier| format!("`{}`", carrier.name())).collect();
    let more = carriers.len().saturating_sub(NAMED);
    let verb = if carriers.len() == 1 { one } else { several };
    if more > 0 {
        format!("{} and {more} more {verb}", names.join(", "))
    } else {
        format!("{} {verb}", names.join(", "))
    }
}

/// Whether it is what a target without torch is about: no library of NVIDIA's.
fn is_target(case: &Case<'_>, carrier: &Carrier) -> bool {
    let kinds = [TargetKind::Target, TargetKind::Environment];
    let of_target = |judged: &super::super::Judged| {
        kinds.contains(&judged.kind) && judged.judgement.objects.iter().any(|object| object.path == carrier.path)
    };
    case.torch.is_none() && carrier.row.is_none() && case.judged.iter().any(of_target)
}

/// The CUDA of an environment without torch has dropped the GPU, or came before it.
fn dropped(case: &Case<'_>, device: &Device, compute: Compute) -> Option<Finding> {
    let cuda = super::builds::cuda(case).filter(|_| case.torch.is_none())?;
    let last = capability(compute)?.last_toolkit.as_ref().filter(|last| last.major() < cuda.major())?;
    let because = format!(
        "CUDA {cuda}, which this environment needs, no longer supports {} ({compute}): the last that does is {last}",
        device.name
    );
    let build = Remedy::action(format!("install a CUDA {} build of the package that needs it", last.major()));
    let found = case.finding("no-code-for-device")?.because(because);
    Some(found.seen("device", format!("{}, compute capability {compute}", device.name)).healed_by([build]))
}

/// The cuDNN of the environment has dropped the GPU.
fn cudnn(case: &Case<'_>, device: &Device, compute: Compute) -> Option<Finding> {
    let last = capability(compute)?.last_cudnn.as_ref()?;
    let set = &case.answer.as_ref().ok()?.resolution.as_ref()?.set;
    let choice = set.iter().find(|choice| choice.soname.starts_with("libcudnn.so"))?;
    let version = Version::parse(choice.version.as_deref()?)?;
    if version <= *last || version.starts_with(last) {
        return None;
    }
    let because =
        format!("cuDNN {version} no longer supports {} ({compute}): the last that does is {last}", device.name);
    let found = case.finding("no-code-for-device")?.because(because).severity(Severity::Warning);
    let found = found.seen_at("version", &choice.path, format!("cuDNN {version}"));
    let major = super::builds::cuda(case).map_or(12, |cuda| cuda.major());
    Some(found.healed_by([Remedy::command(format!("pip install 'nvidia-cudnn-cu{major}<{}'", next_minor(last)))]))
}

/// 9.11 of 9.10.
fn next_minor(version: &Version) -> String {
    format!("{}.{}", version.major(), version.minor().unwrap_or_default() + 1)
}
