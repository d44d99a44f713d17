//! Extensions of torch: built for another torch or another CUDA, or dependent on a library that torch does not bring.
//!
//! Each is judged as if imported after torch. Ignores missing libraries outside NVIDIA's and torch: many packages
//! have a variant for each release of `FFmpeg` and use one.

use super::packages::{cuda_major, install_and_run, listed, not_found_libraries, owner_of, short, wheels};
use super::torchvision;
use crate::check::MissingSymbol;
use crate::diagnose::{Case, Finding, Judged, Remedy, TargetKind};
use crate::host::tidy;
use crate::python::TorchBuild;
use crate::python::{Distribution, requirements};
use crate::tables::{Version, parse_library_name};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::Path;

/// The findings about the extensions of the torch.
pub(super) fn findings(case: &Case<'_>) -> Vec<Finding> {
    let Some(torch) = case.torch else { return Vec::new() };
    let judged = case.judged.iter().find(|judged| judged.kind == TargetKind::Extensions);
    let undefined_symbols = judged.map(undefined_symbols).unwrap_or_default();
    let of_vision = undefined_symbols.iter().find(|(path, _)| is_of(path, "torchvision"));
    let of_vision = of_vision.and_then(|(path, symbols)| Some((*path, symbols.first()?.as_str())));
    let mut found: Vec<Finding> = torchvision::finding(case, torch, of_vision).into_iter().collect();
    found.extend(other_torch(case, torch, &undefined_symbols));
    if let Some(judged) = judged {
        found.extend(other_cuda(case, torch, judged));
    }
    found
}

/// Whether a package owns a file.
fn is_of(path: &Path, package: &str) -> bool {
    path.iter().any(|part| part == package)
}

/// The undefined torch symbols of each extension.
fn undefined_symbols(judged: &Judged) -> BTreeMap<&Path, Vec<String>> {
    let mut found: BTreeMap<&Path, Vec<String>> = BTreeMap::new();
    let missing = judged.judgement.missing.iter().filter(|missing| missing.provider.is_none());
    for MissingSymbol { symbol, needed_by, .. } in missing.filter(|missing| judged.files.contains(&missing.needed_by)) {
        if let Some(symbol) = symbol.as_ref().filter(|symbol| is_of_torch(symbol)) {
            found.entry(needed_by).or_default().push(symbol.clone());
        }
    }
    found
}

/// Whether a symbol belongs to torch's C++ interface, by the namespaces in its mangled name (Itanium C++ ABI,
/// `<nested-name>`), or to its stable C interface.
fn is_of_torch(symbol: &str) -> bool {
    let names = ["3c10", "2at", "5torch", "6caffe2"];
    let nested = |name: &&str| {
        ["_ZN", "_ZNK", "_ZTIN", "_ZTVN", "_ZTSN", "_ZGVN", "_ZNSt", "_ZSt"]
            .iter()
            .any(|start| symbol.strip_prefix(start).is_some_and(|rest| rest.starts_with(*name)))
            || symbol.starts_with("_Z") && symbol.contains(&format!("N{name}"))
    };
    names.iter().any(nested) || symbol.starts_with("aoti_torch_") || symbol.starts_with("THP")
}

/// An extension that was built for another torch.
fn other_torch(
    case: &Case<'_>,
    torch: &TorchBuild,
    undefined_symbols: &BTreeMap<&Path, Vec<String>>,
) -> Option<Finding> {
    let others: Vec<_> = undefined_symbols.iter().filter(|(path, _)| !is_of(path, "torchvision")).collect();
    let (path, symbols) = others.first()?;
    let symbol = symbols.first()?;
    let package = owner_of(case, path);
    let name = package.map_or_else(|| short(path), |package| format!("{} {}", package.name, package.version));
    let built = package.and_then(|package| built_for(case, package)).map(|built| format!("torch {built}"));
    let built = built.or_else(|| other_abi(torch, symbol)).unwrap_or_else(|| "another torch".to_owned());
    let mut found = case
        .finding("ext-torch-abi")?
        .because(format!("{name} was built for {built}, but torch {} is installed", torch.version))
        .seen_at("version", &torch.dir, format!("torch {}", torch.version));
    for (path, symbols) in &others {
        let more = if symbols.len() > 1 { format!(" and {} more", symbols.len() - 1) } else { String::new() };
        let first = symbols.first().map(String::as_str).unwrap_or_default();
        found = found.seen_at(
            "symbol",
            path,
            format!("needs `{}`{more}, which this torch does not define", super::cut(first)),
        );
    }
    found = found.seen("rule", "C++ interfaces change with the release of torch; no choice of CUDA libraries helps");
    let other = found.remedies.clone();
    let own = package.and_then(|package| same_torch(case, torch, package));
    if let Some(own) = own {
        return Some(found.healed_by([own].into_iter().chain(other.into_iter().skip(1))));
    }
    let plain = package.map_or("PACKAGE", |package| package.name.as_str());
    let own = format!("install --force-reinstall --no-deps --no-build-isolation --no-binary {plain} {plain}");
    Some(found.healed_by(other.into_iter().take(1).chain([case.pip(&own)])))
}

/// The torch that a package's metadata requires, or that the local part of its version names: `+pt25cu124`,
/// `+cu12torch2.3cxx11abiFALSE`.
fn built_for(case: &Case<'_>, package: &Distribution) -> Option<String> {
    let required = requirements(case.host, package, &[]).remove("torch").flatten();
    if let Some(exact) = required.as_ref().and_then(|range| range.exact()) {
        return Some(exact.to_string());
    }
    let local = package.version.split_once('+')?.1;
    let digits = |text: &str| -> String { text.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect() };
    if let Some((_, rest)) = local.split_once("torch") {
        return Some(digits(rest)).filter(|version| !version.is_empty());
    }
    let packed = digits(local.strip_prefix("pt")?);
    let (major, minor) = packed.split_at_checked(1)?;
    (!minor.is_empty()).then(|| format!("{major}.{}", minor.trim_start_matches('.')))
}

/// Whether a symbol shows the other ABI of `std::string` (`_GLIBCXX_USE_CXX11_ABI`).
fn other_abi(torch: &TorchBuild, symbol: &str) -> Option<String> {
    let new = symbol.contains("__cxx11");
    match torch.cxx11_abi? {
        false if new => Some("a torch with the C++11 ABI (`_GLIBCXX_USE_CXX11_ABI=1`)".to_owned()),
        true if symbol.contains("RKSs") || symbol.contains("ESs") => {
            Some("a torch with the old C++ ABI (`_GLIBCXX_USE_CXX11_ABI=0`)".to_owned())
        }
        _ => None,
    }
}

/// The line that installs the same package for this torch, if its publisher has a build for each torch.
fn same_torch(case: &Case<'_>, torch: &TorchBuild, package: &Distribution) -> Option<Remedy> {
    let release = torch.version.split('+').next()?;
    let tag = tag(torch);
    let name = package.name.as_str();
    match name {
        // Up to 2.11 each torch has a torchaudio of the same release.
        "torchaudio" if Version::parse(release)? <= Version::parse("2.11")? => Some(case.pip(&format!(
            "install --force-reinstall --no-deps torchaudio=={release} --index-url https://download.pytorch.org/whl/{tag}"
        ))),
        "torch-scatter" | "torch-sparse" | "torch-cluster" | "torch-spline-conv" | "pyg-lib" => {
            Some(case.pip(&format!(
                "install --force-reinstall --no-deps {name} --find-links https://data.pyg.org/whl/torch-{release}+{tag}.html"
            )))
        }
        _ => None,
    }
}

/// `cu124`.
fn tag(torch: &TorchBuild) -> String {
    let release = torch.cuda_release();
    release.map_or_else(|| "cpu".to_owned(), |(major, minor)| format!("cu{major}{}", minor.unwrap_or_default()))
}

/// Extensions that need libraries of another CUDA major than torch's; and torchcodec, which needs libraries that
/// torch does not have.
fn other_cuda(case: &Case<'_>, torch: &TorchBuild, judged: &Judged) -> Vec<Finding> {
    let mut not_found: BTreeMap<&Path, BTreeSet<String>> = BTreeMap::new();
    for file in &judged.files {
        let names = not_found_libraries(&judged.judgement.not_found, |not_found| {
            !not_found.later && not_found.needed_by.as_deref().is_some_and(|by| tidy(by) == tidy(file))
        });
        if !names.is_empty() {
            not_found.insert(file, names);
        }
    }
    let codec = not_found.iter().find(|(path, _)| is_of(path, "torchcodec"));
    let codec = codec.and_then(|(path, names)| torchcodec(case, torch, path, names));
    let others = not_found.iter().filter(|(path, _)| !is_of(path, "torchcodec"));
    let other = others.filter(|(_, names)| is_other_major(judged, names)).collect::<Vec<_>>();
    codec.into_iter().chain(other_major(case, torch, &other)).collect()
}

/// Whether one of these libraries is mapped in another major.
fn is_other_major(judged: &Judged, names: &BTreeSet<String>) -> bool {
    let split = |name: &OsStr| parse_library_name(name).and_then(|name| Some((name.row.stem, name.version?.major())));
    let mapped: Vec<_> = judged.judgement.objects.iter().filter_map(|object| split(&object.name)).collect();
    names.iter().filter_map(|name| split(OsStr::new(name))).any(|(stem, major)| {
        mapped.iter().any(|(other, found)| *other == stem && *found != major) && !mapped.contains(&(stem, major))
    })
}

fn other_major(case: &Case<'_>, torch: &TorchBuild, not_found: &[(&&Path, &BTreeSet<String>)]) -> Option<Finding> {
    let (path, names) = not_found.first()?;
    let package = owner_of(case, path);
    let name = package.map_or_else(|| short(path), |package| format!("{} {}", package.name, package.version));
    let cuda = torch.cuda.as_deref().unwrap_or("none");
    let needed = cuda_major(names).map_or_else(|| listed(names), |major| format!("CUDA {major} ({})", listed(names)));
    let mut found = case
        .finding("ext-other-cuda-major")?
        .because(format!("{name} is built for {needed}, but torch {} for CUDA {cuda}", torch.version))
        .seen_at("version", &torch.dir, format!("torch {}, CUDA {cuda}", torch.version));
    for (path, names) in not_found {
        found = found.seen_at("file", path, format!("needs {}, not found by ld.so", listed(names)));
    }
    let (plain, version) = package.map_or(("PACKAGE", ""), |package| (package.name.as_str(), package.version.as_str()));
    let build = Remedy::action(format!("install the build of {plain} {version} for CUDA {cuda}, the one of torch"));
    let all: BTreeSet<String> = not_found.iter().flat_map(|(_, names)| names.iter().cloned()).collect();
    Some(found.healed_by(case.run().into_iter().chain([build]).chain(beside(case, &all, path))))
}

/// The wheels of the other major, if they can be installed beside those of torch: the line that hands them to this
/// extension.
fn beside(case: &Case<'_>, names: &BTreeSet<String>, path: &Path) -> Option<Remedy> {
    let major = cuda_major(names)?;
    let file = super::super::word(tidy(path).as_os_str());
    let line = format!("eval \"$(cudashim env --for {file})\"");
    let here = names.iter().all(|name| case.inventory.serving(name).any(|library| library.unusable.is_none()));
    if here {
        return Some(Remedy::command(line));
    }
    let install = case.install(&wheels(case, names, major), false)?;
    Some(Remedy::command(format!("{} && {line}", install.as_command()?)))
}

/// torchcodec's libraries need NPP, and NVRTC by a name that torch may not have mapped.
fn torchcodec(case: &Case<'_>, torch: &TorchBuild, path: &Path, names: &BTreeSet<String>) -> Option<Finding> {
    let package = case.has_package("torchcodec");
    let version = package.map(|package| format!(" {}", package.version)).unwrap_or_default();
    let cuda = torch.cuda_release().map(|(major, _)| u64::from(major));
    let needed = cuda_major(names);
    let other = needed.filter(|needed| cuda.is_some_and(|cuda| cuda != *needed));
    let why = match other {
        Some(needed) => format!("it is built for CUDA {needed}, but torch for CUDA {}", torch.cuda.as_deref()?),
        None => "torch does not include what it needs".to_owned(),
    };
    let found = case
        .finding("torchcodec-npp-nvrtc")?
        .because(format!("torchcodec{version} finds no {}: {why}", listed(names)))
        .seen_at("file", path, format!("needs {}, not found by ld.so", listed(names)))
        .seen("message", "Could not load libtorchcodec. Likely causes: …");
    let remedy = if other.is_some() && package.is_some() {
        let index = format!("https://download.pytorch.org/whl/{}", tag(torch));
        Some(case.pip(&format!("install --force-reinstall --no-deps torchcodec --index-url {index}")))
    } else {
        let not_installed = |name: &&String| case.inventory.serving(name).next().is_none();
        let not_installed: BTreeSet<String> = names.iter().filter(not_installed).cloned().collect();
        install_and_run(case, &wheels(case, &not_installed, needed.or(cuda)?))
    };
    Some(found.healed_by(case.run().into_iter().chain(remedy)))
}

#[cfg(test)]
mod tests {
    use super::is_of_torch;

    #[test]
    fn names_of_torch_and_of_others() {
        for symbol in [
            "_ZN3c104cuda9SetDeviceEab",
            "_ZNK3c1010TensorImpl4sizeEl",
            "_ZN2at4_ops10zeros_like4callERKNS_6TensorE",
            "_ZN5torch8autograd4impl15grad_accumulatorERKNS_8VariableE",
            "_ZTIN3c105ErrorE",
            "_ZSt4moveIRN2at6TensorEEONSt16remove_referenceIT_E4typeEOS4_",
            "aoti_torch_new_tensor_handle",
            "THPVariableClass",
        ] {
            assert!(is_of_torch(symbol), "{symbol}");
        }
        for symbol in ["av_frame_alloc", "PyInit_x", "_ZNSt7__cxx1112basic_stringIcE", "cudaMalloc", "_Z3c10v"] {
            assert!(!is_of_torch(symbol), "{symbol}");
        }
    }
}
