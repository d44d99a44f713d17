//! Invalid and changed locks.

use super::*;

fn refused(world: &Machine, name: &str) -> String {
    let verified = world.run(["verify", name]);
    assert_eq!((verified.code, verified.out.as_str()), (Some(2), ""), "{}", verified.err);
    let ran = world.run(["run", "--plan", name, "venv/bin/python"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(125), ""), "{}", ran.err);
    // Both print the same.
    let cause = |text: &str| text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(cause(&verified.err), cause(&ran.err));
    verified.err
}

#[test]
fn lock_of_a_later_cudashim() {
    let (world, _venv) = locked();
    let text = world.read("cudashim.lock");
    world.write("new.lock", text.replacen("cudashim-lock\t1", "cudashim-lock\t2", 1));
    let says = refused(&world, "new.lock");
    assert!(says.contains("the plan has format 2") && says.contains("hint: use a later cudashim"), "{says}");
    // Of the same format with records and fields that are not known here: it is read, and they are kept.
    let body = text.replacen("\nfor\t", "\nlater\tx\nwith\tmoon\tfull\t-\tfield\nfor\t", 1);
    let count = body.lines().count() - 1;
    let body = format!("{}end\t{count}\n", &body[..body.rfind("end\t").unwrap()]);
    world.write("more.lock", body);
    assert_eq!(verify(&world, &["more.lock"]).0, 0);
}

#[test]
fn lock_truncated_or_edited() {
    let (world, _venv) = locked();
    let text = world.read("cudashim.lock");
    let write = |text: &str| {
        world.write("x.lock", text);
        refused(&world, "x.lock")
    };
    let cut = write(&text[..text.len() / 2]);
    assert!(cut.contains("the plan is cut off") && cut.contains("this one was cut short, or edited by hand"), "{cut}");
    let one_more = write(&text.replacen("\nobject\t", "\nobject\t/x\nobject\t", 1));
    assert!(one_more.contains("counts other lines"), "{one_more}");
    let relative = write(&text.replacen("\nobject\t{env}/", "\nobject\t", 1));
    assert!(relative.contains("a path that is not absolute") && relative.contains("line "), "{relative}");
    let returns = write(&text.replace('\n', "\r\n"));
    assert!(returns.contains("end in CR LF") && returns.contains(".gitattributes"), "{returns}");
    assert!(write("").contains("not a plan"));
    assert!(write("torch==2.5.1\n").contains("not a plan"));
}

#[test]
fn lock_without_libraries() {
    let (world, _venv) = locked();
    world.write("cudashim.lock", "cudashim-plan\t1\nabsent\tlibcuda.so.1\t/proc/self/cwd/data.bin\nend\t2\n");
    let (code, value) = verify(&world, &[]);
    assert_eq!((code, state(&value, "library")), (1, drifted("unidentified")), "{value:#}");
    assert_eq!(value["hints"], serde_json::json!(["write a new lock for this machine: `cudashim lock`"]));
}

#[test]
fn lock_where_others_may_write() {
    let (world, _venv) = locked();
    world.mode("cudashim.lock", 0o664);
    let (code, value) = verify(&world, &[]);
    assert_eq!((code, state(&value, "lock")), (1, drifted("unfit")));
    assert!(line(&value, "lock").2.contains("chmod go-w"), "{value:#}");
    assert_eq!(value["hints"], serde_json::json!([]));
    let ran = world.run(["run", "--plan", "cudashim.lock", "venv/bin/python"]);
    assert!(ran.code == Some(125) && ran.err.contains("chmod go-w"), "{}", ran.err);
    world.mode("cudashim.lock", 0o644);
    world.mkdir("open");
    world.mode("open", 0o777);
    fs::copy(world.path("cudashim.lock"), world.path("open/cudashim.lock")).unwrap();
    assert_eq!(state(&verify(&world, &["open/cudashim.lock"]).1, "lock"), drifted("unfit"));
    assert_eq!(world.run(["verify", "none.lock"]).code, Some(2));
}

#[test]
fn lock_refuses_what_it_cannot_hold() {
    let world = Machine::new();
    let nothing = world.run_rooted(["lock"]);
    assert_eq!(nothing.code, Some(2));
    assert!(nothing.err.contains("error: cannot lock: "), "{}", nothing.err);
    // A package that opens a missing library by name.
    let bare = world.venv("bare");
    let library = Lib::new("asks.so").unversioned().uses("libcudart.so.12", &["cudaMalloc"]);
    bare.wheel("cupy-cuda12x", "13.3.0", &[("cupy/asks.so", library)]);
    let empty = world.run_rooted(["lock", "--python", "/bare"]);
    assert_eq!(empty.code, Some(2), "{}", empty.err);
    assert!(empty.err.contains("no NVIDIA library found for the environment `/bare`"), "{}", empty.err);
    let venv = world.venv("venv");
    torch_with_cublas(&venv);
    let none = world.run(["lock", "--python", "venv"]);
    assert_eq!(none.code, Some(1));
    assert!(none.err.starts_with("error: no compatible set of libraries"), "{}", none.err);
    assert!(!world.path("cudashim.lock").exists());
    venv.wheel("nvidia-cublas-cu12", "12.4.5.8", &cublas());
    world.mkdir("cudashim.lock");
    let directory = world.run(["lock", "--python", "venv"]);
    assert!(directory.code == Some(2) && directory.err.contains("not a regular file"), "{}", directory.err);
}

#[test]
fn lock_escapes_line_breaks() {
    let world = Machine::new();
    let lib = "lib\tlibx.so.1\t/gone/\\n\\nthe lock holds\\x1b[2J\t1:2\t3\t4\tbuild-id:00\t-\tredirect";
    world.write("x.lock", format!("cudashim-plan\t1\n{lib}\nend\t2\n"));
    let out = world.run(["verify", "x.lock"]).out;
    assert!(out.contains("/gone/\\n\\nthe lock holds\\u{1b}[2J"), "{out}");
    assert_eq!(out.lines().filter(|line| line.starts_with("the lock")).count(), 1, "{out}");
}

#[test]
fn lock_that_does_not_exist() {
    let (world, _venv) = locked();
    let done = world.run(["verify", "none.lock"]);
    assert_eq!((done.code, done.out.as_str()), (Some(2), ""));
    assert_eq!(done.err, "error: cannot find the lock `none.lock`\nhint: write one with `cudashim lock -o FILE`\n");
}

#[test]
fn lock_of_a_repository_with_its_own_library() {
    let (world, venv) = locked();
    let text = world.read("cudashim.lock");
    let own = text.lines().find_map(|line| line.strip_prefix("lib\tlibcublasLt.so.12\t")).unwrap();
    let own = own.split('\t').next().unwrap();
    world.mkdir("repository");
    let brought = world.path("repository/data.bin");
    fs::copy(own.replacen("{env}", venv.dir.to_str().unwrap(), 1), &brought).unwrap();
    // The very bytes of the library, so that nothing but its place is wrong.
    world.write("cudashim.lock", text.replace(own, brought.to_str().unwrap()));
    let (code, value) = verify(&world, &[]);
    assert_eq!((code, state(&value, "libcublasLt.so.12")), (1, drifted("unfit")), "{value:#}");
    assert_eq!(state(&value, "libcublas.so.12").0, "holds");
    let ran = world.run(["run", "--plan", "cudashim.lock", "venv/bin/python"]);
    assert!(ran.code == Some(125) && ran.err.contains("is outside the environment of the command"), "{}", ran.err);
    let ran = world.run(["run", "--force", "--plan", "cudashim.lock", "venv/bin/python"]);
    assert!(ran.code == Some(0) && ran.err.contains("is outside the environment of the command"), "{}", ran.err);
    // Who names the place takes it for good.
    let words = ["run", "--plan", "cudashim.lock", "--place", "repository", "venv/bin/python"];
    let ran = world.run(words);
    ran.ok();
}
