//! The resolution of a requirement to a plan, or to the reasons why there is none.
//!
//! Takes a [`Requirement`], the [`Closure`] it was read from and an [`Inventory`]; states the choice as a
//! [`solve::Problem`], and turns the solution into a [`Plan`] that the shim can hand out. Reads symbols of the given
//! files; opens no others, prints nothing.
//!
//! [`solve::Problem`]: crate::resolve::solve::Problem

mod assemble;
mod late;
mod majors;
mod problem;
mod runtime;
pub mod solve;
mod torn;

use crate::driver::{self, Chosen};
use crate::inventory::{Inventory, Problem};
use crate::loader::Loader;
use crate::plan::{How, Plan};
use crate::resolve::solve::NoSolution;
use crate::tables::Version;
use crate::target::{Closure, Kind, Requirement};
use problem::{Member, Own};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::PathBuf;

/// The policy of the user.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// `--use SONAME=PATH`: this copy and no other.
    pub fixed: BTreeMap<String, PathBuf>,
    /// `--forbid PATH`: this file, or nothing in this directory.
    pub forbidden: BTreeSet<PathBuf>,
    /// Whether every refused copy gets its full reason; costs a look at the symbols of each.
    pub explain: bool,
}

/// A copy that was not chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The copy.
    pub path: PathBuf,
    /// Its release.
    pub version: Option<String>,
    /// Why, in a clause.
    pub because: String,
}

/// One library of the chosen set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The soname.
    pub soname: String,
    /// The file.
    pub path: PathBuf,
    /// Its release.
    pub version: Option<String>,
    /// How it is handed out.
    #[doc(hidden)]
    pub how: How,
    /// Why this copy, in a clause.
    pub because: String,
    /// The other copies.
    pub refused: Vec<Refused>,
}

/// The result of a resolution.
#[derive(Debug)]
pub struct Resolution {
    /// The plan, for the shim.
    pub plan: Plan,
    /// The set, for reports.
    pub set: Vec<Choice>,
    /// Soft goals that are left out, with the reason.
    pub unserved: Vec<(String, String)>,
    /// Torn files in the consumer's environment, each with its remedy.
    #[doc(hidden)]
    pub torn: Vec<Problem>,
}

/// Removes from a set for another consumer the libraries that the program has itself, with their whole groups, so that
/// parts of two releases do not meet.
fn leave_its_own(
    requirement: &Requirement,
    closure: &Closure<'_>,
    policy: &Policy,
    members: &mut Vec<Member<'_>>,
    driver: &mut Chosen<'_>,
) {
    // A set for the program itself includes its own copies.
    if requirement.kind == Kind::Elf {
        return;
    }
    let own = |soname: &str| closure.own_copy(OsStr::new(soname)).is_some();
    if driver.libraries.iter().any(|library| own(library.load_name())) {
        driver.libraries.clear();
    }
    let brings = |member: &Member<'_>| !policy.fixed.contains_key(&member.choice.soname) && own(&member.choice.soname);
    let left: BTreeSet<String> =
        members.iter().filter(|member| brings(member)).map(|member| member.choice.soname.clone()).collect();
    let groups: BTreeSet<&str> = members
        .iter()
        .filter(|member| left.contains(&member.choice.soname))
        .filter_map(|member| member.library.row.group)
        .collect();
    members.retain(|member| {
        let with_its_kin = member.library.row.group.is_some_and(|group| groups.contains(group));
        policy.fixed.contains_key(&member.choice.soname) || !left.contains(&member.choice.soname) && !with_its_kin
    });
}

/// Chooses a set of libraries for a consumer.
///
/// # Errors
/// The minimal set of facts that cannot hold together.
pub fn resolve(
    requirement: &Requirement,
    closure: &Closure<'_>,
    inventory: &Inventory,
    loader: &Loader,
    policy: &Policy,
) -> Result<Resolution, NoSolution> {
    let of = |own| problem::State::new(requirement, closure, inventory, policy, own);
    let mut stated = of(Own::Stands);
    let mut solution = stated.solve(requirement, inventory, policy);
    if solution.is_err() && requirement.keeps_its_own {
        // Its own copies give no set; others may.
        stated = of(Own::MayGiveWay);
        solution = stated.solve(requirement, inventory, policy);
    }
    if solution.is_err() && stated.lets_stand(requirement, closure) {
        solution = stated.solve(requirement, inventory, policy).or(solution);
    }
    let solution = solution?;
    let mut members = stated.members(&solution);
    for member in &members {
        log::info!("{} from {}: {}", member.choice.soname, member.choice.path.display(), member.choice.because);
    }
    let cuda = requirement.cuda.map(|(major, minor)| format!("{major}.{}", minor.unwrap_or(0)));
    let mut driver = driver::choose(loader, inventory, cuda.as_deref().and_then(Version::parse).as_ref());
    if requirement.keeps_its_own {
        leave_its_own(requirement, closure, policy, &mut members, &mut driver);
    }
    let runtime = runtime::choose(requirement, closure, inventory, loader);
    let torn = torn::problems(requirement, inventory, &stated, &solution);
    let resolution = assemble::resolution(requirement, closure, inventory, members, &driver, &runtime, &solution);
    Ok(Resolution { torn, ..resolution })
}
