"""Where the program is: it comes in the same wheel, among the scripts."""

from __future__ import annotations

import os
import sys

NAME = "cudashim"


class NotFound(FileNotFoundError):
    """The program is in none of the places where an installer puts it."""


def find() -> str:
    """The path of the program that belongs to this package."""
    looked = []
    for directory in _directories():
        path = os.path.join(directory, NAME)
        if os.access(path, os.X_OK) and os.path.isfile(path):
            return path
        looked.append(directory)
    raise NotFound(f"cannot find `{NAME}` in {', '.join(f'`{one}`' for one in looked)}: install it again")


def _directories() -> list[str]:
    """Where `pip install` puts scripts: into the environment, beside a `--target`, into a `--prefix`, the user's own; PATH."""
    import sysconfig

    package = os.path.dirname(os.path.abspath(__file__))
    site = os.path.dirname(package)
    # `--prefix P` has P/lib/python3.12/site-packages, and Debian's P/local/lib/python3.12/dist-packages.
    above = os.path.dirname(os.path.dirname(os.path.dirname(site)))
    found = [os.path.join(site, "bin"), os.path.join(above, "bin"), sysconfig.get_path("scripts")]
    user = sysconfig.get_path("scripts", scheme="posix_user")
    found.append(user)
    found.append(os.path.dirname(sys.executable or ""))
    found.extend(entry for entry in os.environ.get("PATH", "").split(os.pathsep) if os.path.isabs(entry))
    kept: list[str] = []
    for directory in found:
        if directory and directory not in kept:
            kept.append(directory)
    return kept
