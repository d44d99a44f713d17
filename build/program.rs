//! Links the program statically where the C library can be, so that nothing in `LD_LIBRARY_PATH` or
//! `LD_PRELOAD` can keep it from starting: it is run in just the environments that break programs.
//!
//! Only the program: the library, tests and examples load other libraries and stay dynamic. Where the
//! static C library is missing (some distributions package it apart), the program stays dynamic too.

use std::path::Path;
use std::{fs, io};

/// What the standard library links against on this target.
const LIBRARIES: [&str; 6] = ["c", "m", "dl", "rt", "pthread", "util"];

/// Emits the link arguments of the program; `false` where it cannot be static. `file` asks the C compiler for one of its files.
pub(crate) fn link(compiler: &cc::Tool, out: &Path) -> io::Result<bool> {
    let file = |name: &str| -> Option<String> {
        let output = compiler.to_command().arg(format!("-print-file-name={name}")).output().ok()?;
        let path = String::from_utf8(output.stdout).ok()?.trim().to_owned();
        // A compiler that does not have the file gives the bare name back.
        Path::new(&path).is_absolute().then_some(path)
    };
    let archives: Option<Vec<String>> = LIBRARIES.iter().map(|name| file(&format!("lib{name}.a"))).collect();
    let (Some(archives), Some(_), Some(_)) = (archives, file("rcrt1.o"), file("libgcc_eh.a")) else {
        println!("cargo::warning=no static C library: the program itself will obey LD_LIBRARY_PATH and LD_PRELOAD");
        return Ok(false);
    };
    // The standard library asks for shared libraries by name. Linker scripts of those names, found first, lead to
    // the archives.
    let dir = out.join("static");
    fs::create_dir_all(&dir)?;
    for (name, archive) in LIBRARIES.iter().zip(archives) {
        fs::write(dir.join(format!("lib{name}.so")), format!("INPUT ( {archive} )\n"))?;
    }
    fs::write(dir.join("libgcc_s.so"), "GROUP ( -lgcc_eh -lgcc )\n")?;
    println!("cargo::rustc-link-arg-bins=-L{}", dir.display());
    println!("cargo::rustc-link-arg-bins=-static-pie");
    Ok(true)
}
