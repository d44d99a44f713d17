"""The child of every row: does what the row asks, then says what this process has mapped.

Takes a file to write to and the steps to do, in order; writes one JSON object: what each step gave, the
error that ended them, NVIDIA's libraries in /proc/self/maps, and what is wrong with these. A step that kills
the process leaves the file empty, which is an answer too.

A process is whole if each soname has one file, and if the parts that only work with their own release
(cuDNN's, cuBLAS's, NVRTC's) come from one directory.
"""

import ctypes
import json
import os
import re
import struct
import sys

# Not `libcuda\w*`: the shim itself is no library of NVIDIA's.
NVIDIA = re.compile(
    r"lib(cublas|cublasLt|cuda|cudart|cudnn\w*|cufft|cufftw|cufile|cufile_rdma|cupti|curand|cusolver|cusolverMg"
    r"|cusparse|cusparseLt|nccl|npp\w+|nvblas|nvJitLink|nvToolsExt|nvperf_host|nvrtc|nvrtc-builtins|nvshmem\w*)"
    r"(-[0-9a-f]{8})?(\.alt)?\.so(\.[0-9.]+)?"
)

# A name with a wheel repair tool's hash in it is the application's own copy, which has no directory of siblings.
GROUPS = {
    "cuDNN": re.compile(r"libcudnn(_\w+)?\.so.*"),
    "cuBLAS": re.compile(r"lib(cublas|cublasLt|nvblas)\.so.*"),
    "NVRTC": re.compile(r"libnvrtc(-builtins)?(\.alt)?\.so.*"),
}

KERNEL = b'extern "C" __global__ void add(float *a, const float *b) { a[threadIdx.x] += __expf(b[threadIdx.x]); }'


# --- what is mapped ---


def soname(path):
    """DT_SONAME of a 64-bit little-endian object; the file's name where it has none."""
    with open(path, "rb") as file:
        header = file.read(64)
        if header[:6] != b"\x7fELF\x02\x01":
            return os.path.basename(path)
        (phoff,) = struct.unpack_from("<Q", header, 32)
        size, count = struct.unpack_from("<HH", header, 54)
        file.seek(phoff)
        table = file.read(size * count)
        segments = [struct.unpack_from("<IIQQQQ", table, at * size) for at in range(count)]

        def read_at(address, length):
            for kind, _, offset, start, _, held in segments:
                if kind == 1 and start <= address < start + held:
                    file.seek(offset + address - start)
                    return file.read(length)
            return b""

        entries = {}
        for kind, _, _, start, _, held in segments:
            if kind == 2:
                for tag, value in struct.iter_unpack("<qQ", read_at(start, held - held % 16)):
                    if tag == 0:
                        break
                    entries.setdefault(tag, value)
        if 14 not in entries or 5 not in entries:
            return os.path.basename(path)
        return read_at(entries[5] + entries[14], 256).split(b"\0")[0].decode()


def mapped():
    """NVIDIA's libraries in this process: {soname: [(path, device, inode)]}."""
    found = {}
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
        for line in maps:
            fields = line.rstrip("\n").split(maxsplit=5)
            if len(fields) == 6 and NVIDIA.fullmatch(os.path.basename(fields[5])):
                found[os.path.realpath(fields[5]), fields[3], fields[4]] = None
    libraries = {}
    for path, device, inode in found:
        libraries.setdefault(soname(path), []).append((path, device, inode))
    return libraries


def faults(libraries):
    """What no set-up may have, in words."""
    said = []
    for name, copies in sorted(libraries.items()):
        if len(copies) > 1:
            said.append("%s is mapped %d times: %s" % (name, len(copies), ", ".join(copy[0] for copy in copies)))
    for group, pattern in GROUPS.items():
        parts = {name: copies[0][0] for name, copies in libraries.items() if pattern.fullmatch(name)}
        if len({os.path.dirname(path) for path in parts.values()}) > 1:
            said.append("%s is torn: %s" % (group, ", ".join(sorted(parts.values()))))
    return said


def path_of(pattern):
    for name, copies in mapped().items():
        if re.fullmatch(pattern, name):
            return copies[0][0]
    raise LookupError("nothing like %s is mapped" % pattern)


# --- steps ---


def step_torch():
    """Imports torch: its version, and cuDNN's as torch sees it."""
    import torch

    return "%s %s" % (torch.__version__, torch.backends.cudnn.version())


def step_descriptors(path=None):
    """Has the cuDNN that is mapped, or the one at a path, load its parts; needs no GPU."""
    cudnn = ctypes.CDLL(path or path_of(r"libcudnn\.so\..*"))
    codes = []
    for function in ("cudnnCreateTensorDescriptor", "cudnnCreateConvolutionDescriptor"):
        codes.append(getattr(cudnn, function)(ctypes.byref(ctypes.c_void_p())))
    return "descriptors %s" % codes


def step_load(name):
    ctypes.CDLL(name)
    return os.path.basename(name)


def step_names(*names):
    """Asks for names without a path, as programs do that were not built with run paths; each must be found."""
    missing = []
    for name in names:
        try:
            ctypes.CDLL(name)
        except OSError as error:
            missing.append(str(error))
    if missing:
        raise OSError("; ".join(missing))
    return "%d names" % len(names)


def step_runtime():
    version = ctypes.c_int()
    code = ctypes.CDLL("libcudart.so.12").cudaRuntimeGetVersion(ctypes.byref(version))
    return "runtime %d" % version.value if code == 0 else "cudaRuntimeGetVersion says %d" % code


def step_compile(name):
    """Compiles a kernel with the NVRTC of that name; needs no GPU."""
    nvrtc = ctypes.CDLL(name)
    major, minor, program = ctypes.c_int(), ctypes.c_int(), ctypes.c_void_p()
    nvrtc.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), KERNEL, b"add.cu", 0, None, None)
    code = nvrtc.nvrtcCompileProgram(program, 0, None)
    if code:
        size = ctypes.c_size_t()
        nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
        log = ctypes.create_string_buffer(size.value + 1)
        nvrtc.nvrtcGetProgramLog(program, log)
        raise RuntimeError("nvrtcCompileProgram says %d: %s" % (code, log.value.decode(errors="replace").strip()))
    return "compiled by %d.%d" % (major.value, minor.value)


def step_idle():
    return "idle"


def step_import(name):
    __import__(name)
    return name


def step_major(path, wanted):
    """Which CUDA a cuDNN or an NCCL is built for; by its soname it may be either."""
    library = ctypes.CDLL(path)
    if hasattr(library, "cudnnGetCudartVersion"):
        library.cudnnGetCudartVersion.restype = ctypes.c_size_t
        major = library.cudnnGetCudartVersion() // 1000
    else:
        with open(path, "rb") as file:
            major = int(re.search(br"\+cuda(\d+)\.", file.read()).group(1))
    if major != wanted:
        raise RuntimeError("%s is built for CUDA %d, not %d" % (os.path.basename(path), major, wanted))
    return "CUDA %d" % major


def step_onnxruntime():
    """Has ONNX Runtime look for its libraries, then asks for what its CUDA provider needs; that itself crashes without a GPU."""
    import onnxruntime

    onnxruntime.preload_dlls()
    return step_provider()


def step_provider():
    """Asks for what ONNX Runtime's CUDA provider needs, as a session does, by name: it has no run path."""
    import onnxruntime

    names = "cublasLt.so.12 cublas.so.12 curand.so.10 cufft.so.11 cudart.so.12 cudnn.so.9 nvrtc.so.12"
    step_names(*("lib%s" % name for name in names.split()))
    return onnxruntime.__version__


def step_cupy():
    """Has CuPy open NVRTC and load what it loads when it is used first."""
    import cupy
    from cupy.cuda import cufft  # noqa: F401
    from cupy_backends.cuda.libs import nvrtc

    return "%s, NVRTC %d.%d" % (cupy.__version__, *nvrtc.getVersion())


def step_jax():
    """Has JAX open its libraries and compare their releases, as it does for a GPU."""
    import jax
    from jax_plugins import xla_cuda12

    # Else it counts the devices, too.
    jax.config.update("jax_cuda_visible_devices", "0")
    xla_cuda12._load_nvidia_libraries()
    xla_cuda12._import_extensions()
    xla_cuda12._check_cuda_versions(raise_on_first_error=True)
    return jax.__version__


def step_tensorflow():
    """Has TensorFlow open its libraries: each is behind functions of its own, which open it when called."""
    import tensorflow

    own = ctypes.CDLL(os.path.join(os.path.dirname(tensorflow.__file__), "libtensorflow_cc.so.2"))
    versions = []
    for name in ("cudnnGetVersion", "cublasLtGetVersion"):
        function = getattr(own, name)
        function.restype = ctypes.c_size_t
        versions.append(function())
        # Else it is 0, or the code of an error.
        if versions[-1] < 1000:
            raise RuntimeError("%s finds no library" % name)
    version = ctypes.c_int()
    if own.cufftGetVersion(ctypes.byref(version)):
        raise RuntimeError("cufftGetVersion finds no library")
    return "%s %s" % (tensorflow.__version__, " ".join(map(str, versions)))


def step_pins(name):
    """What a distribution asks for by its exact release is installed in that."""
    from importlib import metadata

    wrong = []
    for line in metadata.requires(name):
        pin = re.match(r"(nvidia-[\w-]+) ?\(?==([\w.]+)", line)
        if not pin:
            continue
        try:
            version = metadata.version(pin.group(1))
        except metadata.PackageNotFoundError:
            version = "not there"
        if version != pin.group(2):
            wrong.append("%s is %s, not %s" % (pin.group(1), version, pin.group(2)))
    if wrong:
        raise RuntimeError("pins: " + ", ".join(wrong))
    return "pins"


def step_doctor(*command):
    """What `cudashim doctor` says here."""
    import subprocess

    return subprocess.run(command, stdout=subprocess.PIPE, universal_newlines=True).stdout


def step_title():
    """Writes over argv and environ, as servers do that show what they are at."""
    import setproctitle

    setproctitle.setproctitle("worker: " + "idle " * 2000)
    shown = open("/proc/self/cmdline").read()
    return "title" if shown.startswith("worker: ") else "still %s" % shown


def step_drop():
    """Becomes nobody, as a server does that root starts."""
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    return "nobody"


def main():
    out, steps = sys.argv[1], json.loads(sys.argv[2])
    answer = {"gave": [], "error": None}
    # Now: a step may take the right to do so away.
    file = open(out, "w", encoding="utf-8", errors="surrogateescape")
    try:
        for step, *arguments in steps:
            answer["gave"].append(globals()["step_" + step](*arguments))
    except Exception as error:  # whatever it is, it is the row's result
        answer["error"] = "%s: %s" % (type(error).__name__, error)
    libraries = mapped()
    answer["mapped"] = {name: [copy[0] for copy in copies] for name, copies in libraries.items()}
    answer["faults"] = faults(libraries)
    json.dump(answer, file)
    file.close()
    sys.exit(1 if answer["error"] else 0)


if __name__ == "__main__":
    main()
