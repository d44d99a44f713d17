"""`python -m cudashim`: the program itself, in the place of this process."""

from __future__ import annotations

import os
import sys

from ._binary import NotFound, find


def main() -> int:
    """Becomes the program; gives an exit code where there is none."""
    try:
        path = find()
    except NotFound as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    arguments = sys.argv[1:]
    environment = dict(os.environ)
    # This Python is the one meant where nobody names another.
    if "VIRTUAL_ENV" not in environment and "CONDA_PREFIX" not in environment and sys.prefix != sys.base_prefix:
        environment["VIRTUAL_ENV"] = sys.prefix
    os.execve(path, [path, *arguments], environment)


if __name__ == "__main__":
    sys.exit(main())
