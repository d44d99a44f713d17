//! The driver and its devices, asked of stand-ins for `libcuda` and NVML.

use super::{SHORT, prober};
use crate::support::*;
use cudashim::internal::launch::probe::{Devices, End};
use std::path::PathBuf;

/// A driver whose `cuInit` does this.
fn libcuda(lab: &Machine, init: &str) -> PathBuf {
    let source = format!(
        r#"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int cuDriverGetVersion(int *v) {{ *v = 12020; return 0; }}
int cuInit(unsigned flags) {{ {init} }}
int cuGetErrorName(int e, const char **n)
{{ *n = e == 804 ? "CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE" : e == 100 ? "CUDA_ERROR_NO_DEVICE" : 0; return !*n; }}
int cuDeviceGetCount(int *n) {{ *n = 2; return 0; }}
int cuDeviceGet(int *d, int at) {{ *d = at + 40; return 0; }}
int cuDeviceGetName(char *n, int len, int d) {{ snprintf(n, (size_t)len, "Fake\t%d\n", d); return 0; }}
int cuDeviceGetAttribute(int *v, int a, int d) {{ *v = a == 75 ? 9 : a == 76 ? d - 40 : -1; return 0; }}
int cuDeviceTotalMem_v2(size_t *b, int d) {{ *b = 85899345920ul + (unsigned)d; return d == 41 ? 1 : 0; }}
int cuDeviceGetUuid(unsigned char *u, int d) {{ memset(u, d, 16); u[15] = 0xff; return 0; }}
"#
    );
    lab.library("driver/libcuda.so.1", &source, &[])
}

const NVML: &str = r#"
#include <stdio.h>
static int ready;
int nvmlInit_v2(void) { ready = 1; return 0; }
const char *nvmlErrorString(int e) { return e ? "Unknown" : "Success"; }
int nvmlSystemGetDriverVersion(char *v, unsigned len) { return !ready || snprintf(v, len, "535.261.03") < 0; }
int nvmlSystemGetCudaDriverVersion_v2(int *v) { *v = 12020; return 0; }
int nvmlDeviceGetCount_v2(unsigned *n) { *n = 1; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned at, void **d) { *d = &ready; return at; }
int nvmlDeviceGetName(void *d, char *n, unsigned len) { return d != &ready || snprintf(n, len, "Fake") < 0; }
int nvmlDeviceGetUUID(void *d, char *n, unsigned len) { return snprintf(n, len, "GPU-1") < 0; }
int nvmlDeviceGetCudaComputeCapability(void *d, int *a, int *b) { *a = 9; *b = 0; return 0; }
int nvmlDeviceGetMemoryInfo(void *d, unsigned long long *m) { m[0] = 100; m[1] = 60; m[2] = 40; return 0; }
"#;

fn ask(lab: &Machine, init: &str) -> Devices {
    let cuda = libcuda(lab, init);
    let nvml = lab.library("driver/libnvidia-ml.so.1", NVML, &[]);
    let prober = if init.contains("pause") { prober(lab).limit(SHORT * 8) } else { prober(lab) };
    prober.devices(&cuda, Some(&nvml)).unwrap()
}

fn lab() -> Machine {
    let lab = Machine::new();
    lab.write("driver/empty", "");
    lab
}

#[test]
fn probe_two_devices() {
    let lab = lab();
    let devices = ask(&lab, "return 0;");
    insta::assert_debug_snapshot!(devices.cuda, @r#"
    Cuda {
        end: Done,
        version: Some(
            CudaVersion {
                major: 12,
                minor: 2,
            },
        ),
        init: Some(
            Status {
                number: 0,
                name: "",
            },
        ),
        count: Some(
            2,
        ),
        devices: [
            Device {
                index: 0,
                name: Some(
                    "Fake\t40\n",
                ),
                capability: Some(
                    (
                        9,
                        0,
                    ),
                ),
                memory: Some(
                    85899345960,
                ),
                uuid: Some(
                    "GPU-28282828-2828-2828-2828-2828282828ff",
                ),
            },
            Device {
                index: 1,
                name: Some(
                    "Fake\t41\n",
                ),
                capability: Some(
                    (
                        9,
                        1,
                    ),
                ),
                memory: None,
                uuid: Some(
                    "GPU-29292929-2929-2929-2929-2929292929ff",
                ),
            },
        ],
    }
    "#);
    insta::assert_debug_snapshot!(devices.nvml.unwrap(), @r#"
    Nvml {
        end: Done,
        init: Some(
            Status {
                number: 0,
                name: "Success",
            },
        ),
        driver: Some(
            "535.261.03",
        ),
        version: Some(
            CudaVersion {
                major: 12,
                minor: 2,
            },
        ),
        count: Some(
            1,
        ),
        devices: [
            Device {
                index: 0,
                name: Some(
                    "Fake",
                ),
                capability: Some(
                    (
                        9,
                        0,
                    ),
                ),
                memory: Some(
                    100,
                ),
                uuid: Some(
                    "GPU-1",
                ),
            },
        ],
    }
    "#);
}

#[test]
fn probe_names_the_cuda_error() {
    let lab = lab();
    let status = |number: u32| {
        let cuda = ask(&lab, &format!("return {number};")).cuda;
        assert_eq!((cuda.end, cuda.count, cuda.devices.len()), (End::Done, None, 0));
        let init = cuda.init.unwrap();
        (init.number, init.name)
    };
    assert_eq!(status(100), (100, "CUDA_ERROR_NO_DEVICE".to_owned()));
    assert_eq!(status(804), (804, "CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE".to_owned()));
    // An old driver has no name for what came after it.
    assert_eq!(status(803), (803, String::new()));
}

#[test]
fn probe_version_of_a_driver_that_hangs_or_crashes() {
    let lab = lab();
    for (init, end) in [
        ("for (;;) pause();", End::TimedOut),
        ("raise(SIGBUS); return 0;", End::Crashed { signal: 7 }),
        ("exit(3);", End::Ended { code: 3 }),
    ] {
        let devices = ask(&lab, init);
        assert_eq!(devices.cuda.end, end, "{init}");
        assert_eq!(devices.cuda.version.map(|version| version.to_string()).as_deref(), Some("12.2"));
        assert_eq!((devices.cuda.init, devices.cuda.count), (None, None));
        // A failure of one is no evidence about the other.
        assert_eq!(devices.nvml.unwrap().driver.as_deref(), Some("535.261.03"));
    }
}

#[test]
fn probe_incomplete_driver() {
    let lab = lab();
    let empty = lab.library("driver/libcuda.so.1", "int x;", &[]);
    let devices = prober(&lab).devices(&empty, Some(&lab.path("driver/libnvidia-ml.so.1"))).unwrap();
    assert_eq!((&devices.cuda.end, devices.cuda.version, &devices.cuda.init), (&End::Done, None, &None));
    let nvml = devices.nvml.unwrap();
    assert!(matches!(nvml.end, End::NotLoaded(_)), "{nvml:?}");
    assert_eq!(prober(&lab).devices(&empty, None).unwrap().nvml, None);
}

#[test]
fn probe_does_not_await_what_cuinit_starts() {
    let lab = lab();
    // It leaves the group, and keeps the pipe open until it is killed: the prober does not wait for its end.
    let file = lab.path("pid");
    let fork = format!(
        r#"int pid = fork(); if (!pid) {{ setsid(); for (;;) pause(); }}
FILE *f = fopen("{}", "w"); fprintf(f, "%d", pid); fclose(f); return 0;"#,
        file.display()
    );
    let cuda = libcuda(&lab, &fork);
    let devices = prober(&lab).devices(&cuda, None).unwrap();
    let left = std::fs::read_to_string(&file).unwrap();
    assert!(std::process::Command::new("/bin/kill").args(["-KILL", &left]).status().unwrap().success());
    assert_eq!((devices.cuda.end, devices.cuda.count, devices.cuda.devices.len()), (End::Done, Some(2), 2));
}

#[test]
fn probe_ignores_text_of_the_driver() {
    let lab = lab();
    let says = r#"printf("device\t0\tevil\nend\n"); fflush(stdout); return 0;"#;
    let cuda = libcuda(&lab, says);
    let devices = prober(&lab).devices(&cuda, None).unwrap().cuda;
    assert_eq!((devices.end, devices.count), (End::Done, Some(2)));
    assert_eq!(devices.devices[0].name.as_deref(), Some("Fake\t40\n"));
}

#[test]
fn probe_bounds_device_counts() {
    let lab = lab();
    for (count, most) in [("0x7fffffff", 1024), ("(int)0x80000000", 0), ("-1", 0)] {
        let source = format!(
            "int cuInit(unsigned f) {{ return 0; }}\nint cuDeviceGetCount(int *n) {{ *n = {count}; return 0; }}\n\
             int cuDeviceGet(int *d, int at) {{ *d = at; return 0; }}\n"
        );
        let cuda = lab.library("many/libcuda.so.1", &source, &[]);
        let devices = prober(&lab).devices(&cuda, None).unwrap().cuda;
        assert_eq!(devices.end, End::Done);
        assert!(devices.devices.len() <= most, "{count}: {}", devices.devices.len());
    }
}
