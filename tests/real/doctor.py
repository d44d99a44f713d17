"""`cudashim doctor` on real wheels: the class of each failure is named first, the line it prints heals, and of a sound
environment nothing is told but that there is no driver.

Takes the environments of `rows`; gives rows for the table of `run`. Where a finding needs a GPU to be felt, the driver is
one on paper: recorded from a directory that looks like a machine. Writes only below the scratch directory.
"""

from __future__ import annotations

import json
import platform
import re
import shlex
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Iterator, Optional

import judge
from environments import Environment, cache, clean_environment, empty_library, environment, link_tree
from judge import Row

SOUND = "no-driver"
LINE = 160
TORCH = "import torch; print(torch.__version__, torch.backends.cudnn.version())"


@dataclass
class Doctor:
    """A set-up, and what is to be found first on it."""

    name: str
    env: Environment
    expected: str
    variables: dict = field(default_factory=dict)
    # What fails bare and must do under the line that is printed; nothing: that line is not to be tried.
    program: Optional[str] = None
    # How it fails bare; nothing: it does not, and is wrong all the same.
    fails: Optional[str] = None
    # Something that another remedy must hold.
    remedy: Optional[str] = None
    recorded: Optional[Path] = None
    scratch: Path = Path("/")
    cudashim: Path = Path("cudashim")

    def judge(self, cudashim: Path) -> Row:
        row = Row(f"doctor/{self.name}", {}, judge.OK)
        self.cudashim = cudashim
        recorded = ["--recorded", self.recorded] if self.recorded else []
        done = self.spawn([cudashim, "doctor", "--format", "json", *recorded, "--python", self.env.root])
        if done.returncode not in (0, 1):
            row.complaints.append(f"exit {done.returncode}: {done.stderr.strip()}")
        else:
            self.compare(row, json.loads(done.stdout), done.returncode)
        row.verdict = judge.WRONG if row.complaints else judge.OK
        return row

    def compare(self, row: Row, report: dict, code: int) -> None:
        findings = report["findings"]
        ids = [finding["id"] for finding in findings]
        row.cells["bare"] = judge.shorten(", ".join(ids) or "nothing")
        if ids[:1] != [self.expected]:
            row.complaints.append(f"first is {ids[:1]}, not {self.expected}")
            return
        if self.expected == SOUND:
            if ids != [SOUND] or code:
                row.complaints.append(f"exit {code}: {', '.join(ids)}")
            return
        first = findings[0]
        if code != 1:
            row.complaints.append(f"exit {code}")
        if len(first["cause"]) > LINE or "/" in first["cause"].replace("/lib", ""):
            row.complaints.append(f"not a line for people: {first['cause']}")
        lines = [remedy.get("command") or remedy.get("action") for remedy in first["remedies"]]
        if self.remedy and not any(re.search(self.remedy, line) for line in lines):
            row.complaints.append(f"no remedy is like /{self.remedy}/: {lines}")
        if self.program:
            self.heal(row, lines)

    def heal(self, row: Row, lines: list) -> None:
        bare = self.spawn([self.env.python, "-c", self.program])
        if self.fails and not (bare.returncode and re.search(self.fails, bare.stderr)):
            row.complaints.append(f"bare: exit {bare.returncode}, not /{self.fails}/")
        line = next((line for line in lines if line.startswith("cudashim run -- ")), None)
        if line is None:
            row.complaints.append(f"no line for `cudashim run`: {lines}")
            return
        words = [self.cudashim, *shlex.split(line)[1:-1], "-c", self.program]
        healed = self.spawn(words)
        row.cells["run"] = judge.shorten(healed.stdout.strip() or healed.stderr.strip())
        if healed.returncode:
            row.complaints.append(f"the line does not heal: {healed.stderr.strip().splitlines()[-1:]}")

    def spawn(self, command: list) -> subprocess.CompletedProcess:
        variables = {**clean_environment(), "PYTHONDONTWRITEBYTECODE": "1", "CUDASHIM_CACHE": str(self.scratch / "cache")}
        return subprocess.run(
            command,
            env={**variables, **self.variables},
            cwd=self.scratch,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            timeout=judge.SECONDS,
        )


def path_list(*directories: Path) -> dict:
    return {"LD_LIBRARY_PATH": ":".join(map(str, directories))}


def driver(scratch: Path, cudashim: Path, version: str = "570.86.15") -> Path:
    """A machine with a driver, on paper."""
    root = scratch / "driver"
    pci = root / "sys/bus/pci/devices/0000:01:00.0"
    files = {
        root / "sys/module/nvidia/version": f"{version}\n",
        root / "sys/module/nvidia_uvm/initstate": "live\n",
        root / "proc/driver/nvidia/version": f"NVRM version: NVIDIA UNIX Kernel Module  {version}  Tue Mar  5 22:23:56 UTC 2024\n",
        pci / "vendor": "0x10de\n",
        pci / "device": "0x2330\n",
        pci / "class": "0x030200\n",
    }
    for name in ("nvidia0", "nvidiactl", "nvidia-uvm"):
        files[root / "dev" / name] = ""
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o666)
    (pci / "driver").symlink_to("../../../../bus/pci/drivers/nvidia")
    for stem in ("cuda", "nvidia-ml", "nvidia-ptxjitcompiler"):
        dir = root / f"usr/lib/{platform.machine()}-linux-gnu"
        dir.mkdir(parents=True, exist_ok=True)
        source = dir / "source.c"
        source.write_text("int nothing;\n")
        name = f"lib{stem}.so.1"
        command = ["cc", "-shared", f"-Wl,-soname,{name}", "-o", dir / f"lib{stem}.so.{version}", source]
        subprocess.run(command, check=True)
        source.unlink()
        (dir / name).symlink_to(f"lib{stem}.so.{version}")
    record = scratch / "driver.json"
    command = [cudashim, "doctor", "--root", root, "--record", record]
    subprocess.run(command, env=clean_environment(), stdout=subprocess.DEVNULL, check=True)
    return record


class Rows:
    """All of them; the binary is known only when they are judged, and records the driver first."""

    name = "doctor"

    def __init__(self, scratch: Path):
        self.scratch = scratch

    def judge(self, cudashim: Path) -> Row:
        record = driver(self.scratch, cudashim)
        row = Row(self.name, {}, judge.OK)
        counts = {judge.OK: 0, judge.WRONG: 0}
        for case in cases(self.scratch, record):
            case.scratch = self.scratch
            judged = case.judge(cudashim)
            judge.note(f"{judged.name}: {judged.verdict}: {judged.cells.get('bare')}")
            counts[judged.verdict] += 1
            row.complaints += [f"{case.name}: {complaint}" for complaint in judged.complaints]
        row.cells["bare"] = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
        row.verdict = judge.WRONG if row.complaints else judge.OK
        return row


def cases(scratch: Path, record: Path) -> Iterator[Doctor]:
    for name in ("torch-1.13.1", "torch-2.1.2", "torch-2.5.1", "torch-2.8.0", "torch-2.15.0", "ct2-4.5.0"):
        yield Doctor(f"clean/{name}", environment(name), SOUND)
    if (cache() / "cupy").is_dir():
        yield Doctor("clean/cupy", Environment(cache() / "cupy"), SOUND)
    torch = {name: environment(f"torch-{name}") for name in ("1.13.1", "2.1.2", "2.5.1", "2.8.0", "2.15.0")}
    # It opens its whole set before anything else can.
    for name in ("1.13.1", "2.1.2", "2.5.1", "2.8.0"):
        yield Doctor(f"immune/{name}", torch["2.15.0"], SOUND, path_list(*torch[name].libs()))
    linker = path_list(environment("nvjitlink-12.1").lib("nvjitlink"))
    fails = "undefined symbol: __nvJitLinkComplete_12_4"
    yield Doctor("nvjitlink", torch["2.5.1"], "nvjitlink-older-wins", linker, TORCH, fails, "^unset LD_LIBRARY_PATH$")
    older = path_list(environment("cudnn-9.1.0").lib("cudnn"))
    fails = r"cuDNN version incompatibility"
    yield Doctor("cudnn", torch["2.8.0"], "cudnn-older-than-torch", older, TORCH, fails)
    yield Doctor("torn", torch["2.1.2"], "cudnn-older-than-torch", path_list(*torch["1.13.1"].libs()), TORCH, fails)
    newer = path_list(*torch["2.1.2"].libs())
    yield Doctor("cudnn8", torch["1.13.1"], "cudnn8-mixed-sublibs", newer, TORCH)
    for name in ("2.8.0", "2.15.0"):
        yield Doctor(f"cudnn9/{name}", torch["2.5.1"], "cudnn9-torn-set", path_list(*torch[name].libs()), TORCH)
    stub = empty_library(scratch / "lib", "libcublasLt.so.11")
    fails = r"undefined symbol: cublasLt\w+, version libcublasLt\.so\.11"
    yield Doctor("cublaslt", torch["1.13.1"], "cublaslt-older-wins", path_list(stub.parent), TORCH, fails)
    for name, library, wanted, fails in (
        ("nccl", environment("nccl-2.18.1").lib("nccl") / "libnccl.so.2", "nccl-older-wins", "ncclMemFree"),
        ("cudart", torch["2.1.2"].lib("cuda_runtime") / "libcudart.so.12", "cudart-or-cupti-older-wins", "cudaGetDriverEntryPointByVersion"),
        ("cupti", torch["2.1.2"].lib("cuda_cupti") / "libcupti.so.12", "cudart-or-cupti-older-wins", "cupti"),
        ("linker", environment("nvjitlink-12.1").lib("nvjitlink") / "libnvJitLink.so.12", "nvjitlink-older-wins", "__nvJitLink"),
    ):
        yield Doctor(f"preload/{name}", torch["2.8.0"], wanted, {"LD_PRELOAD": str(library)}, TORCH, fails, "out of LD_PRELOAD")
    # 40: the first file of that name ends the search.
    own = torch["2.5.1"].lib("nvjitlink") / "libnvJitLink.so.12"
    for name, content, fails in (
        ("short", own.read_bytes()[:30], "file too short"),
        ("text", b"version https://git-lfs.github.com/spec/v1\n" * 40, "invalid ELF header"),
    ):
        directory = scratch / name
        directory.mkdir(exist_ok=True)
        (directory / "libnvJitLink.so.12").write_bytes(content)
        yield Doctor(f"damaged/{name}", torch["2.5.1"], "truncated-or-foreign-elf", path_list(directory), TORCH, fails)
    # 26: a C++ runtime with few nodes.
    directory = scratch / "stdc++"
    directory.mkdir(exist_ok=True)
    (directory / "nodes.map").write_text("GLIBCXX_3.4 { };\n")
    options = ["-shared", "-nostdlib", "-Wl,-soname,libstdc++.so.6", f"-Wl,--version-script={directory}/nodes.map"]
    subprocess.run(["cc", *options, "-x", "c", "/dev/null", "-o", directory / "libstdc++.so.6"], check=True)
    yield Doctor("stdc++", torch["2.5.1"], "glibcxx-too-old", path_list(directory), remedy="^unset LD_LIBRARY_PATH$")
    # 39: another major under the name.
    directory = scratch / "hack"
    directory.mkdir(exist_ok=True)
    (directory / "libcublasLt.so.11").symlink_to(torch["2.1.2"].lib("cublas") / "libcublasLt.so.12")
    fails = r"version .libcublasLt\.so\.11. not found"
    yield Doctor("hack", torch["1.13.1"], "major-symlink-hack", path_list(directory), TORCH, fails)
    yield from lone_nvrtc(scratch, torch["2.5.1"])
    yield from missing(scratch, torch["2.8.0"])
    yield Doctor(
        "ctranslate2", environment("ct2-4.5.0"), "cudnn9-sublib-not-found", program="import ctranslate2", recorded=record
    )
    yield Doctor("bare-nvrtc", torch["1.13.1"], "cudnn-bare-libnvrtc-libcuda", program=TORCH, recorded=record)


def lone_nvrtc(scratch: Path, env: Environment) -> Iterator[Doctor]:
    """31: NVRTC where its builtins are not."""
    directory = scratch / "lone"
    directory.mkdir(exist_ok=True)
    (directory / "libnvrtc.so.12").write_bytes((env.lib("cuda_nvrtc") / "libnvrtc.so.12").read_bytes())
    yield Doctor("nvrtc", env, "nvrtc-builtins-missing", path_list(directory), remedy="^unset LD_LIBRARY_PATH$")


def missing(scratch: Path, whole: Environment) -> Iterator[Doctor]:
    """37: a wheel that torch needs is not installed."""
    inner = whole.site.relative_to(whole.root)
    dist = next(path.name for path in whole.site.glob("nvidia_cusparselt_cu12-*.dist-info"))
    without = tuple(str(inner / name) for name in ("nvidia/cusparselt", dist))
    env = Environment(link_tree(whole.root, scratch / "missing", without=without))
    yield Doctor("cusparselt", env, "optional-lib-missing", remedy=r"pip install .*nvidia-cusparselt-cu12==0\.7\.1$")


def doctor(scratch: Path) -> Iterator[Rows]:
    yield Rows(scratch)


DOCTORS = {"doctor": doctor}
