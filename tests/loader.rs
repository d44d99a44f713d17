//! The link map and the link, asked of the real ld.so: on libraries of a few lines, each case shows one rule.

mod bad;
mod link;
mod search;
mod worlds;

use crate::support::*;
use cudashim::Host;
use cudashim::internal::loader::Objects;
use cudashim::internal::loader::{FILTER_CIRCLE, Fault, Flags, LinkError, LinkMap, Listed, Loader, Symbols};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The ld.so of this machine.
fn ld_so() -> PathBuf {
    let host = Host::new("/".into(), [].into(), "/".into());
    let objects = Objects::new(&host);
    Loader::new(&objects).interpreter().to_owned()
}

/// What a process starts with.
#[derive(Clone, Copy)]
struct Start<'a> {
    variables: &'a [(&'a str, &'a str)],
    directory: &'a Path,
}

impl<'a> Start<'a> {
    fn of(lab: &'a Machine, variables: &'a [(&'a str, &'a str)]) -> Self {
        Self { variables, directory: lab.root() }
    }

    fn host(self) -> Host {
        let variables = self.variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        Host::new("/".into(), variables.collect(), self.directory.to_owned())
    }

    fn command(self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().envs(self.variables.iter().copied()).env("LC_ALL", "C").current_dir(self.directory);
        command
    }
}

/// What `ld.so FILE` maps, in order, or its last words; with the undefined symbols as `ldd -r` has them.
fn theirs(file: &Path, start: Start<'_>) -> Vec<String> {
    let mut command = start.command(&ld_so());
    command.env("LD_TRACE_LOADED_OBJECTS", "1").env("LD_WARN", "yes").env("LD_BIND_NOW", "yes").arg(file);
    let output = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if let Some(signal) = output.status.signal() {
        return vec![format!("killed by {signal}")];
    }
    if let Some((_, words)) = err.split_once("error while loading shared libraries: ") {
        return vec![words.trim_end().to_owned()];
    }
    let mut lines: Vec<String> = Vec::new();
    for line in out.lines().filter(|line| !line.contains("linux-vdso.so.1")) {
        let line = line.trim().rsplit_once(" (0x").map_or(line.trim(), |(line, _)| line);
        let path = line.rsplit_once(" => ").map_or(line, |(_, path)| path);
        lines.push(if path == "not found" { line.to_owned() } else { path.to_owned() });
    }
    for line in err.lines() {
        let said = if line.starts_with("undefined symbol: ") {
            line
        } else if let Some((_, said)) = line.split_once(": ").filter(|_| line.contains("(required by ")) {
            said
        } else {
            continue;
        };
        if !lines.iter().any(|known| known == said) {
            lines.push(said.to_owned());
        }
    }
    lines
}

/// The same, foretold.
fn ours(file: &Path, start: Start<'_>) -> Vec<String> {
    let host = start.host();
    let objects = Objects::new(&host);
    let loader = Loader::new(&objects);
    let mut map = LinkMap::new(&loader);
    if let Err(error) = map.list(file) {
        return vec![format!("{}: {error}", file.display())];
    }
    // A damaged file ends the trace.
    if let Some(missing) = map.missing().iter().find(|missing| missing.unusable.is_some()) {
        let said = missing.to_string();
        let signal = [("segments do", 7), (FILTER_CIRCLE, 11)].into_iter().find(|(ends, _)| said.ends_with(ends));
        return vec![signal.map_or(said, |(_, signal)| format!("killed by {signal}"))];
    }
    let mut lines = Vec::new();
    for listed in map.listing().iter().skip_while(|listed| **listed != Listed::Object(0)).skip(1) {
        lines.push(match listed {
            Listed::Object(index) => map.objects()[*index].path.display().to_string(),
            Listed::Missing(index) => format!("{} => not found", map.missing()[*index].name.display()),
        });
    }
    if map.objects()[0].object.facts.needed.is_empty() {
        lines = vec!["statically linked".into()];
    }
    let link = map.link(Symbols::Now);
    for said in link.nodes.iter().map(|node| map.message_of(node)) {
        // The same message for each version of a library without versions.
        if !lines.contains(&said) {
            lines.push(said);
        }
    }
    for symbol in &link.symbols {
        let node = symbol.node.as_ref().map(|node| format!(", version {}", node.display())).unwrap_or_default();
        let by = map.objects()[symbol.object].path.display().to_string();
        lines.push(format!("undefined symbol: {}{node}\t({by})", symbol.symbol.display()));
    }
    lines
}

/// Asks both; gives what they agree on, with the lab's directory written as `[R]`.
#[track_caller]
fn agree(lab: &Machine, file: &Path, variables: &[(&str, &str)]) -> Vec<String> {
    agree_from(lab, file, Start::of(lab, variables))
}

#[track_caller]
fn agree_from(lab: &Machine, file: &Path, start: Start<'_>) -> Vec<String> {
    let (ours, theirs) = (ours(file, start), theirs(file, start));
    assert_eq!(ours, theirs, "{} under {:?}", file.display(), start.variables);
    let root = lab.root().to_str().unwrap();
    theirs.into_iter().map(|line| line.replace(root, "[R]")).filter(|line| !is_system(line)).collect()
}

/// The C library and ld.so, which every library here needs and no case is about.
fn is_system(line: &str) -> bool {
    line.ends_with("/libc.so.6") || line.contains("/ld-linux")
}

/// Opens each argument in turn, `now:`, `lazy:`, `global:` or `deep:` before it, and prints the result.
const OPENER: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        char *name = strchr(argv[i], ':') + 1;
        int flags = RTLD_NOW;

        if (argv[i][0] == 'l')
            flags = RTLD_LAZY;
        if (argv[i][0] == 'g')
            flags |= RTLD_GLOBAL;
        if (argv[i][0] == 'd')
            flags |= RTLD_DEEPBIND;
        printf("%s\n", dlopen(name, flags) ? "ok" : dlerror());
        fflush(stdout);
    }
    return 0;
}
"#;

/// The message of each `dlopen` of the opener, and the predicted one.
#[track_caller]
fn agree_on_opening(lab: &Machine, arguments: &[&str], variables: &[(&str, &str)], link: &[&str]) -> Vec<String> {
    let program = lab.program("opener", OPENER, link);
    let start = Start::of(lab, variables);
    let output = start.command(&program).args(arguments).output().unwrap();
    let (out, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let said = said.lines().filter(|line| !line.is_empty()).map(without_line_number);
    let (before, after): (Vec<String>, Vec<String>) = said.partition(|line| line.starts_with("ERROR: "));
    let theirs: Vec<String> = before.into_iter().chain(out.lines().map(str::to_owned)).chain(after).collect();

    let host = start.host();
    let objects = Objects::new(&host);
    let loader = Loader::new(&objects);
    let mut map = LinkMap::new(&loader);
    map.start(&program).unwrap();
    let mut ours: Vec<String> = map.ignored().iter().map(ToString::to_string).collect();
    let startup = map.link(Symbols::Lazy);
    match startup.first_error {
        // All missing nodes are listed.
        Some(LinkError { fault: Fault::Version { .. }, .. }) => {
            let said = startup.nodes.iter().map(|node| format!("{}: {}", program.display(), map.message_of(node)));
            ours.extend(said);
        }
        Some(error) => ours.push(error.to_string()),
        None => {
            for argument in arguments {
                let (how, name) = argument.split_once(':').unwrap();
                let mut flags = Flags::default();
                (flags.global, flags.deepbind) = (how == "global", how == "deep");
                let symbols = if how == "lazy" { Symbols::Lazy } else { Symbols::Now };
                match map.dlopen(OsStr::new(name), Some(0), flags, symbols) {
                    Ok(_) => ours.push("ok".into()),
                    Err(error) => {
                        let said = error.to_string();
                        let ends = said.starts_with("Inconsistency");
                        ours.push(said);
                        if ends {
                            break;
                        }
                    }
                }
            }
        }
    }
    assert_eq!(ours, theirs, "{arguments:?} under {variables:?}");
    let root = lab.root().to_str().unwrap();
    theirs.into_iter().map(|line| line.replace(root, "[R]")).collect()
}

/// An assertion's line in the source differs from release to release.
fn without_line_number(line: &str) -> String {
    let parts: Vec<&str> = line.split(": ").collect();
    match parts.as_slice() {
        [start, file, number, rest @ ..] if number.parse::<u32>().is_ok() => {
            [&[*start, *file][..], rest].concat().join(": ")
        }
        _ => line.to_owned(),
    }
}

/// A library that needs others, by the names given.
fn needing(lab: &Machine, path: &str, soname: &str, needed: &[&str], args: &[&str]) -> PathBuf {
    let mut all: Vec<String> = vec!["-nostdlib".into()];
    for name in needed {
        // A stand-in with that soname, which is gone afterwards.
        let stub = format!("stubs/{}-{}", path.replace('/', "-"), name.replace(['/', '$', '{', '}'], "-"));
        lab.library_named(&stub, name, "", &["-nostdlib"]);
        all.push(stub);
    }
    all.extend(args.iter().map(|arg| (*arg).to_owned()));
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let built = lab.library_named(path, soname, "", &all);
    let _ = fs::remove_dir_all(lab.path("stubs"));
    built
}
