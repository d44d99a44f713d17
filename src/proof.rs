//! Whether a command would load its libraries and use the GPU, told before it is started.
//!
//! Takes a request, the plan that is to be handed out and a machine; gives what stands in the way ([`Stop`]s): what would
//! not load ([`check`]), a plan that drifted, a driver that is missing or too old, a build without CUDA, parts of a framework that
//! it would do without in silence. Starts nothing; whether the driver answers is for the caller to ask ([`Proof::libcuda`]).
//!
//! [`check`]: crate::check

use crate::check::{Depth, Judgement, Subject, Verdict, predict};
use crate::consumer::TorchBuild;
use crate::driver::{Driver, Role, rules};
use crate::facts::{Version, parse_library_name, torch_builds};
use crate::host::Host;
use crate::inventory::Inventory;
use crate::loader::Loader;
use crate::objects::Objects;
use crate::places;
use crate::plan::Plan;
use crate::python::{Distribution, Interpreter, distributions};
use crate::request::{Checked, Request, RequestError};
use std::path::{Path, PathBuf};

/// Something that stands in the way.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stop {
    /// A stable word, of [`STOPS`].
    pub id: &'static str,
    /// The cause, in a clause.
    pub says: String,
    /// What to do.
    pub hint: String,
}

impl Stop {
    /// The driver was asked, and gave no device.
    #[must_use]
    pub fn device_refused(says: String, hint: String) -> Self {
        Self { id: "device-refused", says, hint }
    }
}

/// Every id a [`Stop`] may have, with its meaning.
pub const STOPS: [(&str, &str); 12] = [
    ("any-environment", "what the command will start is not known"),
    ("device-refused", "the driver does not give a device to this process"),
    ("does-not-load", "the loader refuses the libraries"),
    ("driver-mismatch", "the driver's library does not go with its kernel module"),
    ("driver-not-loaded", "the kernel has no driver"),
    ("driver-too-old", "the driver is older than the CUDA of the build needs"),
    ("framework-without-cuda", "a framework's CUDA part is not installed"),
    ("no-driver", "there is no driver"),
    ("not-found-later", "what is opened by name is nowhere"),
    ("plan-drifted", "the plan names files that are no longer what they were"),
    ("torch-without-cuda", "torch is built without CUDA"),
    ("torn", "parts of different releases meet"),
];

/// What was found.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct Proof {
    /// What stands in the way; nothing: the command may be started.
    pub stops: Vec<Stop>,
    /// The libcuda it would get, where nothing speaks against it: to be asked whether it works.
    pub libcuda: Option<PathBuf>,
}

impl Proof {
    fn stop(&mut self, id: &'static str, says: String, hint: impl Into<String>) {
        self.stops.push(Stop { id, says, hint: hint.into() });
    }
}

/// Whom the GPU is wanted for.
struct Framework {
    /// `torch 2.8.0+cu128`.
    name: String,
    cuda: Option<Version>,
}

/// Looks for what stands in the way of a command with a plan, or without one.
///
/// # Errors
///
/// As [`Request::subject`].
pub fn prove(host: &Host, request: &Request, plan: Option<&Plan>) -> Result<Proof, RequestError> {
    let objects = Objects::new(host);
    let loader = Loader::new(&objects);
    let mut proof = Proof::default();
    if request.is_open(host) {
        let first = request.command.first().map(|word| word.display().to_string()).unwrap_or_default();
        proof.stop(
            "any-environment",
            format!("`{first}` may start any environment, and which it will be is not known before"),
            "name the interpreter that it starts with `--python`, or check that one: `cudashim run --check -- PYTHON …`",
        );
        return Ok(proof);
    }
    if let Some(plan) = plan {
        drifted(host, plan, &mut proof);
    }
    let interpreter = request.environment(host)?;
    let paths = interpreter.as_ref().map(|interpreter| interpreter.paths.as_slice()).unwrap_or_default();
    let installed: Vec<Distribution> = paths.iter().flat_map(|path| distributions(host, path)).collect();
    let torch = TorchBuild::find(host, paths).ok().filter(|_| request.files.is_empty());
    if let Checked::Subject(subject) = request.subject(&loader)? {
        judged(&predict(&loader, &subject, Depth::Symbols, plan), "the set", &mut proof);
    }
    let mut frameworks = Vec::new();
    if let Some(torch) = torch.as_ref().filter(|torch| torch.cuda.is_some()) {
        let cuda = torch.cuda.as_deref().and_then(Version::parse);
        frameworks.push(Framework { name: format!("torch {}", torch.version), cuda });
    }
    let inventory = Inventory::scan(&objects, places::machine(host, &loader));
    let machine = Driver::look(&loader, &inventory);
    let gpu = machine.has_gpu() || machine.is_loaded();
    if request.files.is_empty()
        && let Some(interpreter) = &interpreter
    {
        frameworks.extend(others(&loader, interpreter, &installed, plan, gpu && torch.is_none(), &mut proof));
    }
    if let Some(torch) = torch.filter(|torch| torch.cuda.is_none() && gpu && frameworks.is_empty()) {
        without_cuda(&torch, interpreter.as_ref(), &machine, &mut proof);
    }
    if frameworks.is_empty() && plan.is_some_and(|plan| plan.chosen().any(|library| is_cuda(&library.soname))) {
        let of = plan.and_then(|plan| plan.made_for.first()).map_or_else(|| "it".to_owned(), |of| of.text.clone());
        frameworks.push(Framework { name: of, cuda: plan.and_then(cuda_of_set) });
    }
    if !frameworks.is_empty() {
        driver(&machine, plan, &frameworks, &mut proof);
    }
    Ok(proof)
}

fn is_cuda(soname: &str) -> bool {
    parse_library_name(soname).is_some_and(|name| !name.row.is_driver())
}

/// The CUDA release of a set: that of its runtime.
fn cuda_of_set(plan: &Plan) -> Option<Version> {
    let runtime = plan.chosen().find(|library| library.soname.starts_with("libcudart.so."))?;
    Version::parse(runtime.version.as_deref()?)
}

fn drifted(host: &Host, plan: &Plan, proof: &mut Proof) {
    let drift = plan.lost(host);
    let Some((library, how)) = drift.first() else { return };
    let more = if drift.len() > 1 {
        format!("; {} more are no longer what they were", drift.len() - 1)
    } else {
        String::new()
    };
    proof.stop(
        "plan-drifted",
        format!("`{}` {how}{more}", library.path.display()),
        "`cudashim verify FILE` tells what drifted, and `--relocate` finds the same files where they are now",
    );
}

/// What a judgement says against starting.
fn judged(judgement: &Judgement, whose: &str, proof: &mut Proof) {
    let hint = "`cudashim check` shows each library and the rule that found it; `cudashim doctor` says what to do";
    match judgement.verdict {
        Verdict::Loads => {
            // What is opened later and is not there: a framework that finds none goes on without.
            let lost = judgement.not_found.iter().find(|lost| lost.later && !lost.optional);
            if let Some(lost) = lost {
                let by = lost.needed_by.as_deref().map(|by| format!(", which `{}` opens", by.display()));
                let by = by.unwrap_or_default();
                proof.stop(
                    "not-found-later",
                    format!("`{}`{by}, is nowhere: {}", lost.name.display(), lost.says),
                    hint,
                );
            }
        }
        Verdict::Torn => {
            for finding in &judgement.findings {
                proof.stop("torn", finding.says(), hint);
            }
        }
        _ => {
            let error = judgement.error.clone();
            let error = error.or_else(|| judgement.findings.first().map(|finding| finding.says()));
            proof.stop("does-not-load", format!("{whose} does not load: {}", error.unwrap_or_default()), hint);
        }
    }
}

/// torch is there, without CUDA, beside a GPU.
fn without_cuda(torch: &TorchBuild, interpreter: Option<&Interpreter>, machine: &Driver, proof: &mut Proof) {
    let release = torch.version.split('+').next().and_then(Version::parse);
    let driver = machine.driver_version();
    let runs = |cuda: &Version| driver.as_ref().is_none_or(|driver| rules::on_driver(cuda, driver).runs());
    let same = torch_builds().iter().filter(|row| Some(&row.version) == release.as_ref() && runs(&row.cuda_version));
    let python = interpreter.map_or_else(|| "python".to_owned(), |python| python.program.display().to_string());
    let hint = match same.max_by_key(|row| &row.cuda_version) {
        Some(row) => format!(
            "`{python} -m pip install --force-reinstall torch=={} --index-url https://download.pytorch.org/whl/{}`",
            row.version, row.cuda
        ),
        None => "install a torch that is built for CUDA".to_owned(),
    };
    let (version, site) = (&torch.version, torch.site().display());
    let says = format!("torch {version} in `{site}` is built without CUDA, and there is a GPU: it would use the CPU");
    proof.stop("torch-without-cuda", says, hint);
}

/// Frameworks besides torch that go on with the CPU where their part for CUDA cannot be loaded.
fn others(
    loader: &Loader,
    interpreter: &Interpreter,
    installed: &[Distribution],
    plan: Option<&Plan>,
    alone: bool,
    proof: &mut Proof,
) -> Vec<Framework> {
    let mut found = Vec::new();
    let host = loader.host();
    let has = |name: &str| installed.iter().find(|package| package.name == name);
    let python = interpreter.program.display();
    if let Some(package) = has("onnxruntime-gpu") {
        let name = format!("onnxruntime-gpu {}", package.version);
        match file_of(host, interpreter, "onnxruntime/capi/libonnxruntime_providers_cuda.so") {
            Some(provider) => part(loader, interpreter, &provider, &name, plan, proof),
            None => proof.stop(
                "framework-without-cuda",
                format!("{name} has no CUDA provider: it would use the CPU{}", match has("onnxruntime") {
                    Some(_) => ", for the package `onnxruntime` was installed over it",
                    None => "",
                }),
                format!("`{python} -m pip uninstall -y onnxruntime onnxruntime-gpu && {python} -m pip install onnxruntime-gpu`"),
            ),
        }
        found.push(Framework { name, cuda: plan.and_then(cuda_of_set) });
    } else if let Some(package) = has("onnxruntime").filter(|_| alone) {
        proof.stop(
            "framework-without-cuda",
            format!(
                "onnxruntime {} is the build without CUDA, and there is a GPU: it would use the CPU",
                package.version
            ),
            format!("`{python} -m pip uninstall -y onnxruntime && {python} -m pip install onnxruntime-gpu`"),
        );
    }
    let plugin = ["12", "13"].iter().find_map(|major| Some((*major, has(&format!("jax-cuda{major}-plugin"))?)));
    match (has("jax"), plugin) {
        (Some(_), Some((major, package))) => {
            let name = format!("jax-cuda{major}-plugin {}", package.version);
            match file_of(host, interpreter, &format!("jax_plugins/xla_cuda{major}/xla_cuda_plugin.so")) {
                Some(plugin) => part(loader, interpreter, &plugin, &name, plan, proof),
                None => proof.stop(
                    "framework-without-cuda",
                    format!("{name} has no `xla_cuda_plugin.so`: jax would use the CPU"),
                    format!("`{python} -m pip install --force-reinstall 'jax[cuda{major}]'`"),
                ),
            }
            found.push(Framework { name, cuda: Version::parse(&format!("{major}.0")) });
        }
        (Some(jax), None) if alone => proof.stop(
            "framework-without-cuda",
            format!("jax {} has no CUDA plugin, and there is a GPU: it would use the CPU", jax.version),
            format!("`{python} -m pip install 'jax[cuda12]'`"),
        ),
        _ => {}
    }
    found
}

fn file_of(host: &Host, interpreter: &Interpreter, below: &str) -> Option<PathBuf> {
    interpreter.paths.iter().map(|site| site.join(below)).find(|path| host.is_file(path))
}

/// Judges the part of a framework that it opens by path.
fn part(loader: &Loader, interpreter: &Interpreter, file: &Path, name: &str, plan: Option<&Plan>, proof: &mut Proof) {
    let files = [file.to_owned()];
    match Subject::files(loader, &files, Some(interpreter)) {
        Ok(subject) => {
            judged(&predict(loader, &subject, Depth::Symbols, plan), &format!("the CUDA part of {name}"), proof);
        }
        Err(error) => {
            proof.stop("does-not-load", format!("the CUDA part of {name}: {error}"), format!("install {name} anew"));
        }
    }
}

/// Whether the driver is there, whole, and new enough.
fn driver(machine: &Driver, plan: Option<&Plan>, frameworks: &[Framework], proof: &mut Proof) {
    let Some(first) = frameworks.first() else { return };
    let planned = plan.and_then(|plan| plan.lookup("libcuda.so.1")).map(|library| library.path.clone());
    let path = planned.or_else(|| machine.libcuda.as_ref().map(|found| found.path.clone()));
    let file = path.as_deref().and_then(|path| {
        let at = |file: &&crate::driver::DriverFile| {
            file.path == path || file.dir() == path.parent().unwrap_or(path) && file.is_libcuda()
        };
        machine.files.iter().find(at)
    });
    let Some(path) = path.filter(|_| file.is_none_or(|file| file.role != Role::Stub)) else {
        let gpu = machine.has_gpu() || machine.is_loaded();
        let hint = match (machine.surroundings.container, gpu) {
            (Some(_), true) => "start the container with the driver of its host: `cudashim doctor` tells how",
            (Some(_), false) => {
                "run it where a GPU is, and start the container with the GPUs of its host; for the CPU, leave `--check` and `CUDASHIM_CHECK` out"
            }
            (None, true) => "install the NVIDIA driver: `cudashim doctor` tells which",
            (None, false) => "run it where a GPU is; for the CPU, leave `--check` and `CUDASHIM_CHECK` out",
        };
        let stub = if file.is_some() { " but the stub for linking" } else { "" };
        let says = format!(
            "there is no `libcuda.so.1`{stub}, which comes with the NVIDIA driver: {} would use the CPU",
            first.name
        );
        proof.stop("no-driver", says, hint);
        return;
    };
    let before = proof.stops.len();
    if !machine.is_loaded() && !machine.surroundings.wsl {
        proof.stop(
            "driver-not-loaded",
            format!(
                "`{}` is here, but the kernel has no NVIDIA driver: {} would use the CPU",
                path.display(),
                first.name
            ),
            "`sudo modprobe nvidia`, and where there is no GPU, leave `--check` and `CUDASHIM_CHECK` out",
        );
    }
    let kernel = machine.kernel.version.as_deref().and_then(Version::parse);
    let own = file.and_then(|file| file.version.as_deref()).and_then(Version::parse);
    if let (Some(kernel), Some(own), Some(file)) = (&kernel, &own, file) {
        let fits = match file.role {
            Role::Driver => own == kernel,
            _ => rules::compat_fits(file, kernel) != Some(false),
        };
        if !fits {
            proof.stop(
                "driver-mismatch",
                format!(
                    "`{}` is of driver {own}, and the kernel's is {kernel}: CUDA does not start (error 803)",
                    path.display()
                ),
                "restart, if the driver was updated; else `cudashim doctor` tells which of the two is in the way",
            );
        }
    }
    let version = machine.driver_version();
    for framework in frameworks {
        let (Some(cuda), Some(driver)) = (&framework.cuda, &version) else { continue };
        if let rules::Verdict::NeedsDriver { floor } = rules::on_driver_with(cuda, driver, file) {
            let needs = floor.map_or_else(|| "a newer one".to_owned(), |floor| format!("{floor} or newer"));
            proof.stop(
                "driver-too-old",
                format!("the driver is {driver}, and {} (CUDA {cuda}) needs {needs}", framework.name),
                format!(
                    "install driver {needs}, or a build for {}",
                    match rules::cuda_of_driver(driver) {
                        Some(own) => format!("CUDA {own} or earlier"),
                        None => "an earlier CUDA".to_owned(),
                    }
                ),
            );
        }
    }
    if proof.stops.len() == before {
        proof.libcuda = Some(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_sorted_words() {
        assert!(STOPS.is_sorted_by(|one, other| one.0 < other.0));
        let source = include_str!("proof.rs");
        for (id, _) in STOPS {
            assert!(source.matches(&format!("\"{id}\"")).count() > 1, "{id}");
        }
    }
}
