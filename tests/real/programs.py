"""Programs that start others, trace others or are traced: each does its work in an environment that cudashim heals.

torch 2.8.0 with an older cuDNN on LD_LIBRARY_PATH: what asks torch for its cuDNN fails in every process that is not served,
and each process of a row asks. So it shows that the workers, kernels and children of a program are served too, by nothing but what they inherit. pytest, ipykernel
and uv are in an environment of their own, which finds torch's by a `.pth` file.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Iterator

import judge
from environments import Environment, clean_environment, environment, needs
from judge import OK, WRONG, Row

FAILS = "cuDNN version incompatibility"
VERSION = "2.8.0+cu128"

# Each script says what it did as the last word, into the file that $ANSWER names.
SAY = """
import os
def whole():
    import torch
    assert torch.backends.cudnn.version() == 91002
def say(what):
    with open(os.environ["ANSWER"], "w") as answer: answer.write(str(what))
"""

LOADER = (
    SAY
    + """
import sys
import torch
from torch.utils.data import DataLoader, Dataset
class Numbers(Dataset):
    def __len__(self): return 64
    def __getitem__(self, at):
        whole()
        return torch.tensor([at, os.getpid()])
if __name__ == "__main__":
    rows = torch.cat(list(DataLoader(Numbers(), batch_size=4, num_workers=4, multiprocessing_context=sys.argv[1])))
    say("%d by %d workers" % (rows[:, 0].sum(), len(set(rows[:, 1].tolist()))))
"""
)

SPAWN = (
    SAY
    + """
from queue import Empty
import torch
import torch.multiprocessing as mp
def work(rank, queue, done, shared):
    whole()
    shared[rank] = rank + 1
    queue.put(torch.full((4,), float(rank)))
    done.wait()
if __name__ == "__main__":
    context = mp.get_context("spawn")
    queue, done, shared = context.Queue(), context.Event(), torch.zeros(3).share_memory_()
    workers = [context.Process(target=work, args=(rank, queue, done, shared)) for rank in range(3)]
    for worker in workers: worker.start()
    total, left = 0, len(workers)
    while left:
        if any(worker.exitcode for worker in workers): raise SystemExit("a worker failed")
        try: total += queue.get(timeout=1).sum().item()
        except Empty: continue
        left -= 1
    done.set()
    for worker in workers: worker.join()
    say("%d %d %s" % (total, shared.sum(), [worker.exitcode for worker in workers]))
"""
)

GLOO = (
    SAY
    + """
import torch, torch.distributed as dist
whole()
dist.init_process_group("gloo")
one = torch.tensor([dist.get_rank() + 1])
dist.all_reduce(one)
if dist.get_rank() == 0: say("sum %d of %d" % (one.item(), dist.get_world_size()))
dist.destroy_process_group()
"""
)

LDD = (
    SAY
    + """
import subprocess, torch
whole()
library = os.path.join(os.path.dirname(torch.__file__), "lib", "libtorch_cuda.so")
done = subprocess.run(["ldd", library], capture_output=True, text=True)
say("ldd %d, not found %d, cublas %s" % (done.returncode, done.stdout.count("not found"), "libcublas.so.12" in done.stdout))
"""
)

IMPORT = SAY + "import torch\nwhole()\nsay(torch.__version__)\n"

TEST = SAY + "def test_import():\n    import torch\n    whole()\n    say(torch.__version__)\n    assert torch.ones(2).sum() == 2\n"

KERNEL = (
    SAY
    + """
from jupyter_client.manager import start_new_kernel
manager, client = start_new_kernel(kernel_name="python3", startup_timeout=240)
said = []
def hear(message): said.append(message["content"].get("text", ""))
reply = client.execute_interactive("import torch; print(torch.backends.cudnn.version())", timeout=240, output_hook=hear)
content = reply["content"]
client.stop_channels()
manager.shutdown_kernel(now=True)
if content["status"] != "ok": raise SystemExit(content["evalue"])
say("ok %s" % "".join(said).strip())
"""
)

PDB = SAY + "import torch\nwhole()\nsay(torch.__version__)\n"

GDB = (
    SAY
    + """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import torch, sys; torch.backends.cudnn.version(); print('ready', flush=True); sys.stdin.read()"],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
if child.stdout.readline() != "ready\\n": raise SystemExit("the child did not start")
traced = subprocess.run(["gdb", "-nx", "-batch", "-p", str(child.pid), "-ex", "info sharedlibrary", "-ex", "bt 3"],
                        capture_output=True, text=True)
child.communicate()
say("gdb %d, shim %s, torch %s, child %d" % (traced.returncode, "libcudashim" in traced.stdout,
                                             "libtorch_cpu" in traced.stdout, child.returncode))
"""
)


def layered() -> tuple:
    """An environment with the programs, which finds torch in another."""
    whole = environment("torch-2.8.0")
    programs = environment("programs")
    link = programs.site / "torch.pth"
    if not link.exists():
        link.write_text(f"{whole.site}\n")
    return programs, whole


class Program:
    """A program that must fail bare, and do its work in every way of being served."""

    def __init__(self, name: str, venv: Environment, script: str, arguments, gives: str):
        self.name, self.venv, self.script, self.arguments, self.gives = name, venv, script, arguments, gives

    def judge(self, cudashim: Path) -> Row:
        row = Row(self.name, {}, OK)
        for way in judge.WAYS:
            code, answer, said = self.start(way, cudashim)
            row.cells[way] = judge.shorten(answer or f"exit {code}")
            if way == "bare":
                # A debugger ends well where its program does not.
                wrong = bool(answer) or FAILS not in said
            else:
                wrong = code != 0 or answer != self.gives
            if wrong:
                row.verdict = WRONG
                row.complaints.append(f"{way}: exit {code}, `{answer}`: {' | '.join(said.strip().splitlines()[-3:])}")
        return row

    def start(self, way: str, cudashim: Path) -> tuple:
        older = environment("cudnn-9.1.0")
        with tempfile.TemporaryDirectory(prefix="cudashim-real-") as scratch:
            script, answer = Path(scratch, "test_program.py"), Path(scratch, "answer")
            script.write_text(self.script)
            env = {
                **clean_environment(),
                "PATH": f"{self.venv.root}/bin:{os.environ['PATH']}",
                "PYTHONDONTWRITEBYTECODE": "1",
                "LD_LIBRARY_PATH": str(older.lib("cudnn")),
                "CUDASHIM_CACHE": str(Path(scratch, "cache")),
                "ANSWER": str(answer),
                "HOME": scratch,
                "OMP_NUM_THREADS": "1",
            }
            command = self.arguments(self.venv, script)
            command, env = judge.served(way, cudashim, command, env, ["--python", self.venv.python])
            code, said = judge.spawn(command, env, scratch)
            return code, answer.read_text() if answer.exists() else "", said


def python(*options: str):
    return lambda venv, script: [venv.python, *options, script]


def loaders(scratch: Path) -> Iterator[Program]:
    venv, _ = layered()
    for context in ("spawn", "fork"):
        start = lambda venv, script, context=context: [venv.python, script, context]  # noqa: E731
        yield Program(f"programs/loader-{context}", venv, LOADER, start, "2016 by 4 workers")


def programs(scratch: Path) -> Iterator[Program]:
    """DataLoader, torch.multiprocessing, torchrun, ldd, uv, pytest, a Jupyter kernel, pdb, gdb."""
    venv, _ = layered()
    yield from loaders(scratch)
    yield Program("programs/spawn", venv, SPAWN, python(), "12 6 [0, 0, 0]")
    torchrun = python("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    yield Program("programs/torchrun", venv, GLOO, torchrun, "sum 3 of 2")
    needs("ldd")
    yield Program("programs/ldd", venv, LDD, python(), "ldd 0, not found 0, cublas True")
    uv = venv.root / "bin/uv"
    by_uv = lambda venv, script: [uv, "run", "--no-project", "--offline", "--python", venv.python, "python", script]  # noqa: E731
    yield Program("programs/uv", venv, IMPORT, by_uv, VERSION)
    yield Program("programs/pytest", venv, TEST, python("-m", "pytest", "-q", "-p", "no:cacheprovider"), VERSION)
    yield Program("programs/kernel", venv, KERNEL, python(), "ok 91002")
    yield Program("programs/pdb", venv, PDB, python("-m", "pdb", "-c", "continue", "-c", "quit"), VERSION)
    needs("gdb")
    yield Program("programs/gdb", venv, GDB, python(), "gdb 0, shim True, torch True, child 0")
