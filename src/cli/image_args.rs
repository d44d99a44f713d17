//! What the user types for `image`.

use super::assume::AssumeArgs;
use super::format::{self, Format, one_of};
use super::shared_args::RedactArgs;
use clap::{Args, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(super) struct ImageArgs {
    /// A root directory, an archive of `docker save`, an OCI archive, or the directory of an OCI layout
    #[arg(value_name = "WHAT")]
    pub(super) what: PathBuf,

    /// The image of this name, where there are several
    #[arg(long, value_name = "NAME")]
    pub(super) tag: Option<String>,

    /// The image for this platform, where there are several: `linux/arm64`
    #[arg(long, value_name = "OS/ARCH")]
    pub(super) platform: Option<String>,

    /// A variable that the container is started with
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = variable)]
    pub(super) env: Vec<(OsString, OsString)>,

    #[command(flatten)]
    pub(super) assume: AssumeArgs,

    /// Explain each pair of a driver and a GPU
    #[arg(long)]
    pub(super) explain: bool,

    /// Print what a host must have
    #[arg(long, value_name = "FORM", value_enum, num_args = 0..=1, require_equals = true, default_missing_value = "text")]
    pub(super) require: Option<Require>,

    /// Show all findings with all evidence, and all layers
    #[arg(long)]
    pub(super) all: bool,

    #[command(flatten)]
    pub(super) redact: RedactArgs,

    /// How to print the report
    #[arg(long, value_parser = one_of(format::PAGE), default_value = "human")]
    pub(super) format: Format,
}

/// The form of the requirements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Require {
    /// For people
    Text,
    /// The variable `NVIDIA_REQUIRE_CUDA`
    Cuda,
    /// The node affinity of a pod
    Kubernetes,
    /// The image compatibility artefact of Node Feature Discovery
    Nfd,
}

fn variable(text: &str) -> Result<(OsString, OsString), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.into(), value.into())),
        _ => Err("write NAME=VALUE, such as LD_LIBRARY_PATH=/opt/lib".to_owned()),
    }
}
