"""`preload`: the set that fits, mapped in this process before a framework asks for it."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from . import _hook
from ._binary import find


class Mapped:
    """A library of the set that is mapped from another file."""

    def __init__(self, soname: str, file: str, ours: str) -> None:
        self.soname = soname
        """The name that it answers to."""
        self.file = file
        """What is mapped."""
        self.ours = ours
        """What the set has."""


class Preloaded:
    """What `preload` did. True where what is imported next gets the set."""

    def __init__(
        self,
        opened: Sequence[str] = (),
        elsewhere: Sequence[Mapped] = (),
        notes: Sequence[str] = (),
        advice: str | None = None,
    ) -> None:
        self.opened = list(opened)
        """The files that were mapped, in their order."""
        self.elsewhere = list(elsewhere)
        """What was mapped from other files before, and stays."""
        self.notes = list(notes)
        """What else there is to know, each in one line."""
        self.advice = advice
        """What to do, where something is wrong."""

    def __bool__(self) -> bool:
        return not self.elsewhere and self.advice is None

    def _lines(self) -> list[str]:
        lines = [f"{one.soname} is mapped from `{one.file}` already, and the set has `{one.ours}`" for one in self.elsewhere]
        lines += self.notes
        if self.opened:
            lines += [f"mapped `{path}`" for path in self.opened]
        elif not lines:
            lines.append("what is loaded by itself is the set: nothing to do")
        return lines + ([self.advice] if self.advice else [])

    def __str__(self) -> str:
        return "\n".join(self._lines())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from html import escape

        mark = "✓" if self else "✗"
        items = "".join(f"<li><code>{escape(line)}</code></li>" for line in self._lines())
        return f"<b>cudashim {mark}</b><ul>{items}</ul>"


def preload(module: str = "torch") -> Preloaded:
    """Maps the libraries of the set that `module` would get from elsewhere; call it before that is imported.

    What is mapped from another file by then stays: the loader takes one file for a name. It is named, and what to do.
    """
    environment = _hook.start_environment()
    if _hook.is_served(environment):
        return Preloaded(notes=["the shim is in this process, or switched off: nothing to do"])
    try:
        answer = _hook.ask(find(), module, environment)
        before = len(_hook.handles)
        elsewhere = [Mapped(*one) for one in _hook.open_set(answer)]
    except _hook.Fault as error:
        return Preloaded(advice=str(error))
    opened = [handle._name for handle in _hook.handles[before:]]
    notes = list(answer.notes)
    advice = None
    again = "start the process again, with `cudashim.preload()` before the first import"
    if elsewhere:
        advice = f"{module} is imported already: {again}" if module in sys.modules else again
    if answer.why is not None:
        notes.append(answer.why)
        advice = advice or "no mapping serves that: start the process with `cudashim run -- …`, or `cudashim enable --jupyter`"
    return Preloaded(opened, elsewhere, notes, advice)
