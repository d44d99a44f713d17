//! The report of an image on one screen.

use super::{ImageReport, LayerLine};
use crate::diagnose::human::{INDENT, NARROW, headline, matrix_text, whole, wrapped};
use crate::image::Form;
use crate::report::weight;
use crate::tables::Severity;

/// Layers and copies shown, unless all are requested.
const SHOWN: usize = 5;

/// Findings that show their evidence.
const WHOLE: usize = 2;

/// The report for a terminal of this many columns. `all` leaves nothing out; `explain` gives the reasons of the table.
#[must_use]
pub fn image_text(report: &ImageReport, all: bool, explain: bool, columns: usize) -> String {
    let columns = columns.max(NARROW);
    let mut text = String::new();
    wrapped(&mut text, columns, "", 0, &report.verdict.says);
    text.push('\n');
    let mut line = |name: &str, value: &str| wrapped(&mut text, columns, &format!("{name:INDENT$}"), INDENT, value);
    for (name, value) in facts(report) {
        line(name, &value);
    }
    let mut layers: Vec<(usize, &LayerLine)> =
        report.layers.iter().enumerate().filter(|(_, layer)| layer.libraries > 0).collect();
    if !all {
        layers.sort_by_key(|(_, layer)| std::cmp::Reverse(layer.bytes));
        layers.truncate(SHOWN);
    }
    for (number, layer) in layers {
        let command = layer.layer.command.as_deref().map(|command| format!(" by `{command}`")).unwrap_or_default();
        let says = format!(
            "{}: {}, {} of {}{command}",
            number + 1,
            libraries(layer.libraries, ""),
            weight(layer.bytes),
            weight(layer.layer.size)
        );
        line("layer", &says);
    }
    let (facts, wrong): (Vec<_>, Vec<_>) =
        report.findings.iter().partition(|finding| finding.severity == Severity::Fact);
    for (at, finding) in wrong.iter().chain(&facts).enumerate() {
        if all || at < WHOLE && finding.severity != Severity::Fact {
            text.push('\n');
            whole(&mut text, columns, finding, all);
        } else {
            if at == wrong.len().min(WHOLE) {
                text.push('\n');
            }
            headline(&mut text, columns, finding);
        }
    }
    if let Some(table) = &report.table {
        text.push('\n');
        text.push_str(&matrix_text(table, explain, columns));
    }
    text
}

fn libraries(count: usize, whose: &str) -> String {
    format!("{count} {whose}{}", if count == 1 { "library" } else { "libraries" })
}

/// What the image is, what may use its libraries, and how many there are, as labelled lines.
pub(super) fn facts(report: &ImageReport) -> Vec<(&'static str, String)> {
    let mut lines = vec![("image", about(report))];
    for target in &report.targets {
        let frameworks = match target.frameworks.len() {
            0 => "no framework".to_owned(),
            _ => target.frameworks.join(", "),
        };
        let loads = match (target.loads, target.uses_cuda) {
            (false, _) => "does not load",
            (true, true) => "loads",
            (true, false) => "needs no CUDA",
        };
        let started = if target.started { "; the command of a container starts it" } else { "" };
        lines.push(("python", format!("{}: {frameworks}: {loads}{started}", target.program.to_path().display())));
    }
    let bytes: u64 = report.libraries.iter().map(|library| library.size).sum();
    let contents = match report.libraries.len() {
        0 => "no NVIDIA library".to_owned(),
        count => format!("{}, {}", libraries(count, "NVIDIA "), weight(bytes)),
    };
    lines.push(("contents", contents));
    lines
}

fn about(report: &ImageReport) -> String {
    let form = match report.form {
        Form::Root => "root directory",
        Form::DockerArchive => "archive of `docker save`",
        Form::OciArchive => "OCI archive",
        Form::OciLayout => "OCI layout",
    };
    let tags = report.tags.iter().fold(String::new(), |text, tag| text + ", " + tag);
    let platform = report.platform.as_ref().map(|platform| format!(", {platform}")).unwrap_or_default();
    let layers = match report.layers.len() {
        0 => String::new(),
        1 => ", 1 layer".to_owned(),
        many => format!(", {many} layers"),
    };
    format!("{form}{tags}{platform}{layers}")
}
