"""The rows: real set-ups that break, one for each class of failure, and sound ones that must stay sound.

A row is made in a scratch directory when its turn comes; its environments are made then, too.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Iterator

import environments
import judge
from environments import Environment, Missing, empty_library, environment, link_tree
from judge import Case, Expected, Row, from_one_tree

TORCH = [["torch"]]
RESULTS = {
    "torch-1.13.1": "1.13.1+cu117 8500",
    "torch-2.1.2": "2.1.2+cu121 8902",
    "torch-2.5.1": "2.5.1+cu124 90100",
    "torch-2.8.0": "2.8.0+cu128 91002",
    "torch-2.15.0": "2.15.0+cu132 92600",
}


def healed(name: str, venv: Environment, steps: list, breaks: str, gives: str, mapped=lambda mapped: [], **more) -> Case:
    """A case that fails bare, and gives the same under `run` and with the shim alone."""
    whole = Expected(gives=gives, mapped=mapped)
    return Case(name, [venv.python], steps, bare=Expected(fails=breaks), run=whole, plain=whole, **more)


def exactly(text: str) -> str:
    return re.escape(text)


def path_list(*directories: Path) -> dict:
    return {"LD_LIBRARY_PATH": ":".join(map(str, directories))}


# --- torch ---


def nvjitlink(scratch: Path) -> Iterator[Case]:
    """4: an older nvJitLink on LD_LIBRARY_PATH beats the run path of cuSPARSE."""
    env, older = environment("torch-2.5.1"), environment("nvjitlink-12.1")
    yield healed(
        "nvjitlink",
        env,
        TORCH,
        breaks="ImportError: .*undefined symbol: __nvJitLinkComplete_12_4",
        gives=exactly(RESULTS["torch-2.5.1"]),
        mapped=from_one_tree(env.site, r"libnvJitLink\.so\.12"),
        env=path_list(older.lib("nvjitlink")),
    )


def cudnn(scratch: Path) -> Iterator[Case]:
    """7: torch's cuDNN takes its parts from an older one."""
    env, older = environment("torch-2.8.0"), environment("cudnn-9.1.0")
    yield healed(
        "cudnn",
        env,
        [["torch"], ["descriptors"]],
        breaks=r"RuntimeError: cuDNN version incompatibility.*found runtime version \(9, 1, 0\)",
        gives=exactly(f"{RESULTS['torch-2.8.0']}, descriptors [0, 0]"),
        mapped=from_one_tree(env.site, r"libcudnn\.so\.9", r"libcudnn_graph\.so\.9", r"libcudnn_ops\.so\.9", r"libcudnn_cnn\.so\.9"),
        env=path_list(older.lib("cudnn")),
    )


def torn(scratch: Path) -> Iterator[Case]:
    """7, 11, 12: all of a CUDA 11 environment on LD_LIBRARY_PATH of a CUDA 12 one."""
    env, older = environment("torch-2.1.2"), environment("torch-1.13.1")
    own = from_one_tree(env.site, r"libcudnn.*", r"libcublas\.so\..*", r"libcublasLt\.so\..*")

    def complaints(mapped: dict) -> list:
        foreign = [path for paths in mapped.values() for path in paths if path.startswith(f"{older.site.resolve()}/")]
        return own(mapped) + [f"{path} is mapped" for path in foreign]

    yield healed(
        "torn",
        env,
        [["torch"], ["descriptors"]],
        breaks=r"RuntimeError: cuDNN version incompatibility.*found runtime version \(8, 5, 0\)",
        gives=exactly(f"{RESULTS['torch-2.1.2']}, descriptors [0, 0]"),
        mapped=complaints,
        env=path_list(*older.libs()),
    )


def cublaslt(scratch: Path) -> Iterator[Case]:
    """18: a cuBLASLt too old for cuBLAS; none that old can be had, so one without any symbol stands in."""
    env = environment("torch-1.13.1")
    stub = empty_library(scratch / "lib", "libcublasLt.so.11")
    yield healed(
        "cublaslt",
        env,
        TORCH,
        breaks=r"undefined symbol: cublasLt\w+, version libcublasLt\.so\.11",
        gives=exactly(RESULTS["torch-1.13.1"]),
        mapped=from_one_tree(env.site, r"libcublasLt\.so\.11", r"libcublas\.so\.11"),
        env=path_list(stub.parent),
    )


def names(scratch: Path) -> Iterator[Case]:
    """20: names without a path, before anything else has mapped the library; torch comes after."""
    asked = {
        "torch-2.1.2": ["libcublas.so.12", "libcudnn_ops_infer.so.8", "libnvrtc.so"],
        "torch-2.5.1": ["libcublas.so.12", "libcudnn_ops.so.9", "libnvrtc.so"],
        "torch-2.8.0": ["libcublas.so.12", "libcudnn_ops.so.9", "libnvrtc.so"],
        "torch-2.15.0": ["libcublas.so.13", "libcudnn_ops.so.9", "libnvrtc.so"],
    }
    for name, sonames in asked.items():
        env = environment(name)
        yield healed(
            f"names/{name}",
            env,
            [["names", *sonames], ["torch"]],
            breaks="; ".join(rf"{re.escape(soname)}: cannot open shared object file.*?" for soname in sonames),
            gives=exactly(f"3 names, {RESULTS[name]}"),
            mapped=from_one_tree(env.site, *(rf"{re.escape(soname)}.*" for soname in sonames)),
        )


def split(scratch: Path) -> Iterator[Case]:
    """34: torch in one site-packages, NVIDIA's wheels in another; a stray libcudart disarms torch's own remedy."""
    whole = environment("torch-2.5.1")
    parts = [path.name for path in whole.site.iterdir() if path.name.startswith(("torch", "functorch", "nvidia"))]
    inner = whole.site.relative_to(whole.root)
    env = Environment(link_tree(whole.root, scratch / "venv", without=tuple(str(inner / name) for name in parts)))
    for name in parts:
        link_tree(whole.site / name, scratch / ("B" if name.startswith("nvidia") else "A") / name)
    stray = scratch / "stray"
    link_tree(whole.lib("cuda_runtime") / "libcudart.so.12", stray / "libcudart.so.12")
    yield healed(
        "split",
        env,
        TORCH,
        breaks=r"libcudnn\.so\.9: cannot open shared object file",
        gives=exactly(RESULTS["torch-2.5.1"]),
        env={**path_list(stray), "PYTHONPATH": f"{scratch}/A:{scratch}/B"},
    )


def cusparselt(scratch: Path) -> Iterator[Case]:
    """37: a wheel that torch needs is not installed, but another environment has it."""
    whole = environment("torch-2.8.0")
    inner = whole.site.relative_to(whole.root)
    dist = next(path.name for path in whole.site.glob("nvidia_cusparselt_cu12-*.dist-info"))
    missing = ("nvidia/cusparselt", dist)
    env = Environment(link_tree(whole.root, scratch / "venv", without=tuple(str(inner / name) for name in missing)))
    other = scratch / "other"
    for name in missing:
        link_tree(whole.site / name, other / inner / name)
    yield healed(
        "cusparselt",
        env,
        TORCH,
        breaks=r"ImportError: libcusparseLt\.so\.0: cannot open shared object file",
        gives=exactly(RESULTS["torch-2.8.0"]),
        mapped=from_one_tree(whole.site, r"libcusparseLt\.so\.0"),
        place=other,
    )


def ctranslate2(scratch: Path) -> Iterator[Case]:
    """2: a wheel that bundles cuDNN's first library only; the parts are in another wheel."""
    env = environment("ct2-4.5.0")
    bundled = next(iter(env.site.glob("ctranslate2.libs/libcudnn-*.so.9.1.0")))
    yield healed(
        "ctranslate2",
        env,
        [["descriptors", str(bundled)]],
        breaks=r"SIGABRT(.|\n)*Unable to load any of \{libcudnn_ops\.so\.9\.1\.0",
        gives=exactly("descriptors [0, 0]"),
        mapped=from_one_tree(env.site, r"libcudnn_ops\.so\.9", r"libcudnn_cnn\.so\.9"),
    )


def nccl(scratch: Path) -> Iterator[Case]:
    """13: an older NCCL in LD_PRELOAD. What is mapped before us can only be explained, not mended."""
    env, older = environment("torch-2.8.0"), environment("nccl-2.18.1")
    library = older.lib("nccl") / "libnccl.so.2"
    fails = "ImportError: .*undefined symbol: ncclMemFree"
    for name, order in (("after", "{shim}:{preload}"), ("before", "{preload}:{shim}")):
        yield Case(
            f"nccl/{name}",
            [env.python],
            TORCH,
            bare=Expected(fails=fails),
            run=Expected(
                gives=exactly(RESULTS["torch-2.8.0"]),
                says=rf"{re.escape(str(library))}.*LD_PRELOAD",
                mapped=from_one_tree(env.site, r"libnccl\.so\.2"),
            ),
            plain=Expected(fails=fails, says=rf"is not used: {re.escape(str(library))} is already mapped"),
            preload=library,
            plain_preload=order,
        )


def clean(scratch: Path) -> Iterator[Case]:
    """A sound environment gives what it gave, and the loader searches less."""
    for name in ("torch-2.15.0", "torch-2.8.0", "torch-1.13.1"):
        env = environment(name)
        same = Expected(gives=exactly(RESULTS[name]))
        yield Case(f"clean/{name}", [env.python], TORCH, bare=same, run=same, plain=same, opens_of="import torch")


# --- small ---


def small_cusparse(scratch: Path) -> Iterator[Case]:
    """4, without torch: a library opened by its path needs what an older environment hides."""
    env, older = environment("small-12.4"), environment("small-12.1")
    yield healed(
        "small-cusparse",
        env,
        [["load", str(env.lib("cusparse") / "libcusparse.so.12")]],
        breaks=r"undefined symbol: __nvJitLink\w+_12_4, version libnvJitLink\.so\.12",
        gives=exactly("libcusparse.so.12"),
        mapped=from_one_tree(env.site, r"libcusparse\.so\.12", r"libnvJitLink\.so\.12"),
        env=path_list(older.lib("nvjitlink")),
    )


def small_names(scratch: Path) -> Iterator[Case]:
    """20, without torch: names without a path."""
    env = environment("small-12.4")
    sonames = ["libcudart.so.12", "libnvrtc.so"]
    yield healed(
        "small-names",
        env,
        [["names", *sonames], ["runtime"]],
        breaks="; ".join(rf"{re.escape(soname)}: cannot open shared object file.*?" for soname in sonames),
        gives=exactly("2 names, runtime 12040"),
        mapped=from_one_tree(env.site, r"libcudart\.so\.12", r"libnvrtc\.so\.12"),
    )


class Resolve:
    """`resolve` names every library of an environment with the version of the wheel that brought it."""

    def __init__(self, name: str, env: Environment, cache: Path):
        self.name, self.env, self.cache = name, env, cache

    def judge(self, cudashim: Path) -> Row:
        command = [cudashim, "resolve", "--python", self.env.root, "--format", "json"]
        done = subprocess.run(
            command,
            env={**environments.clean_environment(), "CUDASHIM_CACHE": str(self.cache)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            timeout=judge.SECONDS,
        )
        row = Row(self.name, {"bare": "-", "plain": "-"}, judge.OK)
        if done.returncode:
            row.complaints.append(f"resolve: exit {done.returncode}: {done.stderr.strip()}")
        else:
            chosen = {Path(library["path"]).resolve(): library for library in json.loads(done.stdout)["set"]}
            for path, version in self.wheels():
                library = chosen.get(path.resolve())
                if library is None:
                    row.complaints.append(f"resolve: {path.name} is not in the set")
                elif library["version"] != version:
                    row.complaints.append(f"resolve: {path.name} is said to be {library['version']}, its wheel is {version}")
            row.cells["run"] = f"{len(chosen)} libraries"
        row.cells.setdefault("run", "-")
        row.verdict = judge.WRONG if row.complaints else judge.OK
        return row

    def wheels(self) -> Iterator[tuple]:
        """Each library that a wheel's RECORD lists, with the wheel's version."""
        for dist in sorted(self.env.site.glob("nvidia_*.dist-info")):
            version = dist.name[: -len(".dist-info")].rsplit("-", 1)[1]
            for line in (dist / "RECORD").read_text().splitlines():
                path = line.split(",")[0]
                if re.search(r"/lib/lib[^/]*\.so[.0-9]*$", path):
                    yield self.env.site / path, version


def small_resolve(scratch: Path) -> Iterator[Resolve]:
    yield Resolve("small-resolve", environment("small-12.4"), scratch / "cache")


def small_nvrtc(scratch: Path) -> Iterator[Case]:
    """31: NVRTC found without its builtins, beside those of another minor release."""
    env, other = environment("small-12.4"), environment("small-12.1")
    lone = scratch / "lone"
    lone.mkdir()
    # A file of its own, not a symlink: that would be the very file beside its builtins.
    (lone / "libnvrtc.so.12").write_bytes((env.lib("cuda_nvrtc") / "libnvrtc.so.12").read_bytes())
    yield healed(
        "small-nvrtc",
        env,
        [["compile", "libnvrtc.so.12"]],
        breaks=r"failed to open libnvrtc-builtins\.so\.12\.4",
        gives=exactly("compiled by 12.4"),
        mapped=from_one_tree(env.site, r"libnvrtc\.so\.12", r"libnvrtc-builtins\.so\.12\.4"),
        env=path_list(lone, other.lib("cuda_nvrtc")),
    )


def small_clean(scratch: Path) -> Iterator[Case]:
    """A program that never asks for CUDA gets none."""
    nothing = Expected(gives="idle", mapped=lambda mapped: [f"{name} is mapped" for name in mapped])
    yield Case("small-clean", [environment("small-12.4").python], [["idle"]], bare=nothing, run=nothing, plain=nothing)


ROWS = {
    "nvjitlink": nvjitlink,
    "cudnn": cudnn,
    "torn": torn,
    "cublaslt": cublaslt,
    "names": names,
    "split": split,
    "cusparselt": cusparselt,
    "ctranslate2": ctranslate2,
    "nccl": nccl,
    "clean": clean,
}

SMALL = {
    "small-cusparse": small_cusparse,
    "small-names": small_names,
    "small-resolve": small_resolve,
    "small-nvrtc": small_nvrtc,
    "small-clean": small_clean,
}

__all__ = ["ROWS", "SMALL", "Missing"]
