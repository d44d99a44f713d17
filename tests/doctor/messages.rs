//! What programs print is recognised: `messages/*.txt`, each with the kind that is expected first, then texts between
//! lines of `----`; `messages/public.tsv`, texts of public threads, and `messages/fresh.tsv`, those that were judged first.

use cudashim::internal::diagnose::{Message, recognise};
use cudashim::internal::tables::{families, messages};
use std::fs;
use std::path::Path;

/// The texts, each with what is expected and the file that it is of.
fn texts() -> Vec<(String, String, String)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/doctor/messages");
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut texts = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        if file.extension().unwrap() == "tsv" {
            for line in text.lines().filter(|line| !line.starts_with('#')).skip(1) {
                // Of `fresh.tsv` with what was wanted, and what was seen at first sight.
                let [id, text, source, ..] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
                assert!(source.starts_with("https://"), "{line}");
                texts.push((id.to_owned(), text.replace("\\n", "\n"), "public".to_owned()));
            }
            continue;
        }
        let (expected, all) = text.split_once('\n').unwrap();
        for text in all.trim_end().split("\n----\n") {
            texts.push((expected.to_owned(), text.to_owned(), file.file_stem().unwrap().to_str().unwrap().to_owned()));
        }
    }
    assert!(texts.len() > 400, "{}", texts.len());
    texts
}

/// What is recognised first: its kind; `0` before what counts only with a finding of the machine; `-`: nothing.
fn first(found: &[Message]) -> String {
    match found.first() {
        None => "-".to_owned(),
        Some(message) if message.weight == 0 => format!("0 {}", message.ids[0]),
        Some(message) => message.ids[0].to_owned(),
    }
}

#[test]
fn each_text_is_what_it_is() {
    for (expected, text, file) in texts() {
        let found = recognise(text.as_bytes());
        assert_eq!(first(&found), expected, "{file}: {text}\n{found:#?}");
        for message in found {
            assert!(!message.says.contains(['{', '}']), "{}", message.says);
        }
    }
}

#[test]
fn of_fresh_texts_nearly_all_are_right() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/doctor/messages/fresh.tsv");
    let text = fs::read_to_string(path).unwrap();
    let rows: Vec<Vec<&str>> =
        text.lines().filter(|line| !line.starts_with('#')).skip(1).map(|line| line.split('\t').collect()).collect();
    let right = |at: usize| {
        let is_right = |row: &&Vec<&str>| row[3].split(' ').any(|wanted| row[at].trim_start_matches("0 ") == wanted);
        rows.iter().filter(is_right).count()
    };
    // What was seen at first sight stays as it was, and is lower.
    assert!(rows.len() >= 150 && right(0) * 100 >= rows.len() * 85 && right(4) < right(0), "{} {}", right(0), right(4));
}

#[test]
fn each_row_has_a_text() {
    let texts = texts();
    let mut without = Vec::new();
    for row in messages() {
        let has = |text: &str| recognise(text.as_bytes()).iter().any(|message| message.ids == row.ids);
        let matched = |text: &str| {
            // As it is cleaned: the typographic quotes of web pages are plain ones.
            let plain = text.replace('’', "'");
            row.keys.iter().any(|key| plain.contains(key)) && row.regex().unwrap().is_match(&plain)
        };
        if !texts.iter().any(|(_, text, _)| matched(text) && has(text)) {
            without.push(format!("{:?} {:?}", row.keys, row.ids));
        }
    }
    assert!(without.is_empty(), "no text has: {without:#?}");
}

#[test]
fn how_a_text_was_printed_does_not_matter() {
    for (expected, text, file) in texts() {
        let lines = || text.lines();
        let coloured: String = lines().map(|line| format!("\x1b[1;31m{line}\x1b[0m\n")).collect();
        let piped = format!("\r 10%|█         | 1/10\r 20%|██        | 2/10\r\n{}\r\n", text.replace('\n', "\r\n"));
        let boxed: String = lines().map(|line| format!("│ {line:<90} │\n")).collect();
        let mut broken = b"\xff\xfe\xc3 ".to_vec();
        broken.extend_from_slice(text.as_bytes());
        broken.extend_from_slice(b"\n\xf0\x28 and so on \x80");
        let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let logged = lines().map(|line| format!("2026-11-22T10:00:00Z stderr F {line}\n")).collect::<String>();
        let readings: [(&str, &[u8]); 6] = [
            ("in colour", coloured.as_bytes()),
            ("after a progress bar", piped.as_bytes()),
            ("in a box", boxed.as_bytes()),
            ("among bytes that are no text", &broken),
            ("in UTF-16", if text.is_ascii() { &wide } else { text.as_bytes() }),
            ("in a log", logged.as_bytes()),
        ];
        for (how, bytes) in readings {
            assert_eq!(first(&recognise(bytes)), expected, "{file}, {how}: {text}");
        }
    }
}

#[test]
fn a_text_that_was_wrapped_is_put_together() {
    let text = "ImportError: /v/torch/lib/../../nvidia/cusparse/lib/libcusparse.so.12: undefined symbol: \
                __nvJitLinkComplete_12_4, version libnvJitLink.so.12";
    // As a narrow terminal breaks it, and as a box of words has it.
    let hard: String =
        text.as_bytes().chunks(50).map(|line| format!("{}\n", std::str::from_utf8(line).unwrap())).collect();
    let boxed = "│ ImportError: /v/torch/lib/libcusparse.so.12: undefined symbol: │\n│ __nvJitLinkComplete_12_4, version      │\n";
    for text in [hard.as_str(), boxed] {
        let found = recognise(text.as_bytes());
        assert_eq!(found[0].name("symbol"), Some("__nvJitLinkComplete_12_4"), "{text}{found:#?}");
    }
    // As in a report that was wrapped by hand.
    let text = "ImportError: /v/torch/lib/libc10_cuda.so: undefined symbol:\n    cudaGetDriverEntryPointByVersion, version libcudart.so.12";
    assert_eq!(first(&recognise(text.as_bytes())), "cudart-or-cupti-older-wins");
}

#[test]
fn other_languages_are_read() {
    for (line, id) in [
        (
            "x: libcudart.so.12: Kann die Shared-Object-Datei nicht öffnen: Datei oder Verzeichnis nicht gefunden",
            "ext-other-cuda-major",
        ),
        ("x: libcudart.so.12: 无法打开共享对象文件: 没有那个文件或目录", "ext-other-cuda-major"),
        (
            "x: libcusparseLt.so.0: 共有オブジェクトファイルを開けません: そのようなファイルやディレクトリはありません",
            "optional-lib-missing",
        ),
        ("x: /a/libnccl.so.2: en-tête ELF invalide", "truncated-or-foreign-elf"),
        ("x: /a/libnccl.so.2: файл слишком мал", "truncated-or-foreign-elf"),
        // Without the letters beyond ASCII.
        ("x: libcusparseLt.so.0: impossibile aprire il file oggetto condiviso", "optional-lib-missing"),
        ("x: libcusparseLt.so.0: Kann die Shared-Object-Datei nicht oeffnen", "optional-lib-missing"),
        ("x: libcusparseLt.so.0: Kann die Shared-Object-Datei nicht ?ffnen", "optional-lib-missing"),
        ("x: libcusparseLt.so.0: Kann die Shared-Object-Datei nicht ffnen", "optional-lib-missing"),
        ("x: libcusparseLt.so.0: nao e possivel abrir arquivo compartilhado", "optional-lib-missing"),
        ("x: libcusparseLt.so.0: nie mo?na otworzy? pliku obiektu dzielonego", "optional-lib-missing"),
        ("x: libcusparseLt.so.0: khong the mo tap tin doi tuong dung chung", "optional-lib-missing"),
        ("x: /a/libnccl.so.2: en-tete ELF invalide", "truncated-or-foreign-elf"),
    ] {
        assert_eq!(first(&recognise(line.as_bytes())), id, "{line}");
    }
    // As Latin-1 has it.
    let bytes = b"x: libcusparseLt.so.0: Kann die Shared-Object-Datei nicht \xf6ffnen";
    assert_eq!(first(&recognise(bytes)), "optional-lib-missing");
}

#[test]
fn a_library_of_the_table_is_known_by_every_name() {
    for row in families() {
        for (before, after) in [
            ("ImportError: ", ": cannot open shared object file: No such file or directory"),
            ("Could not load dynamic library '", "'; dlerror: x"),
        ] {
            let name = format!("{}.9", row.bare_name());
            let found = recognise(format!("{before}{name}{after}").as_bytes());
            assert!(before.starts_with("Could") && row.is_driver() || !found.is_empty(), "{before}{name}{after}");
        }
        for hash in ["-d0da41ae", ".e8e8b82a"] {
            let name = format!("{}{}{hash}.so.12", row.lead, row.stem);
            let found =
                recognise(format!("OSError: /x/{name}: cannot open shared object file: No such file").as_bytes());
            assert_eq!(found[0].name("library"), Some(name.as_str()));
        }
    }
    for name in ["cublasLt64_12.dll", "cudart64_110.dll", "nvrtc64_112_0.dll", "cudnn_graph64_9.dll", "nvinfer_10.dll"]
    {
        let found = recognise(format!("Error loading \"C:\\x\\{name}\" or one of its dependencies.").as_bytes());
        assert_eq!(found.first().and_then(|found| found.name("name")), Some(name));
    }
}

#[test]
fn the_cause_comes_before_its_consequence() {
    for (text, ids) in [
        (
            "forward compatibility was attempted on non supported HW\nFailed to initialize NVML: Driver/library version mismatch",
            ["nvml-kernel-user-mismatch", "compat-libcuda-804"],
        ),
        (
            "Could not create cudnn handle: CUDNN_STATUS_NOT_INITIALIZED\nCUDA_ERROR_OUT_OF_MEMORY: out of memory",
            ["out-of-memory", "cudnn-not-started"],
        ),
        ("No module named 'mmcv._ext'\nCUDA_HOME environment variable is not set", ["no-nvcc", "extension-not-built"]),
        (
            "ncclSystemError: x\nNVRM: Xid (PCI:0000:44:00): 79, GPU has fallen off the bus",
            ["driver-does-not-answer", "nccl-failed"],
        ),
        (
            "RuntimeError: Unable to load cuSPARSE. Is it installed?\nmay need newer version of nvJitLink library",
            ["nvjitlink-older-wins", "jax-library-unloadable"],
        ),
    ] {
        let found = recognise(text.as_bytes());
        let first: Vec<_> = found.iter().map(|message| message.ids[0]).take(2).collect();
        assert_eq!(first, ids, "{text}");
    }
    // What is not the cause stays in the order of the text.
    let found = recognise(b"x: undefined symbol: ncclMemFree\nCUDA driver is a stub library");
    assert_eq!(found[0].ids[0], "nccl-older-wins");
}

#[test]
fn the_most_telling_comes_first_and_names_what_it_is_about() {
    let text = "Cannot dlopen some GPU libraries.\n\
                x: /old/libnvJitLink.so.12: file too short\n\
                RuntimeError: The NVIDIA driver on your system is too old (found version 12080).\n\
                Cannot dlopen some GPU libraries.\n";
    let found = recognise(text.as_bytes());
    let ids: Vec<_> = found.iter().map(|message| (message.ids[0], message.count)).collect();
    assert_eq!(ids, [("driver-too-old", 1), ("truncated-or-foreign-elf", 1), ("tf-cannot-dlopen", 2)]);
    assert_eq!(found[0].name("cuda"), Some("12.8"));
    assert!(found[0].says.ends_with("CUDA 12.8"), "{}", found[0].says);
    assert_eq!(found[1].name("file"), Some("/old/libnvJitLink.so.12"));
}

#[test]
fn much_text_is_still_text() {
    // One line without an end, the same message over and over, a message across two pieces of a long line.
    let message = "ImportError: /x: undefined symbol: ncclMemFree ";
    let mut long = "x".repeat(1 << 20);
    for at in [0, 4090, 4096, 300_001] {
        long.replace_range(at..at + message.len(), message);
    }
    let found = recognise(long.as_bytes());
    assert_eq!(first(&found), "nccl-older-wins");
    assert!(found[0].text.len() <= 1200, "{}", found[0].text.len());
    let many = recognise(format!("{message}\n").repeat(100_000).as_bytes());
    assert_eq!(many.len(), 1);
    assert_eq!(many[0].count, 1000);
    let different: String = (0..500).map(|at| format!("undefined symbol: ncclA{at}\n")).collect();
    assert_eq!(recognise(different.as_bytes()).len(), 64);
    assert_eq!(recognise(&b"\x1b[".repeat(1 << 18)), []);
    assert_eq!(recognise(b""), []);
}
