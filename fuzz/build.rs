//! Compiles the readers of `cshim/` for the targets `image` and `peek`.
//!
//! With clang they are watched as the Rust code is: coverage for the fuzzer, and what the sanitizers of addresses and
//! of undefined behaviour find ends the process. Another compiler makes them without coverage.

fn main() {
    println!("cargo::rerun-if-changed=shim");
    println!("cargo::rerun-if-changed=../cshim");
    println!("cargo::rerun-if-env-changed=CC");
    let mut build = cc::Build::new();
    if std::env::var_os("CC").is_none()
        && let Some(clang) = ["clang", "clang-19", "clang-16", "clang-14"].into_iter().find(|name| runs(name))
    {
        build.compiler(clang);
    }
    // Set by cargo-fuzz, which links the runtime of the sanitizer and the fuzzer.
    let fuzzing = std::env::var_os("CARGO_CFG_FUZZING").is_some();
    let tool = build.get_compiler();
    if fuzzing && tool.is_like_clang() {
        build.flag("-fsanitize=fuzzer-no-link,address");
    } else {
        println!("cargo::warning=the readers of cshim are built without coverage: no clang");
    }
    build
        .std("gnu11")
        .opt_level(1)
        .debug(true)
        // A trap needs no runtime of its own.
        .flags(["-fsanitize=undefined", "-fsanitize-undefined-trap-on-error", "-fno-omit-frame-pointer"])
        .flags(["-include", "shim/memory.h", "-Ishim"])
        .file("shim/harness.c");
    // text.c has these four of its own, which must not become this process's.
    for name in ["memcpy", "memmove", "memset", "memcmp"] {
        build.define(name, &*format!("shim_{name}"));
    }
    build.compile("harness");
}

fn runs(program: &str) -> bool {
    std::process::Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}
