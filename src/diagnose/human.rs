//! A report on one screen.

use super::{Cell, Finding, Line, Matrix, Report, Runs};
use crate::inventory::Flavour;
use crate::tables::{Phase, Severity};
use std::fmt::Write as _;

/// Evidence shown for a finding, unless all is requested.
const SHOWN: usize = 4;

/// Findings shown, unless all are requested.
const FINDINGS: usize = 5;

/// The findings among them that show their evidence.
const WHOLE: usize = 2;

/// The narrowest terminal that lines are wrapped for.
pub(super) const NARROW: usize = 40;

/// The text column of a line about the machine, and that of a finding.
pub(super) const INDENT: usize = 9;

/// What stands between the steps of a line.
const STEP: &str = " && ";

/// The report for a terminal of this many columns: the verdict, the machine, the findings. `all` leaves nothing out.
/// A line for a shell is never wrapped, so that it can be pasted.
#[must_use]
pub fn text(report: &Report, all: bool, explain: bool, columns: usize) -> String {
    let columns = columns.max(NARROW);
    let mut text = String::new();
    wrapped(&mut text, columns, "", 0, &report.verdict.says);
    text.push('\n');
    for (name, value) in lines(report) {
        wrapped(&mut text, columns, &format!("{name:INDENT$}"), INDENT, &value);
    }
    if let Some(table) = &report.table {
        text.push('\n');
        text.push_str(&matrix_text(table, explain, columns));
    }
    let (facts, wrong): (Vec<_>, Vec<_>) =
        report.findings.iter().partition(|finding| finding.severity == Severity::Fact);
    let (later, now): (Vec<_>, Vec<_>) = wrong.into_iter().partition(|finding| is_later(report, finding));
    let shown = if all { usize::MAX } else { FINDINGS };
    let mut at = 0;
    for (heading, findings) in [("", &now), ("when a GPU is used:", &later)] {
        for (first, finding) in findings.iter().enumerate().map(|(index, finding)| (index == 0, finding)) {
            if at >= shown {
                break;
            }
            if first && !heading.is_empty() {
                let _ = write!(text, "\n{heading}\n");
            }
            if all || at < WHOLE {
                if !first || heading.is_empty() {
                    text.push('\n');
                }
                whole(&mut text, columns, finding, all);
            } else {
                if at == WHOLE {
                    text.push('\n');
                }
                headline(&mut text, columns, finding);
            }
            at += 1;
        }
    }
    let count = now.len() + later.len();
    if count > at {
        let _ = write!(text, "\nand {} more; `--all` shows them\n", count - at);
    }
    if !facts.is_empty() {
        text.push('\n');
    }
    for finding in facts {
        if all {
            whole(&mut text, columns, finding, all);
        } else {
            headline(&mut text, columns, finding);
        }
    }
    text
}

/// A table of drivers and GPUs, drivers down and GPUs across; `explain`: each pair with its findings below it.
#[must_use]
pub fn matrix_text(matrix: &Matrix, explain: bool, columns: usize) -> String {
    let columns = columns.max(NARROW);
    let driver = |cell: &Cell| cell.driver.clone().unwrap_or_else(|| "the newest for it".to_owned());
    let short = |name: &str| name.strip_prefix("NVIDIA ").unwrap_or(name).to_owned();
    let gpu = |cell: &Cell| cell.gpu.as_ref().map_or_else(String::new, |gpu| short(&gpu.name));
    let mut rows: Vec<(String, Vec<&Cell>)> = Vec::new();
    for cell in &matrix.cells {
        match rows.last_mut() {
            Some((name, cells)) if *name == driver(cell) => cells.push(cell),
            _ => rows.push((driver(cell), vec![cell])),
        }
    }
    let mut lines = vec![vec!["driver".to_owned()]];
    let heads = rows.first().map(|(_, cells)| cells.iter().map(|cell| gpu(cell)).collect()).unwrap_or_default();
    lines[0].extend::<Vec<String>>(heads);
    for (name, cells) in &rows {
        let mut line = vec![name.clone()];
        line.extend(cells.iter().map(|cell| runs_word(cell.runs).to_owned()));
        lines.push(line);
    }
    let widths: Vec<usize> = (0..lines[0].len())
        .map(|at| lines.iter().filter_map(|line| line.get(at)).map(|cell| cell.chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    if widths.iter().map(|width| width + 2).sum::<usize>() <= columns + 2 {
        for line in &lines {
            let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            let _ = writeln!(text, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
        }
    } else {
        // Too many GPUs for a line.
        for cell in &matrix.cells {
            wrapped(&mut text, columns, "", 2, &format!("{}, {}: {}", driver(cell), gpu(cell), runs_word(cell.runs)));
        }
    }
    if !explain {
        let says = |runs| matrix.cells.iter().any(|cell| cell.runs == runs);
        if says(Runs::No) || says(Runs::Conditions) {
            text.push_str("`--explain` shows why\n");
        }
        return text;
    }
    for cell in &matrix.cells {
        let gpu = if cell.gpu.is_some() { format!(", {}", gpu(cell)) } else { String::new() };
        text.push('\n');
        wrapped(
            &mut text,
            columns,
            "",
            2,
            &format!("driver {}{gpu}: {}: {}", driver(cell), runs_word(cell.runs), cell.says),
        );
        for finding in &cell.findings {
            match finding.severity {
                Severity::Fact => headline(&mut text, columns, finding),
                _ => whole(&mut text, columns, finding, true),
            }
        }
    }
    text
}

pub(super) fn runs_word(runs: Runs) -> &'static str {
    match runs {
        Runs::Yes => "yes",
        Runs::Conditions => "conditions",
        Runs::No => "no",
    }
}

/// Whether it waits for a GPU, on a machine without a usable one.
fn is_later(report: &Report, finding: &Finding) -> bool {
    finding.phase == Phase::Gpu && finding.severity != Severity::Fact && !report.machine.can_be_used()
}

pub(super) fn headline(text: &mut String, columns: usize, finding: &Finding) {
    wrapped(text, columns, "", 2, &format!("{}: {} [{}]", word(finding.severity), finding.cause, finding.id));
}

/// Writes `value` after `before`, wrapped at blanks to fit the screen; continuation lines begin in column `indent`.
pub(super) fn wrapped(text: &mut String, columns: usize, before: &str, indent: usize, value: &str) {
    text.push_str(before);
    // A line never starts with its own label.
    let value = value.replace('\n', "\\n");
    let mut column = before.chars().count();
    let start = column;
    for (at, word) in value.split(' ').enumerate() {
        let length = word.chars().count();
        if at > 0 && column + 1 + length > columns && column > indent.max(start) {
            let _ = write!(text, "\n{:indent$}", "");
            column = indent;
        } else if at > 0 {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += length;
    }
    text.push('\n');
}

/// The machine, as labelled lines.
pub(super) fn lines(report: &Report) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    if report.table.is_none() {
        lines.push(("driver", driver(report)));
    }
    for device in &report.devices {
        let compute = device.compute.map(|compute| format!(", compute capability {compute}")).unwrap_or_default();
        let memory = device.memory.map(|bytes| format!(", {} GiB", bytes >> 30)).unwrap_or_default();
        let assumed = if report.driver.assumed { " (assumed)" } else { "" };
        lines.push(("device", format!("{}{compute}{memory}{assumed}", device.name)));
    }
    for toolkit in &report.toolkits {
        let cuda = toolkit.cuda.as_deref().map_or_else(|| "CUDA".to_owned(), |cuda| format!("CUDA {cuda}"));
        lines.push(("toolkit", format!("{cuda} in {}", toolkit.path.to_path().display())));
    }
    lines.push(match &report.torch {
        Some(torch) => ("torch", format!("{} in {}", torch.version, torch.path.to_path().display())),
        None => ("torch", "none".to_owned()),
    });
    if let Some(cuda) = &report.cuda {
        lines.push(("cuda", cuda.clone()));
    }
    if let Some(report) = &report.set {
        lines.push(("set", set(report)));
        lines.extend(report.not_handed_out().map(|says| ("but", says)));
    }
    if report.torch.is_none() && report.set.as_ref().is_none_or(|set| set.nothing.is_some()) {
        lines.push(("try", "activate an environment, or name it: `cudashim doctor DIR`".to_owned()));
    }
    if report.is_unknown() {
        let what = "run `cudashim doctor -- COMMAND` in the shell where it fails; `cudashim trace -- COMMAND` shows what it loads";
        lines.push(("try", what.to_owned()));
    }
    lines
}

fn driver(report: &Report) -> String {
    let line = &report.driver;
    let mut text = line.version.clone().unwrap_or_else(|| "none".to_owned());
    if line.assumed {
        text.push_str(" (assumed)");
    }
    match line.module {
        Some(Flavour::Open) => text.push_str(", open kernel module"),
        Some(Flavour::Proprietary) => text.push_str(", proprietary kernel module"),
        _ => {}
    }
    if let Some(cuda) = &line.cuda {
        let _ = write!(text, ", CUDA {cuda}");
    }
    if let (Some(path), Some(rule), false) = (&line.libcuda, &line.rule, line.assumed && line.compat.is_none()) {
        let _ = write!(text, ", {} by {rule}", path.to_path().display());
    }
    if let Some(cuda) = &line.compat {
        let _ = write!(text, " (compatibility package, CUDA {cuda})");
    }
    text
}

fn set(report: &crate::report::ResolveReport) -> String {
    if let Some(nothing) = &report.nothing {
        return format!("none: {nothing}");
    }
    match &report.set {
        None => "none fits".to_owned(),
        Some(set) if set.is_empty() && report.unserved.is_empty() => "no NVIDIA library is needed".to_owned(),
        Some(set) if set.is_empty() => {
            let unmanaged = counted(report.unserved.len());
            format!("empty: {unmanaged} needed, but not managed; run `cudashim resolve` for the list")
        }
        Some(set) => format!("{}; run `cudashim resolve` for the list", counted(set.len())),
    }
}

fn counted(count: usize) -> String {
    format!("{count} {}", if count == 1 { "library" } else { "libraries" })
}

pub(super) fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Fatal => "fatal",
        Severity::Warning => "warning",
        _ => "fact",
    }
}

pub(super) fn whole(text: &mut String, columns: usize, finding: &Finding, all: bool) {
    headline(text, columns, finding);
    let line = |text: &mut String, name: &str, value: &str| {
        wrapped(text, columns, &format!("  {name:INDENT$}"), INDENT + 2, value);
    };
    let shown = if all { finding.evidence.len() } else { SHOWN };
    for evidence in finding.evidence.iter().take(shown) {
        let path = evidence.path.as_ref().map(|path| format!("{}: ", path.to_path().display())).unwrap_or_default();
        line(text, evidence.kind, &format!("{path}{}", evidence.says));
    }
    if finding.evidence.len() > shown {
        let _ = writeln!(text, "  and {} more; `--all` shows them", finding.evidence.len() - shown);
    }
    for other in &finding.consequences {
        line(text, "and so", &format!("{} [{}]", other.cause, other.id));
    }
    for (at, remedy) in finding.remedies.iter().enumerate() {
        let name = if at == 0 { "do" } else { "or" };
        match &remedy.line {
            Line::Command(command) => {
                for (step, line) in command.split(STEP).enumerate() {
                    let name = if step == 0 { name } else { "then" };
                    let _ = writeln!(text, "  {name:INDENT$}$ {line}");
                }
            }
            Line::Action(action) => line(text, name, action),
        }
    }
    line(text, "see", finding.source);
}

#[cfg(test)]
mod tests {
    use super::wrapped;

    const WIDTH: usize = 100;

    #[test]
    fn lines_fit_a_screen() {
        let mut text = String::new();
        wrapped(&mut text, WIDTH, "  file     ", 11, &["twelve words"; 20].join(" "));
        assert!(text.lines().count() > 2 && text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(text.lines().skip(1).all(|line| line.len() - line.trim_start().len() == 11), "{text}");
        // Never break a word, and never start an empty line.
        text.clear();
        wrapped(&mut text, WIDTH, "driver   ", 9, &"x".repeat(150));
        assert_eq!(text, format!("driver   {}\n", "x".repeat(150)));
        text.clear();
        wrapped(&mut text, WIDTH, "", 0, "one");
        assert_eq!(text, "one\n");
    }
}
