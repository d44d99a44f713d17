"""Set-ups that broke cudashim, or by which it broke others, each kind in several layouts, by several doors, in several languages.

An attack is a function that does what somebody would do, and says what is wrong with what came of it. Most need two small
environments of CUDA 12.1 and 12.4 only. What this machine cannot do (another user, a mount) is skipped.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Callable, Iterator

from doors import MAPS, compiled, shared
from environments import Environment, Missing, clean_environment, environment
from field import Field, mounted, new, old, root_only
from judge import OK, SKIPPED, WRONG, Row
from starts import installed

WHICH = """
import ctypes, sys
for name in sys.argv[1:] or ["libcudart.so.12"]: ctypes.CDLL(name)
print(*sorted({line.split()[-1] for line in open("/proc/self/maps") if "/libcudart" in line or "/plug" in line}))
"""
# Leaves a file where code that should not have run did.
RUNS = '#include <stdio.h>\n__attribute__((constructor)) static void runs(void) { fclose(fopen("%s", "w")); }\nint lt(void) { return 0; }\n'
DOORS = ("run", "audit", "plain", "env")
OTHER_USER = 65534
# Complaints of one attack; the rest say the same.
TOLD = 12

# Something that only CUDA 12.4's runtime has.
CALLS = """
int cudaFuncGetName(const char **, const void *);
int plug(void) { const char *name = 0; return cudaFuncGetName(&name, 0) < 0; }
"""

SHOW = r"""
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
static int show(void)
{
    char line[8192], last[8192] = "";
    FILE *maps = fopen("/proc/self/maps", "r");
    while (maps && fgets(line, sizeof line, maps)) {
        char *path = strchr(line, '/');
        if (path && strstr(path, "/libcudart") && strcmp(path, last))
            fputs(strcpy(last, path), stdout);
    }
    return 0;
}
"""

SHOWS = SHOW + "int main(void) { return plug() + show(); }\n"

PLUGS = (
    SHOW
    + r"""
int main(int count, char **words)
{
    void *opened = dlopen(words[count - 1], RTLD_NOW);
    if (!opened)
        return puts(dlerror()), 1;
    int (*plug)(void) = (int (*)(void))dlsym(opened, "plug");
    return (plug ? plug() : 0) + show();
}
"""
)


# --- whose set is it? ---


def scope(field: Field) -> None:
    """A Python of one environment starts that of another: beside it, below it, by a relative name, by `..`, by a link."""
    a = field.venv("a", old())
    layouts = {"beside": field.venv("b", new()), "below": field.venv("a/envs/b", new()), "in-lib": field.venv("a/lib/b", new())}
    (field.root / "link").symlink_to(layouts["below"])
    names = {name: (root / "bin/python", field.root) for name, root in layouts.items()}
    names["relative"] = (Path("bin/python"), layouts["beside"])
    names["dots"] = (Path("../../b/bin/python"), layouts["in-lib"].parent)
    names["link"] = (field.root / "link/bin/python", field.root)
    starts = "import subprocess, sys; sys.exit(subprocess.run(sys.argv[2:], cwd=sys.argv[1]).returncode)"
    for way in DOORS:
        for name, (python, cwd) in names.items():
            if name == "dots":
                python = Path("../../b/bin/python")
            for first, through in (
                ("python", [a / "bin/python", "-c", starts, cwd]),
                ("shell", ["sh", "-c", 'cd "$0" && exec "$@"', cwd]),
            ):
                ran = field.by(way, [*through, python, "-c", WHICH], ["--python", a])
                field.of(ran, new().site, f"{name}, started by {first}, by {way}")
        field.of(field.by(way, [a / "bin/python", "-c", WHICH], ["--python", a]), old().site, f"its own, by {way}")


def hard_links(field: Field) -> None:
    """Two environments have the very same files by other names: each gets them by its own."""
    for name in ("a", "b"):
        shutil.copytree(new().site / "nvidia", field.root / name / "lib/python3.11/site-packages/nvidia", copy_function=os.link)
        root = field.root / name
        (root / "bin").mkdir()
        (root / "bin/python").symlink_to(new().python.resolve())
        (root / "pyvenv.cfg").write_text(f"home = {new().python.resolve().parent}\nversion_info = 3.11\n")
        for dist in new().site.glob("*.dist-info"):
            shutil.copytree(dist, root / "lib/python3.11/site-packages" / dist.name, copy_function=os.link)
    for way in DOORS:
        for name in ("a", "b", "a"):
            root = field.root / name
            field.of(field.by(way, [root / "bin/python", "-c", WHICH], ["--python", root]), root, f"{name} by {way}")


def own_copy(field: Field) -> None:
    """An application that brings its own CUDA runs in an environment with an older one."""
    app = field.root / "app"
    app.mkdir()
    shutil.copy(new().lib("cuda_runtime") / "libcudart.so.12", app)
    cudart = [f"-L{app}", "-l:libcudart.so.12"]
    commands = {}
    for tag, kind in (("-Wl,--enable-new-dtags", "runpath"), ("-Wl,--disable-new-dtags", "rpath")):
        own = [*cudart, tag, "-Wl,-rpath,$ORIGIN"]
        plugin = shared(app / f"libplug-{kind}.so", CALLS, *own)
        commands[f"plugin-{kind}"] = [compiled(app / "opens", PLUGS), plugin]
        commands[f"linked-{kind}"] = [compiled(app / f"linked-{kind}", CALLS + SHOWS, *own)]
        commands[f"by-name-{kind}"] = [compiled(app / f"by-name-{kind}", PLUGS, tag, "-Wl,-rpath,$ORIGIN"), "libcudart.so.12"]
    # What a bundler's start program does: its own directory on the search path.
    unpacked = compiled(app / "unpacked", PLUGS)
    active = {"VIRTUAL_ENV": str(old().root), "PATH": f"{old().root}/bin:{os.environ['PATH']}"}
    child = "import subprocess, sys; sys.exit(subprocess.run(sys.argv[1:]).returncode)"
    for way in DOORS:
        for name, command in commands.items():
            field.of(field.by(way, command, ["--python", old().root], active), app, f"{name} by {way}")
            through = [old().python, "-c", child, *command]
            field.of(field.by(way, through, ["--python", old().root], active), app, f"{name} under python by {way}")
        bundle = field.by(way, [unpacked, "libcudart.so.12"], ["--python", old().root], {**active, "LD_LIBRARY_PATH": str(app)})
        field.expect(bundle.code == 0, f"unpacked by {way}: {bundle.all}")
        plugin = field.by(way, [old().python, "-c", WHICH, app / "libplug-runpath.so"], ["--python", old().root], active)
        field.expect(
            plugin.code == 0 and f"{app}/libcudart" in plugin.out, f"in the environment's own python by {way}: {plugin.all}"
        )


def launcher(field: Field) -> None:
    """A Python without CUDA starts the environment that needs it: directly, by a script, by way of a shell, with few variables."""
    tool = field.venv("tool", environment("setproctitle"))
    launch = tool / "bin/launch"
    launch.write_text(f"#!{tool}/bin/python\nimport subprocess, sys; sys.exit(subprocess.run(sys.argv[1:]).returncode)\n")
    launch.chmod(0o755)
    bad = {"LD_LIBRARY_PATH": str(old().lib("cuda_runtime"))}
    asks = [new().python, "-c", WHICH]
    starts = {
        "script": [launch, *asks],
        "module": [tool / "bin/python", "-c", "import os, sys; os.execv(sys.argv[1], sys.argv[1:])", *asks],
        "twice": [launch, launch, *asks],
        "shell": [launch, "sh", "-c", '"$0" "$@"; exit $?', *asks],
        "env": [launch, "env", "-u", "VIRTUAL_ENV", *asks],
    }
    for way in DOORS:
        for name, command in starts.items():
            field.of(field.by(way, command, [], bad), new().site, f"{name} by {way}")


def use_and_place(field: Field) -> None:
    """`--use` and `--place` hold for a program that only opens by name, `--place` for what a shell starts, too."""
    lib = new().lib("cuda_runtime")
    program = compiled(field.root / "opens", MAPS + 'int main(void) { return asks("libcudart.so.12"); }\n')
    starts = {"c": [program], "shell": ["sh", "-c", '"$0"; exit $?', program], "relative": ["./opens"]}
    for via in ("auto", "preload", "audit"):
        for name, command in starts.items():
            for option in (["--use", f"libcudart.so.12={lib}/libcudart.so.12"], ["--place", lib]):
                # It is for the command itself.
                if (name, option[0]) == ("shell", "--use"):
                    continue
                answer = field.root / "answer"
                ran = field.ours("run", "--via", via, *option, "--", *command, env={"ANSWER": str(answer)})
                mapped = answer.read_text() if answer.exists() else ""
                field.expect(
                    ran.code == 0 and f"{lib.resolve()}/libcudart" in mapped, f"{name} {option[0]} via {via}: {ran.all}"
                )
                answer.unlink(missing_ok=True)


# --- answers that are no longer right ---


def stale_pth(field: Field) -> None:
    """What an installation's `.pth` names changes in place, by rename, by another file, in sitecustomize."""
    python = installed(field.root / "c")
    site = field.root / "c/lib/python3.11/site-packages"

    def replaced(path: Path, text: str) -> None:
        path.with_suffix(".new").write_text(text)
        path.with_suffix(".new").rename(path)

    changes: dict[str, Callable[[Environment], object]] = {
        "in place": lambda packages: (site / "stack.pth").write_text(f"{packages.site}\n"),
        "renamed": lambda packages: replaced(site / "stack.pth", f"{packages.site}\n"),
        "import line": lambda packages: (site / "stack.pth").write_text(
            f"import sys; sys.path.append({str(packages.site)!r})\n"
        ),
        "sitecustomize": lambda packages: (site / "sitecustomize.py").write_text(
            f"import sys; sys.path.insert(1, {str(packages.site)!r})\n"
        ),
    }
    for way in DOORS:
        for name, change in changes.items():
            (site / "sitecustomize.py").unlink(missing_ok=True)
            (site / "stack.pth").write_text("\n")
            for packages in (old(), new(), old()):
                change(packages)
                field.of(field.by(way, [python, "-c", WHICH], ["--python", python]), packages.site, f"{name} by {way}")


def disk_full(field: Field) -> None:
    """No room for a new answer: the old one is not handed out in its place."""
    root = field.venv("v", old())
    ends = {
        "full": 'i=0; while head -c 4096 /dev/zero > "$3/$i" 2> /dev/null; do i=$((i+1)); done',
        "without inodes": 'i=0; while : > "$3/$i" 2> /dev/null; do i=$((i+1)); done',
        "read-only": 'mount -o remount,ro "$3"',
    }
    pth = root / "lib/python3.11/site-packages/stack.pth"
    (field.root / "full").mkdir()
    env = {"CUDASHIM_CACHE": str(field.root / "full/cache")}
    for name, fill in ends.items():
        pth.write_text(f"{old().site}\n")
        asks = '"$0" run -- "$1" -c "$2"'
        again = f'set +e; mount -t tmpfs -o size=600k,nr_inodes=60 none "$3"; {asks}; {fill}; echo "$4" > "$5"; {asks}'
        ran = mounted(field, again, root / "bin/python", WHICH, field.root / "full", new().site, pth, env=env)
        # The right copy or none: never that of before.
        lines = [*ran.out.split("\n"), ""]
        field.expect(lines[0].startswith(f"{old().site.resolve()}/"), f"{name}, before: {ran.all}")
        field.expect(not lines[1] or lines[1].startswith(f"{new().site.resolve()}/"), f"{name}, after: {ran.all}")


def shared_cache(field: Field) -> None:
    """Two containers of one image share a cache: what one has been given, the start of the other does not take away."""
    for name in ("env", "a/u", "a/w", "b/u", "b/w"):
        (field.root / name).mkdir(parents=True)
    lower = field.venv("lower", new())
    shutil.copytree(new().site / "nvidia", lower / "lib/python3.11/site-packages/nvidia", symlinks=True)
    (lower / "lib/python3.11/site-packages/stack.pth").unlink()
    lay = (
        f"cd {field.root}; mount -t overlay $1 -o lowerdir={lower},upperdir=$1/u,workdir=$1/w env; shift; "
        f'exec "$0" run $1 -- {field.root}/env/bin/python -c "$2" "$3"'
    )
    other = ["unshare", "-m", "--propagation", "private", "sh", "-ec", lay, str(field.cudashim), "b"]
    job = (
        "import os, subprocess, sys\nworker = [sys.executable, '-c', %r]\n"
        "of_its_own = {name: value for name, value in os.environ.items() if not name.startswith('LD_') and name != 'CUDASHIM_PLAN'}\n"
        "subprocess.run(worker, check=True)\n"
        "subprocess.run(eval(sys.argv[1]), check=True, env=of_its_own)\n"
        "subprocess.run(worker, check=True)\n" % WHICH
    )
    for via in ("--via=preload", "--via=audit", "-q"):
        ran = mounted(field, lay, "a", via, job, repr([*other, via, WHICH, "libcudart.so.12"]))
        places = ran.out.splitlines()
        right = ran.code == 0 and len(places) == 3 and all(place.startswith(f"{field.root}/env/") for place in places)
        field.expect(right and "left to the loader" not in ran.err, f"{via}: {ran.all}")


def image_lock(field: Field) -> None:
    """A lock that was made in an image holds in its containers: the same files by another mount."""
    (field.root / "env").mkdir()
    lower = field.venv("lower", new())
    shutil.copytree(new().site / "nvidia", lower / "lib/python3.11/site-packages/nvidia", symlinks=True)
    for dist in new().site.glob("*.dist-info"):
        shutil.copytree(dist, lower / "lib/python3.11/site-packages" / dist.name)
    (lower / "lib/python3.11/site-packages/stack.pth").unlink()
    env, lock = field.root / "env", field.root / "cudashim.lock"
    for name in ("u", "w", "pad"):
        (field.root / name).mkdir()
    lay = 'mount -t tmpfs none "$6"; mount -t overlay o -o "lowerdir=$1,upperdir=$2,workdir=$3" "$4"; shift 4; '
    words = [lower, field.root / "u", field.root / "w", env, lock, field.root / "pad"]
    made = mounted(field, lay.removeprefix('mount -t tmpfs none "$6"; ') + f'"$0" lock -q --python {env} -o "$1"', *words)
    field.expect(made.code == 0, f"lock: {made.all}")
    verified = mounted(field, lay + '"$0" verify "$1"', *words)
    field.expect(verified.code == 0, f"verify: {verified.all}")
    for via in ("preload", "audit"):
        ran = mounted(field, lay + f'"$0" run --via {via} --plan "$1" -- {env}/bin/python -c "$3"', *words, WHICH)
        field.of(ran, env, f"via {via}")
        field.expect("left to the loader" not in ran.err, f"via {via}: {ran.all}")


def coarse_times(field: Field) -> None:
    """On a disk with times of one second, a change in the second of the answer is seen."""
    root_only()
    disk, place = field.root / "disk", field.root / "g"
    place.mkdir()
    with open(disk, "wb") as file:
        file.truncate(32 << 20)
    if not shutil.which("mkfs.ext4") or field.start(["mkfs.ext4", "-q", "-I", "128", disk]).code:
        raise Missing("there is no mkfs.ext4")
    script = (
        'mount -o loop "$1" "$2" || exit 77; rm -rf "$2/v"; cp -a "$3" "$2/v"; : > "$2/v/$5/none.pth"; '
        '"$3/bin/python" -c "import time; time.sleep(1 - time.time() % 1)"; touch "$2/v/$5"; '
        '"$0" run -- "$2/v/bin/python" -c pass; echo "$4" > "$2/v/$5/stack.pth"; "$0" run -- "$2/v/bin/python" -c "$6"'
    )
    root = field.venv("v", old())
    site = "lib/python3.11/site-packages"
    for name in ("new file", "in place"):
        if name == "new file":
            (root / site / "stack.pth").unlink(missing_ok=True)
        else:
            (root / site / "stack.pth").write_text(f"{old().site}\n")
        ran = mounted(field, script, disk, place, root, new().site, site, WHICH)
        if ran.code == 77 or "loop" in ran.err:
            raise Missing(f"no loop device: {ran.err.strip()}")
        field.of(ran, new().site, name)


# --- what others can make us do ---


def foreign_lock(field: Field) -> None:
    """A lock of somebody else's repository runs none of its code: by whatever record it names a file beside it."""
    repo = field.root / "repo"
    repo.mkdir()
    trace = field.root / "ran"
    data = shared(repo / "data.bin", RUNS % trace, "-Wl,-soname,libcudart.so.12", "-Wl,--build-id=sha1")
    stat = data.stat()
    note = field.start(["readelf", "-n", data]).out
    build_id = note.split("Build ID:")[1].split()[0] if "Build ID:" in note else "-"
    python = new().python
    for path in ("/proc/self/cwd/data.bin", "data.bin", str(data)):
        identity = f"{stat.st_dev}:{stat.st_ino}\t{stat.st_size}\t{stat.st_mtime_ns}\t{build_id}\t-"
        stale = f"1:1\t{stat.st_size}\t1\t{build_id}\t-"
        records = {
            "absent": f"absent\tlibcuda.so.1\t{path}",
            "searched": f"searched\tlibcuda.so.1\t{path}",
            "alias": f"alias\tlibcuda.so.1\t{path}",
            "replace": f"replace\t{new().lib('cuda_runtime')}/libcudart.so.12\t{path}",
            "lib": f"lib\tlibcudart.so.12\t{path}\t{stale}\tpreload",
            "bundle": f"bundle\tlibcudart.so.12\t{path}\t1:1\t{stat.st_size}\t1",
        }
        # A lock that says the truth of a file that the user has made his own is the user's own; by no relative way, though.
        if not path.startswith(str(repo)):
            records["lib of now"] = f"lib\tlibcudart.so.12\t{path}\t{identity}\tpreload"
        for name, record in records.items():
            lines = ["cudashim-plan\t1", f"program\t{python}", record]
            (repo / "cudashim.lock").write_text("\n".join([*lines, f"end\t{len(lines)}"]) + "\n")
            for via in ("preload", "audit"):
                asks = "import ctypes\nfor name in ('libcuda.so.1', 'libcudart.so.12'):\n  try: ctypes.CDLL(name)\n  except OSError: pass"
                ran = field.ours("run", "--via", via, "--plan", "cudashim.lock", "--", python, "-c", asks, cwd=repo)
                field.expect(not trace.exists(), f"{name} with {path} via {via} runs foreign code: {ran.all}")
                trace.unlink(missing_ok=True)
            field.ours("verify", "cudashim.lock", cwd=repo)
            field.expect(not trace.exists(), f"verify: {name}")


def probe_neighbour(field: Field) -> None:
    """As root, `--probe` loads nothing that another user wrote, or could: by owner, by group, by a directory above."""
    root_only()
    field.root.chmod(0o755)
    broken = {
        "owner": lambda lib, place: shutil.chown(lib, OTHER_USER, OTHER_USER),
        "everybody": lambda lib, place: lib.chmod(0o777),
        "group": lambda lib, place: (shutil.chown(lib, 0, OTHER_USER), lib.chmod(0o775)),
        "directory": lambda lib, place: place.chmod(0o777),
        "above": lambda lib, place: shutil.chown(place.parent, OTHER_USER, OTHER_USER),
    }
    for name, breaks in broken.items():
        nvidia = field.venv(name, old()) / "lib/python3.11/site-packages/nvidia"
        cublas, runtime = nvidia / "cublas/lib", nvidia / "cuda_runtime/lib"
        runtime.mkdir(parents=True)
        shutil.copy(old().lib("cuda_runtime") / "libcudart.so.12", runtime)
        trace = field.root / f"{name}.ran"
        own = shared(runtime / "libcublasLt.so.12", RUNS % trace, "-Wl,-soname,libcublasLt.so.12")
        asks = "int lt(void);\nint cublasGetProperty(int t, int *v) { (void)t; *v = 12; return lt(); }\n"
        shared(cublas / "libcublas.so.12", asks, "-Wl,-soname,libcublas.so.12", own)
        (runtime / "libcublasLt.c").unlink(missing_ok=True)
        breaks(own, runtime)
        for command in (["scan", "--probe", nvidia.parents[3]], ["inspect", "--probe", cublas / "libcublas.so.12"]):
            ran = field.ours(*command)
            field.expect(not trace.exists(), f"{name}: {command[0]} runs it: {ran.all}")
            trace.unlink(missing_ok=True)


def another_home(field: Field) -> None:
    """Root with a user's HOME (sudo -E) hands out nothing that lies where the user can exchange it."""
    root_only()
    field.root.chmod(0o755)
    home = field.root / "home"
    home.mkdir()
    shutil.chown(home, OTHER_USER, OTHER_USER)
    places = {
        "HOME": {"HOME": str(home)},
        "XDG_CACHE_HOME": {"HOME": "/root", "XDG_CACHE_HOME": str(home)},
        "TMPDIR": {"HOME": str(home), "TMPDIR": str(home)},
    }
    for name, variables in places.items():
        for command in (["run", "-q", "--", "sh", "-c", "echo $LD_PRELOAD"], ["shim"]):
            del_cache = {**clean_environment(), **variables}
            del_cache.pop("CUDASHIM_CACHE", None)
            done = subprocess.run([field.cudashim, *command], env=del_cache, cwd=field.root, capture_output=True, text=True)
            field.expect(str(home) not in done.stdout, f"{name}: {command[0]}: {done.stdout.strip()}")


# --- odd worlds ---


def static_tls(field: Field) -> None:
    """Programs whose libraries want much static TLS start by the door that is chosen for them."""
    lib = new().lib("cuda_runtime")
    main = "int cudaRuntimeGetVersion(int *);\nint main(void) { int version; return cudaRuntimeGetVersion(&version); }\n"
    wants = '__attribute__((tls_model("initial-exec"))) __thread char much[%d];\nchar *wants%d(void) { return much; }\n'
    cudart = ["-Wl,--no-as-needed", f"-L{lib}", "-l:libcudart.so.12", "-Wl,--disable-new-dtags", f"-Wl,-rpath,{lib}"]
    for name, sizes in (("one", [2632]), ("two", [1000, 1000]), ("large", [8000])):
        needed = [shared(field.root / f"lib{name}{at}.so", wants % (size, at)) for at, size in enumerate(sizes)]
        program = compiled(field.root / name, main, *cudart, *needed)
        field.expect(field.start([program]).code == 0, f"{name}: does not start bare")
        for option in ([], ["--place", lib], ["--python", new().root]):
            ran = field.ours("run", *option, "--", program)
            field.expect(ran.code == 0, f"{name} {option}: {ran.all}")
    traced = field.ours("trace", "--", field.root / "large")
    field.expect(traced.code == 0 or "verdict: loads" not in traced.out, f"trace: {traced.all}")


def filters(field: Field) -> None:
    """Libraries that filter each other, in pairs and threes: a verdict, not a hang."""
    for ring in (2, 3):
        names = ["libcudart.so.12", "libcublas.so.12", "libcufft.so.11"][:ring]
        place = field.root / str(ring)
        for at, name in enumerate(names):
            filtered = names[(at + 1) % ring]
            shared(place / name, "int x;\n", "-nostdlib", f"-Wl,-soname,{name}", f"-Wl,-f,{filtered}", "-Wl,-rpath,$ORIGIN")
            (place / name).with_suffix(".c").unlink(missing_ok=True)
        program = compiled(
            place / "p", "int main(void) { return 0; }\n", "-Wl,--no-as-needed", place / names[0], f"-Wl,-rpath,{place}"
        )
        for command in (
            ["check", place / names[0]],
            ["why", names[0], "--for", place / names[1]],
            ["resolve", "--for", place / names[0], "--place", place],
            ["run", "--", program],
        ):
            field.ours(*command)


def lazy(field: Field) -> None:
    """A call that is bound when it is made is not judged as bound at the start; with LD_BIND_NOW and `-z now`, it is."""
    library = shared(
        field.root / "libl.so",
        "extern int omega(void);\nint use(void) { return omega(); }\n",
        "-nostdlib",
        "-Wl,-z,lazy",
        "-Wl,-soname,libl.so",
    )
    for flag in ("-Wl,-z,lazy", "-Wl,-z,now"):
        links = ["-Wl,--no-as-needed", library, f"-Wl,-rpath,{field.root}", flag, "-Wl,--unresolved-symbols=ignore-all"]
        program = compiled(field.root / "p", "int main(void) { return 0; }\n", *links)
        for env in ({}, {"LD_BIND_NOW": "1"}):
            bare, check = field.start([program], env), field.ours("check", program, env=env)
            field.expect((bare.code == 0) == (check.code == 0), f"{flag} {env}: bare exit {bare.code}; check: {check.all}")


def small_ones(field: Field) -> None:
    """What parents and limits do to a start."""
    python, root = new().python, field.root
    words = ["cudashim", "run", "--", str(installed(root / "c")), "-c", "print(1)"]
    ignored = "import signal, os; signal.signal(signal.SIGCHLD, signal.SIG_IGN); "
    ignored += f"os.execv({str(field.cudashim)!r}, {words!r})"
    ran = field.start([python, "-c", ignored])
    field.expect(ran.code == 0 and ran.out == "1\n", f"SIGCHLD is ignored: {ran.all}")
    limited = field.start(["sh", "-c", 'ulimit -f 8; "$@"', "sh", field.cudashim, "run", "--", python, "-c", "print(1)"])
    field.expect(limited.code >= 0 and limited.code != 128 + signal.SIGXFSZ, f"ulimit -f: {limited.all}")
    asan = compiled(root / "asan", "int main(void) { return 0; }\n", "-fsanitize=address")
    for way in DOORS:
        ran = field.by(
            way, [asan], ["--python", new().root], {"VIRTUAL_ENV": str(new().root), "ASAN_OPTIONS": "detect_leaks=0"}
        )
        if way in ("run", "audit"):
            field.expect(ran.code == 0, f"ASan by {way}: {ran.all}")
    shim = field.ours("shim").out.strip()
    ran = field.start(["sh", "-c", 'echo "$LD_PRELOAD"'], {"CUDASHIM_ONCE": "", "LD_PRELOAD": f"{shim}:libm.so.6"})
    field.expect(ran.out.strip() == f"{shim}:libm.so.6", f"CUDASHIM_ONCE: {ran.all}")
    bare = field.venv("bare", environment("setproctitle"))
    field.expect(
        field.ours("check", "--format", "json", "--python", bare).out.startswith("{"), "check --format json prints nothing"
    )
    odd = root / "c1\u009b31m"
    odd.mkdir()
    shutil.copy(new().lib("cuda_runtime") / "libcudart.so.12", odd)
    for form in ("json", "jsonl"):
        field.expect(
            "\u009b" not in field.ours("scan", "--format", form, root / "c1\u009b31m").out,
            f"scan --format {form}: a control character",
        )
    for at in range(40):
        field.ours("run", "--", python, "-c", "1", env={"PATH": f"/nowhere-{at}:{os.environ['PATH']}"})
    kept = len(list((root / "cache/plans").iterdir()))
    field.expect(kept < 200, f"{kept} files are kept of 40 answers")


ATTEMPTS = (
    scope,
    hard_links,
    own_copy,
    launcher,
    use_and_place,
    stale_pth,
    disk_full,
    shared_cache,
    image_lock,
    coarse_times,
    foreign_lock,
    probe_neighbour,
    another_home,
    static_tls,
    filters,
    lazy,
    small_ones,
)


class Attack:
    """An attack, and whether it held."""

    def __init__(self, attempt: Callable[[Field], None]):
        self.name, self.attempt = f"attacks/{attempt.__name__.replace('_', '-')}", attempt

    def judge(self, cudashim: Path) -> Row:
        with tempfile.TemporaryDirectory(prefix="cudashim-real-", ignore_cleanup_errors=True) as scratch:
            field = Field(cudashim, Path(scratch).resolve())
            try:
                self.attempt(field)
            except subprocess.TimeoutExpired as late:
                return Row(self.name, {"run": "hangs"}, WRONG, [f"`{' '.join(map(str, late.cmd[:4]))}` did not end"])
            except Missing as missing:
                return Row(self.name, {}, SKIPPED, [str(missing)])
        if field.wrong:
            return Row(self.name, {"run": f"broken in {len(field.wrong)} ways"}, WRONG, field.wrong[:TOLD])
        return Row(self.name, {"run": "held"}, OK)


def attacks(scratch: Path) -> Iterator[Attack]:
    """See each attempt."""
    yield from map(Attack, ATTEMPTS)


ATTACKS = {"attacks": attacks}
