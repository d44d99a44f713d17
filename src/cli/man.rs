//! `cudashim man`: the manual page, made of what the help says.

use super::failure::{Context as _, Result};
use super::{help, output};
use std::fmt::Write as _;
use std::process::ExitCode;

pub(super) fn man(of: Option<&str>) -> Result<ExitCode> {
    let mut whole = help::command();
    // A command's page has the global options, and is named for the whole.
    whole.build();
    let command = match of {
        None => whole,
        Some(name) => {
            let found = whole.find_subcommand(name);
            found.with_context(|| format!("there is no command `{name}`: `cudashim help` lists them"))?.clone()
        }
    };
    let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
    // The examples have a section of their own.
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
        for (term, says) in entries {
            let _ = writeln!(more, ".TP\n\\fB{}\\fR\n{}", escaped(&term), escaped(&says));
        }
    }
    page.extend(more.into_bytes());
    output::print(page)?;
    Ok(ExitCode::SUCCESS)
}

/// Text as roff has it: nothing in it is a request or an escape.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_a_request() {
        assert_eq!(escaped(".venv --x \\n"), "\\&.venv \\-\\-x \\en");
    }
}
