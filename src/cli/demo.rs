//! `cudashim demo`.

use super::args::Cli;
use std::process::ExitCode;

pub(super) fn demo(_cli: &Cli) -> anyhow::Result<ExitCode> {
    anyhow::bail!("to come")
}
