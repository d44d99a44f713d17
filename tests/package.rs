//! The Python package and the build backend, by their own tests.
#![cfg(has_python3)]

use std::process::Command;

#[test]
fn the_python_package_passes_its_tests() {
    let mut command = Command::new("python3");
    command.args(["-B", "-m", "unittest", "discover", "-s", "tests/python"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = command.env_remove("CUDASHIM_CACHE").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
