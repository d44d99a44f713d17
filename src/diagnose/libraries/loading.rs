//! Objects that ld.so refuses although every library is found: executable stacks, and no room for thread-local
//! storage.
//!
//! Takes the objects that an environment loads; reads what each requires of the process. Loads nothing.

use super::super::{Case, Finding, Remedy};
use crate::check::{JudgedObject, Stage, name_of};
use crate::elf::Tls;
use crate::machine::Change;
use crate::tables::Severity;
use std::collections::BTreeSet;

/// Libraries that require an executable stack: from glibc 2.41 on, `dlopen` refuses them; before, it makes the stack
/// of the process executable (`NEWS` of 2.41), which is no finding.
pub(super) fn executable_stacks(case: &Case<'_>) -> Option<Finding> {
    const REFUSED_FROM: (u16, u16) = (2, 41);
    let program = case.interpreter.and_then(|python| case.objects.open(&python.program).ok());
    // A process with an executable stack accepts them.
    if program.is_some_and(|program| program.facts.executable_stack) {
        return None;
    }
    let glibc = case.loader.glibc();
    let refused = glibc.is_some_and(|glibc| glibc >= REFUSED_FROM);
    if glibc.is_some() && !refused {
        return None;
    }
    let loaded =
        opened(case).filter(|object| case.objects.open(&object.path).is_ok_and(|object| object.facts.executable_stack));
    let paths: BTreeSet<_> = loaded.map(|object| crate::host::tidy(&object.path)).collect();
    let first = paths.first()?;
    let here = glibc.map_or_else(|| "unknown".to_owned(), |(major, minor)| format!("{major}.{minor}"));
    let who = if refused { format!("glibc {here} refuses") } else { "glibc refuses from 2.41 on".to_owned() };
    let because = format!("`{}` needs an executable stack, which {who}", name_of(first));
    let found = case.finding("executable-stack")?.because(because);
    let found = paths.iter().fold(found, |found, path| found.seen_at("file", path, "PT_GNU_STACK with PF_X"));
    let found = found.seen("version", format!("glibc {here}"));
    let clear = Remedy::command(format!("patchelf --clear-execstack {}", first.display()));
    let tunable = refused.then(|| Remedy::command("export GLIBC_TUNABLES=glibc.rtld.execstack=2"));
    let severity = if refused { Severity::Fatal } else { Severity::Warning };
    Some(found.severity(severity).healed_by([clear].into_iter().chain(tunable)))
}

/// The spare room of the static block for objects opened later, with default tunables: `TLS_STATIC_SURPLUS` of
/// `elf/dl-tls.c` (64 + 16 * 100 up to glibc 2.31, the same by another sum since).
const SURPLUS: u64 = 1664;

/// The part of it that `glibc.rtld.optional_static_tls` sets.
const OPTIONAL: u64 = 512;

/// Opened libraries that need more room than the static block has.
pub(super) fn static_tls(case: &Case<'_>) -> Option<Finding> {
    let tunables = case.host.env("GLIBC_TUNABLES").and_then(|text| text.to_str()).unwrap_or_default();
    let configured =
        tunables.split(':').find_map(|one| one.strip_prefix("glibc.rtld.optional_static_tls=")?.parse().ok());
    let room = SURPLUS.saturating_sub(OPTIONAL).saturating_add(configured.unwrap_or(OPTIONAL));
    for judged in case.judged {
        let (mut used, mut users) = (0_u64, Vec::new());
        for object in judged.judgement.objects.iter().filter(|object| object.phase != Stage::Startup) {
            let Some(Tls { size, align, .. }) = block(case, object) else { continue };
            // Each block begins at its alignment.
            used = used.saturating_add(size).checked_next_multiple_of(align.max(1)).unwrap_or(u64::MAX);
            users.push((object, size));
            if used <= room {
                continue;
            }
            let path = crate::host::tidy(&object.path);
            let found = case.finding("static-tls")?.because(format!(
                "cannot open `{}`: {used} bytes of static TLS are needed, and {room} are available",
                name_of(&path)
            ));
            let each = |found: Finding, (object, size): &(&JudgedObject, u64)| {
                found.seen_at("file", &crate::host::tidy(&object.path), format!("{size} bytes of static TLS"))
            };
            let found = users.iter().rev().fold(found, each);
            let enough = used.saturating_sub(SURPLUS).saturating_add(OPTIONAL);
            let line = format!("export GLIBC_TUNABLES=glibc.rtld.optional_static_tls={enough}");
            let preload = format!("export LD_PRELOAD={}", path.display());
            let set = |name: &str, value: String| Change::Variable(name.to_owned(), Some(value.into()));
            let tunable = format!("glibc.rtld.optional_static_tls={enough}");
            return Some(
                found.healed_by([
                    Remedy::command(preload),
                    Remedy::command(line).making(set("GLIBC_TUNABLES", tunable)),
                ]),
            );
        }
    }
    None
}

/// The storage that an object requires in the static block.
fn block(case: &Case<'_>, object: &JudgedObject) -> Option<Tls> {
    let object = case.objects.open(&object.path).ok()?;
    let elf = object.elf().ok()?;
    elf.tls().filter(|_| elf.static_tls())
}

/// The objects that an environment opens after the start.
fn opened<'a>(case: &'a Case<'_>) -> impl Iterator<Item = &'a JudgedObject> {
    case.judged.iter().flat_map(|judged| &judged.judgement.objects).filter(|object| object.phase != Stage::Startup)
}
