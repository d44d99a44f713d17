//! Whom the copies of a machine belong to, how they are reached, and what is wrong among them.

use crate::support::*;
use cudashim::internal::inventory::places;
use cudashim::internal::inventory::{OwnerKind, Owners, Reach, Verified, problems, reach};
use cudashim::internal::loader::{Loader, Objects};
use cudashim::{Inventory, Library};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// The inventory of a whole machine.
struct Seen {
    libraries: Vec<Library>,
    reached: BTreeMap<String, Vec<Reach>>,
    problems: Vec<(String, String, String)>,
    verified: BTreeMap<String, Verified>,
}

impl Seen {
    fn library(&self, path: &str) -> &Library {
        let found = self.libraries.iter().find(|library| library.path == Path::new(path));
        found.unwrap_or_else(|| panic!("{path} in {:?}", self.reached.keys()))
    }

    fn owner(&self, path: &str) -> (OwnerKind, Option<&str>, Option<&str>) {
        let owner = &self.library(path).owner;
        (owner.kind(), owner.name(), owner.version())
    }

    fn ids(&self) -> Vec<(&str, &str)> {
        self.problems.iter().map(|(id, path, _)| (id.as_str(), path.as_str())).collect()
    }

    fn says(&self, id: &str) -> Vec<&str> {
        self.problems.iter().filter(|(found, ..)| found == id).map(|(.., says)| says.as_str()).collect()
    }
}

/// Scans the world as a machine: its places and the virtual environments and directories `given`.
fn look(world: &Machine, given: &[&str], env: &[(&str, &str)], cwd: &str) -> Seen {
    let host = world.host_with(env, cwd);
    let objects = Objects::new(&host);
    let loader = Loader::new(&objects);
    let mut dirs: Vec<_> = given.iter().flat_map(|dir| places::given(&host, Path::new(dir))).collect();
    dirs.extend(places::machine(&host, &loader));
    let inventory = Inventory::scan(&objects, dirs);
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let reached = reach(&inventory, &loader);
    assert_eq!(reached.len(), inventory.libraries.len());
    let paths = inventory.libraries.iter().map(|library| text(&library.path));
    let reached = paths.zip(reached).collect();
    let problems = problems(&inventory, &loader);
    let problems = problems.into_iter().map(|problem| (problem.id.to_owned(), text(&problem.path), problem.says));
    let mut owners = Owners::default();
    let libraries = inventory.libraries.clone();
    let verified = libraries.iter().map(|library| (text(&library.path), owners.verify(&host, library)));
    Seen { verified: verified.collect(), problems: problems.collect(), reached, libraries }
}

/// A library at a path of the world; `mark` makes its bytes differ from others of its soname.
fn build(world: &Machine, path: &str, soname: &str, mark: &str) {
    // A node's name is an identifier; the driver has no nodes anyway.
    let library = Lib::new(soname).defines(&[mark]);
    let library = if soname.contains('-') { library.unversioned() } else { library };
    library.build(&world.path(path));
}

/// A library under its whole name, and a link of its soname, as toolkits and distributions have them.
fn release(world: &Machine, dir: &str, soname: &str, digits: &str) {
    let stem = soname.split(".so").next().unwrap();
    let file = format!("{stem}.so.{digits}");
    build(world, &format!("{dir}/{file}"), soname, &format!("of_{}", digits.replace('.', "_")));
    let link = world.path(dir).join(soname);
    let _ = fs::remove_file(&link);
    symlink(file, link).unwrap();
}

const CUDNN: [&str; 8] =
    ["", "_adv", "_cnn", "_engines_precompiled", "_engines_runtime_compiled", "_graph", "_heuristic", "_ops"];

/// A whole environment: cuBLAS and cuDNN of one release each.
fn whole(venv: &Venv, cublas: &str, cudnn: &str) {
    let lib = |soname: String, mark: &str| {
        Lib::new(&soname).defines(&[&format!("v{}", mark.replace('.', "_"))]).link("-rpath,$ORIGIN")
    };
    let names = ["libcublas.so.12", "libcublasLt.so.12", "libnvblas.so.12"];
    let paths = names.map(|name| (format!("nvidia/cublas/lib/{name}"), lib(name.into(), cublas)));
    venv.wheel("nvidia-cublas-cu12", cublas, &paths);
    let names = CUDNN.map(|part| format!("libcudnn{part}.so.9"));
    let paths = names.map(|name| (format!("nvidia/cudnn/lib/{name}"), lib(name, cudnn)));
    venv.wheel("nvidia-cudnn-cu12", cudnn, &paths);
}

#[test]
fn inventory_owner_of_each_file() {
    let (world, venv) = Machine::with_venv();
    venv.nvidia("nccl", "2.27.3", Lib::new("libnccl.so.2").unversioned());
    // A bundle's record is read only for what no wheel of the library's own lists.
    let bundled = "ctranslate2.libs/libcudnn-74a4c495.so.9.1.0";
    venv.wheel("ctranslate2", "4.5.0", &[(bundled, Lib::new("libcudnn-74a4c495.so.9.1.0").unversioned())]);

    release(&world, "opt/conda/lib", "libcudart.so.12", "12.4.127");
    build(&world, "opt/conda/lib/libnvrtc.so.12", "libnvrtc.so.12", "nvrtc");
    world.write("opt/conda/conda-meta/cuda-cudart-12.4.127-h99ab3db_0.json",
        r#"{"name": "cuda-cudart", "version": "12.4.127", "files": ["lib/libcudart.so.12", "lib/libcudart.so.12.4.127"]}"#,
    );
    world.write("opt/conda/conda-meta/cuda-damaged-1-0.json", "{");

    let debian = &format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    symlink("usr/lib", world.path("lib")).unwrap();
    release(&world, debian, "libcublas.so.12", "12.2.5.6");
    release(&world, debian, "libnvidia-ml.so.1", "535.183.01");
    release(&world, debian, "libcuda.so.1", "550.54.15");
    // Listed with and without /usr, as packages older than the merge do.
    world.write("var/lib/dpkg/info/libcublas12:amd64.list", format!("/.\n/{debian}/libcublas.so.12.2.5.6\n"));
    world.write(
        "var/lib/dpkg/info/libnvidia-ml1:amd64.list",
        format!("/lib/{}-linux-gnu/libnvidia-ml.so.535.183.01\n", std::env::consts::ARCH),
    );
    let stanza = |name: &str, version: &str| {
        format!("Package: {name}\nStatus: install ok installed\nArchitecture: amd64\nVersion: {version}\n\n")
    };
    world.write("var/lib/dpkg/status", stanza("libcublas12", "12.2.5.6~12.2.2-1"));

    release(&world, "usr/local/cuda-12.4/targets/x86_64-linux/lib", "libcufft.so.11", "11.2.1.3");
    world.write("usr/local/cuda-12.4/version.json", r#"{"cuda": {"version": "12.4.1"}}"#);
    release(&world, "usr/lib/ollama/cuda_v12", "libcudart.so.12", "12.8.90");
    build(&world, "home/me/libcudart.so.12", "libcudart.so.12", "mine");

    let here = "/usr/lib/ollama/cuda_v12";
    // ld.so's own list has `/lib` first.
    let found = format!("lib/{}-linux-gnu", std::env::consts::ARCH);
    let env = [("LD_LIBRARY_PATH", "/opt/conda/lib:/usr/lib/ollama/cuda_v12:/home/me"), ("PATH", "/bin")];
    let seen = look(&world, &["/venv"], &env, "/");
    for (path, owner) in [
        (format!("{SITE}/nvidia/nccl/lib/libnccl.so.2"), (OwnerKind::Wheel, Some("nvidia-nccl-cu12"), Some("2.27.3"))),
        (format!("{SITE}/{bundled}"), (OwnerKind::Wheel, Some("ctranslate2"), Some("4.5.0"))),
        ("/opt/conda/lib/libcudart.so.12".into(), (OwnerKind::Conda, Some("cuda-cudart"), Some("12.4.127"))),
        ("/opt/conda/lib/libnvrtc.so.12".into(), (OwnerKind::Conda, None, None)),
        (format!("/{found}/libcublas.so.12"), (OwnerKind::Dpkg, Some("libcublas12"), Some("12.2.5.6~12.2.2-1"))),
        // No stanza: the name is known all the same.
        (format!("/{found}/libnvidia-ml.so.1"), (OwnerKind::Dpkg, Some("libnvidia-ml1"), None)),
        (format!("/{found}/libcuda.so.1"), (OwnerKind::Driver, None, None)),
        (
            "/usr/local/cuda-12.4/targets/x86_64-linux/lib/libcufft.so.11".into(),
            (OwnerKind::Toolkit, None, Some("12.4.1")),
        ),
        (format!("{here}/libcudart.so.12"), (OwnerKind::Application, Some("ollama"), None)),
        ("/home/me/libcudart.so.12".into(), (OwnerKind::None, None, None)),
    ] {
        assert_eq!(seen.owner(&path), owner, "{path}");
    }
    // What a bundle calls itself is not the release of what it bundles.
    let version = seen.library(&format!("{SITE}/{bundled}")).version.as_ref().map(ToString::to_string);
    assert_ne!(version.as_deref(), Some("4.5.0"));
}

#[test]
fn inventory_verify_compares_every_record() {
    let (world, venv) = Machine::with_venv();
    // "hello" in URL-safe base64, hex and MD5; what is in the file is nothing to a digest.
    let hello = "sha256=LPJNul-wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ";
    let other = "sha256=AAAAul-wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ";
    let wheels = [
        ("nvidia_cublas_cu12-12.4.5.8", hello, "nvidia/cublas/lib/libcublas.so.12"),
        ("nvidia_nccl_cu13-2.30.7", other, "nvidia/nccl/lib/libnccl.so.2"),
        ("nvidia_cufft_cu12-11.2.1.3", other, "nvidia/cufft/lib/libcufft.so.11"),
        ("torch-2.5.1", hello, "torch/lib/libcusparseLt-294d6944.so.0"),
    ];
    let site = SITE.trim_start_matches('/');
    for (wheel, digest, path) in wheels {
        world.write(&format!("{site}/{path}"), "hello");
        world.write(&format!("{site}/{wheel}.dist-info/RECORD"), format!("{path},{digest},5\n"));
    }
    // Of the same size as its rival's: only the digest differs.
    world.write(
        &format!("{site}/nvidia_nccl_cu12-2.27.3.dist-info/RECORD"),
        format!("nvidia/nccl/lib/libnccl.so.2,{hello},5\n"),
    );
    world.write(&format!("{site}/nvidia/curand/lib/libcurand.so.10"), "hello");
    assert_eq!(venv.site, world.path(site));

    world.write("opt/conda/lib/libnvrtc.so.12", "hello");
    world.write(
        "opt/conda/conda-meta/cuda-nvrtc-12.4.127-0.json",
        r#"{"name": "cuda-nvrtc", "version": "12.4.127", "paths_data": {"paths": [{"_path": "lib/libnvrtc.so.12",
            "sha256": "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"}]}}"#,
    );
    for (name, digest) in
        [("libcudart12", "5d41402abc4b2a76b9719d911017c592"), ("libnppc12", "00000000000000000000000000000000")]
    {
        let file = format!("{}.so.12", name.trim_end_matches("12"));
        world.write(&format!("usr/lib/{file}"), "hello");
        world.write(&format!("var/lib/dpkg/info/{name}:amd64.list"), format!("/usr/lib/{file}\n"));
        world.write(&format!("var/lib/dpkg/info/{name}:amd64.md5sums"), format!("{digest}  usr/lib/{file}\n"));
    }

    let seen = look(&world, &["/venv", "/opt/conda"], &[], "/");
    let verified = |path: &str| seen.verified.get(path).unwrap_or_else(|| panic!("{path} in {:?}", seen.verified));
    assert_eq!(*verified(&format!("{SITE}/nvidia/cublas/lib/libcublas.so.12")), Verified::Intact);
    assert_eq!(*verified(&format!("{SITE}/nvidia/cufft/lib/libcufft.so.11")), Verified::Altered);
    assert_eq!(*verified(&format!("{SITE}/torch/lib/libcusparseLt-294d6944.so.0")), Verified::Intact);
    assert_eq!(*verified(&format!("{SITE}/nvidia/curand/lib/libcurand.so.10")), Verified::Unknown);
    assert_eq!(*verified("/opt/conda/lib/libnvrtc.so.12"), Verified::Intact);
    assert_eq!(*verified("/usr/lib/libcudart.so.12"), Verified::Intact);
    assert_eq!(*verified("/usr/lib/libnppc.so.12"), Verified::Altered);
    // The first of the two by name is taken for the owner, and has the bytes.
    let nccl = format!("{SITE}/nvidia/nccl/lib/libnccl.so.2");
    assert_eq!((seen.owner(&nccl).1, verified(&nccl)), (Some("nvidia-nccl-cu12"), &Verified::Intact));
    // With unrecorded bytes, then with those of the other package.
    world.write(&nccl, "other");
    assert_eq!(look(&world, &["/venv"], &[], "/").verified[&nccl], Verified::Altered);
    let record = format!("{site}/nvidia_nccl_cu12-2.27.3.dist-info/RECORD");
    world.write(&record, format!("nvidia/nccl/lib/libnccl.so.2,{other},5\n"));
    world.write(
        &format!("{site}/nvidia_nccl_cu13-2.30.7.dist-info/RECORD"),
        format!("nvidia/nccl/lib/libnccl.so.2,{hello},5\n"),
    );
    world.write(&nccl, "hello");
    let Verified::WrittenBy(writer) = &look(&world, &["/venv"], &[], "/").verified[&nccl] else { panic!() };
    assert_eq!(writer.to_string(), "nvidia-nccl-cu13 2.30.7");
}

#[test]
fn inventory_reach_of_each_copy() {
    let world = Machine::new();
    build(&world, "a/libcudart.so.12", "libcudart.so.12", "a");
    build(&world, "b/libcudart.so.12", "libcudart.so.12", "b");
    build(&world, "b/libnccl.so.2", "libnccl.so.2", "nccl");
    build(&world, "usr/lib/libcufft.so.11", "libcufft.so.11", "fft");
    build(&world, "opt/x/libcusolver.so.11", "libcusolver.so.11", "solver");
    world.ld_so_cache(&[("libcusolver.so.11", "/opt/x/libcusolver.so.11"), ("libc.so.6", "/usr/lib/libc.so.6")]);
    let asks = Lib::new("libcusparse.so.12").uses("libnvJitLink.so.12", &["make"]);
    asks.clone().link("-rpath,$ORIGIN/../jit").build(&world.path("w/sparse/libcusparse.so.12"));
    build(&world, "w/jit/libnvJitLink.so.12", "libnvJitLink.so.12", "make");
    // In the same directory, and in no run path.
    build(&world, "w/jit/libcurand.so.10", "libcurand.so.10", "rand");

    let given = ["/w/sparse", "/w/jit"];
    let seen = look(&world, &given, &[("LD_LIBRARY_PATH", "/a:/gone:")], "/b");
    let by = |path: &str| seen.reached.get(path).unwrap_or_else(|| panic!("{path} in {:?}", seen.reached)).as_slice();
    assert_eq!(by("/a/libcudart.so.12"), [Reach::LibraryPath { element: 0, current_directory: false }]);
    assert_eq!(by("/b/libcudart.so.12"), [], "the other comes first");
    assert_eq!(by("/b/libnccl.so.2"), [Reach::LibraryPath { element: 2, current_directory: true }]);
    assert_eq!(by("/usr/lib/libcufft.so.11"), [Reach::Default]);
    assert_eq!(by("/opt/x/libcusolver.so.11"), [Reach::Cache]);
    let [Reach::RunPath { of, .. }] = by("/w/jit/libnvJitLink.so.12") else { panic!("{:?}", seen.reached) };
    assert_eq!(of, Path::new("/w/sparse/libcusparse.so.12"));
    assert_eq!((by("/w/jit/libcurand.so.10"), by("/w/sparse/libcusparse.so.12")), (&[][..], &[][..]));

    assert_eq!(seen.ids(), [("current-directory-on-path", "/b"), ("duplicate-soname", "/b/libcudart.so.12")]);
    assert!(seen.says("duplicate-soname")[0].contains("`/a/libcudart.so.12`"), "{:?}", seen.problems);
    // From elsewhere the same path is no trouble.
    assert_eq!(look(&world, &given, &[("LD_LIBRARY_PATH", "/a:/gone:")], "/w").ids(), []);
}

#[test]
fn inventory_whole_environments_have_no_problem() {
    let world = Machine::new();
    whole(&world.venv("venv"), "12.4.5.8", "9.1.0.70");
    whole(&world.venv("other"), "12.8.4.1", "9.10.2.21");
    release(&world, "usr/local/cuda-12.4/lib64", "libcudart.so.12", "12.4.127");
    let libs = format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    release(&world, &libs, "libcuda.so.1", "550.54.15");
    release(&world, &libs, "libnvidia-ml.so.1", "550.54.15");
    world.write("sys/module/nvidia/version", "550.54.15\n");
    // A toolkit's directory under a second name, a stub in no search path, a hard link: no further copies.
    symlink("cuda-12.4", world.path("usr/local/cuda")).unwrap();
    build(&world, "usr/local/cuda-12.4/lib64/stubs/libcuda.so", "libcuda.so.1", "stub");
    world.mkdir("links");
    fs::hard_link(world.path("usr/local/cuda/lib64/libcudart.so.12.4.127"), world.path("links/libcudart.so.12"))
        .unwrap();
    release(&world, "usr/local/cuda-12.4/extras/CUPTI/lib64", "libcupti.so.12", "2024.1.1");
    let env = [("LD_LIBRARY_PATH", "/usr/local/cuda/lib64:/usr/local/cuda-12.4/lib64:/links")];
    let seen = look(&world, &["/venv", "/other"], &env, "/usr/local/cuda/lib64");
    assert_eq!(seen.ids(), [], "{:?}", seen.problems);
    assert!(seen.libraries.len() > 20);
}

#[test]
fn inventory_mismatched_groups() {
    let world = Machine::new();
    let toolkit = "usr/local/cuda-12.4/lib64";
    release(&world, toolkit, "libcublas.so.12", "12.4.5.8");
    release(&world, toolkit, "libcublasLt.so.12", "12.1.3.1");
    release(&world, toolkit, "libnvrtc.so.12", "12.4.127");
    build(&world, &format!("{toolkit}/libnvrtc-builtins.so.12.1"), "libnvrtc-builtins.so.12.1", "builtins");
    // Two majors side by side, each whole, are no problem.
    release(&world, toolkit, "libcublas.so.11", "11.8.1.74");
    release(&world, toolkit, "libcublasLt.so.11", "11.8.1.74");
    let seen = look(&world, &[], &[], "/");
    assert_eq!(
        seen.ids(),
        [
            ("cublas-silent-mix", "/usr/local/cuda-12.4/lib64/libcublasLt.so.12"),
            ("nvrtc-builtins-missing", "/usr/local/cuda-12.4/lib64/libnvrtc.so.12")
        ]
    );
    assert_eq!(seen.says("cublas-silent-mix"), ["of 12.1.3.1, but `libcublas.so.12` beside it is of 12.4.5.8"]);

    let world = Machine::new();
    let cublas = Lib::new("libcublas.so.12").uses("libcublasLt.so.12", &["lt"]);
    cublas.build(&world.path("usr/lib/libcublas.so.12.4.5.8"));
    symlink("libcublas.so.12.4.5.8", world.path("usr/lib/libcublas.so.12")).unwrap();
    release(&world, "usr/lib", "libcublasLt.so.12", "12.4.5.8");
    release(&world, "old", "libcublasLt.so.12", "12.1.3.1");
    assert_eq!(look(&world, &["/old"], &[], "/").ids(), []);
    let seen = look(&world, &[], &[("LD_LIBRARY_PATH", "/old")], "/");
    assert_eq!(seen.ids(), [("cublas-silent-mix", "/usr/lib/libcublas.so.12")]);
    assert!(seen.says("cublas-silent-mix")[0].contains("`/old/libcublasLt.so.12` of 12.1.3.1"), "{:?}", seen.problems);

    // An environment that is whole and finds its own by DT_RUNPATH, which LD_LIBRARY_PATH comes before.
    let world = Machine::new();
    whole(&world.venv("venv"), "12.4.5.8", "9.1.0.70");
    for part in CUDNN {
        release(&world, "newer", &format!("libcudnn{part}.so.9"), "9.10.2");
    }
    assert_eq!(look(&world, &["/venv", "/newer"], &[], "/").ids(), []);
    let seen = look(&world, &["/venv"], &[("LD_LIBRARY_PATH", "/newer")], "/");
    assert_eq!(seen.ids(), [("cudnn9-torn-set", &*format!("{SITE}/nvidia/cudnn/lib/libcudnn.so.9"))]);
    assert!(seen.says("cudnn9-torn-set")[0].ends_with("of 9.10.2: LD_LIBRARY_PATH"), "{:?}", seen.problems);
    // A dispatcher with a DT_RPATH maps its own parts first.
    let guarded = Lib::new("libcudnn.so.9").defines(&["v9_1_0_70"]).link("-rpath,$ORIGIN").link("--disable-new-dtags");
    guarded.build(&world.path(&format!("{}/nvidia/cudnn/lib/libcudnn.so.9", SITE.trim_start_matches('/'))));
    let seen = look(&world, &["/venv"], &[("LD_LIBRARY_PATH", "/newer")], "/");
    assert!(seen.says("cudnn9-torn-set").is_empty(), "{:?}", seen.problems);
}

#[test]
fn inventory_cudnn_without_parts() {
    let world = Machine::new();
    let dispatcher = "ctranslate2.libs/libcudnn-74a4c495.so.9.1.0";
    world.venv("venv").wheel(
        "ctranslate2",
        "4.5.0",
        &[(dispatcher, Lib::new("libcudnn-74a4c495.so.9.1.0").unversioned())],
    );
    let path = format!("{SITE}/{dispatcher}");
    let seen = look(&world, &["/venv"], &[], "/");
    assert_eq!(seen.ids(), [("cudnn9-sublib-not-found", path.as_str())]);
    assert!(
        seen.says("cudnn9-sublib-not-found")[0].starts_with("`libcudnn_adv.so.9` and 6 more parts are not"),
        "{:?}",
        seen.problems
    );

    // With the same release on the path all is well; with another, the set is mixed.
    for (dir, digits, expected) in
        [("same", "9.1.0", &[][..]), ("newer", "9.10.2", &[("cudnn9-sublib-not-found", path.as_str())])]
    {
        for part in CUDNN.iter().filter(|part| !part.is_empty()) {
            release(&world, dir, &format!("libcudnn{part}.so.9"), digits);
        }
        let seen = look(&world, &["/venv"], &[("LD_LIBRARY_PATH", &format!("/{dir}"))], "/");
        let ids: Vec<_> = seen.ids().into_iter().filter(|(_, at)| at.starts_with("/venv")).collect();
        assert_eq!(ids, expected, "{:?}", seen.problems);
    }

    // One part of eight in a directory of the search path: its own siblings are not found.
    let world = Machine::new();
    release(&world, "lone", "libcudnn_cnn.so.9", "9.10.2");
    let seen = look(&world, &[], &[("LD_LIBRARY_PATH", "/lone")], "/");
    assert_eq!(seen.ids(), [("cudnn9-sublib-not-found", "/lone/libcudnn_cnn.so.9")]);
}

#[test]
fn inventory_stubs_drivers_stacks_and_names() {
    let world = Machine::new();
    build(&world, "usr/local/cuda/lib64/stubs/libcuda.so", "libcuda.so.1", "stub");
    symlink("usr/local/cuda/lib64/stubs", world.path("innocent")).unwrap();
    let libs = &format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    release(&world, libs, "libcuda.so.1", "550.144.03");
    release(&world, libs, "libnvidia-ml.so.1", "550.144.03");
    release(&world, "usr/local/cuda/compat", "libcuda.so.1", "580.65.06");
    world.write("proc/driver/nvidia/version", "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.120  Fri\n");
    Lib::new("libnppc.so.12").link("-z,execstack").build(&world.path("usr/lib/libnppc.so.12"));
    build(&world, "hack/libcublasLt.so.11", "libcublasLt.so.12", "lt");
    build(&world, "hack/libcudart.so.12", "libcudart.so.12", "rt");
    symlink("libcudart.so.12", world.path("hack/libcudart.so.13")).unwrap();
    build(&world, "hack/libnccl.so.2", "libcufft.so.11", "fft");
    world.write("hack/libcurand.so.10", "version https://git-lfs.github.com/spec/v1\n");
    symlink("nowhere", world.path("hack/libcupti.so.12")).unwrap();
    // torch renames what it bundles, and leaves the soname as it was.
    build(&world, "hack/libcudart-e409450e.so.11.0", "libcudart.so.11.0", "renamed");

    let seen = look(&world, &["/hack"], &[("LD_LIBRARY_PATH", "/innocent")], "/");
    assert_eq!(
        seen.ids(),
        [
            ("major-symlink-hack", "/hack/libcublasLt.so.11"),
            ("major-symlink-hack", "/hack/libcudart.so.13"),
            ("dangling-link", "/hack/libcupti.so.12"),
            ("truncated-or-foreign-elf", "/hack/libcurand.so.10"),
            ("soname-differs", "/hack/libnccl.so.2"),
            ("stub-libcuda", "/innocent/libcuda.so"),
            ("executable-stack", "/usr/lib/libnppc.so.12"),
            ("nvml-kernel-user-mismatch", &format!("/{libs}/libcuda.so.1")),
        ]
    );
    assert_eq!(seen.says("nvml-kernel-user-mismatch"), ["of 550.144.03, but the loaded kernel module is of 550.120"]);
    // The compatibility package may be newer than the module.
    let seen = look(&world, &[], &[("LD_LIBRARY_PATH", "/usr/local/cuda/compat")], "/");
    assert!(!seen.ids().iter().any(|(id, path)| *id == "nvml-kernel-user-mismatch" && path.contains("compat")));
}

#[test]
fn inventory_two_wheels_at_one_path() {
    let (world, venv) = Machine::with_venv();
    let path = "nvidia/nccl/lib/libnccl.so.2";
    venv.wheel(
        "nvidia-nccl-cu13",
        "2.30.7",
        &[(path, Lib::new("libnccl.so.2").unversioned().defines(&["ncclCommShrink", "new"]))],
    );
    let large = fs::metadata(venv.site.join(path)).unwrap().len();
    venv.wheel("nvidia-nccl-cu12", "2.27.3", &[(path, Lib::new("libnccl.so.2").unversioned())]);
    assert_ne!(large, fs::metadata(venv.site.join(path)).unwrap().len());
    let full: PathBuf = Path::new(SITE).join(path);
    let full = full.to_str().unwrap();
    let seen = look(&world, &["/venv"], &[], "/");
    assert_eq!(seen.owner(full), (OwnerKind::Wheel, Some("nvidia-nccl-cu12"), Some("2.27.3")));
    assert_eq!(seen.ids(), [("pip-cu12-cu13-overwrite", full)]);
    assert_eq!(
        seen.says("pip-cu12-cu13-overwrite"),
        ["of the size nvidia-nccl-cu12 2.27.3 recorded; nvidia-nccl-cu13 2.30.7 recorded another file at this path"]
    );
    // A record that the file outgrew, without a second wheel.
    fs::remove_dir_all(venv.site.join("nvidia_nccl_cu13-2.30.7.dist-info")).unwrap();
    let mut bytes = fs::read(venv.site.join(path)).unwrap();
    bytes.push(0);
    fs::write(venv.site.join(path), bytes).unwrap();
    assert_eq!(look(&world, &["/venv"], &[], "/").ids(), [("altered-file", full)]);
}
