"""Real environments of frameworks: clean ones, and ones with a wrong wheel first, a missing wheel, or two CUDA majors.

Each setup says what the framework does without cudashim, as it was seen; `frameworks` compares what cudashim says and
does. Environments are those of `environments.py`; a wrong wheel comes from one with that wheel alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

CUDA_12_BARE = "nvidia-cublas-cu12 nvidia-cudnn-cu12 nvidia-cuda-runtime-cu12 nvidia-cufft-cu12 nvidia-curand-cu12".split()

# Name: what is installed, as `environments.WHEELS`.
FRAMEWORKS = {
    "tf-2.21": ["tensorflow[and-cuda]==2.21.0"],
    "jax-cu12-0.10.2": ["jax[cuda12]==0.10.2"],
    "jax-cu13": ["jax[cuda13]==0.10.2"],
    "ct2-4.6.2": [
        "faster-whisper",
        "ctranslate2==4.6.2",
        "nvidia-cublas-cu12==12.9.3.13",
        "nvidia-cudnn-cu12==9.28.0.42",
        "setuptools",
    ],
    "cupy12-14.2": ["cupy-cuda12x[ctk]==14.2.0"],
    "cudf12-26.10": ["cudf-cu12==26.10.2"],
    "ort-1.31": ["onnxruntime-gpu[cuda,cudnn]==1.31.1"],
    "ort-1.23": ["onnxruntime-gpu==1.23.2", *CUDA_12_BARE, "nvidia-cuda-nvrtc-cu12"],
    "numba-cuda": ["numba-cuda[cu12]==0.30.4"],
    "faiss": ["faiss-gpu-cu12==1.14.1"],
    "nvmath": ["nvmath-python[cu12]==1.0.0"],
    "cuquantum": [
        "cuquantum-python-cu12==26.9.0",
        "nvidia-cublas-cu12==12.9.2.10",
        "nvidia-cusolver-cu12==11.7.5.82",
        "nvidia-curand-cu12==10.3.10.19",
    ],
    "xgboost": ["xgboost"],
    "paddle": ["paddlepaddle-gpu==2.6.2", "setuptools"],
    "dali": ["nvidia-dali-cuda120==2.4.0"],
    "torch-2.8-tv": ["torch==2.8.0", "torchvision==0.23.0", "numpy<2.3"],
    "torch-2.8-ort": ["torch==2.8.0", "onnxruntime-gpu==1.22.0", "numpy<2.3"],
    "cupy12-ort13": ["cupy-cuda12x[ctk]==14.2.0", "onnxruntime-gpu[cuda,cudnn]==1.31.1"],
    "tf-torch": ["tensorflow[and-cuda]==2.21.0", "torch==2.15.0"],
    "poison-cudnn-9.1": ["--no-deps", "nvidia-cudnn-cu12==9.1.0.70"],
    "poison-nvjitlink-12.1": ["--no-deps", "nvidia-nvjitlink-cu12==12.1.105"],
    "poison-nvimgcodec-0.3": ["--no-deps", "nvidia-nvimgcodec-cu12==0.3.0.5"],
    "poison-cublas-12.1": ["--no-deps", "nvidia-cublas-cu12==12.1.3.1"],
    "poison-cudart-12.1": ["--no-deps", "nvidia-cuda-runtime-cu12==12.1.105"],
}

# What an ONNX model with one node is, in the encoding of protocol buffers.
ONNX = r"""
def field(number, value):
    if isinstance(value, int):
        return bytes([number << 3, value])
    value = value.encode() if isinstance(value, str) else value
    return bytes([number << 3 | 2, len(value)]) + value
shape = field(2, field(1, field(1, 1)))
tensor = lambda name: field(1, name) + field(2, field(1, field(1, 1) + shape))
node = field(1, "x") + field(2, "y") + field(4, "Identity")
graph = field(1, node) + field(2, "g") + field(11, tensor("x")) + field(12, tensor("y"))
model = field(1, 8) + field(7, graph) + field(8, field(1, "") + field(2, 13))
import onnxruntime
onnxruntime.InferenceSession(model, providers=["CUDAExecutionProvider"])
print("ok", onnxruntime.__version__)
"""

DALI = r"""
import numpy, nvidia.dali as dali, nvidia.dali.fn as fn
ppm = numpy.frombuffer(b"P6\n4 4\n255\n" + bytes(48), dtype=numpy.uint8)
@dali.pipeline_def(batch_size=1, num_threads=1, device_id=None)
def pipeline():
    return fn.decoders.image(fn.external_source(source=lambda: [ppm], dtype=dali.types.UINT8), device="cpu")
built = pipeline()
built.build()
print("ok", built.run()[0].at(0).shape)
"""

# The library that CTranslate2 bundles opens cuDNN's parts; it opens cuBLAS itself.
CT2 = r"""
import ctranslate2, ctypes, glob, os
here = os.path.dirname(os.path.dirname(ctranslate2.__file__))
cudnn = ctypes.CDLL(glob.glob(here + "/ctranslate2.libs/libcudnn-*")[0])
descriptor = ctypes.c_void_p()
print(cudnn.cudnnCreateTensorDescriptor(ctypes.byref(descriptor)), cudnn.cudnnCreateConvolutionDescriptor(ctypes.byref(descriptor)))
ctypes.CDLL("libcublas.so.12")
print("ok", ctranslate2.__version__)
"""

TENSORFLOW = 'import tensorflow as tf; assert tf.config.list_physical_devices("GPU"), "no GPU"; print("ok", tf.__version__)'
JAX = "from jax_cuda{0}_plugin import _versions as v; print('ok', v.cudnn_get_version(), v.cublas_get_version())"
CUPY = (
    "import cupy; from cupy_backends.cuda.libs import cublas, cusolver, cusparse, curand, nvrtc;"
    " print('ok', cupy.__version__, nvrtc.getVersion())"
)
CUDF = "import cudf; print('ok', cudf.__version__)"
TORCH = "import torch; print('ok', torch.__version__, torch.backends.cudnn.version())"
NVMATH = (
    "import nvmath; from nvmath.bindings import cublas, cudss, cufft, curand, cusolver, cusparse;"
    " print('ok', nvmath.__version__, cudss.get_property(0))"
)
NUMBA = "from cuda.bindings import nvrtc, nvjitlink, nvvm; from numba import cuda; print('ok', nvrtc.nvrtcVersion(), nvvm.version())"


@dataclass
class Setup:
    """One environment, how it is started, and what is so without cudashim."""

    name: str
    env: str
    # What `check` is asked about.
    of: str
    program: str
    # How it fails bare; nothing: it works.
    fails: Optional[str] = None
    # The finding of `doctor` that names the cause; nothing: no finding but the driver's.
    finding: Optional[str] = None
    # Whether it warns, or says nothing, and goes on without a library: it loads, then, as `check` says.
    goes_on: bool = False
    # Whether a set can heal it: `run` and the shim must, then.
    healed: bool = True
    # How many GPUs a driver lists; nothing: there is no driver. ONNX Runtime goes on to use one, which ends in a crash.
    driver: Optional[int] = None
    # Environments whose libraries come first on LD_LIBRARY_PATH; `.` is this one, by the directories named after it.
    first: tuple = ()
    # The wheel that is not installed.
    missing: Optional[str] = None


SETUPS = [
    Setup("clean/tensorflow-2.21", "tf-2.21", "tensorflow", TENSORFLOW, "no GPU", "tf-cannot-dlopen", goes_on=True, driver=1),
    Setup("clean/jax-12", "jax-cu12-0.10.2", "jax", JAX.format(12)),
    Setup("clean/jax-13", "jax-cu13", "jax", JAX.format(13)),
    Setup("clean/ctranslate2", "ct2-4.6.2", "ctranslate2", CT2, first=(".cudnn", ".cublas")),
    Setup("clean/cupy", "cupy12-14.2", "cupy", CUPY),
    Setup("clean/cudf", "cudf12-26.10", "cudf", CUDF),
    Setup("clean/numba-cuda", "numba-cuda", "numba", NUMBA, driver=1),
    Setup("clean/faiss", "faiss", "faiss", "import faiss; print('ok', faiss.__version__)"),
    Setup("clean/nvmath", "nvmath", "nvmath", NVMATH),
    Setup(
        "clean/cuquantum",
        "cuquantum",
        "cuquantum",
        "from cuquantum.bindings import custatevec, cutensornet; print('ok', custatevec.get_version())",
    ),
    Setup("clean/xgboost", "xgboost", "xgboost", "import xgboost; print('ok', xgboost.__version__)"),
    Setup("clean/dali", "dali", "dali", DALI),
    Setup("clean/torchvision", "torch-2.8-tv", "torchvision", TORCH + "; import torchvision"),
    Setup("bare-name/onnxruntime-1.31", "ort-1.31", "onnxruntime", ONNX, "libcu|CUDA 13", "ort-cuda-ep-missing-lib", driver=0),
    Setup("bare-name/onnxruntime-1.23", "ort-1.23", "onnxruntime", ONNX, "libcu|CUDA 12", "ort-cuda-ep-missing-lib", driver=0),
    Setup(
        "bare-name/ctranslate2",
        "ct2-4.6.2",
        "ctranslate2",
        CT2,
        "libcudnn_ops|libcublas",
        "cudnn9-sublib-not-found|bare-name-dlopen-consumers",
    ),
    # It opens cuDNN when a kernel asks for it, and no wheel of its environment has any.
    Setup(
        "missing/paddle-cudnn",
        "paddle",
        "paddle",
        "import paddle; print('ok', paddle.__version__)",
        finding="bare-name-dlopen-consumers|optional-lib-missing|library-not-found",
        healed=False,
    ),
    Setup(
        "two-majors/cupy-of-both",
        "cupy12-ort13",
        "cupy",
        CUPY,
        "libcublas",
        # ONNX Runtime, which is for the other major, finds nothing either; CuPy is named beside it.
        "ort-cuda-ep-missing-lib",
    ),
    Setup("two-majors/onnxruntime-of-both", "cupy12-ort13", "onnxruntime", ONNX, "libcu|CUDA 13", "ort-cuda-ep-missing-lib", driver=0),
    Setup(
        "two-majors/torch-beside-tensorflow",
        "tf-torch",
        "torch",
        TORCH,
        # It works on the cuDNN and NCCL of the other, which wrote over its own.
        finding="pip-cu12-cu13-overwrite",
    ),
    # ONNX Runtime alone finds nothing; torch, which is asked about, loads.
    Setup(
        "beside/torch-of-torch-and-onnxruntime",
        "torch-2.8-ort",
        "torch",
        TORCH,
        finding="ort-cuda-ep-missing-lib",
        goes_on=True,
    ),
    Setup(
        "first/dali-nvimgcodec-0.3",
        "dali",
        "dali",
        DALI,
        "check the version of nvimgcodec",
        "parts-of-two-releases|library-older-wins",
        first=("poison-nvimgcodec-0.3",),
    ),
    # cuda-pathfinder opens the wheels by path: the other is never found.
    Setup("first/cupy-nvjitlink-12.1", "cupy12-14.2", "cupy", CUPY, first=("poison-nvjitlink-12.1",)),
    # torch 2.8 opens the wheel's file by path when it starts; for an earlier one see `mixes`.
    Setup("first/torch-nvjitlink-12.1", "torch-2.8-tv", "torch", TORCH, first=("poison-nvjitlink-12.1",)),
    Setup(
        "first/tensorflow-cudnn-9.1",
        "tf-2.21",
        "tensorflow",
        TENSORFLOW,
        "no GPU",
        "tf-cannot-dlopen",
        goes_on=True,
        driver=1,
        first=("poison-cudnn-9.1",),
    ),
    # It opens the wheels by path, but cuDNN's graph library, which has a RUNPATH, opens its engines by name when a GPU is used.
    Setup(
        "first/jax-cudnn-9.1",
        "jax-cu12-0.10.2",
        "jax",
        JAX.format(12),
        finding="cudnn9-torn-set",
        first=("poison-cudnn-9.1",),
    ),
    Setup("first/faiss-cublas-12.1", "faiss", "faiss", "import faiss; print('ok')", first=("poison-cublas-12.1",)),
    Setup(
        "missing/jax-cudnn",
        "jax-cu12-0.10.2",
        "jax",
        JAX.format(12),
        "cudnn|cuDNN",
        "jax-library-unloadable",
        goes_on=True,
        healed=False,
        missing="cudnn",
    ),
    Setup(
        "missing/cudf-nvcomp",
        "cudf12-26.10",
        "cudf",
        CUDF,
        "libnvcomp",
        "library-not-found|optional-lib-missing",
        healed=False,
        missing="libnvcomp",
    ),
    Setup(
        "missing/onnxruntime-curand",
        "ort-1.31",
        "onnxruntime",
        ONNX,
        "libcu|CUDA 13",
        "ort-cuda-ep-missing-lib",
        healed=False,
        driver=0,
        missing="curand",
    ),
    Setup(
        "missing/numba-nvrtc",
        "numba-cuda",
        "numba-cuda",
        NUMBA,
        "nvrtc",
        "library-not-found|optional-lib-missing|bare-name-dlopen-consumers",
        healed=False,
        driver=1,
        missing="cuda_nvrtc",
    ),
    Setup(
        "missing/cupy-cufft",
        "cupy12-14.2",
        "cupy",
        "import cupy; from cupy.cuda import cufft; print('ok')",
        "libcufft",
        "optional-lib-missing",
        goes_on=True,
        healed=False,
        missing="cufft",
    ),
    Setup(
        "missing/torch-cusparselt",
        "torch-2.8-tv",
        "torch",
        TORCH,
        "libcusparseLt",
        "optional-lib-missing",
        healed=False,
        missing="cusparselt",
    ),
]
