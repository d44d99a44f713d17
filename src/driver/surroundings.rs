//! The kind of machine, where it decides the source of the driver: a container, WSL, a Jetson, `NixOS`.

use crate::host::Host;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The container runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Container {
    /// Docker, by `/.dockerenv`.
    Docker,
    /// Podman, by `/run/.containerenv`.
    Podman,
    /// Kubernetes, by its variables or control group.
    Kubernetes,
    /// Apptainer or Singularity.
    Apptainer,
    /// LXC or Incus.
    Lxc,
    /// Another one.
    Other,
}

impl std::fmt::Display for Container {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Docker => "Docker",
            Self::Podman => "Podman",
            Self::Kubernetes => "Kubernetes",
            Self::Apptainer => "Apptainer",
            Self::Lxc => "LXC",
            Self::Other => "a container",
        })
    }
}

/// The kind of machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Surroundings {
    /// The container runtime, in a container.
    pub container: Option<Container>,
    /// Windows Subsystem for Linux: the driver is that of Windows.
    pub wsl: bool,
    /// The release of a Jetson's system image (36 of R36): the driver is part of it, and the GPU is not on a PCI
    /// bus.
    pub jetson: Option<u64>,
    /// `NixOS`: no directory of the driver is on a search path by itself.
    pub nixos: bool,
    /// `NVIDIA_VISIBLE_DEVICES`: the GPUs requested for the container.
    pub visible: Option<String>,
    /// `NVIDIA_DRIVER_CAPABILITIES`: the parts of the driver requested for it.
    pub capabilities: Option<String>,
    /// `CUDA_VISIBLE_DEVICES`: the devices that CUDA shows; none where it is empty.
    pub shown: Option<String>,
    /// `TRITON_LIBCUDA_PATH` is set.
    pub triton_path: bool,
    /// Whether `nvidia-modprobe` is installed, which creates missing device files.
    pub modprobe: bool,
}

impl Surroundings {
    pub(super) fn look(host: &Host) -> Self {
        let text = |name: &str| {
            host.environment().get(std::ffi::OsStr::new(name)).map(|value| value.to_string_lossy().into_owned())
        };
        let is_there = |path: &str| host.stat(Path::new(path)).is_ok();
        let kernel = host.read_text(Path::new("/proc/sys/kernel/osrelease")).unwrap_or_default().to_ascii_lowercase();
        Self {
            container: container(host),
            // https://learn.microsoft.com/windows/wsl: the kernel's release names Microsoft; /dev/dxg is its GPU.
            wsl: kernel.contains("microsoft") || is_there("/usr/lib/wsl/lib"),
            jetson: host.read_text(Path::new("/etc/nv_tegra_release")).ok().map(|text| jetson(&text)),
            nixos: is_there("/etc/NIXOS"),
            visible: text("NVIDIA_VISIBLE_DEVICES"),
            capabilities: text("NVIDIA_DRIVER_CAPABILITIES"),
            shown: text("CUDA_VISIBLE_DEVICES"),
            triton_path: host.env("TRITON_LIBCUDA_PATH").is_some(),
            modprobe: ["/usr/bin/nvidia-modprobe", "/sbin/nvidia-modprobe"].into_iter().any(is_there),
        }
    }

    /// Whether the container was created with GPUs: `all`, indexes, UUIDs, but not `none` and `void`.
    #[must_use]
    pub fn wants_gpus(&self) -> bool {
        self.visible.as_deref().is_some_and(|visible| !matches!(visible, "" | "none" | "void"))
    }
}

/// The release in `# R36 (release), REVISION: 4.3, …`; 0 where it is written otherwise.
fn jetson(text: &str) -> u64 {
    let release = text.split_whitespace().find_map(|word| word.strip_prefix('R'));
    release.and_then(|release| release.parse().ok()).unwrap_or_default()
}

fn container(host: &Host) -> Option<Container> {
    let is_there = |path: &str| host.stat(Path::new(path)).is_ok();
    let groups = host.read_text(Path::new("/proc/1/cgroup")).unwrap_or_default();
    if host.env("KUBERNETES_SERVICE_HOST").is_some() || groups.contains("kubepods") {
        return Some(Container::Kubernetes);
    }
    if is_there("/.singularity.d") || host.env("APPTAINER_CONTAINER").is_some() {
        return Some(Container::Apptainer);
    }
    if is_there("/run/.containerenv") || groups.contains("libpod") {
        return Some(Container::Podman);
    }
    if is_there("/.dockerenv") || groups.contains("docker") {
        return Some(Container::Docker);
    }
    match host.env("container").and_then(std::ffi::OsStr::to_str) {
        Some("lxc") => Some(Container::Lxc),
        Some(_) => Some(Container::Other),
        None if groups.contains("/lxc") => Some(Container::Lxc),
        None if groups.contains("containerd") => Some(Container::Other),
        None => None,
    }
}
