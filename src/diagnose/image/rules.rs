//! What is wrong with an image as an image, whichever Python of it is started.
//!
//! Sources: <https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/docker-specialized.html>.

use super::contents::{Contents, ImageLibrary};
use super::targets::Target;
use crate::diagnose::{Finding, Line, Remedy};
use crate::image::Image;
use crate::machine::Change;
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

/// A size for people.
pub(super) fn weight(bytes: u64) -> String {
    let tenths = |unit: u64| {
        let tenths = bytes.saturating_mul(10).div_ceil(unit);
        format!("{}.{}", tenths / 10, tenths % 10)
    };
    match bytes {
        0x4000_0000.. => format!("{} GiB", tenths(1 << 30)),
        0x10_0000.. => format!("{} MiB", tenths(1 << 20)),
        _ => format!("{} KiB", tenths(1 << 10)),
    }
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
