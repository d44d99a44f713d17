//! `cudashim env`: shell lines to eval.

use super::args::{Cli, ConsumerArgs};
use super::{output, resolve, run, shim};
use std::ffi::OsStr;
use std::process::ExitCode;

pub(super) fn env(cli: &Cli, args: &ConsumerArgs) -> anyhow::Result<ExitCode> {
    let host = resolve::host(cli);
    let request = resolve::request(&host, args, &[]);
    let Some((plan, path)) = run::plan_of(&host, &request)? else { return Ok(ExitCode::SUCCESS) };
    let child = crate::handout::ChildEnvironment::new(&host, &plan, &path, &shim::install(&host)?);
    for taken in &child.taken_out {
        output::note(&run::taken_out(taken));
    }
    let lines = format!(
        "export CUDASHIM_PLAN={}\nexport LD_PRELOAD={}\n",
        quoted(child.plan.as_os_str()),
        quoted(&child.preload)
    );
    resolve::print(&lines)?;
    Ok(ExitCode::SUCCESS)
}

/// A word that every POSIX shell reads back as it is.
fn quoted(word: &OsStr) -> String {
    format!("'{}'", word.display().to_string().replace('\'', "'\\''"))
}
