//! `cudashim node`: the gate before a job.

use super::context::{Context, kept_file};
use super::failure::{Context as _, Result};
use super::format::Format;
use super::node_args::NodeArgs;
use super::{devices, lock, output};
use crate::diagnose::{NodeAsked, NodePlan, judge_node, node_metrics};
use crate::host::atomic_write;
use crate::report::{VerifyReport, sanitized};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

pub(super) fn node(context: &Context, args: &NodeArgs) -> Result<ExitCode> {
    let host = context.host();
    let asked = if host.is_live() {
        devices::ask(context, Duration::from_secs(args.timeout))
    } else {
        devices::Asked::default()
    };
    // A lock that cannot be used is a reason against the node: a gate that fails otherwise may let a job pass.
    let plan =
        args.plan.as_deref().map(|file| plan(context, file, args.python.as_deref()).map_err(|it| it.to_string()));
    let asked = NodeAsked { plan, devices: asked.devices, unasked: asked.unasked, gpus: args.gpus };
    let report = judge_node(host, &asked);
    if args.format == Format::Json {
        output::json(&report)?;
    } else {
        output::laid_out(&format!("{}\n", sanitized(&report.line())))?;
        for warning in report.warnings() {
            output::note(&format!("warning: {}", warning.replace('\n', "\\n")));
        }
    }
    if let Some(file) = &args.textfile {
        atomic_write(&kept_file(file)?, node_metrics(&report).as_bytes())
            .with_context(|| format!("cannot write the measurements to `{}`", file.display()))?;
    }
    Ok(ExitCode::from(u8::from(!report.ok)))
}

fn plan(context: &Context, file: &Path, python: Option<&Path>) -> Result<NodePlan> {
    let lock::Checked { plan, found, .. } = lock::checked(context.host(), file, python, &[])?;
    Ok(NodePlan { report: VerifyReport::new(file, &plan, &found), plan })
}
