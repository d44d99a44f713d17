//! bitsandbytes has a library for each CUDA release and opens the one that matches torch; before 0.43 it searched for
//! the runtime itself, in the directories of variables.

use super::packages::{listed, not_found_libraries};
use crate::check::Subject;
use crate::diagnose::{Case, Finding, Remedy};
use crate::tables::{Version, parse_library_name};
use std::path::{Path, PathBuf};

/// The first release that uses the runtime mapped by torch.
/// <https://github.com/bitsandbytes-foundation/bitsandbytes/pull/1041>
const BY_TORCH: &str = "0.43";

/// The runtime is not found, or no library matches this torch.
pub(super) fn finding(case: &Case<'_>) -> Option<Finding> {
    let package = case.has_package("bitsandbytes")?;
    let (torch, python) = (case.torch?, case.interpreter?);
    let (major, minor) = torch.cuda_release()?;
    let dir = package.dir.parent()?.join("bitsandbytes");
    let name = format!("libbitsandbytes_cuda{major}{}.so", minor.unwrap_or_default());
    let file = dir.join(&name);
    let with_reason = |reason: String| {
        let version = format!("bitsandbytes {}", package.version);
        Some(case.finding("bnb-cudart-search")?.because(reason).seen_at("version", &package.dir, version))
    };
    let upgrade = || case.pip("install --upgrade bitsandbytes");
    if !case.host.is_file(&file) {
        let others = variants(case, &dir);
        let reason = format!(
            "bitsandbytes {} has no library for the CUDA {} of torch {}",
            package.version,
            torch.cuda.as_deref()?,
            torch.version
        );
        let nearest = others.iter().rfind(|(own, _)| own.starts_with(&major.to_string()));
        let nearest = nearest
            .map(|(own, _)| Remedy::action(format!("set BNB_CUDA_VERSION={own}: the nearest that is installed")));
        let found = with_reason(reason)?.seen_at("file", &dir, format!("has no `{name}`"));
        return Some(found.healed_by([upgrade()].into_iter().chain(nearest)));
    }
    let judged = case.judge(&Subject::after_torch(torch, python, vec![file.clone()]));
    let not_found = not_found_libraries(&judged.judgement.not_found, |not_found| {
        !not_found.later && not_found.needed_by.as_deref() == Some(file.as_path())
    });
    if !not_found.is_empty() {
        let found = with_reason(format!("bitsandbytes {} finds no {}", package.version, listed(&not_found)))?;
        let found = found.seen_at("file", &file, format!("needs {}", listed(&not_found)));
        return Some(found.healed_by(case.run().into_iter().chain([upgrade()])));
    }
    let old = Version::parse(&package.version)? < Version::parse(BY_TORCH)?;
    if !old || runtime_in_variables(case).is_some() {
        return None;
    }
    let reason = format!(
        "bitsandbytes {} searches the directories of variables for libcudart, and does not find it",
        package.version
    );
    let mut found = with_reason(reason)?
        .seen("rule", format!("before {BY_TORCH} it searches neither wheels nor the cache of ld.so"));
    let copy = case.inventory.libraries.iter().find(|library| {
        library.row.stem == "cudart" && library.cuda.is_some_and(|(own, _)| own == major) && library.unusable.is_none()
    });
    let mut remedies = vec![case.pip(&format!("install --upgrade 'bitsandbytes>={BY_TORCH}'"))];
    if let Some(dir) = copy.and_then(|copy| copy.path.parent()) {
        found = found.seen_at("file", dir, "holds it");
        remedies.push(Remedy::action(format!("set LD_LIBRARY_PATH={} for this program alone", dir.display())));
    }
    Some(found.healed_by(remedies))
}

/// Its libraries, by the digits of their CUDA release.
fn variants(case: &Case<'_>, dir: &Path) -> Vec<(String, PathBuf)> {
    let entries = case.host.list(dir).unwrap_or_default();
    let mut found: Vec<(String, PathBuf)> = entries
        .iter()
        .filter_map(|entry| {
            let digits = entry.name.to_str()?.strip_prefix("libbitsandbytes_cuda")?.strip_suffix(".so")?;
            digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| (digits.to_owned(), dir.join(&entry.name)))
        })
        .collect();
    found.sort();
    found
}

/// A runtime in a directory that a variable names, possibly in a list: it searches every variable, then
/// `/usr/local/cuda/lib64`.
fn runtime_in_variables(case: &Case<'_>) -> Option<PathBuf> {
    let listed = case.host.environment().values().flat_map(std::env::split_paths);
    let conda = case.host.env("CONDA_PREFIX").map(|prefix| Path::new(prefix).join("lib"));
    let dirs = conda.into_iter().chain(listed.filter(|dir| dir.is_absolute())).chain(["/usr/local/cuda/lib64".into()]);
    let has = |dir: &PathBuf| {
        let entries = case.host.list(dir).unwrap_or_default();
        entries.iter().any(|entry| parse_library_name(&entry.name).is_some_and(|name| name.row.stem == "cudart"))
    };
    dirs.into_iter().find(has)
}
