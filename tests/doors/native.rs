//! Programs in C: linked against cuBLAS or opening it, alone, in the environment that is active, out of reach.

use super::{ASKED, Consumer, DOORS, Door};
use crate::support::*;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::PathBuf;

/// Writes which files of cuBLAS are mapped.
const SHOW: &str = r#"
#include <stdio.h>
#include <string.h>
static int show(void)
{
    static char line[8192], last[8192];
    FILE *maps = fopen("/proc/self/maps", "r");
    while (maps && fgets(line, sizeof line, maps)) {
        const char *path = strchr(line, '/');
        if (path && strstr(path, "/libcublas") && strcmp(path, last))
            fputs(strcpy(last, path), stdout);
    }
    return 0;
}
"#;

const OPENS: &str = r#"
#include <dlfcn.h>
int main(void)
{
    if (!dlopen("libcublas.so.12", RTLD_NOW))
        return puts(dlerror()), 1;
    return show();
}
"#;

const LINKED: &str = r"
int cublasCreate_v2(void);
int main(void) { return cublasCreate_v2() + show(); }
";

/// A world with an active environment, and a program of this source in it.
fn active(main: &str, arguments: impl FnOnce(&Consumer) -> Vec<String>) -> (Consumer, PathBuf) {
    let (world, venv) = Machine::with_venv();
    let consumer = Consumer::new(world, &venv).variable("VIRTUAL_ENV", &venv.dir);
    let arguments = arguments(&consumer);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let program = cc(consumer.world.root(), "app/program", &format!("{SHOW}{main}"), &arguments);
    (consumer.words([&program]), program)
}

/// Linked against cuBLAS, with these words for the linker.
fn linked(more: &[&str]) -> Consumer {
    let (mut consumer, program) = active(LINKED, |consumer| {
        let library = consumer.right.join(ASKED[0]).display().to_string();
        let unresolved = "-Wl,--allow-shlib-undefined".to_owned();
        [library, unresolved].into_iter().chain(more.iter().map(|&word| word.to_owned())).collect()
    });
    consumer.linked = true;
    consumer.env_for = vec!["--for".into(), program.into()];
    consumer
}

#[test]
fn doors_serve_a_program_that_dlopens() {
    active(OPENS, |_| vec!["-ldl".into()]).0.is_served();
}

#[test]
fn doors_serve_a_linked_program() {
    linked(&[]).is_served();
}

#[test]
fn doors_serve_a_linked_program_bound_at_once() {
    linked(&["-Wl,-z,now"]).is_served();
}

/// Its run path finds cuBLAS, but cuBLAS's own comes after `LD_LIBRARY_PATH`.
#[test]
fn doors_serve_a_program_with_a_run_path() {
    linked(&["-Wl,-rpath,$ORIGIN/../venv/lib/python3.11/site-packages/nvidia/cublas/lib"]).is_served();
}

/// A preload comes too late for what the loader cannot start.
#[test]
fn doors_preload_does_no_harm_out_of_reach() {
    let mut consumer = linked(&[]);
    let bare = consumer.bare();
    consumer.linked = false;
    let plain = consumer.by(Door::Plain);
    assert!(bare.code == Some(127) && bare.err.contains("cannot open shared object file"), "{}", bare.err);
    assert_eq!((plain.code, plain.out, plain.err), (bare.code, bare.out, bare.err));
}

/// By every door it runs as without the shim; `run` prints why.
fn is_out_of_reach(consumer: &Consumer, says: &str) {
    let bare = consumer.bare();
    for door in DOORS {
        let seen = consumer.by(door);
        let run = matches!(door, Door::Run | Door::Audit);
        let said = if run { seen.err.contains(says) } else { seen.err == bare.err };
        assert!(said && (seen.code, &seen.out) == (bare.code, &bare.out), "{door:?}: {}", consumer.cell(&seen));
    }
}

#[test]
fn doors_report_a_static_program() {
    let (consumer, _) = active("int main(void) { return puts(\"static\") < 0; }", |_| vec!["-static".into()]);
    is_out_of_reach(&consumer, "is statically linked, so no LD_PRELOAD or LD_AUDIT reaches it");
}

#[test]
fn doors_report_a_set_user_id_program() {
    // Root has none of another user's: it makes one. Others have su(1).
    let (mut consumer, program) = active("int main(void) { return puts(\"setuid\") < 0; }", |_| Vec::new());
    if rustix::process::geteuid().is_root() {
        chown(&program, Some(65534), Some(65534)).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).unwrap();
    } else {
        consumer = consumer.words(["su", "--version"]);
    }
    is_out_of_reach(&consumer, "is set-user-ID, so the loader ignores LD_PRELOAD and LD_AUDIT");
}

/// A shell script, whatever it starts.
#[test]
fn doors_serve_what_a_script_starts() {
    let (consumer, program) = active(OPENS, |_| vec!["-ldl".into()]);
    let script = consumer.world.script("app/start", &format!("#!/bin/sh\n'{}'\n", program.display()));
    consumer.words([script]).is_served();
}
