//! An image, judged: what is in it, whether its frameworks load, what its containers require of a host.
//!
//! Takes an [`Image`] and the drivers and GPUs that are asked for; gives an [`ImageReport`]. Each Python of the image is a
//! target, and the command of its containers; the rules are those of `doctor`, on the file system of the image, with
//! the libraries of a driver where a container runtime puts them. Reads nothing else.

mod constraint;
mod contents;
mod human;
mod page;
mod require;
mod rules;
mod targets;

pub use contents::{Copies, ImageLibrary};
pub use human::image_text;
pub use require::{Requirements, RequirementsForm};
pub use targets::TargetLine;

use super::{Assumptions, Finding, Matrix, Verdict};
use crate::check::Judgement;
use crate::host::FileId;
use crate::image::{Execution, Form, Image, LayerInfo, Platform};
use crate::loader::Objects;
use crate::report::{JsonPath, SCHEMA};
use crate::tables::{Severity, frameworks};
use contents::Contents;
use serde::Serialize;
use std::collections::BTreeSet;

/// What is asked.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// Drivers of hosts, and their GPUs.
    pub assumptions: Assumptions,
    /// Whether the requirements are asked for.
    pub require: bool,
}

/// The report of `image`.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ImageReport {
    /// The version of the format.
    pub schema: u32,
    /// What was named.
    pub path: JsonPath,
    /// Its form.
    pub form: Form,
    /// Its names.
    pub tags: Vec<String>,
    /// What it runs on; absent of a root directory.
    pub platform: Option<Platform>,
    /// How a container of it starts.
    pub execution: Execution,
    /// Its layers, the lowest first.
    pub layers: Vec<LayerLine>,
    /// The answer in one line.
    pub verdict: Verdict,
    /// What may use its libraries.
    pub targets: Vec<TargetLine>,
    /// The findings, the worst first.
    pub findings: Vec<Finding>,
    /// Its NVIDIA libraries.
    pub libraries: Vec<ImageLibrary>,
    /// The libraries that are in it more than once, the largest first.
    pub copies: Vec<Copies>,
    /// Whether the targets run on the drivers and GPUs that were asked for; absent where none was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<Matrix>,
    /// What a host must have; absent unless asked for, and where nothing needs CUDA.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub require: Option<Requirements>,
    /// What its targets load.
    #[serde(skip)]
    pub(super) maps: Vec<Judgement>,
}

/// A layer, with what it brings.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct LayerLine {
    /// Its name, size and command.
    #[serde(flatten)]
    pub layer: LayerInfo,
    /// The NVIDIA libraries that it brings.
    pub libraries: usize,
    /// Their bytes.
    pub bytes: u64,
}

impl ImageReport {
    /// Whether there are facts at most, and every cell of the table is yes or has conditions.
    #[must_use]
    pub fn is_fine(&self) -> bool {
        self.verdict.fine
    }
}

/// Judges an image.
#[must_use]
pub fn judge_image(image: &Image, asked: &Asked) -> ImageReport {
    // What the survey has mapped is released before the targets are judged.
    let contents = Contents::of(image, &Objects::new(&image.host));
    let judged = targets::judged(image, &contents);
    let mut findings = rules::findings(image, &contents, &judged);
    for target in &judged {
        for finding in target.findings.iter().cloned().map(rules::in_image) {
            // One machine has one driver, whoever looks at it.
            if !findings.iter().any(|other| other.id == finding.id && other.cause == finding.cause) {
                findings.push(finding);
            }
        }
    }
    let users: Vec<_> = judged.iter().filter(|target| target.line.uses_cuda).map(|target| &target.machine).collect();
    let constraints = constraint::constraints(&image.host);
    findings.extend(rules::constrained(&constraints, &users));
    findings.sort_by_key(|finding| (finding.severity, finding.id == "no-set"));
    let Assumptions { drivers, gpus, .. } = &asked.assumptions;
    let mut table = (!asked.assumptions.is_empty()).then(|| require::table(&users, drivers, gpus));
    for cell in table.iter_mut().flat_map(|table| &mut table.cells) {
        rules::constrain(cell, &constraints);
    }
    let require = asked.require.then(|| require::of(&users)).flatten();
    let layers = image.layers.iter().enumerate().map(|(number, layer)| {
        let mut seen: BTreeSet<FileId> = BTreeSet::new();
        let own = contents.libraries.iter().filter(|library| library.layer == Some(number + 1));
        let sizes: Vec<u64> = own.filter(|library| seen.insert(library.id)).map(|library| library.size).collect();
        LayerLine { layer: layer.clone(), libraries: sizes.len(), bytes: sizes.iter().sum() }
    });
    let layers = layers.collect();
    ImageReport {
        schema: SCHEMA,
        path: image.path.as_path().into(),
        form: image.form,
        tags: image.tags.clone(),
        platform: image.platform.clone(),
        execution: image.execution.clone(),
        layers,
        verdict: verdict(&findings, &judged, &contents, table.as_ref()),
        maps: judged.iter().flat_map(|target| target.maps.iter().cloned()).collect(),
        targets: judged.into_iter().map(|target| target.line).collect(),
        findings,
        copies: contents.copies(),
        libraries: contents.libraries,
        table,
        require,
    }
}

fn verdict(findings: &[Finding], judged: &[targets::Target], contents: &Contents, table: Option<&Matrix>) -> Verdict {
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let shown = judged.iter().flat_map(|target| target.line.frameworks.iter().map(String::as_str));
    // What imports another framework first is not named beside it.
    let (first, after): (BTreeSet<&str>, BTreeSet<&str>) = shown.partition(|shown| is_first(shown));
    let frameworks = if first.is_empty() { after } else { first };
    let what = match frameworks.len() {
        0 if contents.libraries.is_empty() => "the image".to_owned(),
        0 => "the libraries of the image".to_owned(),
        _ => frameworks.into_iter().collect::<Vec<_>>().join(", "),
    };
    let says = match (count(Severity::Fatal), count(Severity::Warning), findings.first()) {
        (0, 0, _) if contents.libraries.is_empty() => format!("{what}: no problems found, and no NVIDIA library"),
        (0, 0, _) => format!("{what}: no problems found"),
        (0, 1, Some(first)) => format!("{what}: works, with a warning: {}", first.cause),
        (0, many, _) => format!("{what}: works, with {many} warnings"),
        (_, _, first) => format!("{what}: {}", first.map(|first| first.cause.as_str()).unwrap_or_default()),
    };
    let found = Verdict { fine: count(Severity::Fatal) + count(Severity::Warning) == 0, says };
    match table {
        Some(table) => found.tabled(&what, table),
        None => found,
    }
}

/// Whether a framework, given with its version, maps libraries of its own when it is imported.
fn is_first(shown: &str) -> bool {
    let package = shown.split(' ').next().unwrap_or_default();
    frameworks().iter().any(|row| row.is_package(package) && !row.modules.is_empty())
}
