//! Whether ld.so finds the libcuda of this machine's driver.

use super::super::mend::on_library_path;
use super::super::{Case, Finding, Remedy, mend};
use crate::driver::{DriverFile, Found, Role, compat_serves, rules};
use crate::tables::{Severity, Version};
use std::path::Path;

/// The driver is installed in a directory that ld.so does not search.
pub(super) fn not_found(case: &Case<'_>) -> Option<Finding> {
    let machine = case.driver;
    let file = machine.fitting_libcuda().or_else(|| machine.usable_libcudas().next())?;
    if let Some(found) = &machine.libcuda {
        return shadowed(case, file, found).or_else(|| triton(case));
    }
    let dir = file.dir().display();
    let around = &machine.surroundings;
    let found = case
        .finding("libcuda-off-cache")?
        .because(format!("the driver is in `{dir}`, which is not in any search path"))
        .seen_at("file", &file.path, format!("libcuda, {}", file.version.as_deref().unwrap_or("of an unknown version")))
        .seen("rule", "`libcuda.so.1` is not in any search path: LD_LIBRARY_PATH, the cache, the default directories");
    let lasting = if around.nixos {
        Remedy::command(format!("export LD_LIBRARY_PATH={dir}"))
    } else {
        Remedy::command(format!("echo {dir} | sudo tee /etc/ld.so.conf.d/nvidia-driver.conf && sudo ldconfig"))
    };
    Some(found.healed_by(case.run().into_iter().chain([lasting])))
}

/// On WSL another libcuda overrides: it has no kernel module to work with.
fn shadowed(case: &Case<'_>, windows: &DriverFile, found: &Found) -> Option<Finding> {
    let machine = case.driver;
    let is_windows = machine.kernel.version.is_none() && machine.surroundings.wsl;
    if !is_windows || found.path.parent() == Some(windows.dir()) || machine.found_libcuda() == Some(windows) {
        return None;
    }
    let dir = windows.dir().display();
    let because = format!("`{}` overrides the driver of Windows in `{dir}`", found.path.display());
    Some(
        case.finding("libcuda-off-cache")?
            .because(because)
            .seen_at("file", &found.path, format!("libcuda, found by {}", found.rule))
            .seen_at("file", &windows.path, "libcuda of the driver of Windows")
            .healed_by(case.run().into_iter().chain(off(case, &found.path)).chain([Remedy::action(
                "remove the driver that is installed in WSL: only the one of Windows works there",
            )])),
    )
}

/// triton reads the list of the cache (`ldconfig -p`), then `LD_LIBRARY_PATH`; it does not search ld.so's default
/// directories.
fn triton(case: &Case<'_>) -> Option<Finding> {
    let (machine, found) = (case.driver, case.driver.libcuda.as_ref()?);
    let triton = case.has_package("triton")?;
    if machine.cached != Some(false) || machine.surroundings.triton_path || found.rule == "LD_LIBRARY_PATH" {
        return None;
    }
    let dir = found.path.parent()?.display();
    Some(
        case.finding("triton-libcuda-not-found")?
            .seen_at("file", &found.path, format!("libcuda, found by {}", found.rule))
            .seen(
                "rule",
                format!("triton {} reads the list of `ldconfig -p`, which does not contain it", triton.version),
            )
            .healed_by([
                Remedy::command("sudo ldconfig"),
                Remedy::command(format!("export TRITON_LIBCUDA_PATH={dir}")),
            ]),
    )
}

/// The libcuda that ld.so finds differs in version from the kernel module.
pub(super) fn mismatched(case: &Case<'_>) -> Option<Finding> {
    let machine = case.driver;
    let (file, found) = (machine.found_libcuda()?, machine.libcuda.as_ref()?);
    let kernel = machine.kernel.version.as_deref().and_then(Version::parse)?;
    let own = file.version.as_deref().and_then(Version::parse);
    let proofs = |finding: Finding| {
        let version = file.version.as_deref().unwrap_or("of an unknown version");
        let finding = finding
            .seen_at("file", &file.path, format!("libcuda {version}, found by {}", found.rule))
            .seen("module", format!("nvidia {kernel}"));
        match machine.fitting_libcuda().filter(|fitting| fitting.path != file.path) {
            Some(fitting) => finding.seen_at("file", &fitting.path, format!("libcuda {kernel}: matches the module")),
            None => finding,
        }
    };
    if matches!(file.role, Role::Compat { .. }) {
        return compat(case, file, &kernel).map(proofs);
    }
    if own.is_none_or(|own| own == kernel) {
        return None;
    }
    if machine.fitting_libcuda().is_some() {
        let because = format!("ld.so finds the libcuda of another driver than the loaded one ({kernel}; error 803)");
        let found = case.finding("compat-libcuda-803")?.because(because);
        let advice = Remedy::action(format!(
            "remove `{}` from the search path, or remove what is left of that driver",
            file.dir().display()
        ));
        let tried = case.run().into_iter().chain(off(case, &file.path));
        return Some(proofs(found).healed_by(tried.chain([advice])));
    }
    let found = case.finding("nvml-kernel-user-mismatch")?;
    let says = |version: &str| {
        format!("the libraries of the driver are of {version}, its loaded kernel module is of {kernel}")
    };
    let found = proofs(found.because(says(file.version.as_deref().unwrap_or_default())));
    Some(match machine.surroundings.container {
        Some(_) => found.healed_by([Remedy::action("restart the container: the driver of its host has changed")]),
        None => found,
    })
}

/// Whether a forward-compatible libcuda that ld.so finds works here.
fn compat(case: &Case<'_>, file: &DriverFile, kernel: &Version) -> Option<Finding> {
    let machine = case.driver;
    let brings = rules::cuda_of_compat(file).map_or_else(String::new, |cuda| format!(" for CUDA {cuda}"));
    let advice =
        Remedy::action(format!("remove `{}` from the search path, or remove that package", file.dir().display()));
    let tried = case.run().into_iter().chain(off(case, &file.path));
    let remedies = || tried.chain([advice]);
    if rules::compat_fits(file, kernel) == Some(false) {
        let assumed = if machine.assumed { ", which is assumed," } else { "" };
        let found = case.finding("compat-libcuda-803")?.because(format!(
            "the compatibility package{brings} comes first, but does not match the kernel module {kernel}{assumed} (error 803)"
        ));
        return Some(branches(found, file).healed_by(remedies()));
    }
    let unserved = machine.devices().iter().find(|device| compat_serves(device) == Some(false))?;
    let found = case.finding("compat-libcuda-804")?.because(format!(
        "the compatibility package{brings} comes first, but does not support {} (error 804)",
        unserved.name
    ));
    Some(branches(found, file).healed_by(remedies()))
}

/// Removes the directory of a file from `LD_LIBRARY_PATH`.
fn off(case: &Case<'_>, path: &Path) -> Option<Remedy> {
    on_library_path(case, path).then(|| mend::off_library_path(case, path))
}

fn branches(found: Finding, file: &DriverFile) -> Finding {
    match &file.role {
        Role::Compat { branches, .. } if !branches.is_empty() => {
            let list: Vec<String> = branches.iter().map(ToString::to_string).collect();
            found.seen("rule", format!("its note says that it runs on kernel modules of {}", list.join(", ")))
        }
        _ => found.seen("rule", "a compatibility package runs on kernel modules older than itself only"),
    }
}

/// Search paths that resolve libcuda to the stub of the driver. Fatal if every consumer of libcuda gets it.
pub(super) fn stubs(case: &Case<'_>) -> Option<Finding> {
    let machine = case.driver;
    let by_soname = machine.found_libcuda().filter(|file| file.role == Role::Stub);
    let mut problems = case.problems_of("stub-libcuda").peekable();
    problems.peek()?;
    let fatal = by_soname.is_some() && machine.is_loaded();
    let found = case.finding("stub-libcuda")?.severity(if fatal { Severity::Fatal } else { Severity::Warning });
    let off = problems.peek().and_then(|problem| off(case, &problem.path));
    let found = problems.fold(found, |found, problem| found.seen_at("file", &problem.path, problem.says.clone()));
    let advice = Remedy::action("remove the `stubs` directory from the search path: it is for linking only");
    Some(found.healed_by(case.run().into_iter().chain(off).chain([advice])))
}

/// Libraries of different drivers in one place, as reported by `scan`.
pub(super) fn torn(case: &Case<'_>) -> Option<Finding> {
    let mut problems = case.problems_of("torn-driver").peekable();
    let first = problems.peek()?;
    let found = case.finding("torn-driver")?;
    let because = format!(
        "libraries of different drivers are loaded together in `{}`",
        first.path.parent().unwrap_or(&first.path).display()
    );
    Some(
        problems
            .fold(found.because(because), |found, problem| found.seen_at("file", &problem.path, problem.says.clone())),
    )
}
