//! One request by two doors: `run`, and a shim without a plan, get the same plan, with any variable set.

use super::sound;
use crate::support::*;
use cudashim::internal::plan::{Image, ImageView};
use cudashim::internal::tables::variables;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A machine whose environment lacks cuDNN, which is in `opt/cudnn`, a toolkit's directory and a conda environment's.
fn lacking() -> (Machine, Venv) {
    let (world, venv) = Machine::with_venv();
    torch(&venv);
    venv.wheel("nvidia-cublas-cu12", "12.4.5.8", &cublas());
    for (path, library) in cudnn() {
        library.build(&world.path("opt/cudnn/lib").join(Path::new(path).file_name().unwrap()));
    }
    world.mkdir("opt/cudnn/conda-meta");
    (world, venv)
}

/// The image that a program reports, if any.
fn image(command: &mut Command) -> Option<PathBuf> {
    let seen = Process::of(command.env("CUDASHIM_LOG", "1"));
    let line = seen.err.lines().find_map(|line| line.split_once("]: plan ")?.1.split_once(": "));
    line.map(|(path, _)| path.into())
}

/// The images by `run`, and by the shim alone, with a variable set.
fn both(world: &Machine, venv: &Venv, name: &str, value: &Path) -> [Option<PathBuf>; 2] {
    let torch = venv.torch_deps();
    let mut run = world.load(&["--via", "preload"], venv);
    run.env(name, value);
    let shim = world.run(["shim"]).out.trim_end().to_owned();
    let mut plain = Command::new(venv.python());
    plain.arg("--load").arg(&torch).env_clear().current_dir(world.root()).env("PATH", world.path("bin"));
    plain.env("HOME", world.path("home")).env("CUDASHIM_CACHE", world.path("cache")).env("LD_PRELOAD", &shim);
    match name {
        "LD_PRELOAD" => plain.env(name, format!("{shim}:{}", value.display())),
        _ => plain.env(name, value),
    };
    [image(&mut run), image(&mut plain)]
}

#[test]
fn variable_means_the_same_with_run_and_shim() {
    let ((lacking, poor), (whole, rich)) = (lacking(), sound());
    for row in variables() {
        let name = if row.prefix { format!("{}X", row.name) } else { row.name.to_owned() };
        // If it names the place of a library, it decides.
        let decides =
            row.read_by == "places" && name != "HOME" || name == "CUDASHIM_PLACE" || name == "LD_LIBRARY_PATH";
        let [run, plain] = if decides {
            let dir = if name == "LD_LIBRARY_PATH" { "opt/cudnn/lib" } else { "opt/cudnn" };
            both(&lacking, &poor, &name, &lacking.path(dir))
        } else {
            let value = match name.as_str() {
                "LD_PRELOAD" => Lib::new("libextra.so").build(&whole.path("opt/libextra.so")),
                "GLIBC_TUNABLES" => "glibc.rtld.dynamic_sort=1".into(),
                "LD_BIND_NOW" | "PYTHONNOUSERSITE" | "PYTHONSAFEPATH" => "1".into(),
                "LD_HWCAP_MASK" => "0".into(),
                "PYTHONPLATLIBDIR" => "lib".into(),
                "VIRTUAL_ENV" => whole.path("venv"),
                "PATH" => whole.path("bin"),
                _ => {
                    let dir = whole.path("opt").join(&name);
                    std::fs::create_dir_all(&dir).unwrap();
                    dir
                }
            };
            both(&whole, &rich, &name, &value)
        };
        let (Some(run), Some(plain)) = (&run, &plain) else { panic!("{name}: {run:?} and {plain:?}") };
        assert_eq!(run.file_name(), plain.file_name(), "{name}");
        let view: ImageView = Image::read(run).unwrap();
        let cudnn = &view.lookup(b"libcudnn.so.9").unwrap_or_else(|| panic!("{name}: no cuDNN")).path;
        assert_eq!(cudnn.starts_with(lacking.path("opt")), decides, "{name}: {}", cudnn.display());
    }
}
