//! A report in the form that was asked for, as it is or without the names of users and of the machine.
//!
//! Takes the values of a report; gives their text, or prints it. `--redact` holds for every form. Never decides the content.

use super::context::Context;
use super::failure::Result;
use super::output;
use super::shared_args::RedactArgs;
use crate::diagnose::{redacted_json, redaction};
use crate::host::Host;
use crate::report::{FindingList, FindingsForm, WebPage, findings_text};
use serde::Serialize;
use std::path::Path;

/// How reports of a command are shown.
pub(super) struct Shown<'c> {
    host: &'c Host,
    checkout: &'c Path,
    redact: bool,
}

impl<'c> Shown<'c> {
    pub(super) fn new(context: &'c Context, args: RedactArgs) -> Self {
        Self { host: context.host(), checkout: context.checkout(), redact: args.redact }
    }

    /// A text for people.
    pub(super) fn text(&self, text: &str) -> String {
        if self.redact { redaction(self.host)(text) } else { text.to_owned() }
    }

    /// A page for a browser.
    pub(super) fn page(&self, page: WebPage) -> String {
        if self.redact { page.redacted(&redaction(self.host)) } else { page }.html()
    }

    /// Findings for other programs.
    pub(super) fn findings_text(&self, list: FindingList, form: FindingsForm) -> String {
        findings_text(&self.list(list), form, self.checkout)
    }

    /// Prints them, with their summary.
    pub(super) fn findings(&self, list: FindingList, form: FindingsForm) -> Result<()> {
        output::findings(&self.list(list), form, self.checkout)
    }

    fn list(&self, list: FindingList) -> FindingList {
        if self.redact { list.redacted(&redaction(self.host)) } else { list }
    }

    /// A value for programs.
    pub(super) fn json_text(&self, value: &impl Serialize) -> Result<String> {
        output::json_text(value).map(|json| self.json_redacted(json))
    }

    /// Prints a value for programs.
    pub(super) fn json(&self, value: &impl Serialize) -> Result<()> {
        output::print(self.json_text(value)?)
    }

    /// Prints a value for programs, on one line.
    pub(super) fn json_line(&self, value: &impl Serialize) -> Result<()> {
        output::print(self.json_redacted(output::json_line_text(value)?))
    }

    fn json_redacted(&self, json: String) -> String {
        if self.redact { redacted_json(&json, self.host) } else { json }
    }
}
