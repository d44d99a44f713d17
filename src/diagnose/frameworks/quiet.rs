//! Frameworks that silently fall back to the CPU.

use crate::diagnose::{Case, Finding, Remedy};
use crate::driver::rules::{self, Verdict};
use crate::tables::{FrameworkRow, Without, framework, torch_builds};
use std::path::Path;

/// The frameworks that would run on the CPU: because of their libraries (`found`), or because of the installed build.
pub(super) fn findings(case: &Case<'_>, found: &[Finding]) -> Vec<Finding> {
    let because = found.iter().find_map(|finding| Some((finding, swallowed(finding.id)?)));
    let hidden = because.and_then(|(finding, row)| {
        let (called, then) = (row.called, row.then?);
        let says = match (row.missing, row.says) {
            (Without::Warning, Some(says)) => format!("{called} prints `{says}`, and goes on: {then}"),
            _ => format!("{called} reports nothing: {then}"),
        };
        let mut quiet = case.finding("silent-cpu-fallback")?.because(says);
        quiet.source = row.source;
        let quiet = quiet.seen("rule", format!("`{}`: {}", finding.id, finding.cause));
        Some(quiet.healed_by(finding.remedies.iter().take(1).cloned()))
    });
    let built = two_onnxruntimes(case).or_else(|| torch_without(case)).or_else(|| jax_without(case));
    hidden.into_iter().chain(built).take(1).collect()
}

/// The framework in a finding that falls back to the CPU.
fn swallowed(id: &str) -> Option<&'static FrameworkRow> {
    framework(match id {
        "ort-cuda-ep-missing-lib" => "onnxruntime",
        "tf-cannot-dlopen" => "tensorflow",
        "jax-library-unloadable" => "jax",
        _ => return None,
    })
}

/// Both packages of ONNX Runtime write the same directory: the one installed last owns it.
fn two_onnxruntimes(case: &Case<'_>) -> Option<Finding> {
    let (cpu, gpu) = (case.has_package("onnxruntime")?, case.has_package("onnxruntime-gpu")?);
    // The module of the CPU package is another file under the same name; its size shows which package wrote it.
    let file = "onnxruntime/capi/libonnxruntime_providers_cuda.so";
    let recorded = gpu.record(case.host).into_iter().find(|recorded| recorded.path == Path::new(file));
    let state = |recorded: crate::python::Recorded| {
        let there = case.host.stat(&gpu.dir.parent()?.join(file)).ok();
        (there.map(|stat| stat.size) != recorded.size).then_some("the provider of the GPU package is missing")
    };
    let state = recorded.and_then(state).unwrap_or("whichever was installed last counts");
    let found = case
        .finding("silent-cpu-fallback")?
        .because("onnxruntime and onnxruntime-gpu are both installed: sessions may run on the CPU".to_owned())
        .seen_at("version", &cpu.dir, format!("onnxruntime {}", cpu.version))
        .seen_at("version", &gpu.dir, format!("onnxruntime-gpu {}", gpu.version))
        .seen("rule", format!("both packages write the directory `onnxruntime`: {state}"));
    let anew = format!("install --force-reinstall --no-deps onnxruntime-gpu=={}", gpu.version);
    let removed = case.verb("uninstall");
    let line = case.pip(&anew);
    let line = line.as_command().unwrap_or_default();
    Some(found.healed_by([Remedy::command(format!("{removed} onnxruntime onnxruntime-gpu && {line}"))]))
}

/// Whether a GPU is there to be used. A driver that is assumed says nothing of one: images and environments for the CPU are
/// judged with it, too.
fn has_gpu(case: &Case<'_>) -> bool {
    case.driver.has_gpu() || case.driver.is_loaded() && !case.driver.assumed
}

/// A torch without CUDA on a machine with a GPU.
fn torch_without(case: &Case<'_>) -> Option<Finding> {
    let torch = case.torch.filter(|torch| torch.cuda.is_none() && !torch.version.contains("rocm"))?;
    if !has_gpu(case) {
        return None;
    }
    let release = torch.version.split('+').next()?;
    let driver = case.driver.driver_version();
    let runs = |cuda: &crate::tables::Version| {
        driver.as_ref().is_some_and(|driver| {
            matches!(rules::on_driver(cuda, driver), Verdict::Runs | Verdict::RunsByMinorCompat { .. })
        })
    };
    let build = torch_builds().iter().filter(|row| row.version.as_str() == release && runs(&row.cuda_version));
    let build = build.max_by_key(|row| &row.cuda_version);
    let found = case
        .finding("silent-cpu-fallback")?
        .because(format!("torch {} is built without CUDA, but this machine has a GPU", torch.version))
        .seen_at("version", &torch.dir, format!("torch {}", torch.version));
    let line = build.map(|row| {
        let tag = row.cuda;
        format!("install --force-reinstall torch=={release} --index-url https://download.pytorch.org/whl/{tag}")
    });
    Some(match line {
        Some(line) => found.healed_by([case.pip(&line)]),
        None => found.healed_by([Remedy::action("install a build of torch for CUDA")]),
    })
}

/// JAX without the CUDA plugin on a machine with a GPU.
fn jax_without(case: &Case<'_>) -> Option<Finding> {
    let served = case.torch.is_some_and(|torch| torch.cuda.is_some());
    let jax = case.has_package("jax").filter(|_| has_gpu(case) && !served)?;
    let plugin = case.installed.iter().find(|package| package.name.starts_with("jax-cuda"));
    if plugin.is_some() {
        return None;
    }
    let major = case.driver.driver_cuda().map_or(12, |cuda| cuda.major().min(13));
    let found = case
        .finding("silent-cpu-fallback")?
        .because(format!("jax {} has no plugin for CUDA, but this machine has a GPU", jax.version))
        .seen_at("version", &jax.dir, format!("jax {}", jax.version));
    Some(found.healed_by([case.pip(&format!("install 'jax[cuda{major}]=={}'", jax.version))]))
}
