//! Which door reaches a program: the shim in `LD_PRELOAD`, or the loader's own auditor (rtld-audit(7)).
//!
//! Takes a program's file; gives the obstacles of each door, and the door to choose. Never starts the program.
//!
//! A preload object hooks dlopen too late for the libraries that the program is linked against: ld.so maps these before
//! any constructor runs. ld.so calls an auditor before it searches, but before glibc 2.35 any auditor makes every call
//! through the PLT slower (sourceware bug 15533) and breaks `BIND_NOW` programs (bug 23734).

use crate::elf::Glibc;
use crate::host::Host;
use crate::loader::{LinkMap, Loader, number, tunable};
use crate::loader::{ObjectError, Objects};
use crate::plan::{How, Plan};
use crate::tables::parse_library_name;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The first glibc in which an auditor without `la_symbind` does not slow down the program's calls (its `NEWS`).
const AUDITED_FREELY: Glibc = Glibc { major: 2, minor: 35, patch: 0 };

/// How a process gets the shim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Door {
    /// `LD_PRELOAD`.
    #[default]
    Preload,
    /// `LD_AUDIT`.
    Audit,
    /// `LD_PRELOAD`, with the plan's libraries listed in it for this program only: the shim removes them from the
    /// environment, so that children do not load them.
    Listed,
}

/// Why neither door reaches a program.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub enum OutOfReach {
    /// It runs in secure-execution mode, in which ld.so ignores both variables (ld.so(8)).
    SetUser,
    /// It has no ld.so.
    Static,
    /// Its loader is musl's.
    Musl,
    /// It is for another machine, or of another class.
    Foreign(String),
}

impl fmt::Display for OutOfReach {
    /// As a clause after the program's name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SetUser => f.write_str("is set-user-ID, so the loader ignores LD_PRELOAD and LD_AUDIT"),
            Self::Static => f.write_str("is statically linked, so no LD_PRELOAD or LD_AUDIT reaches it"),
            Self::Musl => f.write_str("is linked against musl; NVIDIA's libraries need glibc"),
            Self::Foreign(what) => write!(f, "is {what}; this preload object is not built for it"),
        }
    }
}

/// What decides which door reaches a program.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Target {
    /// Why no door reaches it.
    pub out_of_reach: Option<OutOfReach>,
    /// The first library of NVIDIA's that it, or what it is linked against, needs.
    pub linked: Option<String>,
    /// The C library it would start with, if known.
    pub glibc: Option<Glibc>,
    /// The static TLS it would lack under an auditor.
    pub tls: StaticTls,
    /// The runtime of `AddressSanitizer` it is linked against, which ends the process if any library precedes it.
    pub sanitizer: Option<String>,
}

/// Room for thread-local storage that an auditor takes from a program: glibc lays out the static block before it loads
/// auditors, so that what the program is linked with must go into the surplus (`elf/rtld.c`, `elf/dl-tls.c`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct StaticTls {
    /// Bytes needed beyond the surplus that comes with an auditor.
    pub lacks: u64,
    /// A library requires a larger alignment than the block has.
    pub misaligned: bool,
}

impl Target {
    /// Reads a program's file, and the objects that ld.so would map for it. An unreadable program has no obstacles.
    #[must_use]
    pub fn read(host: &Host, program: &Path) -> Self {
        let out_of_reach = out_of_reach(host, program);
        if out_of_reach.is_some() {
            return Self { out_of_reach, ..Self::default() };
        }
        let objects = Objects::new(host);
        let loader = Loader::new(&objects);
        let map = link_map(&loader, program);
        let audited_already = host.env("LD_AUDIT").is_some_and(|list| !list.is_empty());
        let tls = if audited_already { StaticTls::default() } else { StaticTls::of(&map) };
        Self { out_of_reach, linked: linked_in(&map), glibc: glibc(&map), tls, sanitizer: sanitizer(&map) }
    }

    /// `GLIBC_TUNABLES` that keep the program's static TLS under an auditor; `None` if no change is needed.
    #[must_use]
    pub fn tunables(&self, host: &Host) -> Option<OsString> {
        const NAME: &str = "glibc.rtld.optional_static_tls";
        if self.tls.lacks == 0 {
            return None;
        }
        let room = tunable(host, NAME).and_then(number).unwrap_or(OPTIONAL_TLS).saturating_add(self.tls.lacks);
        let others = host.env("GLIBC_TUNABLES").unwrap_or_default().as_bytes().split(|byte| *byte == b':');
        let others = others.filter(|one| !one.is_empty() && !one.starts_with(format!("{NAME}=").as_bytes()));
        let mut list: Vec<OsString> = others.map(|one| OsStr::from_bytes(one).to_owned()).collect();
        list.push(format!("{NAME}={room}").into());
        Some(list.join(OsStr::new(":")))
    }

    /// Whether an auditor does not slow down the program's calls. An unknown glibc counts as new.
    #[must_use]
    pub fn audits_freely(&self) -> bool {
        self.glibc.is_none_or(|glibc| glibc >= AUDITED_FREELY)
    }

    /// The door to choose, and why, as a clause after its name.
    #[must_use]
    pub fn choose(&self) -> (Door, String) {
        if let Some(sanitizer) = &self.sanitizer {
            return (Door::Audit, format!("the program needs {sanitizer}, which must come before all preloads"));
        }
        let Some(soname) = &self.linked else {
            return (Door::Preload, "the program itself is not linked against CUDA".to_owned());
        };
        if self.tls.misaligned || self.tls.lacks > MOST_TLS {
            return (
                Door::Listed,
                format!("the program is linked against {soname}, and its static TLS does not fit under an auditor"),
            );
        }
        if self.audits_freely() {
            return (
                Door::Audit,
                format!("the program is linked against {soname}, which is mapped before a preload acts"),
            );
        }
        let glibc = self.glibc.map_or_else(String::new, |glibc| format!(" {glibc}"));
        (
            Door::Listed,
            format!(
                "the program is linked against {soname}, and glibc{glibc} makes every call of an audited one slower"
            ),
        )
    }
}

impl StaticTls {
    fn of(map: &LinkMap<'_>) -> Self {
        let mut align = TCB_ALIGN;
        let mut all = Vec::new();
        for (index, mapped) in map.objects().iter().enumerate() {
            let Ok(elf) = mapped.object.elf() else { continue };
            let Some(tls) = elf.tls() else { continue };
            // The program and ld.so are mapped before the block is laid out.
            if index == 0 || mapped.is_interpreter() {
                align = align.max(tls.align);
            } else if elf.static_tls() {
                // TLS reached by `__tls_get_addr`, such as NVIDIA's page-aligned storage, has a separate block.
                all.push(tls);
            }
        }
        let taken: u64 = all.iter().map(|tls| tls.size.next_multiple_of(tls.align.max(1))).sum();
        let lacks = taken.saturating_sub(AUDITORS_TLS).next_multiple_of(TCB_ALIGN);
        Self { lacks, misaligned: all.iter().any(|tls| tls.align > align) }
    }
}

/// The `AddressSanitizer` that a program needs, or what it is linked with.
fn sanitizer(map: &LinkMap<'_>) -> Option<String> {
    let needed = map.objects().iter().flat_map(|mapped| mapped.object.facts.needed.iter());
    let is_asan = |name: &&str| name.starts_with("libasan.so") || name.starts_with("libclang_rt.asan");
    needed.filter_map(|name| name.to_str()).find(is_asan).map(str::to_owned)
}

/// Default of `glibc.rtld.optional_static_tls`.
const OPTIONAL_TLS: u64 = 512;
/// By how much the surplus grows with an auditor: `LIBC_IE_TLS` and `OTHER_IE_TLS`.
const AUDITORS_TLS: u64 = 144 + 144;
/// `TCB_ALIGNMENT`.
const TCB_ALIGN: u64 = 64;
/// The most to request: each thread of the program and of its children has the surplus on its stack.
const MOST_TLS: u64 = 64 * 1024;

/// Whether a program, or what it is linked against, needs a library of NVIDIA's: the first such name.
#[must_use]
pub fn linked(objects: &Objects, program: &Path) -> Option<String> {
    let loader = Loader::new(objects);
    linked_in(&link_map(&loader, program))
}

/// The entries of `LD_PRELOAD` that map a plan's [`How::Preload`] libraries with the program, in the plan's order.
/// `None` if a path cannot stand in the list: ld.so splits it at spaces and colons, and expands `$`.
#[must_use]
pub fn listed(plan: &Plan) -> Option<OsString> {
    let mut list = OsString::new();
    for library in plan.libraries.iter().filter(|library| library.how == How::Preload) {
        if library.path.as_os_str().as_bytes().iter().any(|byte| b" :$".contains(byte)) {
            return None;
        }
        if !list.is_empty() {
            list.push(":");
        }
        list.push(&library.path);
    }
    (!list.is_empty()).then_some(list)
}

fn out_of_reach(host: &Host, program: &Path) -> Option<OutOfReach> {
    let stat = host.stat(program).ok()?;
    if stat.mode & 0o6000 != 0 && stat.uid != rustix::process::geteuid().as_raw() {
        return Some(OutOfReach::SetUser);
    }
    match Objects::new(host).open(program) {
        Ok(object) if object.elf().is_ok_and(|elf| elf.ident().machine != OWN_MACHINE) => {
            Some(OutOfReach::Foreign("an object for another machine".to_owned()))
        }
        Ok(object) => match &object.facts.interpreter {
            None => object.elf().is_ok_and(|elf| elf.is_executable()).then_some(OutOfReach::Static),
            Some(path) if path.as_bytes().windows(7).any(|part| part == b"ld-musl") => Some(OutOfReach::Musl),
            Some(_) => None,
        },
        Err(ObjectError::Elf(error)) if error.is_foreign() => Some(OutOfReach::Foreign(error.to_string())),
        Err(_) => None,
    }
}

/// `e_machine` of this program.
const OWN_MACHINE: u16 = if cfg!(target_arch = "aarch64") { 183 } else { 62 };

/// The objects that ld.so would map at the start; none if it would refuse the program.
fn link_map<'l>(loader: &'l Loader, program: &Path) -> LinkMap<'l> {
    let mut map = LinkMap::new(loader);
    if let Err(error) = map.start(program) {
        log::debug!("{}: {error}", program.display());
    }
    map
}

/// The first library of NVIDIA's that the program needs, directly or not. `LD_PRELOAD` entries do not count.
fn linked_in(map: &LinkMap<'_>) -> Option<String> {
    let mut reached = vec![0];
    let mut at = 0;
    while let Some(mapped) = reached.get(at).and_then(|index| map.objects().get(*index)) {
        let mut needed = mapped.object.facts.needed.iter().filter_map(|name| name.to_str());
        if let Some(ours) = needed.find(|name| parse_library_name(name).is_some()) {
            return Some(ours.to_owned());
        }
        for index in &mapped.needed {
            if !reached.contains(index) {
                reached.push(*index);
            }
        }
        at += 1;
    }
    None
}

/// The newest release that the mapped libc.so.6 defines a node of.
fn glibc(map: &LinkMap<'_>) -> Option<Glibc> {
    let libc = map.by_name(OsStr::new("libc.so.6"))?;
    let elf = libc.object.elf().ok()?;
    elf.version_definitions().ok()?.iter().filter_map(|node| Glibc::of_node(node.name)).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_door_follows_from_the_program_and_its_libc() {
        let of = |linked: Option<&str>, minor| {
            let glibc = Some(Glibc { major: 2, minor, patch: 0 });
            Target { linked: linked.map(str::to_owned), glibc, ..Target::default() }.choose().0
        };
        assert_eq!(of(None, 36), Door::Preload);
        assert_eq!(of(None, 31), Door::Preload);
        assert_eq!(of(Some("libcudart.so.12"), 35), Door::Audit);
        assert_eq!(of(Some("libcudart.so.12"), 34), Door::Listed);
    }

    #[test]
    fn tunables_restore_the_static_tls_that_an_auditor_takes() {
        let of = |lacks, set: &str| {
            let variables = [("GLIBC_TUNABLES".into(), set.into())];
            let host = Host::new("/".into(), variables.into(), "/".into());
            let tls = StaticTls { lacks, misaligned: false };
            Target { tls, ..Target::default() }.tunables(&host)
        };
        let given = |lacks, set| of(lacks, set).and_then(|list| list.into_string().ok()).unwrap_or_default();
        assert_eq!(given(0, "a=1"), "");
        assert_eq!(given(64, ""), "glibc.rtld.optional_static_tls=576");
        assert_eq!(given(64, "a=1:glibc.rtld.optional_static_tls=0x400"), "a=1:glibc.rtld.optional_static_tls=1088");
        let tls = |lacks, misaligned| {
            let glibc = Some(Glibc { major: 2, minor: 36, patch: 0 });
            let linked = Some("libcudart.so.12".to_owned());
            Target { linked, glibc, tls: StaticTls { lacks, misaligned }, ..Target::default() }.choose().0
        };
        assert_eq!(tls(4096, false), Door::Audit);
        assert_eq!(tls(1 << 20, false), Door::Listed);
        assert_eq!(tls(0, true), Door::Listed);
    }

    #[test]
    fn a_list_holds_only_paths_that_ld_preload_can_express() {
        let library = |path: &str, how| crate::plan::PlanLibrary {
            soname: "libx.so.1".into(),
            path: path.into(),
            id: crate::host::FileId { dev: 1, ino: 1 },
            size: 1,
            mtime: 1,
            identity: None,
            version: None,
            how,
        };
        let plan = |libraries| Plan { libraries, ..Plan::default() };
        let both =
            plan(vec![library("/a/1", How::Preload), library("/b", How::Redirect), library("/a/2", How::Preload)]);
        assert_eq!(listed(&both).as_deref(), Some(OsStr::new("/a/1:/a/2")));
        assert_eq!(listed(&plan(vec![library("/a b/1", How::Preload)])), None);
        assert_eq!(listed(&plan(vec![library("/a", How::Keep)])), None);
    }
}
