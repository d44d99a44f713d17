"""A driver that is none: libcuda and NVML with every name that the libraries of an environment ask for.

Takes an environment and a directory; gives the directory with `libcuda.so.1` and `libnvidia-ml.so.1`. It lists
as many GPUs as it is told, and runs no kernel: enough for a framework to open all its libraries. Writes only there.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from environments import Environment

# The runtime has nearly all names, and is small; the larger libraries hold device code and take long to read.
LARGEST = 4_000_000

CUDA = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
#include <string.h>
static void *self(void) {
    static void *handle;
    Dl_info info;
    if (!handle && dladdr((void *)self, &info)) handle = dlopen(info.dli_fname, RTLD_LAZY);
    return handle;
}
int cuInit(unsigned flags) { return GPUS ? 0 : 100; }
int cuDriverGetVersion(int *version) { *version = VERSION; return 0; }
int cuDeviceGetCount(int *count) { *count = GPUS; return 0; }
int cuDeviceGet(int *device, int at) { *device = 0; return 0; }
int cuDeviceGetName(char *name, int size, int device) { strncpy(name, "NVIDIA A100", size); return 0; }
/* 75 and 76 are the compute capability, 16 the number of multiprocessors, 10 the size of a warp. */
int cuDeviceGetAttribute(int *value, int what, int device) {
    *value = what == 75 ? 8 : what == 76 ? 0 : what == 16 ? 108 : what == 10 ? 32 : 1024;
    return 0;
}
int cuDeviceTotalMem_v2(size_t *size, int device) { *size = 40ul << 30; return 0; }
int cuDeviceGetUuid(char *id, int device) { memset(id, 1, 16); return 0; }
int cuDeviceGetUuid_v2(char *id, int device) { memset(id, 1, 16); return 0; }
int cuDeviceGetPCIBusId(char *id, int size, int device) { strncpy(id, "0000:01:00.0", size); return 0; }
int cuDevicePrimaryCtxRetain(void **context, int device) { *context = (void *)4096; return 0; }
int cuCtxGetCurrent(void **context) { *context = (void *)4096; return 0; }
int cuCtxGetDevice(int *device) { *device = 0; return 0; }
int cuMemGetInfo_v2(size_t *unused, size_t *size) { *unused = *size = 40ul << 30; return 0; }
int cuGetErrorName(int error, const char **text) { *text = "CUDA_ERROR"; return 0; }
int cuGetErrorString(int error, const char **text) { *text = "an error"; return 0; }
int cuGetProcAddress(const char *name, void **found, int version, size_t flags) {
    char newer[256];
    strncpy(newer, name, 250);
    newer[250] = 0;
    strcat(newer, "_v2");
    *found = dlsym(self(), newer);
    if (!*found) *found = dlsym(self(), name);
    return *found ? 0 : 500;
}
int cuGetProcAddress_v2(const char *name, void **found, int version, size_t flags, int *status) {
    int error = cuGetProcAddress(name, found, version, flags);
    if (status) *status = error ? 1 : 0;
    return error;
}
"""

NVML = r"""
#include <string.h>
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 1; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned at, void **device) { *device = (void *)1; return 0; }
int nvmlDeviceGetHandleByPciBusId_v2(const char *id, void **device) { *device = (void *)1; return 0; }
int nvmlSystemGetDriverVersion(char *text, unsigned size) { strncpy(text, RELEASE, size); return 0; }
int nvmlSystemGetCudaDriverVersion(int *version) { *version = VERSION; return 0; }
int nvmlSystemGetCudaDriverVersion_v2(int *version) { *version = VERSION; return 0; }
const char *nvmlErrorString(int error) { return "an error"; }
"""

# Providers of ONNX Runtime and parts of cuDNN are linked against libcuda.
MORE_CUDA = "cuTensorMapEncodeTiled cuTensorMapEncodeIm2col cuLaunchKernel cuLaunchKernelEx cuModuleLoadData cuModuleGetFunction".split()

# Not in any library below LARGEST, and asked for all the same.
MORE_NVML = """nvmlInit nvmlInit_v2 nvmlInitWithFlags nvmlShutdown nvmlDeviceGetName nvmlDeviceGetMemoryInfo nvmlDeviceGetUUID
nvmlDeviceGetUtilizationRates nvmlDeviceGetCudaComputeCapability nvmlDeviceGetPciInfo_v3 nvmlDeviceGetNvLinkState
nvmlDeviceGetNvLinkRemotePciInfo_v2 nvmlDeviceGetNvLinkVersion nvmlDeviceGetNvLinkCapability nvmlDeviceGetFieldValues
nvmlDeviceGetP2PStatus nvmlDeviceGetGpuFabricInfo nvmlDeviceGetGpuFabricInfoV""".split()


def names(env: Environment, prefix: str) -> set:
    """The names of an interface that NVIDIA's libraries of an environment look up."""
    found = set()
    pattern = re.compile(rb"(?<=\x00)(%s[A-Z][A-Za-z0-9_]{2,60})(?=\x00)" % prefix.encode())
    for file in env.site.glob("nvidia/*/lib/*.so*"):
        if file.is_file() and file.stat().st_size < LARGEST:
            found |= {name.decode() for name in pattern.findall(file.read_bytes())}
    return found


def fake_driver(directory: Path, env: Environment, gpus: int, release: str = "580.65.06", cuda: int = 13000) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    libraries = {
        "cuda": (CUDA, {name for name in names(env, "cu") if not name.startswith(("cuBLAS", "cuDNN"))} | set(MORE_CUDA)),
        "nvidia-ml": (NVML, names(env, "nvml") | set(MORE_NVML)),
    }
    for stem, (source, known) in libraries.items():
        written = set(re.findall(r"\b(\w+)\(", source))
        text = source + "".join(f"int {name}() {{ return 0; }}\n" for name in sorted(known - written))
        file = directory / f"{stem}.c"
        file.write_text(text)
        out = directory / f"lib{stem}.so.1"
        defines = [f"-DGPUS={gpus}", f"-DVERSION={cuda}", f'-DRELEASE="{release}"']
        options = ["-w", "-shared", "-fPIC", f"-Wl,-soname,{out.name}", *defines]
        subprocess.run(["cc", *options, file, "-o", out, "-ldl"], check=True)
        file.unlink()
        (directory / f"lib{stem}.so").unlink(missing_ok=True)
        (directory / f"lib{stem}.so").symlink_to(out.name)
    return directory
