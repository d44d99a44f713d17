//! Every copy of NVIDIA's libraries on this machine: in the active environment, the toolkits, the system.
//!
//! cargo run --example 01-find-libraries
#![expect(clippy::print_stdout, reason = "what it finds is its output")]

use cudashim::Machine;

fn main() {
    let machine = Machine::current();
    // Reads file names, dynamic tables and package records. No library is run.
    let inventory = machine.inventory();
    for library in &inventory.libraries {
        let version = library.version.as_ref().map_or("?", |version| version.as_str());
        let owner = library.package().unwrap_or("no package");
        println!("{:32} {version:16} {owner}\n    {}", library.load_name(), library.path.display());
        // Each version comes with its evidence.
        for evidence in &library.evidence {
            println!("    {}", evidence.says);
        }
        if let Some(why) = &library.unusable {
            println!("    unusable: {why}");
        }
    }
    if inventory.libraries.is_empty() {
        println!("no library of NVIDIA's found: activate an environment that has torch");
    }
}
