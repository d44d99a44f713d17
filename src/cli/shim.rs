//! `cudashim shim`: the path of the preload object.

use super::context::Context;
use super::failure::Result;
use super::output;
use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;

pub(super) fn shim(context: &Context) -> Result<ExitCode> {
    let path = context.shim()?;
    log::info!("wrote `{}`", path.display());
    let mut line = path.into_os_string().into_vec();
    line.push(b'\n');
    output::print(line)?;
    Ok(ExitCode::SUCCESS)
}
