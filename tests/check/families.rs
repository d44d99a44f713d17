//! Libraries beyond the toolkit's that a package opens: DALI's nvImageCodec, the provider of TensorRT.

use crate::support::*;
use serde_json::Value;

const SITE: &str = "/venv/lib/python3.11/site-packages";

/// DALI with an nvImageCodec that fits it, and another first on the search path.
fn dali(first: &str) -> (i32, Value) {
    let (world, venv) = Machine::with_venv();
    let codec = Lib::new("libnvimgcodec.so.0").unversioned();
    venv.wheel("nvidia-nvimgcodec-cu12", "0.9.0.20", &[("nvidia/nvimgcodec/libnvimgcodec.so.0", codec.clone())]);
    let operators = Lib::new("libdali_operators.so").unversioned().link("-rpath,$ORIGIN/../nvimgcodec");
    let operators = operators.link("--enable-new-dtags");
    venv.wheel("nvidia-dali-cuda120", "2.4.0", &[("nvidia/dali/libdali_operators.so", operators)]);
    let requires = "Requires-Dist: nvidia-nvimgcodec-cu12[all]<0.10.0,>=0.9.0";
    let record = venv.site.join("nvidia_dali_cuda120-2.4.0.dist-info/RECORD");
    let record = std::fs::read_to_string(record).unwrap();
    venv.dist_info("nvidia-dali-cuda120", "2.4.0", requires, &record);
    let other = world.venv("other");
    other.wheel(
        "nvidia-nvimgcodec-cu12",
        first,
        &[("nvidia/nvimgcodec/libnvimgcodec.so.0", codec.source("int other;"))],
    );
    let operators = venv.site.join("nvidia/dali/libdali_operators.so");
    let mut command = world.cudashim(["check".as_ref(), operators.as_os_str(), "--bare".as_ref()]);
    answer(command.env("LD_LIBRARY_PATH", other.site.join("nvidia/nvimgcodec")), "check.json")
}

#[test]
fn check_finds_a_library_older_than_its_consumer_requires() {
    let (code, said) = dali("0.3.0.5");
    assert_eq!((code, said["verdict"].as_str()), (1, Some("torn")), "{said:#}");
    let found = said["findings"].as_array().unwrap();
    let found = found.iter().find(|found| found["id"] == "library-older-wins").unwrap_or_else(|| panic!("{said:#}"));
    assert_eq!(
        found["says"],
        "nvidia-dali-cuda120 2.4.0 requires nvidia-nvimgcodec-cu12<0.10.0,>=0.9.0, but gets `libnvimgcodec.so.0` 0.3.0.5 \
         (LD_LIBRARY_PATH)"
    );
    // Within the range, and newer than it: nothing says that it fails.
    for fits in ["0.9.0.5", "0.11.0.1"] {
        let (code, said) = dali(fits);
        assert_eq!((code, said["verdict"].as_str()), (0, Some("loads")), "{said:#}");
    }
}

#[test]
fn resolve_serves_the_provider_of_tensorrt() {
    let (world, venv) = Machine::with_venv();
    let parts = ["nvinfer", "nvinfer_plugin", "nvonnxparser"];
    let names: Vec<(String, String)> =
        parts.iter().map(|stem| (format!("tensorrt_libs/lib{stem}.so.10"), format!("lib{stem}.so.10"))).collect();
    let libraries = names.iter().map(|(path, soname)| (path.as_str(), Lib::new(soname).unversioned()));
    venv.wheel("tensorrt-cu12-libs", "10.7.0", &libraries.collect::<Vec<_>>());
    let provider = Lib::new("libonnxruntime_providers_tensorrt.so").unversioned();
    let provider = names.iter().fold(provider, |provider, (_, soname)| provider.uses_of(soname, None, &[]));
    venv.wheel("onnxruntime-gpu", "1.22.0", &[("onnxruntime/capi/libonnxruntime_providers_tensorrt.so", provider)]);
    let (code, said) = answer(&mut world.rooted(["resolve", "--python", "/venv/bin/python"]), "resolve.json");
    assert_eq!(code, 0, "{said:#}");
    let paths: Vec<&str> = said["set"].as_array().unwrap().iter().filter_map(|it| it["path"].as_str()).collect();
    let expected: Vec<String> = names.iter().map(|(path, _)| format!("{SITE}/{path}")).collect();
    assert_eq!(paths, expected, "{said:#}");
}
