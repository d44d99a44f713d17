//! What the user types for `node` and `fleet`.

use super::format::{self, Format, one_of};
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(super) struct NodeArgs {
    /// A lock or plan that must hold on this node
    #[arg(long, value_name = "LOCK")]
    pub(super) plan: Option<PathBuf>,

    /// The Python that the lock is used with, if it is not the one the lock names: an interpreter, or an environment's directory
    #[arg(long, value_name = "PY", requires = "plan")]
    pub(super) python: Option<PathBuf>,

    /// Fail if fewer GPUs answer
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(super) gpus: usize,

    /// Seconds that the driver may take to answer; then it counts as hung, and what queried it is killed
    #[arg(long, value_name = "SECS", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(super) timeout: u64,

    /// Write the result for the textfile collector of Prometheus, too
    #[arg(long, value_name = "FILE")]
    pub(super) textfile: Option<PathBuf>,

    /// How to print the answer
    #[arg(long, value_parser = one_of(format::REPORT), default_value = "human")]
    pub(super) format: Format,
}

#[derive(Debug, Args)]
pub(super) struct FleetArgs {
    /// Saved scans (`cudashim scan --format jsonl`), one or more nodes in each; without any, or as `-`, standard input
    #[arg(value_name = "FILE")]
    pub(super) files: Vec<PathBuf>,

    /// How to print the comparison
    #[arg(long, value_parser = one_of(format::ROWS), default_value = "human")]
    pub(super) format: Format,
}
