//! Reads the record of a conda package: it owns what it lists, under the name and version it gives.
//!
//! The body of the fuzz target, and of the test that goes through `seeds` and `findings`.

use super::machine::Machine;
use cudashim::Inventory;
use cudashim::internal::inventory::places::{Place, Provenance};
use cudashim::internal::inventory::{Owner, Owners, Verified};
use cudashim::internal::loader::Objects;
use serde_json::Value;

const PATH: &str = "lib/libcudart.so.12";

/// Takes the bytes of a JSON file in `conda-meta`.
pub(crate) fn run(bytes: &[u8]) {
    let files: [(&str, &[u8]); 2] = [("e/conda-meta/cuda-cudart-12.json", bytes), ("e/lib/libcudart.so.12", b"hello")];
    let machine = Machine::with(&files);
    let host = machine.host();
    let objects = Objects::new(&host);
    let place = Place { dir: "/e/lib".into(), provenance: Provenance::Conda, root: "/e".into() };
    let inventory = Inventory::scan(&objects, vec![place]);
    let [library] = inventory.libraries.as_slice() else { panic!("one library") };
    let Owner::Conda { package, .. } = &library.owner else { panic!("{:?}", library.owner) };
    let verified = Owners::default().verify(&host, library);
    let Some(package) = package else {
        assert_eq!(verified, Verified::Unknown);
        return;
    };
    // Strings that nobody asks for may be no text.
    let Ok(json) = serde_json::from_slice::<Value>(bytes) else { return };
    assert_eq!((json["name"].as_str(), json["version"].as_str()), (Some(&*package.name), Some(&*package.version)));
    let listed = json["files"].as_array().into_iter().flatten().any(|path| path == PATH);
    let data = || json["paths_data"]["paths"].as_array().into_iter().flatten().filter(|data| data["_path"] == PATH);
    assert!(listed || data().next().is_some());
    // The digest of `hello`, in the letters it was written in.
    let intact = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    let says = |key: &str| data().any(|data| data[key].as_str().is_some_and(|sum| sum.eq_ignore_ascii_case(intact)));
    assert!(verified != Verified::Intact || says("sha256") || says("sha256_in_prefix"));
}
