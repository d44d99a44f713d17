//! What the user types after `stage`. Types only.

use super::format::{self, Format, one_of};
use super::shared_args::ChoiceArgs;
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(super) struct StageArgs {
    /// The target: an environment or project, an interpreter, a program or library
    #[arg(value_name = "TARGET", conflicts_with_all = ["python", "files"])]
    pub(super) target: Option<PathBuf>,

    #[command(flatten)]
    pub(super) choice: ChoiceArgs,

    /// Of this plan or lock file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["target", "torch", "python", "files", "fixed", "forbidden"])]
    pub(super) plan: Option<PathBuf>,

    /// Copy below this directory [default: `$CUDASHIM_STAGE_DIR`, else `$TMPDIR`, else `/tmp`]
    #[arg(long, value_name = "DIR")]
    pub(super) to: Option<PathBuf>,

    /// Keep all copies of this user within so many bytes: `8G`, `500M`
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(super) limit: Option<u64>,

    /// Copy also what is not the file that its package recorded
    #[arg(long)]
    pub(super) force: bool,

    /// Remove the copies that no process uses, and copy nothing
    #[arg(long, conflicts_with_all = ["target", "plan", "limit", "force", "torch", "python", "files", "places", "fixed", "forbidden"])]
    pub(super) clean: bool,

    /// How to print what was done
    #[arg(long, value_parser = one_of(format::REPORT), default_value = "human")]
    pub(super) format: Format,
}

/// Bytes, with a unit of 1024.
fn size(text: &str) -> Result<u64, String> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let shift = match unit.trim_end_matches("iB").trim_end_matches('B') {
        "" => 0,
        "K" | "k" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return Err("write a number of bytes, with K, M, G or T".to_owned()),
    };
    let bytes = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift));
    bytes.ok_or_else(|| "write a number of bytes, with K, M, G or T".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(["8G", "500MiB", "7", "1k"].map(|text| size(text).unwrap()), [8 << 30, 500 << 20, 7, 1024]);
        assert!(["", "G", "-1", "8X", "99999999999T"].iter().all(|text| size(text).is_err()));
    }
}
