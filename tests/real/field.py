"""Where an attack takes place: a directory of its own with a cache in it, environments, mounts, and what came of a command.

What is wrong is collected, so that an attack says all of it. Nothing outside the directory is written.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

import judge
from environments import Environment, Missing, clean_environment, environment


@dataclass
class Ran:
    code: int
    out: str
    err: str

    @property
    def all(self) -> str:
        return f"exit {self.code}: {self.out.strip()[-500:]} {self.err.strip()[-500:]}"


class Field:
    """Where an attack takes place: a directory of its own, with a cache in it."""

    def __init__(self, cudashim: Path, root: Path):
        self.cudashim, self.root = cudashim, root
        # What came of an attack and should not have.
        self.wrong: list = []
        # Bytecode is known by its second and its size: a file that changes twice in one would be taken for what it was.
        self.env = {**clean_environment(), "CUDASHIM_CACHE": str(root / "cache"), "PYTHONDONTWRITEBYTECODE": "1"}

    def expect(self, true: bool, what: str) -> None:
        if not true:
            self.wrong.append(what)

    def of(self, ran: Ran, tree: Path, what: str) -> None:
        """The library is mapped from below a directory, and nothing else of that name."""
        places = ran.out.split()
        right = ran.code == 0 and len(places) == 1 and places[0].startswith(f"{tree.resolve()}/")
        self.expect(right, f"{what}: {ran.all}, not from {tree}")

    def venv(self, name: str, packages: Environment, python: Optional[Path] = None) -> Path:
        """An environment whose packages are another's."""
        root, python = self.root / name, python or packages.python.resolve()
        site = root / "lib/python3.11/site-packages"
        site.mkdir(parents=True)
        (root / "bin").mkdir()
        (root / "bin/python").symlink_to(python)
        (root / "pyvenv.cfg").write_text(f"home = {python.parent}\nversion_info = 3.11\n")
        (site / "stack.pth").write_text(f"{packages.site}\n")
        return root

    def start(self, command: list, env: Optional[dict] = None, cwd: Optional[Path] = None) -> Ran:
        words = [os.fspath(word) for word in command]
        more = {"env": {**self.env, **(env or {})}, "cwd": cwd or self.root, "timeout": 60, "stdin": subprocess.DEVNULL}
        done = subprocess.run(words, capture_output=True, text=True, errors="replace", **more)
        return Ran(done.returncode, done.stdout, done.stderr)

    def ours(self, *words: object, **more) -> Ran:
        return self.start([self.cudashim, *words], **more)

    def by(
        self, way: str, command: list, target: Optional[list] = None, env: Optional[dict] = None, cwd: Optional[Path] = None
    ) -> Ran:
        words, env = judge.served(way, self.cudashim, command, {**self.env, **(env or {})}, target or [])
        return self.start(words, env, cwd)


def root_only() -> None:
    if os.geteuid():
        raise Missing("only root can do this")


def mounted(field: Field, script: str, *words: object, env: Optional[dict] = None) -> Ran:
    """A shell script in a mount namespace of its own."""
    root_only()
    return field.start(["unshare", "-m", "--propagation", "private", "sh", "-ec", script, field.cudashim, *words], env)


def old() -> Environment:
    return environment("small-12.1")


def new() -> Environment:
    return environment("small-12.4")
