//! Whether the installed packages run on this driver and its devices.

use super::super::frameworks::cuda_major;
use super::super::matrix::Assumptions;
use super::super::newest::{Wanted, newest_torch, preferred};
use super::super::tool::PackageSpec;
use super::super::{Case, Finding, Remedy};
use crate::driver::rules::{self, Code, Verdict};
use crate::driver::{Device, compat_serves};
use crate::inventory::Library;
use crate::inventory::places::Provenance;
use crate::python::TorchBuild;
use crate::tables::{self, TorchRow, Version, VersionRange};
use std::collections::{BTreeMap, BTreeSet};

/// The findings, torch's first.
pub(super) fn findings(case: &Case<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    if let (Some(torch), Some(driver)) = (case.torch, case.driver.driver_version())
        && let Some(cuda) = torch.cuda.as_deref().and_then(Version::parse)
    {
        found.extend(on_driver(case, torch, &cuda, &driver));
        found.extend(on_devices(case, torch, &cuda));
        found.extend(jetson(case, torch));
    }
    if let (None, Some(driver)) = (case.torch, case.driver.driver_version()) {
        found.extend(others_on_driver(case, &driver));
    }
    found.extend(compiled_later(case));
    found
}

/// Why the environment runs on this driver and its devices, in a sentence, where no finding says otherwise.
pub(in crate::diagnose) fn fits(case: &Case<'_>) -> String {
    let driver = case.driver.driver_version().map_or_else(String::new, |driver| format!(" {driver}"));
    let own = case.driver.driver_cuda().map_or_else(String::new, |cuda| format!(" (CUDA {cuda})"));
    let Some((torch, cuda)) = case.torch.and_then(|torch| Some((torch, torch.cuda.as_deref()?))) else {
        return match of_set(case) {
            Some((cuda, _)) => format!("this environment needs CUDA {cuda}, which driver{driver}{own} supports"),
            None => "nothing here needs CUDA".to_owned(),
        };
    };
    let on_device = case.driver.devices().first().map_or_else(String::new, |device| {
        let compute = device.compute.map(|compute| format!(" ({compute})")).unwrap_or_default();
        format!(", and has code for {}{compute}", device.name)
    });
    format!("torch {} needs CUDA {cuda}, which driver{driver}{own} supports{on_device}", torch.version)
}

/// The CUDA that the libraries of the environment are of, if it is one major, and one of them.
fn of_set(case: &Case<'_>) -> Option<(Version, String)> {
    let resolution = case.answer.as_ref().ok()?.resolution.as_ref()?;
    let of_cuda = |name: &String| Some((cuda_major(&BTreeSet::from([name.clone()]))?, name.clone()));
    let mut names: BTreeMap<u64, String> = resolution.set.iter().filter_map(|choice| of_cuda(&choice.soname)).collect();
    if names.is_empty() {
        names.extend(resolution.unserved.iter().filter_map(|(soname, _)| of_cuda(soname)));
    }
    let (major, name) = names.first_key_value().filter(|_| names.len() == 1)?;
    // The runtime names the minor.
    let runtime = resolution.set.iter().find(|choice| choice.soname.starts_with("libcudart."));
    let library = runtime.and_then(|choice| case.inventory.libraries.iter().find(|it| it.path == choice.path));
    let minor = library.and_then(|library| library.cuda).filter(|cuda| u64::from(cuda.0) == *major);
    let minor = minor.and_then(|(_, minor)| minor);
    let text = minor.map_or_else(|| major.to_string(), |minor| format!("{major}.{minor}"));
    Some((Version::parse(&text)?, name.clone()))
}

/// The CUDA of torch, else that of the environment's libraries.
pub(super) fn cuda(case: &Case<'_>) -> Option<Version> {
    let torch = case.torch.and_then(|torch| Version::parse(torch.cuda.as_deref()?));
    torch.or_else(|| of_set(case).map(|(cuda, _)| cuda))
}

/// Whether the CUDA of an environment without torch runs on the driver.
fn others_on_driver(case: &Case<'_>, driver: &Version) -> Option<Finding> {
    let (cuda, name) = of_set(case)?;
    let major = cuda.major();
    let floor = match rules::on_driver_with(&cuda, driver, case.driver.found_libcuda()) {
        Verdict::NeedsDriver { floor: Some(floor) } => floor,
        Verdict::RunsByMinorCompat { driver: can } => {
            let found = case.finding("driver-by-minor-compatibility")?.because(format!(
                "CUDA {cuda} of this environment runs by minor-version compatibility: the driver {driver} is for CUDA {can}"
            ));
            return Some(minor_rule(found, major, &can));
        }
        _ => return None,
    };
    let found = case
        .finding("driver-too-old")?
        .because(format!(
            "CUDA {major}, which this environment needs, requires driver {floor} or newer; {}: {driver}",
            case.driver.state()
        ))
        .seen("version", format!("driver {driver}"))
        .seen("rule", format!("CUDA {major} runs on drivers from {floor} on"));
    let found = found.seen("rule", format!("`{name}` is of CUDA {major}"));
    let own = case.driver.driver_cuda();
    let build =
        own.map(|own| Remedy::action(format!("install a CUDA {} build of the package that needs it", own.major())));
    let newer = Remedy::action(format!("install driver {floor} or newer"));
    Some(found.healed_by([newer].into_iter().chain(build)))
}

/// What minor-version compatibility leaves out.
fn minor_rule(found: Finding, major: u64, can: &Version) -> Finding {
    found.seen("rule", format!("all of CUDA {major} runs, but for PTX of a later release than {can}"))
}

fn on_driver(case: &Case<'_>, torch: &TorchBuild, cuda: &Version, driver: &Version) -> Option<Finding> {
    let name = &torch.version;
    let own = case.driver.driver_cuda().map_or_else(String::new, |cuda| format!(", for CUDA {cuda}"));
    match rules::on_driver_with(cuda, driver, case.driver.found_libcuda()) {
        Verdict::NeedsDriver { floor } => {
            let needs = match &floor {
                // People search for the branch; within a branch the full number counts.
                Some(floor) if floor.major() > driver.major() => format!("requires driver {} or newer", floor.major()),
                Some(floor) => format!("requires driver {floor} or newer"),
                None => "requires a newer driver".to_owned(),
            };
            let found = case
                .finding("driver-too-old")?
                .because(format!("torch {name} {needs}; {}: {driver}", case.driver.state()))
                .seen("version", format!("driver {driver}{own}"))
                .seen_at("version", &torch.dir, format!("torch {name}, built with CUDA {cuda}"));
            let found = match &floor {
                Some(floor) => found.seen("rule", format!("CUDA {} runs on drivers from {floor} on", cuda.major())),
                None => found,
            };
            Some(found.healed_by(newer_or_other(case, torch, cuda, driver, floor.as_ref())))
        }
        Verdict::RunsByMinorCompat { driver: can } => {
            let found = case.finding("driver-by-minor-compatibility")?.because(format!(
                "torch {name} runs by minor-version compatibility: the driver {driver} is for CUDA {can}"
            ));
            Some(minor_rule(found, cuda.major(), &can))
        }
        Verdict::ViaCompat { path } => Some(
            case.finding("driver-by-minor-compatibility")?
                .because(format!(
                    "torch {name} runs through the compatibility package: the driver {driver} alone is too old"
                ))
                .seen_at("file", &path, "the libcuda that is found"),
        ),
        Verdict::Unknown => Some(case.finding("driver-unknown")?.because(format!(
            "support of torch {name} by driver {driver} is unknown: the CUDA release of that driver is not published"
        ))),
        _ => None,
    }
}

/// A newer driver; a compatibility package if supported; the same torch for a CUDA release that this driver runs.
fn newer_or_other(
    case: &Case<'_>,
    torch: &TorchBuild,
    cuda: &Version,
    driver: &Version,
    floor: Option<&Version>,
) -> Vec<Remedy> {
    let mut remedies = vec![match floor {
        Some(floor) => Remedy::action(format!("install driver {floor} or newer")),
        None => Remedy::action("install a newer driver"),
    }];
    if let Some(row) = other_build(case, torch, driver) {
        let (version, tag) = (&row.version, row.cuda);
        let program =
            case.interpreter.map_or_else(|| "python".to_owned(), |python| python.program.display().to_string());
        let index = format!("https://download.pytorch.org/whl/{tag}");
        let line = format!("{program} -m pip install --force-reinstall torch=={version} --index-url {index}");
        remedies.push(Remedy::command(line));
    }
    let served = case.driver.devices().iter().all(|device| compat_serves(device) != Some(false));
    let fits =
        |row: &&tables::CompatRow| row.base_branches.contains(&driver.major()) && row.cuda.major() == cuda.major();
    if let Some(row) = tables::forward_compat().iter().rfind(fits).filter(|_| served) {
        let package = row.package;
        remedies.push(Remedy::action(format!(
            "on a data-center GPU: install `{package}`, and put its directory first in LD_LIBRARY_PATH"
        )));
    }
    remedies
}

/// The build of the same torch, else the newest, that this driver and its devices run.
fn other_build(case: &Case<'_>, torch: &TorchBuild, driver: &Version) -> Option<&'static TorchRow> {
    let release = Version::parse(torch.version.split('+').next()?)?;
    let here = Assumptions::of(driver, case.driver.devices());
    let python = case.interpreter.and_then(|python| Version::parse(&python.version));
    let wanted = Wanted { assumptions: &here, python: python.as_ref() };
    let same = tables::torch_builds().iter().filter(|row| row.version == release);
    preferred(same, &wanted).or_else(|| preferred(tables::torch_builds().iter(), &wanted)).map(|(row, _)| row)
}

/// The device code in torch, compared with each device.
fn on_devices(case: &Case<'_>, torch: &TorchBuild, cuda: &Version) -> Vec<Finding> {
    let devices = case.driver.devices();
    if devices.is_empty() {
        return Vec::new();
    }
    let Some(code) = Code::of_torch(&torch.version).or_else(|| code_inside(case, torch)) else { return Vec::new() };
    let driver = case.driver.driver_cuda();
    let judged = devices.iter().filter_map(|device| {
        let verdict = rules::on_device(&code, device.compute?, Some(cuda), driver.as_ref());
        on_device(case, torch, &code, device, &verdict)
    });
    judged.collect()
}

fn on_device(case: &Case<'_>, torch: &TorchBuild, code: &Code, device: &Device, verdict: &Verdict) -> Option<Finding> {
    let (name, version, compute) = (&device.name, &torch.version, device.compute?);
    let seen = |found: Finding| {
        found.seen("device", format!("{name}, compute capability {compute}")).seen_at(
            "version",
            &torch.dir,
            format!("torch {version} has code for {}", code.list()),
        )
    };
    match verdict {
        Verdict::NoCode { .. } => {
            let found = case
                .finding("no-code-for-device")?
                .because(format!("torch {version} has no code for {name} ({compute}): no kernel image is available"));
            let here =
                case.driver.driver_version().map(|driver| Assumptions::of(&driver, std::slice::from_ref(device)));
            let python = case.interpreter.and_then(|python| Version::parse(&python.version));
            let row = here.and_then(|here| newest_torch(&Wanted { assumptions: &here, python: python.as_ref() }).ok());
            let remedy = match row {
                Some(row) => Remedy::command(row.pip),
                None => Remedy::action(format!("install a torch with code for compute capability {compute}")),
            };
            Some(seen(found).healed_by([remedy]))
        }
        Verdict::PtxTooNew { from } => {
            let found = case.finding("ptx-unsupported-toolchain")?.because(format!(
                "torch {version} has only PTX ({from}) for {name}, of a later CUDA than the driver can compile"
            ));
            Some(seen(found).severity(crate::tables::Severity::Fatal))
        }
        _ => None,
    }
}

/// The contents of the fat binaries in torch's own library, if the table has no row.
fn code_inside(case: &Case<'_>, torch: &TorchBuild) -> Option<Code> {
    Code::of_fat_binaries(&case.machine.gpu_code(&torch.dir.join("lib/libtorch_cuda.so"))?)
}

/// Wheels of `PyPI` target servers; up to R36 a Jetson needs those that NVIDIA builds for it.
fn jetson(case: &Case<'_>, torch: &TorchBuild) -> Option<Finding> {
    /// From this release of the system image on, a Jetson runs server wheels.
    const SERVER_BASE: u64 = 38;
    let release = case.driver.surroundings.jetson.filter(|release| *release < SERVER_BASE)?;
    let local = torch.version.split_once('+').map(|(_, local)| local)?;
    local.starts_with("cu").then_some(())?;
    Some(
        case.finding("jetson-sbsa")?
            .because(format!("torch {} is built for servers, and this is a Jetson (R{release})", torch.version))
            .seen_at("version", &torch.dir, format!("torch {}", torch.version)),
    )
}

/// numba passes PTX to the driver, which compiles no PTX of a later release than its own.
fn compiled_later(case: &Case<'_>) -> Option<Finding> {
    const SWITCH: &str = "NUMBA_CUDA_ENABLE_MINOR_VERSION_COMPATIBILITY";
    let driver = case.driver.driver_cuda()?;
    let numba = case.has_package("numba-cuda").or_else(|| case.has_package("numba"))?;
    if case.host.env(SWITCH).is_some_and(|value| value == "1") {
        return None;
    }
    let in_environment = |place| matches!(place, Provenance::Site | Provenance::Conda);
    let mut later: Vec<(&Library, Version)> = Vec::new();
    for library in &case.inventory.libraries {
        // libNVVM writes the PTX of its kernels; NVRTC that of functions in CUDA C++.
        let writes = matches!(library.row.stem, "nvrtc" | "nvvm") && in_environment(library.place.provenance);
        if !writes || library.unusable.is_some() {
            continue;
        }
        // Both have the number of their toolkit.
        let of_version = || Some((library.version.as_ref()?.major(), library.version.as_ref()?.minor()?));
        let of_cuda = library.cuda.and_then(|(major, minor)| Some((u64::from(major), u64::from(minor?))));
        let Some((major, minor)) = of_cuda.or_else(of_version) else { continue };
        let Some(release) = Version::parse(&format!("{major}.{minor}")) else { continue };
        if release > driver && release.major() == driver.major() {
            later.push((library, release));
        }
    }
    later.sort_by_key(|(library, _)| library.row.stem != "nvvm");
    let (library, release) = later.first()?.clone();
    let writer = if library.row.stem == "nvvm" { "libNVVM" } else { "NVRTC" };
    let range = VersionRange::parse(&format!("=={driver}.*"));
    let wheel = |library: &Library| library.row.wheel_names(driver.major()).into_iter().next();
    let wheels: BTreeSet<String> = later.iter().filter_map(|(library, _)| wheel(library)).collect();
    let wheels: Vec<PackageSpec> = wheels.iter().map(|wheel| PackageSpec::within(wheel, range.as_ref())).collect();
    let older = case.install(&wheels, false);
    let found = case
        .finding("ptx-unsupported-toolchain")?
        .because(format!(
            "{writer} of CUDA {release} writes the PTX of numba, but the driver accepts PTX up to CUDA {driver}"
        ))
        .seen_at("version", &library.path, format!("CUDA {release}"))
        .seen("version", format!("{} {}, driver for CUDA {driver}", numba.name, numba.version));
    let switch = Remedy::command(format!("{SWITCH}=1"));
    let newer = Remedy::action(format!("install a driver for CUDA {release} or newer"));
    Some(found.healed_by(older.into_iter().chain([newer, switch])))
}
