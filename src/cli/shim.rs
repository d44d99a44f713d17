//! `cudashim shim`.

use super::args::Cli;
use super::resolve::{host, print};
use crate::host::Host;
use crate::launch::shim;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::process::ExitCode;

/// The directory for what can be made again.
pub(super) fn cache_dir(host: &Host) -> Result<PathBuf, shim::ShimError> {
    shim::own_cache_dir(|name| host.env(name).map(OsString::from))
}

/// The shim on disk, with this program's path in it so that it can ask for a plan.
pub(super) fn install(host: &Host) -> anyhow::Result<PathBuf> {
    let dir = cache_dir(host)?;
    let program = std::env::current_exe().ok();
    Ok(shim::install(&dir, program.as_deref())?)
}

/// The tracer on disk, with the same path in it.
pub(super) fn install_tracer(host: &Host) -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe().ok();
    Ok(shim::install_tracer(&cache_dir(host)?, program.as_deref())?)
}

pub(super) fn shim(cli: &Cli) -> anyhow::Result<ExitCode> {
    let mut line = install(&host(cli))?.into_os_string().into_vec();
    line.push(b'\n');
    print(line)?;
    Ok(ExitCode::SUCCESS)
}
