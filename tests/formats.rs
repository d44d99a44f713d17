//! Findings in the forms that other programs read: SARIF, JUnit, workflow commands of GitHub. tests/real/formats holds
//! them against the programs' own parsers.

use crate::support::*;
use serde_json::Value;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

/// A directory that is a command to a runner, markup to a reader of XML, and a path that is not UTF-8.
const HOSTILE: &[u8] = b"::error::x\n##[error]<b a=\"1\">&amp;]]>%0A\xff\x1b[2J";

/// A damaged library below a hostile name, and a stub.
fn hostile() -> Machine {
    let world = Machine::new();
    let dir = world.root().join("m").join(OsStr::from_bytes(HOSTILE));
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("libcublas.so.12"), "no library").unwrap();
    world
}

fn form(world: &Machine, words: &[&str], form: &str) -> Process {
    Process::of(world.cudashim(words).args(["--format", form]))
}

/// A torch whose cuBLAS is missing.
fn broken() -> Machine {
    let (world, venv) = torch_machine();
    fs::remove_file(venv.site.join("nvidia/cublas/lib/libcublas.so.12")).unwrap();
    world
}

#[test]
fn formats_are_those_of_the_command() {
    let world = Machine::new();
    for (command, no) in [("why x", "sarif"), ("scan", "markdown"), ("doctor", "jsonl"), ("resolve", "junit")] {
        let process = form(&world, &command.split(' ').collect::<Vec<_>>(), no);
        assert_eq!(process.code, Some(2), "{command} --format {no}");
        assert!(process.err.contains("[possible values: human, json"), "{}", process.err);
    }
}

#[test]
fn sarif_names_rows_of_the_table() {
    let world = broken();
    let process = form(&world, &["check", "venv"], "sarif");
    assert_eq!(process.code, Some(1), "{}", process.err);
    assert!(process.err.contains("check: 1 fatal; torch 2.5.1+cu124 fails: "), "{}", process.err);
    let log = process.json();
    assert_eq!((log["version"].as_str(), log["runs"].as_array().unwrap().len()), (Some("2.1.0"), 1));
    let run = &log["runs"][0];
    let results = run["results"].as_array().unwrap();
    assert!(!results.is_empty());
    for result in results {
        let rule = &run["tool"]["driver"]["rules"][usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap()];
        assert_eq!(rule["id"], result["ruleId"]);
        let row = cudashim::internal::tables::finding_row(rule["id"].as_str().unwrap()).unwrap();
        assert_eq!(
            (rule["shortDescription"]["text"].as_str(), rule["helpUri"].as_str()),
            (Some(row.title), Some(row.source))
        );
        assert!(rule["help"]["text"].as_str().unwrap().contains(row.title));
        assert_eq!(result["level"], "error");
        assert_eq!(result["partialFingerprints"]["finding/v1"].as_str().unwrap().len(), 64);
    }
    // Files of the checkout are named from there.
    let place = &results[0]["locations"][0]["physicalLocation"]["artifactLocation"];
    assert_eq!(place["uriBaseId"], "%SRCROOT%");
    assert!(place["uri"].as_str().unwrap().starts_with("venv/lib/"), "{place}");
    assert_eq!(log, form(&world, &["check", "venv"], "sarif").json());
}

#[test]
fn sarif_keeps_every_byte_of_a_path() {
    let world = hostile();
    let log = form(&world, &["scan", "m"], "sarif").json();
    let results = log["runs"][0]["results"].as_array().unwrap();
    let damaged = results.iter().find(|result| result["ruleId"] == "truncated-or-foreign-elf").unwrap();
    let uri = damaged["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].as_str().unwrap();
    let hex = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap();
    let (mut bytes, mut rest) = (Vec::new(), uri.as_bytes());
    while let [first, after @ ..] = rest {
        (bytes, rest) = match (first, after) {
            (b'%', [high, low, after @ ..]) => ([bytes, vec![hex(&[*high, *low])]].concat(), after),
            _ => ([bytes, vec![*first]].concat(), after),
        };
    }
    assert_eq!(bytes, [b"m/", HOSTILE, b"/libcublas.so.12"].concat());
    assert!(!damaged.to_string().contains('\u{1b}'));
}

#[test]
fn sarif_says_no_where_no_finding_does() {
    let (world, _) = torch_machine();
    let log = form(&world, &["check", "cupy", "--python", "venv"], "sarif").json();
    let results = log["runs"][0]["results"].as_array().unwrap();
    assert_eq!((results.len(), results[0]["level"].as_str()), (1, Some("error")));
    assert!(results[0]["message"]["text"].as_str().unwrap().contains("cupy is not installed"), "{log:#}");
    let commands = form(&world, &["check", "cupy", "--python", "venv"], "github");
    assert!(commands.quiet().starts_with("::error title=cudashim::check: no findings; cupy fails"), "{}", commands.out);
    let xml = form(&world, &["check", "cupy", "--python", "venv"], "junit").out;
    assert!(xml.contains("tests=\"1\" failures=\"1\"") && xml.contains("type=\"verdict\""), "{xml}");
}

#[test]
fn junit_is_a_test_for_each_finding() {
    let world = broken();
    let xml = form(&world, &["check", "venv"], "junit").out;
    let count = |what: &str| xml.matches(what).count();
    assert!(xml.contains("<testsuite name=\"cudashim check\" tests=\"2\" failures=\"1\""), "{xml}");
    assert_eq!((count("<testcase "), count("</testcase>"), count("<failure ")), (2, 2, 1));
    // What is no failure is no failed test.
    let (well, _) = torch_machine();
    let xml = form(&well, &["check", "venv"], "junit").out;
    assert!(xml.contains("tests=\"1\" failures=\"0\"") && xml.contains("name=\"verdict\""), "{xml}");
}

#[test]
fn junit_has_no_markup_of_a_name() {
    let xml = form(&hostile(), &["scan", "m"], "junit").out;
    assert!(xml.contains("&lt;b a=&quot;1&quot;&gt;&amp;amp;]]&gt;"), "{xml}");
    let tags: BTreeSet<&str> = xml.split('<').skip(1).filter_map(|tag| tag.split([' ', '>']).next()).collect();
    let ours = ["testsuites", "testsuite", "testcase", "failure", "system-out"];
    let known = |tag: &&str| ours.contains(&tag.trim_start_matches('/')) || *tag == "?xml";
    assert_eq!(tags.iter().filter(|tag| !known(tag)).collect::<Vec<_>>(), [""; 0].iter().collect::<Vec<&&str>>());
    assert!(xml.chars().all(|c| c == '\n' || !c.is_control()));
}

#[test]
fn github_has_a_command_a_line() {
    for (world, words) in
        [(broken(), vec!["check", "venv"]), (broken(), vec!["doctor", "venv"]), (hostile(), vec!["scan", "m"])]
    {
        let process = form(&world, &words, "github");
        let lines: Vec<&str> = process.quiet().lines().collect();
        assert!(lines.len() > 1, "{}", process.out);
        for line in &lines {
            let (command, _) = line.strip_prefix("::").and_then(|line| line.split_once("::")).unwrap();
            let name = command.split(' ').next().unwrap();
            assert!(["error", "warning", "notice"].contains(&name), "{line}");
            assert!(command.contains("title="), "{line}");
        }
        let summary = format!("::notice title=cudashim::{}: ", words[0]);
        assert!(lines.last().unwrap().starts_with(&summary), "{}", process.out);
    }
    let process = form(&hostile(), &["scan", "m"], "github");
    assert!(process.out.contains("%250A") && !process.out.contains("]]>%0A"), "{}", process.out);
    assert!(form(&broken(), &["check", "venv"], "github").out.contains("%0Ado: $ "));
}

#[test]
fn github_marks_the_lock_that_does_not_hold() {
    let (world, venv) = torch_machine();
    assert_eq!(world.run(["lock", "--python", "venv", "-q"]).code, Some(0));
    let holds = form(&world, &["verify"], "github");
    assert_eq!((holds.code, holds.out.lines().count()), (Some(0), 1), "{}", holds.out);
    fs::remove_file(venv.site.join("nvidia/cublas/lib/libcublas.so.12")).unwrap();
    let process = form(&world, &["verify"], "github");
    assert_eq!(process.code, Some(1));
    assert!(process.out.contains("::error file=cudashim.lock,title=plan-drifted"), "{}", process.out);
}

#[test]
fn formats_of_trace_diff_inspect_and_a_redacted_doctor() {
    let world = Machine::new();
    world.copy("a/libcudart.so.12", 1);
    let one = Lib::new("libcudart.so.12").defines(&["cudaMalloc", "cudaFree"]);
    one.build(&world.path("b/libcudart.so.12"));
    Lib::new("libcudart.so.12").defines(&["cudaFree"]).build(&world.path("c/libcudart.so.12"));
    Lib::new("libuser.so").unversioned().uses("libcudart.so.12", &["cudaMalloc"]).build(&world.path("b/libnpp.so.12"));
    let log = form(&world, &["diff", "b/libcudart.so.12", "c/libcudart.so.12"], "sarif");
    let results: Vec<Value> = log.json()["runs"][0]["results"].as_array().unwrap().clone();
    assert_eq!((log.code, results.len()), (Some(1), 1), "{results:?}");
    fs::write(world.path("b/libcublas.so.12"), "no library").unwrap();
    for words in [vec!["inspect", "a/libcudart.so.12"], vec!["trace", "--", "/bin/true"]] {
        let process = Process::of(world.cudashim([words[0]]).args(["--format", "junit"]).args(&words[1..]));
        assert!(process.out.contains("<testsuite name=\"cudashim "), "{}{}", process.out, process.err);
    }
    let venv = world.venv("home/annabel/venv");
    torch(&venv);
    let mut command = world.cudashim(["doctor", "home/annabel/venv", "--redact", "--format", "sarif"]);
    let text = Process::of(command.env("HOME", world.path("home/annabel"))).out;
    assert!(text.contains("truncated") || text.contains("ruleId"), "{text}");
    let results = serde_json::from_str::<Value>(&text).unwrap()["runs"][0]["results"].to_string();
    assert!(!results.contains("annabel"), "{results}");
}
