//! A report on one screen.

use super::{Finding, Remedy, Report};
use crate::facts::Severity;
use crate::inventory::Flavour;
use std::fmt::Write as _;

/// Pieces of evidence shown for a finding, unless all is asked for.
const SHOWN: usize = 4;

/// Findings shown, unless all is asked for.
const FINDINGS: usize = 5;

/// The report for a terminal: the verdict, what the machine is, the findings. `all` leaves nothing out.
#[must_use]
pub fn text(report: &Report, all: bool) -> String {
    let mut text = format!("{}\n\n", report.verdict.says);
    for (name, value) in lines(report) {
        let _ = writeln!(text, "{name:9}{value}");
    }
    let (facts, wrong): (Vec<_>, Vec<_>) =
        report.findings.iter().partition(|finding| finding.severity == Severity::Fact);
    let shown = if all { wrong.len() } else { FINDINGS };
    for finding in wrong.iter().take(shown) {
        text.push('\n');
        whole(&mut text, finding, all);
    }
    if wrong.len() > shown {
        let _ = write!(text, "\nand {} more; `--all` shows them\n", wrong.len() - shown);
    }
    if !facts.is_empty() {
        text.push('\n');
    }
    for finding in facts {
        if all {
            whole(&mut text, finding, all);
        } else {
            let _ = writeln!(text, "{}: {} [{}]", word(finding.severity), finding.cause, finding.id);
        }
    }
    text
}

/// The machine, line by line: what it is called, and what it is.
pub(super) fn lines(report: &Report) -> Vec<(&'static str, String)> {
    let mut lines = vec![("driver", driver(report))];
    for device in &report.devices {
        let compute = device.compute.map(|compute| format!(", compute capability {compute}")).unwrap_or_default();
        let memory = device.memory.map(|bytes| format!(", {} GiB", bytes >> 30)).unwrap_or_default();
        lines.push(("device", format!("{}{compute}{memory}", device.name)));
    }
    for toolkit in &report.toolkits {
        let cuda = toolkit.cuda.as_deref().map_or_else(|| "CUDA".to_owned(), |cuda| format!("CUDA {cuda}"));
        lines.push(("toolkit", format!("{cuda} in {}", toolkit.path.to_path().display())));
    }
    lines.push(match &report.torch {
        Some(torch) => ("torch", format!("{} in {}", torch.version, torch.path.to_path().display())),
        None => ("torch", "none".to_owned()),
    });
    if let Some(report) = &report.set {
        lines.push(("set", set(report)));
    }
    lines
}

fn driver(report: &Report) -> String {
    let line = &report.driver;
    let mut text = line.version.clone().unwrap_or_else(|| "none".to_owned());
    match line.module {
        Some(Flavour::Open) => text.push_str(", open kernel module"),
        Some(Flavour::Proprietary) => text.push_str(", proprietary kernel module"),
        _ => {}
    }
    if let Some(cuda) = &line.cuda {
        let _ = write!(text, ", CUDA {cuda}");
    }
    if let (Some(path), Some(rule)) = (&line.libcuda, &line.rule) {
        let _ = write!(text, ", {} by {rule}", path.to_path().display());
    }
    if let Some(cuda) = &line.compat {
        let _ = write!(text, " (compatibility package, CUDA {cuda})");
    }
    text
}

fn set(report: &crate::report::ResolveReport) -> String {
    if let Some(nothing) = &report.nothing {
        return format!("nothing to choose: {nothing}");
    }
    match &report.set {
        None => "none fits".to_owned(),
        Some(set) if set.is_empty() => "no library of NVIDIA's is needed".to_owned(),
        Some(set) => format!("{} libraries; `cudashim resolve` lists them", set.len()),
    }
}

pub(super) fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Fatal => "fatal",
        Severity::Warning => "warning",
        _ => "fact",
    }
}

fn whole(text: &mut String, finding: &Finding, all: bool) {
    let _ = writeln!(text, "{}: {} [{}]", word(finding.severity), finding.cause, finding.id);
    let shown = if all { finding.evidence.len() } else { SHOWN };
    for evidence in finding.evidence.iter().take(shown) {
        let path = evidence.path.as_ref().map(|path| format!("{}: ", path.to_path().display())).unwrap_or_default();
        let _ = writeln!(text, "  {:9}{path}{}", evidence.kind, evidence.says);
    }
    if finding.evidence.len() > shown {
        let _ = writeln!(text, "  and {} more; `--all` shows them", finding.evidence.len() - shown);
    }
    for (at, remedy) in finding.remedies.iter().enumerate() {
        let name = if at == 0 { "do" } else { "or" };
        let _ = match remedy {
            Remedy::Command(line) => writeln!(text, "  {name:9}$ {line}"),
            Remedy::Action(action) => writeln!(text, "  {name:9}{action}"),
        };
    }
    let _ = writeln!(text, "  {:9}{}", "see", finding.source);
}
