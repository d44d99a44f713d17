//! What a process has mapped.

use super::{ids, object};
use crate::support::*;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

/// Opens its arguments, reports it, and waits for the end of its input.
const WAITER: &str = r#"
#include <dlfcn.h>
#include <stdio.h>
int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (!dlopen(argv[i], RTLD_NOW)) { puts(dlerror()); return 1; }
    puts("ready");
    fflush(stdout);
    return getchar() == 'x';
}
"#;

/// The process, which ends with the test.
struct Waiter(Child);

impl Waiter {
    fn start(lab: &Machine, libraries: &[&str]) -> Self {
        let mut command = Command::new(lab.program("waiter", WAITER, &["-ldl"]));
        command.env_clear().current_dir(lab.root()).args(libraries).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self(child)
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }

    fn end(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let _ = self.0.stdin.take().map(|mut input| input.flush());
        let _ = self.0.wait();
    }
}

fn cudashim(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cudashim"));
    command.args(arguments).env_clear();
    command
}

#[test]
fn check_pid_sees_replaced_files_and_an_ended_process() {
    let lab = Machine::new();
    lab.copy("libcublas.so.12", 1);
    let mut waiter = Waiter::start(&lab, &["./libcublas.so.12"]);
    let (code, value) = answer(&mut cudashim(&["check", "--pid", &waiter.pid()]), "check.json");
    assert_eq!((code, value["verdict"].as_str(), ids(&value)), (0, Some("loads"), vec![]), "{value:#}");
    assert!(value["for"].as_str().unwrap().contains("(waiter)"));
    assert_eq!(object(&value, "libc.so.6")["needed_by"], value["objects"][0]["path"]);
    // Another file in its place: the process has the old one.
    let maps = std::fs::read(format!("/proc/{}/maps", waiter.pid())).unwrap();
    std::fs::remove_file(lab.path("libcublas.so.12")).unwrap();
    lab.copy("libcublas.so.12", 2);
    let (_, value) = answer(&mut cudashim(&["check", "--pid", &waiter.pid()]), "check.json");
    assert_eq!(ids(&value), ["replaced-file"], "{value:#}");
    // An earlier copy of the maps does not show it, but the inode does.
    let saved = lab.write("saved", maps);
    let (_, value) = answer(&mut cudashim(&["check", "--maps", saved.to_str().unwrap()]), "check.json");
    assert_eq!(ids(&value), ["replaced-file"], "{value:#}");
    waiter.end();
    let output = cudashim(&["check", "--pid", &waiter.pid()]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no process "));
    let output = cudashim(&["check", "--maps", lab.path("waiter.c").to_str().unwrap()]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn check_pid_compares_with_the_plan() {
    let lab = Machine::new();
    lab.copy("a/libcublas.so.12", 1);
    let planned = lab.copy("b/libcublas.so.12", 2);
    let plan = lab.write("plan", PlanText::new().lib("libcublas.so.12", &planned, "preload").text());
    let plan = plan.to_str().unwrap();
    let both = Waiter::start(&lab, &["./a/libcublas.so.12", "./b/libcublas.so.12"]);
    let (code, value) = answer(&mut cudashim(&["check", "--pid", &both.pid(), "--plan", plan]), "check.json");
    assert_eq!((code, ids(&value)), (0, vec!["doubled-soname"]), "{value:#}");
    assert_eq!(value["plan"]["mapped"][0], "libcublas.so.12");
    let other = Waiter::start(&lab, &["./a/libcublas.so.12"]);
    let (code, value) = answer(&mut cudashim(&["check", "--pid", &other.pid(), "--plan", plan]), "check.json");
    assert_eq!((code, ids(&value)), (1, vec!["not-as-planned"]), "{value:#}");
    let none = Waiter::start(&lab, &[]);
    let (code, value) = answer(&mut cudashim(&["check", "--pid", &none.pid(), "--plan", plan]), "check.json");
    assert_eq!((code, value["plan"]["not_yet"][0].as_str()), (0, Some("libcublas.so.12")));
}
