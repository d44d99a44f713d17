//! ONNX Runtime opens its CUDA provider, which needs CUDA's libraries and has no run path to the wheels that contain
//! them.

use super::packages::{cuda_major, install_and_run, listed, not_found_libraries, wheels, with_extras};
use crate::check::Subject;
use crate::diagnose::{Case, Finding, Remedy, TargetKind};
use crate::python::Distribution;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// The provider, if the package has one.
pub(super) fn provider(case: &Case<'_>) -> Option<PathBuf> {
    let sites = case.interpreter.map(|python| python.paths.as_slice()).unwrap_or_default();
    let files = sites.iter().map(|site| site.join("onnxruntime/capi/libonnxruntime_providers_cuda.so"));
    files.into_iter().find(|file| case.host.is_file(file))
}

/// Libraries that the provider needs and that are not found.
pub(super) fn finding(case: &Case<'_>) -> Option<Finding> {
    let file = provider(case)?;
    let subject = Subject::files(case.loader, std::slice::from_ref(&file), case.interpreter).ok()?;
    let judged = case.judge(&subject);
    let not_found = not_found_libraries(&judged.judgement.not_found, |not_found| !not_found.later);
    if not_found.is_empty() {
        return None;
    }
    let package = case.installed.iter().find(|package| package.name.starts_with("onnxruntime"));
    let version = package.map(|package| format!(" {}", package.version)).unwrap_or_default();
    let mut found = case
        .finding("ort-cuda-ep-missing-lib")?
        .because(format!("the CUDA provider of ONNX Runtime{version} finds no {}", listed(&not_found)))
        .seen_at("file", &file, format!("needs {}", all(&not_found)));
    for name in &not_found {
        let copy = case.inventory.serving(name).find(|library| library.unusable.is_none());
        if let Some(copy) = copy {
            found = found.seen_at("file", &copy.path, "is not in any search path of the provider");
        }
    }
    if let Some(error) = &judged.judgement.error {
        found = found.seen("message", error.clone());
    }
    Some(found.healed_by(remedies(case, &not_found, package)))
}

fn all(names: &BTreeSet<String>) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// The remedies: the set; a torch that maps the missing libraries; the wheels.
fn remedies(case: &Case<'_>, not_found: &BTreeSet<String>, package: Option<&Distribution>) -> Vec<Remedy> {
    let mapped = |name: &String| {
        let of_torch = case
            .judged
            .iter()
            .filter(|judged| judged.kind == TargetKind::Torch)
            .flat_map(|judged| &judged.judgement.objects);
        of_torch.into_iter().any(|object| object.name.to_str() == Some(name.as_str()))
    };
    let torch =
        not_found.iter().all(mapped).then(|| Remedy::action("import torch before onnxruntime: torch maps all of them"));
    let not_installed: BTreeSet<String> =
        not_found.iter().filter(|name| case.inventory.serving(name).next().is_none()).cloned().collect();
    // The provider's extra also requires the libraries that it opens later: cuDNN, cuFFT.
    let extras = package.filter(|_| !not_installed.is_empty());
    let extras = extras.and_then(|package| with_extras(case, package, &["cuda", "cudnn"]));
    let extras = extras.map(|line| case.and_run(line));
    let wheels = cuda_major(not_found).and_then(|major| install_and_run(case, &wheels(case, &not_installed, major)));
    case.run().into_iter().chain(extras).chain(wheels).chain(torch).collect()
}
