//! The facts about NVIDIA's libraries: the tables of `data/`, compiled in.
//!
//! Takes nothing at run time; returns typed rows, each with its source. The tables are parsed once,
//! on first use. A row that cannot be parsed is skipped (and fails a unit test).
//! Never opens files, never logs, never panics.
//!
//! ```
//! use cudashim::internal::tables;
//!
//! let torch = tables::torch_build("2.5.1", Some("cu124")).unwrap();
//! assert_eq!(torch.pins["cudnn"].to_string(), "9.1.0.70");
//!
//! let name = tables::parse_library_name("libcudnn-74a4c495.so.9.1.0").unwrap();
//! assert_eq!((name.stem(), name.hash), ("cudnn", Some("74a4c495")));
//! ```

mod causes;
mod cudnn;
mod dlopens;
mod driver_symbols;
mod drivers;
mod families;
mod findings;
mod first_seen;
mod frameworks;
mod gpus;
mod known_bad;
mod messages;
mod name;
mod probes;
mod range;
mod requires;
mod table;
mod toolkits;
mod torch;
mod torchvision;
mod variables;
mod version;
mod wildcard;

pub use causes::{brings, tests_of};
pub use cudnn::{CudnnRow, cudnn_release, cudnn_releases};
pub use dlopens::{DlopenRow, dlopens, dlopens_of};
pub use driver_symbols::driver_symbol;
pub use drivers::{
    CompatRow, ComputeRow, DriverRow, Modules, compute_capabilities, driver_cuda, driver_floor, drivers, drivers_read,
    forward_compat,
};
pub use families::{FamilyRow, cuda_major_of_wheel, families, family_of_stem, family_of_symbol, group_members};
pub use findings::{FindingRow, Group, Phase, RemedyRow, Severity, finding_row, finding_rows};
pub use first_seen::{Bracket, FirstSeenRow, bracket, first_seen};
pub use frameworks::{FrameworkRow, Search, Without, framework, framework_of_module, frameworks};
pub use gpus::{GpuClass, GpuNameError, GpuRow, gpu_named, gpus};
pub use known_bad::{KnownBad, Level, Need, known_bad};
pub use messages::{MessageRow, TranslationRow, messages, translations};
pub use name::{LibraryName, parse_library_name};
pub use probes::{Call, ProbeRow, probes, probes_of};
pub use range::VersionRange;
pub use requires::required_by;
pub use toolkits::{SonameRow, ToolkitRow, sonames, sonames_of, toolkit, toolkit_of, toolkits};
pub use torch::{Supply, TorchRow, torch_build, torch_builds, torch_builds_read};
pub use torchvision::{TorchvisionRow, torchvision_for, torchvisions};
pub use variables::{HOST_PREFIX, VariableRow, variable, variables};
pub use version::Version;
pub use wildcard::wildcard;
