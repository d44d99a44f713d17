//! `cudashim stage`: the set on a disk of this node, and what was left there.

use super::answer::{answer, warn};
use super::context::Context;
use super::failure::{Context as _, Result, bail};
use super::format::Format;
use super::stage_args::StageArgs;
use super::{given, output};
use crate::launch::stage::{Order, Stages, VARIABLE};
use crate::machine::Handed;
use crate::plan::Plan;
use crate::report::{StageReport, StagedCopy};
use std::path::PathBuf;
use std::process::ExitCode;

pub(super) fn stage(context: &Context, args: &StageArgs) -> Result<ExitCode> {
    let stages = Stages::of(context.host(), args.to.as_deref());
    let waits = || output::note(&format!("another process copies to `{}`: waiting for it", stages.dir().display()));
    let report = if args.clean {
        let removed = stages.clean(&waits)?;
        let removed = removed.iter().map(|found| StagedCopy::new(&found.dir, found.bytes)).collect();
        StageReport::cleaned(stages.dir(), removed)
    } else {
        let image = image(context, args)?;
        let plan = Plan::read(&image.with_extension("plan")).context("cannot read the plan of the set")?;
        let order = Order { plan: &plan, image: &image, limit: args.limit, force: args.force };
        let made = stages.stage(context.host(), order, &waits)?;
        // Without the option `run` looks where the variable says.
        let variable = args.to.as_deref().map(|dir| (VARIABLE, context.host().absolute(dir)));
        StageReport::made(stages.dir(), &made.image, made.files, made.bytes, made.copied, variable)
    };
    match args.format {
        Format::Json => output::json(&report)?,
        _ => output::report(&report.text())?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The image of the set, as `run` would hand it out.
fn image(context: &Context, args: &StageArgs) -> Result<PathBuf> {
    if let Some(path) = &args.plan {
        return given::image_of(context, path, &args.choice.places, args.force);
    }
    let request = context.request(&args.choice, args.target.as_deref(), &[])?;
    let answered = answer(context, &request)?;
    warn(&answered, true)?;
    match answered.handed {
        Handed::Plan(file) => Ok(file),
        Handed::Nothing(why) | Handed::Bare(why) => bail!("cannot stage a set: {why}"),
        Handed::Open => bail!("cannot stage a set: the target may start any environment"),
        Handed::Unwritten(why) => bail!("cannot write the plan: {why}"),
    }
}
