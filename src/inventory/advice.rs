//! What to do about a problem: one step that a person can take, for each id of [`PROBLEMS`](super::PROBLEMS).

/// Ids with what mends them. Several ids have one remedy.
const ADVICE: [(&[&str], &str); 16] = [
    (&["altered-file"], "reinstall the package; `--hash` tells whether the bytes differ, too"),
    (
        &["cublas-silent-mix", "cudnn8-mixed-sublibs", "cudnn9-torn-set", "torn-driver", "nvrtc-wrong-builtins"],
        "take the foreign directory off the search path, or start programs with `cudashim run`, which hands out one release",
    ),
    (&["cudnn9-sublib-not-found", "partial-cudnn"], "install the whole of cuDNN in one release"),
    (&["current-directory-on-path"], "remove the empty or relative element from `LD_LIBRARY_PATH`"),
    (&["dangling-link"], "remove the link, or install what it should lead to"),
    (&["duplicate-soname"], "keep one of the two directories on the search path"),
    (&["executable-stack"], "clear the flag with `patchelf --clear-execstack FILE`, or use a later release"),
    (
        &["major-symlink-hack", "soname-differs"],
        "remove the name: it leads programs to a library they were not built for",
    ),
    (
        &["not-a-file", "not-elf", "truncated", "wrong-class"],
        "reinstall the package that should stand there, or remove it",
    ),
    (&["nvml-kernel-user-mismatch"], "reboot, or reload the kernel module: the driver was updated under it"),
    (
        &["pip-cu12-cu13-overwrite"],
        "uninstall both packages, then install the one that is needed: removing one alone takes the file of the other",
    ),
    (
        &["probe-crashed", "probe-timed-out"],
        "load it in a program of your own to see whether it is damaged, or wants a device that does not answer",
    ),
    (&["probe-disagrees"], "reinstall the package: the file is not of the release that it is said to be"),
    (&["probe-not-loaded"], "install what it needs; `ldd FILE` lists what is not found"),
    (&["stub-libcuda", "stub-on-path"], "take the `stubs` directory off the search path: it is for linking"),
    (&["unreadable"], "make it readable for you"),
];

/// What to do about problems of this id.
#[must_use]
pub fn advice(id: &str) -> Option<&'static str> {
    ADVICE.iter().find(|(ids, _)| ids.contains(&id)).map(|(_, says)| *says)
}

#[cfg(test)]
mod tests {
    use super::super::PROBLEMS;
    use super::*;

    #[test]
    fn every_problem_has_a_way_out() {
        for (id, _) in PROBLEMS {
            assert!(advice(id).is_some_and(|says| !says.ends_with('.')), "{id}");
        }
        let known = |id: &&str| PROBLEMS.iter().any(|(known, _)| known == id);
        assert!(ADVICE.iter().all(|(ids, _)| ids.iter().all(known)));
    }
}
