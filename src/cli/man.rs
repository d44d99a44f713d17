//! `cudashim man`: the manual page, made from the help.

use super::failure::{Context as _, Result};
use super::{help, output};
use std::fmt::Write as _;
use std::process::ExitCode;

pub(super) fn man(of: Option<&str>) -> Result<ExitCode> {
    let mut whole = help::command();
    // So that a command's page has the global options and its full name.
    whole.build();
    let command = match of {
        None => whole,
        Some(name) => {
            let found = whole.find_subcommand(name);
            found.with_context(|| format!("there is no command `{name}`: `cudashim help` lists them"))?.clone()
        }
    };
    let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
    // The examples have a separate section.
    let command = command.display_name(&name).after_long_help("");
    let mut page = Vec::new();
    let manual = clap_mangen::Man::new(command).title(name.clone());
    manual.render_title(&mut page)?;
    manual.render_name_section(&mut page)?;
    manual.render_synopsis_section(&mut page)?;
    manual.render_description_section(&mut page)?;
    manual.render_options_section(&mut page)?;
    if of.is_none() {
        manual.render_subcommands_section(&mut page)?;
    }
    let mut more = String::new();
    for (title, entries) in help::sections(of.unwrap_or_default()) {
        let _ = writeln!(more, ".SH {title}");
        for (term, about) in entries {
            let _ = writeln!(more, ".TP\n\\fB{}\\fR\n{}", escaped(&term), escaped(&about));
        }
    }
    page.extend(more.into_bytes());
    output::print(page)?;
    Ok(ExitCode::SUCCESS)
}

/// Text with roff's requests and escapes escaped.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_escaped() {
        assert_eq!(escaped(".venv --x \\n"), "\\&.venv \\-\\-x \\en");
    }
}
