//! `cudashim demo`: the story of the README, as a user of a fresh machine sees it.
#![allow(clippy::unwrap_used)] // A demo that cannot be set up says why by failing.

use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

/// The demo with an empty environment, and a home and temporary directory of its own.
struct Demo {
    dir: TempDir,
    command: Command,
}

impl Demo {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["home", "tmp", "cwd"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_cudashim"));
        command
            .arg("demo")
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", dir.path().join("home"))
            .env("TMPDIR", dir.path().join("tmp"))
            .current_dir(dir.path().join("cwd"));
        Self { dir, command }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn run(&mut self) -> Output {
        self.command.output().unwrap()
    }

    /// The story, its line breaks undone.
    fn story(&mut self) -> String {
        let output = self.run();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{stdout}\n{stderr}");
        assert_eq!(stderr, "");
        for line in stdout.lines() {
            assert!(line.chars().count() <= 100 || !line.trim().contains(' '), "too long: {line}");
        }
        for name in ["home", "tmp", "cwd"] {
            assert!(is_empty(&self.path(name)), "something is left in `{name}`");
        }
        stdout.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
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
fn it_breaks_is_explained_and_healed() {
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
fn the_callers_shell_changes_nothing() {
    let mut plain = Demo::new();
    let mut other = Demo::new();
    // Of each kind one: the loader's variables, Python's, a toolkit's, ours. And a working directory that looks like a
    // site directory.
    let trap = other.path("trap");
    std::fs::create_dir_all(trap.join("torch")).unwrap();
    std::fs::create_dir_all(trap.join("nvidia")).unwrap();
    std::fs::write(trap.join("torch/__init__.py"), "").unwrap();
    std::fs::create_dir(other.path("cache")).unwrap();
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
    let cache = other.path("cache");
    other.command.env("CUDASHIM_CACHE", &cache).current_dir(&trap);
    assert_eq!(timeless(&plain.story()), timeless(&other.story()));
    assert!(is_empty(&cache));
}

#[test]
fn a_symbolic_link_to_the_temporary_directory_is_seen_through() {
    let mut demo = Demo::new();
    let link = demo.path("link");
    std::os::unix::fs::symlink("tmp", &link).unwrap();
    demo.command.env("TMPDIR", link);
    assert!(demo.story().contains("; libnvJitLink.so.12 from $SITE/"));
}

#[test]
fn a_directory_that_cannot_serve_is_told_with_what_to_do() {
    for (dir, reason) in
        [("with space", "path contains ` `"), ("with:colon", "path contains `:`"), ("gone", "cannot write `")]
    {
        let mut demo = Demo::new();
        if dir != "gone" {
            std::fs::create_dir(demo.path(dir)).unwrap();
        }
        let dir = demo.path(dir);
        demo.command.env("TMPDIR", &dir);
        let output = demo.run();
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(reason) && stderr.contains("hint: set `TMPDIR`"), "{stderr}");
        assert!(output.stdout.is_empty());
        assert!(!dir.exists() || is_empty(&dir));
    }
}
