"""One row: a set-up that is broken, and what must come of it without cudashim, and by each of the doors that `served` knows.

Takes a `Case`; starts its child once for each way and gives a `Row` for the table. A child gets a cache of its
own, so that no answer is left over from another, and a time limit.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Optional

from environments import clean_environment

WITNESS = Path(__file__).resolve().parent / "witness.py"
SECONDS = 300
FEWER_OPENS = 10
WAYS = ("bare", "run", "audit", "plain", "env")

OK, WRONG, SHORT, SKIPPED = "ok", "WRONG", "short", "skipped"


@dataclass
class Outcome:
    """What became of one child."""

    code: int
    gave: list
    error: Optional[str]
    mapped: dict
    faults: list
    stderr: str
    opens: Optional[int] = None

    @property
    def failed(self) -> bool:
        return self.code != 0

    @property
    def last_line(self) -> str:
        lines = self.stderr.strip().splitlines()
        return lines[-1].strip() if lines else ""

    @property
    def text(self) -> str:
        """In one line: the error with what was said about it, or what the steps gave."""
        if self.error:
            return self.error
        if self.code < 0:
            return f"{signal.Signals(-self.code).name}: {self.last_line}"
        if self.code:
            return f"exit {self.code}: {self.last_line}"
        return ", ".join(self.gave)


@dataclass
class Expected:
    """What must come of a child: `fails` with, or `gives`; what is said meanwhile."""

    fails: Optional[str] = None
    gives: Optional[str] = None
    says: Optional[str] = None
    # Complaints about the libraries mapped; only asked of a child that is to be whole.
    mapped: Callable[[dict], list] = lambda mapped: []

    def complaints(self, outcome: Outcome) -> list:
        said = []
        if self.fails is not None:
            if not outcome.failed:
                said.append(f"works ({outcome.text}), but should fail with /{self.fails}/")
            elif not re.search(self.fails, f"{outcome.text}\n{outcome.stderr}"):
                said.append(f"fails in another way than with /{self.fails}/: {outcome.text}")
        if self.gives is not None:
            if outcome.failed:
                said.append(outcome.text)
            else:
                if not re.fullmatch(self.gives, outcome.text):
                    said.append(f"gives `{outcome.text}`, not /{self.gives}/")
                said += outcome.faults + self.mapped(outcome.mapped)
        if self.says is not None and not re.search(self.says, outcome.stderr):
            said.append(f"says nothing like /{self.says}/")
        return said


def from_one_tree(tree: Path, *sonames: str) -> Callable[[dict], list]:
    """All of these sonames (patterns) are mapped, from files below a directory."""

    def complaints(mapped: dict) -> list:
        said = []
        for pattern in sonames:
            found = [path for name, paths in mapped.items() if re.fullmatch(pattern, name) for path in paths]
            if not found:
                said.append(f"nothing like {pattern} is mapped")
            said += [f"{path} is not from {tree}" for path in found if not path.startswith(f"{tree.resolve()}/")]
        return said

    return complaints


class Names(Counter):
    """Names of files that were not there, each as often as it was tried."""

    # Those that were found in the end.
    found: frozenset = frozenset()

    def less(self, own: Names) -> int:
        """Tries for what was found in the end, without those that the interpreter makes anyway."""
        return sum(count for name, count in (self - own).items() if name in self.found)

    @property
    def tries(self) -> int:
        return sum(self.values())

    def most(self, without: Names) -> str:
        return ", ".join(f"{name} ({count})" for name, count in (self - without).most_common(3))


@dataclass
class Row:
    """A line of the table, and what is to be said about it."""

    name: str
    cells: dict
    verdict: str
    complaints: list = field(default_factory=list)
    # What `doctor` names first, the line it prints first, and whether that heals; and its page.
    told: tuple = ()
    page: str = ""


@dataclass
class Case:
    """One broken, or sound, set-up."""

    name: str
    # What comes before the witness: a python, or what starts one.
    start: list
    steps: list
    bare: Expected
    run: Expected
    plain: Expected
    env: dict = field(default_factory=dict)
    cwd: Optional[Path] = None
    # Answers are kept below its home: a cache that is named has none to stand in for it.
    home: bool = False
    # What `cudashim env` is asked for.
    target: Optional[list] = None
    # Something preloaded already; `{shim}` stands where the shim comes in plain's LD_PRELOAD.
    preload: Optional[Path] = None
    plain_preload: str = "{shim}"
    place: Optional[Path] = None
    # Count failed opens of `.so` files while this runs.
    opens_of: Optional[str] = None

    def expected(self, way: str) -> Expected:
        """By the other door, and by `env`, the same as under `run`."""
        return {"bare": self.bare, "plain": self.plain}.get(way, self.run)

    def judge(self, cudashim: Path) -> Row:
        row = Row(self.name, {}, OK)
        for way in WAYS:
            outcome = self.outcome(way, cudashim)
            row.cells[way] = shorten(outcome.text)
            for complaint in self.expected(way).complaints(outcome):
                row.verdict = WRONG
                row.complaints.append(f"{way}: {complaint}")
                if outcome.last_line and outcome.last_line not in complaint:
                    row.complaints.append(f"{way}: last line: {outcome.last_line}")
        if self.opens_of:
            self.compare_opens(row, cudashim)
        return row

    def outcome(self, way: str, cudashim: Path) -> Outcome:
        with tempfile.TemporaryDirectory(prefix="cudashim-real-") as scratch:
            out = Path(scratch, "answer.json")
            command, env = self.command(way, cudashim, scratch, [WITNESS, out, json.dumps(self.steps)])
            code, stderr = spawn(command, env, self.cwd or scratch)
            answer = json.loads(out.read_text()) if out.exists() and out.stat().st_size else {}
        mapped, faults = answer.get("mapped", {}), answer.get("faults", [])
        return Outcome(code, answer.get("gave", []), answer.get("error"), mapped, faults, stderr)

    def command(self, way: str, cudashim: Path, scratch: str, arguments: list) -> tuple[list, dict]:
        """What to start, and its environment; LD_PRELOAD is in that for the child only to see."""
        env = {**clean_environment(), **self.env}
        if not self.home:
            env["CUDASHIM_CACHE"] = str(Path(scratch, "cache"))
        if self.preload:
            env["LD_PRELOAD"] = str(self.preload)
        command = [*self.start, *arguments]
        target = ["--python", self.start[0]] if self.target is None else self.target
        place = ("--place", self.place) if self.place else ()
        if self.place and way == "plain":
            env["CUDASHIM_PLACE"] = str(self.place)
        preload = self.plain_preload.format(shim="{shim}", preload=self.preload)
        return served(way, cudashim, command, env, target, place, preload)

    def compare_opens(self, row: Row, cudashim: Path) -> None:
        """How many names of shared objects the loader tries in vain, and how many fewer it is with us."""
        if not shutil.which("strace"):
            row.complaints.append("failed opens are not counted: there is no strace")
            return
        names = {way: self.failed_opens(way, cudashim, self.opens_of) for way in WAYS}
        own = self.failed_opens("bare", cudashim, "pass")
        bare = names["bare"].tries
        for way in WAYS:
            failed = names[way].tries
            row.cells[way] += f"; {failed} failed opens"
            if way == "bare":
                continue
            # What is nowhere is looked for everywhere: the shim does not say where a name is not.
            ratio = names["bare"].less(own) / max(names[way].less(own), 1)
            row.cells[way] += f" ({ratio:.1f} x fewer for what is there)"
            if ratio < FEWER_OPENS:
                row.complaints.append(
                    f"{way}: {failed} failed opens of `.so` files, {bare} bare: not {FEWER_OPENS} x fewer for what is there;"
                    f" {own.tries} are the interpreter's own, most are for {names[way].most(own)}"
                )
                row.verdict = SHORT if row.verdict == OK else row.verdict

    def failed_opens(self, way: str, cudashim: Path, program: str) -> Names:
        with tempfile.TemporaryDirectory(prefix="cudashim-real-") as scratch:
            trace = Path(scratch, "trace")
            command, env = self.command(way, cudashim, scratch, ["-c", program])
            # strace itself is not to be preloaded into; without -f, only what becomes Python is followed.
            preload = env.pop("LD_PRELOAD", None)
            given = ["-E", f"LD_PRELOAD={preload}"] if preload else []
            calls = "trace=open,openat,execve"
            code, stderr = spawn(["strace", "-s", "4096", "-o", trace, "-e", calls, *given, *command], env, scratch)
            if code:
                raise RuntimeError(f"strace of {self.name} ended with {code}: {stderr.strip()}")
            lines = trace.read_text(errors="replace").splitlines()
        # What `cudashim run` opened before it became Python is not the loader's.
        last = max(at for at, line in enumerate(lines) if line.startswith("execve(") and line.endswith("= 0"))
        text = "\n".join(lines[last:])
        tried = Names(re.findall(r'([^/"]*\.so[.0-9]*)", .*= -1 E', text))
        tried.found = frozenset(re.findall(r'([^/"]*\.so[.0-9]*)", .*= \d', text))
        return tried


def served(
    way: str, cudashim: Path, command: list, env: dict, target: list, place: tuple = (), preload: str = "{shim}"
) -> tuple[list, dict]:
    """A command as it is started in one of the ways, and its environment.

    `target` is what `env` is asked for; `preload` is how LD_PRELOAD is put together where only the shim is given.
    """
    if way == "run":
        return [cudashim, "run", *place, "--", *command], env
    if way == "audit":
        return [cudashim, "run", "--via", "audit", *place, "--", *command], env
    if way == "env":
        lines = 'ours=$("$0" env %s) || exit 125; eval "$ours"; exec "$@"' % shlex.join(map(str, [*place, *target]))
        return ["sh", "-c", lines, cudashim, *command], env
    if way == "plain":
        asked = {name: value for name, value in env.items() if not name.startswith("LD_")}
        shim = subprocess.run([cudashim, "shim"], env=asked, check=True, capture_output=True, text=True).stdout.strip()
        env = {**env, "LD_PRELOAD": preload.format(shim=shim)}
    return command, env


def spawn(command: list, env: dict, directory: os.PathLike | str) -> tuple[int, str]:
    """Runs a child to its end or its limit; its exit code, and what it wrote to stderr."""
    # Into a file: a pipe would stay open as long as anything the child left behind.
    with tempfile.TemporaryFile() as stderr:
        child = subprocess.Popen(
            [os.fspath(part) for part in command],
            env=env,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=stderr,
            stderr=stderr,
            start_new_session=True,
        )
        late = ""
        try:
            child.wait(SECONDS)
        except subprocess.TimeoutExpired:
            late = f"\nended after {SECONDS} s"
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        stderr.seek(0)
        return child.returncode, stderr.read().decode(errors="replace") + late


def shorten(text: str) -> str:
    """For a cell of the table: paths down to the file's name, no more than fits."""
    text = re.sub(r"(?<![\w.])/(?:[^\s:,'\"/]*/)+", "", " ".join(text.split()))
    return text if len(text) <= 64 else text[:61] + "..."


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
