//! Two scans of two environments.

use crate::support::*;

/// Two environments of two machines: what a package has at one place is one library.
#[test]
fn diff_of_two_environments() {
    let world = Machine::new();
    let (one, two) = (world.venv("home/ann/one"), world.venv("srv/two"));
    let nccl = Lib::new("libnccl.so.2").unversioned();
    for venv in [&one, &two] {
        venv.nvidia("nccl", "2.21.5", nccl.clone());
    }
    let save = |name: &str, dir: &str| {
        world.write(name, world.run_rooted(["scan", dir, "--format", "json"]).out);
    };
    let diff = || {
        save("one.json", "/home/ann/one");
        save("two.json", "/srv/two");
        world.run_rooted(["diff", "/one.json", "/two.json"])
    };
    let Process { code, out: said, .. } = diff();
    assert_eq!((code, &*said), (Some(0), "nothing differs\n1 file is the same in another environment\n"));
    one.wheel("nvidia-cublas-cu12", "12.4.5.8", &cublas_with(&["cublasLtCreate"]));
    two.wheel("nvidia-cublas-cu12", "12.6.4.1", &cublas_with(&["cublasLtCreate", "cublasLtNew"]));
    let Process { code, out: said, .. } = diff();
    assert_eq!(code, Some(1));
    assert!(said.ends_with("0 came, 0 went, 2 changed\n1 file is the same in another environment\n"), "{said}");
    assert!(said.contains("site-packages/nvidia/cublas/lib/libcublas.so.12: 12.4.5.8 → 12.6.4.1\n"), "{said}");
    let (_, json) = answer(&mut world.rooted(["diff", "/one.json", "/two.json"]), "diff.json");
    assert!(json["changed"][0]["was"].as_str().unwrap().starts_with("/home/ann/one/"), "{json:#}");
    // Two libraries contain their releases.
    let file = |venv: &str| format!("/{venv}/lib/python3.11/site-packages/nvidia/cublas/lib/libcublas.so.12");
    let Process { out: said, .. } = world.run_rooted(["diff", &file("home/ann/one"), &file("srv/two")]);
    assert!(said.contains("release: 12.4.5.8 → 12.6.4.1\n"), "{said}");
}
