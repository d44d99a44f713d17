//! Which programs run on which driver and GPU.
//!
//! Takes versions, capabilities and architectures; gives a [`Verdict`]. Pure: uses only its arguments and the tables of
//! `data/`. The rules are NVIDIA's:
//!
//! - A driver runs everything built for its own CUDA release and those before it.
//! - [Minor-version compatibility]: from the first driver of a CUDA major on, programs of every minor run, but for
//!   PTX, which a driver compiles only up to its own release, and features of later drivers.
//! - [Forward compatibility]: a libcuda of the `cuda-compat` package runs a later major on an older kernel module, of
//!   the branches it names, on data-center GPUs.
//! - [Application compatibility]: a cubin runs on GPUs of its major with the same or a higher minor; PTX is compiled
//!   for its own and all later capabilities.
//!
//! [Minor-version compatibility]: https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html
//! [Forward compatibility]: https://docs.nvidia.com/deploy/cuda-compatibility/forward-compatibility.html
//! [Application compatibility]: https://docs.nvidia.com/cuda/cuda-c-programming-guide/#application-compatibility

use super::{Compute, DriverFile, Role};
use crate::elf::fatbin::{Arch, FatBinaries, Reach};
use crate::tables::{self, Version};
use std::path::PathBuf;

/// Whether a program runs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// The driver's CUDA release is that of the program, or later.
    Runs,
    /// It is earlier, of the same major: all but PTX newer than the driver runs.
    RunsByMinorCompat {
        /// The CUDA release of the driver.
        driver: Version,
    },
    /// The driver is too old.
    NeedsDriver {
        /// The first driver that suffices, where known.
        floor: Option<Version>,
    },
    /// The libcuda of a compatibility package runs it.
    ViaCompat {
        /// That libcuda.
        path: PathBuf,
    },
    /// No code for the GPU, neither cubin nor PTX.
    NoCode {
        /// The GPU's capability.
        device: Compute,
    },
    /// PTX only, which this driver compiles.
    PtxOnly {
        /// The capability it was made for.
        from: Compute,
    },
    /// PTX only, of a later release than the driver can compile.
    PtxTooNew {
        /// The capability it was made for.
        from: Compute,
    },
    /// The driver's version or CUDA release is not known.
    Unknown,
}

impl Verdict {
    /// Whether it runs, as far as is known.
    #[must_use]
    pub fn runs(&self) -> bool {
        !matches!(self, Self::NeedsDriver { .. } | Self::NoCode { .. } | Self::PtxTooNew { .. })
    }
}

/// Whether a program built for a CUDA release runs on a driver.
///
/// ```
/// use cudashim::internal::driver::rules::{Verdict, on_driver};
/// use cudashim::Version;
///
/// let version = |text| Version::parse(text).unwrap();
/// let driver = version("535.261.03");
/// assert_eq!(on_driver(&version("12.1"), &driver), Verdict::Runs);
/// assert_eq!(on_driver(&version("12.8"), &driver), Verdict::RunsByMinorCompat { driver: version("12.2") });
/// assert_eq!(on_driver(&version("13.2"), &driver), Verdict::NeedsDriver { floor: Some(version("580.65.06")) });
/// ```
#[must_use]
pub fn on_driver(cuda: &Version, driver: &Version) -> Verdict {
    let own = cuda_of_driver(driver);
    if own.as_ref().is_some_and(|own| own >= &release(cuda)) {
        return Verdict::Runs;
    }
    let floor = tables::driver_floor(cuda.major());
    match (floor, own) {
        // A branch stands for every release of it.
        (Some(floor), _) if driver < floor && !floor.starts_with(driver) => {
            Verdict::NeedsDriver { floor: Some(floor.clone()) }
        }
        (Some(_), Some(own)) if own.major() == cuda.major() => Verdict::RunsByMinorCompat { driver: own },
        // A branch whose release is in no source (565): it is past the floor, so of its major.
        (Some(_), _) => Verdict::Unknown,
        (None, Some(own)) if own.major() < cuda.major() => Verdict::NeedsDriver { floor: None },
        (None, _) => Verdict::Unknown,
    }
}

/// The same where the libcuda of a compatibility package is loaded.
#[must_use]
pub fn on_driver_with(cuda: &Version, driver: &Version, loaded: Option<&DriverFile>) -> Verdict {
    let verdict = on_driver(cuda, driver);
    if let (Verdict::NeedsDriver { .. } | Verdict::RunsByMinorCompat { .. }, Some(file)) = (&verdict, loaded)
        && compat_fits(file, driver) == Some(true)
        && cuda_of_compat(file).is_some_and(|brings| brings.major() >= cuda.major())
    {
        return Verdict::ViaCompat { path: file.path.clone() };
    }
    verdict
}

/// Whether the libcuda of a compatibility package supports a kernel module, by its note, else by NVIDIA's list; `None`
/// where neither has it. Never one of its own branch or a later one: `cuInit` then ends in error 803.
#[must_use]
pub fn compat_fits(file: &DriverFile, kernel: &Version) -> Option<bool> {
    let Role::Compat { branches, .. } = &file.role else { return None };
    let own = file.version.as_deref().and_then(Version::parse);
    if own.as_ref() == Some(kernel) {
        return Some(true);
    }
    if own.as_ref().is_some_and(|own| own.major() <= kernel.major()) {
        return Some(false);
    }
    if !branches.is_empty() {
        return Some(branches.contains(&kernel.major()));
    }
    let cuda = cuda_of_compat(file)?;
    let row = tables::forward_compat().iter().find(|row| cuda.starts_with(&row.cuda))?;
    Some(row.base_branches.contains(&kernel.major()))
}

/// The CUDA release of a compatibility package.
#[must_use]
pub fn cuda_of_compat(file: &DriverFile) -> Option<Version> {
    let Role::Compat { cuda, .. } = &file.role else { return None };
    let noted = cuda.as_deref().and_then(Version::parse);
    noted.or_else(|| cuda_of_driver(&Version::parse(file.version.as_deref()?)?))
}

/// The CUDA release of a driver, by its branch; for a branch after the last known one, the last known release: a lower
/// bound.
#[must_use]
pub fn cuda_of_driver(driver: &Version) -> Option<Version> {
    if let Some(row) = tables::drivers().iter().find(|row| row.branch == driver.major()) {
        return row.cuda.clone();
    }
    let last = tables::drivers().iter().rfind(|row| row.cuda.is_some())?;
    (driver.major() > last.branch).then(|| last.cuda.clone()).flatten()
}

/// The code that a build carries for GPUs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Code {
    /// Machine code.
    pub cubins: Vec<Arch>,
    /// Intermediate code.
    pub ptx: Vec<Arch>,
}

impl Code {
    /// The row of a torch build in the table, if any.
    #[must_use]
    pub fn of_torch(version: &str) -> Option<Self> {
        Self::of_row(tables::torch_build(version, None)?)
    }

    /// The code in a row of that table.
    #[must_use]
    pub fn of_row(row: &tables::TorchRow) -> Option<Self> {
        let cubins: Vec<Arch> = row.sm.iter().filter_map(|sm| arch(sm)).collect();
        (!cubins.is_empty()).then_some(Self { cubins, ptx: Vec::new() })
    }

    /// The code in the fat binaries of an object, if any.
    #[must_use]
    pub fn of_fat_binaries(found: &FatBinaries) -> Option<Self> {
        let code = Self { cubins: found.cubins.keys().copied().collect(), ptx: found.ptx.keys().copied().collect() };
        (!code.cubins.is_empty() || !code.ptx.is_empty()).then_some(code)
    }

    /// The capabilities as text: `7.5 8.0 9.0a +PTX 12.0`.
    #[must_use]
    pub fn list(&self) -> String {
        let text = |arch: &Arch| {
            let suffix = match arch.reach {
                Reach::Baseline => "",
                Reach::Family => "f",
                Reach::Specific => "a",
            };
            format!("{}{suffix}", compute(*arch))
        };
        let mut words: Vec<String> = self.cubins.iter().map(text).collect();
        words.extend(self.ptx.iter().map(|arch| format!("{}+PTX", text(arch))));
        words.join(" ")
    }
}

/// Whether code runs on a GPU. `cuda` is the release it was compiled with, `driver` the driver's.
#[must_use]
pub fn on_device(code: &Code, device: Compute, cuda: Option<&Version>, driver: Option<&Version>) -> Verdict {
    if code.cubins.iter().any(|arch| cubin_runs(*arch, device)) {
        return Verdict::Runs;
    }
    let fits = |arch: &&Arch| arch.reach == Reach::Baseline && compute(**arch) <= device;
    let Some(from) = code.ptx.iter().filter(fits).map(|arch| compute(*arch)).max() else {
        return Verdict::NoCode { device };
    };
    match (cuda, driver) {
        (Some(cuda), Some(driver)) if driver < &release(cuda) => Verdict::PtxTooNew { from },
        _ => Verdict::PtxOnly { from },
    }
}

/// Whether the machine code of an architecture runs on a GPU.
fn cubin_runs(arch: Arch, device: Compute) -> bool {
    let made_for = compute(arch);
    match arch.reach {
        Reach::Specific => made_for == device,
        // A family is a row of minors of one major.
        Reach::Family | Reach::Baseline => made_for.major == device.major && made_for.minor <= device.minor,
    }
}

/// 90 is 9.0, 121 is 12.1.
fn compute(arch: Arch) -> Compute {
    Compute { major: arch.number / 10, minor: arch.number % 10 }
}

/// `9.0`, `9.0a`.
fn arch(text: &str) -> Option<Arch> {
    let (digits, reach) = match text.strip_suffix('a') {
        Some(digits) => (digits, Reach::Specific),
        None => text.strip_suffix('f').map_or((text, Reach::Baseline), |digits| (digits, Reach::Family)),
    };
    let Compute { major, minor } = Compute::parse(digits)?;
    Some(Arch { number: major.checked_mul(10)?.checked_add(minor)?, reach })
}

/// Major and minor: a driver serves every patch of its release.
fn release(cuda: &Version) -> Version {
    let text = format!("{}.{}", cuda.major(), cuda.minor().unwrap_or(0));
    Version::parse(&text).unwrap_or_else(|| cuda.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        Version::parse(text).unwrap()
    }

    fn compat(version: &str, branches: &[u64]) -> DriverFile {
        DriverFile {
            path: "/usr/local/cuda/compat/libcuda.so.1".into(),
            names: Vec::new(),
            soname: "libcuda.so.1".to_owned(),
            version: Some(version.to_owned()),
            role: Role::Compat { cuda: None, branches: branches.to_vec() },
        }
    }

    #[test]
    fn floors_and_minors() {
        let on = |cuda, driver| on_driver(&version(cuda), &version(driver));
        let minor = |own| Verdict::RunsByMinorCompat { driver: version(own) };
        let needs = |floor| Verdict::NeedsDriver { floor: Some(version(floor)) };
        // The patch of a release does not count, and a driver serves what came before it.
        for (cuda, driver) in
            [("12.2.2", "535.54.03"), ("11.8", "535.54.03"), ("10.2", "535.54.03"), ("13.4", "700.10")]
        {
            assert_eq!(on(cuda, driver), Verdict::Runs, "{cuda} on {driver}");
        }
        assert_eq!(on("12.9", "525.60.13"), minor("12.0"));
        assert_eq!(on("12.9", "525.60.12"), needs("525.60.13"));
        assert_eq!(on("12.0", "525.60.12"), Verdict::Runs);
        assert_eq!(on("11.8", "450.80.02"), minor("11.0"));
        assert_eq!(on("13.0", "575.57.08"), needs("580.65.06"));
        assert_eq!(on("14.0", "580.65.06"), Verdict::NeedsDriver { floor: None });
        assert_eq!(on("12.8", "565.57.01"), Verdict::Unknown);
        // After the last known branch: at least the last known release; the next is unknown.
        assert_eq!(on("13.9", "700.10"), minor("13.4"));
    }

    #[test]
    fn compatibility_packages() {
        let fits = |file: &DriverFile, kernel| compat_fits(file, &version(kernel));
        // Its note comes before the table.
        assert_eq!(fits(&compat("580.95.05", &[535, 545]), "545.23.08"), Some(true));
        assert_eq!(fits(&compat("580.95.05", &[535]), "570.124.06"), Some(false));
        // Without a note, the table decides.
        assert_eq!(fits(&compat("580.95.05", &[]), "570.124.06"), Some(true));
        assert_eq!(fits(&compat("580.95.05", &[]), "545.23.08"), Some(false));
        // No row for CUDA 12.2.
        assert_eq!(fits(&compat("535.54.03", &[]), "525.60.13"), None);
        // Not on its own branch, unless it is the driver itself.
        assert_eq!(fits(&compat("580.95.05", &[]), "580.65.06"), Some(false));
        assert_eq!(fits(&compat("580.95.05", &[]), "580.95.05"), Some(true));
        let with = |cuda: &str, file: &DriverFile| on_driver_with(&version(cuda), &version("535.54.03"), Some(file));
        let path = compat("", &[]).path;
        assert_eq!(with("13.0", &compat("580.95.05", &[])), Verdict::ViaCompat { path });
        assert!(!with("13.0", &compat("570.124.06", &[])).runs());
        assert_eq!(with("12.1", &compat("580.95.05", &[])), Verdict::Runs);
    }

    #[test]
    fn code_for_devices() {
        let code = |cubins: &[&str], ptx: &[&str]| {
            let arches = |list: &[&str]| list.iter().map(|text| arch(text).unwrap()).collect();
            Code { cubins: arches(cubins), ptx: arches(ptx) }
        };
        let on = |code: &Code, device: &str| {
            on_device(code, Compute::parse(device).unwrap(), Some(&version("12.8")), Some(&version("12.4")))
        };
        let torch = code(&["7.5", "8.0", "9.0a"], &[]);
        assert_eq!(on(&torch, "8.9"), Verdict::Runs);
        assert_eq!(on(&torch, "7.5"), Verdict::Runs);
        assert_eq!(on(&torch, "9.0"), Verdict::Runs);
        let none = |device| Verdict::NoCode { device: Compute::parse(device).unwrap() };
        // Neither an earlier minor, nor another major, nor a neighbour of `a`.
        assert_eq!((on(&torch, "7.0"), on(&torch, "10.0")), (none("7.0"), none("10.0")));
        assert_eq!(on(&code(&["10.0f"], &[]), "10.3"), Verdict::Runs);
        assert_eq!(on(&code(&["12.0a"], &[]), "12.1"), none("12.1"));
        let from = Compute { major: 8, minor: 0 };
        let ptx = code(&["7.5"], &["7.5", "8.0", "10.0"]);
        assert_eq!(on(&ptx, "9.0"), Verdict::PtxTooNew { from });
        assert_eq!(
            on_device(&ptx, Compute { major: 9, minor: 0 }, Some(&version("12.4.1")), Some(&version("12.4"))),
            Verdict::PtxOnly { from }
        );
        assert_eq!(ptx.list(), "7.5 7.5+PTX 8.0+PTX 10.0+PTX");
    }

    #[test]
    fn torch_builds_carry_code() {
        let code = Code::of_torch("2.8.0+cu128").unwrap();
        assert_eq!(on_device(&code, Compute { major: 12, minor: 0 }, None, None), Verdict::Runs);
        assert!(Code::of_torch("2.8.0+cpu").is_none() && Code::of_torch("x").is_none());
    }
}
