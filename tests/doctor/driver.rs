//! Every finding about the driver.

use super::{Patient, RUN, commands};
use crate::support::world::Lib;
use cudashim::internal::diagnose::Remedy;
use cudashim::internal::driver::{Compute, Device, Devices, End, Said};
use cudashim::internal::tables::Severity::{Fact, Fatal, Warning};

#[cfg(target_arch = "x86_64")]
pub(crate) const SYSTEM: &str = "usr/lib/x86_64-linux-gnu";
#[cfg(target_arch = "aarch64")]
pub(crate) const SYSTEM: &str = "usr/lib/aarch64-linux-gnu";

impl Patient {
    /// With a GPU on the bus that a kernel module has.
    fn gpu(self, slot: &str, driver: Option<&str>) -> Self {
        let dir = format!("sys/bus/pci/devices/{slot}");
        let patient = self
            .file(&format!("{dir}/vendor"), "0x10de\n")
            .file(&format!("{dir}/device"), "0x2330\n")
            .file(&format!("{dir}/class"), "0x030200\n");
        match driver {
            Some(driver) => patient.link(&format!("{dir}/driver"), &format!("../../../../bus/pci/drivers/{driver}")),
            None => patient,
        }
    }

    /// With the kernel module.
    fn module(self, version: &str) -> Self {
        let told = format!("NVRM version: NVIDIA UNIX x86_64 Kernel Module  {version}  Tue Mar  5 22:23:56 UTC 2024\n");
        self.file("sys/module/nvidia/version", &format!("{version}\n"))
            .file("sys/module/nvidia_uvm/initstate", "live\n")
            .file("proc/driver/nvidia/version", &told)
    }

    /// With its device files.
    fn devices(self) -> Self {
        ["null", "nvidia0", "nvidiactl", "nvidia-uvm"]
            .into_iter()
            .fold(self, |patient, name| patient.node(&format!("dev/{name}"), 0o666))
    }

    /// With one library of a driver.
    fn part(self, dir: &str, stem: &str, version: &str) -> Self {
        let soname = format!("lib{stem}.so.1");
        Lib::new(&soname).unversioned().build(&self.world.path(&format!("{dir}/lib{stem}.so.{version}")));
        self.link(&format!("{dir}/{soname}"), &format!("lib{stem}.so.{version}"))
    }

    /// With the libraries of a driver.
    fn driver(self, dir: &str, version: &str) -> Self {
        ["cuda", "nvidia-ml", "nvidia-ptxjitcompiler"]
            .into_iter()
            .fold(self, |patient, stem| patient.part(dir, stem, version))
    }
}

/// A machine on which the driver is as it should be.
pub(crate) fn healthy(version: &str) -> Patient {
    Patient::new().gpu("0000:01:00.0", Some("nvidia")).module(version).devices().driver(SYSTEM, version)
}

pub(crate) fn device(name: &str, major: u32, minor: u32) -> Device {
    Device::new(name, Compute { major, minor })
}

/// libcuda answers with these devices.
pub(crate) fn answering(devices: Vec<Device>) -> Devices {
    let mut said = Said::default();
    said.devices = devices;
    let mut all = Devices::default();
    all.cuda = Some(said);
    all
}

fn refusing(error: i32) -> Devices {
    let mut all = answering(Vec::new());
    all.cuda.as_mut().unwrap().error = Some(error);
    all
}

#[test]
fn a_healthy_driver_is_no_finding() {
    let patient = healthy("570.124.06").torch("2.8.0+cu128", "12.8");
    let report = patient.report();
    assert_eq!(report.findings, []);
    assert!(report.is_fine());
    let driver = &report.driver;
    assert_eq!((driver.version.as_deref(), driver.cuda.as_deref()), (Some("570.124.06"), Some("12.8")));
    assert_eq!(driver.rule.as_deref(), Some("default directory"));
}

#[test]
fn no_gpu_and_no_driver_is_a_fact() {
    let patient =
        Patient::new().torch("2.8.0+cu128", "12.8").file("sys/bus/pci/devices/0000:00:02.0/vendor", "0x8086\n");
    assert_eq!(patient.ids(), [("no-driver", Fact)]);
    assert!(patient.report().is_fine());
    // Libraries of a driver on a machine without a GPU, too.
    let patient = patient.driver(SYSTEM, "535.261.03");
    assert_eq!(patient.ids()[0], ("no-driver", Fact));
    // CUDA finds no device then, which is no news; where there is a GPU it is.
    let patient = patient.node("dev/nvidiactl", 0o666).says(refusing(100));
    assert_eq!(patient.ids(), [("no-driver", Fact), ("driver-by-minor-compatibility", Fact)]);
    assert!(patient.report().is_fine());
    assert_eq!(healthy("570.124.06").says(refusing(100)).ids(), [("driver-does-not-answer", Fatal)]);
}

#[test]
fn a_gpu_that_is_not_there_is_named_before_all_others() {
    let patient = healthy("570.124.06").says(refusing(100)).set("CUDA_VISIBLE_DEVICES", "7");
    let found = patient.first();
    assert_eq!((found.id, found.severity), ("devices-hidden", Fatal));
    assert_eq!(found.evidence[0].says, "CUDA_VISIBLE_DEVICES=7");
    assert_eq!(commands(&found), ["unset CUDA_VISIBLE_DEVICES"]);
    let healthy = healthy("570.124.06").set("CUDA_VISIBLE_DEVICES", "0");
    assert_eq!(healthy.says(answering(vec![device("NVIDIA H100 80GB HBM3", 9, 0)])).ids(), []);
}

#[test]
fn a_gpu_without_a_driver_is_fatal() {
    let patient = Patient::new().gpu("0000:01:00.0", None);
    assert_eq!(patient.ids(), [("gpu-without-driver", Fatal)]);
    // Installed, but the module was never built or loaded.
    let patient = patient.driver(SYSTEM, "550.54.15");
    let found = patient.first();
    assert_eq!((found.id, commands(&found)), ("gpu-without-driver", vec!["sudo modprobe nvidia"]));
    assert_eq!(patient.module("550.54.15").devices().ids(), []);
}

#[test]
fn nouveau_is_told_from_nothing() {
    let patient = Patient::new().gpu("0000:01:00.0", Some("nouveau")).file("sys/module/nouveau/initstate", "live\n");
    assert_eq!(patient.ids(), [("nouveau-loaded", Fatal)]);
    assert!(patient.first().evidence[0].says.contains("`nouveau` has it"));
    assert_eq!(patient.driver(SYSTEM, "550.54.15").ids(), [("nouveau-loaded", Fatal)]);
}

#[test]
fn a_gpu_for_a_virtual_machine_is_a_fact() {
    let patient = Patient::new().gpu("0000:01:00.0", Some("vfio-pci"));
    assert_eq!(patient.ids(), [("no-driver", Fact), ("gpu-passed-through", Fact)]);
    // Beside one that is in use, it is all there is to say.
    let patient = healthy("570.124.06").gpu("0000:02:00.0", Some("vfio-pci"));
    assert_eq!(patient.ids(), [("gpu-passed-through", Fact)]);
}

#[test]
fn a_module_without_libcuda() {
    let patient = Patient::new().gpu("0000:01:00.0", Some("nvidia")).module("550.54.15");
    let found = patient.first();
    assert_eq!((found.id, found.severity), ("half-a-driver", Fatal));
    assert!(found.cause.contains("nvidia 550.54.15"), "{}", found.cause);
    assert_eq!(patient.driver(SYSTEM, "550.54.15").devices().ids(), []);
}

#[test]
fn parts_of_the_driver_are_missing() {
    let patient = Patient::new().gpu("0000:01:00.0", Some("nvidia")).module("550.54.15").devices();
    let patient = patient.part(SYSTEM, "cuda", "550.54.15");
    let found = patient.first();
    assert_eq!((found.id, found.severity), ("half-a-driver", Warning));
    assert!(found.cause.ends_with("`libnvidia-ml.so.1`, `libnvidia-ptxjitcompiler.so.1`"), "{}", found.cause);
    let patient = patient.part(SYSTEM, "nvidia-ml", "550.54.15");
    assert!(patient.first().cause.ends_with("missing: `libnvidia-ptxjitcompiler.so.1`"));
    assert_eq!(patient.part(SYSTEM, "nvidia-ptxjitcompiler", "550.54.15").ids(), []);
}

#[test]
fn torch_for_a_later_major_needs_a_newer_driver() {
    let patient = healthy("535.261.03").torch("2.15.0+cu132", "13.2");
    let report = patient.report();
    let found = &report.findings[0];
    assert_eq!((found.id, found.severity, report.findings.len()), ("driver-too-old", Fatal, 1));
    assert_eq!(found.cause, "torch 2.15.0+cu132 needs 580 or newer: the driver is 535.261.03");
    assert_eq!(report.driver.cuda.as_deref(), Some("12.2"));
    assert_eq!(found.remedies[0].as_action(), Some("install driver 580.65.06 or newer"));
    assert!(commands(found)[0].contains("https://download.pytorch.org/whl/cu12"), "{:?}", found.remedies);
    assert!(!report.is_fine());
    // Within the branch of the floor the whole version counts.
    let found = healthy("580.40.01").torch("2.15.0+cu132", "13.2").first();
    assert!(found.cause.contains("needs 580.65.06 or newer"), "{}", found.cause);
    assert_eq!(healthy("595.10").torch("2.15.0+cu132", "13.2").ids(), []);
    // What came before the first driver of CUDA 12.
    let found = healthy("470.256.02").torch("2.5.1+cu124", "12.4").first();
    assert_eq!(found.cause, "torch 2.5.1+cu124 needs 525 or newer: the driver is 470.256.02");
}

#[test]
fn torch_for_a_later_minor_runs() {
    let patient = healthy("535.261.03").torch("2.8.0+cu128", "12.8");
    assert_eq!(patient.ids(), [("driver-by-minor-compatibility", Fact)]);
    let report = patient.report();
    assert!(report.findings[0].cause.contains("runs by minor-version compatibility"));
    assert!(report.is_fine());
    assert_eq!(healthy("535.261.03").torch("2.1.2+cu121", "12.1").ids(), []);
}

#[test]
fn a_branch_that_no_source_tells_of_is_said_to_be_unknown() {
    assert_eq!(healthy("565.57.01").torch("2.8.0+cu128", "12.8").ids(), [("driver-unknown", Fact)]);
    // That it is too old for the next major is known all the same.
    assert_eq!(healthy("565.57.01").torch("2.15.0+cu132", "13.2").ids(), [("driver-too-old", Fatal)]);
}

#[test]
fn libraries_newer_than_the_module() {
    let patient = healthy("550.54.15").without(SYSTEM).driver(SYSTEM, "550.144.03");
    let found = patient.first();
    assert_eq!(found.id, "nvml-kernel-user-mismatch");
    assert!(found.cause.contains("550.144.03") && found.cause.contains("550.54.15"), "{}", found.cause);
    assert!(found.remedies[0].as_action().is_some_and(|text| text.starts_with("restart the machine")));
    // In a container it is the container that must be started anew.
    let patient = patient.file(".dockerenv", "");
    assert!(patient.first().remedies[0].as_action().is_some_and(|text| text.starts_with("restart the container")));
    assert_eq!(patient.module("550.144.03").ids(), []);
}

#[test]
fn leftovers_of_another_driver_come_first() {
    let patient = healthy("550.54.15").driver("opt/old", "535.54.03").set("LD_LIBRARY_PATH", "/opt/old");
    let found = patient.first();
    assert_eq!(found.id, "compat-libcuda-803");
    assert_eq!(commands(&found), ["unset LD_LIBRARY_PATH"]);
    assert_eq!(patient.set("LD_LIBRARY_PATH", "/opt").ids(), []);
}

const COMPAT: &str = "usr/local/cuda-12.4/compat";

#[test]
fn a_compatibility_package_older_than_the_driver() {
    let patient =
        healthy("570.124.06").driver(COMPAT, "550.54.15").set("LD_LIBRARY_PATH", "/usr/local/cuda-12.4/compat");
    let patient = patient.torch("2.5.1+cu124", "12.4");
    let found = patient.first();
    assert_eq!((found.id, found.severity), ("compat-libcuda-803", Fatal));
    assert_eq!(commands(&found), [RUN, "unset LD_LIBRARY_PATH"]);
    // What the remedy hands out is the driver's own.
    let set = patient.report().set.unwrap().set.unwrap();
    let libcuda = set.iter().find(|library| library.soname == "libcuda.so.1").unwrap();
    assert_eq!(libcuda.path.to_path(), std::path::Path::new("/").join(SYSTEM).join("libcuda.so.1"));
    assert_eq!(patient.set("LD_LIBRARY_PATH", "/opt").ids(), []);
}

#[test]
fn a_compatibility_package_that_helps() {
    let compat = "usr/local/cuda-13.0/compat";
    let patient = healthy("535.261.03").driver(compat, "580.95.05").torch("2.9.0+cu130", "13.0");
    assert_eq!(patient.ids(), [("driver-too-old", Fatal)]);
    let patient = patient.set("LD_LIBRARY_PATH", "/usr/local/cuda-13.0/compat");
    assert_eq!(patient.ids(), [("driver-by-minor-compatibility", Fact)]);
    let report = patient.report();
    assert!(report.findings[0].cause.contains("through the compatibility package"));
    assert_eq!((report.driver.cuda.as_deref(), report.driver.compat.as_deref()), (Some("12.2"), Some("13.0")));
    // It stays in the set that is handed out.
    let set = report.set.unwrap().set.unwrap();
    let libcuda = set.iter().find(|library| library.soname == "libcuda.so.1").unwrap();
    assert!(libcuda.path.to_path().starts_with("/usr/local/cuda-13.0/compat"), "{libcuda:?}");
    // A branch that NVIDIA does not name for it.
    let patient =
        healthy("545.23.08").driver(compat, "580.95.05").set("LD_LIBRARY_PATH", "/usr/local/cuda-13.0/compat");
    assert_eq!(patient.ids(), [("compat-libcuda-803", Fatal)]);
}

#[test]
fn a_compatibility_package_on_a_geforce() {
    let compat = "usr/local/cuda-12.8/compat";
    let patient = healthy("535.261.03").driver(compat, "570.124.06").torch("2.8.0+cu128", "12.8");
    let patient = patient.set("LD_LIBRARY_PATH", "/usr/local/cuda-12.8/compat");
    let geforce = patient.says(answering(vec![device("NVIDIA GeForce RTX 4090", 8, 9)]));
    let found = geforce.first();
    assert_eq!((found.id, found.severity), ("compat-libcuda-804", Fatal));
    // The driver of the same major runs it by itself, and the set holds that one.
    assert_eq!(commands(&found), [RUN, "unset LD_LIBRARY_PATH"]);
    let set = geforce.report().set.unwrap().set.unwrap();
    let libcuda = set.iter().find(|library| library.soname == "libcuda.so.1").unwrap();
    assert!(libcuda.path.to_path().starts_with("/usr/lib"), "{libcuda:?}");
    let healed = geforce.says(answering(vec![device("NVIDIA H100 80GB HBM3", 9, 0)]));
    assert_eq!(healed.ids(), [("driver-by-minor-compatibility", Fact)]);
}

#[test]
fn the_driver_is_off_every_path() {
    for dir in ["run/opengl-driver/lib", "usr/local/nvidia/lib64", "usr/lib64-nvidia"] {
        let patient = healthy("550.54.15").without(SYSTEM).driver(dir, "550.54.15");
        let found = patient.first();
        assert_eq!(patient.ids(), [("libcuda-off-cache", Fatal)]);
        assert!(found.cause.contains(&format!("`/{dir}`")), "{}", found.cause);
        assert!(commands(&found)[0].ends_with("/etc/ld.so.conf.d/nvidia-driver.conf && sudo ldconfig"));
        assert_eq!(patient.set("LD_LIBRARY_PATH", &format!("/{dir}")).ids(), []);
    }
    let nixos = healthy("550.54.15").without(SYSTEM).driver("run/opengl-driver/lib", "550.54.15").file("etc/NIXOS", "");
    assert_eq!(commands(&nixos.first())[0], "export LD_LIBRARY_PATH=/run/opengl-driver/lib");
}

#[test]
fn wsl_has_the_driver_of_windows() {
    let release = |patient: Patient| patient.file("proc/sys/kernel/osrelease", "5.15.167.4-microsoft-standard-WSL2\n");
    let bare = release(Patient::new().node("dev/null", 0o666).node("dev/dxg", 0o666));
    assert_eq!(bare.ids(), [("no-driver", Fact)]);
    assert!(bare.first().cause.contains("Windows"));
    let patient = bare.driver("usr/lib/wsl/lib", "560.94");
    assert_eq!(patient.ids()[0], ("libcuda-off-cache", Fatal));
    let healed = patient.set("LD_LIBRARY_PATH", "/usr/lib/wsl/lib");
    assert_eq!(healed.ids(), []);
    // A driver of Linux beside it shadows it.
    let shadowed =
        release(Patient::new().node("dev/dxg", 0o666)).driver("usr/lib/wsl/lib", "560.94").driver(SYSTEM, "535.261.03");
    let found = shadowed.first();
    assert_eq!((found.id, found.severity), ("libcuda-off-cache", Fatal));
    assert!(found.cause.contains("driver of Windows"), "{}", found.cause);
    let shadowed = shadowed.torch("2.8.0+cu128", "12.8");
    let report = shadowed.report();
    assert_eq!(report.driver.version.as_deref(), Some("560.94"));
    let set = report.set.unwrap().set.unwrap();
    assert!(set.iter().any(|library| library.path.to_path().starts_with("/usr/lib/wsl/lib")), "{set:?}");
}

#[test]
fn a_stub_comes_first() {
    let stubs = "usr/local/cuda-12.4/lib64/stubs";
    let patient = healthy("550.54.15");
    Lib::new("libcuda.so.1").build(&patient.world.path(&format!("{stubs}/libcuda.so")));
    assert_eq!(patient.ids(), []);
    let patient = patient.set("LD_LIBRARY_PATH", "/usr/local/cuda-12.4/lib64/stubs");
    // Only who opens `libcuda.so` gets it.
    assert_eq!(patient.ids(), [("stub-libcuda", Warning)]);
    let patient = patient.link(&format!("{stubs}/libcuda.so.1"), "libcuda.so");
    let found = patient.first();
    assert_eq!((found.id, found.severity), ("stub-libcuda", Fatal));
    assert_eq!(commands(&found), ["unset LD_LIBRARY_PATH"]);
    assert_eq!(patient.set("LD_LIBRARY_PATH", "/opt").ids(), []);
}

#[test]
fn libraries_of_two_drivers_in_one_directory() {
    let patient = healthy("550.54.15").without(&format!("{SYSTEM}/libnvidia-ptxjitcompiler.so.1"));
    let patient = patient.without(&format!("{SYSTEM}/libnvidia-ptxjitcompiler.so.550.54.15"));
    let torn = patient.part(SYSTEM, "nvidia-ptxjitcompiler", "535.54.03");
    assert_eq!(torn.ids(), [("torn-driver", Fatal)]);
    assert!(torn.first().evidence[0].says.contains("550.54.15"));
}

#[test]
fn a_container_without_the_driver_of_its_host() {
    let cases = [
        (".dockerenv", "", "`--gpus all`"),
        ("run/.containerenv", "", "`--device nvidia.com/gpu=all`"),
        (".singularity.d/runscript", "", "`--nv`"),
        ("proc/1/cgroup", "0::/kubepods/besteffort/pod1\n", "nvidia.com/gpu: 1"),
        ("proc/1/cgroup", "0::/lxc.payload.x\n", "nvidia.runtime=true"),
    ];
    for (path, text, remedy) in cases {
        let patient = Patient::new().gpu("0000:01:00.0", Some("nvidia")).module("550.54.15").file(path, text);
        let found = patient.first();
        assert_eq!((found.id, found.severity), ("libcuda-not-injected", Fatal), "{path}");
        assert!(found.remedies[0].as_action().is_some_and(|text| text.contains(remedy)), "{:?}", found.remedies);
        assert_eq!(patient.driver(SYSTEM, "550.54.15").devices().ids(), [], "{path}");
    }
}

#[test]
fn a_container_that_asked_for_gpus() {
    let patient = || Patient::new().file(".dockerenv", "").file("sys/bus/pci/devices/none", "");
    assert_eq!(patient().ids(), [("no-driver", Fact)]);
    // NVML, asked by root, makes this file where there is no driver; that of a GPU is given by somebody.
    let asked = patient().node("dev/null", 0o666).node("dev/nvidiactl", 0o666);
    assert_eq!(asked.ids(), [("no-driver", Fact)]);
    assert_eq!(asked.node("dev/nvidia0", 0o666).ids(), [("libcuda-not-injected", Fatal)]);
    let found = patient().set("NVIDIA_VISIBLE_DEVICES", "all").first();
    assert_eq!((found.id, found.severity), ("libcuda-not-injected", Warning));
    assert_eq!(patient().set("NVIDIA_VISIBLE_DEVICES", "void").ids(), [("no-driver", Fact)]);
    // Given NVML alone, as without the capability `compute`.
    let patient = patient().set("NVIDIA_VISIBLE_DEVICES", "all").set("NVIDIA_DRIVER_CAPABILITIES", "utility");
    let patient = patient.module("550.54.15").part(SYSTEM, "nvidia-ml", "550.54.15");
    let found = patient.first();
    assert_eq!((found.id, found.severity), ("half-a-driver", Fatal));
    assert!(found.evidence.iter().any(|one| one.says == "NVIDIA_DRIVER_CAPABILITIES=utility"));
}

#[test]
fn device_files_are_missing_or_closed() {
    let patient = healthy("550.54.15").without("dev/nvidia-uvm");
    let found = patient.first();
    assert_eq!((found.id, commands(&found)), ("cuinit-999", vec!["sudo nvidia-modprobe -u -c=0"]));
    // The first program that asks makes it, but not in a container.
    let patient = patient.file("usr/bin/nvidia-modprobe", "");
    assert_eq!(patient.ids(), []);
    let patient = patient.file(".dockerenv", "");
    assert_eq!(patient.ids(), [("cuinit-999", Fatal)]);
    assert_eq!(patient.devices().ids(), []);

    let closed = healthy("550.54.15").node("dev/nvidiactl", 0o660);
    let found = closed.first();
    assert_eq!(found.id, "cuinit-999");
    assert!(found.cause.contains("closed") && found.evidence[0].says == "mode 0660", "{found:?}");
    // Of several GPUs one is enough.
    let one_open = healthy("550.54.15").node("dev/nvidia1", 0o600);
    assert_eq!(one_open.ids(), []);
    // An image has no devices, and that says nothing.
    assert_eq!(healthy("550.54.15").without("dev").ids(), []);
}

#[test]
fn devices_are_hidden() {
    for hides in ["", "-1", "NoDevFiles"] {
        assert_eq!(healthy("550.54.15").set("CUDA_VISIBLE_DEVICES", hides).ids(), [("devices-hidden", Warning)]);
    }
    assert_eq!(healthy("550.54.15").set("CUDA_VISIBLE_DEVICES", "0,1").ids(), []);
}

#[test]
fn triton_reads_the_cache_only() {
    let patient = healthy("570.124.06").torch("2.8.0+cu128", "12.8");
    patient.world.venv("venv").wheel("triton", "3.4.0", &[]);
    // No cache: nothing is known. One that does not have the driver: triton will not find it.
    assert_eq!(patient.ids(), []);
    std::fs::create_dir_all(patient.world.path("etc")).unwrap();
    std::fs::write(patient.world.path("etc/ld.so.cache"), cache("libc.so.6", "/usr/lib/libc.so.6")).unwrap();
    let found = patient.first();
    assert_eq!((found.id, found.severity), ("triton-libcuda-not-found", Warning));
    assert_eq!(commands(&found), ["sudo ldconfig".into(), format!("export TRITON_LIBCUDA_PATH=/{SYSTEM}")]);
    let there = format!("/{SYSTEM}/libcuda.so.1");
    std::fs::write(patient.world.path("etc/ld.so.cache"), cache("libcuda.so.1", &there)).unwrap();
    assert_eq!(patient.ids(), []);
}

/// A cache of ld.so with one entry, in the new format (glibc's `dl-cache.h`).
fn cache(name: &str, path: &str) -> Vec<u8> {
    let flags: u32 = if cfg!(target_arch = "aarch64") { 0x0a03 } else { 0x0303 };
    let mut bytes = b"glibc-ld.so.cache1.1".to_vec();
    let texts = format!("{name}\0{path}\0");
    bytes.extend(1_u32.to_ne_bytes());
    bytes.extend(u32::try_from(texts.len()).unwrap().to_ne_bytes());
    bytes.extend([0; 20]);
    let start = u32::try_from(bytes.len() + 24).unwrap();
    for word in [flags, start, start + u32::try_from(name.len()).unwrap() + 1, 0] {
        bytes.extend(word.to_ne_bytes());
    }
    bytes.extend(0_u64.to_ne_bytes());
    bytes.extend(texts.as_bytes());
    bytes
}

#[test]
fn numba_compiles_for_a_later_driver() {
    let nvrtc = "nvidia/cuda_nvrtc/lib/libnvrtc.so.12";
    let with = |package: &str| {
        let patient = healthy("535.261.03").torch("2.1.2+cu121", "12.1");
        let venv = patient.world.venv("venv");
        venv.wheel("nvidia-cuda-nvrtc-cu12", "12.8.93", &[(nvrtc, Lib::new("libnvrtc.so.12"))]);
        venv.wheel(package, "0.61.0", &[]);
        patient
    };
    assert_eq!(with("scipy").ids(), []);
    let patient = with("numba");
    let found = patient.first();
    assert_eq!((found.id, found.severity), ("ptx-unsupported-toolchain", Warning));
    assert_eq!(commands(&found)[0], "pip install 'nvidia-cuda-nvrtc-cu12==12.2.*'");
    assert_eq!(patient.set("NUMBA_CUDA_ENABLE_MINOR_VERSION_COMPATIBILITY", "1").ids(), []);
}

#[test]
fn torch_without_code_for_the_device() {
    let blackwell = vec![device("NVIDIA GeForce RTX 5090", 12, 0)];
    let patient = healthy("570.124.06").torch("2.5.1+cu124", "12.4").says(answering(blackwell.clone()));
    let found = patient.first();
    assert_eq!((found.id, found.severity), ("no-code-for-device", Fatal));
    assert!(found.cause.contains("RTX 5090 (12.0)") && found.evidence[1].says.contains("9.0"), "{found:?}");
    assert!(commands(&found)[0].starts_with("pip install torch==2."));
    assert_eq!(healthy("570.124.06").torch("2.8.0+cu128", "12.8").says(answering(blackwell)).ids(), []);
}

#[test]
fn a_jetson_needs_builds_of_its_own() {
    let patient = |release: &str| {
        let patient = Patient::new().driver("usr/lib/aarch64-linux-gnu/tegra", "540.4.0");
        let patient = patient.set("LD_LIBRARY_PATH", "/usr/lib/aarch64-linux-gnu/tegra");
        patient.file("etc/nv_tegra_release", &format!("# {release} (release), REVISION: 4.3, GCID: 1\n"))
    };
    assert_eq!(patient("R36").torch("2.8.0+cu126", "12.6").ids()[0], ("jetson-sbsa", Warning));
    for fine in [patient("R36").torch("2.8.0", "12.6"), patient("R38").torch("2.8.0+cu126", "12.6")] {
        assert!(fine.report().is_fine(), "{:?}", fine.ids());
    }
}

#[test]
fn a_driver_that_hangs_or_crashes() {
    let asked = |end: End| {
        let mut devices = answering(Vec::new());
        devices.cuda.as_mut().unwrap().end = end;
        healthy("550.54.15").says(devices)
    };
    assert_eq!(asked(End::Done).ids(), []);
    assert_eq!(asked(End::Hangs).ids(), [("driver-does-not-answer", Fatal)]);
    let found = asked(End::Failed("signal 11".into())).first();
    assert!(found.cause.contains("signal 11"), "{}", found.cause);
}

#[test]
fn what_cuda_says_counts_where_nothing_explains_it() {
    let ids = [
        (803, "compat-libcuda-803"),
        (804, "compat-libcuda-804"),
        (34, "stub-libcuda"),
        (999, "cuinit-999"),
        (100, "driver-does-not-answer"),
        (3, "driver-does-not-answer"),
    ];
    for (error, id) in ids {
        assert_eq!(healthy("550.54.15").says(refusing(error)).ids(), [(id, Fatal)], "{error}");
    }
    // What is seen from outside says more.
    let patient = healthy("550.54.15").without("dev/nvidia-uvm").says(refusing(999));
    assert_eq!(patient.ids(), [("cuinit-999", Fatal)]);
    assert!(patient.first().cause.contains("missing"));
    let mut devices = Devices::default();
    let mut said = Said::default();
    said.error = Some(18);
    devices.nvml = Some(said);
    assert_eq!(healthy("550.54.15").says(devices).ids(), [("nvml-kernel-user-mismatch", Fatal)]);
}

#[test]
fn nothing_of_the_kernel_can_be_seen() {
    let patient = Patient::new().driver(SYSTEM, "535.261.03").torch("2.15.0+cu132", "13.2");
    assert_eq!(patient.ids(), [("driver-too-old", Fatal), ("driver-unknown", Fact)]);
}

#[test]
fn what_asks_for_a_later_cuda_without_torch_needs_a_newer_driver() {
    let onnxruntime = |patient: Patient, major: u32| {
        patient.venv(|venv| {
            let provider = Lib::new("libonnxruntime_providers_cuda.so").unversioned();
            let provider = provider.uses(&format!("libcudart.so.{major}"), &["cudaMalloc"]);
            venv.wheel("onnxruntime-gpu", "1.31.1", &[("onnxruntime/capi/libonnxruntime_providers_cuda.so", provider)]);
        })
    };
    let found = onnxruntime(healthy("535.261.03"), 13).first();
    assert_eq!((found.id, found.severity), ("driver-too-old", Fatal));
    assert_eq!(
        found.cause,
        "CUDA 13, which this environment asks for, needs 580.65.06 or newer: the driver is 535.261.03"
    );
    let advice: Vec<&str> = found.remedies.iter().filter_map(Remedy::as_action).collect();
    assert_eq!(advice, ["install driver 580.65.06 or newer", "install a build for CUDA 12 of what asks for it"]);
    let is_it = |(id, _): &(&str, _)| *id == "driver-too-old";
    assert!(!onnxruntime(healthy("580.65.06"), 13).ids().iter().any(is_it));
    assert!(!onnxruntime(healthy("535.261.03"), 12).ids().iter().any(is_it));
}
