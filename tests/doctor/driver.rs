//! Every finding about the driver.

use super::{RUN, commands};
use crate::support::*;
use cudashim::internal::diagnose::Remedy;
use cudashim::internal::driver::{Devices, DriverResponse, End};
use cudashim::internal::tables::Severity::{Fact, Fatal, Warning};

fn refusing(error: i32) -> Devices {
    let mut all = answering(Vec::new());
    all.cuda.as_mut().unwrap().error = Some(error);
    all
}

#[test]
fn driver_healthy_is_no_finding() {
    let machine = with_driver("570.124.06").torch("2.8.0+cu128", "12.8");
    let report = machine.report();
    assert_eq!(report.findings, []);
    assert!(report.is_fine());
    let driver = &report.driver;
    assert_eq!((driver.version.as_deref(), driver.cuda.as_deref()), (Some("570.124.06"), Some("12.8")));
    assert_eq!(driver.rule.as_deref(), Some("default directory"));
}

#[test]
fn driver_missing_without_a_gpu_is_a_fact() {
    let machine =
        Machine::new().torch("2.8.0+cu128", "12.8").file("sys/bus/pci/devices/0000:00:02.0/vendor", "0x8086\n");
    assert_eq!(machine.ids(), [("no-driver", Fact)]);
    assert!(machine.report().is_fine());
    // Libraries of a driver on a machine without a GPU, too.
    let machine = machine.driver(SYSTEM, "535.261.03");
    assert_eq!(machine.ids()[0], ("no-driver", Fact));
    // CUDA finds no device then, which is no news; where there is a GPU it is.
    let machine = machine.node("dev/nvidiactl", 0o666).answers(refusing(100));
    assert_eq!(machine.ids(), [("no-driver", Fact), ("driver-by-minor-compatibility", Fact)]);
    assert!(machine.report().is_fine());
    assert_eq!(with_driver("570.124.06").answers(refusing(100)).ids(), [("driver-does-not-answer", Fatal)]);
}

#[test]
fn driver_hidden_gpu_is_the_first_finding() {
    let machine = with_driver("570.124.06").answers(refusing(100)).set("CUDA_VISIBLE_DEVICES", "7");
    let found = machine.first();
    assert_eq!((found.id, found.severity), ("devices-hidden", Fatal));
    assert_eq!(found.evidence[0].says, "CUDA_VISIBLE_DEVICES=7");
    assert_eq!(commands(&found), ["unset CUDA_VISIBLE_DEVICES"]);
    let healthy = with_driver("570.124.06").set("CUDA_VISIBLE_DEVICES", "0");
    assert_eq!(healthy.answers(answering(vec![device("NVIDIA H100 80GB HBM3", 9, 0)])).ids(), []);
}

#[test]
fn driver_missing_beside_a_gpu_is_fatal() {
    let machine = Machine::new().gpu("0000:01:00.0", None);
    assert_eq!(machine.ids(), [("gpu-without-driver", Fatal)]);
    // Installed, but the module was never built or loaded.
    let machine = machine.driver(SYSTEM, "550.54.15");
    let found = machine.first();
    assert_eq!((found.id, commands(&found)), ("gpu-without-driver", vec!["sudo modprobe nvidia"]));
    assert_eq!(machine.module("550.54.15").device_files().ids(), []);
}

#[test]
fn driver_nouveau_is_recognised() {
    let machine = Machine::new().gpu("0000:01:00.0", Some("nouveau")).file("sys/module/nouveau/initstate", "live\n");
    assert_eq!(machine.ids(), [("nouveau-loaded", Fatal)]);
    assert!(machine.first().evidence[0].says.contains("`nouveau` is bound to it"));
    assert_eq!(machine.driver(SYSTEM, "550.54.15").ids(), [("nouveau-loaded", Fatal)]);
}

#[test]
fn driver_passed_through_gpu_is_a_fact() {
    let machine = Machine::new().gpu("0000:01:00.0", Some("vfio-pci"));
    assert_eq!(machine.ids(), [("no-driver", Fact), ("gpu-passed-through", Fact)]);
    // Beside one that is in use, it is the only finding.
    let machine = with_driver("570.124.06").gpu("0000:02:00.0", Some("vfio-pci"));
    assert_eq!(machine.ids(), [("gpu-passed-through", Fact)]);
}

#[test]
fn driver_module_without_libcuda() {
    let machine = Machine::new().gpu("0000:01:00.0", Some("nvidia")).module("550.54.15");
    let found = machine.first();
    assert_eq!((found.id, found.severity), ("half-a-driver", Fatal));
    assert!(found.cause.contains("nvidia 550.54.15"), "{}", found.cause);
    assert_eq!(machine.driver(SYSTEM, "550.54.15").device_files().ids(), []);
}

#[test]
fn driver_parts_are_missing() {
    let machine = Machine::new().gpu("0000:01:00.0", Some("nvidia")).module("550.54.15").device_files();
    let machine = machine.part(SYSTEM, "cuda", "550.54.15");
    let found = machine.first();
    assert_eq!((found.id, found.severity), ("half-a-driver", Warning));
    assert!(found.cause.ends_with("`libnvidia-ml.so.1`, `libnvidia-ptxjitcompiler.so.1`"), "{}", found.cause);
    let machine = machine.part(SYSTEM, "nvidia-ml", "550.54.15");
    assert!(machine.first().cause.ends_with("missing: `libnvidia-ptxjitcompiler.so.1`"));
    assert_eq!(machine.part(SYSTEM, "nvidia-ptxjitcompiler", "550.54.15").ids(), []);
}

#[test]
fn driver_too_old_for_the_cuda_major_of_torch() {
    let machine = with_driver("535.261.03").torch("2.15.0+cu132", "13.2");
    let report = machine.report();
    let found = &report.findings[0];
    assert_eq!((found.id, found.severity, report.findings.len()), ("driver-too-old", Fatal, 1));
    assert_eq!(found.cause, "torch 2.15.0+cu132 requires driver 580 or newer; installed: 535.261.03");
    assert_eq!(report.driver.cuda.as_deref(), Some("12.2"));
    assert_eq!(found.remedies[0].as_action(), Some("install driver 580.65.06 or newer"));
    assert!(commands(found)[0].contains("https://download.pytorch.org/whl/cu12"), "{:?}", found.remedies);
    assert!(!report.is_fine());
    // Within the branch of the floor the whole version counts.
    let found = with_driver("580.40.01").torch("2.15.0+cu132", "13.2").first();
    assert!(found.cause.contains("requires driver 580.65.06 or newer"), "{}", found.cause);
    assert_eq!(with_driver("595.10").torch("2.15.0+cu132", "13.2").ids(), []);
    // What came before the first driver of CUDA 12.
    let found = with_driver("470.256.02").torch("2.5.1+cu124", "12.4").first();
    assert_eq!(found.cause, "torch 2.5.1+cu124 requires driver 525 or newer; installed: 470.256.02");
}

#[test]
fn driver_runs_a_later_minor() {
    let machine = with_driver("535.261.03").torch("2.8.0+cu128", "12.8");
    assert_eq!(machine.ids(), [("driver-by-minor-compatibility", Fact)]);
    let report = machine.report();
    assert!(report.findings[0].cause.contains("runs by minor-version compatibility"));
    assert!(report.is_fine());
    assert_eq!(with_driver("535.261.03").torch("2.1.2+cu121", "12.1").ids(), []);
}

#[test]
fn driver_of_an_unknown_branch() {
    assert_eq!(with_driver("565.57.01").torch("2.8.0+cu128", "12.8").ids(), [("driver-unknown", Fact)]);
    assert_eq!(with_driver("570.124.06").torch("2.8.0+cu128", "12.8").ids(), []);
    // That it is too old for the next major is known all the same.
    assert_eq!(with_driver("565.57.01").torch("2.15.0+cu132", "13.2").ids(), [("driver-too-old", Fatal)]);
}

#[test]
fn driver_libraries_newer_than_the_module() {
    let machine = with_driver("550.54.15").without(SYSTEM).driver(SYSTEM, "550.144.03");
    let found = machine.first();
    assert_eq!(found.id, "nvml-kernel-user-mismatch");
    assert!(found.cause.contains("550.144.03") && found.cause.contains("550.54.15"), "{}", found.cause);
    assert!(found.remedies[0].as_action().is_some_and(|text| text.starts_with("restart the machine")));
    // In a container it is the container that must be started anew.
    let machine = machine.file(".dockerenv", "");
    assert!(machine.first().remedies[0].as_action().is_some_and(|text| text.starts_with("restart the container")));
    assert_eq!(machine.module("550.144.03").ids(), []);
}

#[test]
fn driver_leftovers_come_first() {
    let machine = with_driver("550.54.15").driver("opt/old", "535.54.03").set("LD_LIBRARY_PATH", "/opt/old");
    let found = machine.first();
    assert_eq!(found.id, "compat-libcuda-803");
    assert_eq!(commands(&found), ["unset LD_LIBRARY_PATH"]);
    assert_eq!(machine.set("LD_LIBRARY_PATH", "/opt").ids(), []);
}

const COMPAT: &str = "usr/local/cuda-12.4/compat";

#[test]
fn driver_compat_package_older_than_the_driver() {
    let machine =
        with_driver("570.124.06").driver(COMPAT, "550.54.15").set("LD_LIBRARY_PATH", "/usr/local/cuda-12.4/compat");
    let machine = machine.torch("2.5.1+cu124", "12.4");
    let found = machine.first();
    assert_eq!((found.id, found.severity), ("compat-libcuda-803", Fatal));
    assert_eq!(commands(&found), [RUN, "unset LD_LIBRARY_PATH"]);
    // What the remedy hands out is the driver's own.
    let set = machine.report().set.unwrap().set.unwrap();
    let libcuda = set.iter().find(|library| library.soname == "libcuda.so.1").unwrap();
    assert_eq!(libcuda.path.to_path(), std::path::Path::new("/").join(SYSTEM).join("libcuda.so.1"));
    assert_eq!(machine.set("LD_LIBRARY_PATH", "/opt").ids(), []);
}

#[test]
fn driver_compat_package_that_helps() {
    let compat = "usr/local/cuda-13.0/compat";
    let machine = with_driver("535.261.03").driver(compat, "580.95.05").torch("2.9.0+cu130", "13.0");
    assert_eq!(machine.ids(), [("driver-too-old", Fatal)]);
    let machine = machine.set("LD_LIBRARY_PATH", "/usr/local/cuda-13.0/compat");
    assert_eq!(machine.ids(), [("driver-by-minor-compatibility", Fact)]);
    let report = machine.report();
    assert!(report.findings[0].cause.contains("through the compatibility package"));
    assert_eq!((report.driver.cuda.as_deref(), report.driver.compat.as_deref()), (Some("12.2"), Some("13.0")));
    // It stays in the set that is handed out.
    let set = report.set.unwrap().set.unwrap();
    let libcuda = set.iter().find(|library| library.soname == "libcuda.so.1").unwrap();
    assert!(libcuda.path.to_path().starts_with("/usr/local/cuda-13.0/compat"), "{libcuda:?}");
    // A branch that NVIDIA does not name for it.
    let machine =
        with_driver("545.23.08").driver(compat, "580.95.05").set("LD_LIBRARY_PATH", "/usr/local/cuda-13.0/compat");
    assert_eq!(machine.ids(), [("compat-libcuda-803", Fatal)]);
}

#[test]
fn driver_compat_package_on_a_geforce() {
    let compat = "usr/local/cuda-12.8/compat";
    let machine = with_driver("535.261.03").driver(compat, "570.124.06").torch("2.8.0+cu128", "12.8");
    let machine = machine.set("LD_LIBRARY_PATH", "/usr/local/cuda-12.8/compat");
    let geforce = machine.answers(answering(vec![device("NVIDIA GeForce RTX 4090", 8, 9)]));
    let found = geforce.first();
    assert_eq!((found.id, found.severity), ("compat-libcuda-804", Fatal));
    // The driver of the same major runs it by itself, and the set holds that one.
    assert_eq!(commands(&found), [RUN, "unset LD_LIBRARY_PATH"]);
    let set = geforce.report().set.unwrap().set.unwrap();
    let libcuda = set.iter().find(|library| library.soname == "libcuda.so.1").unwrap();
    assert!(libcuda.path.to_path().starts_with("/usr/lib"), "{libcuda:?}");
    let healed = geforce.answers(answering(vec![device("NVIDIA H100 80GB HBM3", 9, 0)]));
    assert_eq!(healed.ids(), [("driver-by-minor-compatibility", Fact)]);
}

#[test]
fn driver_is_off_every_path() {
    for dir in ["run/opengl-driver/lib", "usr/local/nvidia/lib64", "usr/lib64-nvidia"] {
        let machine = with_driver("550.54.15").without(SYSTEM).driver(dir, "550.54.15");
        let found = machine.first();
        assert_eq!(machine.ids(), [("libcuda-off-cache", Fatal)]);
        assert!(found.cause.contains(&format!("`/{dir}`")), "{}", found.cause);
        assert!(commands(&found)[0].ends_with("/etc/ld.so.conf.d/nvidia-driver.conf && sudo ldconfig"));
        assert_eq!(machine.set("LD_LIBRARY_PATH", &format!("/{dir}")).ids(), []);
    }
    let nixos =
        with_driver("550.54.15").without(SYSTEM).driver("run/opengl-driver/lib", "550.54.15").file("etc/NIXOS", "");
    assert_eq!(commands(&nixos.first())[0], "export LD_LIBRARY_PATH=/run/opengl-driver/lib");
}

#[test]
fn driver_of_wsl() {
    let release = |machine: Machine| machine.file("proc/sys/kernel/osrelease", "5.15.167.4-microsoft-standard-WSL2\n");
    let bare = release(Machine::new().node("dev/null", 0o666).node("dev/dxg", 0o666));
    assert_eq!(bare.ids(), [("no-driver", Fact)]);
    assert!(bare.first().cause.contains("Windows"));
    let machine = bare.driver("usr/lib/wsl/lib", "560.94");
    assert_eq!(machine.ids()[0], ("libcuda-off-cache", Fatal));
    let healed = machine.set("LD_LIBRARY_PATH", "/usr/lib/wsl/lib");
    assert_eq!(healed.ids(), []);
    // A driver of Linux beside it shadows it.
    let shadowed =
        release(Machine::new().node("dev/dxg", 0o666)).driver("usr/lib/wsl/lib", "560.94").driver(SYSTEM, "535.261.03");
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
fn driver_stub_comes_first() {
    let stubs = "usr/local/cuda-12.4/lib64/stubs";
    let machine = with_driver("550.54.15");
    Lib::new("libcuda.so.1").build(&machine.path(&format!("{stubs}/libcuda.so")));
    assert_eq!(machine.ids(), []);
    let machine = machine.set("LD_LIBRARY_PATH", "/usr/local/cuda-12.4/lib64/stubs");
    // Only a request for `libcuda.so` resolves to it.
    assert_eq!(machine.ids(), [("stub-libcuda", Warning)]);
    let machine = machine.link(&format!("{stubs}/libcuda.so.1"), "libcuda.so");
    let found = machine.first();
    assert_eq!((found.id, found.severity), ("stub-libcuda", Fatal));
    assert_eq!(commands(&found), ["unset LD_LIBRARY_PATH"]);
    assert_eq!(machine.set("LD_LIBRARY_PATH", "/opt").ids(), []);
}

#[test]
fn driver_libraries_of_two_releases() {
    let machine = with_driver("550.54.15").without(&format!("{SYSTEM}/libnvidia-ptxjitcompiler.so.1"));
    let machine = machine.without(&format!("{SYSTEM}/libnvidia-ptxjitcompiler.so.550.54.15"));
    let torn = machine.part(SYSTEM, "nvidia-ptxjitcompiler", "535.54.03");
    assert_eq!(torn.ids(), [("torn-driver", Fatal)]);
    assert!(torn.first().evidence[0].says.contains("550.54.15"));
    assert_eq!(with_driver("550.54.15").ids(), []);
}

#[test]
fn driver_not_injected_into_a_container() {
    let cases = [
        (".dockerenv", "", "`--gpus all`"),
        ("run/.containerenv", "", "`--device nvidia.com/gpu=all`"),
        (".singularity.d/runscript", "", "`--nv`"),
        ("proc/1/cgroup", "0::/kubepods/besteffort/pod1\n", "nvidia.com/gpu: 1"),
        ("proc/1/cgroup", "0::/lxc.payload.x\n", "nvidia.runtime=true"),
    ];
    for (path, text, remedy) in cases {
        let machine = Machine::new().gpu("0000:01:00.0", Some("nvidia")).module("550.54.15").file(path, text);
        let found = machine.first();
        assert_eq!((found.id, found.severity), ("libcuda-not-injected", Fatal), "{path}");
        assert!(found.remedies[0].as_action().is_some_and(|text| text.contains(remedy)), "{:?}", found.remedies);
        assert_eq!(machine.driver(SYSTEM, "550.54.15").device_files().ids(), [], "{path}");
    }
}

#[test]
fn driver_not_injected_though_gpus_were_requested() {
    let machine = || Machine::new().file(".dockerenv", "").file("sys/bus/pci/devices/none", "");
    assert_eq!(machine().ids(), [("no-driver", Fact)]);
    // NVML, asked by root, makes this file where there is no driver; that of a GPU is given by somebody.
    let asked = machine().node("dev/null", 0o666).node("dev/nvidiactl", 0o666);
    assert_eq!(asked.ids(), [("no-driver", Fact)]);
    assert_eq!(asked.node("dev/nvidia0", 0o666).ids(), [("libcuda-not-injected", Fatal)]);
    let found = machine().set("NVIDIA_VISIBLE_DEVICES", "all").first();
    assert_eq!((found.id, found.severity), ("libcuda-not-injected", Warning));
    assert_eq!(machine().set("NVIDIA_VISIBLE_DEVICES", "void").ids(), [("no-driver", Fact)]);
    // Given NVML alone, as without the capability `compute`.
    let machine = machine().set("NVIDIA_VISIBLE_DEVICES", "all").set("NVIDIA_DRIVER_CAPABILITIES", "utility");
    let machine = machine.module("550.54.15").part(SYSTEM, "nvidia-ml", "550.54.15");
    let found = machine.first();
    assert_eq!((found.id, found.severity), ("half-a-driver", Fatal));
    assert!(found.evidence.iter().any(|one| one.says == "NVIDIA_DRIVER_CAPABILITIES=utility"));
}

#[test]
fn driver_device_files_missing_or_closed() {
    let machine = with_driver("550.54.15").without("dev/nvidia-uvm");
    let found = machine.first();
    assert_eq!((found.id, commands(&found)), ("cuinit-999", vec!["sudo nvidia-modprobe -u -c=0"]));
    // The first program that needs it creates it, but not in a container.
    let machine = machine.file("usr/bin/nvidia-modprobe", "");
    assert_eq!(machine.ids(), []);
    let machine = machine.file(".dockerenv", "");
    assert_eq!(machine.ids(), [("cuinit-999", Fatal)]);
    assert_eq!(machine.device_files().ids(), []);

    let closed = with_driver("550.54.15").node("dev/nvidiactl", 0o660);
    let found = closed.first();
    assert_eq!(found.id, "cuinit-999");
    assert!(found.cause.contains("may not open") && found.evidence[0].says == "mode 0660", "{found:?}");
    // Of several GPUs one is enough.
    let one_open = with_driver("550.54.15").node("dev/nvidia1", 0o600);
    assert_eq!(one_open.ids(), []);
    // An image has no devices, which is no evidence.
    assert_eq!(with_driver("550.54.15").without("dev").ids(), []);
}

#[test]
fn driver_devices_hidden() {
    for hides in ["", "-1", "NoDevFiles"] {
        assert_eq!(with_driver("550.54.15").set("CUDA_VISIBLE_DEVICES", hides).ids(), [("devices-hidden", Warning)]);
    }
    assert_eq!(with_driver("550.54.15").set("CUDA_VISIBLE_DEVICES", "0,1").ids(), []);
}

#[test]
fn triton_needs_libcuda_in_ld_so_cache() {
    let machine = with_driver("570.124.06").torch("2.8.0+cu128", "12.8");
    machine.venv("venv").dist_info("triton", "3.4.0", "", "");
    // No cache: nothing is known. One that does not have the driver: triton will not find it.
    assert_eq!(machine.ids(), []);
    machine.ld_so_cache(&[("libc.so.6", "/usr/lib/libc.so.6")]);
    let found = machine.first();
    assert_eq!((found.id, found.severity), ("triton-libcuda-not-found", Warning));
    assert_eq!(commands(&found), ["sudo ldconfig".into(), format!("export TRITON_LIBCUDA_PATH=/{SYSTEM}")]);
    let there = format!("/{SYSTEM}/libcuda.so.1");
    machine.ld_so_cache(&[("libcuda.so.1", &there)]);
    assert_eq!(machine.ids(), []);
}

#[test]
fn numba_ptx_too_new_for_the_driver() {
    let nvrtc = "nvidia/cuda_nvrtc/lib/libnvrtc.so.12";
    let with = |package: &str| {
        let machine = with_driver("535.261.03").torch("2.1.2+cu121", "12.1");
        let venv = machine.venv("venv");
        venv.wheel("nvidia-cuda-nvrtc-cu12", "12.8.93", &[(nvrtc, Lib::new("libnvrtc.so.12"))]);
        venv.dist_info(package, "0.61.0", "", "");
        machine
    };
    assert_eq!(with("scipy").ids(), []);
    let machine = with("numba");
    let found = machine.first();
    assert_eq!((found.id, found.severity), ("ptx-unsupported-toolchain", Warning));
    assert!(found.cause.starts_with("NVRTC of CUDA 12.8 writes the PTX of numba"), "{}", found.cause);
    assert_eq!(
        commands(&found)[0],
        "/venv/bin/python -m pip install --no-deps 'nvidia-cuda-nvrtc-cu12==12.2.*'",
        "{found:#?}"
    );
    assert_eq!(machine.set("NUMBA_CUDA_ENABLE_MINOR_VERSION_COMPATIBILITY", "1").ids(), []);
    // libNVVM writes the PTX of the kernels: an older NVRTC alone changes nothing.
    let machine = with("numba");
    let nvvm = "nvidia/cuda_nvcc/nvvm/lib64/libnvvm.so";
    machine.venv("venv").wheel("nvidia-cuda-nvcc-cu12", "12.8.93", &[(nvvm, Lib::new("libnvvm.so.4").unversioned())]);
    let found = machine.first();
    assert!(found.cause.starts_with("libNVVM of CUDA 12.8 writes the PTX of numba"), "{}", found.cause);
    let line = &commands(&found)[0];
    assert!(line.ends_with("'nvidia-cuda-nvcc-cu12==12.2.*' 'nvidia-cuda-nvrtc-cu12==12.2.*'"), "{line}");
}

#[test]
fn torch_without_code_for_the_gpu() {
    let blackwell = vec![device("NVIDIA GeForce RTX 5090", 12, 0)];
    let machine = with_driver("570.124.06").torch("2.5.1+cu124", "12.4").answers(answering(blackwell.clone()));
    let found = machine.first();
    assert_eq!((found.id, found.severity), ("no-code-for-device", Fatal));
    assert!(found.cause.contains("RTX 5090 (12.0)") && found.evidence[1].says.contains("9.0"), "{found:?}");
    assert!(commands(&found)[0].starts_with("pip install torch==2."));
    assert_eq!(with_driver("570.124.06").torch("2.8.0+cu128", "12.8").answers(answering(blackwell)).ids(), []);
}

#[test]
fn driver_of_a_jetson_needs_its_own_builds() {
    let machine = |release: &str| {
        let machine = Machine::new().driver("usr/lib/aarch64-linux-gnu/tegra", "540.4.0");
        let machine = machine.set("LD_LIBRARY_PATH", "/usr/lib/aarch64-linux-gnu/tegra");
        machine.file("etc/nv_tegra_release", &format!("# {release} (release), REVISION: 4.3, GCID: 1\n"))
    };
    assert_eq!(machine("R36").torch("2.8.0+cu126", "12.6").ids()[0], ("jetson-sbsa", Warning));
    for fine in [machine("R36").torch("2.8.0", "12.6"), machine("R38").torch("2.8.0+cu126", "12.6")] {
        assert!(fine.report().is_fine(), "{:?}", fine.ids());
    }
}

#[test]
fn driver_that_hangs_or_crashes() {
    let asked = |end: End| {
        let mut devices = answering(Vec::new());
        devices.cuda.as_mut().unwrap().end = end;
        with_driver("550.54.15").answers(devices)
    };
    assert_eq!(asked(End::Done).ids(), []);
    assert_eq!(asked(End::Hangs).ids(), [("driver-does-not-answer", Fatal)]);
    let found = asked(End::Failed("signal 11".into())).first();
    assert!(found.cause.contains("signal 11"), "{}", found.cause);
}

#[test]
fn driver_error_counts_where_nothing_explains_it() {
    let ids = [
        (803, "compat-libcuda-803"),
        (804, "compat-libcuda-804"),
        (34, "stub-libcuda"),
        (999, "cuinit-999"),
        (100, "driver-does-not-answer"),
        (3, "driver-does-not-answer"),
    ];
    for (error, id) in ids {
        assert_eq!(with_driver("550.54.15").answers(refusing(error)).ids(), [(id, Fatal)], "{error}");
    }
    // The kernel's files are better evidence.
    let machine = with_driver("550.54.15").without("dev/nvidia-uvm").answers(refusing(999));
    assert_eq!(machine.ids(), [("cuinit-999", Fatal)]);
    assert!(machine.first().cause.contains("missing"));
    let mut devices = Devices::default();
    let mut said = DriverResponse::default();
    said.error = Some(18);
    devices.nvml = Some(said);
    assert_eq!(with_driver("550.54.15").answers(devices).ids(), [("nvml-kernel-user-mismatch", Fatal)]);
}

#[test]
fn driver_with_proc_and_sys_hidden() {
    let machine = Machine::new().driver(SYSTEM, "535.261.03").torch("2.15.0+cu132", "13.2");
    assert_eq!(machine.ids(), [("driver-too-old", Fatal), ("driver-unknown", Fact)]);
}

#[test]
fn driver_too_old_without_a_torch() {
    let onnxruntime = |machine: Machine, major: u32| {
        machine.environment(|venv| {
            let provider = Lib::new("libonnxruntime_providers_cuda.so").unversioned();
            let provider = provider.uses(&format!("libcudart.so.{major}"), &["cudaMalloc"]);
            venv.wheel("onnxruntime-gpu", "1.31.1", &[("onnxruntime/capi/libonnxruntime_providers_cuda.so", provider)]);
        })
    };
    let found = onnxruntime(with_driver("535.261.03"), 13).first();
    assert_eq!((found.id, found.severity), ("driver-too-old", Fatal));
    assert_eq!(
        found.cause,
        "CUDA 13, which this environment needs, requires driver 580.65.06 or newer; installed: 535.261.03"
    );
    let advice: Vec<&str> = found.remedies.iter().filter_map(Remedy::as_action).collect();
    assert_eq!(advice, ["install driver 580.65.06 or newer", "install a CUDA 12 build of the package that needs it"]);
    let is_it = |(id, _): &(&str, _)| *id == "driver-too-old";
    assert!(!onnxruntime(with_driver("580.65.06"), 13).ids().iter().any(is_it));
    assert!(!onnxruntime(with_driver("535.261.03"), 12).ids().iter().any(is_it));
}
