//! Builds the probe of `cshim/probe/` and leaves it at `$OUT_DIR/cudashim-probe`, which `launch::probe` embeds.
//!
//! An ordinary program of the target's C library, for it loads libraries: the program that is linked statically cannot. The
//! file is empty for a target that has no glibc, which NVIDIA's libraries are made for.

use std::error::Error;
use std::path::Path;
use std::{env, fs};

/// Builds it into `out`.
pub(crate) fn build(out: &Path) -> Result<(), Box<dyn Error>> {
    let out = out.join("cudashim-probe");
    let target = |part: &str| env::var(format!("CARGO_CFG_TARGET_{part}")).unwrap_or_default();
    let known = matches!(target("ARCH").as_str(), "x86_64" | "aarch64") && target("POINTER_WIDTH") == "64";
    if !known || target("OS") != "linux" || target("ENV") != "gnu" {
        fs::write(out, [])?;
        return Ok(());
    }
    let compiler =
        cc::Build::new().opt_level(2).debug(false).pic(true).std("gnu11").cargo_metadata(false).try_get_compiler()?;
    let mut command = compiler.to_command();
    command
        // Last, so that they win over CFLAGS.
        .args(["-Wall", "-Wextra", "-Wconversion", "-Werror", "-fno-lto", "-fno-sanitize=all"])
        .arg("cshim/probe/probe.c")
        // Symbols that it has must not stand in the way of a library's own.
        .args(["-fvisibility=hidden", "-fPIE", "-pie", "-Wl,-s", "-Wl,--build-id=sha1", "-Wl,-z,noexecstack"])
        // glibc had dlopen in a library of its own until 2.34; later ones keep an empty archive of that name.
        .args(["-ldl", "-o"])
        .arg(&out);
    let status = command.status().map_err(|error| format!("the C compiler could not be run: {command:?}: {error}"))?;
    if !status.success() {
        return Err(format!("the probe could not be built ({status}): {command:?}").into());
    }
    Ok(())
}
