//! Every copy of NVIDIA's libraries: in the directories given, in the active virtual environment, on the machine.
//!
//! cargo run --example 01-find-libraries -- [DIRECTORY…]
#![expect(clippy::print_stdout, reason = "what it finds is its output")]

use cudashim::inventory::places;
use cudashim::inventory::{Owner, problems, reach};
use cudashim::{Host, Inventory, Loader, Objects};
use std::path::Path;

fn main() {
    // The machine we look at. `Host::new` would take the root of a container image instead.
    let host = Host::current();
    // Every ELF file that is looked at goes through here and is opened once.
    let objects = Objects::new(&host);
    // What ld.so searches: LD_LIBRARY_PATH, /etc/ld.so.cache, the default directories.
    let loader = Loader::new(&objects);

    // Places are directories and why we look there. Where one is named twice, the first naming counts.
    let mut places = Vec::new();
    for dir in std::env::args_os().skip(1) {
        places.extend(places::given(&host, Path::new(&dir)));
    }
    if let Some(venv) = host.env("VIRTUAL_ENV") {
        places.extend(places::sites(&host, &places::venv_sites(&host, Path::new(venv))));
    }
    places.extend(places::machine(&host, &loader));

    // Reads file names, dynamic tables and package records. No library is run.
    let inventory = Inventory::scan(&objects, places);
    // By which search path, if by any, a `dlopen` would come to each copy today.
    let reached = reach(&inventory, &loader);
    for (library, reached) in inventory.libraries.iter().zip(&reached) {
        let version = library.version.as_ref().map_or("?", |version| version.as_str());
        let owner = match (&library.owner, library.owner.name()) {
            (Owner::None, _) => "nobody known".to_owned(),
            (owner, name) => format!("{} {} {}", owner.kind(), name.unwrap_or(""), owner.version().unwrap_or("")),
        };
        println!("{:32} {version:16} {owner}\n    {}", library.asked_as(), library.path.display());
        for reach in reached {
            println!("    reached by {}", reach.rule());
        }
        // A version is only as good as what speaks for it.
        for evidence in &library.evidence {
            println!("    {:?}: {}", evidence.kind, evidence.says);
        }
        if let Some(why) = &library.unusable {
            println!("    not to be loaded: {why}");
        }
    }
    for problem in problems(&inventory, &loader) {
        println!("problem: {}: {}: {}", problem.id, problem.path.display(), problem.says);
    }
    if inventory.libraries.is_empty() {
        println!("no library of NVIDIA's here: name a directory, or activate an environment that has torch");
    }
}
