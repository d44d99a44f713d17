//! `cudashim shim`: the path of the preload object.

use super::args::ShimArgs;
use super::context::{Context, kept_file};
use super::failure::{Context as _, Result};
use super::output;
use crate::host::atomic_write;
use crate::launch::shim;
use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;

pub(super) fn shim(context: &Context, args: &ShimArgs) -> Result<ExitCode> {
    if let Some(file) = &args.output {
        let target = kept_file(file)?;
        let program = std::env::current_exe().context("cannot find the path of this program")?;
        atomic_write(&target, &shim::image_for(Some(&program))?)
            .with_context(|| format!("cannot write the shim to `{}`", file.display()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let path = context.shim()?;
    log::info!("wrote `{}`", path.display());
    let mut line = path.into_os_string().into_vec();
    line.push(b'\n');
    output::print(line)?;
    Ok(ExitCode::SUCCESS)
}
