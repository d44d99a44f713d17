"""The forensics on real wheels: nothing is missed, no release is wrong, and what is not known is said not to be.

Takes the environments of torch and the binary; gives rows for the table of `run`. What is true is told by `find` and by
the wheels' own RECORDs, read here in another way than cudashim reads them. Writes only below the scratch directory:
the bare copies are hard links where the file system allows that.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Iterator

import judge
from environments import Environment, cache, clean_environment, environment
from judge import Row

TORCHES = ["torch-1.13.1", "torch-2.1.2", "torch-2.5.1", "torch-2.8.0", "torch-2.15.0"]

# Names of NVIDIA's libraries as they are known outside of cudashim's own tables.
LIBRARY = re.compile(
    r"lib(cuda|cudart|cublas|cublasLt|nvblas|cudnn(_[a-z_]+)?|cufft|cufftw|cufile|cufile_rdma|cupti|curand|cusolver"
    r"|cusolverMg|cusparse|cusparseLt|nccl|nvJitLink|nvToolsExt|nvfatbin|npp[a-z]*|nvjpeg|nvrtc(-builtins)?(\.alt)?"
    r"|nvperf_host|nvperf_target|pcsamplingutil|checkpoint|nvshmem_host)(-[0-9a-f]{8})?\.so(\.[0-9]+)*"
    r"|nvshmem_(bootstrap|transport)_[a-z0-9]+\.so(\.[0-9]+)*"
)
# In the wheel of CUPTI 11 and later, and left out on purpose (data/families.tsv).
LEFT_OUT = re.compile(r"lib(OpenCL|accinj64|cuinj64)\.so.*")
# Whose own number is that of the CUDA release; the rest of the toolkit is of the release of its runtime.
NUMBERED = {"cuda_runtime", "cuda_cupti", "cuda_nvrtc", "nvjitlink", "nvtx", "cuda_nvcc"}
OWN = {"cudnn", "nccl", "cusparselt", "nvshmem"}

# How the bare copies lie, and which part of them must be right: all of an environment in one directory; each wheel in
# one; each file in one. What stands alone can often not be known, but must not be thought to be known.
BARE = {"environment": 0.95, "wheel": 0.85, "file": 0.5}


def scan(cudashim: Path, *arguments, environment: dict | None = None) -> dict:
    command = [cudashim, "scan", "--format", "json", *arguments]
    done = subprocess.run(
        command,
        env=environment or clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        timeout=judge.SECONDS,
    )
    if done.returncode:
        raise RuntimeError(f"scan ended with {done.returncode}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def found(root: Path) -> dict[tuple, list[Path]]:
    """What `find` knows: the paths of each file that is called like a library."""
    listed = subprocess.run(["find", root, "-name", "*.so*", "-not", "-type", "d", "-print0"], stdout=subprocess.PIPE, check=True)
    files: dict[tuple, list[Path]] = {}
    for name in listed.stdout.split(b"\0"):
        path = Path(os.fsdecode(name))
        if name and LIBRARY.fullmatch(path.name):
            stat = path.stat()
            files.setdefault((stat.st_dev, stat.st_ino), []).append(path)
    return files


def wheels(site: Path) -> Iterator[tuple[Path, str, str]]:
    """Each library that one of NVIDIA's wheels records: the file, the wheel's name without its CUDA, its version."""
    for dist in sorted(site.glob("nvidia_*.dist-info")):
        wheel, version = dist.name[: -len(".dist-info")].rsplit("-", 1)
        for line in (dist / "RECORD").read_text().splitlines():
            path = line.rsplit(",", 2)[0]
            name = path.rsplit("/", 1)[-1]
            if path.startswith("nvidia/") and re.search(r"\.so(\.[0-9]+)*$", name) and not LEFT_OUT.fullmatch(name):
                yield site / path, re.sub(r"^nvidia_|_cu\d+$", "", wheel), version


def truth(env: Environment) -> dict[Path, tuple[str, str | None]]:
    """Of each library of NVIDIA's wheels its release, and the CUDA it is of: major.minor, as far as wheels tell."""
    known = list(wheels(env.site))
    runtime = next(version for _, wheel, version in known if wheel == "cuda_runtime")
    told = {}
    for path, wheel, version in known:
        cuda = None if wheel in OWN else version if wheel in NUMBERED else runtime
        told[path] = (version, cuda and ".".join(cuda.split(".")[:2]))
    return told


def parts(version: str | None) -> list[str]:
    return version.split(".") if version else []


def agree(one: str | None, other: str | None) -> bool:
    """Whether both can be true: one begins the other."""
    shorter = min(len(parts(one)), len(parts(other)))
    return parts(one)[:shorter] == parts(other)[:shorter]


class Listed:
    """Every file once, each with the release of its wheel."""

    name = "scan"

    def judge(self, cudashim: Path) -> Row:
        row = Row(self.name, {}, judge.OK)
        environments = [environment(name) for name in TORCHES]
        report = scan(cudashim, *(env.root for env in environments))
        by_path: dict[str, list[dict]] = {}
        for library in report["libraries"]:
            for path in library["names"]:
                by_path.setdefault(path, []).append(library)
        paths = Counter(library["path"] for library in report["libraries"])
        row.complaints += [f"{path} is listed {count} times" for path, count in paths.items() if count > 1]
        files, versions = 0, 0
        for env in environments:
            for names in found(env.root).values():
                files += 1
                listed = {id(library) for name in names for library in by_path.get(str(name), [])}
                if len(listed) != 1:
                    row.complaints.append(f"{names[0]} is listed {len(listed)} times")
            for path, (version, cuda) in truth(env).items():
                library = next(iter(by_path.get(str(path), [])), None)
                versions += 1
                if library is None:
                    row.complaints.append(f"{path} is recorded by a wheel, and not listed")
                elif (library["version"], library["confidence"]) != (version, "certain"):
                    row.complaints.append(f"{path} is said to be {library['version']}, its wheel is {version}")
                elif cuda and library["cuda"] and not agree(library["cuda"], cuda):
                    row.complaints.append(f"{path} is said to be for CUDA {library['cuda']}, it is of {cuda}")
        row.cells["run"] = f"{files} files once, {versions} releases"
        row.verdict = judge.WRONG if row.complaints else judge.OK
        return row


class Bare:
    """The same files without their metadata."""

    def __init__(self, scratch: Path, layout: str):
        self.name, self.scratch, self.layout = f"bare/{layout}", scratch / layout, layout

    def judge(self, cudashim: Path) -> Row:
        row = Row(self.name, {}, judge.OK)
        expected: dict[str, tuple[str, str | None]] = {}
        for name in TORCHES:
            env = environment(name)
            known = truth(env)
            wheels = sorted({path.parent for path in known})
            for count, (path, told) in enumerate(known.items()):
                # Directories whose names tell nothing.
                where = {"environment": ".", "wheel": f"wheel-{wheels.index(path.parent)}", "file": f"file-{count}"}[self.layout]
                target = self.scratch / "bare" / f"env-{TORCHES.index(name)}" / where / path.name
                target.parent.mkdir(parents=True, exist_ok=True)
                try:
                    os.link(path, target)
                except OSError:
                    shutil.copyfile(path, target)
                expected[str(target)] = told
        report = scan(cudashim, self.scratch / "bare")
        libraries = {path: library for library in report["libraries"] for path in library["names"]}
        counts = Counter()
        for path, (version, cuda) in expected.items():
            library = libraries.get(path)
            if library is None:
                row.complaints.append(f"{path} is not listed")
                continue
            verdict = self.verdict(library, version, cuda)
            counts[verdict] += 1
            says = f"{library['version']} for CUDA {library['cuda']}, {library['confidence']}; it is {version} of CUDA {cuda}"
            if verdict == "wrong":
                row.complaints.append(f"{path} is said to be {says}")
            elif verdict != "right":
                judge.note(f"{verdict}: {path.removeprefix(str(self.scratch))} is said to be {says}")
        right = counts["right"] / max(sum(counts.values()), 1)
        row.cells["run"] = ", ".join([f"{right:.1%} right", *(f"{count} {verdict}" for verdict, count in sorted(counts.items()))])
        if right < BARE[self.layout]:
            row.complaints.append(f"{right:.1%} are right, {BARE[self.layout]:.0%} are to be")
        row.verdict = judge.WRONG if row.complaints else judge.OK
        return row

    @staticmethod
    def verdict(library: dict, version: str, cuda: str | None) -> str:
        """`right` to the CUDA minor (to the own minor, for what is numbered by itself); `wrong` where it is said with
        confidence; `missed` where it is said to be a guess, and is wrong; else `unsure`."""
        said, said_cuda = library["version"], library["cuda"]
        sure = library["confidence"] != "unsure"
        contradicts = not agree(said, version) or bool(cuda and said_cuda and not agree(said_cuda, cuda))
        if contradicts:
            return "wrong" if sure else "missed"
        if len(parts(said)) >= 2 or (cuda and len(parts(said_cuda)) >= 2):
            return "right"
        return "unsure"


class Overwritten:
    """Wheels of two majors installed over each other with `--target`: the files that both record are named."""

    name = "overwritten"
    WHEELS = ["nvidia-nvshmem-cu12==3.4.5", "nvidia-nvshmem-cu13==3.4.5"]

    def judge(self, cudashim: Path) -> Row:
        row = Row(self.name, {}, judge.OK)
        target = self.install()
        recorded: dict[str, set] = {}
        for dist in target.glob("*.dist-info"):
            for line in (dist / "RECORD").read_text().splitlines():
                path, digest, _ = line.rsplit(",", 2)
                if LIBRARY.fullmatch(path.rsplit("/", 1)[-1]):
                    recorded.setdefault(path, set()).add(digest)
        expected = {str(target / path) for path, digests in recorded.items() if len(digests) > 1}
        if not expected:
            row.complaints.append("the wheels record no path with different files")
        for arguments in ([], ["--hash"]):
            report = scan(cudashim, *arguments, target)
            problems = [problem for problem in report["problems"] if problem["id"] == "pip-cu12-cu13-overwrite"]
            named = {problem["path"] for problem in problems}
            row.complaints += [f"{path} is overwritten, and not named" for path in sorted(expected - named)]
            row.complaints += [f"{path} is named, and not overwritten" for path in sorted(named - expected) if LIBRARY.fullmatch(Path(path).name)]
            row.complaints += [f"{problem['path']}: {problem['says']}" for problem in problems if not all(major in problem["says"] for major in ("cu12", "cu13"))]
        row.cells["run"] = f"{len(named)} named"
        row.verdict = judge.WRONG if row.complaints else judge.OK
        return row

    def install(self) -> Path:
        target = cache() / "overwritten"
        if not (cache() / ".overwritten.done").exists():
            shutil.rmtree(target, ignore_errors=True)
            command = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps", "--target", target]
            done = subprocess.run([*command, *self.WHEELS], env=clean_environment(), stdin=subprocess.DEVNULL, stdout=sys.stderr)
            if done.returncode:
                raise RuntimeError(f"pip ended with {done.returncode}")
            (cache() / ".overwritten.done").touch()
        return target


def scan_row(scratch: Path) -> Iterator[Listed]:
    yield Listed()


def bare(scratch: Path) -> Iterator[Bare]:
    for layout in BARE:
        yield Bare(scratch, layout)


def overwritten(scratch: Path) -> Iterator[Overwritten]:
    yield Overwritten()


SCANS = {"scan": scan_row, "bare": bare, "overwritten": overwritten}
