//! What the user types after `enable` and `disable`. Types only.

use super::lines::Kind;
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(super) struct EnableArgs {
    /// The environment: its directory, or its interpreter
    #[arg(value_name = "ENV")]
    pub(super) env: Option<PathBuf>,

    /// A kernel of Jupyter instead (`kernel.json`), `python3` where none is named
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "python3", conflicts_with = "conda")]
    pub(super) jupyter: Option<String>,

    /// All that is started after `conda activate` instead (`activate.d`)
    #[arg(long)]
    pub(super) conda: bool,

    /// Write nothing: print the lines for such a file
    #[arg(long, value_name = "KIND", conflicts_with_all = ["env", "jupyter", "conda", "force"])]
    pub(super) print: Option<Kind>,

    /// Write over files of others, and into a Python that the system manages
    #[arg(long)]
    pub(super) force: bool,
}

#[derive(Debug, Args)]
pub(super) struct DisableArgs {
    /// The environment: its directory, or its interpreter
    #[arg(value_name = "ENV")]
    pub(super) env: Option<PathBuf>,

    /// A kernel of Jupyter instead, `python3` where none is named
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "python3", conflicts_with = "conda")]
    pub(super) jupyter: Option<String>,

    /// What `conda activate` does instead
    #[arg(long)]
    pub(super) conda: bool,

    /// Remove files that were changed since, too
    #[arg(long)]
    pub(super) force: bool,
}
