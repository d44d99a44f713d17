//! Native programs: their own libraries are kept, the active or named environment provides the rest.

use super::{chosen, json};
use crate::support::*;
use std::path::{Path, PathBuf};

/// Opens the given names, then prints which files named `libcu…` or `libnv…` are mapped.
const MAPPED: &str = r#"
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (!dlopen(argv[i], RTLD_NOW))
            printf("%s\n", dlerror());
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[4096], last[4096] = "";
    while (fgets(line, sizeof line, maps)) {
        char *path = strchr(line, '/'), *name = path ? strrchr(line, '/') : 0;
        if (!name || strcmp(path, last) == 0 || !strncmp(name, "/libcudashim", 12) || strncmp(name, "/libcu", 6) && strncmp(name, "/libnv", 6))
            continue;
        strcpy(last, path);
        printf("%s", path);
    }
    return 0;
}
"#;

const FFT: &str = "libcufft.so.11";
const CUDART: &str = "libcudart.so.12";

/// A world with an environment that holds cuFFT and the runtime it needs, and no torch.
struct Case {
    world: Machine,
    venv: Venv,
}

fn runtime() -> Lib {
    Lib::new(CUDART).defines(&["cudaBoth", "cudaSet"])
}

fn fft() -> Lib {
    Lib::new(FFT).defines(&["cufftBoth"]).uses(CUDART, &["cudaBoth"])
}

impl Case {
    fn new() -> Self {
        let (world, venv) = Machine::with_venv();
        venv.nvidia("cufft", "11.2.1.3", fft());
        venv.nvidia("cuda_runtime", "12.4.127", runtime());
        Self { world, venv }
    }

    /// A program at `path` that is linked against cuFFT and takes `symbol` from the runtime.
    fn linked(&self, path: &str, symbol: &str, link: &[&str]) -> PathBuf {
        let stubs = self.world.path("stubs");
        let fft = Lib::new(FFT).defines(&["cufftBoth"]).build(&stubs.join(FFT));
        let runtime = Lib::new(CUDART).defines(&[symbol]).build(&stubs.join(CUDART));
        let takes = format!("int {symbol}(void);\nint (*taken)(void) = {symbol};\n");
        let arguments = ["-Wl,--no-as-needed", fft.to_str().unwrap(), runtime.to_str().unwrap(), "-ldl"];
        let path = self.world.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        cc(path.parent().unwrap(), name, &format!("{takes}{MAPPED}"), &[&arguments[..], link].concat())
    }

    fn plain(&self, path: &str, link: &[&str]) -> PathBuf {
        let path = self.world.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        cc(path.parent().unwrap(), name, MAPPED, &[&["-ldl"][..], link].concat())
    }

    fn in_venv(&self, name: &str) -> PathBuf {
        let wheel = if name == FFT { "cufft" } else { "cuda_runtime" };
        self.venv.site.join("nvidia").join(wheel).join("lib").join(name)
    }

    /// What `run` with these options, and variables, lets a program map.
    fn run(&self, options: &[&str], program: &Path, arguments: &[&str], variables: &[(&str, &Path)]) -> Process {
        let mut command = self.world.cudashim(["run"]);
        command.args(options).arg("--").arg(program).args(arguments);
        Process::of(command.envs(variables.iter().copied()))
    }

    /// The same, as the sorted mapped paths, without notes.
    fn maps(&self, options: &[&str], program: &Path, arguments: &[&str], variables: &[(&str, &Path)]) -> Vec<PathBuf> {
        let seen = self.run(options, program, arguments, variables);
        assert_eq!((seen.code, &*seen.err), (Some(0), ""), "{}", seen.out);
        let mut maps: Vec<PathBuf> = seen.out.lines().map(PathBuf::from).collect();
        maps.sort();
        maps
    }
}

#[test]
fn native_linked_program_gets_missing_libraries_from_the_environment() {
    let case = Case::new();
    let program = case.linked("work/prog", "cudaBoth", &[]);
    let both = [case.in_venv(CUDART), case.in_venv(FFT)];
    let venv = case.venv.dir.clone();
    for (options, variables) in
        [(&[][..], &[("VIRTUAL_ENV", &*venv)][..]), (&["--python", "venv"], &[]), (&["--place", "venv"], &[])]
    {
        assert_eq!(case.maps(options, &program, &[], variables), both, "{options:?}");
    }
    // The plan is for this program and no other.
    let plan = case.world.run(["resolve", "--python", "venv", "--for", "work/prog", "-o", "plan"]);
    assert_eq!(plan.code, Some(0), "{}", plan.err);
    // A Python on PATH is no environment that is active.
    std::os::unix::fs::symlink(case.venv.python(), case.world.path("bin/python3")).unwrap();
    let seen = case.run(&[], &program, &[], &[]);
    assert!(seen.err.contains("no copy was found"), "{}", seen.err);
    assert_eq!(seen.code, Some(127));
}

#[test]
fn native_toolkit_on_ld_library_path_yields_to_the_set() {
    let case = Case::new();
    let toolkit = case.world.path("opt/toolkit");
    Lib::new(CUDART).defines(&["cudaBoth", "cudaForeign"]).build(&toolkit.join(CUDART));
    let venv = case.venv.dir.clone();
    let variables = [("VIRTUAL_ENV", &*venv), ("LD_LIBRARY_PATH", &*toolkit)];
    let fits = case.linked("work/fits", "cudaBoth", &[]);
    assert!(case.maps(&[], &fits, &[], &variables).contains(&case.in_venv(CUDART)));
    let newer = case.linked("work/newer", "cudaForeign", &[]);
    let maps = case.maps(&[], &newer, &[], &variables);
    assert!(maps.contains(&toolkit.join(CUDART)) && maps.contains(&case.in_venv(FFT)), "{maps:?}");
}

#[test]
fn native_run_path_copy_is_kept() {
    let case = Case::new();
    let own = Lib::new(CUDART).defines(&["cudaBoth"]).build(&case.world.path("app/lib").join(CUDART));
    let venv = case.venv.dir.clone();
    let variables = [("VIRTUAL_ENV", &*venv)];
    let program = case.linked("app/prog", "cudaBoth", &["-Wl,-rpath,$ORIGIN/lib"]);
    assert_eq!(case.maps(&[], &program, &[], &variables), [own.clone(), case.in_venv(FFT)]);
    // A start script that names the application's own directory gives the same.
    let scripted = case.linked("app/scripted", "cudaBoth", &[]);
    let lib = case.world.path("app/lib");
    let maps = case.maps(&[], &scripted, &[], &[variables[0], ("LD_LIBRARY_PATH", &lib)]);
    assert_eq!(maps, [own, case.in_venv(FFT)]);
    // Its own copy lacks what it takes, and the environment's has it.
    let torn = case.linked("app/torn", "cudaSet", &["-Wl,-rpath,$ORIGIN/lib"]);
    assert!(case.maps(&[], &torn, &[], &variables).contains(&case.in_venv(CUDART)));
}

/// cuSPARSE of the environment that a program is linked against finds its own nvJitLink, were it not for another that
/// `LD_LIBRARY_PATH` has.
#[test]
fn native_set_overrides_a_wrong_hit_of_ld_library_path() {
    let (world, venv) = Machine::with_venv();
    let sparse = Lib::new("libcusparse.so.12").defines(&["cusparseCreate"]).uses("libnvJitLink.so.12", &["linkNew"]);
    let sparse = sparse.link("-rpath,$ORIGIN/../../nvjitlink/lib").link("-z,now");
    venv.nvidia("cusparse", "12.5.1.3", sparse);
    let linker = Lib::new("libnvJitLink.so.12").defines(&["linkOld", "linkNew"]);
    venv.nvidia("nvjitlink", "12.5.82", linker);
    let old = world.path("opt/old");
    Lib::new("libnvJitLink.so.12").defines(&["linkOld"]).build(&old.join("libnvJitLink.so.12"));
    let lib = venv.site.join("nvidia/cusparse/lib/libcusparse.so.12");
    let rpath = format!("-Wl,-z,now,-rpath,{}", lib.parent().unwrap().display());
    let arguments = ["-Wl,--no-as-needed", lib.to_str().unwrap(), "-Wl,--allow-shlib-undefined", "-ldl", &rpath];
    let program = cc(world.root(), "prog", MAPPED, &arguments);
    let bare = Process::of(std::process::Command::new(&program).env_clear().env("LD_LIBRARY_PATH", &old));
    assert!(bare.err.contains("undefined symbol: linkNew"), "{}", bare.err);
    let case = Case { world, venv };
    let maps = case.maps(&[], &program, &[], &[("LD_LIBRARY_PATH", &old)]);
    let linker = case.venv.site.join("nvidia/nvjitlink/lib/libnvJitLink.so.12");
    assert!(maps.iter().any(|path| path.canonicalize().unwrap() == linker), "{maps:?}");
}

#[test]
fn native_program_that_dlopens_gets_the_set() {
    let case = Case::new();
    let program = case.plain("work/prog", &[]);
    let venv = case.venv.dir.clone();
    let maps = |options: &[&str], variables: &[(&str, &Path)]| case.maps(options, &program, &[FFT], variables);
    let both = [case.in_venv(CUDART), case.in_venv(FFT)];
    assert_eq!(maps(&[], &[("VIRTUAL_ENV", &venv)]), both);
    assert_eq!(maps(&["--python", "venv"], &[]), both);
    // Without an environment there is nothing, whatever Python is on PATH.
    std::os::unix::fs::symlink(case.venv.python(), case.world.path("bin/python3")).unwrap();
    let seen = case.run(&[], &program, &[FFT], &[]);
    assert!(seen.out.contains("cannot open shared object file"), "{}", seen.out);
}

#[test]
fn native_use_holds_for_a_program_that_dlopens() {
    let case = Case::new();
    let program = case.plain("work/prog", &[]);
    let other = Lib::new(CUDART).defines(&["cudaBoth"]).build(&case.world.path("opt/other").join(CUDART));
    let fixed = format!("{CUDART}={}", other.display());
    assert_eq!(case.maps(&["--use", &fixed], &program, &[CUDART], &[]), std::slice::from_ref(&other));
    assert_eq!(case.maps(&["--place", "opt/other"], &program, &[CUDART], &[]), std::slice::from_ref(&other));
    assert_eq!(case.maps(&["--use", &fixed, "--python", "venv"], &program, &[CUDART], &[]), [other]);
    // Taken, or it fails.
    let gone = format!("{CUDART}={}", case.world.path("gone.so").display());
    let seen = case.run(&["--use", &gone], &program, &[CUDART], &[]);
    assert_eq!(seen.code, Some(125), "{}{}", seen.out, seen.err);
    // What is barred is not handed out.
    let seen = case.run(&["--place", "opt/other", "--forbid", "opt/other"], &program, &[CUDART], &[]);
    assert!(seen.out.contains("cannot open shared object file"), "{}{}", seen.out, seen.err);
}

#[test]
fn native_place_holds_for_what_a_shell_starts() {
    let case = Case::new();
    let opens = case.plain("opens", &[]);
    let place = case.world.path("place");
    let right = runtime().build(&place.join(CUDART));
    let script = format!("{} {CUDART}; :", opens.display());
    let options = ["--place", place.to_str().unwrap()];
    assert_eq!(case.maps(&options, "/bin/sh".as_ref(), &["-c", &script], &[]), [right]);
}

#[test]
fn native_bundled_names_are_not_in_the_set() {
    let case = Case::new();
    let own = Lib::new(CUDART).defines(&["cudaBoth"]).build(&case.world.path("app").join(CUDART));
    let program = case.plain("app/prog", &["-Wl,-rpath,$ORIGIN"]);
    let venv = case.venv.dir.clone();
    let maps = case.maps(&[], &program, &[CUDART, FFT], &[("VIRTUAL_ENV", &venv)]);
    assert_eq!(maps, [own, case.in_venv(FFT)]);
}

/// NVRTC is linked against nothing, and opens the builtins of the same release.
#[test]
fn native_library_brings_what_it_dlopens() {
    let (world, venv) = Machine::with_venv();
    let libraries = [
        ("nvidia/cuda_nvrtc/lib/libnvrtc.so.12", Lib::new("libnvrtc.so.12").defines(&["nvrtcVersion"])),
        ("nvidia/cuda_nvrtc/lib/libnvrtc-builtins.so.12.4", Lib::new("libnvrtc-builtins.so.12.4").unversioned()),
    ];
    venv.wheel("nvidia-cuda-nvrtc-cu12", "12.4.127", &libraries);
    let file = venv.site.join("nvidia/cuda_nvrtc/lib/libnvrtc.so.12");
    let (code, answer) = json(world.cudashim(["resolve", "--for"]).arg(&file));
    assert_eq!(code, Some(0));
    let builtins = file.with_file_name("libnvrtc-builtins.so.12.4");
    assert_eq!(chosen(&answer, "libnvrtc-builtins.so.12.4"), Some(builtins), "{answer:#}");
}

#[test]
fn native_torch_must_be_the_one_installed() {
    let (world, venv) = super::sound();
    let mut command = world.cudashim(["resolve", "--torch", "2.6.0"]);
    let seen = Process::of(command.env("VIRTUAL_ENV", &venv.dir));
    assert_eq!(seen.code, Some(2), "{}", seen.err);
    assert!(seen.err.contains("has torch 2.5.1+cu124, not `2.6.0`"), "{}", seen.err);
}

#[test]
fn native_doctor_agrees_with_run() {
    let case = Case::new();
    let program = case.linked("bin/fft", "cudaBoth", &[]);
    let active = |words: &[&str]| {
        let mut command = case.world.cudashim(words);
        command.arg(&program).env("VIRTUAL_ENV", case.world.path("venv"));
        Process::of(&mut command)
    };
    assert_eq!(active(&["run", "--"]).code, Some(0));
    let Process { code, err, .. } = active(&["doctor", "--"]);
    assert_eq!(code, Some(127));
    let said = err.split("cudashim doctor:").nth(1).unwrap();
    assert!(said.contains("`libcufft.so.11`: installed, but not in any search path"), "{said}");
    assert!(said.contains("[library-not-found]") && !said.contains("when a GPU is used:"), "{said}");
    let lines: Vec<&str> = said.lines().filter_map(|line| line.split_once("$ ")).map(|(_, line)| line).collect();
    assert_eq!(lines, [format!("cudashim run -- {}", program.display())], "{said}");
    // The lines for a shell set an auditor.
    let mut command = case.world.cudashim(["env", "--for"]);
    let lines = Process::of(command.arg(&program).env("VIRTUAL_ENV", case.world.path("venv"))).out;
    assert!(lines.starts_with("export LD_AUDIT=") && !lines.contains("LD_PRELOAD="), "{lines}");
}
