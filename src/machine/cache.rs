//! Keeps answers on disk until a file they depend on changes.
//!
//! Takes a request and a machine; gives the image to hand out, and the facts about the program to start. An answer is
//! one small file named by a digest of the question. It holds the stamps of every path that was read, which decide
//! whether it is still valid, and the names of an image, its plan and a report. Those are named by content and never
//! change, so no process loses its plan; a file unused for a month is removed.

mod answer;
mod files;
mod key;
mod planned;

use super::{Checked, Request, RequestError};
use crate::check::{self, InProcess, Standing, Subject};
use crate::host::{Hints, Host, Stamps, private_write};
use crate::launch::{Target, own_dir};
use crate::loader::Loader;
use crate::loader::Objects;
use crate::plan::{Image, ImageError, Plan, PlanError};
use crate::python::Command;
use crate::report::ResolveReport;
use answer::{Answer, Found};
use files::Known;
use key::Key;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long to wait for another process that answers the same question: less than the shim waits for us
/// (`cshim/ask.c`).
const TURN: Duration = Duration::from_millis(1500);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// The result for a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handed {
    /// The image in this file, for `CUDASHIM_PLAN`.
    Plan(PathBuf),
    /// Nothing to hand out; the reason.
    Nothing(String),
    /// Nothing to hand out, and no process may ask again: the target loads as it is, but not with the set. The
    /// reason.
    Bare(String),
    /// A shell or launcher may start any environment; each program asks for its own plan.
    Open,
    /// There is a plan, but it cannot be written; the reason.
    Unwritten(String),
}

/// An answered request.
#[derive(Debug, Clone)]
pub struct Cached {
    /// What to hand out.
    pub handed: Handed,
    /// Which mechanism reaches the program of the command.
    pub target: Target,
    /// Warnings for the user who starts the command, one line each.
    pub warnings: Vec<String>,
    /// Reasons not to start the command, one line each; empty: it may start.
    pub stops: Vec<String>,
    /// Whether it was read from the cache.
    pub hit: bool,
    detail: Detail,
}

/// Where to find the report and the plan of an answer.
#[derive(Debug, Clone)]
enum Detail {
    Fresh(Box<ResolveReport>, Option<Box<Plan>>),
    Stored { report: PathBuf, plan: Option<PathBuf> },
}

impl Cached {
    /// An answer that could not be stored; the reason.
    #[must_use]
    pub fn fresh(answer: super::Answer, why: &str) -> Self {
        let handed = match &answer.nothing {
            Some(nothing) => Handed::Nothing(nothing.clone()),
            None => Handed::Unwritten(why.to_owned()),
        };
        let report = Box::new(answer.report());
        let warnings = report.warnings();
        let plan = answer.resolution.map(|resolution| Box::new(resolution.plan));
        let detail = Detail::Fresh(report, plan);
        Self { handed, target: Target::default(), warnings, stops: Vec::new(), hit: false, detail }
    }

    /// The report for people and programs.
    ///
    /// # Errors
    /// The report file changed since the lookup.
    pub fn report(&self) -> io::Result<ResolveReport> {
        match &self.detail {
            Detail::Fresh(report, _) => Ok((**report).clone()),
            Detail::Stored { report, .. } => serde_json::from_slice(&std::fs::read(report)?).map_err(io::Error::other),
        }
    }

    /// The plan as text; `None` if there is none, or its file changed since the lookup.
    #[must_use]
    pub fn plan(&self) -> Option<Plan> {
        match &self.detail {
            Detail::Fresh(_, plan) => plan.as_deref().cloned(),
            Detail::Stored { plan, .. } => Plan::read(plan.as_deref()?).ok(),
        }
    }
}

/// Why a plan of the user cannot be handed out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandedError {
    /// The plan cannot be compiled.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The image cannot be written.
    #[error("cannot write the image of the plan to `{}`", dir.display())]
    Write {
        /// The directory.
        dir: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

impl Hints for HandedError {
    fn hints(&self) -> Vec<String> {
        match self {
            Self::Image(error) => error.hints(),
            Self::Write { source, .. } if source.kind() == io::ErrorKind::FileTooLarge => Vec::new(),
            Self::Write { .. } => vec!["set `CUDASHIM_CACHE` to a directory of your own that can be written".into()],
        }
    }
}

/// Why nothing can be said of a process without the shim.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InProcessError {
    /// The plan cannot be read.
    #[error("cannot read the plan")]
    Plan(#[from] PlanError),
    /// The request has no answer.
    #[error(transparent)]
    Request(#[from] RequestError),
}

impl Hints for InProcessError {
    fn hints(&self) -> Vec<String> {
        match self {
            Self::Plan(error) => error.hints(),
            Self::Request(error) => error.hints(),
        }
    }
}

/// The result of checking a set before it is handed out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JudgeResult {
    /// Fatal findings: reasons not to start the target.
    pub stops: Vec<String>,
    /// Findings that show later.
    pub notes: Vec<String>,
    /// Why the set must not be handed out: the target loads without it.
    pub bare: Option<String>,
}

/// Checks a request with the set that was chosen for it.
pub type Judge = fn(&Host, &Request) -> JudgeResult;

/// A directory of stored answers.
#[derive(Debug, Clone)]
pub struct PlanCache {
    dir: PathBuf,
    judge: Option<Judge>,
}

impl PlanCache {
    /// Opens the cache below a cache directory; creates it if it is missing.
    ///
    /// # Errors
    /// Another user owns or may write to the directory: plans decide what a process loads.
    pub fn open(cache_dir: &Path) -> io::Result<Self> {
        // Plans use absolute paths, for their files and for themselves.
        let cache_dir = &std::path::absolute(cache_dir)?;
        let dir = cache_dir.join("plans");
        for dir in [cache_dir, &dir] {
            own_dir(dir).map_err(|error| match std::error::Error::source(&error) {
                Some(source) => io::Error::other(format!("{error}: {source}")),
                None => io::Error::other(error),
            })?;
        }
        Ok(Self { dir, judge: None })
    }

    /// Adds a checker for each new answer with a finding; its result is stored with the answer.
    #[must_use]
    pub fn judged_by(self, judge: Judge) -> Self {
        Self { judge: Some(judge), ..self }
    }

    /// Answers a request, from the cache while that is valid. The plan covers the program of the command, too.
    ///
    /// # Errors
    /// As [`Request::answer`].
    pub fn answer(&self, host: &Host, request: &Request) -> Result<Cached, RequestError> {
        self.answer_for(host, request, false)
    }

    /// The same before the command starts: a program that may start any environment gets no plan yet.
    ///
    /// # Errors
    /// As [`Request::answer`].
    pub fn answer_before_start(&self, host: &Host, request: &Request) -> Result<Cached, RequestError> {
        self.answer_for(host, request, true)
    }

    fn answer_for(&self, host: &Host, request: &Request, may_be_open: bool) -> Result<Cached, RequestError> {
        let command = Command::read(host, &request.command);
        let mut key = Key::of_request(host, request, command.as_ref());
        // A Python has one answer, whichever process asks.
        let may_be_open = may_be_open && command.as_ref().is_some_and(|command| command.python.is_none());
        key.add("open", OsStr::new(if may_be_open { "may be" } else { "is not" }));
        let mut judged = key.clone();
        judged.add("judged", OsStr::new("yes"));
        let judged = judged.digest();
        // An answer with more detail serves this question, too.
        if let Some(found) = self.lookup(host, &judged) {
            return Ok(self.cached(found));
        }
        let key = if self.judge.is_some() { judged } else { key.digest() };
        if let Some(found) = self.lookup(host, &key).filter(|_| self.judge.is_none()) {
            return Ok(self.cached(found));
        }
        // A hundred workers may start at once: one computes the answer, the others read it.
        let lock = self.lock(&key);
        if let Some(found) = self.lookup(host, &key) {
            return Ok(self.cached(found));
        }
        let program = command.map(|command| command.program);
        let fresh = self.fresh(host, &key, request, program.as_deref(), may_be_open);
        if lock.is_some() {
            // A waiting process has the lock file open, and a later one finds the answer.
            let _ = std::fs::remove_file(self.file(&key, "lock"));
        }
        fresh
    }

    fn fresh(
        &self,
        host: &Host,
        key: &str,
        request: &Request,
        program: Option<&Path>,
        may_be_open: bool,
    ) -> Result<Cached, RequestError> {
        let target = program.map(|program| Target::read(host, program)).unwrap_or_default();
        if may_be_open && request.is_open(host) {
            let (warnings, stops, files) = (Vec::new(), Vec::new(), Vec::new());
            let open = Answer { found: Found::Open, target, warnings, stops, files };
            self.keep(host, key, &open, &host.stamps());
            return Ok(Cached { hit: false, ..self.cached(open) });
        }
        let objects = Objects::new(host);
        let loader = Loader::new(&objects);
        let answer = host.keeping(|| request.answer_by(&loader))?;
        let report = Box::new(answer.report());
        let mut warnings = report.warnings();
        let plan = answer.resolution.as_ref().map(|resolution| &resolution.plan);
        let is_wrong = self.judge.is_some() && host.keeping(|| request.is_wrong(&loader, plan));
        let result = self.judge.filter(|_| is_wrong).map(|judge| judge(&host.anew(), request)).unwrap_or_default();
        warnings.extend(result.notes);
        let stops = result.stops;
        let stamps = host.stamps();
        let (found, files, plan) = match (result.bare, answer.resolution, answer.nothing) {
            (Some(why), ..) => (Found::Bare(why), Vec::new(), None),
            (None, Some(resolution), _) => {
                let mut plan = resolution.plan;
                plan.programs.extend(program.filter(|program| !plan.is_for(host, program)).map(Path::to_owned));
                match self.written(host, &plan) {
                    Ok((image, files)) => (Found::Image(image), files, Some(Box::new(plan))),
                    Err(error) => {
                        let why = match error.kind() {
                            io::ErrorKind::FileTooLarge => error.to_string(),
                            _ => format!("{error}: set `CUDASHIM_CACHE` to a directory of your own"),
                        };
                        let detail = Detail::Fresh(report, Some(Box::new(plan)));
                        return Ok(Cached {
                            handed: Handed::Unwritten(why),
                            target,
                            warnings,
                            stops,
                            hit: false,
                            detail,
                        });
                    }
                }
            }
            (None, None, nothing) => (Found::Nothing(nothing.unwrap_or_default()), Vec::new(), None),
        };
        let mut kept = Answer { found, target, warnings, stops, files };
        match self.with_report(&mut kept, &report) {
            Ok(()) => self.keep(host, key, &kept, &stamps),
            Err(error) => log::warn!("cannot cache the answer in {}: {error}", self.dir.display()),
        }
        Ok(Cached { detail: Detail::Fresh(report, plan), hit: false, ..self.cached(kept) })
    }

    /// Writes the image of a user's plan, extended to `program`; gives the libraries that it cannot hand out, with
    /// reasons.
    ///
    /// # Errors
    /// The plan cannot be compiled or written.
    pub fn compiled(
        &self,
        host: &Host,
        plan: &Plan,
        program: Option<&Path>,
    ) -> Result<(PathBuf, Vec<(String, String)>), HandedError> {
        let mut plan = plan.clone();
        plan.programs.extend(program.filter(|program| !plan.is_for(host, program)).map(Path::to_owned));
        let image = Image::compile(&plan, host)?;
        for library in &mut plan.libraries {
            if let Ok(stat) = host.stat(&library.path)
                && !image.left_out.iter().any(|(soname, _)| *soname == library.soname)
            {
                // The same bytes, under their path on this machine.
                (library.id, library.size, library.mtime) = (stat.id, stat.size, stat.mtime);
            }
        }
        let written = self.write_image(&plan, &image);
        let (name, _) = written.map_err(|source| HandedError::Write { dir: self.dir.clone(), source })?;
        Ok((self.dir.join(name), image.left_out))
    }

    /// Judges an object, or a name that code in it opens, for `program` under the plan of `image`.
    ///
    /// # Errors
    /// The plan of the image is gone.
    pub fn stranger(
        &self,
        host: &Host,
        image: &Path,
        program: &Path,
        object: &Path,
        name: Option<&OsStr>,
    ) -> Result<Standing, PlanError> {
        let mut key = Key::new(host);
        let question = [Some(image.as_os_str()), Some(program.as_os_str()), Some(object.as_os_str()), name];
        for part in question.into_iter().flatten() {
            key.add("stranger", part);
        }
        let key = key.digest();
        if let Some(Answer { found: Found::Standing(standing), .. }) = self.lookup(host, &key) {
            return Ok(standing);
        }
        let plan = Plan::read(&image.with_extension("plan"))?;
        let objects = Objects::new(host);
        let standing = host.keeping(|| check::stranger(&Loader::new(&objects), &plan, program, object, name));
        let found = Found::Standing(standing);
        let answer =
            Answer { found, target: Target::default(), warnings: Vec::new(), stops: Vec::new(), files: Vec::new() };
        self.keep(host, &key, &answer, &host.stamps());
        Ok(standing)
    }

    /// Judges what a process is to map that has no shim, where it is started as the command of a request is and loads
    /// `consumer`, or whom the request is for; `image` is the one that the request was answered with.
    ///
    /// # Errors
    /// The plan of the image cannot be read, or the request not be answered any more.
    pub fn in_process(
        &self,
        host: &Host,
        request: &Request,
        image: &Path,
        consumer: Option<&check::Consumer>,
    ) -> Result<InProcess, InProcessError> {
        let command = Command::read(host, &request.command);
        let mut key = Key::of_request(host, request, command.as_ref());
        key.add("image", image.as_os_str());
        key.add("in process", OsStr::new(consumer.map_or("", |consumer| consumer.who)));
        let key = key.digest();
        if let Some(Answer { found: Found::InProcess(found), .. }) = self.lookup(host, &key) {
            return Ok(found);
        }
        let plan = Plan::read(&image.with_extension("plan"))?;
        let objects = Objects::new(host);
        let loader = Loader::new(&objects);
        let found = host.keeping(|| -> Result<InProcess, RequestError> {
            let interpreter = request.environment(host)?;
            let package = consumer.zip(interpreter.as_ref());
            let package = package.and_then(|(consumer, interpreter)| Subject::package(&loader, consumer, interpreter));
            let subject = match package {
                Some(subject) => subject,
                None => match request.subject(&loader)? {
                    Checked::Subject(subject) => *subject,
                    Checked::Nothing(_) => return Ok(InProcess::default()),
                },
            };
            Ok(check::in_process(&loader, &subject, &plan))
        })?;
        let (warnings, stops, files) = (Vec::new(), Vec::new(), Vec::new());
        let answer =
            Answer { found: Found::InProcess(found.clone()), target: Target::default(), warnings, stops, files };
        self.keep(host, &key, &answer, &host.stamps());
        Ok(found)
    }

    /// Writes the image of a plan; gives its name and the files that it needs.
    fn written(&self, host: &Host, plan: &Plan) -> io::Result<(String, Vec<Known>)> {
        let image = Image::compile(plan, host).map_err(io::Error::other)?;
        for (soname, why) in &image.left_out {
            log::debug!("{soname}: {why}; not managed");
        }
        self.write_image(plan, &image)
    }

    /// Writes the image, and beside it the plan that it was compiled from, for `stranger` and for people.
    fn write_image(&self, plan: &Plan, image: &Image) -> io::Result<(String, Vec<Known>)> {
        let name = image.file_name();
        let image = files::put(&self.dir, &name, &image.bytes)?;
        // Plans that differ only in text for people share one image: the first stays.
        let text = name.replace(".image", ".plan");
        let there = Known::find(&self.dir, &text).filter(|_| Plan::read(&self.dir.join(&text)).is_ok());
        let text = there.map_or_else(|| files::put(&self.dir, &text, &plan.to_bytes()), Ok)?;
        Ok((name, vec![image, text]))
    }

    fn with_report(&self, answer: &mut Answer, report: &ResolveReport) -> io::Result<()> {
        let json = serde_json::to_vec(report).map_err(io::Error::other)?;
        answer.files.push(files::put(&self.dir, &format!("{}.json", files::digest(&json)), &json)?);
        Ok(())
    }

    /// Stores an answer; if this fails, the next process computes it again.
    fn keep(&self, host: &Host, key: &str, answer: &Answer, stamps: &Stamps) {
        if !host.is_settled() {
            log::info!("not cached: a file that it was read from has just changed");
            return;
        }
        let text = answer.to_text(&stamps.condensed(host));
        if let Err(error) = private_write(&self.file(key, "answer"), text.as_bytes()) {
            log::warn!("cannot cache the answer in {}: {error}", self.dir.display());
        }
        files::sweep(&self.dir);
    }

    fn lookup(&self, host: &Host, key: &str) -> Option<Answer> {
        let path = self.file(key, "answer");
        let (text, is_old) = files::read(&path)?;
        let answer = Answer::if_it_holds(&text, host, &self.dir)?;
        if is_old {
            let files = answer.files.iter().map(|file| self.dir.join(&file.name));
            files.chain([path]).for_each(|path| files::use_now(&path));
        }
        Some(answer)
    }

    /// A stored answer.
    fn cached(&self, answer: Answer) -> Cached {
        let mut files = answer.files.iter().map(|file| self.dir.join(&file.name));
        let report = files.find(|path| path.extension().is_some_and(|end| end == "json")).unwrap_or_default();
        let (handed, plan) = match answer.found {
            Found::Image(name) => {
                let plan = self.dir.join(&name).with_extension("plan");
                (Handed::Plan(self.dir.join(name)), Some(plan))
            }
            Found::Nothing(why) => (Handed::Nothing(why), None),
            Found::Bare(why) => (Handed::Bare(why), None),
            Found::Open | Found::Standing(_) | Found::InProcess(_) => (Handed::Open, None),
        };
        Cached {
            handed,
            target: answer.target,
            warnings: answer.warnings,
            stops: answer.stops,
            hit: true,
            detail: Detail::Stored { report, plan },
        }
    }

    fn file(&self, key: &str, extension: &str) -> PathBuf {
        self.dir.join(format!("{key}.{extension}"))
    }

    /// The lock for a question, held while the file is open; `None` after a timeout, which costs duplicate work.
    fn lock(&self, key: &str) -> Option<std::fs::File> {
        let path = self.file(key, "lock");
        let mut options = std::fs::OpenOptions::new();
        let file = options.create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = file.inspect_err(|error| log::debug!("{}: {error}", path.display())).ok()?;
        let began = Instant::now();
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Some(file),
                Err(Errno::WOULDBLOCK | Errno::INTR) if began.elapsed() < TURN => std::thread::sleep(LOOK_AGAIN),
                Err(error) => {
                    log::debug!("{}: {error}", path.display());
                    return None;
                }
            }
        }
    }
}
