"""The set that fits, opened in this process before a framework asks for it.

Comes in: the name of a module that is about to be imported. Goes out: the libraries of the set, mapped; or this process
started anew with the shim preloaded, where mapping them is not enough. `cudashim enable` writes a copy of this file into an
environment; `cudashim.preload()` uses it too. Never raises into the import, never runs where the shim is in force, imports
nothing heavy before it is needed.
"""

import os
import sys

# `cudashim enable` fills these in. `{prefix}` is the environment, wherever it is now.
BINARY = ""
VERSION = ""

# Longer than a judgement takes on a slow disk.
SECONDS = 20.0

RTLD_NOLOAD = 4

_met = set()
handles = []


class Fault(Exception):
    """Why nothing could be done, in a few words."""


class Answer:
    """What the binary says of one module."""

    def __init__(self, fields):
        self.opens = []
        self.notes = []
        self.why = None
        self.variables = []
        self.whole = False
        rest = iter(fields)
        try:
            for word in rest:
                if word == b"open":
                    self.opens.append((next(rest), next(rest)))
                elif word == b"note":
                    self.notes.append(_text(next(rest)))
                elif word == b"restart":
                    self.why = _text(next(rest))
                elif word == b"variable":
                    self.variables.append((next(rest), next(rest)))
                elif word == b"fault":
                    raise Fault(_text(next(rest)))
                elif word == b"end":
                    self.whole = True
                else:
                    raise Fault("the answer of the binary is of another version")
        except StopIteration:
            pass
        if not self.whole:
            raise Fault("the answer of the binary is cut")


def met(name, pid):
    """A module of this name is about to be imported, in the process that `pid` was at its start, or in a child of it."""
    if name in _met:
        return None
    _met.add(name)
    try:
        if sys.modules.get(name) is None and _is_there(name):
            _heal(name, pid)
    except Exception as error:
        _say(_words(error))
    return None


def binary():
    """The path of the binary that enabled this environment."""
    return BINARY.replace("{prefix}", sys.prefix)


def start_environment():
    """The environment that this process was started with: the loader does not see what `os.environ` became later."""
    try:
        with open("/proc/self/environ", "rb") as file:
            pairs = [pair.partition(b"=") for pair in file.read().split(b"\0")]
    except OSError:
        return dict(os.environb)
    return {name: value for name, equals, value in pairs if equals}


def is_served(environment):
    """Whether the shim is in this process, or nobody wants anything of ours in it."""
    listed = [environment.get(name, b"") for name in (b"LD_PRELOAD", b"LD_AUDIT")]
    return environment.get(b"CUDASHIM_OFF") == b"1" or any(b"libcudashim" in entries for entries in listed)


def ask(path, module, environment):
    """Asks the binary at `path` what `module` needs in this process."""
    import fcntl
    import select
    import signal
    import time

    words = [path, "set-for", module, _program()] + _arguments()[1:]
    environment = dict(environment)
    # Where packages are looked for may have been changed since; the loader's variables may not.
    environment.update((name, value) for name, value in os.environb.items() if not name.startswith(b"LD_"))
    reader, writer = _pipe(fcntl)
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    actions = [(os.POSIX_SPAWN_DUP2, null, 0), (os.POSIX_SPAWN_DUP2, writer, 1), (os.POSIX_SPAWN_DUP2, null, 2)]
    child, said = 0, b""
    try:
        child = os.posix_spawn(path, words, environment, file_actions=actions, setsigmask=[])
        os.close(writer)
        writer = -1
        poll = select.poll()
        poll.register(reader, select.POLLIN)
        end = time.monotonic() + SECONDS
        while True:
            left = end - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                raise Fault("`%s` did not answer in %d seconds" % (path, SECONDS))
            part = os.read(reader, 65536)
            if not part:
                break
            said += part
    except (FileNotFoundError, NotADirectoryError):
        says = "`%s` is gone: install it again and type `cudashim enable %s`, or remove `%s`"
        raise Fault(says % (path, sys.prefix, __file__))
    except OSError as error:
        raise Fault("`%s` cannot be started: %s" % (path, error.strerror))
    finally:
        if child:
            _end(child, signal.SIGKILL if not said.endswith(b"end\0") else None)
        for descriptor in (reader, writer, null):
            if descriptor >= 0:
                os.close(descriptor)
    return Answer(said.split(b"\0")[:-1])


def open_set(answer):
    """Maps the libraries of an answer, in its order; what is mapped from another file already, as (soname, file, ours)."""
    import ctypes

    elsewhere = []
    for soname, path in answer.opens:
        if _mapped(ctypes, path) is not None:
            continue
        other = _mapped(ctypes, soname)
        if other is not None:
            elsewhere.append((_text(soname), _file(ctypes, other) or "?", _text(path)))
            continue
        try:
            # Nothing of it is unloaded again: the handle stays.
            handles.append(ctypes.CDLL(os.fsdecode(path)))
        except OSError as error:
            raise Fault("cannot open `%s`: %s" % (_text(path), error))
    return elsewhere


def _heal(name, pid):
    environment = start_environment()
    os.environ.pop("CUDASHIM_RESTARTED", None)
    if is_served(environment):
        return
    # Before anything is asked: what a child wrote counts as written by who reaped it.
    written = _written()
    answer = ask(binary(), name, environment)
    for note in answer.notes:
        _say(note)
    if answer.why is not None:
        refused = why_not_restarted(environment, pid, written)
        if refused is None:
            _restart(environment, answer)
        command = " ".join(_arguments()[:1])
        _say("%s: %s is not started again, for %s; `cudashim run -- %s …` serves it" % (answer.why, command, refused, command))
    for soname, file, ours in open_set(answer):
        _say("%s is mapped from `%s` already, and the set has `%s`: import %s first" % (soname, file, ours, name))


def why_not_restarted(environment, pid, written):
    """What of this process would be lost, or done twice, were it started again; None: nothing."""
    import _thread

    if environment.get(b"CUDASHIM_RESTARTED") == str(os.getpid()).encode():
        return "that was done already"
    if os.getpid() != pid:
        return "it is a forked child"
    if not _is_main_interpreter():
        return "this is a subinterpreter"
    if _thread.get_native_id() != os.getpid() or _thread._count() > 0:
        return "it has threads"
    try:
        if not os.path.samefile("/proc/self/exe", sys.executable):
            return "Python is embedded in another program"
        if sys.flags.interactive or (sys.argv or [""])[0] in ("", "-"):
            return "its program comes from standard input"
        if sys.gettrace() is not None:
            return "a debugger watches it"
        if "multiprocessing.spawn" in sys.modules and "--multiprocessing-fork" in _arguments():
            return "it has read from its parent"
        if _children():
            return "it has children"
        if _opened():
            return "it has opened files"
        if _has_read():
            return "it has read standard input"
        if written is None or written > _bytecode():
            return "it has written something"
    except Exception as error:
        return "it cannot be looked into: %s" % error
    return None


def _restart(environment, answer):
    environment = dict(environment)
    for name, value in answer.variables:
        environment[name] = value
    # An exec keeps the number.
    environment[b"CUDASHIM_RESTARTED"] = str(os.getpid()).encode()
    try:
        os.execve(_program(), _arguments(), environment)
    except OSError as error:
        raise Fault("cannot start `%s` again: %s" % (_program(), error.strerror))


def _program():
    return sys.executable or os.path.join(sys.prefix, "bin", "python")


def _arguments():
    known = getattr(sys, "orig_argv", None)
    if known is None:
        with open("/proc/self/cmdline", "rb") as file:
            known = [os.fsdecode(word) for word in file.read().split(b"\0")[:-1]]
    return known


def _is_there(name):
    """Whether a module can be imported at all: many are asked for by those that go without."""
    from importlib.machinery import PathFinder

    return PathFinder.find_spec(name) is not None or any(_editable(finder) for finder in sys.meta_path)


def _editable(finder):
    return "editable" in getattr(finder, "__name__", type(finder).__name__).lower()


def _is_main_interpreter():
    for name in ("_interpreters", "_xxsubinterpreters"):
        try:
            module = __import__(name)
            current, main = module.get_current(), module.get_main()
        except (ImportError, AttributeError):
            continue
        return current == main
    return True


def _children():
    try:
        with open("/proc/self/task/%d/children" % os.getpid()) as file:
            return file.read().split()
    except FileNotFoundError:
        return []


def _opened():
    """Descriptors that an exec would close: what was there at the start has no such mark."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            if int(name) > 2 and not os.get_inheritable(int(name)):
                found.append(name)
        except OSError:
            # The directory's own.
            pass
    return found


def _has_read():
    import stat

    try:
        mode = os.fstat(0).st_mode
    except OSError:
        return False
    if stat.S_ISREG(mode):
        return os.lseek(0, 0, os.SEEK_CUR) != 0
    return getattr(sys.stdin, "newlines", None) is not None


def _written():
    """How many bytes this process wrote so far, whereto ever; None where the kernel does not tell."""
    try:
        with open("/proc/self/io") as file:
            return int(file.read().partition("wchar: ")[2].split()[0])
    except (OSError, ValueError, IndexError):
        return None


def _bytecode():
    """How many bytes of them are the bytecode that Python keeps."""
    import time

    with open("/proc/self/stat") as file:
        ticks = int(file.read().rpartition(")")[2].split()[19])
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    # Files have the time of the last tick of a clock that is coarser.
    start = time.time() - age - 0.05
    kept = 0
    for module in list(sys.modules.values()):
        try:
            state = os.stat(module.__spec__.cached)
        except (AttributeError, OSError, TypeError, ValueError):
            continue
        if state.st_mtime >= start:
            kept += state.st_size
    return kept


def _mapped(ctypes, name):
    try:
        return ctypes.CDLL(os.fsdecode(name), mode=RTLD_NOLOAD)
    except OSError:
        return None


def _file(ctypes, library):
    """The file that a library was mapped from, by its link map (dlinfo(3))."""

    class Link(ctypes.Structure):
        _fields_ = [("address", ctypes.c_void_p), ("name", ctypes.c_char_p)]

    link = ctypes.POINTER(Link)()
    dlinfo = ctypes.CDLL(None).dlinfo
    dlinfo.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]
    if dlinfo(library._handle, 2, ctypes.byref(link)) != 0 or not link:
        return None
    return _text(link.contents.name)


def _pipe(fcntl):
    """A pipe whose ends are none of the standard descriptors, which may be closed."""
    ends = os.pipe()
    try:
        return [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 3) for end in ends]
    finally:
        for end in ends:
            os.close(end)


def _end(child, signal):
    if signal is not None:
        try:
            os.kill(child, signal)
        except OSError:
            pass
    try:
        os.waitpid(child, 0)
    except OSError:
        # Somebody else reaps the children of this process.
        pass


def _text(field):
    return os.fsdecode(field).encode("utf-8", "backslashreplace").decode()


def _words(error):
    return str(error) if isinstance(error, Fault) else "%s: %s" % (type(error).__name__, error)


def _say(text):
    if os.environ.get("CUDASHIM_LOG") == "off":
        return
    try:
        os.write(2, ("cudashim: %s\n" % text.replace("\n", " ")).encode("utf-8", "backslashreplace"))
    except OSError:
        pass
