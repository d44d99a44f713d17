"""A directory mounted once more, slowly: each call to the file system waits, and reads out of order are slow.

Takes a directory, a place to mount it at, and the costs; serves it read-only through FUSE (mfusepy) until a line `end`. A line
`count` on stdin is answered on stdout by one line of JSON: calls by name, bytes, and calls by process, since the last such
line. Written for measurements: the kernel keeps what was read, as it does of NFS and Lustre, and a new mount starts cold.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import sys
import threading
import time
from collections import Counter

import mfusepy as fuse


def counted(function):
    """A call that is counted, and takes its time."""

    def slow(self, *arguments):
        with self.one:
            self.calls[function.__name__] += 1
            self.processes[str(fuse.fuse_get_context()[2])] += 1
        time.sleep(self.call)
        return function(self, *arguments)

    return slow


class Slow(fuse.Operations):
    """The tree below a directory."""

    use_ns = True

    def __init__(self, tree: str, call: float, sequential: float, random: float):
        self.tree, self.call, self.sequential, self.random = tree, call, sequential, random
        self.one = threading.Lock()
        self.calls: Counter = Counter()
        self.processes: Counter = Counter()
        # Where a next read of an open file is in order.
        self.ends: dict = {}

    def since_last(self) -> str:
        with self.one:
            said = json.dumps({"calls": dict(self.calls), "processes": dict(self.processes)})
            self.calls.clear()
            self.processes.clear()
        return said

    def at(self, path: str) -> str:
        return self.tree + path

    @counted
    def getattr(self, path, fh=None):
        found = os.lstat(self.at(path))
        names = "st_mode st_nlink st_uid st_gid st_size st_ino st_blocks".split()
        times = {f"st_{name}": getattr(found, f"st_{name}_ns") for name in ("atime", "mtime", "ctime")}
        return {**{name: getattr(found, name) for name in names}, **times}

    @counted
    def readlink(self, path):
        return os.readlink(self.at(path))

    @counted
    def readdir(self, path, fh):
        with os.scandir(self.at(path)) as entries:
            found = [(entry.name, entry.stat(follow_symlinks=False)) for entry in entries]
        return [(name, {"st_ino": state.st_ino, "st_mode": state.st_mode}, 0) for name, state in found]

    @counted
    def access(self, path, amode):
        return 0

    @counted
    def statfs(self, path):
        found = os.statvfs(self.at(path))
        return {name: getattr(found, name) for name in dir(found) if name.startswith("f_") and name != "f_fsid"}

    @counted
    def open(self, path, flags):
        if flags & (os.O_WRONLY | os.O_RDWR):
            raise fuse.FuseOSError(errno.EROFS)
        return os.open(self.at(path), flags)

    def release(self, path, fh):
        self.ends.pop(fh, None)
        os.close(fh)

    @counted
    def read(self, path, size, offset, fh):
        part = os.pread(fh, size, offset)
        with self.one:
            # The kernel asks for the parts of one request in any order.
            ends = self.ends.setdefault(fh, set())
            in_order = any(0 <= offset - end <= 1 << 20 for end in ends) or offset == 0
            ends.add(offset + len(part))
            self.calls["bytes" if in_order else "bytes out of order"] += len(part)
        time.sleep(len(part) / (self.sequential if in_order else self.random))
        return part


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tree")
    parser.add_argument("mount")
    parser.add_argument("--call", type=float, default=0.001, help="seconds that each call takes")
    parser.add_argument("--sequential", type=float, default=130e6, help="bytes a second of reads in order")
    parser.add_argument("--random", type=float, default=3.5e6, help="bytes a second of reads out of order")
    arguments = parser.parse_args()
    slow = Slow(os.path.realpath(arguments.tree), arguments.call, arguments.sequential, arguments.random)

    def listen() -> None:
        for line in sys.stdin:
            if line.strip() == "end":
                break
            print(slow.since_last(), flush=True)
        os.system(f"umount -l '{arguments.mount}'")

    threading.Thread(target=listen, daemon=True).start()
    fuse.FUSE(
        slow,
        arguments.mount,
        foreground=True,
        nothreads=False,
        max_threads=16,
        ro=True,
        allow_other=True,
        use_ino=True,
        kernel_cache=True,
        entry_timeout=60,
        attr_timeout=60,
        negative_timeout=60,
    )


if __name__ == "__main__":
    main()
