//! What the arguments of several commands share. Types only.

use crate::target::Spec;
use clap::Args;
use std::path::PathBuf;

/// Who loads the libraries.
#[derive(Debug, Clone, Args)]
pub(super) struct WhoArgs {
    /// The torch: `2.5.1+cu124`, `2.5`, `>=2.4`, `cu124`, or `auto` for the installed one
    #[arg(long, value_name = "SPEC", default_value = "auto")]
    pub(super) torch: Spec,

    /// The Python: an interpreter, a name on PATH, an environment's directory, or a project with `.venv`
    #[arg(long, value_name = "PY")]
    pub(super) python: Option<PathBuf>,
}

/// Who loads the libraries, and what must hold for their choice.
#[derive(Debug, Clone, Args)]
pub(super) struct ChoiceArgs {
    #[command(flatten)]
    pub(super) who: WhoArgs,

    /// The target, instead of torch: a program or library
    #[arg(long = "for", value_name = "PATH")]
    pub(super) files: Vec<PathBuf>,

    /// An additional directory to search: of libraries, a site-packages, a venv, a toolkit
    #[arg(long = "place", value_name = "DIR")]
    pub(super) places: Vec<PathBuf>,

    /// Use this copy of a library, or fail
    #[arg(long = "use", value_name = "SONAME=PATH", value_parser = parse_use)]
    pub(super) fixed: Vec<(String, PathBuf)>,

    /// Do not use this file, or any in this directory
    #[arg(long = "forbid", value_name = "PATH")]
    pub(super) forbidden: Vec<PathBuf>,
}

/// What a report leaves out.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct RedactArgs {
    /// Leave out the names of users and of the machine
    #[arg(long)]
    pub(super) redact: bool,
}

fn parse_use(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((soname, path)) if !soname.is_empty() && !path.is_empty() => Ok((soname.to_owned(), PathBuf::from(path))),
        _ => Err("write SONAME=PATH, such as libnvrtc.so.12=/opt/x/libnvrtc.so.12".to_owned()),
    }
}
