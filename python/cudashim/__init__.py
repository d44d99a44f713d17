"""cudashim for Python: the set of CUDA libraries that fits, in the process that is running.

>>> import cudashim
>>> cudashim.preload()          # a notebook's first cell, before torch is imported
>>> cudashim.doctor()           # what is wrong, why, and what to type
>>> cudashim.check("torch")     # would it load, and by which rule

To import this module loads nothing. All that is decided, the program `cudashim` decides, which comes in the same wheel.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._binary import NotFound as NotFound
    from ._binary import find as find
    from ._preload import Mapped as Mapped
    from ._preload import Preloaded as Preloaded
    from ._preload import preload as preload
    from ._report import Failed as Failed
    from ._report import Report as Report
    from ._report import check as check
    from ._report import doctor as doctor

__version__ = "0.1.0"

_HOMES = {
    "Failed": "_report",
    "Mapped": "_preload",
    "NotFound": "_binary",
    "Preloaded": "_preload",
    "Report": "_report",
    "check": "_report",
    "doctor": "_report",
    "find": "_binary",
    "preload": "_preload",
}

__all__ = ["Failed", "Mapped", "NotFound", "Preloaded", "Report", "check", "doctor", "find", "preload"]


def __getattr__(name: str) -> object:
    """Each name is read when it is first used: importing this costs next to nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> "list[str]":
    return sorted(set(globals()) | set(__all__))
