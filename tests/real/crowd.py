"""Many threads and many processes that ask at once, by every door: nobody waits for ever, nobody gets another answer.

Each has an older part of what it asks for on LD_LIBRARY_PATH, and no answer is kept from before: one asks for all.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections import Counter
from pathlib import Path
from typing import Iterator

import judge
from doors import compiled
from environments import Environment, clean_environment, environment
from judge import OK, WRONG, Row

STARTS = 2000
AT_ONCE = 8

# Each thread opens by name; then: how many could not, and which files are mapped.
CROWD = r"""
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
static pthread_barrier_t all;
static int failed;
static void *opens(void *name)
{
    pthread_barrier_wait(&all);
    if (!dlopen(name, RTLD_NOW))
        __atomic_add_fetch(&failed, 1, __ATOMIC_SEQ_CST);
    return 0;
}
int main(int argc, char **argv)
{
    enum { THREADS = 64 };
    pthread_t threads[THREADS];
    int count = argc > 2 ? 1 : THREADS;
    pthread_barrier_init(&all, 0, count);
    for (int i = 0; i < count; i++)
        pthread_create(&threads[i], 0, opens, argv[1]);
    for (int i = 0; i < count; i++)
        pthread_join(threads[i], 0);
    printf("%d failed", failed);
    char line[8192], last[8192] = "";
    FILE *maps = fopen("/proc/self/maps", "r");
    while (maps && fgets(line, sizeof line, maps)) {
        char *path = strchr(line, '/');
        if (path)
            path[strcspn(path, "\n")] = 0;
        if (path && (strstr(path, "libcusparse") || strstr(path, "libnvJitLink")) && strcmp(path, last))
            printf(" %s", strcpy(last, path));
    }
    puts("");
    return failed != 0;
}
"""


class Crowd:
    """A program that is started so many times, so many at once; all give one answer, and that is the environment's."""

    def __init__(self, name: str, words: list, venv: Environment, starts: int):
        self.name, self.words, self.venv, self.starts = f"crowd/{name}", words, venv, starts

    def judge(self, cudashim: Path) -> Row:
        row = Row(self.name, {}, OK)
        for way in judge.WAYS:
            answers = self.answers(way, cudashim, 1 if way == "bare" else self.starts)
            row.cells[way] = judge.shorten(", ".join(f"{count} x {answer}" for answer, count in answers.most_common(2)))
            served = [answer for answer in answers if self.whole(answer)]
            if (served != []) if way == "bare" else (len(answers) != 1 or not served):
                row.verdict = WRONG
                row.complaints.append(f"{way}: {'; '.join(f'{count} x {answer}' for answer, count in answers.most_common(4))}")
        return row

    def whole(self, answer: str) -> bool:
        failed, _, paths = answer.partition(" failed ")
        paths = paths.split()
        return failed == "0" and len(paths) == 2 and all(path.startswith(f"{self.venv.site.resolve()}/") for path in paths)

    def answers(self, way: str, cudashim: Path, starts: int) -> Counter:
        answers: Counter = Counter()
        with tempfile.TemporaryDirectory(prefix="cudashim-real-") as scratch:
            env = {
                **clean_environment(),
                "LD_LIBRARY_PATH": str(environment("small-12.1").lib("nvjitlink")),
                "VIRTUAL_ENV": str(self.venv.root),
                "CUDASHIM_CACHE": str(Path(scratch, "cache")),
            }
            # `env` is asked once, as it is by people, and its shell starts all of them.
            if way == "env":
                command, env = judge.served(way, cudashim, ["env", "-0"], env, ["--python", self.venv.root])
                got = subprocess.run(list(map(os.fspath, command)), env=env, check=True, capture_output=True).stdout
                env = dict(entry.split("=", 1) for entry in os.fsdecode(got).split("\0") if entry)
                command = self.words
            else:
                command, env = judge.served(way, cudashim, self.words, env, [])
            words = [os.fspath(word) for word in command]
            running: list = []
            while starts or running:
                while starts and len(running) < AT_ONCE:
                    running.append(
                        subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
                    )
                    starts -= 1
                child = running.pop(0)
                try:
                    failed, *paths = child.communicate(timeout=judge.SECONDS)[0].strip().split(" /")
                    # Where they lie in memory is the kernel's choice.
                    answers[" /".join([failed, *sorted(paths)])] += 1
                except subprocess.TimeoutExpired:
                    child.kill()
                    answers["hangs"] += 1
        return answers


def crowd(scratch: Path) -> Iterator[Crowd]:
    """64 threads in 20 processes; 2,000 processes."""
    venv = environment("small-12.4")
    program = compiled(scratch / "crowd", CROWD, "-pthread")
    yield Crowd("threads", [program, "libcusparse.so.12"], venv, 20)
    yield Crowd("path", [program, venv.lib("cusparse") / "libcusparse.so.12"], venv, 20)
    yield Crowd("starts", [program, "libcusparse.so.12", "alone"], venv, STARTS)


CROWDS = {"crowd": crowd}
