//! Findings about consumers of CUDA: extensions, other frameworks, pairs of packages.
//!
//! The results of `check` for the environment come from [`checked`]; rules that combine a package's metadata with its
//! files have a file each below. Without a usable GPU, libraries opened only for a GPU are not judged.

mod bitsandbytes;
mod extensions;
mod onnxruntime;
mod packages;
mod quiet;
mod torchvision;
mod xla;

use packages::short;
pub(super) use packages::{cuda_major, wheels};
pub(super) use torchvision::remedies as torchvision_anew;

use super::{Case, Finding, checked};
use crate::tables::Group;

/// The findings, causes before their effects.
pub(crate) fn findings(case: &Case<'_>) -> Vec<Finding> {
    let mut found = extensions::findings(case);
    found.extend(onnxruntime::finding(case));
    found.extend(xla::findings(case));
    found.extend(bitsandbytes::finding(case));
    found.extend(packages::searched(case));
    for other in checked::findings(case, Group::Frameworks).into_iter().chain(packages::bare_names(case)) {
        if !found.iter().any(|known| known.id == other.id) {
            found.push(other);
        }
    }
    let quiet = quiet::findings(case, &found);
    found.extend(quiet);
    found
}

/// A mangled name, shortened.
fn cut(symbol: &str) -> String {
    const SHOWN: usize = 60;
    match symbol.get(..SHOWN) {
        Some(start) if symbol.len() > SHOWN => format!("{start}…"),
        _ => symbol.to_owned(),
    }
}
