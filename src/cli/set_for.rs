//! `cudashim set-for`: what the hook of an enabled environment asks (`python/cudashim/_hook.py`).
//!
//! Comes in: the module that is about to be imported, the program of the process and its arguments, and its environment. Goes
//! out, on stdout, fields that each end in NUL: `open` SONAME PATH, `note` TEXT, `restart` WHY, `variable` NAME VALUE, `fault`
//! TEXT, and `end`. Never starts anything but an interpreter that cannot be described otherwise.

use super::answer::answer as answered;
use super::args::Color;
use super::context::Context;
use super::failure::{Failure, Result, bail};
use super::{ahead, given, output, run};
use crate::check::consumers_of;
use crate::host::Host;
use crate::launch::Door;
use crate::machine::{Handed, Request};
use crate::report::sanitized;
use crate::tables::framework_of_module;
use rustix::process::getppid;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

/// The word that the hook says.
pub(super) const NAME: &str = "set-for";

/// The whole program, as the hook starts it.
pub(super) fn main(question: &[OsString]) -> ExitCode {
    crate::host::outlive_truncation();
    output::set_up(0, true, Color::Never);
    let mut fields = answer(question).unwrap_or_else(|error| vec!["fault".into(), one_line(&error).into()]);
    fields.push("end".into());
    let mut bytes = Vec::new();
    for field in fields {
        bytes.extend_from_slice(field.as_bytes());
        bytes.push(0);
    }
    match output::print(bytes) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(2),
    }
}

fn answer(question: &[OsString]) -> Result<Vec<OsString>> {
    let [module, command @ ..] = question else { bail!("a module is named, and the program that imports it") };
    let context = &Context::of(Host::current());
    let host = context.host();
    let request = Request { command: command.to_vec(), ..Request::default() };
    let answer = answered(context, &request)?;
    let mut fields: Vec<OsString> = Vec::new();
    for stop in &answer.stops {
        fields.extend(["note".into(), sanitized(stop).into()]);
    }
    let image = match &answer.handed {
        Handed::Plan(file) => file.clone(),
        Handed::Nothing(_) | Handed::Bare(_) | Handed::Open => return Ok(fields),
        Handed::Unwritten(why) => bail!("cannot write the plan: {why}"),
    };
    if ahead::is_wanted(host) {
        ahead::start_beside(getppid(), &image);
    }
    // torch is the target of the request itself; of what opens no name, the environment is.
    let row = module.to_str().and_then(framework_of_module).filter(|row| row.opens.is_some() && row.name != "torch");
    let consumer = row.and_then(|row| consumers_of(row.name));
    let found = context.cache()?.in_process(host, &request, &image, consumer.as_ref())?;
    for (soname, path) in found.open {
        fields.extend(["open".into(), soname.into(), path.into_os_string()]);
    }
    if let Some(left) = found.left {
        fields.extend(["restart".into(), sanitized(&left).into()]);
        let given = given::given(context, answer, false, true)?;
        let child = run::environment(host, given.as_ref(), &context.shim()?, Door::Preload);
        for (name, value) in child.variables() {
            if let Some(value) = value {
                fields.extend(["variable".into(), name.into(), value.to_owned()]);
            }
        }
    }
    Ok(fields)
}

/// A failure and what can be done about it, on one line.
fn one_line(failure: &Failure) -> String {
    let said = [failure.to_string()].into_iter().chain(failure.hints().iter().cloned()).collect::<Vec<_>>().join("; ");
    sanitized(&said).replace(['\n', '\0'], " ")
}
