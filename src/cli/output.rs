//! Printing: results to stdout, notes and errors to stderr.
//!
//! Takes texts for people and values for programs; prints them harmless for a terminal, in its width and character set,
//! in colour if enabled; prints no reports with `--quiet`. Never decides the content.

use super::args::Color;
use super::failure::{Context, Failure, Result};
use super::paint::painted;
use crate::report::{FindingList, FindingsForm, Width, acts, findings_text, folded, plain_ascii, sanitized};
use anstream::AutoStream;
use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;
use std::sync::OnceLock;

/// How this process prints.
struct Settings {
    quiet: bool,
    verbose: u8,
    /// Whether the locale is limited to ASCII.
    ascii: bool,
}

static SETTINGS: OnceLock<Settings> = OnceLock::new();

/// Sets how this process prints from now on.
pub(super) fn set_up(verbose: u8, quiet: bool, color: Color) {
    logger(verbose, quiet);
    match color {
        Color::Auto => {}
        Color::Always => anstream::ColorChoice::Always.write_global(),
        Color::Never => anstream::ColorChoice::Never.write_global(),
    }
    let _ = SETTINGS.set(Settings { quiet, verbose, ascii: is_ascii(|name| std::env::var(name).ok()) });
}

fn logger(verbose: u8, quiet: bool) {
    let level = match (quiet, verbose) {
        (true, _) => log::LevelFilter::Error,
        (false, 0) => log::LevelFilter::Warn,
        (false, 1) => log::LevelFilter::Info,
        (false, 2) => log::LevelFilter::Debug,
        _ => log::LevelFilter::Trace,
    };
    let line = |out: &mut env_logger::fmt::Formatter, record: &log::Record<'_>| {
        writeln!(out, "cudashim: {}", sanitized(&record.args().to_string()).replace('\n', "\\n"))
    };
    let _ = env_logger::Builder::new().filter_level(level).format(line).try_init();
}

/// Whether the locale is C or POSIX. Without any locale, the terminal counts as UTF-8.
fn is_ascii(variable: impl Fn(&str) -> Option<String>) -> bool {
    let set = |name: &&str| variable(name).is_some_and(|value| !value.is_empty());
    let Some(locale) = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find(|name| set(name)).and_then(|name| variable(name))
    else {
        return false;
    };
    matches!(&*locale, "C" | "POSIX")
}

/// Whether `--quiet` is given.
pub(super) fn is_quiet() -> bool {
    SETTINGS.get().is_some_and(|settings| settings.quiet)
}

/// Whether `--verbose` is given.
pub(super) fn is_verbose() -> bool {
    SETTINGS.get().is_some_and(|settings| settings.verbose > 0)
}

/// The width of reports: `COLUMNS` if set, the terminal's width up to [`TABLE`], else 100 columns; in the last case a
/// path may exceed it, since a program reads the output.
pub(super) fn width() -> Width {
    let columns = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    let terminal = || {
        let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
        Some(usize::from(size.ws_col)).filter(|columns| *columns > 0).map(|columns| columns.min(TABLE))
    };
    match columns.or_else(terminal) {
        Some(columns) => Width { columns, whole_paths: false },
        None => Width::default(),
    }
}

/// A wider table is no easier to read.
const TABLE: usize = 120;

/// A report for people, with its long lines wrapped.
pub(super) fn report(text: &str) -> Result<()> {
    laid_out(&folded(&sanitized(text), width().columns))
}

/// A report for people that is laid out already.
pub(super) fn laid_out(text: &str) -> Result<()> {
    if is_quiet() {
        return Ok(());
    }
    let text = dressed(text);
    write(AutoStream::auto(std::io::stdout().lock()), text.as_bytes())
}

/// A report for people, to stderr.
pub(super) fn report_to_stderr(text: &str) -> Result<()> {
    laid_out_to_stderr(&folded(&sanitized(text), width().columns))
}

/// As [`laid_out`], to stderr.
pub(super) fn laid_out_to_stderr(text: &str) -> Result<()> {
    if is_quiet() {
        return Ok(());
    }
    let text = dressed(text);
    AutoStream::auto(std::io::stderr().lock()).write_all(text.as_bytes()).context("cannot write the report to stderr")
}

/// The text with colours, in the characters of the locale.
fn dressed(text: &str) -> String {
    let ascii = SETTINGS.get().is_some_and(|settings| settings.ascii);
    painted(&if ascii { plain_ascii(text) } else { text.to_owned() })
}

/// Data, to stdout.
pub(super) fn print(data: impl AsRef<[u8]>) -> Result<()> {
    write(std::io::stdout().lock(), data.as_ref())
}

fn write(mut to: impl Write, data: &[u8]) -> Result<()> {
    to.write_all(data).and_then(|()| to.flush()).context("cannot write to stdout")
}

/// Findings in a form for other programs, and their summary: with the workflow commands, else a note. Files below
/// `checkout` are named from there.
pub(super) fn findings(list: &FindingList, form: FindingsForm, checkout: &Path) -> Result<()> {
    print(findings_text(list, form, checkout))?;
    if form != FindingsForm::Github {
        note(&list.summary());
    }
    Ok(())
}

/// A value for programs.
pub(super) fn json(value: &impl serde::Serialize) -> Result<()> {
    print(json_text(value)?)
}

/// A value for programs as indented JSON.
pub(super) fn json_text(value: &impl serde::Serialize) -> Result<String> {
    Ok(escaped(&serde_json::to_string_pretty(value)?) + "\n")
}

/// A value for programs as JSON on one line.
pub(super) fn json_line_text(value: &impl serde::Serialize) -> Result<String> {
    Ok(escaped(&serde_json::to_string(value)?) + "\n")
}

/// A value for programs, on one line.
pub(super) fn json_line(value: &impl serde::Serialize) -> Result<()> {
    print(json_line_text(value)?)
}

/// Values for programs, each on one line.
pub(super) fn json_lines(values: &[impl serde::Serialize]) -> Result<()> {
    let mut to = std::io::BufWriter::new(std::io::stdout().lock());
    for value in values {
        let line = escaped(&serde_json::to_string(value)?) + "\n";
        to.write_all(line.as_bytes()).context("cannot write to stdout")?;
    }
    to.flush().context("cannot write to stdout")
}

/// JSON with characters that act on a terminal written as escapes: they occur only in strings.
fn escaped(json: &str) -> String {
    json.chars().fold(String::with_capacity(json.len()), |mut out, c| {
        if acts(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
        out
    })
}

/// One line for people that is not an error.
pub(super) fn note(text: &str) {
    if !is_quiet() {
        to_stderr(&format!("cudashim: {}\n", sanitized(text)));
    }
}

/// A failure with its causes and hints.
pub(super) fn failure(failure: &Failure) {
    let mut text = String::new();
    for (at, sentence) in failure.sentences().iter().enumerate() {
        let label = if at == 0 { "error" } else { "  caused by" };
        let _ = writeln!(text, "{label}: {}", sentence.replace('\n', "\\n"));
    }
    for fact in failure.facts() {
        let _ = writeln!(text, "  - {}", fact.replace('\n', "\\n"));
    }
    for hint in failure.hints() {
        let _ = writeln!(text, "hint: {}", hint.replace('\n', "\\n"));
    }
    to_stderr(&sanitized(&text));
}

fn to_stderr(text: &str) {
    // A failure to write to stderr cannot be reported.
    let _ = AutoStream::auto(std::io::stderr().lock()).write_all(painted(text).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_named_locale_is_ascii() {
        let of = |pairs: &[(&str, &str)]| {
            is_ascii(|name| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
        };
        assert!(of(&[("LC_ALL", "C")]) && of(&[("LANG", "POSIX")]) && of(&[("LC_ALL", ""), ("LC_CTYPE", "C")]));
        assert!(!of(&[]) && !of(&[("LANG", "C.UTF-8")]) && !of(&[("LC_ALL", "de_DE.UTF-8"), ("LANG", "C")]));
    }
}
