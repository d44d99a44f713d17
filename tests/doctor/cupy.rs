//! `CuPy` and cuda-pathfinder: what a package opens by itself before its modules need it.

use super::commands;
use super::frameworks::{machine, without_gpu};
use crate::support::*;
use cudashim::internal::tables::Severity::{Fact, Fatal, Warning};

#[test]
fn cupy_without_its_libraries() {
    let cupy = |machine: Machine, requires: &'static str| {
        machine.environment(|venv| {
            venv.dist_info("cupy-cuda12x", "14.2.0", requires, "");
        })
    };
    let found = cupy(machine(), "Requires-Dist: cuda-toolkit==12.*; extra == \"ctk\"\n").first();
    assert_eq!((found.id, found.severity), ("bare-name-dlopen-consumers", Fatal));
    assert_eq!(found.cause, "cupy-cuda12x 14.2.0 opens `libcublas.so.12`, `libnvrtc.so.12`, and finds no copy");
    assert_eq!(commands(&found), ["/venv/bin/python -m pip install 'cupy-cuda12x[ctk]==14.2.0'"]);
    let found = cupy(machine(), "").first();
    let line = "pip install nvidia-cublas-cu12 nvidia-cuda-nvrtc-cu12";
    assert!(commands(&found)[0].ends_with(line), "{:?}", found.remedies);
    // It finds the wheels by itself.
    let whole = cupy(machine(), "").environment(|venv| {
        venv.nvidia("cublas", "12.8.4.1", Lib::new("libcublas.so.12"));
        let nvrtc = Lib::new("libnvrtc.so.12");
        venv.nvidia("cuda_nvrtc", "12.8.93", nvrtc);
    });
    let is_it = |(id, _): &(&str, _)| *id == "bare-name-dlopen-consumers";
    assert!(!whole.ids().iter().any(is_it), "{:?}", whole.ids());
    assert_eq!(cupy(without_gpu(), "").ids(), [("bare-name-dlopen-consumers", Fatal), ("no-driver", Fact)]);
}

#[test]
fn cudf_without_nvcomp() {
    let cudf = || {
        without_gpu().environment(|venv| {
            let frames = Lib::new("libcudf.so").unversioned().defines(&["read"]);
            let frames = frames.uses("libnvcomp.so.5", &["nvcompGetProperties"]);
            let frames = frames.link("-rpath,$ORIGIN/../../nvidia/libnvcomp/lib");
            let module = Lib::new("io.so").unversioned().uses("libcudf.so", &["read"]);
            venv.wheel("libcudf-cu12", "26.10.2", &[("libcudf/lib64/libcudf.so", frames)]);
            venv.dist_info("libcudf-cu12", "26.10.2", "Requires-Dist: nvidia-libnvcomp-cu12==5.3.0.16\n", "");
            venv.wheel("pylibcudf-cu12", "26.10.2", &[("pylibcudf/io.abi3.so", module)]);
            std::fs::write(venv.site.join("libcudf/load.py"), "").unwrap();
        })
    };
    let found = cudf().first();
    assert_eq!((found.id, found.severity), ("library-not-found", Fatal));
    assert_eq!(found.cause, "`libcudf.so` needs `libnvcomp.so.5`: not found");
    // A newer release of the wheel has another major.
    assert_eq!(commands(&found), ["/venv/bin/python -m pip install nvidia-libnvcomp-cu12==5.3.0.16"]);
    let whole = cudf().environment(|venv| {
        let compression = Lib::new("libnvcomp.so.5").unversioned().defines(&["nvcompGetProperties"]);
        venv.wheel("nvidia-libnvcomp-cu12", "5.3.0.16", &[("nvidia/libnvcomp/lib/libnvcomp.so.5", compression)]);
    });
    whole.is_healthy();
}

/// CuPy 14: the run paths of its modules do not name the wheels; cuda-pathfinder opens these before them.
fn install_cupy(venv: &Venv) {
    install_cupy_with(venv, "");
}

/// With more lines in its metadata.
fn install_cupy_with(venv: &Venv, more: &str) {
    let sparse = Lib::new("cusparse.so").unversioned().uses("libcusparse.so.12", &["cusparseCreate"]);
    let tensor = Lib::new("cutensor.so").unversioned().uses("libcutensor.so.2", &["cutensorCreate"]);
    let mut record = String::new();
    for (name, module) in [("cusparse", sparse), ("cutensor", tensor)] {
        let file = format!("cupy_backends/cuda/libs/{name}.cpython-311-x86_64-linux-gnu.so");
        module.build(&venv.site.join(&file));
        record += &format!("{file},,\n");
    }
    let requires = format!("Requires-Dist: cuda-pathfinder==1.*,>=1.3.4\n{more}");
    venv.dist_info("cupy-cuda12x", "14.2.0", &requires, &record);
    venv.dist_info("cuda-pathfinder", "1.9.1", "", "");
    for (stem, folder) in [("cublas", "cublas"), ("nvrtc", "cuda_nvrtc")] {
        let soname = format!("lib{stem}.so.12");
        let path = format!("nvidia/{folder}/lib/{soname}");
        venv.wheel(&format!("nvidia-{}-cu12", folder.replace('_', "-")), "12.8.90", &[(&path, Lib::new(&soname))]);
    }
    let sparse = Lib::new("libcusparse.so.12").defines(&["cusparseCreate"]);
    let sparse = sparse.uses("libnvJitLink.so.12", &["__nvJitLinkCreate_12_8"]);
    let sparse = sparse.link("-rpath,$ORIGIN/../../nvjitlink/lib");
    venv.nvidia("cusparse", "12.5.8.93", sparse);
}

#[test]
fn what_an_extra_brought_and_is_gone_is_named() {
    let machine = |toolkit: &str| {
        let cupy = |venv: &Venv| {
            install_cupy_with(venv, "Requires-Dist: cuda-toolkit[cufft]==12.*; extra == \"ctk\"\n");
            if !toolkit.is_empty() {
                venv.dist_info("cuda-toolkit", "12.9.2", toolkit, "");
            }
        };
        without_gpu().environment(cupy).environment(linker("12.8.93", "__nvJitLinkCreate_12_8"))
    };
    let gone = machine("Requires-Dist: nvidia-cufft-cu12==11.4.1.*; extra == \"cufft\"\n");
    let found = gone.first();
    assert_eq!((found.id, found.severity), ("optional-lib-missing", Warning), "{:#?}", gone.report().findings);
    assert_eq!(found.cause, "cupy-cuda12x 14.2.0 opens `libcufft.so.11`, and finds no copy");
    assert_eq!(commands(&found), ["/venv/bin/python -m pip install 'nvidia-cufft-cu12==11.4.1.*'"]);
    // Who installed CuPy without the extra may have none.
    assert_eq!(machine("").ids(), [("no-driver", Fact)]);
}

fn linker(version: &str, symbol: &str) -> impl FnOnce(&Venv) {
    let version = version.to_owned();
    let library = Lib::new("libnvJitLink.so.12").defines(&[symbol]);
    move |venv| {
        venv.nvidia("nvjitlink", &version, library);
    }
}

#[test]
fn cupy_finds_what_cuda_pathfinder_opens() {
    let whole = || without_gpu().environment(install_cupy).environment(linker("12.8.93", "__nvJitLinkCreate_12_8"));
    // Without cuTENSOR it goes on.
    assert_eq!(whole().ids(), [("no-driver", Fact)]);
    // It opens the file of the wheel, although another is on the search path; that one is judged too.
    let other = Lib::new("libcusparse.so.12").defines(&["cusparseOther"]);
    let other = whole().with("opt/cuda/lib64/libcusparse.so.12", &other).set("LD_LIBRARY_PATH", "/opt/cuda/lib64");
    other.is_healthy();
    let found =
        without_gpu().environment(install_cupy).environment(linker("12.1.105", "__nvJitLinkCreate_12_1")).first();
    assert_eq!((found.id, found.severity), ("nvjitlink-older-wins", Fatal));
    // cuSPARSE 12.5.8.93 is of CUDA 12.8.1.
    let line = "/venv/bin/python -m pip install --no-deps nvidia-nvjitlink-cu12==12.8.93";
    assert_eq!(commands(&found), [line]);
    // If it finds none, that of another environment does not count.
    let gone = whole().without("venv/lib/python3.11/site-packages/nvidia/cublas");
    gone.venv("other").nvidia("cublas", "12.8.4.1", Lib::new("libcublas.so.12"));
    assert_eq!(gone.first().cause, "cupy-cuda12x 14.2.0 opens `libcublas.so.12`, and finds no copy");
    let line = "pip install --force-reinstall --no-deps nvidia-cublas-cu12==12.8.90";
    assert!(commands(&gone.first())[0].ends_with(line), "{:?}", gone.first().remedies);
    // A toolkit that is named is searched, and one that is only there is not.
    let toolkit = gone.with("usr/local/cuda-12.8/lib64/libcublas.so.12", &Lib::new("libcublas.so.12"));
    assert_eq!(toolkit.first().id, "bare-name-dlopen-consumers");
    toolkit.set("CUDA_PATH", "/usr/local/cuda-12.8").is_healthy();
    // Without cuda-pathfinder the modules do not find the wheels.
    let alone = whole().without("venv/lib/python3.11/site-packages/cuda_pathfinder-1.9.1.dist-info");
    assert_eq!(alone.first().id, "library-not-found");
    // It takes the newest major that is installed, for every consumer: that does not help the module of CUDA 12.
    let both = whole().environment(|venv| {
        let solver = Lib::new("cusolver.so").unversioned().uses("libcublas.so.12", &["cublasCreate"]);
        let file = "cupy_backends/cuda/libs/cublas.cpython-311-x86_64-linux-gnu.so";
        solver.build(&venv.site.join(file));
        let requires = "Requires-Dist: cuda-pathfinder==1.*,>=1.3.4\n";
        venv.dist_info("cupy-cuda12x", "14.2.0", requires, &format!("{file},,\n"));
        let cublas = Lib::new("libcublas.so.13");
        venv.wheel("nvidia-cublas", "13.0.0.19", &[("nvidia/cu13/lib/libcublas.so.13", cublas)]);
    });
    assert_eq!(both.first().id, "library-not-found", "{:#?}", both.report().findings);
}
