//! `--driver` and `--gpu`: a driver and GPUs that are not here.

use super::failure::Result;
use crate::diagnose::{Assumptions, Matrix};
use clap::Args;
use serde::Serialize;

/// What is judged instead of the driver and the GPUs of this machine.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct AssumeArgs {
    /// Judge as if this driver were installed: `535`, `570.124.06`, `580,open`; several give a table
    #[arg(long = "driver", value_name = "RELEASE")]
    pub(super) drivers: Vec<String>,

    /// Judge as if this GPU were here: `H100`, `RTX 5090`, `sm_90`; several give a table
    #[arg(long = "gpu", value_name = "NAME", value_delimiter = ',')]
    pub(super) gpus: Vec<String>,
}

impl AssumeArgs {
    /// The drivers and GPUs of these names.
    pub(super) fn read(&self) -> Result<Assumptions> {
        Ok(Assumptions::parse(&self.drivers, &self.gpus)?)
    }
}

/// A report as JSON, with the table of drivers and GPUs, if they were given.
#[derive(Serialize)]
pub(super) struct Tabled<'t, R: Serialize> {
    #[serde(flatten)]
    pub(super) report: R,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) table: Option<&'t Matrix>,
}
