//! `cudashim man`: the manual page, made of what the help says.

use super::args::Cli;
use super::resolve;
use anyhow::Context;
use clap::CommandFactory;
use std::process::ExitCode;

pub(super) fn man(of: Option<&str>) -> anyhow::Result<ExitCode> {
    let mut whole = Cli::command();
    // A command's page has the global options, and is named for the whole.
    whole.build();
    let command = match of {
        None => whole,
        Some(name) => {
            let found = whole.find_subcommand(name);
            found.with_context(|| format!("there is no command `{name}`: `cudashim help` lists them"))?.clone()
        }
    };
    let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
    let mut page = Vec::new();
    clap_mangen::Man::new(command.display_name(&name)).title(name).render(&mut page)?;
    resolve::print(page)?;
    Ok(ExitCode::SUCCESS)
}
