//! One file in full (`inspect`) and two compared (`diff`), as text and as wire types.

use super::human::one_line;
use super::json::{JsonPath, SCHEMA};
use crate::objects::Object;
use crate::scan::Comparison;
use serde::Serialize;
use std::fmt::Write as _;
use std::path::Path;

/// One ELF file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InspectReport {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The file as named.
    pub path: JsonPath,
    /// What the header says: class, machine, kind.
    pub ident: String,
    /// Bytes.
    pub size: u64,
    /// `DT_SONAME`.
    pub soname: Option<String>,
    /// `DT_NEEDED`, in order.
    pub needed: Vec<String>,
    /// `DT_RPATH`.
    pub rpath: Option<String>,
    /// `DT_RUNPATH`.
    pub runpath: Option<String>,
    /// `PT_INTERP`.
    pub interpreter: Option<String>,
    /// The GNU build ID in hex.
    pub build_id: Option<String>,
    /// The version nodes it defines.
    pub nodes: Vec<String>,
    /// The version nodes it needs, by library.
    pub needs: Vec<(String, Vec<String>)>,
    /// How many symbols it defines, and how many it asks others for.
    pub symbols: Symbols,
    /// Flags that break loading somewhere: `executable-stack`, `static-tls`, `nodeflib`.
    pub flags: Vec<String>,
}

/// Counts of dynamic symbols.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Symbols {
    /// Defined.
    pub defined: usize,
    /// Undefined.
    pub undefined: usize,
}

impl InspectReport {
    /// What an object says of itself. Tables that cannot be read are left empty.
    #[must_use]
    pub fn new(path: &Path, object: &Object) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let facts = &object.facts;
        let own = |name: &Option<std::ffi::OsString>| name.as_ref().map(|name| name.display().to_string());
        let mut report = Self {
            schema: SCHEMA,
            path: path.into(),
            ident: String::new(),
            size: object.stat.size,
            soname: own(&facts.soname),
            needed: facts.needed.iter().map(|name| name.display().to_string()).collect(),
            rpath: own(&facts.rpath),
            runpath: own(&facts.runpath),
            interpreter: own(&facts.interpreter),
            build_id: facts.build_id.clone(),
            nodes: Vec::new(),
            needs: Vec::new(),
            symbols: Symbols { defined: 0, undefined: 0 },
            flags: Vec::new(),
        };
        let Ok(elf) = object.elf() else { return report };
        report.ident = elf.ident().to_string();
        let nodes = elf.version_definitions().unwrap_or_default();
        report.nodes = nodes.iter().filter(|node| !node.base).map(|node| text(node.name)).collect();
        let needs = elf.version_needs().unwrap_or_default();
        report.needs = needs
            .iter()
            .map(|need| (text(need.file), need.versions.iter().map(|node| text(node.name)).collect()))
            .collect();
        report.symbols.defined = elf.definitions().map_or(0, |symbols| symbols.len());
        report.symbols.undefined = elf.undefined().map_or(0, |symbols| symbols.len());
        let flags = [
            ("executable-stack", elf.executable_stack()),
            ("static-tls", elf.static_tls()),
            ("nodeflib", elf.nodeflib()),
        ];
        report.flags = flags.iter().filter(|(_, set)| *set).map(|(flag, _)| (*flag).to_owned()).collect();
        report
    }

    /// One line for each fact that is there.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("{}\n", one_line(self.path.to_path().display()));
        let mut line = |label: &str, value: &str| {
            if !value.is_empty() {
                let _ = writeln!(text, "  {label:12} {}", one_line(value));
            }
        };
        line("is", &self.ident);
        line("size", &self.size.to_string());
        line("soname", self.soname.as_deref().unwrap_or_default());
        line("build ID", self.build_id.as_deref().unwrap_or_default());
        line("interpreter", self.interpreter.as_deref().unwrap_or_default());
        line("rpath", self.rpath.as_deref().unwrap_or_default());
        line("runpath", self.runpath.as_deref().unwrap_or_default());
        for needed in &self.needed {
            line("needed", needed);
        }
        line("nodes", &self.nodes.join(", "));
        for (file, nodes) in &self.needs {
            line("needs", &format!("{file}: {}", nodes.join(", ")));
        }
        line("symbols", &format!("{} defined, {} undefined", self.symbols.defined, self.symbols.undefined));
        line("flags", &self.flags.join(", "));
        text
    }
}

/// Lines of each list that a page shows.
const SHOWN: usize = 20;

/// Two libraries compared, as text.
#[must_use]
pub fn comparison_text(comparison: &Comparison) -> String {
    let mut text = String::new();
    if let Some((a, b)) = &comparison.sonames {
        let _ = writeln!(text, "soname: {} → {}", one_line(a), one_line(b));
    }
    for (label, gained, lost) in [
        ("nodes", &comparison.nodes_gained, &comparison.nodes_lost),
        ("needed", &comparison.needs_gained, &comparison.needs_lost),
        ("symbols", &comparison.gained, &comparison.lost),
    ] {
        if gained.is_empty() && lost.is_empty() {
            continue;
        }
        let _ = writeln!(text, "{label}: {} gained, {} lost", gained.len(), lost.len());
        for (sign, list) in [('-', lost), ('+', gained)] {
            for name in list.iter().take(SHOWN) {
                let _ = writeln!(text, "  {sign} {}", one_line(name));
            }
            if list.len() > SHOWN {
                let _ = writeln!(text, "  {sign} and {} more", list.len() - SHOWN);
            }
        }
    }
    for (user, symbol) in &comparison.broken {
        let _ = writeln!(text, "would break: {} takes `{}`", one_line(user.display()), one_line(symbol));
    }
    let verdict = if comparison.stands_in() {
        "the second may stand in for the first"
    } else {
        "the second may not stand in for the first"
    };
    let _ = writeln!(text, "{verdict}");
    text
}
