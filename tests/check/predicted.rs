//! Predictions, held against the real loader.

use super::{ids, object};
use crate::support::*;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The result of dlopen of a file in a process of the stand-in for Python.
fn really(venv: &Venv, library_path: &str, file: &Path) -> String {
    let mut command = Command::new(venv.python());
    let output = command.env_clear().env("LD_LIBRARY_PATH", library_path).arg("--load").arg(file).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// The report of `check`.
fn check(world: &Machine, library_path: &str, file: &Path) -> (i32, Value) {
    let mut command = world.cudashim(["check", "--python", "venv"]);
    command.arg(file).env("LD_LIBRARY_PATH", library_path);
    answer(&mut command, "check.json")
}

/// The prediction must be the truth; gives both.
fn agreed(world: &Machine, venv: &Venv, library_path: &str, file: &Path) -> (Value, String) {
    let truth = really(venv, library_path, file);
    let (code, value) = check(world, library_path, file);
    if truth == "ok" {
        assert_ne!(value["verdict"], "fails", "{value:#}");
    } else {
        assert_eq!((code, value["verdict"].as_str()), (1, Some("fails")), "{truth}\n{value:#}");
        assert_eq!(value["error"], truth.as_str());
    }
    (value, truth)
}

/// cuSPARSE that needs a newer nvJitLink, which its run path has; an older one elsewhere.
fn two_nvjitlinks() -> (Machine, Venv, PathBuf) {
    let (world, venv) = Machine::with_venv();
    let sparse = Lib::new("libcusparse.so.12").defines(&["cusparseCreate"]);
    let sparse =
        sparse.uses("libnvJitLink.so.12", &["__nvJitLinkCreate_12_4"]).link("-rpath,$ORIGIN/../../nvjitlink/lib");
    let new = Lib::new("libnvJitLink.so.12").defines(&["__nvJitLinkCreate_12_1", "__nvJitLinkCreate_12_4"]);
    venv.nvidia("cusparse", "12.3.1.170", sparse);
    venv.nvidia("nvjitlink", "12.4.127", new);
    Lib::new("libnvJitLink.so.12").defines(&["__nvJitLinkCreate_12_1"]).build(&world.path("old/libnvJitLink.so.12"));
    let file = venv.site.join("nvidia/cusparse/lib/libcusparse.so.12");
    (world, venv, file)
}

#[test]
fn check_predicts_an_older_copy_on_ld_library_path() {
    let (world, venv, file) = two_nvjitlinks();
    let (value, _) = agreed(&world, &venv, "", &file);
    assert_eq!((value["verdict"].as_str(), ids(&value)), (Some("loads"), vec![]));
    assert_eq!(object(&value, "libnvJitLink.so.12")["rule"], "runpath");
    assert_eq!(object(&value, "libnvJitLink.so.12")["version"], "12.4.127");

    let old = world.path("old").display().to_string();
    let (value, truth) = agreed(&world, &venv, &old, &file);
    assert!(truth.contains("undefined symbol: __nvJitLinkCreate_12_4, version libnvJitLink.so.12"), "{truth}");
    assert_eq!(ids(&value), ["nvjitlink-older-wins"]);
    assert_eq!(value["findings"][0]["path"], format!("{old}/libnvJitLink.so.12"));
    assert!(value["findings"][0]["says"].as_str().unwrap().contains("(LD_LIBRARY_PATH)"));
    let missing = &value["missing"][0];
    assert_eq!((missing["symbol"].as_str(), missing["later"].as_bool()), (Some("__nvJitLinkCreate_12_4"), Some(false)));
    assert_eq!(object(&value, "libnvJitLink.so.12")["rule"], "ld_library_path");
    // Without symbols the file is found as well, and its undefined symbols are not reported.
    let mut quick = world.cudashim(["check", "--python", "venv", "--no-symbols"]);
    let (code, value) = answer(quick.arg(&file).env("LD_LIBRARY_PATH", &old), "check.json");
    assert_eq!((code, value["verdict"].as_str()), (0, Some("loads")));
}

#[test]
fn check_predicts_missing_damaged_and_foreign_majors() {
    let (world, venv, file) = two_nvjitlinks();
    let wheel = venv.site.join("nvidia/nvjitlink/lib/libnvJitLink.so.12");
    // The search ends at a damaged file.
    world.write("cut/libnvJitLink.so.12", &fs::read(&wheel).unwrap()[..30]);
    let (value, truth) = agreed(&world, &venv, &world.path("cut").display().to_string(), &file);
    assert!(truth.ends_with("file too short"), "{truth}");
    assert_eq!(ids(&value), ["truncated-or-foreign-elf"]);
    world.write("cut/libnvJitLink.so.12", "version https://git-lfs.github.com/spec/v1\n".repeat(40));
    let (value, truth) = agreed(&world, &venv, &world.path("cut").display().to_string(), &file);
    assert!(truth.ends_with("invalid ELF header"), "{truth}");
    assert_eq!(ids(&value), ["truncated-or-foreign-elf"]);
    // One major under the name of another lacks its node.
    world.mkdir("hack");
    Lib::new("libnvJitLink.so.13").defines(&["__nvJitLinkCreate_13_0"]).build(&world.path("hack/libnvJitLink.so.12"));
    let (value, truth) = agreed(&world, &venv, &world.path("hack").display().to_string(), &file);
    assert!(truth.contains("version `libnvJitLink.so.12' not found"), "{truth}");
    assert!(ids(&value).contains(&"major-symlink-hack"), "{value:#}");
    assert!(value["missing"].as_array().unwrap().iter().any(|missing| missing["symbol"].is_null()));
    // And in no directory.
    fs::remove_file(&wheel).unwrap();
    let (value, truth) = agreed(&world, &venv, "", &file);
    assert!(truth.contains("libnvJitLink.so.12: cannot open shared object file"), "{truth}");
    assert_eq!(ids(&value), ["library-not-found"]);
    assert_eq!(value["not_found"][0]["name"], "libnvJitLink.so.12");
}

/// cuDNN's dispatcher and parts of it, of one release.
fn cudnn(parts: &[&str]) -> Vec<(String, Lib)> {
    let graph = Lib::new("libcudnn_graph.so.9").defines(&["cudnnBackendFinalize"]);
    let dispatcher = Lib::new("libcudnn.so.9").defines(&["cudnnCreate"]).link("-rpath,$ORIGIN");
    let mut found =
        vec![("libcudnn.so.9".to_owned(), dispatcher.uses("libcudnn_graph.so.9", &["cudnnBackendFinalize"]))];
    found.push(("libcudnn_graph.so.9".to_owned(), graph.link("-rpath,$ORIGIN")));
    found.extend(
        parts
            .iter()
            .map(|part| (format!("lib{part}.so.9"), Lib::new(&format!("lib{part}.so.9")).link("-rpath,$ORIGIN"))),
    );
    found
}

fn install_cudnn(venv: &Venv, version: &str, parts: &[&str]) {
    let files: Vec<(String, Lib)> =
        cudnn(parts).into_iter().map(|(name, lib)| (format!("nvidia/cudnn/lib/{name}"), lib)).collect();
    venv.wheel("nvidia-cudnn-cu12", version, &files);
}

#[test]
fn check_predicts_parts_of_two_releases() {
    let world = Machine::new();
    let (venv, other) = (world.venv("venv"), world.venv("other"));
    install_cudnn(&venv, "9.10.2.21", &CUDNN_PARTS[1..]);
    install_cudnn(&other, "9.1.0.70", &CUDNN_PARTS[1..]);
    let file = venv.site.join("nvidia/cudnn/lib/libcudnn.so.9");
    let (value, _) = agreed(&world, &venv, "", &file);
    assert_eq!((value["verdict"].as_str(), ids(&value)), (Some("loads"), vec![]), "{value:#}");

    let path = other.site.join("nvidia/cudnn/lib").display().to_string();
    let (value, truth) = agreed(&world, &venv, &path, &file);
    assert_eq!((truth.as_str(), value["verdict"].as_str()), ("ok", Some("torn")), "{value:#}");
    assert_eq!(ids(&value), ["cudnn9-torn-set"]);
    assert_eq!(object(&value, "libcudnn_graph.so.9")["phase"], "load");
    assert_eq!(object(&value, "libcudnn_ops.so.9")["phase"], "later");
    assert_eq!(check(&world, &path, &file).0, 1);
}

#[test]
fn check_predicts_missing_parts_that_are_dlopened() {
    let (world, venv) = Machine::with_venv();
    install_cudnn(&venv, "9.10.2.21", &CUDNN_PARTS[3..]);
    let (value, truth) = agreed(&world, &venv, "", &venv.site.join("nvidia/cudnn/lib/libcudnn.so.9"));
    assert_eq!((truth.as_str(), value["verdict"].as_str()), ("ok", Some("loads")));
    assert_eq!(ids(&value), ["cudnn9-sublib-not-found"]);
    let not_found = value["not_found"].as_array().unwrap().iter().filter(|entry| entry["optional"] == false);
    let names: Vec<&str> = not_found.map(|entry| entry["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["libcudnn_cnn.so.9", "libcudnn_ops.so.9"]);
    // A driver that is not there is no fault.
    assert!(value["not_found"].as_array().unwrap().iter().all(|entry| entry["later"] == true), "{value:#}");
    let mut strict = world.cudashim(["check", "--python", "venv", "--strict"]);
    assert_eq!(answer(strict.arg(venv.site.join("nvidia/cudnn/lib/libcudnn.so.9")), "check.json").0, 1);
}

/// A torch that needs cuSPARSE, in an environment that has it.
fn torch_of(venv: &Venv) {
    let global = Lib::new("libtorch_global_deps.so").unversioned().link("--disable-new-dtags");
    let global = global.uses("libcusparse.so.12", &["cusparseCreate"]).link("-rpath,$ORIGIN/../../nvidia/cusparse/lib");
    let extension = Lib::new("_C.cpython-311-x86_64-linux-gnu.so").unversioned();
    let libraries = [("lib/libtorch_global_deps.so", global), ("_C.cpython-311-x86_64-linux-gnu.so", extension)];
    let pins = ["nvidia-cusparse-cu12 (==12.3.1.170)", "nvidia-nvjitlink-cu12 (==12.4.127)"];
    venv.torch("2.5.1+cu124", Some("12.4"), &pins, &libraries);
}

#[test]
fn check_predicts_torch_before_and_after_the_remedy() {
    let (world, venv, _) = two_nvjitlinks();
    torch_of(&venv);
    let ask = |library_path: &Path| {
        let mut command = world.cudashim(["check", "--python", "venv"]);
        answer(command.env("LD_LIBRARY_PATH", library_path), "check.json")
    };
    let (code, value) = ask(Path::new(""));
    assert_eq!((code, value["verdict"].as_str()), (0, Some("loads")), "{value:#}");
    assert_eq!(object(&value, "libcusparse.so.12")["rule"], "rpath");
    assert_eq!(value["next"].as_array().unwrap().len(), 0);
    let (code, value) = ask(&world.path("old"));
    assert_eq!((code, value["verdict"].as_str()), (1, Some("fails")));
    let next: Vec<&str> = value["next"].as_array().unwrap().iter().filter_map(|line| line.as_str()).collect();
    assert_eq!(next, ["eval \"$(cudashim env --python venv)\""]);
    // The torch opens it itself if its `__init__` does: then the older one comes too late.
    let init = "\ndef _preload_cuda_deps(folder, name):\n    pass\n\n\ndef _load_global_deps():\n    try:\n        pass\n    except OSError as err:\n        cuda_libs = {\"nvjitlink\": \"libnvJitLink.so.*[0-9]\", \"cusparse\": \"libcusparse.so.*[0-9]\"}\n\n\n";
    fs::write(venv.site.join("torch/__init__.py"), init).unwrap();
    world.write("old/libcusparse.so.12", "");
    let (_, value) = ask(&world.path("old"));
    assert_eq!(value["verdict"], "fails", "RPATH has no say in what a table is for");
}

#[test]
fn check_predicts_torch_that_preloads_its_wheels() {
    let (world, venv) = Machine::with_venv();
    let global = Lib::new("libtorch_global_deps.so").unversioned().uses("libcublas.so.12", &["cublasCreate_v2"]);
    venv.torch("2.5.1+cu124", Some("12.4"), &[], &[("lib/libtorch_global_deps.so", global)]);
    let cublas = Lib::new("libcublas.so.12").defines(&["cublasCreate_v2"]);
    venv.nvidia("cublas", "12.4.5.8", cublas);
    let ask = || answer(&mut world.cudashim(["check", "--python", "venv"]), "check.json");
    assert_eq!((ask().0, ask().1["error"].as_str().is_some()), (1, true));
    let init = "\ndef _load_global_deps():\n    try:\n        pass\n    except OSError as err:\n        cuda_libs = {\"cublas\": \"libcublas.so.*[0-9]\"}\n\n\n";
    fs::write(venv.site.join("torch/__init__.py"), init).unwrap();
    let (code, value) = ask();
    assert_eq!((code, value["verdict"].as_str()), (0, Some("loads")), "{value:#}");
    assert_eq!(object(&value, "libcublas.so.12")["rule"], "path");
}

#[test]
fn check_counts_installed_libraries_off_every_path() {
    let (world, venv) = Machine::with_venv();
    let module = Lib::new("fast.so").unversioned().uses("libcublas.so.12", &["cublasCreate_v2"]);
    module.build(&venv.site.join("fast/core.so"));
    let ask = |library_path: &Path| {
        let mut command = world.cudashim(["check", "--python", "venv"]);
        answer(command.env("LD_LIBRARY_PATH", library_path), "check.json")
    };
    let (code, value) = ask(Path::new(""));
    assert_eq!((code, ids(&value)), (0, vec!["optional-lib-missing"]), "{value:#}");
    let cublas = Lib::new("libcublas.so.12").defines(&["cublasCreate_v2"]);
    venv.nvidia("cublas", "12.4.5.8", cublas);
    let (code, value) = ask(Path::new(""));
    assert_eq!((code, ids(&value)), (1, vec!["library-not-found"]), "{value:#}");
    assert_eq!(ask(&venv.site.join("nvidia/cublas/lib")).0, 0);
}

#[test]
fn check_judges_a_package_as_installed() {
    let (world, venv) = Machine::with_venv();
    let ask = |name: &str| answer(&mut world.cudashim(["check", "--python", "venv", name]), "check.json");
    // The plugin of JAX has run paths to the wheels, and its own code opens the others by their paths.
    let plugin = Lib::new("xla_cuda_plugin.so").unversioned().link("-rpath,$ORIGIN/../../nvidia/cudnn/lib");
    plugin.build(&venv.site.join("jax_plugins/xla_cuda12/xla_cuda_plugin.so"));
    venv.dist_info("jax-cuda12-plugin", "0.7.2", "", "");
    let cublas = Lib::new("libcublas.so.12").defines(&["cublasCreate_v2"]);
    venv.nvidia("cublas", "12.8.4.1", cublas);
    jax_wheels(&venv);
    venv.wheel("nvidia-cudnn-cu12", "9.10.2.21", &cudnn_that_loads());
    let (code, value) = ask("jax");
    assert_eq!((code, ids(&value), object(&value, "libcublas.so.12")["rule"].as_str()), (0, vec![], Some("path")));
    // TensorFlow opens them by name: its library has run paths, or nothing is found.
    let tensorflow = |run_path: &str| {
        let lib = Lib::new("libtensorflow_framework.so.2").unversioned().link(&format!("-rpath,{run_path}"));
        lib.build(&venv.site.join("tensorflow/libtensorflow_framework.so.2"));
        venv.dist_info("tensorflow", "2.20.0", "", "");
        let (code, value) = ask("tensorflow");
        let not_found = value["not_found"].as_array().unwrap().iter().any(|entry| entry["name"] == "libcublas.so.12");
        (code, not_found, ids(&value).concat())
    };
    assert_eq!(tensorflow("/nowhere"), (0, true, "bare-name-dlopen-consumers".to_owned()));
    assert!(!tensorflow("$ORIGIN/../nvidia/cublas/lib").1);
    // A package that is not installed is judged by its row.
    assert_eq!(ask("ctranslate2").0, 1);
}

#[test]
fn check_torch_opens_what_it_imports() {
    let (world, venv) = Machine::with_venv();
    torch_of(&venv);
    let plain = answer(&mut world.cudashim(["check", "--python", "venv"]), "check.json");
    let named = answer(&mut world.cudashim(["check", "--python", "venv", "torch"]), "check.json");
    assert_eq!((plain.0, ids(&plain.1)), (named.0, ids(&named.1)));
    assert_eq!(plain.1["objects"], named.1["objects"]);
}

#[test]
fn check_finds_stubs_duplicates_and_two_majors() {
    let (world, venv) = Machine::with_venv();
    let user = Lib::new("libuser.so").unversioned().uses("libcuda.so.1", &["cuInit"]);
    let user = user.uses("libcublas.so.12", &["cublasCreate_v2"]).build(&world.path("libuser.so"));
    Lib::new("libcuda.so.1").unversioned().defines(&["cuInit"]).build(&world.path("cuda/lib64/stubs/libcuda.so.1"));
    let cublas = Lib::new("libcublas.so.12").defines(&["cublasCreate_v2"]);
    let eleven = Lib::new("libcublasLt.so.11").defines(&["cublasLtCreate"]);
    venv.wheel("nvidia-cublas-cu11", "11.10.3.66", &[("nvidia/cublas/lib/libcublasLt.so.11", eleven)]);
    let twelve = cublas.clone().uses("libcublasLt.so.11", &["cublasLtCreate"]);
    let other = world.venv("other");
    other.nvidia("cublas", "12.4.5.8", twelve);
    let path =
        [world.path("cuda/lib64/stubs"), other.site.join("nvidia/cublas/lib"), venv.site.join("nvidia/cublas/lib")];
    let path: Vec<String> = path.iter().map(|dir| dir.display().to_string()).collect();
    let (value, _) = agreed(&world, &venv, &path.join(":"), &user);
    let found = ids(&value);
    assert!(found.contains(&"stub-libcuda") && found.contains(&"two-cuda-majors"), "{value:#}");
    // The same soname from two files, of which one is opened by path.
    let copy = cublas.link("-z,nodelete").build(&world.path("copy/libcublas.so.12"));
    let mut both = world.cudashim(["check", "--python", "venv"]);
    let (_, value) = answer(both.arg(&user).arg(&copy).env("LD_LIBRARY_PATH", path.join(":")), "check.json");
    assert!(ids(&value).contains(&"doubled-soname"), "{value:#}");
}

#[test]
fn check_handles_needed_cycles_odd_names_and_no_driver() {
    let (world, venv) = Machine::with_venv();
    let one = Lib::new("libone.so").unversioned().defines(&["one"]).uses("libtwo.so", &[]).link("-rpath,$ORIGIN");
    let two = Lib::new("libtwo.so").unversioned().uses("libone.so", &[]).uses("libtwo.so", &[]).link("-rpath,$ORIGIN");
    one.build(&world.path("libone.so"));
    two.build(&world.path("libtwo.so"));
    agreed(&world, &venv, "", &world.path("libone.so"));
    let mut name = world.cudashim(["check", "--python", "venv", "libtwo.so"]);
    assert_eq!(answer(name.env("LD_LIBRARY_PATH", world.root()), "check.json").0, 0);
    let (code, value) = answer(&mut world.cudashim(["check", "--python", "venv", "libnothing.so.1"]), "check.json");
    assert_eq!((code, value["not_found"][0]["needed_by"].is_null()), (1, true));
    let user = Lib::new("libuser.so").unversioned().uses("libcuda.so.1", &["cuInit"]).build(&world.path("libuser.so"));
    let (value, _) = agreed(&world, &venv, "", &user);
    assert_eq!(ids(&value), ["library-not-found"]);
}

#[test]
fn check_refuses_what_it_cannot_read() {
    let (world, venv) = Machine::with_venv();
    world.write("empty", "");
    world.write("text", "no object, no script\n");
    let run = |arguments: &[&str]| -> Output { world.cudashim(["check"]).args(arguments).output().unwrap() };
    for (subject, says) in [
        ("./empty", "it is empty"),
        ("./text", "not an ELF file"),
        ("./home", "cannot find the Python"),
        ("./home", "the directory has no `bin/python`"),
        ("./gone", "No such file"),
        ("gone", "no such file, program on PATH"),
    ] {
        let output = run(&[subject]);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{subject}: {error}");
        assert!(error.contains(says), "{subject}: {error}");
    }
    // A script counts as its interpreter.
    world.write("script", format!("#!{}\n", venv.dir.join("bin/tool").display()));
    world.mode("script", 0o755);
    symlink(venv.python(), venv.dir.join("bin/tool")).unwrap();
    let (code, value) = answer(&mut world.cudashim(["check", "./script"]), "check.json");
    assert_eq!(code, 0);
    assert!(value["objects"][0]["path"].as_str().unwrap().ends_with("bin/python"), "{value:#}");
    assert_eq!(run(&["--torch", "2.5.1", "--python", "venv"]).status.code(), Some(2));
}

/// A program of a few lines, linked against this library, which needs a missing symbol.
fn calls(world: &Machine, name: &str, asks: &str, args: &[&str]) -> PathBuf {
    let (dir, source) = (world.path(""), format!("{asks}\n"));
    world.write("asks.c", source);
    world.write("main.c", "int main(void) { return 0; }\n");
    let cc = |words: &[&str]| {
        let words = words.iter().copied().chain(args.iter().copied());
        assert!(Command::new("cc").current_dir(&dir).args(words).status().unwrap().success());
    };
    cc(&["-shared", "-fPIC", "-nostdlib", "asks.c", "-o", "libasks.so", "-Wl,-soname,libasks.so"]);
    cc(&[
        "main.c",
        "-o",
        name,
        "-Wl,--no-as-needed",
        "./libasks.so",
        "-Wl,-rpath,$ORIGIN",
        "-Wl,--unresolved-symbols=ignore-all",
    ]);
    world.path(name)
}

/// What a program is linked with is bound at the first call, unless BIND_NOW is set.
#[test]
fn check_reports_lazily_bound_calls() {
    let call = "int omega(void); int use(void) { return omega(); }";
    let address = "int omega(void); int (*held)(void) = omega; int use(void) { return omega(); }";
    for (asks, args, now, verdict, found) in [
        (call, &["-Wl,-z,lazy"][..], "", "loads", &["undefined-call"][..]),
        (call, &["-Wl,-z,lazy"], "1", "fails", &["undefined-symbol"]),
        (call, &["-Wl,-z,now"], "", "fails", &["undefined-symbol"]),
        (address, &["-Wl,-z,lazy"], "", "fails", &["undefined-symbol"]),
    ] {
        let world = Machine::new();
        let program = calls(&world, "program", asks, args);
        let output = Command::new(&program).env("LD_BIND_NOW", now).output().unwrap();
        let mut command = world.cudashim(["check"]);
        let (code, value) = answer(command.arg(&program).env("LD_BIND_NOW", now), "check.json");
        assert_eq!((value["verdict"].as_str(), ids(&value)), (Some(verdict), found.to_vec()), "{value:#}");
        assert_eq!((code == 0, output.status.success()), (verdict == "loads", verdict == "loads"));
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(value["error"].as_str().unwrap_or_default(), said.trim_end());
        assert_eq!(value["missing"][0]["later"], verdict == "loads");
        // Who opens it with RTLD_NOW, as CPython does, has all bound at once.
        let opened = answer(world.cudashim(["check"]).arg(world.path("libasks.so")), "check.json").1;
        assert_eq!(opened["verdict"], "fails");
    }
}

/// Every process that can open a library has the C library mapped, whatever a library's search paths are.
#[test]
fn check_finds_the_c_library() {
    let world = Machine::new();
    world.write("n.c", "int puts(const char *); int f(void) { return puts(\"\"); }\n");
    for args in [&["-Wl,-z,nodefaultlib"][..], &["-nostdlib"], &["-Wl,-rpath,$ORIGIN", "-Wl,-z,now"]] {
        let words = ["-shared", "-fPIC", "n.c", "-o", "libn.so"].into_iter().chain(args.iter().copied());
        assert!(Command::new("cc").current_dir(world.path("")).args(words).status().unwrap().success());
        let (code, value) = answer(world.cudashim(["check"]).arg(world.path("libn.so")), "check.json");
        assert_eq!((code, value["verdict"].as_str()), (0, Some("loads")), "{value:#}");
    }
}

#[test]
fn check_reports_a_filter_cycle() {
    let world = Machine::new();
    world.write("x.c", "int x;\n");
    for (name, other) in [("libcudart.so.12", "libcublas.so.12"), ("libcublas.so.12", "libcudart.so.12")] {
        let soname = format!("-Wl,-soname,{name},-f,{other},-rpath,$ORIGIN");
        let words = ["-shared", "-fPIC", "-nostdlib", "x.c", "-o", name, &soname];
        assert!(Command::new("cc").current_dir(world.path("")).args(words).status().unwrap().success());
    }
    let file = world.path("libcudart.so.12");
    let (code, value) = answer(world.cudashim(["check"]).arg(&file), "check.json");
    assert_eq!((code, value["verdict"].as_str(), ids(&value)), (1, Some("fails"), vec!["filter-circle"]), "{value:#}");
    // The others come to an end too, whatever they make of it.
    let _ = world.cudashim(["why", "libcudart.so.12", "--for"]).arg(world.path("libcublas.so.12")).output().unwrap();
    let _ = world.cudashim(["resolve", "--for"]).arg(&file).arg("--place").arg(world.path("")).output().unwrap();
}

/// JSON is printed even if there is nothing to check.
#[test]
fn check_has_nothing_to_check() {
    let world = Machine::new();
    world.venv("venv");
    let (code, value) = answer(&mut world.cudashim(["check", "--python", "venv"]), "check.json");
    assert_eq!(
        (code, value["verdict"].as_str(), value["objects"].as_array().map(Vec::len)),
        (0, Some("loads"), Some(0))
    );
}
