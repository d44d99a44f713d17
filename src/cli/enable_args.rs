//! What the user types after `enable` and `disable`. Types only.

use super::lines::Kind;
use clap::Args;
use std::path::PathBuf;

/// What is enabled, or no longer.
#[derive(Debug, Args)]
pub(super) struct PartArgs {
    /// The environment: its directory, or its interpreter
    #[arg(value_name = "ENV")]
    pub(super) env: Option<PathBuf>,

    /// A kernel of Jupyter instead (`kernel.json`), `python3` if none is named
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "python3", conflicts_with = "conda")]
    pub(super) jupyter: Option<String>,

    /// All that is started after `conda activate` instead (`activate.d`)
    #[arg(long)]
    pub(super) conda: bool,
}

#[derive(Debug, Args)]
pub(super) struct EnableArgs {
    #[command(flatten)]
    pub(super) part: PartArgs,

    /// Write nothing: print the lines for such a file
    #[arg(long, value_name = "KIND", conflicts_with_all = ["env", "jupyter", "conda", "force"])]
    pub(super) print: Option<Kind>,

    /// Write over files of others, and into a Python that the system manages
    #[arg(long)]
    pub(super) force: bool,
}

#[derive(Debug, Args)]
pub(super) struct DisableArgs {
    #[command(flatten)]
    pub(super) part: PartArgs,

    /// Remove files that were changed since, too
    #[arg(long)]
    pub(super) force: bool,
}
