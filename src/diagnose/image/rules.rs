//! What is wrong with an image as an image, whichever Python of it is started.
//!
//! Sources: <https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/docker-specialized.html>.

use super::constraint::Constraint;
use super::contents::{Contents, ImageLibrary};
use super::require;
use super::targets::Target;
use crate::diagnose::{Cell, Finding, Line, Remedy, Runs};
use crate::driver::{Assumed, newest_branch};
use crate::image::Image;
use crate::machine::{Change, Machine};
use crate::report::weight;
use crate::tables::Severity;

/// Evidence for one finding.
const SHOWN: usize = 12;

/// The findings of the image.
pub(super) fn findings(image: &Image, contents: &Contents, targets: &[Target]) -> Vec<Finding> {
    let uses = targets.iter().any(|target| target.line.uses_cuda);
    let mut found = Vec::new();
    found.extend(driver(contents));
    if uses {
        found.extend(capabilities(image));
        found.extend(visible(image));
    }
    found.extend(copies(contents));
    found
}

/// Libraries of a driver in the image: the runtime mounts those of the host beside them, or fails to.
fn driver(contents: &Contents) -> Option<Finding> {
    let baked: Vec<&ImageLibrary> =
        contents.libraries.iter().filter(|library| library.driver && !library.is_compat).collect();
    let first = baked.first()?;
    let path = first.path.to_path();
    let cause = format!("the image has a driver's `{}` of its own, where that of the host is mounted", path.display());
    let found = Finding::of("driver-in-image", None)?.severity(Severity::Warning).because(cause);
    Some(
        baked
            .iter()
            .take(SHOWN)
            .fold(found, |found, library| found.seen_at("file", &library.path.to_path(), came_from(library))),
    )
}

/// The owner and the layer of a library.
fn came_from(library: &ImageLibrary) -> String {
    let version = library.version.as_deref().unwrap_or("of an unknown release");
    let package = library.package.as_ref().map(|package| format!(", of `{package}`")).unwrap_or_default();
    let layer = library.layer.map(|layer| format!(", in layer {layer}")).unwrap_or_default();
    format!("{version}{package}{layer}")
}

/// The variable that says which libraries of the driver are brought. Unset, it is `compute,utility`.
fn capabilities(image: &Image) -> Option<Finding> {
    let name = "NVIDIA_DRIVER_CAPABILITIES";
    let value = image.host.env(name)?.to_string_lossy().into_owned();
    let brings = value.split(',').any(|word| matches!(word.trim(), "compute" | "all"));
    if brings {
        return None;
    }
    let cause = format!("{name} is `{value}`, without `compute`: the container runtime brings no `libcuda.so.1`");
    Some(Finding::of("capabilities-without-compute", None)?.because(cause).seen("variable", format!("{name}={value}")))
}

/// The variable that says which GPUs are brought.
fn visible(image: &Image) -> Option<Finding> {
    let name = "NVIDIA_VISIBLE_DEVICES";
    let value = image.host.environment().get(std::ffi::OsStr::new(name))?.to_string_lossy().into_owned();
    if !matches!(value.as_str(), "" | "none" | "void") {
        return None;
    }
    let cause =
        format!("{name} is `{value}`: a container has no GPU unless it is started with `--gpus` or another value");
    Some(Finding::of("image-hides-gpus", None)?.because(cause).seen("variable", format!("{name}={value}")))
}

/// What the image demands of a driver, compared with what its libraries require.
pub(super) fn constrained(constraints: &[Constraint], machines: &[&Machine]) -> Vec<Finding> {
    let Some(lowest) = (!constraints.is_empty()).then(|| require::lowest(machines)).flatten() else {
        return Vec::new();
    };
    constraints.iter().filter_map(|constraint| differs(constraint, &lowest)).collect()
}

fn differs(constraint: &Constraint, lowest: &Assumed) -> Option<Finding> {
    let name = &constraint.name;
    let found = Finding::of("require-cuda-differs", None)?.seen("variable", format!("{name}={}", constraint.text));
    if let Some(part) = &constraint.malformed {
        let cause = format!("`{part}` in {name} is no condition: a container starts only where one before it suffices");
        return Some(found.severity(Severity::Warning).because(cause));
    }
    let (later, earlier): (Vec<Assumed>, Vec<Assumed>) =
        require::branches().partition(|branch| branch.release >= lowest.release);
    let those = |branches: &[Assumed], holds| -> Vec<Assumed> {
        branches.iter().filter(|branch| constraint.holds(branch, None) == Some(holds)).cloned().collect()
    };
    let refused = those(&later, false);
    if refused.len() == later.len() {
        let cause = format!("{name} excludes every driver that the image runs on: {lowest} and newer");
        return Some(found.severity(Severity::Fatal).because(cause));
    }
    let cause = match (&*refused, &*those(&earlier, true)) {
        ([], []) => return None,
        ([first, .., last], _) => format!("{name} excludes drivers {first} to {last}, which the image runs on"),
        ([one], _) => format!("{name} excludes driver {one}, which the image runs on"),
        ([], [.., last]) => format!("{name} accepts driver {last}; the image requires {lowest} or newer"),
    };
    Some(found.because(cause))
}

/// The cell of the table, where the image excludes its driver or its GPU.
pub(super) fn constrain(cell: &mut Cell, constraints: &[Constraint]) {
    let newest = || newest_branch(cell.gpu.as_ref()?).and_then(Assumed::branch);
    let Some(driver) = cell.driver.as_ref().map_or_else(newest, |driver| driver.parse().ok()) else { return };
    for constraint in constraints {
        let holds = constraint.holds(&driver, cell.gpu.as_ref());
        let Some(found) = Finding::of("image-refuses-host", None).filter(|_| holds != Some(true)) else { continue };
        let gpu = cell.gpu.as_ref().map(|gpu| format!(" with {}", gpu.name)).unwrap_or_default();
        let (name, text) = (&constraint.name, &constraint.text);
        let found = found.seen("variable", format!("{name}={text}"));
        let (runs, severity, what) = match holds {
            Some(_) => (Runs::No, Severity::Fatal, ""),
            None => (Runs::Conditions, Severity::Warning, "some releases or GPUs of "),
        };
        let cause = format!("{name} of the image excludes {what}driver {driver}{gpu}");
        if runs > cell.runs {
            cell.runs = runs;
            cell.says.clone_from(&cause);
        }
        cell.findings.push(found.severity(severity).because(cause));
    }
    cell.findings.sort_by_key(|finding| finding.severity);
}

/// Libraries that are there more than once.
fn copies(contents: &Contents) -> Option<Finding> {
    let copies = contents.copies();
    let spare: u64 = copies.iter().map(|copies| copies.spare).sum();
    let what = match copies.len() {
        0 => return None,
        1 => "1 library is".to_owned(),
        many => format!("{many} libraries are"),
    };
    let cause = format!("{what} in the image more than once; the copies beside the largest have {}", weight(spare));
    let found = Finding::of("copies-in-image", None)?.because(cause);
    Some(copies.iter().take(SHOWN).fold(found, |found, copies| {
        let paths: Vec<String> = copies.paths.iter().map(|path| format!("`{}`", path.to_path().display())).collect();
        found.seen("file", format!("`{}`, {} in all: {}", copies.name, weight(copies.bytes), paths.join(", ")))
    }))
}

/// The finding with the lines that a person writes into the image's recipe, not into a shell.
pub(super) fn in_image(mut finding: Finding) -> Finding {
    for remedy in &mut finding.remedies {
        let Line::Command(line) = &remedy.line else { continue };
        let action = match &remedy.change {
            Some(Change::Variable(name, None)) => format!("set no {name} in the image (`ENV {name}=`)"),
            Some(Change::Set) => {
                "run `cudashim enable` for the environment in the image's recipe, or start it with `cudashim run --`"
                    .to_owned()
            }
            _ => format!("in the image's recipe: `RUN {line}`"),
        };
        *remedy = Remedy { line: Line::Action(action), change: remedy.change.clone() };
    }
    finding
}
