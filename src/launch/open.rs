//! The chosen set, opened in this process.
//!
//! Takes a [`Plan`]; gives a [`LoadedSet`]: each library open, in the plan's order, by its absolute path, and kept open
//! for the life of the process. Never loads a file that is not the one the plan was made of, never maps a soname a
//! second time, never opens unasked what the plan leaves to ld.so. The only place that calls `dlopen`.
#![expect(unsafe_code, reason = "dlopen, dlsym, and the version functions of NVIDIA's libraries")]

mod error;
mod mapped;
mod version;

pub use error::{CallError, LoadError};
pub use version::{CudaVersion, CudnnVersion};

use crate::host::Host;
use crate::loader::Objects;
use crate::plan::{How, Plan, PlanLibrary};
use crate::tables::{dlopens_of, parse_library_name};
use libloading::os::unix::{Library, RTLD_LAZY, RTLD_LOCAL};
use mapped::{Copied, Mapped};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::c_int;
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};

impl Plan {
    /// Opens every library the plan chose. See [`Plan::load_only`].
    ///
    /// A library that ld.so refuses is an error only where another needs it ([`How::Preload`]). A library that is only
    /// opened by name may need one that is missing here (`libcufile_rdma.so.1` needs `libmlx5.so.1`):
    /// [`LoadedSet::left_out`] lists it.
    pub fn load(&self) -> Result<LoadedSet, LoadError> {
        self.open(&self.chosen().map(|library| (library.soname.as_str(), library.how == How::Preload)).collect())
    }

    /// Opens the libraries of these names (sonames, or aliases of the plan) and the chosen ones they need.
    ///
    /// A library that is opened by name later (the parts of `libcudnn.so.9`) comes from the set only if it is open by
    /// then: name it as well, or use [`Plan::load`].
    ///
    /// # Trust
    ///
    /// Opening a library runs its initialisers. The file is checked against the plan; whether the plan names a harmful
    /// file is up to its author, as with `LD_PRELOAD`.
    ///
    /// # Errors
    ///
    /// A name that is not in the plan, or a file that is missing, has changed or cannot be loaded. Libraries opened
    /// before the error stay open.
    ///
    /// # Platform behaviour
    ///
    /// ld.so matches a needed name against the sonames mapped so far, but a path by device and inode: another file of a
    /// mapped soname would become a second copy. So nothing is opened for a soname that is already mapped, and
    /// [`LoadedSet::mapped_before`] lists it.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use cudashim::{Host, Request};
    ///
    /// let answer = Request::default().answer(&Host::current())?;
    /// if let Some(found) = answer.resolution.filter(|found| found.plan.library("libcudart.so.12").is_some()) {
    ///     let set = found.plan.load_only(&["libcudart.so.12"])?;
    ///     println!("{:?}", set.runtime_version()?);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn load_only<S: AsRef<str>>(&self, names: &[S]) -> Result<LoadedSet, LoadError> {
        let mut requested = BTreeSet::new();
        let mut queue = Vec::new();
        for name in names.iter().map(AsRef::as_ref) {
            let library = self.library(name).or_else(|| self.lookup(name));
            let library = library.ok_or_else(|| LoadError::NotInPlan { name: name.to_owned() })?;
            requested.insert(library.soname.as_str());
            queue.push(library);
        }
        let host = Host::current();
        let objects = Objects::new(&host);
        let mut seen = BTreeSet::new();
        while let Some(library) = queue.pop() {
            if !seen.insert(library.soname.as_str()) {
                continue;
            }
            // ld.so finds a kept library by itself, but not everything that library needs.
            if library.how != How::Keep {
                requested.insert(library.soname.as_str());
            }
            if let Ok(object) = objects.open(&library.path) {
                queue.extend(object.facts.needed.iter().filter_map(|name| self.library(name.to_str()?)));
            }
        }
        self.open(&requested.into_iter().map(|soname| (soname, true)).collect())
    }

    /// Opens libraries by soname; the flag of each: whether failure to open it is an error.
    fn open(&self, requested: &BTreeMap<&str, bool>) -> Result<LoadedSet, LoadError> {
        let host = Host::current();
        let objects = Objects::new(&host);
        let mut set = LoadedSet { libraries: Vec::new(), left_out: Vec::new(), plan: self.clone() };
        for library in &self.libraries {
            let Some(required) = requested.get(library.soname.as_str()) else { continue };
            verify(&host, library)?;
            // Read each time: the previous library may have mapped this one, as in a cycle of needed entries.
            let mapped = Mapped::read(&objects).map_err(LoadError::Maps)?;
            let copy = mapped.of(library);
            let handle = match copy {
                Some(Copied::Other(_)) => None,
                Some(Copied::Same) | None => match open(library) {
                    Ok(handle) => Some(handle),
                    Err(error) if *required => return Err(error),
                    Err(error) => {
                        set.left_out.push(error);
                        continue;
                    }
                },
            };
            let origin = match copy {
                None => Origin::Opened,
                Some(Copied::Same) => Origin::Present,
                Some(Copied::Other(path)) => Origin::Other(path.to_owned()),
            };
            let (soname, path, version) = (library.soname.clone(), library.path.clone(), library.version.clone());
            set.libraries.push(LoadedLibrary { soname, path, version, origin, handle });
        }
        Ok(set)
    }
}

/// A set of libraries open in this process. Dropping it closes none of them.
#[derive(Debug)]
#[must_use]
pub struct LoadedSet {
    libraries: Vec<LoadedLibrary>,
    left_out: Vec<LoadError>,
    plan: Plan,
}

/// One library of a [`LoadedSet`].
#[derive(Debug)]
pub struct LoadedLibrary {
    /// Its soname.
    pub soname: String,
    /// The file the plan names.
    pub path: PathBuf,
    /// Its release, for people.
    pub version: Option<String>,
    /// How it came into the process.
    pub origin: Origin,
    /// Never closed: libraries of this kind start threads and register handlers that outlive any caller.
    handle: Option<ManuallyDrop<Library>>,
}

/// How a library came into the process.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// It was opened just now.
    Opened,
    /// It was mapped before, from the file the plan names.
    Present,
    /// Its soname was mapped before from this other file; the plan's file was not loaded.
    Other(PathBuf),
}

impl LoadedSet {
    /// The libraries, in the order they were opened.
    #[must_use]
    pub fn libraries(&self) -> &[LoadedLibrary] {
        &self.libraries
    }

    /// The libraries whose soname was mapped before from another file: every needed entry resolves to that file.
    pub fn mapped_before(&self) -> impl Iterator<Item = &LoadedLibrary> {
        self.libraries.iter().filter(|library| matches!(library.origin, Origin::Other(_)))
    }

    /// Why optional libraries are not open; see [`Plan::load`].
    #[must_use]
    pub fn left_out(&self) -> &[LoadError] {
        &self.left_out
    }

    /// The CUDA version of the runtime, by `cudaRuntimeGetVersion` of libcudart; `None` if the set has no such library.
    pub fn runtime_version(&self) -> Result<Option<CudaVersion>, CallError> {
        self.cuda_version("cudart", "cudaRuntimeGetVersion")
    }

    /// The newest CUDA version that the driver supports, by `cuDriverGetVersion` of libcuda; `None` if the set has no
    /// such library.
    pub fn driver_version(&self) -> Result<Option<CudaVersion>, CallError> {
        self.cuda_version("cuda", "cuDriverGetVersion")
    }

    /// The version of cuDNN, by `cudnnGetVersion`; `None` if the set has no such library.
    ///
    /// Since cuDNN 8, libcudnn only dispatches to parts that it opens by name, and ends the process if it cannot open
    /// one. So the part that defines the function is opened from the plan and called directly.
    pub fn cudnn_version(&self) -> Result<Option<CudnnVersion>, CallError> {
        let Some(library) = self.of_stem("cudnn") else { return Ok(None) };
        let function = "cudnnGetVersion";
        let Some(part) = self.part_with(library, function) else {
            if is_dispatcher(&library.soname) {
                return Err(library.no_part(function, None));
            }
            return library.cudnn_version(function).map(Some);
        };
        let parts = self.plan.load_only(&[&part.soname]).map_err(|error| library.no_part(function, Some(error)))?;
        let opened_part = parts.libraries.iter().find(|opened| opened.soname == part.soname).unwrap_or(library);
        opened_part.cudnn_version(function).map(Some)
    }

    /// The address of a function or a variable that a library of the set defines.
    ///
    /// # Errors
    ///
    /// The set does not hold the soname, another file of it is mapped, or the library does not define the symbol. A `T`
    /// that is not of the size of a pointer is an error too.
    ///
    /// # Safety
    ///
    /// `T` must be the type of a pointer to what `name` stands for: for a function an `extern "C" fn` of exactly its
    /// arguments and result, for a variable a raw pointer to its type. The compiler cannot check it: compare with the
    /// library's header.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let plan = cudashim::Plan::default();
    /// let set = plan.load_only(&["libnccl.so.2"])?;
    /// // SAFETY: nccl.h declares `ncclResult_t ncclGetVersion(int*)`; ncclResult_t is an enum without negative values.
    /// let get: unsafe extern "C" fn(*mut i32) -> u32 = unsafe { set.symbol("libnccl.so.2", "ncclGetVersion") }?;
    /// # let _ = get;
    /// # Ok(())
    /// # }
    /// ```
    pub unsafe fn symbol<T: Copy + 'static>(&self, soname: &str, name: &str) -> Result<T, CallError> {
        let library = self.libraries.iter().find(|library| library.soname == soname);
        let library = library.ok_or_else(|| CallError::NotLoaded { soname: soname.to_owned() })?;
        // SAFETY: the caller vouches for `T`.
        unsafe { library.symbol(name) }
    }

    /// Another library of the same group in the plan that defines a function.
    fn part_with(&self, library: &LoadedLibrary, function: &str) -> Option<&PlanLibrary> {
        let group = |soname: &str| parse_library_name(soname).and_then(|name| name.row.group);
        let host = Host::current();
        let objects = Objects::new(&host);
        let defines = |path: &Path| {
            let object = objects.open(path).ok()?;
            Some(object.elf().ok()?.defines(function.as_bytes(), None))
        };
        let mut others = self
            .plan
            .chosen()
            .filter(|other| other.soname != library.soname && group(&other.soname) == group(&library.soname));
        others.find(|other| defines(&other.path) == Some(true))
    }

    fn of_stem(&self, stem: &str) -> Option<&LoadedLibrary> {
        self.libraries
            .iter()
            .find(|library| parse_library_name(&library.soname).is_some_and(|name| name.stem() == stem))
    }

    /// Calls a function of the shape `int f(int *version)`.
    fn cuda_version(&self, stem: &str, function: &str) -> Result<Option<CudaVersion>, CallError> {
        let Some(library) = self.of_stem(stem) else { return Ok(None) };
        // SAFETY: cuda.h and cuda_runtime_api.h declare both functions with this signature; their results are enums,
        // which have the size of an int in C.
        let get: unsafe extern "C" fn(*mut c_int) -> c_int = unsafe { library.symbol(function) }?;
        let mut number: c_int = 0;
        // SAFETY: the argument points to an int of ours; neither function requires an initialised library.
        let status = unsafe { get(&raw mut number) };
        if status != 0 {
            let (soname, path) = (library.soname.clone(), library.path.clone());
            return Err(CallError::Status { soname, path, function: function.to_owned(), status });
        }
        let version = CudaVersion::from_number(number);
        version.map(Some).ok_or_else(|| library.implausible(function, number.to_string()))
    }
}

impl LoadedLibrary {
    /// # Safety
    /// As for [`LoadedSet::symbol`].
    unsafe fn symbol<T: Copy + 'static>(&self, name: &str) -> Result<T, CallError> {
        let Some(handle) = &self.handle else {
            let mapped = if let Origin::Other(path) = &self.origin { path.clone() } else { PathBuf::new() };
            return Err(CallError::Elsewhere { soname: self.soname.clone(), path: self.path.clone(), mapped });
        };
        let (soname, path, symbol) = (self.soname.clone(), self.path.clone(), name.to_owned());
        // SAFETY: the caller vouches for `T`; libloading checks its size.
        match unsafe { handle.get::<T>(name) } {
            // dlsym(3): an indirect function may resolve to a null pointer, which is no value of a function type.
            Ok(found) if found.clone().into_raw().is_null() => {
                Err(CallError::NoSymbol { soname, path, symbol, source: None })
            }
            // A copy outlives the `Symbol` it comes from, since the library is never closed.
            Ok(found) => Ok(*found),
            Err(source) => Err(CallError::NoSymbol { soname, path, symbol, source: Some(source) }),
        }
    }

    fn cudnn_version(&self, function: &str) -> Result<CudnnVersion, CallError> {
        // SAFETY: `size_t cudnnGetVersion(void)` in the header of every cuDNN release.
        let get: unsafe extern "C" fn() -> usize = unsafe { self.symbol(function) }?;
        // SAFETY: it takes nothing, reads nothing that must be set up before, and may be called from any thread.
        let number = unsafe { get() };
        CudnnVersion::from_number(number).ok_or_else(|| self.implausible(function, number.to_string()))
    }

    fn no_part(&self, function: &str, source: Option<LoadError>) -> CallError {
        let (soname, path, function) = (self.soname.clone(), self.path.clone(), function.to_owned());
        CallError::NoPart { soname, path, function, source: source.map(Box::new) }
    }

    fn implausible(&self, function: &str, value: String) -> CallError {
        CallError::Implausible {
            soname: self.soname.clone(),
            path: self.path.clone(),
            function: function.to_owned(),
            value,
        }
    }
}

/// Whether a library is known to dispatch its calls to libraries of its major version, opened by name.
fn is_dispatcher(soname: &str) -> bool {
    let Some(name) = parse_library_name(soname) else { return false };
    let Some(version) = &name.version else { return false };
    let tail = format!(".so.{}", version.major());
    let mut parts = dlopens_of(name.row.stem, Some(version)).filter(|row| row.required);
    parts.any(|row| row.expand(version, 0).is_some_and(|part| part.ends_with(&tail)))
}

/// Whether the file is still the one the plan was made of.
fn verify(host: &Host, library: &PlanLibrary) -> Result<(), LoadError> {
    let (soname, path) = (library.soname.clone(), library.path.clone());
    if !path.is_absolute() {
        return Err(LoadError::NotAbsolute { soname, path });
    }
    match host.stat(&library.path) {
        Err(source) => Err(LoadError::Gone { soname, path, source }),
        Ok(stat) if (stat.id, stat.size, stat.mtime) == (library.id, library.size, library.mtime) => Ok(()),
        Ok(_) => Err(LoadError::Changed { soname, path }),
    }
}

fn open(library: &PlanLibrary) -> Result<ManuallyDrop<Library>, LoadError> {
    // SAFETY: the file is the one the plan was made of, and the plan's author answers for its initialisers (see "Trust"
    // at `load_only`); its finalisers run at exit only, since the handle is never closed.
    let opened = unsafe { Library::open(Some(&library.path), RTLD_LAZY | RTLD_LOCAL) };
    let opened = opened.map_err(|source| LoadError::Open {
        soname: library.soname.clone(),
        path: library.path.clone(),
        source,
    })?;
    Ok(ManuallyDrop::new(opened))
}
