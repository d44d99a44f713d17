//! `cudashim demo`: the story of the README, as a user of a fresh machine sees it.

use crate::support::*;
use std::path::Path;
use std::process::Command;

/// The demo with an empty environment, and a separate home and temporary directory.
struct Demo {
    machine: Machine,
    command: Command,
}

impl Demo {
    fn new() -> Self {
        let machine = Machine::new();
        let mut command = machine.cudashim(["demo"]);
        command.env_remove("CUDASHIM_CACHE").env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("TMPDIR", machine.mkdir("tmp")).current_dir(machine.mkdir("cwd"));
        Self { machine, command }
    }

    /// The story, its line breaks undone.
    fn story(&mut self) -> String {
        let Process { code, out, err } = Process::of(&mut self.command);
        assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
        for line in out.lines() {
            assert!(line.chars().count() <= 100 || !line.trim().contains(' '), "too long: {line}");
        }
        for name in ["home", "tmp", "cwd"] {
            assert!(is_empty(&self.machine.path(name)), "something is left in `{name}`");
        }
        out.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

fn is_empty(dir: &Path) -> bool {
    std::fs::read_dir(dir).unwrap().next().is_none()
}

/// The story with what is different each time put aside: the directory's name, and the digests made from it.
fn timeless(story: &str) -> String {
    let word = |word: &str| {
        let name = word.rsplit('/').next().unwrap_or_default();
        let random = name.starts_with("cudashim-demo-") || name.ends_with(".image");
        if random { word.replace(name, "[NAME]") } else { word.to_owned() }
    };
    let words: Vec<String> = story.split(' ').map(word).collect();
    // The legend names the temporary directory, which differs between two demos of a test.
    words
        .iter()
        .map(|word| if word.ends_with("/[NAME]") && word.starts_with('/') { "[TMP]" } else { word })
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn demo_breaks_explains_and_heals() {
    let story = Demo::new().story();
    let mut rest = story.as_str();
    for line in [
        "$ LD_LIBRARY_PATH=$DEMO/cuda-12.1/lib64 python -c 'import torch'",
        // ld.so's own words, in every glibc.
        "ImportError: $SITE/torch/lib/../../nvidia/cusparse/lib/libcusparse.so.12: \
         undefined symbol: __nvJitLinkComplete_12_4, version libnvJitLink.so.12",
        "$ cudashim resolve --explain libnvJitLink.so.12",
        "$SITE/nvidia/nvjitlink/lib/libnvJitLink.so.12 chosen: ",
        "$DEMO/cuda-12.1/lib64/libnvJitLink.so.12 not chosen: ",
        "__nvJitLinkComplete_12_4",
        "$ cudashim run -- python -c 'import torch'",
        "torch 2.5.1+cu124 imported; libnvJitLink.so.12 from $SITE/nvidia/nvjitlink/lib/libnvJitLink.so.12 ",
        " CUDASHIM_PLAN=$DEMO/cache/plans/",
        " LD_PRELOAD=$DEMO/cache/libcudashim-",
        "On your own machine: cudashim run -- python train.py",
    ] {
        let Some(at) = rest.find(line) else { panic!("`{line}` does not follow in:\n{story}") };
        rest = &rest[at + line.len()..];
    }
}

#[test]
fn demo_ignores_the_callers_environment() {
    let mut plain = Demo::new();
    let mut other = Demo::new();
    // Of each kind one: the loader's variables, Python's, a toolkit's, ours. And a working directory that looks like a
    // site directory.
    let trap = other.machine.mkdir("trap");
    other.machine.mkdir("trap/nvidia");
    other.machine.write("trap/torch/__init__.py", "");
    other.machine.mkdir("cache");
    for (name, value) in [
        ("LD_LIBRARY_PATH", trap.to_str().unwrap()),
        ("PYTHONPATH", trap.to_str().unwrap()),
        ("VIRTUAL_ENV", "/nowhere"),
        ("CONDA_PREFIX", "/nowhere"),
        ("CUDA_HOME", trap.to_str().unwrap()),
        ("CUDASHIM_PLACE", trap.to_str().unwrap()),
        ("CUDASHIM_OFF", "1"),
        ("CUDASHIM_PLAN", "/nowhere"),
        ("LANG", "de_DE.UTF-8"),
    ] {
        other.command.env(name, value);
    }
    let cache = other.machine.path("cache");
    other.command.env("CUDASHIM_CACHE", &cache).current_dir(&trap);
    assert_eq!(timeless(&plain.story()), timeless(&other.story()));
    assert!(is_empty(&cache));
}

#[test]
fn demo_follows_a_linked_tmpdir() {
    let mut demo = Demo::new();
    let link = demo.machine.path("link");
    std::os::unix::fs::symlink("tmp", &link).unwrap();
    demo.command.env("TMPDIR", link);
    assert!(demo.story().contains("; libnvJitLink.so.12 from $SITE/"));
}

#[test]
fn demo_rejects_an_unusable_tmpdir() {
    for (dir, reason) in
        [("with space", "path contains ` `"), ("with:colon", "path contains `:`"), ("gone", "cannot write `")]
    {
        let mut demo = Demo::new();
        if dir != "gone" {
            demo.machine.mkdir(dir);
        }
        let dir = demo.machine.path(dir);
        demo.command.env("TMPDIR", &dir);
        let Process { code, out, err } = Process::of(&mut demo.command);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{err}");
        assert!(err.contains(reason) && err.contains("hint: set `TMPDIR`"), "{err}");
        assert!(!dir.exists() || is_empty(&dir));
    }
}
