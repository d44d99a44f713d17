//! Findings about the driver: whether it is installed, complete, consistent, and new enough.
//!
//! Each rule reads only the [`Driver`] and the problems of `scan`; [`builds`] judges what needs CUDA.

mod builds;
mod code;
mod fit;
mod gpu;

pub(super) use builds::fits;

use super::{Case, Finding, Remedy, checked};
use crate::driver::{Container, Driver, DriverResponse, End, Node, Proc, Role};
use crate::tables::{Group, Severity};
use std::path::Path;

/// The driver does not have what something needs.
const TOO_OLD: &str = "driver-too-old";

/// The findings, causes before their effects.
pub(crate) fn findings(case: &Case<'_>) -> Vec<Finding> {
    let machine = case.driver;
    let mut found: Vec<Finding> = unresponsive(case).into_iter().collect();
    if machine.usable_libcudas().next().is_none() {
        found.extend(absent(case));
        found.extend(fit::stubs(case));
        found.extend(passed_through(case));
        return found;
    }
    let at_rest = not_loaded(case);
    let loaded = at_rest.is_none();
    found.extend(at_rest);
    if loaded {
        found.extend(fit::not_found(case));
        found.extend(fit::mismatched(case));
        found.extend(nodes(case));
        found.extend(hidden(case));
        found.extend(incomplete(case));
    }
    found.extend(fit::stubs(case));
    found.extend(fit::torn(case));
    found.extend(passed_through(case));
    found.extend(gpu::findings(case));
    found.extend(builds::findings(case));
    lacking(case, &mut found);
    found.extend(code::findings(case));
    let explained = found.iter().any(|finding| finding.severity == Severity::Fatal);
    // Without a kernel module, every call of a driver fails.
    found.extend(refused(case).filter(|_| loaded && !explained));
    found
}

/// What needs functions that the driver does not have: by itself, or because a build needs a newer driver as a whole.
fn lacking(case: &Case<'_>, found: &mut Vec<Finding>) {
    let lacking = checked::findings(case, Group::Driver).into_iter().find(|finding| finding.id == TOO_OLD);
    let Some(lacking) = lacking else { return };
    match found.iter_mut().find(|finding| finding.id == TOO_OLD) {
        Some(first) => first.consequences.push(lacking.into()),
        None => found.push(lacking),
    }
}

/// The driver hangs, or ends the process that calls it.
fn unresponsive(case: &Case<'_>) -> Option<Finding> {
    let machine = case.driver;
    let mut seen = Vec::new();
    if machine.kernel.proc == Proc::Hangs {
        seen.push("reading `/proc/driver/nvidia/version` does not end".to_owned());
    }
    for (name, response) in [("libcuda", &machine.devices.cuda), ("NVML", &machine.devices.nvml)] {
        match response.as_ref().map(|response| &response.end) {
            Some(End::Hangs) => seen.push(format!("{name} does not answer")),
            Some(End::Failed(how)) => seen.push(format!("{name} was queried for devices: {how}")),
            _ => {}
        }
    }
    let first = seen.first()?.clone();
    let found = case.finding("driver-does-not-answer")?.because(format!("the driver does not answer: {first}"));
    Some(seen.into_iter().fold(found, |found, says| found.seen("driver", says)))
}

/// No usable libcuda exists.
fn absent(case: &Case<'_>) -> Option<Finding> {
    let (machine, around) = (case.driver, &case.driver.surroundings);
    let parts = machine.files.iter().find(|file| file.role == Role::Driver);
    let visible = machine.is_loaded() || machine.has_gpu();
    if let Some(container) = around.container.filter(|_| visible || around.wants_gpus()) {
        if let Some(part) = parts {
            let granted = around.capabilities.as_deref().unwrap_or("utility");
            return Some(
                case.finding("half-a-driver")?
                    .severity(Severity::Fatal)
                    .because("this container has the driver of its host, but not libcuda")
                    .seen_at("file", &part.path, "exists, but not `libcuda.so.1`")
                    .seen("variable", format!("NVIDIA_DRIVER_CAPABILITIES={granted}"))
                    .healed_by([Remedy::action(
                        "start the container with `NVIDIA_DRIVER_CAPABILITIES=compute,utility`, or `all`",
                    )]),
            );
        }
        let found = case
            .finding("libcuda-not-injected")?
            .severity(if visible { Severity::Fatal } else { Severity::Warning })
            .because(format!("this container ({container}) was started without the driver of its host"))
            .healed_by([injection(container)]);
        return Some(bus_and_module(found, machine));
    }
    if machine.has_gpu() && machine.nouveau && !machine.kernel.loaded {
        return Some(bus_and_module(case.finding("nouveau-loaded")?, machine));
    }
    if let Some(says) = version_of_module(machine) {
        let found = case
            .finding("half-a-driver")?
            .severity(Severity::Fatal)
            .because(format!("the kernel module is loaded ({says}), but no libcuda is installed"));
        let compute = "install the libraries of the driver that CUDA needs, of the same version: `libcuda1` on Debian, \
                       `libnvidia-compute-…` on Ubuntu, `xorg-x11-drv-nvidia-cuda` on Fedora, `nvidia-utils` on Arch";
        return Some(bus_and_module(found, machine).healed_by([Remedy::action(compute)]));
    }
    if machine.has_gpu() {
        return Some(bus_and_module(case.finding("gpu-without-driver")?, machine));
    }
    let found = case.finding("no-driver")?;
    if around.wsl {
        return Some(found.because("no NVIDIA driver: Windows provides none to WSL").healed_by([Remedy::action(
            "if this PC has an NVIDIA GPU: install the NVIDIA driver on Windows, and none in WSL",
        )]));
    }
    Some(found)
}

/// How each kind of container gets the driver of its host.
fn injection(container: Container) -> Remedy {
    Remedy::action(match container {
        Container::Docker => "start the container with `--gpus all`",
        Container::Podman => "start the container with `--device nvidia.com/gpu=all`",
        Container::Kubernetes => {
            "give the pod `resources: limits: nvidia.com/gpu: 1`, on a node with NVIDIA's device plugin"
        }
        Container::Apptainer => "start the container with `--nv`",
        Container::Lxc => "set `nvidia.runtime=true` for the container, and give it a `gpu` device",
        _ => "start the container with the devices and libraries of the driver (CDI: `nvidia.com/gpu=all`)",
    })
}

/// The visible parts of the driver on the machine.
fn bus_and_module(mut found: Finding, machine: &Driver) -> Finding {
    if let Some(says) = version_of_module(machine) {
        found = found.seen("module", says);
    }
    for gpu in machine.gpus.iter().flatten().filter(|gpu| !gpu.passed_through()) {
        let driver = gpu
            .driver
            .as_deref()
            .map_or_else(|| "no kernel driver is bound to it".to_owned(), |name| format!("`{name}` is bound to it"));
        found = found.seen("device", format!("PCI {}, NVIDIA {}: {driver}", gpu.slot, gpu.device));
    }
    for node in machine.nodes.iter().flatten().filter(|node| node.is_gpu()) {
        found = found.seen_at("file", &Path::new("/dev").join(&node.name), "exists");
    }
    match &machine.surroundings.visible {
        Some(visible) => found.seen("variable", format!("NVIDIA_VISIBLE_DEVICES={visible}")),
        None => found,
    }
}

fn version_of_module(machine: &Driver) -> Option<String> {
    machine.kernel.loaded.then(|| match &machine.kernel.version {
        Some(version) => format!("nvidia {version}"),
        None => "nvidia, version unreadable".to_owned(),
    })
}

/// The libraries are installed, but the kernel has no driver for them.
fn not_loaded(case: &Case<'_>) -> Option<Finding> {
    let machine = case.driver;
    if machine.is_loaded() || machine.surroundings.wsl || machine.surroundings.jetson.is_some() {
        return None;
    }
    let file = machine.usable_libcudas().next()?;
    let version = file.version.as_deref().unwrap_or("of an unknown version");
    let found = if machine.has_gpu() && machine.nouveau {
        bus_and_module(case.finding("nouveau-loaded")?, machine)
    } else if machine.has_gpu() {
        let found = case.finding("gpu-without-driver")?.because(format!(
            "an NVIDIA GPU and driver libraries ({version}) are present, but the kernel module is not loaded"
        ));
        bus_and_module(found, machine).healed_by([
            Remedy::command("sudo modprobe nvidia"),
            Remedy::action(
                "if that fails, install the kernel module of the same version (with Secure Boot, a signed one)",
            ),
        ])
    } else if machine.gpus.is_some() {
        case.finding("no-driver")?.because(format!("no NVIDIA GPU found; driver libraries ({version}) are installed"))
    } else {
        case.finding("driver-unknown")?.because(format!(
            "cannot see whether a driver is loaded: `/sys` is not mounted; its libraries are {version}"
        ))
    };
    Some(found.seen_at("file", &file.path, format!("libcuda, {version}")))
}

/// Device files are missing, or not accessible to this user.
fn nodes(case: &Case<'_>) -> Option<Finding> {
    let (machine, around) = (case.driver, &case.driver.surroundings);
    let nodes = machine.nodes.as_ref().filter(|_| !around.wsl && around.jetson.is_none())?;
    let at = |name: &str| Path::new("/dev").join(name);
    let no_gpu_usable = nodes.iter().filter(|node| node.is_gpu()).all(|node| !node.usable);
    let needed =
        |node: &&Node| matches!(node.name.as_str(), "nvidiactl" | "nvidia-uvm") || (node.is_gpu() && no_gpu_usable);
    let closed: Vec<&Node> = nodes.iter().filter(|node| !node.usable).filter(needed).collect();
    if !closed.is_empty() {
        let found = case.finding("cuinit-999")?.because("this user may not open the device files of the driver");
        let seen =
            |found: Finding, node: &&Node| found.seen_at("file", &at(&node.name), format!("mode {:04o}", node.mode));
        return Some(closed.iter().fold(found, seen).healed_by([Remedy::action(
            "add the user to the group of the files (often `video` or `render`), or start the container with access to them",
        )]));
    }
    // With `nvidia-modprobe`, the first CUDA program creates them; in a container nothing does.
    if around.modprobe && around.container.is_none() {
        return None;
    }
    let has = |name: &str| nodes.iter().any(|node| node.name == name);
    let mut missing: Vec<&str> = ["nvidiactl", "nvidia-uvm"].into_iter().filter(|name| !has(name)).collect();
    if !nodes.iter().any(Node::is_gpu) {
        missing.push("nvidia0");
    }
    let found = case.finding("cuinit-999").filter(|_| !missing.is_empty())?;
    let found = found.because("device files of the driver are missing");
    let found = missing.iter().fold(found, |found, name| found.seen_at("file", &at(name), "does not exist"));
    Some(found.healed_by([match around.container {
        Some(container) => injection(container),
        None => Remedy::command("sudo nvidia-modprobe -u -c=0"),
    }]))
}

/// `CUDA_VISIBLE_DEVICES` starts with a value that is not a device: CUDA stops at the first such value.
fn hidden(case: &Case<'_>) -> Option<Finding> {
    let shown = case.driver.surroundings.shown.as_deref()?.trim();
    let hides = shown.is_empty() || shown.starts_with('-') || shown.eq_ignore_ascii_case("nodevfiles");
    let found = case.finding("devices-hidden").filter(|_| hides && case.driver.has_gpu())?;
    Some(found.seen("variable", format!("CUDA_VISIBLE_DEVICES={shown}")))
}

/// libcuda lacks the libraries it opens, or NVML is missing.
fn incomplete(case: &Case<'_>) -> Option<Finding> {
    let machine = case.driver;
    let libcuda = machine.libcuda.as_ref().filter(|_| machine.surroundings.jetson.is_none())?;
    let parts = [
        ("libnvidia-ml.so.1", &machine.nvml, "nvidia-smi, and torch's view of the devices, need it"),
        ("libnvidia-ptxjitcompiler.so.1", &machine.jit, "PTX cannot be compiled without it"),
    ];
    let missing: Vec<_> = parts.into_iter().filter(|(_, found, _)| found.is_none()).collect();
    let names: Vec<String> = missing.iter().map(|(name, ..)| format!("`{name}`")).collect();
    if names.is_empty() {
        return None;
    }
    let found = case.finding("half-a-driver")?;
    let found = found.because(format!("parts of the driver are missing: {}", names.join(", ")));
    let found = found.seen_at("file", &libcuda.path, format!("libcuda, found by {}", libcuda.rule));
    let found =
        missing.iter().fold(found, |found, (name, _, says)| found.seen("rule", format!("{name} is not found: {says}")));
    Some(found.healed_by([match machine.surroundings.container {
        Some(_) => Remedy::action("start the container with `NVIDIA_DRIVER_CAPABILITIES=compute,utility`, or `all`"),
        None => Remedy::action(
            "install all libraries of the driver, of one version (Debian: `libnvidia-ml1`, `libnvidia-ptxjitcompiler1`)",
        ),
    }]))
}

/// GPUs that are reserved for virtual machines.
fn passed_through(case: &Case<'_>) -> Option<Finding> {
    let aside: Vec<_> = case.driver.gpus.iter().flatten().filter(|gpu| gpu.passed_through()).collect();
    let found = case.finding("gpu-passed-through").filter(|_| !aside.is_empty())?;
    let one = |gpu: &crate::driver::Gpu| {
        format!("PCI {}: bound to `{}`", gpu.slot, gpu.driver.as_deref().unwrap_or_default())
    };
    Some(aside.into_iter().fold(found, |found, gpu| found.seen("device", one(gpu))))
}

/// The result of CUDA's own initialisation, if no visible state explains it.
fn refused(case: &Case<'_>) -> impl Iterator<Item = Finding> {
    let error = |response: &Option<DriverResponse>| response.as_ref().and_then(|response| response.error);
    let (cuda, nvml) = (error(&case.driver.devices.cuda), error(&case.driver.devices.nvml));
    let by_cuda = cuda.and_then(|code| {
        let found = match code {
            34 => case.finding("stub-libcuda")?,
            35 => case.finding("driver-too-old")?,
            803 => case.finding("compat-libcuda-803")?,
            804 => case.finding("compat-libcuda-804")?,
            999 => case.finding("cuinit-999")?,
            100 => match case.driver.surroundings.shown.as_deref().map(str::trim).filter(|shown| !shown.is_empty()) {
                // CUDA stops at the first device that it does not know.
                Some(shown) => case
                    .finding("devices-hidden")?
                    .severity(Severity::Fatal)
                    .because("CUDA_VISIBLE_DEVICES names no GPU of this machine first (error 100)")
                    .seen("variable", format!("CUDA_VISIBLE_DEVICES={shown}")),
                None => {
                    case.finding("driver-does-not-answer")?.because("the driver shows no device to CUDA (error 100)")
                }
            },
            _ => case.finding("driver-does-not-answer")?.because(format!("cannot initialize CUDA: error {code}")),
        };
        Some(found.seen("driver", format!("cuInit returns {code}")))
    });
    // NVML_ERROR_LIB_RM_VERSION_MISMATCH of nvml.h.
    let by_nvml = nvml.filter(|code| *code == 18 && by_cuda.is_none()).and_then(|code| {
        Some(case.finding("nvml-kernel-user-mismatch")?.seen("driver", format!("nvmlInit returns {code}")))
    });
    by_cuda.into_iter().chain(by_nvml)
}
