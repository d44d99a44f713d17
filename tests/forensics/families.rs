//! `scan` of libraries beyond the toolkit's: who finds them, and copies that a wheel vendors.

use crate::support::*;

#[test]
fn scan_names_the_framework_whose_run_path_finds_a_library() {
    let (world, venv) = Machine::with_venv();
    venv.nvidia("nccl", "2.32.3", Lib::new("libnccl.so.2").unversioned());
    venv.nvidia("cufft", "11.4.1.4", Lib::new("libcufft.so.11"));
    // It needs neither: it opens them by name.
    let framework = Lib::new("libtensorflow_framework.so.2").unversioned();
    let framework = framework.link("-rpath,$ORIGIN/../nvidia/nccl/lib:$ORIGIN");
    framework.build(&venv.site.join("tensorflow/libtensorflow_framework.so.2"));
    let said = world.run_rooted(["scan", "/"]).out;
    insta::assert_snapshot!(said, @"
        library        release  CUDA found by
    /venv/lib/python3.11/site-packages
      nvidia-cufft-cu12 11.4.1.4 (wheel)
        libcufft.so.11 11.4.1.4 12.9 -
      nvidia-nccl-cu12 2.32.3 (wheel)
        libnccl.so.2   2.32.3   12   run path by libtensorflow_framework.so.2

    2 libraries in 1 place; run `cudashim inspect FILE` for details
    1 with `-` is not found by name: only a program that knows the path loads it
    ");
}

#[test]
fn scan_lists_vendored_copies_and_parts_of_two_releases() {
    let (world, venv) = Machine::with_venv();
    for name in ["libcudart.e8e8b82a.so.12", "libnvjpeg-8dd2b5e6.so.12"] {
        Lib::new(name).unversioned().build(&venv.site.join("torchvision.libs").join(name));
    }
    let part = |stem: &str| Lib::new(&format!("lib{stem}.so.10")).unversioned();
    for (stem, release) in [("nvinfer", "10.7.0"), ("nvinfer_plugin", "10.7.0"), ("nvonnxparser", "10.3.0")] {
        let dir = world.path("opt/TensorRT-10.7/lib");
        let file = format!("lib{stem}.so.{release}");
        part(stem).build(&dir.join(&file));
        std::os::unix::fs::symlink(file, dir.join(format!("lib{stem}.so.10"))).unwrap();
    }
    let said = world.run_rooted(["scan", "/"]).out;
    insta::assert_snapshot!(said, @"
        library                  release         CUDA found by
    /opt/TensorRT-10.7/lib
      TensorRT 10.7
        libnvinfer.so.10         10.7.0 (likely) -    -        2 names
        libnvinfer_plugin.so.10  10.7.0 (likely) -    -        2 names
        libnvonnxparser.so.10    10.3.0 (likely) -    -        parts-of-two-releases, 2 names

    /venv/lib/python3.11/site-packages
      owner unknown
        libcudart.e8e8b82a.so.12 ?               12   -        vendored copy
        libnvjpeg-8dd2b5e6.so.12 ?               -    -        vendored copy

    5 libraries in 2 places; run `cudashim inspect FILE` for details
    5 with `-` are not found by name: only a program that knows the path loads them

    1 problem

    parts-of-two-releases: parts of one library, as of TensorRT or DALI, are of different releases
      /opt/TensorRT-10.7/lib/libnvonnxparser.so.10
        of 10.3.0, but `libnvinfer.so.10` beside it is of 10.7.0
      what to do: remove the other directory from the search path, or start programs with `cudashim
        run`, which hands out one release
    ");
    let copy = "/venv/lib/python3.11/site-packages/torchvision.libs/libcudart.e8e8b82a.so.12";
    let said = world.run_rooted(["inspect", copy]).out;
    assert!(said.contains("the wheel's build put the hash e8e8b82a into its name"), "{said}");
    assert!(!said.contains("resembles"), "{said}");
}
