"""`doctor` and `check`: the program's reports as objects that print well, also in a notebook."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from . import _hook
from ._binary import find


class Report:
    """What a command found. True where nothing is wrong."""

    def __init__(self, command: Sequence[str], code: int, data: Mapping[str, Any], text: str) -> None:
        self.command = list(command)
        """What was asked."""
        self.code = code
        """0: nothing is wrong; 1: something is."""
        self.data = dict(data)
        """All of it, as the schemas of docs/json-schema describe it."""
        self.text = text
        """As a terminal shows it."""

    @property
    def findings(self) -> list[dict[str, Any]]:
        """What is wrong, the worst first."""
        return list(self.data.get("findings", []))

    def __bool__(self) -> bool:
        return self.code == 0

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return self.text.rstrip("\n")

    def _repr_html_(self) -> str:
        head = escape(" ".join(self.command))
        if not self.findings:
            return f"<b>cudashim {head}</b><pre>{escape(self.text)}</pre>"
        rows = []
        for finding in self.findings:
            lines = [one.get("command") or one.get("action") or "" for one in finding.get("remedies", [])]
            cells = [finding.get("severity", ""), finding.get("cause", finding.get("says", "")), "\n".join(lines[:1])]
            name = escape(str(finding.get("id", "")))
            rest = "".join(f"<td style='text-align:left'><code>{escape(str(cell))}</code></td>" for cell in cells)
            rows.append(f"<tr><td style='text-align:left'>{name}</td>{rest}</tr>")
        header = "<tr><th>finding</th><th></th><th>cause</th><th>type</th></tr>"
        return f"<b>cudashim {head}</b><table>{header}{''.join(rows)}</table><details><pre>{escape(self.text)}</pre></details>"


class Failed(RuntimeError):
    """The program could not do what was asked."""


def doctor() -> Report:
    """What is wrong with this Python's environment, the driver, the libraries; why, and what to type."""
    return _asked(["doctor", "--python", _python()])


def check(*subjects: str) -> Report:
    """Would these load today (a framework, a library, a name), as this process was started; torch where none is named."""
    return _asked(["check", *subjects, "--python", _python()])


def _python() -> str:
    return sys.executable


def _asked(command: list[str]) -> Report:
    path = find()
    environment = _hook.start_environment()
    said = subprocess.run([path, *command, "--format", "json"], env=environment, capture_output=True, check=False)
    if said.returncode not in (0, 1) or not said.stdout.strip():
        raise Failed(said.stderr.decode(errors="replace").strip() or f"`{path}` ended with {said.returncode}")
    shown = subprocess.run([path, "--color", "never", *command], env=environment, capture_output=True, check=False)
    data = json.loads(said.stdout)
    return Report(command[:1] + command[1:-2], said.returncode, data, shown.stdout.decode(errors="replace"))
