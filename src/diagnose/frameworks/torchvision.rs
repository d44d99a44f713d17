//! torchvision fits one torch: the release its metadata requires, built for the same CUDA.

use crate::diagnose::{Case, Finding, Remedy};
use crate::python::TorchBuild;
use crate::python::{Distribution, requirements};
use crate::tables::{Severity, Version, torchvision_for, torchvisions};

/// Whether the two conflict: by torchvision's metadata, by its CUDA, or by symbols that torch does not define.
/// `refused` is such a symbol, with the object that needs it.
pub(super) fn finding(
    case: &Case<'_>,
    torch: &TorchBuild,
    refused: Option<(&std::path::Path, &str)>,
) -> Option<Finding> {
    let vision = case.has_package("torchvision")?;
    let own = Version::parse(torch.version.split('+').next()?)?;
    let built_for = built_for(case, vision).filter(|built| *built != own);
    let cuda = cuda_of(case, vision).filter(|cuda| Some(cuda.0) != torch.cuda_release().map(|(major, _)| major));
    if built_for.is_none() && cuda.is_none() && refused.is_none() {
        return None;
    }
    let reason = match (&built_for, &cuda) {
        (Some(built), _) => {
            format!("torchvision {} is for torch {built}, but torch {} is installed", vision.version, torch.version)
        }
        (None, Some((_, text))) => format!(
            "torchvision {} is built for CUDA {text}, torch {} for CUDA {}",
            vision.version,
            torch.version,
            torch.cuda.as_deref().unwrap_or("none")
        ),
        _ => format!("torchvision {} was built for another torch than {}", vision.version, torch.version),
    };
    let mut found = case.finding("torchvision-torch-mismatch")?.because(reason);
    // Another release than its metadata requires may work if every symbol is defined.
    if refused.is_none() && cuda.is_none() {
        found = found.severity(Severity::Warning);
    }
    found = found.seen_at("version", &vision.dir, format!("torchvision {}", vision.version));
    found = found.seen_at("version", &torch.dir, format!("torch {}", torch.version));
    if let Some((path, symbol)) = refused {
        found =
            found.seen_at("symbol", path, format!("needs `{}`, which this torch does not define", super::cut(symbol)));
        found = found.seen("message", "operator torchvision::nms does not exist");
    }
    Some(found.healed_by(remedies(case, torch, Some(vision))))
}

/// The release of torch that its metadata requires; else that of the table.
fn built_for(case: &Case<'_>, vision: &Distribution) -> Option<Version> {
    let required = requirements(case.host, vision, &[]).remove("torch").flatten();
    required
        .and_then(|range| range.exact().cloned())
        .or_else(|| {
            let release = Version::parse(vision.version.split('+').next()?)?;
            torchvisions().iter().find(|row| row.version == release).map(|row| row.torch.clone())
        })
        // `==2.5.1+cu124` requires the same release.
        .and_then(|version| Version::parse(version.as_str().split('+').next()?))
}

/// The CUDA major of the build, and the release in words; `None` for a build without CUDA.
fn cuda_of(case: &Case<'_>, vision: &Distribution) -> Option<(u32, String)> {
    let text = case.host.read_text(&vision.dir.parent()?.join("torchvision/version.py")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("cuda")?.trim_start().strip_prefix('='))?;
    let release = line.trim().trim_matches(['\'', '"']);
    Some((release.split('.').next()?.parse().ok()?, release.to_owned()))
}

/// The torchvision for this torch; if none is known, new releases of both.
pub(in crate::diagnose) fn remedies(case: &Case<'_>, torch: &TorchBuild, vision: Option<&Distribution>) -> Vec<Remedy> {
    let tag = torch
        .cuda_release()
        .map_or_else(|| "cpu".to_owned(), |(major, minor)| format!("cu{major}{}", minor.unwrap_or_default()));
    let index = format!("--index-url https://download.pytorch.org/whl/{tag}");
    let own = torchvision_for(&torch.version)
        .map(|row| case.pip(&format!("install --force-reinstall --no-deps torchvision=={} {index}", row.version)));
    let release = vision.and_then(|vision| Version::parse(vision.version.split('+').next()?));
    let other = torchvisions().iter().find(|row| release.as_ref() == Some(&row.version));
    let back = other.map(|row| Remedy::action(format!("or keep it, and install torch {}", row.torch)));
    let none = Remedy::action("reinstall torch and torchvision in one line, so that pip chooses a pair");
    own.into_iter().chain(back).chain(Some(none)).take(2).collect()
}
