//! Plans to keep beside `requirements.txt`: create one, verify it, and adapt it to a machine with the same files
//! elsewhere.
//!
//! Takes a request or a kept plan; gives a plan that records its origin and the identity of each library, or verifies
//! such a plan. Never writes a file, and never replaces one build with another.

use super::{Answer, Request, RequestError};
use crate::driver;
use crate::host::Host;
use crate::inventory::sha256;
use crate::loader::Loader;
use crate::loader::Objects;
use crate::plan::{MadeWith, Plan};
use crate::target::Kind;

/// The result of a lock request.
#[derive(Debug)]
pub enum Locked {
    /// The plan.
    Plan(Box<Plan>),
    /// The target does not need CUDA; the reason.
    Nothing(String),
}

/// Answers a request with a plan that can be kept.
///
/// # Errors
///
/// As [`Request::answer`].
pub fn lock(host: &Host, request: &Request) -> Result<Locked, RequestError> {
    let answer = request.answer(host)?;
    let nothing = answer.nothing.clone();
    Ok(match finished(host, request, answer) {
        Some(plan) if plan.chosen().next().is_none() => {
            let of = plan.made_for.first().map(|made_for| made_for.text.clone()).unwrap_or_default();
            Locked::Nothing(format!("no NVIDIA library found for {of}"))
        }
        Some(plan) => Locked::Plan(Box::new(plan)),
        None => Locked::Nothing(nothing.unwrap_or_default()),
    })
}

/// The plan of an answer, with its origin and an identity for every library.
pub(super) fn finished(host: &Host, request: &Request, answer: Answer) -> Option<Plan> {
    let (requirement, resolution) = (answer.requirement?, answer.resolution?);
    let with =
        |what: &str, version: Option<String>, cuda: Option<String>| MadeWith { what: what.into(), version, cuda };
    let mut made_with = vec![with("cudashim", Some(env!("CARGO_PKG_VERSION").to_owned()), None)];
    if matches!(requirement.kind, Kind::Torch | Kind::Environment) {
        let interpreter = request.interpreter(host).ok().flatten();
        made_with.extend(interpreter.map(|interpreter| with("python", Some(interpreter.version), None)));
    }
    if requirement.kind == Kind::Spec {
        made_with.push(with("spec", Some(request.spec.to_string()), None));
    }
    if requirement.kind == Kind::Torch {
        let cuda = requirement.cuda.map(|(major, minor)| match minor {
            Some(minor) => format!("{major}.{minor}"),
            None => major.to_string(),
        });
        let version = requirement.text.strip_prefix("torch ").map(str::to_owned);
        made_with.push(with("torch", version, cuda));
    }
    let objects = Objects::new(host);
    let driver = driver::version_at_once(&Loader::new(&objects));
    let cuda = driver.as_ref().and_then(driver::rules::cuda_of_driver).map(|cuda| cuda.to_string());
    made_with.push(with("driver", driver.map(|driver| driver.to_string()), cuda));
    let mut plan = Plan { made_with, ..resolution.plan };
    for library in plan.libraries.iter_mut().filter(|library| library.identity.is_none() && !library.is_driver()) {
        // A file removed during the read: verify reports it.
        library.identity = host.map(&library.path).ok().map(|(bytes, _)| format!("sha256:{}", sha256(&bytes)));
    }
    Some(plan)
}
