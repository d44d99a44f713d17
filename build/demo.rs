//! Builds what `cudashim demo` carries: tiny stand-ins for torch, NVIDIA's libraries and the interpreter.
//!
//! Takes the sources of `cshim/demo/`; gives `$OUT_DIR/demo/`, whose files `cli::demo` embeds. They are empty for a target that
//! has no glibc: the demo is about the rules of its ld.so.

use std::error::Error;
use std::path::Path;
use std::{env, fs};

/// Each file, its source, and how it is linked. `{out}` is the directory of those before it.
///
/// As on the real ones, torch's own search path is a DT_RPATH and the one of NVIDIA's wheels a DT_RUNPATH, which comes
/// after `LD_LIBRARY_PATH` (ld.so(8)). That is what the demo is about.
const LIBRARIES: [(&str, &str, &[&str]); 6] = [
    (
        "libnvJitLink.so.12.1",
        "nvjitlink.c",
        &["-DMINOR=1", "-Wl,-soname,libnvJitLink.so.12", "-Wl,--version-script=cshim/demo/nvjitlink.map"],
    ),
    (
        "libnvJitLink.so.12.4",
        "nvjitlink.c",
        &["-DMINOR=4", "-Wl,-soname,libnvJitLink.so.12", "-Wl,--version-script=cshim/demo/nvjitlink.map"],
    ),
    (
        "libcusparse.so.12",
        "cusparse.c",
        &[
            "{out}/libnvJitLink.so.12.4",
            "-Wl,-soname,libcusparse.so.12",
            "-Wl,--version-script=cshim/demo/cusparse.map",
            "-Wl,--enable-new-dtags,-rpath,$ORIGIN:$ORIGIN/../../nvjitlink/lib",
        ],
    ),
    (
        "libtorch_python.so",
        "torch_cuda.c",
        &[
            "{out}/libcusparse.so.12",
            "-Wl,-soname,libtorch_python.so",
            "-Wl,--disable-new-dtags,-rpath,$ORIGIN/../../nvidia/cusparse/lib:$ORIGIN",
        ],
    ),
    (
        "torch_extension.so",
        "torch_extension.c",
        &["{out}/libtorch_python.so", "-Wl,--disable-new-dtags,-rpath,$ORIGIN/../../nvidia/cusparse/lib:$ORIGIN/lib"],
    ),
    (
        "libtorch_global_deps.so",
        "torch_global_deps.c",
        &[
            "-Wl,-soname,libtorch_global_deps.so",
            "-Wl,--disable-new-dtags,-rpath,$ORIGIN/../../nvidia/cusparse/lib:$ORIGIN",
        ],
    ),
];

const PYTHON: &str = "python";

/// Builds all of it into `out`/demo.
pub(crate) fn build(out: &Path) -> Result<(), Box<dyn Error>> {
    if env::var_os("CARGO_FEATURE_CLI").is_none() {
        return Ok(());
    }
    let out = out.join("demo");
    fs::create_dir_all(&out)?;
    let target = |part: &str| env::var(format!("CARGO_CFG_TARGET_{part}")).unwrap_or_default();
    let arch = target("ARCH");
    let known = matches!(arch.as_str(), "x86_64" | "aarch64") && target("POINTER_WIDTH") == "64";
    if !known || target("OS") != "linux" || target("ENV") != "gnu" {
        for name in LIBRARIES.iter().map(|(name, ..)| *name).chain([PYTHON]) {
            fs::write(out.join(name), [])?;
        }
        return Ok(());
    }
    let compiler =
        cc::Build::new().opt_level(1).debug(false).pic(true).std("gnu11").cargo_metadata(false).try_get_compiler()?;
    let directory = out.to_str().ok_or("OUT_DIR is not UTF-8")?;
    for (name, source, arguments) in LIBRARIES {
        let arguments: Vec<String> = arguments.iter().map(|argument| argument.replace("{out}", directory)).collect();
        // They need nobody but each other, so that ld.so has nothing else to find or to fail at.
        let alone = ["-shared", "-nostdlib", "-nostartfiles", "-fno-stack-protector", "-Wl,-z,defs"];
        link(&compiler, &out.join(name), source, alone.into_iter().chain(arguments.iter().map(String::as_str)))?;
    }
    // Any glibc will do: before 2.34 dlopen is in a library of its own, which later ones keep, with nothing in it.
    let c = ["libc.so.6", "libdl.so.2"].map(|soname| (out.join(soname), format!("-Wl,-soname,{soname}")));
    for (file, soname) in &c {
        link(&compiler, file, "libc.c", ["-shared", "-nostdlib", "-nostartfiles", "-fno-builtin", soname])?;
    }
    let start = compiler.to_command().arg("-print-file-name=Scrt1.o").output()?.stdout;
    let start = String::from_utf8(start)?;
    let arch = format!("-DARCH=\"{arch}\"");
    let mut arguments = vec![&*arch, "-U_FORTIFY_SOURCE", "-fno-stack-protector", "-fno-builtin", "-pie"];
    arguments.extend(["-nostdlib", "-nostartfiles", "-Wl,--no-as-needed", start.trim()]);
    arguments.extend(c.iter().filter_map(|(file, _)| file.to_str()));
    link(&compiler, &out.join(PYTHON), "python.c", arguments)
}

/// Compiles one source and links it. The arguments follow the source, so that a library follows what needs it.
fn link<'a>(
    compiler: &cc::Tool,
    out: &Path,
    source: &str,
    arguments: impl IntoIterator<Item = &'a str>,
) -> Result<(), Box<dyn Error>> {
    let mut command = compiler.to_command();
    command
        .args(["-Wall", "-Wextra", "-fno-lto", "-fno-sanitize=all"])
        .arg(Path::new("cshim/demo").join(source))
        .args(arguments)
        .args(["-Wl,-s", "-Wl,--build-id=sha1", "-Wl,-z,noexecstack"])
        .arg("-o")
        .arg(out);
    let status = command.status().map_err(|error| format!("the C compiler could not be run: {command:?}: {error}"))?;
    if !status.success() {
        return Err(format!("the demo's `{source}` could not be built ({status}): {command:?}").into());
    }
    Ok(())
}
