#!/usr/bin/env python3
"""`import torch` from a slow file system: what the libraries cost bare, under `run`, read ahead, and staged.

Takes an environment with torch; mounts it through slow_disk.py, anew for each start, so that each is cold; prints for each way
the seconds spent in loading libraries, until the last was mapped, and for the whole import, the calls to the file system by the
process and by all others, and the calls of `python -c pass`. Needs root or FUSE for users, and mfusepy in the Python named by
--fuse. Binary: $CUDASHIM, else target/dist/cudashim.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

# Seconds in dlopen, until its last return, and in all; then the calls of this process can be told by its number.
WITNESS = """
import time
began = time.perf_counter()
import ctypes, importlib.machinery, json, os, sys
spent = {"libraries": 0.0, "last": 0.0}
def timed(function):
    def call(*arguments, **named):
        start = time.perf_counter()
        try:
            return function(*arguments, **named)
        finally:
            end = time.perf_counter()
            spent["libraries"] += end - start
            spent["last"] = end - began
    return call
importlib.machinery.ExtensionFileLoader.create_module = timed(importlib.machinery.ExtensionFileLoader.create_module)
ctypes.CDLL.__init__ = timed(ctypes.CDLL.__init__)
import torch
spent["import"] = time.perf_counter() - began
spent["process"] = os.getpid()
mapped = {line.split(None, 5)[5].strip() for line in open("/proc/self/maps") if ".so" in line and line.count("/")}
spent["mapped"] = sorted(mapped)
torch.ones(2) + 1
print(json.dumps(spent), flush=True)
os._exit(0)
"""


class Disk:
    """The environment, mounted slowly."""

    def __init__(self, python: str, tree: Path, at: Path, costs: list):
        words = [python, REPOSITORY / "tests/real/slow_disk.py", tree, at, *costs]
        self.at = at
        self.server = subprocess.Popen(
            list(map(str, words)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        while not os.path.ismount(at):
            if self.server.poll() is not None:
                raise RuntimeError("the file system cannot be mounted")
            time.sleep(0.02)

    def count(self) -> dict:
        self.server.stdin.write("count\n")
        self.server.stdin.flush()
        return json.loads(self.server.stdout.readline())

    def __enter__(self) -> Disk:
        return self

    def __exit__(self, *_) -> None:
        self.server.stdin.write("end\n")
        self.server.stdin.flush()
        self.server.wait()
        while os.path.ismount(self.at):
            time.sleep(0.02)


def start(words: list, env: dict) -> dict:
    done = subprocess.run(list(map(str, words)), env=env, capture_output=True, text=True, timeout=900)
    if done.returncode:
        raise RuntimeError(f"{words} ended with {done.returncode}: {done.stderr[-2000:]}")
    return json.loads(done.stdout) if done.stdout else {}


def crowd(words: list, env: dict, starts: int, at_once: int) -> float:
    """Seconds that so many starts take, so many of them at once."""
    began = time.monotonic()
    running: list = []
    while starts or running:
        while starts and len(running) < at_once:
            running.append(subprocess.Popen(list(map(str, words)), env=env, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE))
            starts -= 1
        child = running.pop(0)
        said = child.communicate()[1]
        if child.returncode or said:
            raise RuntimeError(f"{words} ended with {child.returncode}: {said.decode(errors='replace')}")
    return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("environment", type=Path)
    parser.add_argument("--fuse", default=sys.executable, help="a Python that has mfusepy")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--ways", default="bare,run,plan,prewarm,stage")
    parser.add_argument("--costs", default="", help="options of slow_disk.py")
    parser.add_argument("--starts", type=int, default=0, help="also so many starts of `python -c pass`, bare and by one plan")
    parser.add_argument("--at-once", type=int, default=50)
    parser.add_argument("--keep", type=Path, help="a directory for the cache and the copies, kept for the next time")
    arguments = parser.parse_args()
    cudashim = Path(os.environ.get("CUDASHIM") or REPOSITORY / "target/dist/cudashim").absolute()
    ways = arguments.ways.split(",")
    with tempfile.TemporaryDirectory(prefix="cudashim-real-") as scratch:
        room = arguments.keep.absolute() if arguments.keep else Path(scratch)
        at = room / "mount"
        at.mkdir(exist_ok=True)
        env = {"PATH": "/usr/bin:/bin", "HOME": scratch, "CUDASHIM_CACHE": str(room / "cache")}
        env["CUDASHIM_STAGE_DIR"] = str(room / "none")
        staged = {**env, "CUDASHIM_STAGE_DIR": str(room / "stage")}
        python, plan = at / "bin/python", room / "kept.plan"
        run = [cudashim, "run"]
        served = {
            "bare": ([python], env),
            "run": ([*run, "--", python], env),
            "plan": ([*run, "--plan", plan, "--", python], env),
            "prewarm": ([*run, "--prewarm", "--", python], env),
            "stage": ([*run, "--", python], staged),
        }
        mount = lambda: Disk(arguments.fuse, arguments.environment, at, arguments.costs.split())  # noqa: E731
        # Answers, and copies, of another start on this node.
        with Disk(arguments.fuse, arguments.environment, at, ["--call", "0", "--random", "1e12", "--sequential", "1e12"]):
            subprocess.run([cudashim, "resolve", at, "-o", plan], env=env, check=True, capture_output=True)
            for _ in range(2):
                for way in set(ways) & {"run", "plan", "prewarm"}:
                    start([*served[way][0], "-c", "pass"], served[way][1])
            if "stage" in ways:
                began = time.monotonic()
                subprocess.run([cudashim, "stage", at], env=staged, check=True)
                print(f"staged in {time.monotonic() - began:.0f} s", flush=True)
                start([*served["stage"][0], "-c", "pass"], served["stage"][1])
        for way in ("bare", "plan") if arguments.starts else ():
            words, env = served[way]
            with mount() as disk:
                took = crowd([*words, "-c", "pass"], env, arguments.starts, arguments.at_once)
                calls = sum(disk.count()["processes"].values())
            print(f"{way:8} {arguments.starts} starts, {arguments.at_once} at once: {took:.1f} s, {calls} calls", flush=True)
        bare = None
        for way in ways:
            words, env = served[way]
            with mount() as disk:
                start([*words, "-c", "pass"], env)
                passed = sum(disk.count()["processes"].values())
            found = []
            for _ in range(arguments.runs):
                with mount() as disk:
                    seen = start([*words, "-c", WITNESS], env)
                    counted = disk.count()
                mine = counted["processes"].pop(str(seen["process"]), 0)
                rest = sum(counted["processes"].values())
                copies = sum("/stage/" in path for path in seen["mapped"])
                found.append((seen["libraries"], seen["last"], seen["import"], mine, rest, copies))
            column = list(zip(*found))
            bare = bare or statistics.median(column[0])
            text = " ".join(f"{statistics.median(it):.2f} ({min(it):.2f}-{max(it):.2f})" for it in column[:3])
            print(
                f"{way:8} libraries, last, import [s]: {text}; {statistics.median(column[0]) / bare:.3f} x bare; calls {column[3]}"
                f" and {column[4]} of others; {column[5][0]} copies mapped; `pass`: {passed} calls",
                flush=True,
            )


if __name__ == "__main__":
    main()
