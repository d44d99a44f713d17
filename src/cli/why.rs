//! `cudashim why`.

use super::args::{Cli, WhyArgs};
use std::process::ExitCode;

pub(super) fn why(_cli: &Cli, _args: &WhyArgs) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not yet")
}
