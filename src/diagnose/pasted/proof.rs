//! Evidence on this machine for messages that no other rule covers: a compiler, a header, a package of another
//! release, the container toolkit of a host.
//!
//! Takes a message and the case; gives the evidence, and the remedies for this machine. Opens files, runs nothing.

use crate::diagnose::compatible::toolkits;
use crate::diagnose::tool::PackageSpec;
use crate::diagnose::{Case, Finding, Message, Remedy, word};
use crate::inventory::Owner;
use crate::python::requirements;
use crate::tables::{Version, families};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The evidence, whether it confirms the message, and the remedies for this machine; without remedies those of the
/// kind apply.
pub(super) struct Proof {
    seen: Vec<(&'static str, Option<PathBuf>, String)>,
    pub(super) shows: bool,
    pub(super) remedies: Vec<Remedy>,
}

impl Proof {
    fn new(shows: bool) -> Self {
        Self { seen: Vec::new(), shows, remedies: Vec::new() }
    }

    fn seen(mut self, kind: &'static str, says: impl Into<String>) -> Self {
        self.seen.push((kind, None, says.into()));
        self
    }

    fn seen_at(mut self, kind: &'static str, path: &Path, says: impl Into<String>) -> Self {
        self.seen.push((kind, Some(path.to_owned()), says.into()));
        self
    }

    fn healed_by(mut self, remedies: impl IntoIterator<Item = Remedy>) -> Self {
        self.remedies.extend(remedies);
        self
    }

    /// The finding, with this evidence.
    pub(super) fn add_to(&self, finding: Finding) -> Finding {
        self.seen.iter().fold(finding, |finding, (kind, path, says)| match path {
            Some(path) => finding.seen_at(kind, path, says.clone()),
            None => finding.seen(kind, says.clone()),
        })
    }
}

/// The evidence for a message of this kind; `None` if the machine shows nothing either way.
pub(super) fn of(case: &Case<'_>, message: &Message, id: &str) -> Option<Proof> {
    match id {
        "container-toolkit" => container_toolkit(case, message),
        "driver-in-image" => driver_in_image(case),
        "ext-not-linked-to-libcuda" => not_linked(case, message),
        "ext-other-release" => other_release(case),
        "fabric-manager" => fabric_manager(case),
        "jax-library-unloadable" => jax_wheel(case, message),
        "jax-plugin-mismatch" => jax_plugin(case),
        "no-nvcc" => Some(nvcc(case)),
        "toolkit-headers-missing" => Some(headers(case, message)),
        "toolkit-other-than-torch" => other_toolkit(case),
        _ => None,
    }
}

/// The message with the ids that this machine admits: whether the installed driver defines the symbol that an
/// extension needs.
pub(super) fn narrowed(case: &Case<'_>, message: &Message) -> Message {
    let mut message = message.clone();
    let libcuda = case.driver.found_libcuda().or_else(|| case.driver.usable_libcudas().next());
    let object = libcuda.and_then(|file| case.objects.open(&file.path).ok());
    let symbol = message.name("symbol").unwrap_or_default().to_owned();
    if message.ids.first() == Some(&"ext-not-linked-to-libcuda")
        && let Some(Ok(elf)) = object.as_ref().map(|object| object.elf())
    {
        let has = elf.defines(symbol.as_bytes(), None);
        message.ids.retain(|id| has == (*id == "ext-not-linked-to-libcuda"));
    }
    message
}

fn not_linked(case: &Case<'_>, message: &Message) -> Option<Proof> {
    let path = Path::new(message.name("asker").filter(|asker| asker.starts_with('/'))?);
    let object = case.objects.open(path).ok()?;
    let linked = object.elf().ok()?.needed().iter().any(|name| name.starts_with(b"libcuda.so"));
    let says = if linked { "names `libcuda.so.1` as needed" } else { "does not name `libcuda.so.1`" };
    Some(Proof::new(!linked).seen_at("file", path, says))
}

/// The directories that may hold a CUDA toolkit, or a part of one.
fn roots(case: &Case<'_>) -> Vec<PathBuf> {
    let host = case.host;
    let named =
        ["CUDA_HOME", "CUDA_PATH", "CUDA_ROOT"].into_iter().filter_map(|name| host.env(name)).map(PathBuf::from);
    let below = |dir: &Path, keep: fn(&[u8]) -> bool| -> Vec<PathBuf> {
        let entries = host.list(dir).unwrap_or_default();
        entries.iter().filter(|it| keep(it.name.as_encoded_bytes())).map(|it| dir.join(&it.name)).collect()
    };
    let local = below(Path::new("/usr/local"), |name| name.starts_with(b"cuda"));
    let sites = case.interpreter.map(|python| python.paths.as_slice()).unwrap_or_default();
    let wheels = sites.iter().flat_map(|site| below(&site.join("nvidia"), |_| true));
    let prefix = case.interpreter.map(|python| python.prefix.clone());
    named.chain(local).chain(["/opt/cuda".into(), "/usr".into()]).chain(prefix).chain(wheels).collect()
}

fn nvcc(case: &Case<'_>) -> Proof {
    let path = case.host.env("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(path).find(|dir| case.host.is_file(&dir.join("nvcc")));
    if let Some(dir) = on_path {
        return Proof::new(false).seen_at("file", &dir.join("nvcc"), "is on PATH now");
    }
    match roots(case).into_iter().find(|root| case.host.is_file(&root.join("bin/nvcc"))) {
        Some(root) => {
            let root_word = word(root.as_os_str());
            let line = format!("export CUDA_HOME={root_word} PATH={root_word}/bin:\"$PATH\"");
            let found = Proof::new(true).seen_at("file", &root.join("bin/nvcc"), "is on no path that is searched");
            found.healed_by([Remedy::command(line)])
        }
        None => Proof::new(true)
            .seen("rule", "no `nvcc` on PATH, in CUDA_HOME, below `/usr/local`, or in a wheel of this environment"),
    }
}

fn headers(case: &Case<'_>, message: &Message) -> Proof {
    let header = message.name("name").unwrap_or("cuda_runtime.h").rsplit(['\\']).next().unwrap_or_default();
    let dirs = ["include", "targets/x86_64-linux/include", "targets/sbsa-linux/include"];
    let has = |root: &PathBuf| dirs.iter().any(|dir| case.host.is_file(&root.join(dir).join(header)));
    if let Some(root) = roots(case).into_iter().find(has) {
        let found = Proof::new(true).seen_at("file", &root, format!("has `{header}`"));
        return found.healed_by([Remedy::command(format!("export CUDA_PATH={}", word(root.as_os_str())))]);
    }
    // The library of the header: `cublas_v2.h` is cuBLAS's, `vector_types.h` the runtime's.
    let plain = header.rsplit('/').next().unwrap_or(header);
    let own = families().iter().filter(|row| !row.is_driver() && row.stem != "cuda" && plain.starts_with(row.stem));
    let row = own.max_by_key(|row| row.stem.len()).or_else(|| families().iter().find(|row| row.stem == "cudart"));
    let packages = || case.installed.iter().map(|package| package.name.as_str());
    let of_cupy = packages().find_map(|name| name.strip_prefix("cupy-cuda")?.get(..2)?.parse().ok());
    let of_torch = case.torch.and_then(|torch| torch.cuda.as_deref()?.split('.').next()?.parse().ok());
    let to_install = row.zip(of_torch.or(of_cupy)).and_then(|(row, major)| case.wheel_of(row, major));
    let found =
        Proof::new(true).seen("rule", format!("no toolkit here, and no wheel of this environment, has `{header}`"));
    found.healed_by(to_install.and_then(|to_install| case.install(&[to_install], false)))
}

fn other_toolkit(case: &Case<'_>) -> Option<Proof> {
    let torch = case.torch?;
    let cuda = torch.cuda.as_deref()?;
    let all = toolkits(case);
    let fits = all.iter().find(|it| it.cuda.as_deref() == Some(cuda));
    let mut found =
        Proof::new(true).seen_at("version", &torch.dir, format!("torch {} is built with CUDA {cuda}", torch.version));
    for toolkit in &all {
        let release = toolkit.cuda.as_deref().unwrap_or("release unknown");
        found = found.seen_at("file", &toolkit.path.to_path(), format!("a toolkit, CUDA {release}"));
    }
    let line = fits.map(|it| {
        let root = word(it.path.to_path().as_os_str());
        Remedy::command(format!("export CUDA_HOME={root} PATH={root}/bin:\"$PATH\""))
    });
    let to_install = fits.is_none().then(|| {
        Remedy::action(format!(
            "install the CUDA toolkit {cuda}, and name it: `export CUDA_HOME=/usr/local/cuda-{cuda}`"
        ))
    });
    Some(found.healed_by(line.into_iter().chain(to_install)))
}

/// Only on a host; a container does not show its host.
fn container_toolkit(case: &Case<'_>, message: &Message) -> Option<Proof> {
    let (host, none) = (case.host, case.driver.surroundings.container.is_none());
    let tool = ["/usr/bin/nvidia-ctk", "/usr/local/bin/nvidia-ctk", "/run/current-system/sw/bin/nvidia-ctk"];
    if !none {
        return None;
    }
    if !tool.iter().any(|path| host.is_file(Path::new(path))) {
        let found = Proof::new(true).seen("rule", "this machine has no `nvidia-ctk`, of the NVIDIA Container Toolkit");
        return Some(found);
    }
    let described = ["/etc/cdi", "/var/run/cdi", "/run/cdi"];
    let lists = |dir: &&str| {
        host.list(Path::new(dir)).is_ok_and(|all| all.iter().any(|it| it.name.to_string_lossy().contains("nvidia")))
    };
    let config = Path::new("/etc/docker/daemon.json");
    if message.text.contains("CDI") {
        let generate = Remedy::command("sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml");
        let found = match described.iter().find(|dir| lists(dir)) {
            Some(dir) => Proof::new(false).seen_at("file", Path::new(dir), "has a description of NVIDIA's devices"),
            None => Proof::new(true).seen("rule", "no description of NVIDIA's devices in `/etc/cdi` or `/var/run/cdi`"),
        };
        return Some(found.healed_by([generate]));
    }
    let named = host.read_text(config).is_ok_and(|text| text.contains("nvidia"));
    let says = if named { "names the nvidia runtime" } else { "does not name the nvidia runtime" };
    let configure = "sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl restart docker";
    Some(Proof::new(!named).seen_at("file", config, says).healed_by([Remedy::command(configure)]))
}

fn driver_in_image(case: &Case<'_>) -> Option<Proof> {
    case.driver.surroundings.container?;
    let own = case.inventory.libraries.iter().filter(|library| library.row.is_driver());
    let packages: BTreeMap<&str, &Path> = own
        .filter_map(|library| match &library.owner {
            Owner::Dpkg { name, .. } => Some((name.as_str(), library.path.as_path())),
            _ => None,
        })
        .collect();
    let first = packages.keys().next()?;
    let found = packages.iter().fold(Proof::new(true), |found, (name, path)| {
        found.seen_at("file", path, format!("is of the package `{name}` of this image"))
    });
    let names: Vec<&str> = std::iter::once(*first).chain(packages.keys().skip(1).copied()).collect();
    let line = format!("in the Dockerfile: `RUN apt-get purge -y {} && apt-get autoremove -y`", names.join(" "));
    Some(found.healed_by([Remedy::action(line)]))
}

fn fabric_manager(case: &Case<'_>) -> Option<Proof> {
    let there = |path: &&str| case.host.stat(Path::new(path)).is_ok();
    let switch = ["/dev/nvidia-nvswitchctl", "/proc/driver/nvidia-nvswitch"].into_iter().find(|path| there(path))?;
    let found = Proof::new(true).seen_at("device", Path::new(switch), "this machine has an NVSwitch");
    let manager = ["/usr/bin/nv-fabricmanager", "/opt/nvidia/fabricmanager/bin/nv-fabricmanager"];
    Some(match manager.iter().find(|path| there(path)) {
        Some(path) => found.seen_at("file", Path::new(path), "is installed: does it run?"),
        None => found.seen("rule", "`nv-fabricmanager` is not installed here"),
    })
}

/// Packages of RAPIDS: all must be of one release.
const RAPIDS: [&str; 16] = [
    "cudf",
    "libcudf",
    "pylibcudf",
    "rmm",
    "librmm",
    "libkvikio",
    "kvikio",
    "cuml",
    "libcuml",
    "cugraph",
    "libcugraph",
    "raft-dask",
    "pylibraft",
    "libraft",
    "cuvs",
    "libcuvs",
];

fn other_release(case: &Case<'_>) -> Option<Proof> {
    let mut releases: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in case.installed {
        let plain = package.name.rsplit_once("-cu").map_or(package.name.as_str(), |(plain, _)| plain);
        let release = package.version.match_indices('.').nth(1).and_then(|(at, _)| package.version.get(..at));
        if let Some(release) = release.filter(|_| RAPIDS.contains(&plain)) {
            releases.entry(release).or_default().push(&package.name);
        }
    }
    let newest = *releases.keys().max_by_key(|release| Version::parse(release))?;
    if releases.len() < 2 {
        return Some(Proof::new(false).seen("version", format!("all packages of RAPIDS here are of {newest}")));
    }
    let says = |(release, names): (&&str, &Vec<&str>)| format!("{release}: {}", names.join(", "));
    let found = releases.iter().map(says).fold(Proof::new(true), |found, says| found.seen("version", says));
    let others = releases.iter().filter(|(release, _)| **release != newest).flat_map(|(_, names)| names);
    let specs: Vec<String> = others.map(|name| format!("'{name}=={newest}.*'")).collect();
    Some(found.healed_by([case.pip(&format!("install {}", specs.join(" ")))]))
}

fn jax_plugin(case: &Case<'_>) -> Option<Proof> {
    let jaxlib = case.has_package("jaxlib")?;
    let own = case.installed.iter().filter(|package| package.name.starts_with("jax-cuda"));
    let others: Vec<_> = own.filter(|package| package.version != jaxlib.version).collect();
    let found = Proof::new(!others.is_empty()).seen_at("version", &jaxlib.dir, format!("jaxlib {}", jaxlib.version));
    let found = others.iter().fold(found, |found, package| {
        found.seen_at("version", &package.dir, format!("{} {}", package.name, package.version))
    });
    let specs: Vec<String> = others.iter().map(|package| format!("{}=={}", package.name, jaxlib.version)).collect();
    let line = (!specs.is_empty()).then(|| case.pip(&format!("install {}", specs.join(" "))));
    Some(found.healed_by(line))
}

/// The wheel that JAX's plugin requires for the library that it could not load, if it is not installed.
fn jax_wheel(case: &Case<'_>, message: &Message) -> Option<Proof> {
    let name = message.name("name")?.to_ascii_lowercase();
    let row = families().iter().find(|row| row.family == name)?;
    let plugin = case.installed.iter().find(|it| it.name.starts_with("jax-cuda") && it.name.ends_with("-plugin"))?;
    let required = requirements(case.host, plugin, &["with-cuda", "with_cuda"]);
    let mut wheels = [12, 13].into_iter().flat_map(|major| row.wheel_names(major));
    let (wheel, range) = wheels.find_map(|wheel| required.get_key_value(&wheel))?;
    if case.has_package(wheel).is_some() {
        return None;
    }
    let to_install = PackageSpec::within(wheel, range.as_ref());
    let says = format!("{} {} requires `{}`, and it is not installed", plugin.name, plugin.version, to_install.spec);
    Some(Proof::new(true).seen_at("version", &plugin.dir, says).healed_by(case.install(&[to_install], false)))
}

#[cfg(test)]
mod tests {
    use super::Proof;

    #[test]
    fn evidence_keeps_its_order() {
        let proof = Proof::new(true).seen("rule", "one").seen_at("file", std::path::Path::new("/x"), "two");
        let finding = proof.add_to(crate::diagnose::Finding::of("no-nvcc", None).unwrap());
        let says: Vec<_> = finding.evidence.iter().map(|seen| seen.says.as_str()).collect();
        assert_eq!(says, ["one", "two"]);
    }
}
