//! Two scans of two environments.

use super::{answer, cublas, run};
use crate::support::world::{Lib, World};
use std::fs;

/// Two environments of two machines: what a package has at one place is one library.
#[test]
fn scans_of_two_environments_compared() {
    let world = World::new();
    let (one, two) = (world.venv("home/ann/one"), world.venv("srv/two"));
    let nccl = Lib::new("libnccl.so.2").unversioned();
    for venv in [&one, &two] {
        venv.wheel("nvidia-nccl-cu12", "2.21.5", &[("nvidia/nccl/lib/libnccl.so.2", nccl.clone())]);
    }
    let save = |name: &str, dir: &str| {
        fs::write(world.path(name), run(&mut world.rooted(["scan", dir, "--format", "json"])).1).unwrap();
    };
    let diff = || {
        save("one.json", "/home/ann/one");
        save("two.json", "/srv/two");
        run(&mut world.rooted(["diff", "/one.json", "/two.json"]))
    };
    let (code, said, _) = diff();
    assert_eq!((code, &*said), (Some(0), "nothing differs\n1 file is the same in another environment\n"));
    one.wheel("nvidia-cublas-cu12", "12.4.5.8", &cublas(&["cublasLtCreate"]));
    two.wheel("nvidia-cublas-cu12", "12.6.4.1", &cublas(&["cublasLtCreate", "cublasLtNew"]));
    let (code, said, _) = diff();
    assert_eq!(code, Some(1));
    assert!(said.ends_with("0 came, 0 went, 2 changed\n1 file is the same in another environment\n"), "{said}");
    assert!(said.contains("site-packages/nvidia/cublas/lib/libcublas.so.12: 12.4.5.8 → 12.6.4.1\n"), "{said}");
    let (_, json) = answer(&mut world.rooted(["diff", "/one.json", "/two.json"]), "diff.json");
    assert!(json["changed"][0]["was"].as_str().unwrap().starts_with("/home/ann/one/"), "{json:#}");
    // Two libraries tell their releases.
    let file = |venv: &str| format!("/{venv}/lib/python3.11/site-packages/nvidia/cublas/lib/libcublas.so.12");
    let (_, said, _) = run(&mut world.rooted(["diff", &file("home/ann/one"), &file("srv/two")]));
    assert!(said.contains("release: 12.4.5.8 → 12.6.4.1\n"), "{said}");
}
