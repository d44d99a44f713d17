//! `cudashim fleet`: saved scans of many nodes, compared.

use crate::support::*;
use cudashim::internal::report::{Fleet, FleetReport};
use serde_json::{Value, json};

const NCCL: &str = "/venv/lib/python3.11/site-packages/nvidia/nccl/lib/libnccl.so.2";
const CUBLAS: &str = "/venv/lib/python3.11/site-packages/nvidia/cublas/lib/libcublas.so.12";
const AT: &str = "2099-11-30T15:00:00Z";

/// A scan as the program prints it: of a driver, cuBLAS and NCCL.
fn template() -> Vec<Value> {
    let machine = with_driver("550.54.15").file("etc/hostname", "HOST\n");
    let venv = machine.venv("venv");
    venv.nvidia("cublas", "12.4.5.8", cublas_alone());
    venv.nvidia("nccl", "2.27.3", Lib::new("libnccl.so.2").unversioned());
    let out = machine.run_rooted(["scan", "--format", "jsonl", "/venv", "/usr"]);
    let mut lines: Vec<Value> = out.ok().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let described = schema("scan-line.json");
    for line in &lines {
        assert_eq!(wrong(&described, line), [""; 0], "{line:#}");
    }
    assert_eq!((lines[0]["type"].as_str(), lines[0]["driver"].as_str()), (Some("node"), Some("550.54.15")));
    assert!(lines[0]["at"].as_str().unwrap().ends_with('Z'));
    lines[0]["at"] = AT.into();
    assert!(lines.iter().all(|line| line["host"] == "HOST"));
    lines
}

/// The scan of one node, with a change.
fn node(template: &[Value], host: &str, change: impl FnOnce(&mut Vec<Value>)) -> String {
    let mut lines = template.to_vec();
    for line in &mut lines {
        line["host"] = host.into();
    }
    change(&mut lines);
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn same(template: &[Value], host: &str) -> String {
    node(template, host, |_| {})
}

fn at_path<'l>(lines: &'l mut [Value], path: &str) -> &'l mut Value {
    lines.iter_mut().find(|line| line["path"] == path).unwrap_or_else(|| panic!("{path}"))
}

/// Without a library; its problems, which are in the last line, stay as they are.
fn remove(lines: &mut Vec<Value>, path: &str) {
    lines.retain(|line| line["path"] != path);
    let count = lines.len() - 2;
    lines.last_mut().unwrap()["count"] = count.into();
}

fn older(lines: &mut [Value]) {
    let nccl = at_path(lines, NCCL);
    nccl["version"] = "2.26.2".into();
    nccl["owner"]["version"] = "2.26.2".into();
    nccl["modified"] = "2026-11-02T08:11:00Z".into();
}

fn emptied(lines: &mut [Value]) {
    let cublas = at_path(lines, CUBLAS);
    cublas["size"] = 0.into();
    cublas["unusable"] = "too short for its ELF header".into();
    cublas["build_id"] = Value::Null;
}

fn other_driver(lines: &mut [Value]) {
    lines[0]["driver"] = "535.261.03".into();
    for line in lines {
        if line["family"] == "driver" {
            line["version"] = "535.261.03".into();
        }
    }
}

fn read(text: &str) -> FleetReport {
    let mut fleet = Fleet::default();
    fleet.read("scans", text.as_bytes()).unwrap();
    fleet.report()
}

/// What `fleet` prints of a text: exit code, stdout, stderr.
fn fleet(text: &[u8], arguments: &[&str]) -> Process {
    let machine = Machine::new();
    machine.write("scans.jsonl", text);
    Process::of(machine.cudashim(["fleet", "scans.jsonl"]).args(arguments))
}

#[test]
fn equal_nodes_are_one_group() {
    let template = template();
    let text: String = (1..=3).map(|number| same(&template, &format!("node{number:02}"))).collect();
    let alike = fleet(text.as_bytes(), &[]);
    assert_eq!(alike.ok(), format!("3 nodes alike: node[01-03] (scanned {AT})\n"));
}

#[test]
fn what_differs_is_said_with_nodes_and_times() {
    let template = template();
    let mut text: String = (1..=6).map(|number| same(&template, &format!("node{number}"))).collect();
    text += &node(&template, "node7", |lines| older(lines));
    text += &node(&template, "node9", |lines| older(lines));
    text += &node(&template, "node8", |lines| remove(lines, NCCL));
    let found = fleet(text.as_bytes(), &[]);
    assert_eq!(found.code, Some(1));
    let dir = "/venv/lib/python3.11/site-packages/nvidia/nccl/lib";
    assert_eq!(
        found.quiet(),
        format!(
            "9 nodes in 3 groups (scanned {AT}); 6 alike: node[1-6]\n\
             node[7,9]: libnccl.so.2 2.26.2, most, 6: 2.27.3; in {dir}, since 2026-11-02T08:11:00Z\n\
             node8: libnccl.so.2 missing, most, 6: 2.27.3; in {dir}, seen {AT}\n"
        )
    );
    let (code, report) = {
        let process = fleet(text.as_bytes(), &["--format", "json"]);
        (process.code, described(&process, "fleet.json"))
    };
    assert_eq!((code, report["nodes"].as_u64()), (Some(1), Some(9)));
    assert_eq!(report["differences"][0]["hosts"], json!(["node7", "node9"]));
    assert_eq!(report["differences"][1]["kind"], "missing");
}

#[test]
fn rows_are_flat_and_all_of_the_same_columns() {
    let template = template();
    let text = same(&template, "a1") + &same(&template, "a2") + &node(&template, "a3", |lines| remove(lines, NCCL));
    let process = fleet(text.as_bytes(), &["--format", "jsonl"]);
    let rows: Vec<Value> = process.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let described = schema("fleet-row.json");
    let columns: Vec<&String> = rows[0].as_object().unwrap().keys().collect();
    for row in &rows {
        assert_eq!(wrong(&described, row), [""; 0], "{row:#}");
        assert_eq!(row.as_object().unwrap().keys().collect::<Vec<_>>(), columns);
        assert!(row.as_object().unwrap().values().all(|value| !value.is_object() && !value.is_array()), "{row:#}");
    }
    let count = template.len() - 2;
    assert_eq!(rows.len(), 2 * count);
    let missing: Vec<&Value> = rows.iter().filter(|row| row["state"] == "missing").collect();
    assert_eq!(missing.len(), 1);
    assert_eq!((missing[0]["nodes"].as_str(), missing[0]["library"].as_str()), (Some("a3"), Some("libnccl.so.2")));
    assert!(rows.iter().all(|row| row["state"] != "differs"));
}

/// As of a cluster of 1000 nodes: every fault is named, and nothing else.
#[test]
fn faults_among_a_thousand_nodes_are_all_that_is_named() {
    let template = template();
    let text: String = (1..=1000)
        .map(|number| {
            node(&template, &format!("node{number:04}"), |lines| match number {
                17 | 31 => older(lines),
                40 => remove(lines, CUBLAS),
                500 => emptied(lines),
                777..=779 => other_driver(lines),
                _ => {}
            })
        })
        .collect();
    let report = read(&text);
    assert_eq!((report.nodes, report.groups.len(), report.groups[0].hosts.len()), (1000, 5, 993));
    assert_eq!(report.groups[0].nodes, "node[0001-0016,0018-0030,0032-0039,0041-0499,0501-0776,0780-1000]");
    let mut named: Vec<(&str, &str, &str)> =
        report.differences.iter().map(|it| (it.nodes.as_str(), it.kind, it.name.as_str())).collect();
    let drivers = named.extract_if(.., |(nodes, ..)| *nodes == "node[0777-0779]").collect::<Vec<_>>();
    assert_eq!(
        named,
        [
            ("node[0017,0031]", "release", "libnccl.so.2"),
            ("node0040", "missing", "libcublas.so.12"),
            ("node0500", "damaged", "libcublas.so.12"),
        ]
    );
    assert_eq!((drivers[0].1, drivers.len()), ("driver", 4));
    assert!(drivers[1..].iter().all(|(_, kind, _)| *kind == "release"), "{drivers:?}");
    assert!(report.left_out.is_empty() && report.repeated.is_empty() && report.clocks.is_empty());
    // In the text, the libraries of the driver are one line.
    let text = cudashim::internal::report::fleet_text(&report);
    assert_eq!(text.lines().count(), 1 + 3 + 2, "{text}");
}

#[test]
fn the_order_of_scans_does_not_matter() {
    let template = template();
    let scans: Vec<String> = (1..=9)
        .map(|number| {
            node(&template, &format!("n{number}"), |lines| {
                if number % 4 == 0 {
                    older(lines)
                }
            })
        })
        .collect();
    let forth = read(&scans.concat());
    let back = read(&scans.iter().rev().cloned().collect::<String>());
    assert_eq!(serde_json::to_string(&forth).unwrap(), serde_json::to_string(&back).unwrap());
    assert_eq!(forth.rows(), back.rows());
    // As `srun` prints them: the lines of one between those of others.
    let lines: Vec<Vec<&str>> = scans.iter().map(|scan| scan.lines().collect()).collect();
    let mixed: String =
        (0..lines[0].len()).flat_map(|at| lines.iter().map(move |scan| format!("{}\n", scan[at]))).collect();
    assert_eq!(serde_json::to_string(&read(&mixed)).unwrap(), serde_json::to_string(&forth).unwrap());
}

#[test]
fn of_two_scans_of_a_node_the_later_counts() {
    let template = template();
    let later = node(&template, "n1", |lines| lines[0]["at"] = "2099-12-01T00:00:00Z".into());
    let earlier = node(&template, "n1", |lines| older(lines));
    for text in [later.clone() + &earlier, earlier + &later] {
        let report = read(&(same(&template, "n2") + &text));
        assert_eq!(report.groups.len(), 1, "{report:#?}");
        assert_eq!(report.notes(), ["n1: scanned more than once; the latest scan counts"]);
        assert_eq!((report.repeated[0].at.as_str(), report.repeated[0].others), ("2099-12-01T00:00:00Z", 1));
        assert!(report.is_fine());
    }
}

#[test]
fn a_file_newer_than_its_scan_shows_that_clocks_differ() {
    let template = template();
    let slow = node(&template, "n2", |lines| {
        older(lines);
        lines[0]["at"] = "2026-11-01T00:00:00Z".into();
    });
    let report = read(&(same(&template, "n1") + &slow + &same(&template, "n3")));
    assert_eq!(report.notes(), ["n2: a file is newer than the scan: clocks differ, and no time of a file is shown"]);
    assert_eq!((report.clocks.as_slice(), &report.differences[0].since), (&["n2".to_owned()][..], &None));
    assert_eq!(report.differences[0].seen_from.as_deref(), Some("2026-11-01T00:00:00Z"));
}

#[test]
fn names_of_hosts_are_harmless() {
    let template = template();
    let odd = node(&template, "n\u{1b}[31m\nok: all, [1-9]", |lines| older(lines));
    let found = fleet((same(&template, "n1") + &same(&template, "n2") + &odd).as_bytes(), &[]);
    assert_eq!(found.code, Some(1));
    assert!(found.out.contains("`n\\x1b[31m\\nok: all, [1-9]`: libnccl.so.2 2.26.2, the other 2: "), "{}", found.out);
    assert_eq!(found.out.lines().count(), 2, "{}", found.out);
}

#[test]
fn scans_that_are_not_whole_are_left_out_and_named() {
    let template = template();
    let good = same(&template, "n1");
    let whole = same(&template, "n2");
    let count = template.len() - 2;
    let cut_line = &whole[..whole.len() - 40];
    let without_end = whole.lines().take(2).map(|line| format!("{line}\n")).collect::<String>();
    let lost_line = whole.lines().enumerate().filter(|(at, _)| *at != 2).map(|(_, line)| format!("{line}\n"));
    for (bad, says) in [
        (
            node(&template, "n2", |lines| lines[0]["schema"] = 2.into()),
            vec!["scans.jsonl, line LINE: the scan of n2 is left out: format 2; this cudashim reads 1".to_owned()],
        ),
        (without_end, vec!["scans.jsonl: the scan of n2 is left out: the last line is missing".into()]),
        (
            cut_line.to_owned(),
            vec![
                "scans.jsonl, line LAST: left out: not a line of `scan --format jsonl`: ".into(),
                "scans.jsonl: the scan of n2 is left out: the last line is missing".into(),
            ],
        ),
        (
            lost_line.collect(),
            vec![format!(
                "scans.jsonl, line LAST: the scan of n2 is left out: {} of {count} libraries: lines are missing",
                count - 1
            )],
        ),
        (
            node(&template, "n2", |lines| lines.last_mut().unwrap()["stopped"] = true.into()),
            vec!["scans.jsonl, line LAST: the scan of n2 is left out: interrupted".into()],
        ),
        (
            node(&template, "n2", |lines| lines[0]["at"] = "yesterday".into()),
            vec!["scans.jsonl, line LINE: the scan of n2 is left out: time `yesterday` is none".into()],
        ),
        (
            node(&template, "n2", |lines| drop(lines.remove(0))),
            vec![
                "scans.jsonl, line LINE: left out: the scan of `n2` has no first line: it was cut, or made by an \
                 earlier cudashim"
                    .into(),
            ],
        ),
        (
            node(&template, "n2", |lines| drop(at_path(lines, NCCL).as_object_mut().unwrap().remove("size"))),
            vec![
                format!("scans.jsonl, line LAST: the scan of n2 is left out: {} of {count} libraries: lines are missing", count - 1),
                "scans.jsonl, line ".into(),
            ],
        ),
        (
            "no JSON\n{\"type\": 7}\n[1]\n\n".to_owned(),
            vec![
                "scans.jsonl, line LINE: left out: not a line of `scan --format jsonl`: expected ident at line 1 column 2; \
                 and 2 more lines"
                    .into(),
            ],
        ),
    ] {
        let text = good.clone() + &bad;
        let found = fleet(text.as_bytes(), &[]);
        assert_eq!(found.code, Some(1), "{}{}", found.out, found.err);
        assert!(found.out.starts_with("1 node alike: n1 "), "{}", found.out);
        let first = good.lines().count() + 1;
        let notes: Vec<&str> = found.err.lines().collect();
        assert_eq!(notes.len(), says.len(), "{}", found.err);
        for (note, says) in notes.iter().zip(&says) {
            let says = says.replace("LINE", &first.to_string()).replace("LAST", &text.lines().count().to_string());
            assert!(note.strip_prefix("cudashim: ").is_some_and(|note| note.starts_with(&says)), "{note}\n{says}");
        }
        // Alone it is nothing to compare.
        let nothing = fleet(bad.as_bytes(), &[]);
        assert_eq!((nothing.code, nothing.out.as_str()), (Some(2), ""), "{}", nothing.err);
    }
}

/// Lines of other nodes between those of a refused one say nothing new.
#[test]
fn refused_scans_may_be_mixed_with_others() {
    let template = template();
    let newer = |host: &str| node(&template, host, |lines| lines[0]["schema"] = 2.into());
    let scans = [newer("n1"), same(&template, "n2"), newer("n3")];
    let lines: Vec<Vec<&str>> = scans.iter().map(|scan| scan.lines().collect()).collect();
    let mixed: String =
        (0..lines[0].len()).flat_map(|at| lines.iter().map(move |scan| format!("{}\n", scan[at]))).collect();
    let report = read(&mixed);
    assert_eq!((report.nodes, report.left_out.len()), (1, 2), "{:#?}", report.left_out);
}

#[test]
fn a_reason_that_many_scans_share_is_said_once() {
    let template = template();
    let newer = |host: &str| node(&template, host, |lines| lines[0]["schema"] = 2.into());
    let report = read(&(same(&template, "n4") + &newer("n1") + &newer("n2") + &newer("n3")));
    assert_eq!(report.notes(), ["the scans of n[1-3] are left out: format 2; this cudashim reads 1"]);
    assert_eq!(report.left_out.len(), 3);
}

#[test]
fn nothing_to_compare_is_an_error() {
    for text in ["", "\n\n", "{}\n"] {
        let found = fleet(text.as_bytes(), &[]);
        assert_eq!((found.code, found.out.as_str()), (Some(2), ""));
        assert!(found.err.contains("error: cannot compare nodes: no whole scan was read\nhint: "), "{}", found.err);
    }
    let machine = Machine::new();
    let found = machine.run(["fleet", "none.jsonl"]);
    assert_eq!(found.code, Some(2));
    assert!(found.err.starts_with("error: cannot read `none.jsonl`: no such file or directory\n"), "{}", found.err);
    // Without a file, standard input, which is empty here.
    assert_eq!(machine.run(["fleet"]).code, Some(2));
}

#[test]
fn bytes_that_are_no_text_are_left_out() {
    let found = fleet(b"\xff\xfe\x00\n{\"type\":\"node\",\"host\":\"\xff\"}\n", &[]);
    assert_eq!(found.code, Some(2));
    assert!(found.err.contains("and 1 more line\n"), "{}", found.err);
}

#[test]
fn what_only_a_process_shows_is_of_no_node() {
    let template = template();
    let mut job = template.clone();
    let mut mapped = at_path(&mut job, NCCL).clone();
    (mapped["path"], mapped["place"]) = ("/home/a/libnccl.so.2".into(), "process".into());
    let count = job.len() - 1;
    job.insert(1, mapped);
    let end = job.last_mut().unwrap();
    end["count"] = count.into();
    end["problems"] = json!([{"id": "duplicate-soname", "path": "/home/a/libnccl.so.2", "says": "x"}]);
    let text = same(&template, "n1") + &same(&job, "n2");
    assert!(read(&text).is_fine(), "{:#?}", read(&text).differences);
}

#[test]
fn problems_count_as_differences() {
    let template = template();
    let torn = node(&template, "n3", |lines| {
        lines.last_mut().unwrap()["problems"] = json!([
            {"id": "altered-file", "path": NCCL, "says": "x"},
            {"id": "dangling-link", "path": "/usr/lib/libcudart.so", "says": "x"},
        ]);
    });
    let report = read(&(same(&template, "n1") + &same(&template, "n2") + &torn));
    let named: Vec<_> = report.differences.iter().map(|it| (it.kind, it.name.as_str())).collect();
    assert_eq!(named, [("problems", "libcudart.so"), ("problems", "libnccl.so.2")]);
}
