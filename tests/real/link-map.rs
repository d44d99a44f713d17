//! What ld.so would map for each file, in its order, and with what it would fail.
//!
//! cargo run --example link-map -- [--list | --start | --dlopen PROGRAM] [--now] [--global | --local] [FILE…]
//!
//! `--list` takes each file as `ld.so FILE` and `ldd` do, `--start` as a program that is started. `--dlopen` takes them as
//! libraries that PROGRAM opens one after the other, those after `--global` with `RTLD_GLOBAL`. `--env NAME=VALUE` sets a variable for them, not for this program. Without files, their names are
//! read from standard input, one a line.
#![expect(clippy::print_stdout, reason = "what it finds is its output")]

use cudashim::Host;
use cudashim::internal::loader::{Fault, Flags, LinkMap, Listed, Loader, Objects, Symbols};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::BufRead as _;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

/// How a file is loaded.
enum Way {
    List,
    Start,
    Open(PathBuf),
}

fn main() {
    let (mut way, mut symbols, mut files) = (Way::List, Symbols::Skip, Vec::new());
    let mut environment = BTreeMap::new();
    let mut flags = Flags::default();
    let mut arguments = std::env::args_os().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("--list") => way = Way::List,
            Some("--start") => way = Way::Start,
            Some("--dlopen") => way = Way::Open(arguments.next().unwrap_or_default().into()),
            Some("--now") => symbols = Symbols::Now,
            Some("--global") => flags.global = true,
            Some("--local") => flags.global = false,
            Some("--env") => {
                let text = arguments.next().unwrap_or_default();
                if let Some((name, value)) = text.to_str().and_then(|text| text.split_once('=')) {
                    environment.insert(name.into(), value.into());
                }
            }
            _ => files.push((argument, flags)),
        }
    }
    if files.is_empty() {
        let lines = std::io::stdin().lock().split(b'\n');
        files.extend(lines.map_while(Result::ok).map(|line| (OsString::from_vec(line), flags)));
    }
    let host = Host::new("/".into(), environment, std::env::current_dir().unwrap_or_default());
    let objects = Objects::new(&host);
    let loader = Loader::new(&objects);
    if let Way::Open(program) = &way {
        return open(&loader, program, &files, symbols);
    }
    for (file, _) in files {
        println!("{}:", file.display());
        let mut map = LinkMap::new(&loader);
        let started = matches!(way, Way::Start);
        if let Err(error) = if started { map.start(Path::new(&file)) } else { map.list(Path::new(&file)) } {
            println!("\t! {}: {error}", file.display());
            continue;
        }
        show(&map);
        for ignored in map.ignored() {
            println!("\t{ignored}");
        }
        let link = map.link(symbols);
        for node in &link.nodes {
            println!("\t{}", map.message_of(node));
        }
        for symbol in &link.symbols {
            let by = map.objects().get(symbol.object).map(|mapped| mapped.path.display().to_string());
            let node = symbol.node.as_ref().map(|node| format!(", version {}", node.display()));
            let (by, node) = (by.unwrap_or_default(), node.unwrap_or_default());
            println!("\tundefined symbol: {}{node}\t({by})", symbol.symbol.display());
        }
        if let Some(error) = link.first_error {
            println!("\t= {error}");
        }
    }
}

/// Starts a program and lets it open libraries, until one of them ends it.
fn open(loader: &Loader, program: &Path, files: &[(OsString, Flags)], symbols: Symbols) {
    let mut map = LinkMap::new(loader);
    if let Err(error) = map.start(program) {
        return println!("! {}: {error}", program.display());
    }
    if let Some(error) = map.link(Symbols::Lazy).first_error {
        return println!("! {error}");
    }
    for (file, flags) in files {
        match map.dlopen(file, Some(0), *flags, symbols) {
            Ok(_) => println!("ok"),
            Err(error) => {
                println!("{error}");
                if matches!(error.fault, Fault::Killed { .. } | Fault::Assertion { .. }) {
                    return println!("! {error}");
                }
            }
        }
    }
    show(&map);
}

fn show(map: &LinkMap<'_>) {
    for listed in map.listing().iter().skip_while(|listed| **listed != Listed::Object(0)) {
        match listed {
            Listed::Object(index) => {
                let Some(mapped) = map.objects().get(*index) else { continue };
                let name = mapped.names.first().map_or("-".into(), |name| name.to_string_lossy());
                println!("\t{name} => {} ({})", mapped.path.display(), mapped.rule);
            }
            Listed::Missing(index) => {
                let Some(missing) = map.missing().get(*index) else { continue };
                println!("\t{} => not found", missing.name.display());
                if missing.unusable.is_some() {
                    println!("\t! {missing}");
                }
            }
        }
    }
}
