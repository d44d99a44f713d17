"""The first line that `cudashim doctor` prints to type is typed, and must heal.

Each case is a copy of a clean environment of real wheels, broken by one recipe. It is shown to fail bare: at import, or
where the framework opens a library later, which without a GPU is done by opening the very file it would open. Then the
first `$ ` line of `doctor`'s page is executed as it stands, by bash, in the variables of the broken environment; a line
that starts one command starts the failing one. What failed must work then, and `doctor`, asked from there, must no
longer have that finding, nor a fatal one that was not there before. Gives rows for the table of `run`, with what was
told and typed.

A file of a copy is a hard link to that of the clean environment: it is replaced, never written to. What uv installs with
`--reinstall` it fetches again, and keeps the old: `uv cache prune` gives back some GB after a run.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Iterator, Optional

import judge
from environments import Environment, clean_environment, copy_links, environment, link_tree, needs
from judge import Row

# What a line has where the user's own program is to stand.
PROGRAM = "your_script.py"
TYPED = re.compile(r"^.*?(?:^|\s)\$ (.+)$", re.MULTILINE)
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\n"

# What breaks a copy: it gets the copy, and the scratch directory.
Recipe = Callable[["Copy"], None]


# --- a copy, and what is done to it ---


@dataclass
class Copy:
    """An environment that may be broken."""

    env: Environment
    pip: bool

    def wheels(self, *words: str) -> None:
        """What somebody types who knows better than the pins."""
        tool = [self.env.python, "-m", "pip"] if self.pip else [needs("uv"), "pip"]
        verb, words = words[0], words[1:]
        options = {"install": ["--no-deps"], "uninstall": ["--yes"] if self.pip else []}[verb]
        where = [] if self.pip else ["--python", self.env.python]
        command = [*tool, verb, "--quiet", *where, *options, *words]
        done = subprocess.run(command, env=clean_environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{verb} {' '.join(words)}: {done.stderr.strip()}")

    def put(self, name: str, content: Optional[bytes]) -> None:
        """Another file, or none, in the place of one."""
        file = self.env.site / name
        if content is None or file.exists():
            file.unlink()
        if content is not None:
            file.write_bytes(content)


def install(*wheels: str) -> Recipe:
    return lambda copy: copy.wheels("install", *wheels)


def uninstall(*wheels: str) -> Recipe:
    return lambda copy: copy.wheels("uninstall", *wheels)


def cut(name: str, size: int) -> Recipe:
    """A download or a disk that ended early."""

    def recipe(copy: Copy) -> None:
        with open(copy.env.site / name, "rb") as file:
            content = file.read(size)
        copy.put(name, content)

    return recipe


def put(name: str, content: Optional[bytes]) -> Recipe:
    return lambda copy: copy.put(name, content)


def replace(name: str, other: str) -> Recipe:
    """A library of another release, copied over."""
    return lambda copy: copy.put(name, (environment(other).site / name).read_bytes())


def copied(base: str, directory: Path, pip: bool) -> Copy:
    """An environment of its own, made by its tool, with the wheels of a clean one."""
    clean = environment(base)
    own = directory / "env"
    python = (clean.root / "bin/python").resolve()
    if pip:
        command = [python, "-m", "venv", "--without-pip", own]
    else:
        command = [needs("uv"), "venv", "--quiet", "--python", python, own]
    subprocess.run(command, env=clean_environment(), check=True)
    env = Environment(own)
    for path in clean.site.iterdir():
        if not (env.site / path.name).exists():
            copy_links(path, env.site / path.name)
    for path in (clean.root / "bin").iterdir():
        target = own / "bin" / path.name
        if not target.exists() and path.is_file():
            text = path.read_bytes().replace(os.fsencode(clean.root), os.fsencode(own))
            target.write_bytes(text)
            target.chmod(0o755)
    return Copy(env, pip)


# --- a case ---


@dataclass
class Heal:
    """An environment broken by a recipe, and what shows it."""

    name: str
    base: str
    # How it fails bare.
    fails: str
    breaks: list = field(default_factory=list)
    # Steps of the witness, for the environment as it was before it was broken.
    steps: Callable[[Environment], list] = lambda env: torch(env)
    variables: Callable[[Copy], dict] = lambda copy: {}
    pip: bool = False
    scratch: Path = Path("/")

    def judge(self, cudashim: Path) -> Row:
        row = Row(self.name, {}, judge.OK)
        with tempfile.TemporaryDirectory(prefix="heal-", dir=self.scratch) as directory:
            self.compare(row, Shell(cudashim, Path(directory)))
        row.verdict = judge.WRONG if row.complaints else judge.OK
        return row

    def compare(self, row: Row, shell: Shell) -> None:
        copy = copied(self.base, shell.directory, self.pip)
        steps = self.steps(copy.env)
        for recipe in self.breaks:
            recipe(copy)
        shell.env.update(self.variables(copy))
        doctor = ["cudashim", "doctor", "--python", str(copy.env.root)]
        bare = shell.witness(copy.env.python, steps)
        row.cells["bare"] = judge.shorten(bare.text)
        if not bare.failed or not re.search(self.fails, f"{bare.text}\n{bare.stderr}"):
            row.complaints.append(f"bare: {bare.text}, not /{self.fails}/")
        page, found = shell.ask(doctor), shell.ask([*doctor, "--format", "json"])
        typed = TYPED.search(page.stdout)
        line = typed.group(1).strip() if typed else None
        before = findings(found.stdout)
        healed = of_line(line, before)
        row.page = page.stdout + page.stderr
        shown = line.replace(str(copy.env.root), "ENV") if line else "-"
        row.told = (healed, shown, "no")
        if line is None:
            row.complaints.append("doctor prints no line to type")
            return
        after = shell.witness(copy.env.python, [*steps, ["doctor", *doctor, "--format", "json"]], line)
        row.cells["run"] = judge.shorten(after.text)
        if after.failed:
            row.complaints.append(f"the line does not heal: {after.text}")
            return
        self.compare_findings(row, healed, before, findings(after.gave[-1]))
        if not row.complaints:
            row.told = (*row.told[:2], "yes")

    def compare_findings(self, row: Row, healed: str, before: list, after: list) -> None:
        known = {finding["id"] for finding in before}
        for finding in after:
            if finding["severity"] == "fact":
                continue
            if finding["id"] == healed:
                row.complaints.append(f"doctor still has {healed}: {finding['cause']}")
            elif finding["severity"] == "fatal" and finding["id"] not in known:
                row.complaints.append(f"doctor has another fatal finding, {finding['id']}: {finding['cause']}")


def findings(text: str) -> list:
    """Those of a page in JSON; facts about the machine are none."""
    return [finding for finding in json.loads(text)["findings"] if finding["severity"] != "fact"]


def of_line(line: Optional[str], found: list) -> str:
    """The finding that the line is to heal; the first, if there is no line."""
    ids = [finding["id"] for finding in found if line in [remedy.get("command") for remedy in finding["remedies"]]]
    return next(iter(ids or [finding["id"] for finding in found]), "-")


class Shell:
    """A user's shell: a directory of its own, variables, `cudashim` and `uv` on PATH."""

    def __init__(self, cudashim: Path, directory: Path):
        self.directory = directory
        programs = directory / "bin"
        programs.mkdir()
        (programs / "cudashim").symlink_to(cudashim)
        self.env = {
            **clean_environment(),
            "PYTHONDONTWRITEBYTECODE": "1",
            "CUDASHIM_CACHE": str(directory / "cache"),
            "PATH": f"{programs}:{os.environ['PATH']}",
        }

    def ask(self, command: list) -> subprocess.CompletedProcess:
        return subprocess.run(
            command,
            env=self.env,
            # The one that is found by the shell's PATH, not by ours.
            executable=shutil.which(command[0], path=self.env["PATH"]),
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=judge.SECONDS,
        )

    def witness(self, python: Path, steps: list, line: Optional[str] = None) -> judge.Outcome:
        """What becomes of the steps: bare, or after the line, or under the line if it starts a command."""
        out = self.directory / "answer.json"
        out.unlink(missing_ok=True)
        words = shlex.join(map(str, [judge.WITNESS, out, json.dumps(steps)]))
        start = f"exec {shlex.quote(str(python))} {words}"
        if line is None:
            script = start
        elif PROGRAM in line:
            script = line.replace(PROGRAM, words)
        elif re.match(r"cudashim run\b.* -- ", line):
            script = f"{line} {words}"
        else:
            script = f"{line}\n[ $? = 0 ] || {{ echo 'the line ends with an error' >&2; exit 97; }}\n{start}"
        code, stderr = judge.spawn(["bash", "-c", script], self.env, self.directory)
        answer = json.loads(out.read_text()) if out.exists() and out.stat().st_size else {}
        return judge.Outcome(code, answer.get("gave", []), answer.get("error"), answer.get("mapped", {}), [], stderr)


# --- what frameworks open ---


def torch(env: Environment) -> list:
    """Imports torch, then opens what it would open: its linear algebra, cuDNN's parts, NVRTC with its builtins."""
    cudnn = sorted(str(file) for file in env.site.glob("nvidia/cudnn/lib/libcudnn_*.so.*"))
    nvrtc = [str(file) for file in sorted(env.site.glob("nvidia/c*/lib/libnvrtc.so.*"))]
    late = [["load", str(env.site / "torch/lib/libtorch_cuda_linalg.so")], *(["load", file] for file in cudnn)]
    return [["torch"], ["descriptors"], *late, *(["compile", file] for file in nvrtc)]


def pinned(env: Environment) -> list:
    """What a GPU alone would tell apart: that each wheel is of the release torch asks for."""
    return [*torch(env), ["pins", "torch"]]


def major(wanted: int) -> Callable[[Environment], list]:
    """What cuDNN and NCCL are built for: it is how they find cuBLASLt and NVRTC, on a GPU."""

    def steps(env: Environment) -> list:
        libraries = (env.lib("cudnn") / "libcudnn.so.9", env.lib("nccl") / "libnccl.so.2")
        return [*torch(env), *(["major", str(library), wanted] for library in libraries)]

    return steps


def ctranslate2(env: Environment) -> list:
    """It bundles cuDNN's first library only; that opens the parts by name, as it does itself with cuBLAS."""
    bundled = next(env.site.glob("ctranslate2.libs/libcudnn-*.so.9.1.0"))
    return [["import", "ctranslate2"], ["names", "libcublas.so.12"], ["descriptors", str(bundled)]]


def step(name: str) -> Callable[[Environment], list]:
    return lambda env: [[name]]


def path_list(*directories: Path) -> dict:
    return {"LD_LIBRARY_PATH": ":".join(map(str, directories))}


def cases() -> Iterator[Heal]:
    yield from older()
    yield from newer()
    yield from majors()
    yield from missing()
    yield from files()
    yield from variables()
    yield from frameworks()


# Bases.
T28, T25, T26, T24, T23, T215 = "torch-2.8.0", "torch-2.5.1", "torch-2.6.0", "torch-2.4.1", "torch-2.3.1", "torch-2.15.0"
PIP = "pip-2.6.0"


def undefined(symbol: str) -> str:
    return rf"undefined symbol: \w*{symbol}"


def absent(soname: str) -> str:
    return f"{re.escape(soname)}: cannot open shared object file"


def older() -> Iterator[Heal]:
    """A wheel older than the one torch asks for, installed over it."""
    for base, wheel, fails in (
        (T28, "nccl-cu12==2.21.5", undefined("nccl")),
        (PIP, "nccl-cu12==2.18.1", undefined("nccl")),
        (T24, "nccl-cu12==2.18.1", undefined("nccl")),
        (T28, "nvjitlink-cu12==12.1.105", undefined("nvJitLink")),
        (T25, "nvjitlink-cu12==12.1.105", undefined("nvJitLink")),
        (PIP, "nvjitlink-cu12==12.1.105", undefined("nvJitLink")),
        (T28, "cudnn-cu12==9.1.0.70", "cuDNN version incompatibility"),
        (PIP, "cudnn-cu12==8.9.2.26", absent("libcudnn.so.9")),
        (T26, "cudnn-cu12==8.9.2.26", absent("libcudnn.so.9")),
        (T28, "cuda-runtime-cu12==12.1.105", undefined("cuda")),
        (T28, "cuda-cupti-cu12==12.1.105", undefined("cupti")),
        (T28, "cusolver-cu12==11.4.5.107", undefined("cusolver")),
        (T215, "nccl-cu13==2.27.7", undefined("ncclCommResume")),
    ):
        yield Heal(named("older", base, wheel), base, fails, [install(f"nvidia-{wheel}")], pip=base == PIP)
    # These load, and miss nothing before a GPU is used.
    for base, wheel in (
        (T28, "cusparselt-cu12==0.6.2"),
        (T28, "cublas-cu12==12.1.3.1"),
        (T25, "cublas-cu12==12.1.3.1"),
        (T28, "cusparse-cu12==12.1.0.106"),
        (T28, "cuda-nvrtc-cu12==12.1.105"),
        (T28, "cufft-cu12==11.0.2.54"),
        (PIP, "cublas-cu12==12.1.3.1"),
    ):
        yield Heal(named("older", base, wheel), base, "pins: ", [install(f"nvidia-{wheel}")], pinned, pip=base == PIP)


def newer() -> Iterator[Heal]:
    """One that is newer, so that others are too old for it, or that has another soname."""
    yield Heal("newer/cusparse", T25, undefined("nvJitLink"), [install("nvidia-cusparse-cu12==12.5.8.93")])
    yield Heal("newer/cudnn-2.3.1", T23, absent("libcudnn.so.8"), [install("nvidia-cudnn-cu12==9.1.0.70")])
    yield Heal("newer/cusolver", T25, "pins: ", [install("nvidia-cusolver-cu12==11.7.3.90")], pinned)
    yield Heal("newer/cudnn", T25, "pins: ", [install("nvidia-cudnn-cu12==9.10.2.21")], pinned)
    yield Heal("newer/nvjitlink", T25, "pins: ", [install("nvidia-nvjitlink-cu12==12.8.93")], pinned)


def majors() -> Iterator[Heal]:
    """The wheel of another CUDA, whose files have the same names in the same directory."""
    yield Heal("major/cudnn", T28, "built for CUDA 13", [install("nvidia-cudnn-cu13==9.12.0.46")], major(12))
    yield Heal("major/nccl", T28, "built for CUDA 13", [install("nvidia-nccl-cu13==2.27.7")], major(12))
    older = [install("nvidia-cudnn-cu12==9.10.2.21")]
    yield Heal("major/cudnn-2.15.0", T215, "cuDNN version incompatibility", older, major(13))
    yield Heal("major/nccl-2.15.0", T215, undefined("ncclCommResume"), [install("nvidia-nccl-cu12==2.27.3")], major(13))
    # By the other wheel's removal the files are gone that both had.
    removed = [install("nvidia-cudnn-cu13==9.12.0.46"), uninstall("nvidia-cudnn-cu13")]
    yield Heal("major/cudnn-removed", T28, absent("libcudnn.so.9"), removed, major(12))


def missing() -> Iterator[Heal]:
    """A wheel that torch needs is not there."""
    for base, wheel, soname in (
        (T28, "nvjitlink-cu12", "libnvJitLink.so.12"),
        (T28, "cublas-cu12", "libcublas.so.12"),
        (T28, "cudnn-cu12", "libcudnn.so.9"),
        (T28, "cusparselt-cu12", "libcusparseLt.so.0"),
        (T28, "nccl-cu12", "libnccl.so.2"),
        (T28, "cuda-nvrtc-cu12", "libnvrtc.so.12"),
        (T28, "cusolver-cu12", "libcusolver.so.11"),
        (T215, "cublas", "libcublas.so.13"),
        (PIP, "cublas-cu12", "libcublas.so.12"),
        (PIP, "cusparselt-cu12", "libcusparseLt.so.0"),
    ):
        yield Heal(named("missing", base, wheel), base, absent(soname), [uninstall(f"nvidia-{wheel}")], pip=base == PIP)
    runtime = [uninstall("nvidia-cuda-runtime-cu12")]
    yield Heal("missing/cuda-runtime", T28, r"ValueError: libcudart\.so\.\*\[0-9\] not found", runtime)
    several = [uninstall("nvidia-cublas-cu12", "nvidia-cudnn-cu12", "nvidia-nccl-cu12")]
    yield Heal("missing/several", T25, absent("libcudnn.so.9"), several)


def files() -> Iterator[Heal]:
    """A file is not what its wheel brought."""
    cudnn, nvrtc = "nvidia/cudnn/lib/libcudnn_{}.so.9", "nvidia/cuda_nvrtc/lib/libnvrtc-builtins.so.12.8"
    fails = "SIGABRT: Invalid handle. Cannot load symbol cudnnCreateTensor"
    yield Heal("file/ops-gone", T25, fails, [put(cudnn.format("ops"), None)])
    yield Heal("file/adv-gone", T28, absent("libcudnn_adv.so.9"), [put(cudnn.format("adv"), None)])
    yield Heal("file/ops-cut", T28, "SIGBUS", [cut(cudnn.format("ops"), 1 << 20)])
    yield Heal("file/builtins-gone", T28, r"failed to open libnvrtc-builtins\.so\.12\.8", [put(nvrtc, None)])
    yield Heal("file/graph-older", T28, "cuDNN version incompatibility", [replace(cudnn.format("graph"), T25)])
    curand, cublaslt = "nvidia/curand/lib/libcurand.so.10", "nvidia/cublas/lib/libcublasLt.so.12"
    yield Heal("file/curand-empty", T25, r"libcurand\.so\.10: file too short", [put(curand, b"")])
    yield Heal("file/curand-cut-pip", PIP, "SIGBUS", [cut(curand, 1 << 20)], pip=True)
    yield Heal("file/cublaslt-text", T24, r"libcublasLt\.so\.12: invalid ELF header", [put(cublaslt, LFS)])
    yield Heal("file/cusolver-older", T28, undefined("cusolver"), [replace("nvidia/cusolver/lib/libcusolver.so.11", T24)])


def variables() -> Iterator[Heal]:
    """The environment is sound; a variable leads elsewhere."""
    linker, nccl = environment("nvjitlink-12.1").lib("nvjitlink"), environment("nccl-2.18.1").lib("nccl")

    def preload(library: Path) -> Callable[[Copy], dict]:
        return lambda copy: {"LD_PRELOAD": str(library)}

    yield Heal("variable/nvjitlink", T25, undefined("nvJitLink"), variables=lambda copy: path_list(linker))
    # The library of an older solver, which torch's linear algebra meets when it is opened.
    cusolver = environment(T24).lib("cusolver") / "libcusolver.so.11"
    yield Heal("variable/preload-cusolver", T28, undefined("cusolver"), variables=preload(cusolver))
    yield Heal("variable/preload-nccl", T28, undefined("ncclMemFree"), variables=preload(nccl / "libnccl.so.2"))
    yield Heal("variable/preload-pip", PIP, undefined("nvJitLink"), variables=preload(linker / "libnvJitLink.so.12"), pip=True)
    yield Heal("variable/toolkit", T28, "cuDNN version incompatibility", variables=toolkit)
    yield Heal("variable/conda", T25, undefined("nvJitLink"), variables=conda)
    yield Heal("variable/two-torches", T25, "libcusparseLt", variables=two_torches)


def frameworks() -> Iterator[Heal]:
    """Others than torch."""
    cublas, cudnn = uninstall("nvidia-cublas-cu12"), uninstall("nvidia-cudnn-cu12")
    yield Heal("ort/names", "ort-1.22.0", absent("libcublasLt.so.12"), steps=step("provider"))
    yield Heal("ort/cublas", "ort-1.22.0", absent("libcublasLt.so.12"), [cublas], step("provider"))
    yield Heal("ct2/names", "ct2-4.6.0", absent("libcublas.so.12"), steps=ctranslate2)
    yield Heal("ct2/cublas", "ct2-4.6.0", absent("libcublas.so.12"), [cublas], ctranslate2)
    yield Heal("cupy/nvrtc", "cupy-14.2.0", "NVRTC|nvrtc", [uninstall("nvidia-cuda-nvrtc-cu12")], step("cupy"))
    yield Heal("jax/cudnn", "jax-0.7.2", "cuDNN", [cudnn], step("jax"))
    yield Heal("jax/cublas", "jax-0.7.2", "cuBLAS", [cublas], step("jax"))
    yield Heal("jax/cufft-empty", "jax-0.7.2", "cuFFT", [put("nvidia/cufft/lib/libcufft.so.11", b"")], step("jax"))
    yield Heal("tf/cudnn", "tf-2.20.0", "cudnnGetVersion", [cudnn], step("tensorflow"))
    yield Heal("tf/cublas", "tf-2.20.0", "cublasLtGetVersion", [cublas], step("tensorflow"))


def named(kind: str, base: str, wheel: str) -> str:
    """`kind/library`, with the base where that is not the usual one."""
    library = re.sub(r"(-cu1\d)?(==.*)?$", "", wheel)
    return f"{kind}/{library}" if base == T28 else f"{kind}/{library}-{'pip' if base == PIP else base.split('-')[1]}"


def toolkit(copy: Copy) -> dict:
    """A toolkit with an older cuDNN unpacked into it, as NVIDIA's guides have it."""
    root = copy.env.root.parent / "usr/local/cuda-12.1"
    for wheel in ("cudnn", "cublas", "cuda_runtime"):
        link_tree(environment("torch-2.4.1").lib(wheel), root / "lib64" / wheel)
    for file in root.glob("lib64/*/*"):
        file.rename(root / "lib64" / file.name)
    return path_list(root / "lib64")


def conda(copy: Copy) -> dict:
    """The libraries of a conda environment, whose activation script puts them first."""
    root = copy.env.root.parent / "miniconda3/envs/old"
    (root / "conda-meta").mkdir(parents=True)
    (root / "conda-meta/history").touch()
    (root / "lib").mkdir()
    for directory in environment("torch-2.4.1").libs():
        for file in directory.glob("lib*"):
            os.link(file, root / "lib" / file.name)
    older = environment("nvjitlink-12.1").lib("nvjitlink") / "libnvJitLink.so.12"
    (root / "lib/libnvJitLink.so.12").unlink()
    os.link(older, root / "lib/libnvJitLink.so.12")
    return path_list(root / "lib")


def two_torches(copy: Copy) -> dict:
    """A torch of another release, without its libraries, before that of the environment."""
    other = copy.env.root.parent / "packages"
    clean = environment("torch-2.8.0").site
    for path in clean.iterdir():
        if path.name.startswith(("torch", "functorch")):
            copy_links(path, other / path.name)
    return {"PYTHONPATH": str(other)}


def heals(scratch: Path) -> Iterator[Heal]:
    for case in cases():
        case.scratch = scratch
        case.name = f"heals/{case.name}"
        yield case


HEALS = {"heals": heals}
