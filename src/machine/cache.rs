//! Answers kept on disk for as long as what they were read from stays the same.
//!
//! Takes a request and a machine; gives the image to hand out, and what is known of the program that is started. An answer
//! is one small file named by a digest of the question: with the stamps of every path that was looked at, which decide
//! whether it still holds, and the names of an image, of its plan and of a report. Those are named by what is in them and
//! never change, so that nobody's plan is taken away while he uses it; what nobody used for a month is removed.

mod answer;
mod files;
mod key;

use super::{Request, RequestError};
use crate::check::{self, Standing};
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

/// How long to wait for another process that answers the same question: less than the shim of a process that waits for us
/// gives us (`cshim/ask.c`).
const TURN: Duration = Duration::from_millis(1500);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// What a process is handed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handed {
    /// The image in this file, for `CUDASHIM_PLAN`.
    Plan(PathBuf),
    /// Nothing: why.
    Nothing(String),
    /// Nothing, and nobody is to ask: what is asked for loads as it is, and not with what was found. Why.
    Bare(String),
    /// A shell, a launcher: which environments it will start, only they know. Each asks for its own.
    Open,
    /// There is a plan, and nowhere to write it.
    Unwritten(String),
}

/// An answered request.
#[derive(Debug, Clone)]
pub struct Cached {
    /// What is handed out.
    pub handed: Handed,
    /// Which door reaches the program of the request's command.
    pub target: Target,
    /// What whoever starts the command must know, each in one line.
    pub warnings: Vec<String>,
    /// Why it is not to be started, each in one line; nothing: it may be.
    pub stops: Vec<String>,
    /// Whether it was read from the cache.
    pub hit: bool,
    told: Told,
}

/// Where the report of an answer is, and its plan.
#[derive(Debug, Clone)]
enum Told {
    Fresh(Box<ResolveReport>, Option<Box<Plan>>),
    Kept { report: PathBuf, plan: Option<PathBuf> },
}

impl Cached {
    /// An answer that is not kept: why not.
    #[must_use]
    pub fn fresh(answer: super::Answer, why: &str) -> Self {
        let handed = match &answer.nothing {
            Some(nothing) => Handed::Nothing(nothing.clone()),
            None => Handed::Unwritten(why.to_owned()),
        };
        let report = Box::new(answer.report());
        let warnings = report.warnings();
        let plan = answer.resolution.map(|resolution| Box::new(resolution.plan));
        let told = Told::Fresh(report, plan);
        Self { handed, target: Target::default(), warnings, stops: Vec::new(), hit: false, told }
    }

    /// What people and programs are told.
    ///
    /// # Errors
    /// Its file is not what it was a moment ago.
    pub fn report(&self) -> io::Result<ResolveReport> {
        match &self.told {
            Told::Fresh(report, _) => Ok((**report).clone()),
            Told::Kept { report, .. } => serde_json::from_slice(&std::fs::read(report)?).map_err(io::Error::other),
        }
    }

    /// The plan as text; `None` where there is none, or its file is not what it was a moment ago.
    #[must_use]
    pub fn plan(&self) -> Option<Plan> {
        match &self.told {
            Told::Fresh(_, plan) => plan.as_deref().cloned(),
            Told::Kept { plan, .. } => Plan::read(plan.as_deref()?).ok(),
        }
    }
}

/// Why a plan of the user's cannot be handed out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandedError {
    /// It cannot be compiled.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The image cannot be written.
    #[error("cannot write the image of the plan to `{}`", dir.display())]
    Write {
        /// The directory.
        dir: PathBuf,
        /// Why.
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

/// What is said of a set before it is handed out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// Why what is asked for is not to be started.
    pub stops: Vec<String>,
    /// What shows later.
    pub notes: Vec<String>,
    /// Whether the set is not to be handed out, since it loads without: why.
    pub bare: Option<String>,
}

/// Who judges a request with the set that was chosen for it.
pub type Judge = fn(&Host, &Request) -> Said;

/// A directory of kept answers.
#[derive(Debug, Clone)]
pub struct PlanCache {
    dir: PathBuf,
    judge: Option<Judge>,
}

impl PlanCache {
    /// The cache below a cache directory; made where it is missing.
    ///
    /// # Errors
    /// A directory that somebody else owns or may write to: plans decide what is loaded.
    pub fn open(cache_dir: &Path) -> io::Result<Self> {
        // Plans name files beside them, and are named themselves, by absolute path.
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

    /// With somebody who judges each new answer in which something is wrong; what he says is kept with it.
    #[must_use]
    pub fn judged_by(self, judge: Judge) -> Self {
        Self { judge: Some(judge), ..self }
    }

    /// Answers a request, from the cache where that still holds. The plan is for the program of its command, too.
    ///
    /// # Errors
    /// As [`Request::answer`].
    pub fn answer(&self, host: &Host, request: &Request) -> Result<Cached, RequestError> {
        self.answer_for(host, request, false)
    }

    /// The same before the command of the request is started: where that may start any environment, none is meant yet.
    ///
    /// # Errors
    /// As [`Request::answer`].
    pub fn answer_before_start(&self, host: &Host, request: &Request) -> Result<Cached, RequestError> {
        self.answer_for(host, request, true)
    }

    fn answer_for(&self, host: &Host, request: &Request, may_be_open: bool) -> Result<Cached, RequestError> {
        let command = Command::read(host, &request.command);
        let mut key = Key::of_request(host, request, command.as_ref());
        // A Python has one answer, whoever asks.
        let may_be_open = may_be_open && command.as_ref().is_some_and(|command| command.python.is_none());
        key.add("open", OsStr::new(if may_be_open { "may be" } else { "is not" }));
        let mut judged = key.clone();
        judged.add("judged", OsStr::new("yes"));
        let judged = judged.digest();
        // What somebody was told more of is an answer, too.
        if let Some(found) = self.lookup(host, &judged) {
            return Ok(self.cached(found));
        }
        let key = if self.judge.is_some() { judged } else { key.digest() };
        if let Some(found) = self.lookup(host, &key).filter(|_| self.judge.is_none()) {
            return Ok(self.cached(found));
        }
        // A hundred workers start at once: one looks, the others find what it found.
        let turn = self.turn(&key);
        if let Some(found) = self.lookup(host, &key) {
            return Ok(self.cached(found));
        }
        let program = command.map(|command| command.program);
        let fresh = self.fresh(host, &key, request, program.as_deref(), may_be_open);
        if turn.is_some() {
            // Whoever waits has it open, and whoever comes finds the answer.
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
        let said = self.judge.filter(|_| is_wrong).map(|judge| judge(&host.anew(), request)).unwrap_or_default();
        warnings.extend(said.notes);
        let stops = said.stops;
        let stamps = host.stamps();
        let (found, files, plan) = match (said.bare, answer.resolution, answer.nothing) {
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
                        let told = Told::Fresh(report, Some(Box::new(plan)));
                        return Ok(Cached {
                            handed: Handed::Unwritten(why),
                            target,
                            warnings,
                            stops,
                            hit: false,
                            told,
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
        Ok(Cached { told: Told::Fresh(report, plan), hit: false, ..self.cached(kept) })
    }

    /// Writes the image of a plan of the user's, for `program` too; what is not handed out, and why.
    ///
    /// # Errors
    /// It cannot be compiled or written.
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
                // The same bytes, as they stand here.
                (library.id, library.size, library.mtime) = (stat.id, stat.size, stat.mtime);
            }
        }
        let written = self.write_image(&plan, &image);
        let (name, _) = written.map_err(|source| HandedError::Write { dir: self.dir.clone(), source })?;
        Ok((self.dir.join(name), image.left_out))
    }

    /// Judges an object that `program`, which has the plan of `image`, opens, or a name that code in it opens.
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

    /// Writes the image of a plan, and gives its name with the files that it needs.
    fn written(&self, host: &Host, plan: &Plan) -> io::Result<(String, Vec<Known>)> {
        let image = Image::compile(plan, host).map_err(io::Error::other)?;
        for (soname, why) in &image.left_out {
            log::debug!("{soname}: {why}; not managed");
        }
        self.write_image(plan, &image)
    }

    /// The image, and beside it the plan that it was compiled from, for `stranger` and for people.
    fn write_image(&self, plan: &Plan, image: &Image) -> io::Result<(String, Vec<Known>)> {
        let name = image.file_name();
        let image = files::put(&self.dir, &name, &image.bytes)?;
        // Plans that differ in what is for people have one image: the first stays.
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

    /// Writes an answer; without it the next process asks again.
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

    /// An answer that was read.
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
            Found::Open | Found::Standing(_) => (Handed::Open, None),
        };
        Cached {
            handed,
            target: answer.target,
            warnings: answer.warnings,
            stops: answer.stops,
            hit: true,
            told: Told::Kept { report, plan },
        }
    }

    fn file(&self, key: &str, extension: &str) -> PathBuf {
        self.dir.join(format!("{key}.{extension}"))
    }

    /// The right to answer a question, as long as the file is open; `None` where it cannot be had in good time, which
    /// costs the same work twice.
    fn turn(&self, key: &str) -> Option<std::fs::File> {
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
