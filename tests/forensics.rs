//! `scan`, `inspect` and `diff` on made-up machines: their texts, order and width.

use crate::support::*;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

mod environments;
mod families;

/// A machine with a wheel, a toolkit, a bundle, a stub and damage.
fn machine() -> (Machine, Venv) {
    let (world, venv) = Machine::with_venv();
    venv.wheel("nvidia-cublas-cu12", "12.4.5.8", &cublas_with(&["cublasLtCreate", "cublasLtMatmul"]));
    let torch = Lib::new("libtorch_cuda.so").unversioned().uses("libcublas.so.12", &["cublasCreate_v2"]);
    let torch = torch.link("-rpath,$ORIGIN/../../nvidia/cublas/lib");
    let renamed = Lib::new("libcudart.so.11.0").defines(&["cudaRuntimeGetVersion"]);
    venv.torch(
        "2.5.1+cu124",
        Some("12.4"),
        &[],
        &[("lib/libtorch_cuda.so", torch), ("lib/libcudart-e409450e.so.11.0", renamed)],
    );
    let toolkit = "usr/local/cuda-12.1/lib64";
    for (path, library) in cublas_with(&["cublasLtCreate"]) {
        let name = Path::new(path).file_name().unwrap().to_str().unwrap();
        library.build(&world.path(toolkit).join(format!("{name}.1.0.26")));
        symlink(format!("{name}.1.0.26"), world.path(toolkit).join(name)).unwrap();
    }
    Lib::new("libcuda.so.1").unversioned().defines(&["cuInit"]).build(&world.path(toolkit).join("stubs/libcuda.so"));
    fs::write(world.path(toolkit).join("libcufft.so.11"), "no library").unwrap();
    (world, venv)
}

#[test]
fn scan_for_people() {
    let (world, _venv) = machine();
    let Process { code, out, err } = world.run_rooted(["scan", "/"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    insta::assert_snapshot!(out, @"
        library                    release            CUDA found by
    /usr/local/cuda-12.1
      toolkit 12.1 in /usr/local/cuda-12.1
        libcublas.so.12            12.1.0.26 (likely) 12.1 -        2 names
        libcublasLt.so.12          12.1.0.26 (likely) 12.1 run path 2 names
        libcufft.so.11             ?                  12.1 -        truncated-or-foreign-elf
        libcuda.so                 ?                  12.1 -        link-time stub

    /venv/lib/python3.11/site-packages
      nvidia-cublas-cu12 12.4.5.8 (wheel)
        libcublas.so.12            12.4.5.8           12.4 run path by libtorch_cuda.so
        libcublasLt.so.12          12.4.5.8           12.4 run path by libtorch_cuda.so
      owner unknown
        libcudart-e409450e.so.11.0 ?                  11   -        vendored copy

    7 libraries in 2 places; run `cudashim inspect FILE` for details
    4 with `-` are not found by name: only a program that knows the path loads them

    1 problem

    truncated-or-foreign-elf: a file cannot be loaded: it is cut off, damaged or for another machine
      /usr/local/cuda-12.1/lib64/libcufft.so.11
        not an ELF file
      what to do: reinstall the package that owns it, or remove it
    ");
    let strict = world.run_rooted(["scan", "/", "--strict"]);
    assert_eq!((strict.code, strict.out), (Some(1), out));
    let nothing = Machine::new();
    insta::assert_snapshot!(nothing.run_rooted(["scan", "/"]).out, @"
    no library of NVIDIA's found; `cudashim scan DIR` searches a directory and all below it, `scan
    --deep` the whole disk
    ");
}

/// Long names of everything: directories, packages, versions, sonames.
#[test]
fn scan_lines_fit_the_width() {
    let world = Machine::new();
    let long = "a-rather-long-name-of-a-directory/".repeat(4);
    let venv = world.venv(&format!("{long}venv"));
    let version = "12.4.5.8.1111111.2222222.3333333.4444444";
    venv.wheel("nvidia-cublas-cu12", version, &cublas_with(&["cublasLtCreate"]));
    let engines = Lib::new("libcudnn_engines_runtime_compiled.so.9").unversioned().link("-z,execstack");
    engines.build(&world.path(&format!("{long}lib/libcudnn_engines_runtime_compiled-0123abcd.so.9.1.0.1234567")));
    symlink("nowhere-".repeat(30), world.path(&format!("{long}lib/libnvrtc.so.12"))).unwrap();
    world.write(&format!("{long}lib/libcufft.so.11"), "no library");
    let wide = |text: &str| text.lines().map(|line| line.chars().count()).max().unwrap();
    let library = venv.site.join("nvidia/cublas/lib/libcublas.so.12");
    let inspect = ["inspect".as_ref(), library.as_os_str()];
    for columns in ["60", "100"] {
        let seen = |command: &mut Command| Process::of(command.env("COLUMNS", columns)).out;
        for text in [
            seen(&mut world.cudashim(["scan", ".", "--all"])),
            seen(&mut world.cudashim(inspect)),
            seen(&mut world.cudashim(["diff".as_ref(), library.as_os_str(), library.as_os_str()])),
        ] {
            assert!(wide(&text) <= columns.parse().unwrap() && text.lines().count() > 2, "{columns}: {text}");
        }
    }
    // Where a program reads, paths are whole, and only they are wider.
    for text in
        [Process::of(&mut world.cudashim(["scan", ".", "--all"])).out, Process::of(&mut world.cudashim(inspect)).out]
    {
        assert!(text.contains(venv.site.to_str().unwrap()), "{text}");
        for line in text.lines().filter(|line| line.chars().count() > 100) {
            assert!(line.trim().split(' ').any(|word| word.chars().count() > 84), "{line}");
        }
    }
}

#[test]
fn scan_jsonl_has_a_line_per_library_and_a_summary() {
    let (world, _venv) = machine();
    let Process { code, out, .. } = world.run_rooted(["scan", "/", "--format", "jsonl"]);
    assert_eq!(code, Some(0));
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let line_schema = schema("scan-line.json");
    for line in &lines {
        assert_eq!(wrong(&line_schema, line), [""; 0]);
    }
    let (node, lines) = lines.split_first().unwrap();
    assert_eq!((node["type"].as_str(), node["schema"].as_u64()), (Some("node"), Some(1)));
    let (end, libraries) = lines.split_last().unwrap();
    assert_eq!((end["type"].as_str(), end["count"].as_u64()), (Some("end"), Some(libraries.len() as u64)));
    // The same in the same order as in one piece.
    let (_, whole) = answer(&mut world.rooted(["scan", "/"]), "scan.json");
    let rest = |library: &Value| {
        let mut library = library.clone();
        for key in ["type", "reach", "problems"] {
            library.as_object_mut().unwrap().remove(key);
        }
        library
    };
    let expected: Vec<Value> = whole["libraries"].as_array().unwrap().iter().map(rest).collect();
    assert_eq!(libraries.iter().map(rest).collect::<Vec<_>>(), expected);
    assert_eq!(end["problems"], whole["problems"]);
    let reached =
        whole["libraries"].as_array().unwrap().iter().filter(|library| library["reach"] != Value::Array(vec![]));
    assert_eq!(
        reached.map(|library| library["path"].clone()).collect::<Vec<_>>(),
        end["reach"].as_array().unwrap().iter().map(|found| found["path"].clone()).collect::<Vec<_>>()
    );
    // Torch's own run path finds cuBLAS.
    assert!(end["reach"][0]["ways"].to_string().contains("DT_RUNPATH of"), "{end}");
    assert!(end["reach"].to_string().contains("libtorch_cuda.so"), "{end}");
}

/// A file with a name in two environments, and one in a directory without evidence of it.
#[test]
fn scan_lists_a_file_once() {
    let (world, venv) = Machine::with_venv();
    venv.wheel("nvidia-cublas-cu12", "12.4.5.8", &cublas_with(&["cublasLtCreate"]));
    world.mkdir("bare");
    let file = venv.site.join("nvidia/cublas/lib/libcublas.so.12");
    fs::hard_link(&file, world.path("bare/libcublas.so.12")).unwrap();
    symlink("libcublas.so.12", world.path("bare/libcublas.so")).unwrap();
    let Process { out, .. } = world.run_rooted(["scan", "/", "--format", "jsonl"]);
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let found: Vec<&Value> = lines
        .iter()
        .filter(|line| line["path"].as_str().is_some_and(|path| path.ends_with("libcublas.so.12")))
        .collect();
    let [one] = found[..] else { panic!("{found:?}") };
    let names = ["/bare/libcublas.so", "/bare/libcublas.so.12"];
    assert_eq!(
        one["names"],
        serde_json::json!([format!("{SITE}/nvidia/cublas/lib/libcublas.so.12"), names[0], names[1]])
    );
    assert_eq!((one["version"].as_str(), one["confidence"].as_str()), (Some("12.4.5.8"), Some("certain")));
}

/// uv links the files of its cache into each environment: each has the library under its own name.
#[test]
fn scan_lists_a_shared_file_for_each_environment() {
    let world = Machine::new();
    let (one, two) = (world.venv("venv"), world.venv("other/.venv"));
    one.wheel("nvidia-cublas-cu12", "12.4.5.8", &cublas_with(&["cublasLtCreate"]));
    let dir = two.site.join("nvidia/cublas/lib");
    fs::create_dir_all(&dir).unwrap();
    for name in ["libcublas.so.12", "libcublasLt.so.12"] {
        fs::hard_link(one.site.join("nvidia/cublas/lib").join(name), dir.join(name)).unwrap();
    }
    let record = fs::read_to_string(one.site.join("nvidia_cublas_cu12-12.4.5.8.dist-info/RECORD")).unwrap();
    two.dist_info("nvidia-cublas-cu12", "12.4.5.8", "", &record);
    let paths = |venv: &Venv| venv.site.join("nvidia/cublas/lib/libcublas.so.12").display().to_string();
    let (first, second) = (paths(&one), paths(&two));
    for (format, blank) in [("json", " "), ("jsonl", "")] {
        let Process { out, err, .. } =
            Process::of(world.cudashim(["scan", "venv", "other", "--format", format]).env("HOME", "/nowhere"));
        for path in [&first, &second] {
            assert_eq!(out.matches(&format!("\"path\":{blank}\"{path}\"")).count(), 1, "{path}: {out}{err}");
        }
    }
    let Process { out, .. } = Process::of(&mut world.cudashim(["diff", &first, &second]));
    assert!(out.contains(&first) && out.contains(&second), "{out}");
    let Process { out, .. } = Process::of(&mut world.cudashim(["inspect", &second]));
    assert!(out.contains(&second) && !out.contains(&first), "{out}");
    // One is on the search path of the other.
    let mut command = world.cudashim(["resolve", "--python", "other/.venv", "--format", "json"]);
    let Process { out, .. } = Process::of(command.env("LD_LIBRARY_PATH", Path::new(&first).parent().unwrap()));
    assert!(out.contains(&second) && !out.contains(&format!("\"path\": \"{first}\",\n      \"version\"")), "{out}");
}

#[test]
fn scan_streams_and_ends_on_ctrl_c() {
    let world = Machine::new();
    // More than the pipe holds: the reader decides how far it comes.
    let count = 2000;
    for number in 0..count {
        let dir = world.path(&format!("tree/{}/{number}", number % 20));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("libcudart.so.12"), "no library").unwrap();
    }
    let mut child = world
        .rooted(["scan", "--deep", "--format", "jsonl"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut reader = BufReader::with_capacity(4096, child.stdout.take().unwrap());
    let mut first = String::new();
    for kind in ["node", "library"] {
        first.clear();
        reader.read_line(&mut first).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&first).unwrap()["type"], kind);
    }
    assert!(child.try_wait().unwrap().is_none(), "all was read before the first line was");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let mut rest = String::new();
    reader.read_to_string(&mut rest).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "cudashim: interrupted: the report holds what was read so far\n"
    );
    let lines: Vec<Value> = rest.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (end, libraries) = lines.split_last().unwrap();
    assert_eq!((end["type"].as_str(), end["stopped"].as_bool()), (Some("end"), Some(true)));
    assert_eq!(end["count"].as_u64(), Some(libraries.len() as u64 + 1));
    assert!(libraries.len() + 1 < count, "{} of {count}", libraries.len() + 1);
    assert_eq!(wrong(&schema("scan-line.json"), end), [""; 0]);
}

#[test]
fn scan_hash_compares_bytes() {
    let (world, venv) = Machine::with_venv();
    let path = "nvidia/nccl/lib/libnccl.so.2";
    let file = Lib::new("libnccl.so.2").unversioned().build(&venv.site.join(path));
    let bytes = fs::read(&file).unwrap();
    let hex: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    let records = |digest: &str| {
        let dir = venv.site.join("nvidia_nccl_cu12-2.27.3.dist-info");
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("METADATA"), "Metadata-Version: 2.1\nName: nvidia-nccl-cu12\nVersion: 2.27.3\n").unwrap();
        fs::write(dir.join("RECORD"), format!("{path},sha256={digest},{}\n", bytes.len())).unwrap();
    };
    let verdict = |arguments: &[&str]| {
        let (_, answer) = answer(&mut world.rooted(arguments), "scan.json");
        let library = &answer["libraries"][0];
        let ids = library["problems"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned());
        (library["owner"]["record"].as_str().unwrap().to_owned(), library["sha256"].clone(), ids.collect::<Vec<_>>())
    };
    records(&base64(&Sha256::digest(&bytes)));
    assert_eq!(verdict(&["scan", "/"]), ("size_as_recorded".to_owned(), Value::Null, vec![]));
    assert_eq!(verdict(&["scan", "/", "--hash"]), ("intact".to_owned(), hex.clone().into(), vec![]));
    // As long, with other bytes: only the digest differs.
    records(&base64(&[7; 32]));
    assert_eq!(verdict(&["scan", "/"]).0, "size_as_recorded");
    assert_eq!(
        verdict(&["scan", "/", "--hash"]),
        ("altered".to_owned(), hex.clone().into(), vec!["altered-file".to_owned()])
    );
    let inside = format!("{SITE}/{path}");
    let Process { out, .. } = world.run_rooted(["inspect", "--hash", &inside]);
    assert!(out.contains("its bytes are NOT the recorded ones") && out.contains("problem       altered-file"), "{out}");
    assert!(out.contains(&hex), "{out}");
    // The other wheel's bytes, of the same size.
    let other = venv.site.join("nvidia_nccl_cu13-2.30.7.dist-info");
    fs::create_dir_all(&other).unwrap();
    fs::write(other.join("METADATA"), "Metadata-Version: 2.1\nName: nvidia-nccl-cu13\nVersion: 2.30.7\n").unwrap();
    let digest = base64(&Sha256::digest(&bytes));
    fs::write(other.join("RECORD"), format!("{path},sha256={digest},{}\n", bytes.len())).unwrap();
    let Process { out, .. } = world.run_rooted(["scan", "/"]);
    let words = out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("`--hash` shows whose it is") && words.contains("2.27.3 (unsure)"), "{out}");
    let (record, _, ids) = verdict(&["scan", "/", "--hash"]);
    assert_eq!((record.as_str(), ids), ("written_by_other", vec!["pip-cu12-cu13-overwrite".to_owned()]));
    let (_, answer) = answer(&mut world.rooted(["inspect", "--hash", &inside]), "inspect.json");
    assert_eq!(answer["files"][0]["owner"]["written_by"], "nvidia-nccl-cu13 2.30.7");
}

/// URL-safe base64 without padding, as `RECORD` has it.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        text.extend((0..=chunk.len()).map(|at| char::from(DIGITS[(word >> (18 - 6 * at) & 63) as usize])));
    }
    text
}

#[test]
fn inspect_for_people() {
    let (world, _venv) = machine();
    let shown = |path: &str| {
        let Process { code, out, err } = world.run_rooted(["inspect", path]);
        assert_eq!((code, err.as_str()), (Some(0), ""), "{path}");
        // Sizes and build IDs are the linker's.
        let lines = out.lines().map(|line| line.split(" bytes").next().unwrap());
        let steady = lines.filter(|line| !line.contains("build ID")).map(|line| {
            line.split_once("x86-64, ").map_or(line.to_owned(), |(before, _)| format!("{before}[MACHINE], [SIZE]"))
        });
        steady.collect::<Vec<_>>().join("\n")
    };
    insta::assert_snapshot!(shown(&format!("{SITE}/nvidia/cublas/lib/libcublasLt.so.12")), @"
    /venv/lib/python3.11/site-packages/nvidia/cublas/lib/libcublasLt.so.12
      is            cublas, 64-bit [MACHINE], [SIZE]
      release       12.4.5.8 (certain), built for CUDA 12.4
      by            package: nvidia-cublas-cu12 12.4.5.8
                    symbols: does not define what came with 12.9.3.13
      owner         nvidia-cublas-cu12 12.4.5.8 (wheel): of the recorded size; `--hash` compares digests

      soname        libcublasLt.so.12, which is one of its names
      found by      DT_RUNPATH of /venv/lib/python3.11/site-packages/nvidia/cublas/lib/libcublas.so.12
                    DT_RUNPATH of /venv/lib/python3.11/site-packages/torch/lib/libtorch_cuda.so

      needed        libc.so.6
      defines       libcublasLt.so.12
      needs         libc.so.6: GLIBC_2.2.5
      symbols       3 defined, 4 undefined, 4 of them weak
      to load       glibc 2.2.5 or newer
    ");
    insta::assert_snapshot!(shown("/usr/local/cuda-12.1/lib64/libcublas.so.12"), @"
    /usr/local/cuda-12.1/lib64/libcublas.so.12
      is            cublas, 64-bit [MACHINE], [SIZE]
      release       12.1.0.26 (likely), built for CUDA 12.1
      by            file name: 12.1.0.26
                    symbols: does not define what came with 12.4.5.8
      owner         toolkit 12.1 in /usr/local/cuda-12.1

      soname        libcublas.so.12, which is one of its names
      link to       libcublas.so.12.1.0.26
      real path     /usr/local/cuda-12.1/lib64/libcublas.so.12.1.0.26
      found by      not in any search path; reachable only by full path

      needed        libcublasLt.so.12 libc.so.6
      runpath       $ORIGIN
      defines       libcublas.so.12
      needs         libc.so.6: GLIBC_2.2.5
                    libcublasLt.so.12: libcublasLt.so.12
      symbols       2 defined, 5 undefined, 4 of them weak
      to load       glibc 2.2.5 or newer
    ");
    insta::assert_snapshot!(shown(&format!("{SITE}/torch/lib/libcudart-e409450e.so.11.0")), @"
    /venv/lib/python3.11/site-packages/torch/lib/libcudart-e409450e.so.11.0
      is            cudart, 64-bit [MACHINE], [SIZE]
      unusable      named `libcudart-e409450e.so.11.0`, but its soname is `libcudart.so.11.0`
      release       unknown, built for CUDA 11 (likely)
      by            symbols: does not define what came with 11.8.89
                    soname: CUDA 11
      owner         unknown: no package, toolkit or application claims it

      soname        libcudart.so.11.0, which is not among its names: a search for it does not find this
                    file
      vendored      the wheel's build put the hash e409450e into its name; no other program finds it
      found by      not in any search path; reachable only by full path

      needed        libc.so.6
      defines       libcudart.so.11.0
      needs         libc.so.6: GLIBC_2.2.5
      symbols       2 defined, 4 undefined, 4 of them weak
      to load       glibc 2.2.5 or newer
    ");
    insta::assert_snapshot!(shown(&format!("{SITE}/torch/lib/libtorch_cuda.so")), @"
    /venv/lib/python3.11/site-packages/torch/lib/libtorch_cuda.so
      is            64-bit [MACHINE], [SIZE]

      soname        libtorch_cuda.so, which is one of its names
      found by      neither LD_LIBRARY_PATH nor the cache

      needed        libcublas.so.12 libc.so.6
      runpath       $ORIGIN/../../nvidia/cublas/lib
      needs         libc.so.6: GLIBC_2.2.5
                    libcublas.so.12: libcublas.so.12
      symbols       1 defined, 5 undefined, 4 of them weak
      to load       glibc 2.2.5 or newer
    ");
    insta::assert_snapshot!(shown("/usr/local/cuda-12.1/lib64/stubs/libcuda.so"), @"
    /usr/local/cuda-12.1/lib64/stubs/libcuda.so
      is            driver, 64-bit [MACHINE], [SIZE]
      stub          link-time stub: it is in a directory of stubs
      release       unknown, built for CUDA 12.1 (likely)
      by            directory: /usr/local/cuda-12.1/lib64/stubs
      owner         toolkit 12.1 in /usr/local/cuda-12.1

      soname        libcuda.so.1, which is not among its names: a search for it does not find this file
      found by      not in any search path; reachable only by full path

      needed        libc.so.6
      needs         libc.so.6: GLIBC_2.2.5
      symbols       1 defined, 4 undefined, 4 of them weak
      to load       glibc 2.2.5 or newer
    ");
    insta::assert_snapshot!(shown("/usr/local/cuda-12.1/lib64/libcufft.so.11"), @"
    /usr/local/cuda-12.1/lib64/libcufft.so.11
      is            cufft, not an ELF object that can be loaded here, 10
      unusable      not an ELF file
      release       unknown, built for CUDA 12.1 (likely)
      by            directory: /usr/local/cuda-12.1/lib64
      owner         toolkit 12.1 in /usr/local/cuda-12.1

      soname        none
      found by      not in any search path; reachable only by full path

      problem       truncated-or-foreign-elf: not an ELF file
      what to do    reinstall the package that owns it, or remove it
    ");
}

#[test]
fn inspect_json() {
    let (world, _venv) = machine();
    let toolkit = "/usr/local/cuda-12.1/lib64";
    let files = [format!("{toolkit}/libcublas.so.12"), format!("{SITE}/torch/lib/libtorch_cuda.so")];
    let (code, report) = answer(world.rooted(["inspect"]).args(&files), "inspect.json");
    assert_eq!(code, 0);
    let [cublas, torch] = &report["files"].as_array().unwrap()[..] else { panic!("{report:#}") };
    assert_eq!(cublas["links"][0]["target"], "libcublas.so.12.1.0.26");
    assert_eq!(cublas["real_path"], format!("{toolkit}/libcublas.so.12.1.0.26"));
    assert_eq!((&cublas["soname_is_a_name"], &cublas["owner"]["kind"]), (&true.into(), &"toolkit".into()));
    assert!(cublas["needs"].to_string().contains(r#"{"file":"libcublasLt.so.12","nodes":["libcublasLt.so.12"]}"#));
    assert_eq!((&torch["family"], &torch["owner"], &torch["version"]), (&Value::Null, &Value::Null, &Value::Null));
    assert_eq!(torch["runpath"], "$ORIGIN/../../nvidia/cublas/lib");

    // One that cannot be read does not hide the others.
    world.write("text", "no library");
    let Process { code, out, err } =
        Process::of(world.rooted(["inspect", "/text", "--format", "jsonl"]).args(&files).arg("/none"));
    assert_eq!((code, out.lines().count()), (Some(2), 2));
    assert!(
        err.contains("error: cannot read `/text`: not an ELF file") && err.contains("error: cannot open `/none`: "),
        "{err}"
    );
    let paths: BTreeSet<String> =
        out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["path"].to_string()).collect();
    assert_eq!(paths.len(), 2);
}

#[test]
fn diff_of_two_libraries() {
    let (world, _venv) = machine();
    let (new, old) = (
        format!("{SITE}/nvidia/cublas/lib/libcublasLt.so.12"),
        "/usr/local/cuda-12.1/lib64/libcublasLt.so.12".to_owned(),
    );
    insta::assert_snapshot!(world.run_rooted(["diff", &new, &old]).out, @"
    - /venv/lib/python3.11/site-packages/nvidia/cublas/lib/libcublasLt.so.12
    + /usr/local/cuda-12.1/lib64/libcublasLt.so.12
    release: 12.4.5.8 → 12.1.0.26
    symbols: 0 added, 1 removed
      - cublasLtMatmul@libcublasLt.so.12

    the second may NOT stand in for the first
    of 2 libraries here that need the first, none would break
    ");
    insta::assert_snapshot!(world.run_rooted(["diff", &old, &new]).out, @"
    - /usr/local/cuda-12.1/lib64/libcublasLt.so.12
    + /venv/lib/python3.11/site-packages/nvidia/cublas/lib/libcublasLt.so.12
    release: 12.1.0.26 → 12.4.5.8
    symbols: 1 added, 0 removed
      + cublasLtMatmul@libcublasLt.so.12

    the second may stand in for the first
    of 2 libraries here that need the first, none would break
    ");
    let (code, report) = answer(&mut world.rooted(["diff", &new, &old]), "diff.json");
    assert_eq!((code, report["stands_in"].as_bool()), (1, Some(false)));
    assert_eq!(report["symbols"]["lost"], serde_json::json!(["cublasLtMatmul@libcublasLt.so.12"]));
    assert_eq!((report["users"].as_u64(), report["breaks"].as_array().map(Vec::len)), (Some(2), Some(0)));
    assert_eq!(answer(&mut world.rooted(["diff", &old, &new]), "diff.json").0, 0);

    // A symbol that torch needs is missing.
    let empty = Lib::new("libcublas.so.12").defines(&["cublasOther"]).build(&world.path("other/libcublas.so.12"));
    let first = format!("{SITE}/nvidia/cublas/lib/libcublas.so.12");
    let (code, report) = answer(&mut world.rooted(["diff", &first, "/other/libcublas.so.12"]), "diff.json");
    assert!(empty.exists() && code == 1);
    assert_eq!(report["breaks"][0]["path"], format!("{SITE}/torch/lib/libtorch_cuda.so"));
    assert_eq!(report["breaks"][0]["symbol"], "cublasCreate_v2@libcublas.so.12");
}

#[test]
fn diff_of_two_scans() {
    let (world, venv) = machine();
    let save = |name: &str, format: &str| {
        let out = world.run_rooted(["scan", "/", "--format", format]).out;
        world.write(name, out);
    };
    save("before.json", "json");
    save("before.jsonl", "jsonl");
    let (code, same) = answer(&mut world.rooted(["diff", "/before.json", "/before.jsonl"]), "diff.json");
    assert_eq!((code, same["came"].as_array().map(Vec::len)), (0, Some(0)), "{same:#}");
    assert_eq!(world.run_rooted(["diff", "/before.json", "/before.jsonl"]).out, "nothing differs\n");

    fs::remove_dir_all(venv.site.join("nvidia_cublas_cu12-12.4.5.8.dist-info")).unwrap();
    venv.wheel("nvidia-cublas-cu12", "12.6.4.1", &cublas_with(&["cublasLtCreate", "cublasLtNew"]));
    fs::remove_file(world.path("usr/local/cuda-12.1/lib64/libcufft.so.11")).unwrap();
    Lib::new("libnccl.so.2").unversioned().build(&world.path("new/libnccl.so.2"));
    save("after.json", "json");
    let (code, diff) = answer(&mut world.rooted(["diff", "/before.json", "/after.json"]), "diff.json");
    assert_eq!(code, 1);
    assert_eq!(diff["came"][0]["path"], "/new/libnccl.so.2");
    assert_eq!(diff["went"][0]["path"], "/usr/local/cuda-12.1/lib64/libcufft.so.11");
    assert_eq!(diff["changed"].as_array().map(Vec::len), Some(2));
    assert_eq!(
        (&diff["changed"][0]["before"]["version"], &diff["changed"][0]["after"]["version"]),
        (&"12.4.5.8".into(), &"12.6.4.1".into())
    );
    assert_eq!(diff["gone_problems"][0]["id"], "truncated-or-foreign-elf");
    insta::assert_snapshot!(world.run_rooted(["diff", "/before.json", "/after.json"]).out, @"
    - /usr/local/cuda-12.1/lib64/libcufft.so.11 (release unknown)
    + /new/libnccl.so.2 (release unknown)
    ~ /venv/lib/python3.11/site-packages/nvidia/cublas/lib/libcublas.so.12: 12.4.5.8 → 12.6.4.1
    ~ /venv/lib/python3.11/site-packages/nvidia/cublas/lib/libcublasLt.so.12: 12.4.5.8 → 12.6.4.1
    no longer truncated-or-foreign-elf: /usr/local/cuda-12.1/lib64/libcufft.so.11: not an ELF file
    1 came, 1 went, 2 changed
    ");
    // A scan and a library.
    assert_eq!(world.run_rooted(["diff", "/before.json", "/new/libnccl.so.2"]).code, Some(2));
}

/// On a machine of rpm's, whose database is not read, no owner is named for files that rpm may have installed.
#[test]
fn scan_names_rpm_as_possible_owner() {
    let world = Machine::new();
    Lib::new("libcudart.so.12").build(&world.path("usr/lib64/libcudart.so.12"));
    Lib::new("libcudart.so.12").defines(&["mine"]).build(&world.path("usr/local/lib/libcudart.so.12"));
    world.mkdir("usr/lib/sysimage/rpm");
    let kinds = || {
        let (_, answer) = answer(&mut world.rooted(["scan", "/"]), "scan.json");
        let kind = |library: &Value| library["owner"]["kind"].as_str().unwrap().to_owned();
        answer["libraries"].as_array().unwrap().iter().map(kind).collect::<Vec<_>>()
    };
    assert_eq!(kinds(), ["none", "none"]);
    world.write("usr/lib/sysimage/rpm/rpmdb.sqlite", "");
    assert_eq!(kinds(), ["rpm", "none"]);
    let Process { out, .. } = world.run_rooted(["inspect", "/usr/lib64/libcudart.so.12"]);
    assert!(out.contains("owner         maybe rpm: run `rpm -qf FILE`\n"), "{out}");
}
