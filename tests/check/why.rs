//! `why`, held against what really wins.

use super::answer;
use crate::support::*;
use serde_json::Value;
use std::path::Path;
use std::process::Command;

const PROGRAM: &str =
    "#include <stdio.h>\nint which(void);\nint main(void) { printf(\"%d\\n\", which()); return 0; }\n";

/// A program whose library is in three places; each copy returns its number.
fn lab() -> Machine {
    let lab = Machine::new();
    for (dir, number) in [("a", 1), ("b", 2), ("own", 3)] {
        lab.copy(&format!("{dir}/libw.so.1"), number);
    }
    let library = lab.path("own/libw.so.1").display().to_string();
    lab.program("prog", PROGRAM, &[&library, "-Wl,--enable-new-dtags,-rpath,$ORIGIN/own"]);
    lab
}

fn real(lab: &Machine, library_path: &str) -> String {
    let output = Command::new(lab.path("prog")).env("LD_LIBRARY_PATH", library_path).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn why(lab: &Machine, library_path: &str, arguments: &[&str]) -> (i32, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cudashim"));
    command.arg("why").args(arguments).env_clear().env("LD_LIBRARY_PATH", library_path).current_dir(lab.root());
    answer(&mut command, "why.json")
}

/// Which copy a path is.
fn number(lab: &Machine, winner: &Value) -> String {
    let path = Path::new(winner["path"].as_str().unwrap());
    let dir = path.parent().unwrap().strip_prefix(lab.root()).unwrap();
    ["a", "b", "own"].iter().position(|known| dir == Path::new(known)).map_or(String::new(), |at| (at + 1).to_string())
}

#[test]
fn why_takes_path_entries_away_one_by_one() {
    let lab = lab();
    let list = |dirs: &[&str]| dirs.iter().map(|dir| lab.path(dir).display().to_string()).collect::<Vec<_>>().join(":");
    let full = list(&["gone", "a", "b"]);
    let (code, value) = why(&lab, &full, &["libw.so.1", "--for", "./prog"]);
    assert_eq!(code, 0);
    // At start the program is the first to ask, so nothing was mapped before.
    assert!(value["mapped"].is_null(), "{value:#}");
    assert_eq!(value["winner"]["rule"], "ld_library_path");
    assert_eq!(number(&lab, &value["winner"]), real(&lab, &full));
    let without = value["without"].as_array().unwrap();
    let rest = [list(&["gone", "b"]), list(&["gone"])];
    assert_eq!(without.len(), 3);
    for (one, library_path) in without.iter().zip(&rest) {
        assert_eq!(number(&lab, &one["winner"]), real(&lab, library_path), "{one:#}");
    }
    assert_eq!(without[1]["winner"]["rule"], "runpath");
    assert!(without[2]["winner"].is_null());
    // The position of each in the list.
    let places = value["places"].as_array().unwrap();
    let tried = |at: usize| (places[at]["entry"].as_u64(), places[at]["tried"][0]["stands"].as_str());
    assert_eq!((tried(0), tried(1)), ((Some(1), Some("no_directory")), (Some(2), Some("object"))));
    assert_eq!(places[0]["tried"].as_array().unwrap().last().unwrap()["fate"], "passed_over");
    assert_eq!(places[2]["tried"].as_array().unwrap().last().unwrap()["fate"], "not_reached");
}

#[test]
fn why_stops_at_a_damaged_file_and_skips_a_foreign_one() {
    let lab = lab();
    let whole = std::fs::read(lab.path("a/libw.so.1")).unwrap();
    lab.write("cut/libw.so.1", &whole[..40]);
    let cut = lab.path("cut").display().to_string();
    let (code, value) = why(&lab, &cut, &["libw.so.1", "--for", "./prog"]);
    assert_eq!((code, real(&lab, &cut).as_str()), (1, ""), "{value:#}");
    assert_eq!(value["places"][0]["tried"][0]["fate"], "ends");
    assert_eq!(number(&lab, &value["without"][0]["winner"]), real(&lab, ""));
    // Class 1: 32 bits.
    let mut foreign = whole;
    foreign[4] = 1;
    lab.write("thin/libw.so.1", foreign);
    let thin = lab.path("thin").display().to_string();
    let (code, value) = why(&lab, &thin, &["libw.so.1", "--for", "./prog"]);
    assert_eq!((code, number(&lab, &value["winner"])), (0, real(&lab, &thin)), "{value:#}");
    assert_eq!(value["places"][0]["tried"][0]["stands"], "foreign");
}

#[test]
fn why_does_not_search_for_a_mapped_soname() {
    let lab = lab();
    let other = lab.path("own/libw.so.1").display().to_string();
    lab.library("own/libx.so.1", "int which(void);\nint x(void) { return which(); }\n", &[&other]);
    let x = lab.path("own/libx.so.1").display().to_string();
    lab.program("prog", PROGRAM, &[&other, &x, "-Wl,--enable-new-dtags,-rpath,$ORIGIN/own"]);
    let (code, value) = why(&lab, "", &["libw.so.1", "--for", "./prog"]);
    assert_eq!((code, value["mapped"].is_null()), (0, true));
    let mut command = Command::new(env!("CARGO_BIN_EXE_cudashim"));
    command.args(["why", "libc.so.6", "--for", "./own/libx.so.1"]).env_clear().current_dir(lab.root());
    let (code, value) = answer(&mut command, "why.json");
    assert_eq!(code, 0, "{value:#}");
    let text = Command::new(env!("CARGO_BIN_EXE_cudashim"))
        .args(["why", "libnothing.so.9", "--for", "./prog"])
        .env_clear()
        .current_dir(lab.root())
        .output()
        .unwrap();
    assert_eq!(text.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&text.stdout).contains("\nnot found\n"));
}
