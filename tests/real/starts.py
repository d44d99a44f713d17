"""torch 2.5.1 behind an older nvJitLink, started in the ways that tools and layouts start it.

Each case fails bare with the error of the row `nvjitlink`, and must be whole by every door. The layouts are copies in hard links, which
cost no disk: uv makes environments so, and one library then has a name in each of them.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Iterator, Optional

from environments import Environment, Missing, copy_links, environment, uv
from judge import Case, Expected, from_one_tree

BREAKS = "undefined symbol: __nvJitLinkComplete_12_4"
GIVES = r"(title, |nobody, )?2\.5\.1\+cu124 90100"
TORCH = "torch==2.5.1"


def case(name: str, start: list, tree: Optional[Path], target: list, steps: Optional[list] = None, **more) -> Case:
    """Fails bare; by each door it is whole, with nvJitLink from below `tree` (`None`: from wherever its own cuSPARSE is)."""
    older = environment("nvjitlink-12.1")
    whole = Expected(gives=GIVES, mapped=from_one_tree(tree, r"libnvJitLink\.so\.12") if tree else beside_cusparse)
    variables = {"LD_LIBRARY_PATH": str(older.lib("nvjitlink")), **more.pop("env", {})}
    bare = Expected(fails=BREAKS)
    return Case(f"starts/{name}", start, steps or [["torch"]], bare, whole, whole, env=variables, target=target, **more)


def beside_cusparse(mapped: dict) -> list:
    """Where the tool decides where its environment is: cuSPARSE and nvJitLink are of one."""
    paths = [Path(path) for name in ("libcusparse.so.12", "libnvJitLink.so.12") for path in mapped.get(name, [])]
    return [] if len({path.parents[2] for path in paths}) == 1 and len(paths) == 2 else [f"not of one environment: {paths}"]


# --- tools ---


def offline() -> dict:
    """uv's own cache, which the environments were made from."""
    return {"UV_CACHE_DIR": uv("cache", "dir"), "UV_OFFLINE": "1", "UV_PYTHON": "3.11"}


def by_uv(scratch: Path) -> Iterator[Case]:
    """uv run --with, uvx, and a script that names what it needs (PEP 723)."""
    environment("torch-2.5.1")
    program = shutil.which("uv")
    yield case("uv-run-with", [program, "run", "-q", "--no-project", "--with", TORCH, "python"], None, [], env=offline())
    yield case("uvx", [program, "tool", "run", "-q", "--from", TORCH, "python"], None, [], env=offline())
    script = scratch / "script.py"
    script.write_text(
        f'# /// script\n# requires-python = ">=3.11"\n# dependencies = ["{TORCH}"]\n# ///\n'
        "import runpy, sys\nsys.argv = sys.argv[1:]\nrunpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    yield case("pep-723", [program, "run", "-q", script], None, [], env=offline())


def by_poetry(scratch: Path) -> Iterator[Case]:
    """poetry in an environment of its own, as pipx and `uv tool` install it."""
    venv, tool = environment("torch-2.5.1"), environment("poetry")
    project = scratch / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text('[project]\nname = "p"\nversion = "1"\n\n[tool.poetry]\npackage-mode = false\n')
    active = {"VIRTUAL_ENV": str(venv.root), "HOME": str(scratch)}
    yield case("poetry", [tool.root / "bin/poetry", "run", "python"], venv.site, [], env=active, cwd=project)


def by_tox(scratch: Path) -> Iterator[Case]:
    """tox in an environment of its own; it passes on what its file names."""
    environment("torch-2.5.1")
    tool = environment("tox")
    (scratch / "tox.ini").write_text(
        f"[testenv]\nskip_install = true\nbase_python = python3.11\ndeps = {TORCH}\n"
        "pass_env =\n    LD_*\n    CUDASHIM_*\n    UV_*\ncommands = python {posargs}\n"
    )
    start = [tool.root / "bin/tox", "-q", "-e", "py", "-c", scratch / "tox.ini", "--workdir", scratch / "tox", "--"]
    yield case("tox", start, scratch / "tox", [], env={**offline(), "HOME": str(scratch)})


def by_torchrun(scratch: Path) -> Iterator[Case]:
    """torchrun starts its worker by the name that it was started by."""
    venv = environment("torch-2.5.1")
    start = [venv.root / "bin/torchrun", "--standalone", "--nproc-per-node", "1"]
    yield case("torchrun", start, venv.site, ["--python", venv.root])


# --- what a process does before it asks ---


def layered(name: str, scratch: Path) -> Environment:
    """An environment of that name, which finds torch in another."""
    venv, torch = Environment(scratch / name), environment("torch-2.5.1")
    copy_links(environment(name).root, venv.root)
    (venv.site / "torch.pth").write_text(f"{torch.site}\n")
    return venv


def titles(scratch: Path) -> Iterator[Case]:
    """A process that writes over its arguments and its environment before it imports torch."""
    venv = layered("setproctitle", scratch)
    torch = environment("torch-2.5.1").site
    yield case("setproctitle", [venv.python], torch, ["--python", venv.root], [["title"], ["torch"]])


def drops(scratch: Path) -> Iterator[Case]:
    """A process that root starts, and that becomes nobody before it imports torch."""
    if os.geteuid():
        raise Missing("only root can become somebody else")
    # Where another user can read it, which a home is not.
    base = installed(scratch / "base")
    for place in (scratch, scratch.parent):
        place.chmod(0o755)
    (scratch / "tmp").mkdir(mode=0o1777)
    (scratch / "tmp").chmod(0o1777)
    python = based(scratch / "venv", base, environment("torch-2.5.1"))
    open_to_all = {"HOME": str(scratch), "TMPDIR": str(scratch / "tmp")}
    tree = scratch / "venv"
    yield case("setuid", [python], tree, ["--python", tree], [["drop"], ["torch"]], env=open_to_all, home=True)


# --- layouts ---


def installed(prefix: Path) -> Path:
    """A Python installation of its own: what conda and pyenv have at a prefix."""
    home = environment("torch-2.5.1").python.resolve().parents[1]
    (prefix / "bin").mkdir(parents=True)
    for program in home.glob("bin/python3*"):
        if not program.is_symlink() and not program.name.endswith(("-config", ".py")):
            copy_links(program, prefix / "bin" / program.name)
    (prefix / "bin/python").symlink_to("python3.11")
    for library in home.glob("lib/libpython*"):
        copy_links(library, prefix / "lib" / library.name)
    copy_links(home / "lib/python3.11", prefix / "lib/python3.11", without=("site-packages", "test", "__pycache__"))
    (prefix / "lib/python3.11/site-packages").mkdir()
    return prefix / "bin/python"


def based(root: Path, python: Path, packages: Environment) -> Path:
    """A virtual environment of that Python with the packages of another."""
    (root / "bin").mkdir(parents=True)
    (root / "bin/python").symlink_to(python)
    (root / "pyvenv.cfg").write_text(f"home = {python.parent}\nversion_info = 3.11\ninclude-system-site-packages = false\n")
    copy_links(packages.site, root / "lib/python3.11/site-packages")
    return root / "bin/python"


def filled(prefix: Path, packages: Environment) -> None:
    """Puts the packages of an environment into an installation."""
    site = prefix / "lib/python3.11/site-packages"
    site.rmdir()
    copy_links(packages.site, site)


def conda(scratch: Path) -> Iterator[Case]:
    """An environment below the base, each with a torch of its own."""
    base, inner = scratch / "conda", scratch / "conda/envs/x"
    for prefix, packages in ((base, "torch-2.1.2"), (inner, "torch-2.5.1")):
        installed(prefix)
        (prefix / "conda-meta").mkdir()
        (prefix / "conda-meta/history").touch()
        filled(prefix, environment(packages))
    active = {"CONDA_PREFIX": str(inner)}
    yield case("conda", [inner / "bin/python"], inner, [], env=active)
    # Started from a process of the base, which has its own set by then.
    imports = "import os, sys, torch; torch.version; os.execv(sys.argv[1], sys.argv[1:])"
    inherit = {"LD_LIBRARY_PATH": "", "NVJITLINK": str(environment("nvjitlink-12.1").lib("nvjitlink"))}
    breaks = imports.replace("os.execv", "os.environ.update(LD_LIBRARY_PATH=os.environ['NVJITLINK']); os.execv")
    yield case(
        "conda-from-base", [base / "bin/python", "-c", breaks, inner / "bin/python"], inner, ["--python", base], env=inherit
    )


def pyenv(scratch: Path) -> Iterator[Case]:
    """pyenv-virtualenv keeps environments below the version they are of, and links to them beside it."""
    version = scratch / "versions/3.11.7"
    python = installed(version)
    filled(version, environment("torch-2.1.2"))
    based(version / "envs/x", python, environment("torch-2.5.1"))
    (scratch / "versions/x").symlink_to(version / "envs/x")
    yield case(
        "pyenv-virtualenv", [scratch / "versions/x/bin/python"], version / "envs/x", ["--python", scratch / "versions/x"]
    )


def relative(scratch: Path) -> Iterator[Case]:
    """`.venv/bin/python`, and that of the project beside it, both without a leading slash."""
    whole = environment("torch-2.5.1")
    python = whole.python.resolve()
    for project, packages in (("a", "torch-2.1.2"), ("b", "torch-2.5.1")):
        based(scratch / project / ".venv", python, environment(packages))
    (scratch / "b/sub").mkdir()
    tree = scratch / "b/.venv"
    yield case("relative", [".venv/bin/python"], tree, ["--python", ".venv"], cwd=scratch / "b")
    yield case("relative-sibling", ["../b/.venv/bin/python"], tree, ["--python", "../b/.venv"], cwd=scratch / "a")
    other = "import os, sys; os.chdir('../b/sub'); os.execv('../.venv/bin/python', ['../.venv/bin/python', *sys.argv[1:]])"
    yield case("relative-other", [".venv/bin/python", "-c", other], tree, ["--python", ".venv"], cwd=scratch / "a")


def modes(scratch: Path) -> Iterator[Case]:
    """Environments whose files are links into uv's cache, and one with an editable install beside torch."""
    linked = environment("symlink-2.5.1")
    kept = (linked.lib("nvjitlink") / "libnvJitLink.so.12").resolve().parent
    yield case("symlinks", [linked.python], kept, ["--python", linked.root])
    editable = environment("editable-2.5.1")
    steps = [["import", "editable_one"], ["torch"]]
    row = case("editable", [editable.python], editable.site, ["--python", editable.root], steps)
    row.run.gives = row.plain.gives = rf"editable_one, {GIVES}"
    yield row


def starts(scratch: Path) -> Iterator[Case]:
    """Tools, what a process does before it asks, and layouts."""
    for at, kind in enumerate((relative, conda, pyenv, modes, titles, drops, by_torchrun, by_uv, by_poetry, by_tox)):
        place = scratch / str(at)
        place.mkdir()
        try:
            yield from kind(place)
        finally:
            shutil.rmtree(place, ignore_errors=True)


STARTS = {"starts": starts}
