//! Parts of the C that no process on this machine would reach, compiled into programs of their own.

use std::path::Path;
use std::process::Command;

use super::utf8;
use crate::support::lab::Lab;

/// Prints which `dlopen` the walk over the mapped objects finds: the one that dlsym finds, or a stand-in's.
const WALK: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
extern void *objects_find_dlopen(void);
extern char *marker(void) __attribute__((weak));
int main(void) {
    void *found = objects_find_dlopen();
    void *stand_in = marker ? (void *)marker() : NULL;
    puts(!found ? "none" : found == stand_in ? "stand-in" : found == dlsym(RTLD_DEFAULT, "dlopen") ? "libc" : "other");
    return 0;
}
"#;

/// A library that says it is libdl and comes before libc, with its default dlopen behind an old one.
const STAND_IN: &str = r#"
void *old(void) { return 0; }
void *new(void) { return (void *)1; }
char *marker(void) { return (char *)new; }
__asm__(".symver old, dlopen@OLD_1");
__asm__(".symver new, dlopen@@NEW_2");
"#;

#[test]
fn dlopen_is_found_without_dlsym() {
    let lab = Lab::new();
    let cshim = Path::new(env!("CARGO_MANIFEST_DIR")).join("cshim");
    let sources = ["objects.c", "text.c"].map(|name| cshim.join(name));
    let sources: Vec<&str> = sources.iter().map(|path| utf8(path)).collect();
    lab.write("versions", "OLD_1 { }; NEW_2 { global: marker; } OLD_1;");
    let found = |name: &str, args: &[&str]| {
        let program = lab.program(name, WALK, &[&sources[..], args, &["-ldl"]].concat());
        let output = Command::new(program).env_remove("LD_PRELOAD").output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(found("plain", &[]), "libc\n");
    for style in ["gnu", "sysv"] {
        let name = format!("{style}/libdl.so.2");
        let hash = format!("-Wl,--hash-style={style}");
        let library =
            lab.library(&name, "libdl.so.2", STAND_IN, &["-nostdlib", &hash, "-Wl,--version-script=versions"]);
        let rpath = format!("-Wl,-rpath,{}", utf8(library.parent().unwrap()));
        assert_eq!(found(&format!("with-{style}"), &[utf8(&library), &rpath]), "stand-in\n", "{style}");
    }
}
