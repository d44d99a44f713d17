//! What is wrong with a machine, why, and what to do about it.
//!
//! Takes a machine and whom it is asked for; looks once, at the driver, the libraries, the environment and the
//! frameworks, then lets each group of rules say what it finds, and gives a [`Report`]. It judges by what the other
//! modules say (inventory, loader, driver, request) and holds no second copy of their rules. Runs nothing but an
//! interpreter that cannot be described otherwise; what only the driver can tell is passed in.
//!
//! To add a finding: a row in `data/findings.tsv`, and a rule in the file of its group.

mod compatible;
mod driver;
mod environment;
mod finding;
mod frameworks;
mod human;
mod judged;
mod libraries;
mod markdown;
mod mend;
mod message;
mod pasted;
mod redact;
mod report;

pub(crate) use judged::{Judged, Whom};

pub use finding::{Evidence, Finding, Remedy};
pub use human::text;
pub use markdown::markdown;
pub use message::{Message, Window, recognise};
pub use redact::{redacted, redacted_json};
pub use report::{DriverLine, Report, Toolkit, TorchLine, Verdict};

use crate::check::Subject;
use crate::consumer::{Spec, TorchBuild};
use crate::driver::{Devices, Driver};
use crate::host::Host;
use crate::inventory::{Inventory, Library, Problem, problems};
use crate::loader::Loader;
use crate::objects::Objects;
use crate::places;
use crate::plan::Plan;
use crate::python::{Command, Distribution, Interpreter, Options, distributions};
use crate::report::acts;
use crate::request::{Answer, Request, RequestError, default_python};
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::path::PathBuf;

/// Whom a machine is examined for.
#[derive(Debug, Clone, Default)]
pub struct Ask {
    /// `--torch SPEC`.
    pub spec: Spec,
    /// `--python PY`: an interpreter, or the directory of its environment.
    pub python: Option<PathBuf>,
    /// What libcuda and NVML said; it is left out of the judgement where nobody asked them.
    pub devices: Devices,
    /// The driver as it was recorded, instead of the one of the machine.
    pub recorded: Option<Driver>,
    /// What was recognised in an error text; `None` where there is no text.
    pub messages: Option<Vec<Message>>,
    /// The command that failed.
    pub command: Vec<OsString>,
}

/// All that the rules may look at.
#[derive(Debug)]
pub(crate) struct Case<'a> {
    /// The machine.
    pub(crate) host: &'a Host,
    /// Its ELF files.
    pub(crate) objects: &'a Objects,
    /// Its ld.so in this environment.
    pub(crate) loader: &'a Loader,
    /// The libraries of the environment asked for and of the machine.
    pub(crate) inventory: &'a Inventory,
    /// What `scan` says is wrong among them.
    pub(crate) problems: &'a [Problem],
    /// The driver.
    pub(crate) machine: &'a Driver,
    /// The Python asked for.
    pub(crate) interpreter: Option<&'a Interpreter>,
    /// Its torch.
    pub(crate) torch: Option<&'a TorchBuild>,
    /// What is installed where it imports from.
    pub(crate) installed: &'a [Distribution],
    /// What `resolve` says.
    pub(crate) answer: &'a Result<Answer, RequestError>,
    /// What `check` says of what the environment loads: as it is, and with the set.
    pub(crate) judged: &'a [Judged],
    /// The command that failed.
    pub(crate) command: &'a [OsString],
}

impl Case<'_> {
    /// A finding of this id, with what its row says; none where the id is not in the table.
    pub(crate) fn finding(&self, id: &str) -> Option<Finding> {
        Finding::of(id, &self.run_line())
    }

    /// The plan of the chosen set.
    pub(crate) fn plan(&self) -> Option<&Plan> {
        self.answer.as_ref().ok().and_then(|answer| answer.resolution.as_ref()).map(|chosen| &chosen.plan)
    }

    /// What is loaded, judged as the machine is and with the chosen set.
    pub(crate) fn judge(&self, subject: &Subject) -> Judged {
        Judged::of(self.loader, subject, self.plan())
    }

    /// The same, with the set even where nothing is wrong without.
    pub(crate) fn judge_both(&self, subject: &Subject) -> Judged {
        Judged::both(self.loader, subject, self.plan())
    }

    /// A line for pip of this environment.
    pub(crate) fn pip(&self, arguments: &str) -> Remedy {
        Remedy::command(format!("{} -m pip {arguments}", self.program()))
    }

    /// The interpreter, as it is written in a line.
    fn program(&self) -> String {
        self.interpreter.map_or_else(|| "python".to_owned(), |python| word(python.program.as_os_str()))
    }

    /// The line that hands the chosen set to a program of this environment.
    pub(crate) fn run_line(&self) -> String {
        format!("cudashim run -- {}", self.bare_line())
    }

    /// The program of this environment that is meant, as it is typed.
    pub(crate) fn bare_line(&self) -> String {
        if !self.command.is_empty() {
            let words: Vec<String> = self.command.iter().map(|part| word(part)).collect();
            return words.join(" ");
        }
        format!("{} your_script.py", self.program())
    }

    /// Whether a driver or a GPU is there: without, what is opened only once a GPU is used is not judged.
    pub(crate) fn uses_gpu(&self) -> bool {
        let machine = self.machine;
        machine.usable_libcudas().next().is_some() || machine.is_loaded() || machine.has_gpu()
    }

    /// Whether something that is loaded fails for want of a symbol of this copy.
    pub(crate) fn blames(&self, library: &Library) -> bool {
        let found = self.judged.iter().flat_map(|judged| &judged.bare.findings);
        found
            .filter_map(|finding| finding.path.as_deref())
            .any(|path| self.host.stat(path).is_ok_and(|stat| stat.id == library.stat.id))
    }

    /// Whether a package is installed, by its normalized name.
    pub(crate) fn has_package(&self, name: &str) -> Option<&Distribution> {
        self.installed.iter().find(|found| found.name == name)
    }

    /// The problems of an id.
    pub(crate) fn problems_of<'s>(&'s self, id: &'s str) -> impl Iterator<Item = &'s Problem> {
        self.problems.iter().filter(move |problem| problem.id == id)
    }
}

/// A word as a shell reads it back, quoted where it must be; on one line, and with nothing that a terminal acts on.
pub(crate) fn word(word: &OsStr) -> String {
    let text = word.to_string_lossy();
    let plain = |c: char| c.is_alphanumeric() || "-_./+=:,@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.into_owned();
    }
    if word.to_str().is_none() || text.chars().any(|c| c == '\n' || acts(c)) {
        // As bash, ksh and zsh read it (bash(1), "QUOTING").
        let bytes = word.as_encoded_bytes().iter().fold(String::new(), |mut out, byte| {
            match byte {
                b'\'' | b'\\' => out.extend(['\\', char::from(*byte)]),
                0x20..0x7f => out.push(char::from(*byte)),
                _ => {
                    let _ = write!(out, "\\x{byte:02x}");
                }
            }
            out
        });
        return format!("$'{bytes}'");
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Examines a machine.
///
/// # Errors
/// Where the interpreter, the torch or a file that is named cannot be used. That nothing fits is a finding.
pub fn examine(host: &Host, ask: &Ask) -> Result<Report, RequestError> {
    let objects = Objects::new(host);
    let loader = Loader::new(&objects);
    let (spec, python, command) = (ask.spec.clone(), ask.python.clone(), ask.command.clone());
    let started = Command::read(host, &command).and_then(|command| Some((command.program, command.python?)));
    let request = Request { spec, python, command, ..Request::default() };
    let answer = match request.answer_by(&loader) {
        Err(error) if !matches!(error, RequestError::NoSolution { .. }) => return Err(error),
        answer => answer,
    };
    let program = ask.python.clone().map(|python| (python, Options::default()));
    let program = program.or(started).or_else(|| default_python(host));
    let interpreter = program.and_then(|(program, options)| Interpreter::find(host, &program, &options).ok());
    let paths = interpreter.as_ref().map(|interpreter| interpreter.paths.as_slice()).unwrap_or_default();
    let torch = TorchBuild::find(host, paths).ok();
    let installed: Vec<Distribution> = paths.iter().flat_map(|path| distributions(host, path)).collect();
    let mut dirs = places::sites(host, paths);
    dirs.extend(places::survey(host, &loader));
    let inventory = Inventory::scan(&objects, dirs);
    let machine = match &ask.recorded {
        Some(machine) => machine.clone(),
        None => Driver::look(&loader, &inventory).with_devices(ask.devices.clone()),
    };
    let problems = problems(&inventory, &loader);
    let judged = Judged::all(&loader, interpreter.as_ref(), torch.as_ref(), &answer);
    let case = Case {
        host,
        objects: &objects,
        loader: &loader,
        inventory: &inventory,
        problems: &problems,
        machine: &machine,
        interpreter: interpreter.as_ref(),
        torch: torch.as_ref(),
        installed: &installed,
        answer: &answer,
        judged: &judged,
        command: &ask.command,
    };
    let mut findings = driver::findings(&case);
    let unasked = judged::set_aside(&case);
    for finding in findings.iter_mut().filter(|finding| finding.id == "no-driver" && !unasked.is_empty()) {
        let says = format!("not judged, for it is opened only once a GPU is used: {unasked}");
        *finding = finding.clone().seen("rule", says);
    }
    findings.extend(libraries::findings(&case));
    findings.extend(environment::findings(&case));
    findings.extend(frameworks::findings(&case));
    // What stands in another directory of sys.path is not missing.
    if findings.iter().any(|finding| finding.id == "split-site-packages") {
        findings.retain(|finding| finding.id != "optional-lib-missing");
    }
    // The worst first; what is equally bad stays in the order of the groups, whose first cause comes first.
    findings.sort_by_key(|finding| finding.severity);
    if let Some(messages) = &ask.messages {
        pasted::explain(&case, messages, &mut findings);
    }
    Ok(Report::new(&case, findings, ask.messages.clone()))
}

#[cfg(test)]
mod tests {
    use super::word;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn a_word_is_read_back_as_it_was() {
        let words: [&[u8]; 6] = [b"/a/b", b"", b"a b'c", b"\n$ rm", b"\x1b]'\\", b"\xff\xc2\x9b"];
        let shown = ["/a/b", "''", r"'a b'\''c'", r"$'\x0a$ rm'", r"$'\x1b]\'\\'", r"$'\xff\xc2\x9b'"];
        for (bytes, shown) in words.into_iter().zip(shown) {
            assert_eq!(word(OsStr::from_bytes(bytes)), shown);
            let echo = format!("printf %s {}", word(OsStr::from_bytes(bytes)));
            if let Ok(output) = std::process::Command::new("bash").args(["-c", &echo]).output() {
                assert_eq!(output.stdout, bytes, "{shown}");
            }
        }
    }
}
