"""Consumers in other languages than Python, and native programs of an environment: the same library from the same place by every door.

Each asks for cuSPARSE, in the way of its language, where an older nvJitLink is on LD_LIBRARY_PATH: bare it fails. Then it writes its
/proc/self/maps to the file that $ANSWER names. What is built is built for the row; a language that is not on this machine is skipped.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Iterator, Optional

import judge
from environments import Environment, Missing, clean_environment, environment, needs
from judge import OK, SKIPPED, WRONG, Row
from witness import NVIDIA

BREAKS = r"undefined symbol: __nvJitLink|lib(cusparse\.so\.12|cufft\.so\.11): cannot open"

# For C, JNI, Node's addon and cgo alike.
MAPS = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
static void answer(void)
{
    static char part[65536];
    FILE *maps = fopen("/proc/self/maps", "r"), *out = fopen(getenv("ANSWER"), "w");
    for (size_t got; maps && out && (got = fread(part, 1, sizeof part, maps));)
        fwrite(part, 1, got, out);
    if (out)
        fclose(out);
}
static int asks(const char *name)
{
    if (!dlopen(name, RTLD_NOW)) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    answer();
    return 0;
}
"""

OPENS = MAPS + "int main(int argc, char **argv) { return asks(argv[argc - 1]); }\n"

LINKED = (
    MAPS + "const char *cusparseGetErrorName(int);\nint main(void) { return cusparseGetErrorName(0) ? (answer(), 0) : 1; }\n"
)

TWO = (
    MAPS
    + "int cudaRuntimeGetVersion(int *);\nint cufftGetVersion(int *);\n"
    + "int main(void) { int a, b; return cudaRuntimeGetVersion(&a) || cufftGetVersion(&b) ? 1 : (answer(), 0); }\n"
)

LIBTORCH = MAPS + "int main(void) { answer(); return 0; }\n"

JNI = (
    MAPS
    + '#include <jni.h>\nJNIEXPORT jint JNICALL Java_Ask_ask(JNIEnv *e, jclass c) { (void)e, (void)c; return asks("libcusparse.so.12"); }\n'
)

JAVA = """
public class Ask {
    static native int ask();
    public static void main(String[] words) throws Exception {
        System.load(words[0]);
        if (words.length == 1) System.exit(ask());
        java.nio.file.Files.copy(java.nio.file.Path.of("/proc/self/maps"), java.nio.file.Path.of(System.getenv("ANSWER")));
    }
}
"""

ADDON = (
    MAPS
    + "#include <node_api.h>\n"
    + 'NAPI_MODULE_INIT() { (void)env; if (asks("libcusparse.so.12")) exit(1); return exports; }\n'
)

# What is no addon is refused after it was loaded, and closed: it is to stay.
NODE = """
const nodelete = 0x1000;
try { process.dlopen({ exports: {} }, process.argv[2], require("os").constants.dlopen.RTLD_NOW | nodelete); }
catch (error) { if (!String(error).includes("did not self-register")) throw error; }
const fs = require("fs");
fs.writeFileSync(process.env.ANSWER, fs.readFileSync("/proc/self/maps"));
"""

CGO = (
    "package main\n/*\n#cgo LDFLAGS: -ldl\n" + MAPS + "*/\n"
    'import "C"\nimport "os"\n'
    'func main() { os.Exit(int(C.asks(C.CString("libcusparse.so.12")))) }\n'
)

RUST = """
fn main() {
    if let Err(error) = unsafe { libloading::Library::new("libcusparse.so.12") }.map(std::mem::forget) {
        eprintln!("{error}: {:?}", std::error::Error::source(&error));
        std::process::exit(1);
    }
    std::fs::write(std::env::var_os("ANSWER").unwrap(), std::fs::read("/proc/self/maps").unwrap()).unwrap();
}
"""


def built(command: list, directory: Optional[Path] = None, env: Optional[dict] = None) -> None:
    """Compiles something; a compiler that cannot is missing something."""
    needs(str(command[0]))
    words = [os.fspath(word) for word in command]
    done = subprocess.run(
        words, cwd=directory, env={**clean_environment(), **(env or {})}, capture_output=True, text=True, timeout=600
    )
    if done.returncode:
        raise Missing(f"{words[0]}: {(done.stderr or done.stdout).strip()[-300:]}")


def compiled(out: Path, source: str, *options: object) -> Path:
    out.parent.mkdir(parents=True, exist_ok=True)
    unit = out.with_suffix(".c")
    unit.write_text(source)
    built(["gcc", "-o", out, unit, *options, "-ldl"])
    return out


def shared(out: Path, source: str, *options: object) -> Path:
    return compiled(out, source, "-shared", "-fPIC", *options)


class Consumer:
    """A command line that ends by asking; its libraries must come from an environment by every door."""

    def __init__(
        self, name: str, words: list, venv: Environment, sonames: tuple = ("libcusparse.so.12", "libnvJitLink.so.12"), **more
    ):
        self.name, self.words, self.venv, self.sonames = f"doors/{name}", words, venv, sonames
        # `linked`: against CUDA, so that a preload comes too late and the loader's auditor stands in for it.
        self.linked, self.env = more.pop("linked", False), more.pop("env", {})
        self.target = ["--for", words[0]] if self.linked else ["--python", venv.root]

    def judge(self, cudashim: Path) -> Row:
        row = Row(self.name, {}, OK)
        for way in judge.WAYS:
            code, mapped, said = self.start(way, cudashim)
            places = {path.name: path for path in mapped if path.name in self.sonames}
            last = (said.strip().splitlines() or [f"exit {code}"])[-1]
            row.cells[way] = judge.shorten(last if code else f"{len(places)} libraries")
            wrong = [f"{name} is not mapped" for name in self.sonames if name not in places]
            wrong += [
                f"{path} is not of {self.venv.root}" for path in mapped if not path.is_relative_to(self.venv.site.resolve())
            ]
            wrong += [f"{name} is mapped twice" for name in self.sonames if [path.name for path in mapped].count(name) > 1]
            if way == "bare":
                # What is bound when it is called starts with the wrong copy, too.
                broken = re.search(BREAKS, said) if code else wrong
                wrong = [] if broken else ["needs no help"]
            if wrong:
                row.verdict = WRONG
                row.complaints.append(f"{way}: exit {code}: {'; '.join(wrong)}: {' | '.join(said.strip().splitlines()[-3:])}")
        return row

    def start(self, way: str, cudashim: Path) -> tuple[int, list, str]:
        with tempfile.TemporaryDirectory(prefix="cudashim-real-") as scratch:
            answer = Path(scratch, "answer")
            env = {
                **clean_environment(),
                "LD_LIBRARY_PATH": str(environment("small-12.1").lib("nvjitlink")),
                "VIRTUAL_ENV": str(self.venv.root),
                **self.env,
                "CUDASHIM_CACHE": str(Path(scratch, "cache")),
                "ANSWER": str(answer),
            }
            command, env = judge.served(way, cudashim, self.words, env, self.target)
            if self.linked and way == "plain":
                env["LD_AUDIT"] = env.pop("LD_PRELOAD")
            code, said = judge.spawn(command, env, scratch)
            lines = answer.read_text().splitlines() if answer.exists() else []
        paths = {Path(line.split(maxsplit=5)[5]) for line in lines if "/" in line}
        return code, sorted(path.resolve() for path in paths if NVIDIA.fullmatch(path.name)), said


class Skipped:
    """A consumer that cannot be built here."""

    def __init__(self, name: str, why: str):
        self.name, self.why = f"doors/{name}", why

    def judge(self, cudashim: Path) -> Row:
        return Row(self.name, {}, SKIPPED, [self.why])


def rpath(directory: Path) -> list:
    return ["-Wl,--disable-new-dtags", f"-Wl,-rpath,{directory}"]


def native(scratch: Path) -> Iterator[Consumer]:
    """Programs in C: opening and linked, with a run path and without, bound at once and when called."""
    venv = environment("small-12.4")
    lib = venv.lib("cusparse")
    against = [f"-L{lib}", "-l:libcusparse.so.12", "-Wl,--allow-shlib-undefined"]
    yield Consumer("c-opens", [compiled(scratch / "opens", OPENS), "libcusparse.so.12"], venv)
    yield Consumer("c-opens-path", [scratch / "opens", lib / "libcusparse.so.12"], venv)
    yield Consumer("c-linked", [compiled(scratch / "linked", LINKED, *against)], venv, linked=True)
    runs = compiled(scratch / "linked-rpath", LINKED, *against, *rpath(lib))
    yield Consumer("c-linked-rpath", [runs], venv, linked=True)
    yield Consumer("c-linked-bound", [runs], venv, linked=True, env={"LD_BIND_NOW": "1"})
    plugin = shared(
        scratch / "plugin.so",
        MAPS + "const char *cusparseGetErrorName(int);\nconst char *p(void) { return cusparseGetErrorName(0); }\n",
        *against,
    )
    yield Consumer("c-opens-linked", [scratch / "opens", plugin], venv)
    # A process that a shell starts, which the plan is not for.
    yield Consumer("bash", [needs("bash"), "-c", '"$0" libcusparse.so.12; exit $?', scratch / "opens"], venv)
    make = scratch / "Makefile"
    make.write_text(f"ask:\n\t@{scratch}/opens libcusparse.so.12\n")
    yield Consumer("make", [needs("make"), "-s", "-f", make, "ask"], venv)


def torch_native(scratch: Path) -> Iterator[Consumer]:
    """Programs against the libraries that torch's environment has: without a run path, and libtorch itself bound at once."""
    venv = environment("torch-2.5.1")
    against = [f"-L{venv.lib('cufft')}", "-l:libcufft.so.11", f"-L{venv.lib('cuda_runtime')}", "-l:libcudart.so.12"]
    program = compiled(scratch / "two", TWO, *against, "-Wl,--allow-shlib-undefined")
    yield Consumer("c-linked-no-rpath", [program], venv, ("libcufft.so.11", "libcudart.so.12"), linked=True)
    venv = environment("torch-2.8.0")
    lib = venv.site / "torch/lib"
    against = [f"-L{lib}", "-Wl,--no-as-needed", "-ltorch_cuda", "-Wl,--allow-shlib-undefined", "-Wl,-z,now", *rpath(lib)]
    program = compiled(scratch / "libtorch", LIBTORCH, *against)
    yield Consumer("libtorch-now", [program], venv, linked=True)
    yield Consumer("libtorch-bound", [program], venv, linked=True, env={"LD_BIND_NOW": "1"})


def java(scratch: Path) -> Iterator[Consumer]:
    """Java through JNI, and cuSPARSE itself by System.load."""
    venv, source = environment("small-12.4"), scratch / "Ask.java"
    source.write_text(JAVA)
    program = needs("java")
    built(["javac", "-d", scratch, source])
    home = Path(needs("javac")).resolve().parents[1]
    library = shared(scratch / "libask.so", JNI, f"-I{home}/include", f"-I{home}/include/linux")
    start = [program, "-cp", scratch, "Ask"]
    yield Consumer("java-jni", [*start, library], venv)
    yield Consumer("java-load", [*start, venv.lib("cusparse") / "libcusparse.so.12", "load"], venv)


def node(scratch: Path) -> Iterator[Consumer]:
    """Node's addon, and a library of NVIDIA's itself by process.dlopen."""
    venv, program = environment("small-12.4"), needs("node")
    script = scratch / "open.js"
    script.write_text(NODE)
    yield Consumer("node-dlopen", [program, script, venv.lib("cusparse") / "libcusparse.so.12"], venv)
    headers = Path(program).resolve().parents[1] / "include/node"
    if not (headers / "node_api.h").exists():
        raise Missing("there are no headers of node")
    addon = shared(scratch / "ask.node", ADDON, f"-I{headers}", "-DNODE_GYP_MODULE_NAME=ask")
    yield Consumer("node-addon", [program, "-e", f"require({json.dumps(str(addon))})"], venv)


def go(scratch: Path) -> Iterator[Consumer]:
    """Go through cgo."""
    (scratch / "main.go").write_text(CGO)
    (scratch / "go.mod").write_text("module ask\n")
    env = {"GOCACHE": str(scratch / "cache"), "HOME": str(scratch), "GOFLAGS": "-mod=mod", "CGO_ENABLED": "1"}
    built(["go", "build", "-o", "ask", "."], scratch, env)
    yield Consumer("go", [scratch / "ask"], environment("small-12.4"))


def rust(scratch: Path) -> Iterator[Consumer]:
    """Rust through libloading."""
    (scratch / "src").mkdir()
    (scratch / "src/main.rs").write_text(RUST)
    (scratch / "Cargo.toml").write_text(
        '[package]\nname = "ask"\nversion = "0.1.0"\nedition = "2021"\n[dependencies]\nlibloading = "0.9"\n'
    )
    built(["cargo", "build", "--quiet"], scratch, {"CARGO_TARGET_DIR": str(scratch / "target")})
    yield Consumer("rust", [scratch / "target/debug/ask"], environment("small-12.4"))


def doors(scratch: Path) -> Iterator[Consumer | Skipped]:
    """Native programs, Java, Node, Go, Rust."""
    for kind in (native, torch_native, java, node, go, rust):
        place = scratch / kind.__name__
        place.mkdir()
        try:
            yield from kind(place)
        except Missing as missing:
            yield Skipped(kind.__name__, str(missing))


DOORS = {"doors": doors}
