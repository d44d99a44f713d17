//! `cudashim image`.

use super::context::Context;
use super::failure::{Failure, Result};
use super::format::Format;
use super::image_args::{ImageArgs, Require};
use super::output;
use super::shown::Shown;
use crate::diagnose::{Asked, RequirementsForm, image_text, judge_image};
use crate::image::{Image, Which};
use crate::report::sanitized;
use std::process::ExitCode;

pub(super) fn image(context: &Context, args: &ImageArgs) -> Result<ExitCode> {
    let asked = Asked { assumptions: args.assume.read()?, require: args.require.is_some() };
    let which = Which { tag: args.tag.clone(), platform: args.platform.clone(), env: args.env.clone() };
    let report = judge_image(&Image::open(&args.what, &which)?, &asked);
    let code = ExitCode::from(u8::from(!report.is_fine()));
    let shown = Shown::new(context, args.redact);
    if args.format == Format::Json {
        return shown.json(&report).map(|()| code);
    }
    if let Some(form) = args.format.of_findings() {
        return shown.findings(report.listed(), form).map(|()| code);
    }
    if args.format == Format::Html {
        return output::print(shown.page(report.page())).map(|()| code);
    }
    let Some(form) = args.require else {
        let text = image_text(&report, args.all, args.explain, output::width().columns);
        return output::laid_out(&shown.text(&sanitized(&text))).map(|()| code);
    };
    let Some(require) = &report.require else {
        return Err(Failure::new("cannot say what a host must have: nothing in the image needs CUDA"));
    };
    output::print(require.form(match form {
        Require::Text => RequirementsForm::Text,
        Require::Cuda => RequirementsForm::Cuda,
        Require::Kubernetes => RequirementsForm::Kubernetes,
        Require::Nfd => RequirementsForm::Nfd,
    }))?;
    if !report.is_fine() {
        output::note(&report.verdict.says);
    }
    Ok(code)
}
