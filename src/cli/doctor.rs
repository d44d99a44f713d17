//! `cudashim doctor`.

use super::args::{Cli, DoctorArgs, Format};
use super::resolve;
use crate::doctor::{self, Ask, redacted};
use crate::driver::{Devices, Machine};
use crate::host::atomic_write;
use crate::report::sanitized;
use anyhow::Context;
use std::process::ExitCode;

pub(super) fn doctor(cli: &Cli, args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let host = resolve::host(cli);
    let recorded = args.recorded.as_deref().map(|file| {
        let text = std::fs::read_to_string(file);
        let text = text.with_context(|| format!("the record `{}` cannot be read", file.display()))?;
        Machine::from_json(&text).with_context(|| format!("the record `{}` cannot be used", file.display()))
    });
    let ask = Ask {
        spec: args.torch.clone(),
        python: args.python.clone(),
        devices: Devices::default(),
        recorded: recorded.transpose()?,
    };
    let report = doctor::examine(&host, &ask)?;
    if let Some(file) = &args.record {
        atomic_write(file, report.machine.to_json()?.as_bytes())
            .with_context(|| format!("the driver cannot be recorded in `{}`", file.display()))?;
    }
    let text = match cli.format {
        Format::Human => sanitized(&doctor::text(&report, args.all)),
        Format::Markdown => sanitized(&doctor::markdown(&report)),
        Format::Json | Format::Jsonl => resolve::json(&report)?,
    };
    resolve::print(if args.redact { redacted(&text, &host) } else { text })?;
    Ok(ExitCode::from(u8::from(!report.is_fine())))
}
