//! What ld.so would map for each file, in its order, and with what it would fail.
//!
//! cargo run --example 06-link-map -- [--list | --start | --dlopen PROGRAM] [--now] [FILE…]
//!
//! `--list` takes each file as `ld.so FILE` and `ldd` do, `--start` as a program that is started, `--dlopen` as a library
//! that PROGRAM opens. `--env NAME=VALUE` sets a variable for them, not for this program. Without files, their names are
//! read from standard input, one a line.
#![expect(clippy::print_stdout, reason = "what it finds is its output")]

use cudashim::loader::{Flags, LinkMap, Listed, Symbols};
use cudashim::{Host, Loader, Objects};
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
    let mut arguments = std::env::args_os().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("--list") => way = Way::List,
            Some("--start") => way = Way::Start,
            Some("--dlopen") => way = Way::Open(arguments.next().unwrap_or_default().into()),
            Some("--now") => symbols = Symbols::Now,
            Some("--env") => {
                let text = arguments.next().unwrap_or_default();
                if let Some((name, value)) = text.to_str().and_then(|text| text.split_once('=')) {
                    environment.insert(name.into(), value.into());
                }
            }
            _ => files.push(argument),
        }
    }
    if files.is_empty() {
        let lines = std::io::stdin().lock().split(b'\n');
        files.extend(lines.map_while(Result::ok).map(OsString::from_vec));
    }
    let host = Host::new("/".into(), environment, std::env::current_dir().unwrap_or_default());
    let objects = Objects::new(&host);
    let loader = Loader::new(&objects);
    for file in files {
        println!("{}:", file.display());
        let mut map = LinkMap::new(&loader);
        let mapped = match &way {
            Way::List => map.list(Path::new(&file)),
            Way::Start => map.start(Path::new(&file)),
            Way::Open(program) => map.start(program),
        };
        if let Err(error) = mapped {
            println!("\t! {}: {error}", file.display());
            continue;
        }
        if let Way::Open(_) = way {
            match map.dlopen(&file, Some(0), Flags::default(), symbols) {
                Ok(_) => show(&map),
                Err(error) => println!("\t! {error}"),
            }
            continue;
        }
        show(&map);
        for ignored in map.ignored() {
            println!("\t{ignored}");
        }
        let link = map.link(symbols);
        for node in &link.nodes {
            println!("\t{}", map.words_of(node));
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

fn show(map: &LinkMap<'_, '_>) {
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
