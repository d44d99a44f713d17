"""Virtual environments of real wheels, made once and kept outside the repository.

Takes an environment's name; gives its directory, made with `uv` where that is on PATH, else with `venv` and
`pip`. `.done` marks one that is complete. Also makes what rows need besides: copies of an environment in file
symlinks, and libraries with a soname and no symbols. Never changes an environment that is complete.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

PYTHON = "3.11"

# As torch 2.8.0 has them: for other frameworks, so that the disk has each once.
CUDA_12 = {
    "cublas": "12.8.4.1",
    "cuda-cupti": "12.8.90",
    "cuda-nvcc": "12.8.93",
    "cuda-nvrtc": "12.8.93",
    "cuda-runtime": "12.8.90",
    "cudnn": "9.10.2.21",
    "cufft": "11.3.3.83",
    "curand": "10.3.9.90",
    "cusolver": "11.7.3.90",
    "cusparse": "12.5.8.93",
    "nccl": "2.27.3",
    "nvjitlink": "12.8.93",
}


def cuda_12(names: str) -> list[str]:
    return [f"nvidia-{name}-cu12=={CUDA_12[name]}" for name in names.split()]


# Name: what is installed; with `--no-deps` first where the wheels named are all that is wanted.
WHEELS = {
    "torch-1.13.1": ["torch==1.13.1"],
    "torch-2.1.2": ["torch==2.1.2"],
    "torch-2.3.1": ["torch==2.3.1"],
    "torch-2.4.1": ["torch==2.4.1"],
    "torch-2.5.1": ["torch==2.5.1"],
    "torch-2.6.0": ["torch==2.6.0"],
    "torch-2.8.0": ["torch==2.8.0"],
    "torch-2.15.0": ["torch==2.15.0"],
    # By pip, as who has no uv; it is in the environment, then.
    "pip-2.6.0": ["--with-pip", "torch==2.6.0"],
    "nvjitlink-12.1": ["--no-deps", "nvidia-nvjitlink-cu12==12.1.105"],
    "cudnn-9.1.0": ["--no-deps", "nvidia-cudnn-cu12==9.1.0.70"],
    "nccl-2.18.1": ["--no-deps", "nvidia-nccl-cu12==2.18.1"],
    "ct2-4.5.0": ["ctranslate2==4.5.0", "nvidia-cudnn-cu12==9.1.0.70"],
    "ct2-4.6.0": ["ctranslate2==4.6.0", "nvidia-cudnn-cu12==9.1.0.70", *cuda_12("cublas cuda-nvrtc")],
    "ort-1.22.0": ["onnxruntime-gpu==1.22.0", *cuda_12("cublas cuda-nvrtc cuda-runtime cudnn cufft curand nvjitlink")],
    "cupy-14.2.0": [
        "cupy-cuda12x==14.2.0",
        *cuda_12("cublas cuda-nvrtc cuda-runtime cufft curand cusolver cusparse nvjitlink"),
    ],
    "jax-0.7.2": ["jax[cuda12]==0.7.2", *cuda_12(" ".join(CUDA_12))],
    "tf-2.20.0": ["tensorflow[and-cuda]==2.20.0", *cuda_12(" ".join(CUDA_12))],
    # torch's environment lends it the rest: see programs.py.
    "programs": ["pytest", "ipykernel", "jupyter_client", "numpy", "uv"],
    "enable-2.5.1": ["torch==2.5.1", "numpy", "pytest", "pytest-xdist", "ipykernel", "nbclient"],
    "setproctitle": ["setproctitle"],
    # Tools in environments of their own.
    "poetry": ["poetry"],
    "tox": ["tox", "tox-uv", "uv"],
    "symlink-2.5.1": ["--link-mode", "symlink", "torch==2.5.1"],
    "editable-2.5.1": ["torch==2.5.1", "--editable", "{root}/editable"],
    "small-12.1": [
        "--no-deps",
        "nvidia-cuda-nvrtc-cu12==12.1.105",
        "nvidia-cuda-runtime-cu12==12.1.105",
        "nvidia-nvjitlink-cu12==12.1.105",
    ],
    "small-12.4": [
        "--no-deps",
        "nvidia-cuda-nvrtc-cu12==12.4.127",
        "nvidia-cuda-runtime-cu12==12.4.127",
        "nvidia-cusparse-cu12==12.3.1.170",
        "nvidia-nvjitlink-cu12==12.4.127",
    ],
}


# setuptools finds a package that is named so by code of its own, which a `.pth` file starts.
EDITABLE = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "editable-one"
version = "1"
[tool.setuptools]
packages = ["editable_one"]
package-dir = { editable_one = "code" }
"""


class Missing(Exception):
    """Something this machine lacks, so that a row cannot be judged here."""


def cache() -> Path:
    given = os.environ.get("CUDASHIM_REAL_CACHE")
    if given:
        return Path(given).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base).absolute() / "cudashim-real"


class Environment:
    """One virtual environment."""

    def __init__(self, root: Path):
        self.root = root

    @property
    def python(self) -> Path:
        return self.root / "bin/python"

    @property
    def site(self) -> Path:
        found = sorted(self.root.glob("lib/python3*/site-packages"))
        if not found:
            raise Missing(f"{self.root} has no site-packages")
        return found[0]

    def libs(self) -> list[Path]:
        """The directories that hold NVIDIA's libraries."""
        return sorted({file.parent for file in self.site.glob("nvidia/*/lib/*.so*")})

    def lib(self, name: str) -> Path:
        """The directory of one of NVIDIA's packages, such as `cudnn`."""
        return self.site / "nvidia" / name / "lib"


def environment(name: str) -> Environment:
    """The environment of that name, made if it is not there."""
    root = cache() / name
    root.parent.mkdir(parents=True, exist_ok=True)
    with open(cache() / f".{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (root / ".done").exists():
            print(f"making {root}: {' '.join(WHEELS[name])}", file=sys.stderr, flush=True)
            make(root, WHEELS[name])
            (root / ".done").touch()
    return Environment(root)


def make(root: Path, wheels: list[str]) -> None:
    shutil.rmtree(root, ignore_errors=True)
    python = root / "bin/python"
    if "--editable" in wheels:
        (root / "editable/code").mkdir(parents=True)
        (root / "editable/pyproject.toml").write_text(EDITABLE)
        (root / "editable/code/__init__.py").touch()
        wheels = [word.format(root=root) for word in wheels]
    if "--link-mode" in wheels:
        needs("uv")
    by_pip = "--with-pip" in wheels
    wheels = [word for word in wheels if word != "--with-pip"]
    if shutil.which("uv") and not by_pip:
        commands = [["uv", "venv", "-q", "--allow-existing", "--python", PYTHON, root], ["uv", "pip", "install", "-q", "--python", python, *wheels]]
    else:
        # Where there is no such Python, ours may do: not every wheel is made for each.
        base = shutil.which(f"python{PYTHON}") or sys.executable
        commands = [[base, "-m", "venv", root], [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *wheels]]
    for command in commands:
        done = subprocess.run(command, env=clean_environment(), stdin=subprocess.DEVNULL, stdout=sys.stderr)
        if done.returncode:
            raise RuntimeError(f"`{' '.join(map(str, command))}` ended with {done.returncode}")


def clean_environment() -> dict[str, str]:
    """Ours, without what changes which libraries or modules are found."""
    starts = ("LD_", "CUDA", "CUDNN", "CONDA", "PYTHON", "VIRTUAL_ENV", "GLIBC_TUNABLES")
    return {name: value for name, value in os.environ.items() if not name.startswith(starts)}


def needs(program: str) -> str:
    found = shutil.which(program)
    if not found:
        raise Missing(f"there is no {program}")
    return found


def uv(*words: str) -> str:
    """What uv answers."""
    return subprocess.run([needs("uv"), *words], check=True, capture_output=True, text=True).stdout.strip()


def copy_links(source: Path, target: Path, without: tuple[str, ...] = ()) -> Path:
    """A copy in hard links, where the disk has them: the same files by other names."""

    def copy(source: str, target: str) -> None:
        try:
            os.link(source, target, follow_symlinks=False)
        except OSError:
            shutil.copy2(source, target, follow_symlinks=False)

    if source.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        copy(str(source), str(target))
    else:
        shutil.copytree(source, target, symlinks=True, copy_function=copy, ignore=shutil.ignore_patterns(*without))
    return target


def link_tree(source: Path, target: Path, without: tuple[str, ...] = ()) -> Path:
    """A copy of a directory in which every file is a symlink, as `cp -rs` makes it.

    A symlink to the directory would not do: ld.so takes `$ORIGIN` from the path it opened, and `..` from there
    leads to the real parent, where everything is still in its place.
    """
    if source.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(source)
        return target
    left_out = {source / path for path in without}

    def ignored(directory: str, names: list[str]) -> list[str]:
        # The environment's lib64 is lib again; that of libNVVM's wheel is its only one.
        again = source / "lib64"
        return [name for name in names if Path(directory, name) in left_out or Path(directory, name) == again]

    shutil.copytree(source, target, copy_function=os.symlink, ignore=ignored)
    return target


def empty_library(directory: Path, soname: str) -> Path:
    """A library that has this soname and one version node of that name, as NVIDIA's have, and no symbols."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if not compiler:
        raise Missing("there is no C compiler")
    directory.mkdir(parents=True, exist_ok=True)
    script, out = directory / "nodes.map", directory / soname
    script.write_text(f"{soname} {{ }};\n")
    options = ["-shared", "-nostdlib", f"-Wl,-soname,{soname}", f"-Wl,--version-script={script}", "-x", "c", "/dev/null"]
    subprocess.run([compiler, *options, "-o", out], check=True)
    script.unlink()
    return out
