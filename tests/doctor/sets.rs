//! Frameworks in one environment: what works by itself is never called broken, and each gets the set of its own major.

use super::frameworks::{cudart, install_torch, without_gpu};
use super::{RUN, commands};
use crate::support::*;
use cudashim::internal::tables::Severity::{Fact, Fatal, Warning};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A package whose module needs these libraries by name, which only ld.so's search could find.
fn package(venv: &Venv, name: &str, sonames: &[&str]) {
    let module = sonames.iter().fold(Lib::new("_core.so").unversioned(), |module, soname| module.uses(soname, &["f"]));
    venv.wheel(name, "1.0", &[(&format!("{}/_core.so", name.replace('-', "_")), module)]);
}

/// The chosen set: the file of each soname.
fn set(machine: &Machine) -> BTreeMap<String, PathBuf> {
    let machine = machine.judged();
    let found = machine.answer().unwrap().resolution.iter().flat_map(|found| &found.set);
    found.map(|choice| (choice.soname.clone(), choice.path.clone())).collect()
}

fn library(soname: &str) -> Lib {
    Lib::new(soname).defines(&["f"])
}

#[test]
fn two_majors_in_one_environment_are_two_sets() {
    let machine = without_gpu().environment(|venv| {
        package(venv, "twelve", &["libcublas.so.12", "libcudnn.so.9"]);
        package(venv, "thirteen", &["libcublas.so.13", "libcudart.so.13", "libcudnn.so.9"]);
        venv.nvidia("cublas", "12.8.4.1", library("libcublas.so.12"));
        for (name, soname) in [("nvidia-cublas", "libcublas.so.13"), ("nvidia-cuda-runtime", "libcudart.so.13")] {
            venv.wheel(name, "13.2.0.1", &[(&format!("nvidia/cu13/lib/{soname}"), library(soname))]);
        }
        venv.wheel("nvidia-cudnn-cu13", "9.26.0.51", &[("nvidia/cudnn/lib/libcudnn.so.9", library("libcudnn.so.9"))]);
    });
    let set = set(&machine);
    let dir = |soname: &str| set.get(soname).map(|path| path.display().to_string());
    let site = "/venv/lib/python3.11/site-packages/nvidia";
    assert_eq!(dir("libcublas.so.12"), Some(format!("{site}/cublas/lib/libcublas.so.12")), "{set:?}");
    assert_eq!(dir("libcublas.so.13"), Some(format!("{site}/cu13/lib/libcublas.so.13")), "{set:?}");
    assert_eq!(dir("libcudart.so.13"), Some(format!("{site}/cu13/lib/libcudart.so.13")));
    // What both have in common is chosen once.
    assert_eq!(dir("libcudnn.so.9"), Some(format!("{site}/cudnn/lib/libcudnn.so.9")));
}

#[test]
fn torch_that_maps_the_wheels_of_another_major_is_whole() {
    // What torch 2.9 and later open by path: the first file of each name, whatever its major.
    let code = "\n\
def _preload_cuda_deps(required=True):\n    cuda_libs = {\"cublas\": \"libcublas.so.*[0-9]\"}\n\n\
def _load_global_deps():\n    try:\n        ctypes.CDLL(global_deps)\n        _preload_cuda_deps(required=False)\n\
    except OSError as err:\n        _preload_cuda_deps()\n\n\n";
    let machine = without_gpu().environment(|venv| {
        install_torch(venv, "2.15.0+cu132", "13.2", &[]);
        Lib::new("libtorch_global_deps.so").unversioned().build(&venv.site.join("torch/lib/libtorch_global_deps.so"));
        std::fs::write(venv.site.join("torch/__init__.py"), code).unwrap();
        venv.nvidia("cublas", "12.8.4.1", library("libcublas.so.12"));
    });
    assert_eq!(machine.ids(), [("no-driver", Fact)], "{:#?}", machine.report().findings);
}

#[test]
fn torch_that_maps_a_shared_name_of_another_major_gets_its_own() {
    // cuSPARSE has one soname for CUDA 12 and 13, and torch opens the first file of the name.
    let code = "\n\
def _preload_cuda_deps(required=True):\n    cuda_libs = {\"cusparse\": \"libcusparse.so.*[0-9]\"}\n\n\
def _load_global_deps():\n    try:\n        ctypes.CDLL(global_deps)\n        _preload_cuda_deps(required=False)\n\
    except OSError as err:\n        _preload_cuda_deps()\n\n\n";
    let machine = without_gpu().environment(|venv| {
        install_torch(venv, "2.15.0+cu132", "13.2", &[]);
        Lib::new("libtorch_global_deps.so").unversioned().build(&venv.site.join("torch/lib/libtorch_global_deps.so"));
        let cuda = Lib::new("libtorch_cuda.so").unversioned().uses("libcusparse.so.12", &["f"]);
        let cuda = cuda.link("-rpath,$ORIGIN/../nvidia/cu13/lib").link("--disable-new-dtags");
        cuda.build(&venv.site.join("torch/_C.abi3.so"));
        std::fs::write(venv.site.join("torch/__init__.py"), code).unwrap();
        venv.nvidia("cusparse", "12.5.10.65", library("libcusparse.so.12"));
        let own = library("libcusparse.so.12").defines(&["g"]);
        venv.wheel("nvidia-cusparse", "12.7.10.12", &[("nvidia/cu13/lib/libcusparse.so.12", own)]);
    });
    let found = machine.first();
    assert_eq!((found.id, found.severity), ("two-cuda-majors", Fatal), "{:#?}", machine.report().findings);
    assert_eq!(commands(&found), [RUN]);
    let judged = machine.judged();
    let plan = &judged.answer().unwrap().resolution.as_ref().unwrap().plan;
    let site = "/venv/lib/python3.11/site-packages/nvidia";
    let replaced = plan.instead_at(std::path::Path::new(&format!("{site}/cusparse/lib/libcusparse.so.12")));
    assert_eq!(replaced.unwrap().path, PathBuf::from(format!("{site}/cu13/lib/libcusparse.so.12")));
}

#[test]
fn functions_of_a_driver_that_is_not_there_are_not_judged() {
    // cuDNN 9.28 for CUDA 12 is linked against the driver.
    let cudnn = || {
        let parts = cudnn_that_loads().into_iter().map(|(path, library)| {
            let linked = path.ends_with("libcudnn_engines_runtime_compiled.so.9");
            (path, if linked { library.takes("libcuda.so.1", &["cuModuleLoadData"]) } else { library })
        });
        parts.collect::<Vec<_>>()
    };
    let machine = without_gpu().environment(move |venv| {
        package(venv, "package", &["libcudnn.so.9"]);
        venv.wheel("nvidia-cudnn-cu12", "9.28.0.42", &cudnn());
    });
    let dir = "/venv/lib/python3.11/site-packages/nvidia/cudnn/lib";
    let machine = machine.set("LD_LIBRARY_PATH", dir);
    let ids = machine.ids();
    assert!(!ids.iter().any(|(id, _)| id.contains("undefined") || id.contains("abi")), "{ids:?}");
}

#[test]
fn parts_newer_than_a_bundled_cudnn_dispatcher_fit_it() {
    let with = |version: &'static str| {
        without_gpu().environment(move |venv| {
            let dispatcher = "libcudnn-74a4c495.so.9.1.0";
            let bundled = Lib::new(dispatcher).unversioned().defines(&["cudnnCreate"]);
            let module = Lib::new("_ext.so").unversioned().takes(dispatcher, &["cudnnCreate"]);
            let module = module.link("-rpath,$ORIGIN/../package.libs");
            venv.wheel(
                "package",
                "1.0",
                &[("package/_ext.so", module), ("package.libs/libcudnn-74a4c495.so.9.1.0", bundled)],
            );
            venv.wheel("nvidia-cudnn-cu12", version, &cudnn_that_loads());
        })
    };
    let dir = "/venv/lib/python3.11/site-packages/nvidia/cudnn/lib";
    let newer = with("9.8.0.87").set("LD_LIBRARY_PATH", dir);
    assert_eq!(newer.ids(), [("no-driver", Fact)], "{:#?}", newer.report().findings);
    assert!(set(&newer).contains_key("libcudnn_graph.so.9"), "{:?}", set(&newer));
    assert!(!set(&with("9.0.0.312")).contains_key("libcudnn_graph.so.9"));
    assert_eq!(with("9.0.0.312").set("LD_LIBRARY_PATH", dir).first().id, "cudnn9-torn-set");
}

#[test]
fn symbols_of_what_does_not_load_are_not_judged() {
    // torch has mapped the runtime; the provider does not find cuRAND, so that ld.so binds none of its symbols.
    let machine = without_gpu().environment(|venv| {
        install_torch(venv, "2.8.0+cu128", "12.8", &[]);
        let provider = Lib::new("libonnxruntime_providers_cuda.so").unversioned();
        let provider = provider.uses("libcudart.so.12", &["cudaMalloc"]).uses("libcurand.so.10", &["curandCreate"]);
        venv.wheel("onnxruntime-gpu", "1.22.0", &[("onnxruntime/capi/libonnxruntime_providers_cuda.so", provider)]);
    });
    let ids = [("ort-cuda-ep-missing-lib", Fatal), ("silent-cpu-fallback", Warning), ("no-driver", Fact)];
    assert_eq!(machine.ids(), ids, "{:#?}", machine.report().findings);
    assert!(machine.first().cause.contains("libcurand.so.10"), "{}", machine.first().cause);
}

#[test]
fn wheels_that_a_package_opens_by_path_are_found() {
    let faiss = |with_wheels: bool| {
        without_gpu().environment(move |venv| {
            let library = Lib::new("libfaiss-6b43fd57.so").unversioned().defines(&["search"]);
            let library =
                library.uses("libcudart.so.12", &["cudaMalloc"]).uses("libcublas.so.12", &["cublasCreate_v2"]);
            let module = Lib::new("_swigfaiss.so").unversioned().takes("libfaiss-6b43fd57.so", &["search"]);
            let module = module.link("-rpath,$ORIGIN/../faiss_gpu_cu12.libs").link("--disable-new-dtags");
            venv.wheel(
                "faiss-gpu-cu12",
                "1.14.1",
                &[("faiss/_swigfaiss.so", module), ("faiss_gpu_cu12.libs/libfaiss-6b43fd57.so", library)],
            );
            if with_wheels {
                venv.nvidia("cuda_runtime", "12.8.90", cudart(12));
                venv.nvidia("cublas", "12.8.4.1", cublas_alone());
            }
        })
    };
    assert_eq!(faiss(true).ids(), [("no-driver", Fact)], "{:#?}", faiss(true).report().findings);
}

#[test]
fn opener_of_the_table_is_judged_though_nothing_is_linked() {
    let ctranslate = without_gpu().environment(|venv| {
        let bundled = Lib::new("libctranslate2-a7a60d30.so.4.8.5").unversioned().defines(&["translate"]);
        venv.wheel("ctranslate2", "4.8.5", &[("ctranslate2.libs/libctranslate2-a7a60d30.so.4.8.5", bundled)]);
        venv.nvidia("cublas", "12.8.4.1", cublas_alone());
    });
    let found = ctranslate.first();
    assert_eq!((found.id, found.severity), ("bare-name-dlopen-consumers", Fatal));
    assert_eq!(
        found.cause,
        "`libctranslate2-a7a60d30.so.4.8.5` opens `libcublas.so.12`: installed, but not in any search path"
    );
    assert_eq!(commands(&found), [RUN]);
}

#[test]
fn library_that_another_one_needs_is_not_said_to_be_opened() {
    let machine = without_gpu().environment(|venv| {
        let lib = Lib::new("libtensorflow_framework.so.2").unversioned();
        let lib = lib.link("-rpath,$ORIGIN/../nvidia/cusparse/lib");
        lib.build(&venv.site.join("tensorflow/libtensorflow_framework.so.2"));
        let extra = "Requires-Dist: nvidia-cusparse-cu12 (==12.5.10.65) ; extra == 'and-cuda'\n";
        venv.dist_info("tensorflow", "2.21.0", extra, "");
        let sparse = Lib::new("libcusparse.so.12").uses("libnvJitLink.so.12", &["nvJitLinkCreate"]);
        venv.nvidia("cusparse", "12.5.10.65", sparse);
    });
    let found = machine.first();
    assert_eq!(found.id, "tf-cannot-dlopen");
    assert_eq!(
        found.cause,
        "TensorFlow 2.21.0 cannot open `lib/libcusparse.so.12`: it needs `libnvJitLink.so.12`, not found by ld.so"
    );
    let quiet = machine.report().findings.into_iter().find(|found| found.id == "silent-cpu-fallback").unwrap();
    assert!(quiet.cause.starts_with("TensorFlow prints `Cannot dlopen some GPU libraries`"), "{}", quiet.cause);
    assert_eq!(quiet.source, "https://www.tensorflow.org/install/pip");
}

#[test]
fn provider_beside_the_one_that_is_healed_may_lack_its_own_library() {
    // The TensorRT provider lies beside that for CUDA, and is opened only where it is asked for.
    let machine = without_gpu().environment(|venv| {
        let provider = |name: &str, soname: &str| Lib::new(name).uses(soname, &["f"]);
        let cuda = provider("libonnxruntime_providers_cuda.so", "libcublas.so.12");
        let other = provider("libonnxruntime_providers_tensorrt.so", "libnvinfer.so.10");
        let files = [
            ("onnxruntime/capi/libonnxruntime_providers_cuda.so", cuda),
            ("onnxruntime/capi/libonnxruntime_providers_tensorrt.so", other.uses("libcublas.so.12", &["f"])),
        ];
        venv.wheel("onnxruntime-gpu", "1.31.1", &files);
        venv.nvidia("cublas", "12.8.4.1", library("libcublas.so.12"));
    });
    let found = machine.first();
    assert_eq!(found.id, "ort-cuda-ep-missing-lib");
    assert_eq!(commands(&found), [RUN]);
}

#[test]
fn torch_that_loads_what_another_major_wrote_over_its_own_is_not_refused() {
    let machine = |run_path: &str| {
        without_gpu().environment(|venv| {
            let cuda = Lib::new("libtorch_cuda.so").unversioned().defines(&["g"]).uses("libnccl.so.2", &["f"]);
            let cuda = cuda.link(&format!("-rpath,{run_path}")).link("--disable-new-dtags");
            let extension =
                Lib::new("_C.so").unversioned().takes("libtorch_cuda.so", &["g"]).link("-rpath,$ORIGIN/lib");
            let files = [("lib/libtorch_cuda.so", cuda), ("_C.cpython-311.so", extension)];
            venv.torch("2.15.0+cu132", Some("13.2"), &["nvidia-nccl-cu13==2.30.7"], &files);
            venv.wheel("nvidia-nccl-cu12", "2.30.4", &[("nvidia/nccl/lib/libnccl.so.2", library("libnccl.so.2"))]);
        })
    };
    let works = machine("$ORIGIN/../../nvidia/nccl/lib").judged();
    assert!(works.answer().is_ok(), "{:?}", works.answer().err());
    // Where torch does not load it either, it is refused.
    assert!(machine("$ORIGIN").judged().answer().is_err());
}

#[test]
fn paddle_names_the_wheel_that_its_build_asks_for() {
    let machine = without_gpu().environment(|venv| {
        let core = Lib::new("libpaddle.so").unversioned();
        venv.wheel("paddlepaddle-gpu", "2.6.2", &[("paddle/base/libpaddle.so", core)]);
        let version = venv.site.join("paddle/version/__init__.py");
        std::fs::create_dir_all(version.parent().unwrap()).unwrap();
        std::fs::write(version, "cuda_version     = '11.8'\ncudnn_version    = '8.6.0'\n").unwrap();
    });
    let found = machine.first();
    assert_eq!((found.id, found.severity), ("bare-name-dlopen-consumers", Fatal));
    assert!(commands(&found)[0].contains("pip install 'nvidia-cudnn-cu11>=8.6.0,<9'"), "{:?}", found.remedies);
}
