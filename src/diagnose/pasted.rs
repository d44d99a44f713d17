//! Explains a message on this machine: by the finding of the same kind, or by the libraries that it would load today.
//!
//! Takes the recognised [`Message`]s and the case; puts the findings that explain them first. The text shows what
//! failed, the machine why; evidence states when the machine shows nothing of the kind.

mod proof;

use super::{Case, Finding, Message, Remedy};
use crate::check::{JudgedObject, Judgement, Subject};
use crate::inventory::Library;
use crate::machine::Change;
use crate::resolve::Choice;
use crate::tables::{
    FamilyRow, Group, LibraryName, Severity, family_of_symbol, finding_row, parse_library_name, tests_of,
};
use std::ffi::OsStr;
use std::path::Path;

/// The most findings to derive from a text; its first messages are the most specific.
const MAX_EXPLAINED: usize = 3;

/// Puts the findings that explain the messages first.
pub(super) fn explain(case: &Case<'_>, messages: &[Message], findings: &mut Vec<Finding>) {
    let known = |id: &str, findings: &[Finding]| findings.iter().any(|finding| finding.id == id);
    let mut explaining: Vec<Finding> = Vec::new();
    for message in messages {
        let message = &proof::narrowed(case, message);
        // A finding explains a message once.
        if explaining.len() == MAX_EXPLAINED || message.ids.iter().any(|id| known(id, &explaining)) {
            continue;
        }
        let seen = message.ids.iter().find_map(|id| findings.iter().position(|it| it.id == *id && is_of(message, it)));
        let found = if let Some(at) = seen {
            Some(of_machine(case, message, findings.remove(at)))
        } else {
            let today = case.judged.first().filter(|_| case.torch.is_some()).map(|judged| &judged.judgement);
            Explanation { case, message, today }.finding()
        };
        explaining.extend(found);
    }
    findings.splice(0..0, explaining);
}

/// Whether a finding may explain a message: a library that is not found does not explain the failure of another.
fn is_of(message: &Message, finding: &Finding) -> bool {
    let Some(library) = message.name("library").filter(|_| finding.id == "library-not-found") else { return true };
    finding.cause.contains(library) || finding.evidence.iter().any(|seen| seen.says.contains(library))
}

fn quoted(message: &Message) -> String {
    match message.count {
        1 => message.text.clone(),
        count => format!("{} ({count} times)", message.text),
    }
}

/// A message of this weight determines its finding; for a lighter one the machine decides which kind it is.
const PLAIN: u8 = 9;

/// The machine's finding, with the message that it explains.
fn of_machine(case: &Case<'_>, message: &Message, seen: Finding) -> Finding {
    let plain = message.ids.first().filter(|id| message.weight == PLAIN && **id != seen.id);
    let mut finding = match plain.and_then(|id| case.finding(id)) {
        // The kind comes from the text, the evidence from the machine.
        Some(kind) => {
            let remedies = if seen.remedies.is_empty() { kind.remedies.clone() } else { seen.remedies };
            let mut finding = kind.because(&message.says).seen("machine", seen.cause).healed_by(remedies);
            finding.evidence.extend(seen.evidence);
            finding
        }
        None => seen,
    };
    // The pasted text replaces ld.so's prediction, which may be about another failure.
    finding.evidence.retain(|evidence| evidence.kind != "message");
    finding = finding.seen("message", quoted(message));
    finding.evidence.rotate_right(1);
    // A fact about the machine becomes fatal: it made a program fail.
    finding.severity(Severity::Fatal)
}

/// A message that no finding of the machine explains.
struct Explanation<'a, 'c> {
    case: &'a Case<'c>,
    message: &'a Message,
    today: Option<&'a Judgement>,
}

impl Explanation<'_, '_> {
    fn finding(&self) -> Option<Finding> {
        let (message, soname) = (self.message, self.soname());
        let of_check = |id: &&'static str| {
            // The caller has looked for the machine's own finding of that kind.
            let found = self.today?.findings.iter().find(|it| it.id == *id && *id != "library-not-found")?;
            Some((*id, found.says()))
        };
        let shown = message.ids.iter().find_map(of_check);
        if message.weight == 0 && shown.is_none() {
            return None;
        }
        let plain = message.ids.first().copied().filter(|_| message.weight == PLAIN);
        let id = plain.or(shown.as_ref().map(|(id, _)| *id)).or_else(|| self.likeliest(soname.as_deref()))?;
        let kind = self.case.finding(id)?;
        // A harmless message stays a fact after it is pasted.
        let severity = if kind.severity == Severity::Fact { Severity::Fact } else { Severity::Fatal };
        let mut finding = kind.because(&message.says).severity(severity).seen("message", quoted(message));
        finding.source = message.source;
        let mut now = false;
        let proof = proof::of(self.case, message, id);
        if let Some(proof) = &proof {
            (finding, now) = (proof.add_to(finding), proof.shows);
        } else if let (Some(file), None) = (message.name("file"), message.name("node").or(message.name("library"))) {
            (finding, now) = self.file(finding, file);
        } else if let Some(soname) = soname.as_deref() {
            (finding, now) = self.places(finding, soname);
        }
        if let Some((_, says)) = shown.filter(|_| !now) {
            finding = finding.seen("rule", says);
            now = true;
        }
        if let (Some(symbol), Some("ext-torch-abi")) = (message.name("symbol"), message.ids.first().copied()) {
            (finding, now) = self.torch_has(finding, symbol);
        }
        if !now {
            finding = possible(&message.ids, finding);
        }
        let group = finding_row(id).map(|row| row.group);
        match group {
            _ if now || severity == Severity::Fact => {}
            Some(Group::Driver) => finding = finding.seen("today", "the driver of this machine does not show it now"),
            // No library shows that a build targets something else.
            Some(Group::Frameworks) if soname.is_none() => now = true,
            _ => finding = finding.seen("today", "the libraries of this machine do not show it now"),
        }
        let mut remedies = match proof {
            Some(proof) if !proof.remedies.is_empty() => proof.remedies,
            _ => self.remedies(&finding, soname.as_deref()),
        };
        // If the text concerns a library, or is not specific, the failing shell may have another environment.
        let certain = message.weight == PLAIN && soname.is_none();
        if !now && !certain && severity == Severity::Fatal && self.case.command.is_empty() {
            remedies.push(Remedy::action(
                "if it still fails: run `cudashim doctor -- COMMAND` in the shell where it fails",
            ));
        }
        Some(finding.healed_by(remedies))
    }

    /// Whether the installed torch defines one of torch's symbols.
    fn torch_has(&self, finding: Finding, symbol: &str) -> (Finding, bool) {
        let Some(torch) = self.case.torch else { return (finding, true) };
        let own = |object: &&JudgedObject| {
            object.path.starts_with(&torch.dir) || object.path.parent() == Some(&torch.dir.join("lib"))
        };
        let mut objects = self.objects().filter(own).peekable();
        if objects.peek().is_none() {
            return (finding, true);
        }
        match objects.find(|object| !self.lacks(&object.path, symbol)) {
            Some(object) => (finding.seen_at("file", &object.path, format!("torch {}: has it", torch.version)), false),
            None => {
                (finding.seen_at("file", &torch.dir, format!("torch {}: no library of it has it", torch.version)), true)
            }
        }
    }

    /// The current state of the file in the message; and whether it confirms the message.
    fn file(&self, finding: Finding, file: &str) -> (Finding, bool) {
        let path = Path::new(file);
        if !path.is_absolute() {
            return (finding, false);
        }
        match self.case.host.stat(path) {
            Err(_) => (finding.seen_at("file", path, "does not exist now"), false),
            Ok(stat) => match self.case.objects.open(path).map(|object| object.elf().map(|elf| elf.truncated())) {
                Ok(Ok(false)) => (finding.seen_at("file", path, format!("{} bytes, sound", stat.size)), false),
                Ok(Ok(true)) => (finding.seen_at("file", path, format!("{} bytes, cut off", stat.size)), true),
                Ok(Err(error)) => (finding.seen_at("file", path, format!("{} bytes: {error}", stat.size)), true),
                Err(error) => (finding.seen_at("file", path, format!("{} bytes: {error}", stat.size)), true),
            },
        }
    }

    /// The soname in question: that of the message, or of the library whose symbol it names.
    fn soname(&self) -> Option<String> {
        if let Some(library) = self.message.name("library") {
            return Some(library.to_owned());
        }
        let of_symbol = family_of(self.message.name("symbol")?)?;
        let is_it = |name: &str| parse_library_name(name).is_some_and(|name| name.stem() == of_symbol.stem);
        let chosen = self.choices().map(|choice| choice.soname.clone());
        let mapped = self.objects().filter_map(|object| Some(object.name.to_str()?.to_owned()));
        chosen.chain(mapped).find(|name| is_it(name))
    }

    fn choices(&self) -> impl Iterator<Item = &Choice> {
        let resolution = self.case.answer.ok().and_then(|answer| answer.resolution.as_ref());
        resolution.into_iter().flat_map(|resolution| &resolution.set)
    }

    fn objects(&self) -> impl Iterator<Item = &JudgedObject> {
        self.today.into_iter().flat_map(|judged| &judged.objects)
    }

    /// Usable copies of a library, in any place.
    fn copies<'s>(&'s self, soname: &'s str) -> impl Iterator<Item = &'s Library> {
        let libraries = self.case.inventory.libraries.iter();
        libraries.filter(move |library| library.unusable.is_none() && library.soname.as_deref() == Some(soname))
    }

    /// The CUDA major of the torch.
    fn major(&self) -> Option<u64> {
        let cuda = self.case.torch?.cuda.as_deref()?;
        cuda.split('.').next()?.parse().ok()
    }

    /// The id for a library that is not found: depends on whether the set of this torch contains it.
    fn likeliest(&self, soname: Option<&str>) -> Option<&'static str> {
        let message = self.message;
        let first = message.ids.first().copied();
        let own = soname.is_some_and(|soname| self.choices().any(|choice| choice.soname == soname));
        if first == Some("ext-other-cuda-major") && own {
            let by_name = |id: &&&str| **id == "bare-name-dlopen-consumers";
            return message.ids.iter().find(by_name).copied().or(first);
        }
        first
    }

    /// The copy that ld.so maps for a soname today, and that of the set; and whether this confirms the message.
    fn places(&self, mut finding: Finding, soname: &str) -> (Finding, bool) {
        let release = |version: Option<String>| version.map(|version| format!(" ({version})")).unwrap_or_default();
        let chosen = self.choices().find(|choice| choice.soname == soname);
        let named = |object: &&JudgedObject| {
            object.name == soname || object.path.file_name().is_some_and(|name| name == soname)
        };
        let mut known = None;
        let mut bad = false;
        if let Some(symbol) = self.message.name("symbol") {
            if let Some(object) = self.objects().find(named) {
                bad = self.lacks(&object.path, symbol);
                let version = release(object.version.as_ref().map(ToString::to_string));
                let has = if bad { "has no" } else { "has" };
                let says = format!("loaded today as `{soname}`{version}, by {}: {has} `{symbol}`", object.rule);
                finding = finding.seen_at("file", &object.path, says);
                known = Some(object.path.clone());
            }
        } else {
            // The library was requested by name; the text does not show which object did.
            known = self.found(soname);
            bad = known.is_none();
            finding = match &known {
                Some(path) => finding.seen_at("file", path, format!("ld.so finds it today as `{soname}`")),
                None => finding.seen("rule", format!("ld.so does not find `{soname}` unless something has loaded it")),
            };
        }
        let id = |path: &Path| self.case.host.stat(path).ok().map(|stat| stat.id);
        if let Some(choice) = chosen {
            if known.is_none_or(|known| id(&known) != id(&choice.path)) {
                let says = format!("the one of the chosen set{}", release(choice.version.clone()));
                finding = finding.seen_at("file", &choice.path, says);
            }
        } else {
            for copy in self.copies(soname).filter(|copy| known.as_ref() != Some(&copy.path)).take(2) {
                let version = release(copy.version.as_ref().map(ToString::to_string));
                finding = finding.seen_at("file", &copy.path, format!("a copy{version}"));
            }
        }
        (finding, bad)
    }

    /// The file that ld.so finds by name alone, without a run path.
    fn found(&self, soname: &str) -> Option<std::path::PathBuf> {
        let loader = self.case.loader;
        let program = self.case.interpreter.map(|python| python.program.clone())?;
        let map = crate::check::closure(loader, &Subject::files(loader, &[program], None).ok()?);
        map.search_from(0, OsStr::new(soname)).map(|(path, _)| path)
    }

    /// The set's copy of the same library in another major, if one wheel brings either.
    fn other_release(&self, name: &LibraryName<'_>) -> Option<String> {
        let of_cuda = matches!(name.row.family, "cudart" | "cublas" | "nvrtc" | "nvjitlink" | "npp");
        let major = name.version.as_ref().filter(|_| !of_cuda)?.major();
        let other = |soname: &str| {
            parse_library_name(soname).is_some_and(|it| {
                it.row.stem == name.row.stem && it.version.as_ref().is_some_and(|version| version.major() != major)
            })
        };
        self.choices().find(|choice| other(&choice.soname)).map(|choice| choice.soname.clone())
    }

    fn lacks(&self, path: &Path, symbol: &str) -> bool {
        let object = self.case.objects.open(path).ok();
        object.is_some_and(|object| object.elf().is_ok_and(|elf| !elf.defines(symbol.as_bytes(), None)))
    }

    /// Whether the chosen set provides the library: a copy that lacks the symbol heals nothing.
    fn serves(&self) -> bool {
        let Some(symbol) = self.message.name("symbol") else { return true };
        if family_of(symbol).is_none() {
            return true;
        }
        let soname = self.soname();
        self.choices()
            .find(|choice| Some(&choice.soname) == soname.as_ref())
            .is_some_and(|choice| !self.lacks(&choice.path, symbol))
    }

    /// The wheel that defines the symbol: in the release that torch pins, else in one newer than the installed
    /// release.
    fn whole(&self, soname: Option<&str>) -> Option<Remedy> {
        let symbol = self.message.name("symbol")?;
        let row = soname.and_then(parse_library_name).map(|name| name.row).or_else(|| family_of(symbol))?;
        let to_install = self.major().and_then(|major| self.case.wheel_of(row, major));
        let line = to_install.and_then(|to_install| self.case.install(&[to_install], false));
        line.or_else(|| {
            let wheel =
                row.wheel_names(12).first().map(|wheel| format!(" (`{wheel}` and its like)")).unwrap_or_default();
            Some(Remedy::action(format!(
                "install the release of {}{wheel} that the consumer of `{symbol}` was built with",
                row.family
            )))
        })
    }

    /// The remedies: those of the kind if the set provides the library; else the package that brings it.
    fn remedies(&self, finding: &Finding, soname: Option<&str>) -> Vec<Remedy> {
        if let ("torchvision-torch-mismatch", Some(torch)) = (finding.id, self.case.torch) {
            return super::frameworks::torchvision_anew(self.case, torch, self.case.has_package("torchvision"));
        }
        let set = self.case.answer.is_ok_and(|answer| answer.resolution.is_some()) && self.serves();
        let run = |remedy: &&Remedy| remedy.change == Some(Change::Set);
        // There is only one libcuda: nothing to choose.
        let driver = finding_row(finding.id).is_some_and(|row| row.group == Group::Driver);
        let choice = set && (!driver || self.case.driver.usable_libcudas().nth(1).is_some());
        let lines = || finding.remedies.iter().filter(|remedy| choice || !run(remedy)).cloned();
        let Some(soname) = soname.filter(|soname| self.choices().all(|choice| choice.soname != *soname)) else {
            let mut remedies: Vec<Remedy> = lines().collect();
            if remedies.is_empty() && set && soname.is_some() {
                remedies.extend(self.case.run());
            }
            if !self.serves() {
                remedies.splice(0..0, self.whole(soname));
            }
            return remedies;
        };
        let mut remedies = Vec::new();
        let name = parse_library_name(soname);
        let major = name.as_ref().and_then(|name| major_of(name, self.major()));
        if let (Some(major), Some(own)) = (major, self.major())
            && major != own
        {
            remedies.push(Remedy::action(format!(
                "install the CUDA {own} build of the package that needs `{soname}`: this torch is for CUDA {own}"
            )));
        }
        let found = self.found(soname).is_some();
        if let Some(dir) = self.copies(soname).find_map(|copy| copy.path.parent()).filter(|_| !found) {
            // Copies of the set override this directory: it only serves libraries outside the set.
            let value = super::word(dir.as_os_str());
            remedies.push(Remedy::command(format!("export LD_LIBRARY_PATH={value}")));
        } else if let Some(here) = name.as_ref().and_then(|name| self.other_release(name)).filter(|_| !found) {
            // Two releases of one wheel cannot be installed together.
            if self.case.has_package("ctranslate2").is_some() && soname == "libcudnn.so.8" {
                remedies.push(self.case.pip("install 'ctranslate2>=4.5'"));
            }
            remedies.push(Remedy::action(format!(
                "install a release of the package that needs `{soname}` built for `{here}`, which is installed here"
            )));
        } else if let (Some(major), false) = (major.or(self.major()), found) {
            let wheels = super::frameworks::wheels(self.case, &std::iter::once(soname.to_owned()).collect(), major);
            remedies.extend(self.case.install(&wheels, false));
            if wheels.is_empty() {
                remedies.push(Remedy::action(format!(
                    "install a release of the package that needs `{soname}` built for a CUDA that this GPU and driver run, or \
                     the toolkit of CUDA {major}"
                )));
            }
        }
        remedies.extend(lines().filter(|remedy| !run(&remedy)));
        remedies
    }
}

/// The library outside the driver that defines a symbol.
fn family_of(symbol: &str) -> Option<&'static FamilyRow> {
    family_of_symbol(symbol).filter(|row| !row.is_driver())
}

/// The most possible causes to list when the machine confirms none.
const CAUSES: usize = 3;

/// Lists the possible causes and the test for each, the shortest test first.
fn possible(ids: &[&'static str], finding: Finding) -> Finding {
    let has_tests = |id: &&&'static str| !tests_of(id).is_empty();
    let mut tests: Vec<String> = match ids.iter().filter(has_tests).collect::<Vec<_>>().as_slice() {
        [] => Vec::new(),
        [id] => tests_of(id).iter().map(|test| (*test).to_owned()).collect(),
        several => {
            let first =
                several.iter().take(CAUSES).filter_map(|id| Some((finding_row(id)?.title, tests_of(id).first()?)));
            first.map(|(title, test)| format!("{title}: {test}")).collect()
        }
    };
    if ids.len() > 1 {
        tests.sort_by_key(|test| test.rsplit(": ").next().map(str::len));
    }
    tests.into_iter().take(CAUSES).fold(finding, |finding, test| finding.seen("possible", test))
}

/// The CUDA major of a soname; if that shows none, the major of the torch.
fn major_of(name: &LibraryName<'_>, own: Option<u64>) -> Option<u64> {
    let number = name.version.as_ref()?.major();
    // Only the runtime, cuBLAS, NVRTC and nvJitLink are numbered like CUDA.
    match name.row.family {
        "cudart" | "cublas" | "nvrtc" | "nvjitlink" | "npp" => Some(number),
        _ => own,
    }
}
