//! Findings about variables that ld.so reads: objects that it cannot preload, directories that it parses
//! unexpectedly.
//!
//! A directory that does not exist is no finding: images set `LD_LIBRARY_PATH` to mount points of the driver.

use crate::diagnose::{Case, Finding, Remedy};
use crate::loader::{LinkMap, Rule};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A program as it starts, with the preloaded objects.
fn started<'l>(case: &Case<'l>) -> LinkMap<'l> {
    let mut map = LinkMap::new(case.loader);
    let programs = [case.interpreter.map(|python| python.program.clone()), Some("/bin/sh".into())];
    for program in programs.into_iter().flatten() {
        if map.start(&program).is_ok() {
            return map;
        }
    }
    for entry in case.loader.preload().iter().chain(case.loader.preload_file()) {
        let _ = map.open(entry, None);
    }
    map
}

/// A missing library that a preloaded object needs ends every program: ld.so(8).
pub(super) fn preload(case: &Case<'_>) -> Option<Finding> {
    if case.loader.preload().is_empty() && case.loader.preload_file().is_empty() {
        return None;
    }
    let map = started(case);
    let entries: Vec<&OsStr> =
        case.loader.preload().iter().chain(case.loader.preload_file()).map(std::ffi::OsString::as_os_str).collect();
    let preloaded = |path: &Path| {
        map.objects().iter().any(|mapped| {
            mapped.path == *path
                && (mapped.rule == Rule::Preload || mapped.names.iter().any(|name| entries.contains(&name.as_os_str())))
        })
    };
    let missing = map.missing().iter().find(|missing| preloaded(&missing.needed_by))?;
    let name = missing.name.to_string_lossy();
    let object = &missing.needed_by;
    let from = if case.loader.preload().is_empty() { "/etc/ld.so.preload" } else { "LD_PRELOAD" };
    let found = case
        .finding("preload-needs-unresolvable")?
        .because(format!("`{}` of {from} needs `{name}`, which is not found: no program starts", last(object)))
        .seen_at("file", object, format!("needs `{name}`"))
        .seen("message", missing.error().to_string())
        .seen("variable", format!("{from}={}", joined(&entries)));
    let kept: Vec<&OsStr> = entries.iter().copied().filter(|entry| Path::new(entry) != object.as_path()).collect();
    let out = if from != "LD_PRELOAD" {
        Remedy::action(format!("remove `{}` from /etc/ld.so.preload", object.display()))
    } else if kept.is_empty() {
        Remedy::command("unset LD_PRELOAD")
    } else {
        Remedy::command(format!("export LD_PRELOAD={}", quoted(&joined(&kept))))
    };
    let copy =
        case.inventory.serving(&name).find(|library| library.unusable.is_none()).map(|library| library.path.clone());
    let first = copy.filter(|_| from == "LD_PRELOAD").map(|copy| {
        let before = format!("{}:{}", copy.display(), joined(&entries));
        Remedy::action(format!("or preload what it needs first: LD_PRELOAD={}", quoted(&before)))
    });
    Some(found.healed_by([out].into_iter().chain(first)))
}

fn last(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn joined(entries: &[&OsStr]) -> String {
    entries.iter().map(|entry| entry.to_string_lossy()).collect::<Vec<_>>().join(":")
}

/// A value quoted for a shell.
fn quoted(value: &str) -> String {
    if value.is_empty() { String::new() } else { crate::diagnose::word(OsStr::new(value)) }
}

/// The elements of `LD_LIBRARY_PATH` as ld.so splits it: at colons and semicolons (`fillin_rpath`).
fn elements(case: &Case<'_>) -> Vec<PathBuf> {
    let Some(value) = case.host.env("LD_LIBRARY_PATH") else { return Vec::new() };
    let parts = value.as_bytes().split(|byte| matches!(byte, b':' | b';'));
    parts.map(|part| PathBuf::from(OsStr::from_bytes(part))).collect()
}

/// An empty or relative element of `LD_LIBRARY_PATH`, with libraries in the working directory.
pub(super) fn working_directory(case: &Case<'_>) -> Option<Finding> {
    let problem = case.problems_of("current-directory-on-path").next()?;
    let all = elements(case);
    let relative = all.iter().find(|dir| !dir.is_absolute())?;
    let which = if relative.as_os_str().is_empty() {
        "has an empty element, which is the working directory".to_owned()
    } else {
        format!("has the relative element `{}`", relative.display())
    };
    let mut found = case
        .finding("current-directory-on-path")?
        .because(format!("LD_LIBRARY_PATH {which}, and libraries are found there"))
        .seen("variable", format!("LD_LIBRARY_PATH={}", case.host.env("LD_LIBRARY_PATH")?.display()));
    for problem in case.problems_of("current-directory-on-path") {
        found = found.seen_at("rule", &problem.path, problem.says.clone());
    }
    log::debug!("{}", problem.path.display());
    let kept: Vec<&OsStr> = all.iter().filter(|dir| dir.is_absolute()).map(|dir| dir.as_os_str()).collect();
    let line = if kept.is_empty() {
        "unset LD_LIBRARY_PATH".to_owned()
    } else {
        format!("export LD_LIBRARY_PATH={}", quoted(&joined(&kept)))
    };
    Some(found.healed_by([Remedy::command(line)]))
}

/// A variable without its intended effect.
pub(super) fn wrong_place(case: &Case<'_>) -> Option<Finding> {
    let cases = [secure(case), unread(case), misspelt(case), ignored(case), inside_python(case), not_activated(case)];
    let mut seen = cases.into_iter().flatten();
    let (reason, proof, remedy) = seen.next()?;
    let mut found = case.finding("env-wrong-place")?.because(reason).seen("variable", proof);
    let mut remedies = vec![remedy];
    for (reason, proof, remedy) in seen {
        found = found.seen("variable", format!("{reason} ({proof})"));
        remedies.push(remedy);
    }
    Some(found.healed_by(remedies))
}

type Setting = (String, String, Remedy);

/// A setuid program, or one with file capabilities: ld.so(8), secure-execution mode.
fn secure(case: &Case<'_>) -> Option<Setting> {
    let python = case.interpreter?;
    let set = ["LD_LIBRARY_PATH", "LD_PRELOAD"].into_iter().find(|name| case.host.env(name).is_some())?;
    let mut map = LinkMap::new(case.loader);
    map.start(&python.program).ok().filter(|()| map.is_secure())?;
    let program = case.host.canonical(&python.program).unwrap_or_else(|_| python.program.clone());
    Some((
        format!("{set} is ignored for `{}`: its file has privileges", last(&program)),
        format!("`{}` is set-user-ID, set-group-ID, or has capabilities", program.display()),
        Remedy::action(format!("remove them (`setcap -r {0}`, `chmod u-s,g-s {0}`)", program.display())),
    ))
}

/// Elements that a shell would expand and ld.so does not: `~`, `$HOME`, quotes; or a file instead of a directory.
fn unread(case: &Case<'_>) -> Option<Setting> {
    let all = elements(case);
    let wrong = |dir: &&PathBuf| {
        let text = dir.to_string_lossy();
        let literal = text.starts_with('~') || text.contains(['"', '\'']) || unexpanded(&text);
        literal || dir.is_absolute() && case.host.is_file(dir) || text.trim() != text
    };
    let dir = all.iter().find(wrong)?;
    let text = dir.to_string_lossy();
    let (why, instead) = if case.host.is_file(dir) && dir.is_absolute() {
        ("is a file, not a directory", dir.parent().map(|dir| dir.display().to_string()).unwrap_or_default())
    } else {
        let home = case.host.env("HOME").unwrap_or_default().to_string_lossy().into_owned();
        let plain = text.trim().replace(['"', '\''], "").replace("${HOME}", &home).replace("$HOME", &home);
        let plain = plain.strip_prefix('~').map(|rest| format!("{home}{rest}")).unwrap_or(plain);
        ("is taken literally: ld.so expands nothing", plain)
    };
    let parts: Vec<String> = all
        .iter()
        .map(|other| if other == dir { instead.clone() } else { other.to_string_lossy().into_owned() })
        .collect();
    Some((
        format!("`{text}` in LD_LIBRARY_PATH {why}"),
        format!("LD_LIBRARY_PATH={}", case.host.env("LD_LIBRARY_PATH")?.display()),
        Remedy::command(format!("export LD_LIBRARY_PATH={}", quoted(&parts.join(":")))),
    ))
}

/// A shell variable that quotes kept from expansion: ld.so knows only three tokens with a dollar (ld.so(8), "Dynamic
/// string tokens").
fn unexpanded(text: &str) -> bool {
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('$') {
        let name = after.trim_start_matches('{');
        if !["ORIGIN", "LIB", "PLATFORM"].iter().any(|token| name.starts_with(token)) {
            return true;
        }
        rest = after;
    }
    false
}

/// Misspellings of the loader's variables.
const MISSPELT: [(&str, &str); 6] = [
    ("LD_LIBARY_PATH", "LD_LIBRARY_PATH"),
    ("LD_LIBRARYPATH", "LD_LIBRARY_PATH"),
    ("LD_LIBRARY_PATHS", "LD_LIBRARY_PATH"),
    ("LD_LIBRAY_PATH", "LD_LIBRARY_PATH"),
    ("LDLIBRARY_PATH", "LD_LIBRARY_PATH"),
    ("LD_PRELOADS", "LD_PRELOAD"),
];

fn misspelt(case: &Case<'_>) -> Option<Setting> {
    let (wrong, right) = MISSPELT.into_iter().find(|(wrong, _)| case.host.env(wrong).is_some())?;
    let value = case.host.env(wrong)?.to_string_lossy().into_owned();
    Some((
        format!("{wrong} is not a variable of ld.so: {right} is"),
        format!("{wrong}={value}"),
        Remedy::command(format!("export {right}={}; unset {wrong}", quoted(&value))),
    ))
}

/// Entries of `LD_PRELOAD` that ld.so skips with a message.
fn ignored(case: &Case<'_>) -> Option<Setting> {
    if case.loader.preload().is_empty() {
        return None;
    }
    let map = started(case);
    let entry = map.ignored().iter().find(|entry| entry.from == "LD_PRELOAD")?;
    let kept: Vec<&OsStr> =
        case.loader.preload().iter().map(std::ffi::OsString::as_os_str).filter(|other| *other != entry.name).collect();
    let line = if kept.is_empty() {
        "unset LD_PRELOAD".to_owned()
    } else {
        format!("export LD_PRELOAD={}", quoted(&joined(&kept)))
    };
    Some((
        format!("ld.so ignores `{}` in LD_PRELOAD: it cannot open it", entry.name.display()),
        format!("LD_PRELOAD={}", case.host.env("LD_PRELOAD")?.display()),
        Remedy::command(line),
    ))
}

/// Python code that sets the variable for its own process: ld.so has read it before Python starts.
fn inside_python(case: &Case<'_>) -> Option<Setting> {
    let python = case.interpreter?;
    let files = python.paths.iter().flat_map(|site| {
        let own = ["sitecustomize.py", "usercustomize.py"].map(|name| site.join(name));
        let entries = case.host.list(site).unwrap_or_default();
        let pth = entries
            .into_iter()
            .filter(|entry| entry.name.as_bytes().ends_with(b".pth"))
            .map(|entry| site.join(entry.name));
        own.into_iter().chain(pth).collect::<Vec<_>>()
    });
    files.into_iter().find_map(|file| {
        let text = case.host.read_text(&file).ok()?;
        let sets = |line: &&str| {
            let code = line.split('#').next().unwrap_or_default();
            let named = code.contains("\"LD_LIBRARY_PATH\"") || code.contains("'LD_LIBRARY_PATH'");
            named
                && code.contains("environ")
                && (code.contains("] =")
                    || code.contains("]=")
                    || code.contains("] +=")
                    || code.contains("setdefault")
                    || code.contains("putenv"))
        };
        let line = text.lines().find(sets)?;
        Some((
            format!("`{}` sets LD_LIBRARY_PATH inside Python: that is too late", last(&file)),
            format!("{}: {}", file.display(), line.trim()),
            Remedy::command(case.run_line()),
        ))
    })
}

/// Activation of the environment sets the variable, and the environment is not active.
fn not_activated(case: &Case<'_>) -> Option<Setting> {
    let python = case.interpreter?;
    let prefix = &python.prefix;
    let active = |name: &str| case.host.env(name).is_some_and(|value| Path::new(value) == prefix.as_path());
    if active("VIRTUAL_ENV") || active("CONDA_PREFIX") {
        return None;
    }
    let hooks = case.host.list(&prefix.join("etc/conda/activate.d")).unwrap_or_default();
    let hooks = hooks.into_iter().map(|entry| prefix.join("etc/conda/activate.d").join(entry.name));
    let mut files =
        hooks.filter(|file| file.extension().is_some_and(|it| it == "sh")).chain([prefix.join("bin/activate")]);
    files.find_map(|file| {
        let text = case.host.read_text(&file).ok()?;
        let sets = |line: &&str| {
            let line = line.trim().trim_start_matches("export ");
            line.starts_with("LD_LIBRARY_PATH=") || line.starts_with("LD_PRELOAD=")
        };
        let line = text.lines().find(sets)?.trim();
        let name = if line.contains("LD_PRELOAD=") { "LD_PRELOAD" } else { "LD_LIBRARY_PATH" };
        if case.host.env(name).is_some() {
            return None;
        }
        let how = if file.ends_with("bin/activate") {
            format!("source {}", file.display())
        } else {
            format!("conda activate {}", prefix.display())
        };
        Some((
            format!("{name} is set when the environment is activated, and it is not active here"),
            format!("{}: {line}", file.display()),
            Remedy::command(how),
        ))
    })
}
