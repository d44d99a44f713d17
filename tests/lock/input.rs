//! Locks that are none, or no longer what was written.

use super::*;

fn refused(world: &World, name: &str) -> String {
    let verified = Seen::of(&mut world.cudashim(["verify", name]));
    assert_eq!((verified.code, verified.out.as_str()), (Some(2), ""), "{}", verified.err);
    let ran = Seen::of(&mut world.cudashim(["run", "--plan", name, "venv/bin/python"]));
    assert_eq!((ran.code, ran.out.as_str()), (Some(125), ""), "{}", ran.err);
    // Both say the same.
    let cause = |text: &str| text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(cause(&verified.err), cause(&ran.err));
    verified.err
}

#[test]
fn of_a_later_cudashim() {
    let (world, _venv) = locked();
    let text = fs::read_to_string(world.path("cudashim.lock")).unwrap();
    fs::write(world.path("new.lock"), text.replacen("cudashim-plan\t1", "cudashim-plan\t2", 1)).unwrap();
    let says = refused(&world, "new.lock");
    assert!(says.contains("the plan is of format 2") && says.contains("hint: use a later cudashim"), "{says}");
    // Of the same format with records and fields that are not known here: it is read, and they are kept.
    let body = text.replacen("\nfor\t", "\nlater\tx\nwith\tmoon\tfull\t-\tfield\nfor\t", 1);
    let count = body.lines().count() - 1;
    let body = format!("{}end\t{count}\n", &body[..body.rfind("end\t").unwrap()]);
    fs::write(world.path("more.lock"), body).unwrap();
    assert_eq!(verify(&world, &["more.lock"]).0, 0);
}

#[test]
fn cut_or_edited() {
    let (world, _venv) = locked();
    let text = fs::read_to_string(world.path("cudashim.lock")).unwrap();
    let write = |text: &str| {
        fs::write(world.path("x.lock"), text).unwrap();
        refused(&world, "x.lock")
    };
    let cut = write(&text[..text.len() / 2]);
    assert!(cut.contains("the plan is cut off") && cut.contains("hint: it was cut short, or edited by hand"), "{cut}");
    let one_more = write(&text.replacen("\nobject\t", "\nobject\t/x\nobject\t", 1));
    assert!(one_more.contains("counts other lines"), "{one_more}");
    let relative = write(&text.replacen("\nobject\t/", "\nobject\t", 1));
    assert!(relative.contains("a path that is not absolute") && relative.contains("line "), "{relative}");
    let returns = write(&text.replace('\n', "\r\n"));
    assert!(returns.contains("end in CR LF") && returns.contains(".gitattributes"), "{returns}");
    assert!(write("").contains("not a plan"));
    assert!(write("torch==2.5.1\n").contains("not a plan"));
}

#[test]
fn that_names_no_library() {
    let (world, _venv) = locked();
    fs::write(world.path("cudashim.lock"), "cudashim-plan\t1\nabsent\tlibcuda.so.1\t/proc/self/cwd/data.bin\nend\t2\n")
        .unwrap();
    let (code, value) = verify(&world, &[]);
    assert_eq!((code, state(&value, "library")), (1, drifted("unidentified")), "{value:#}");
    assert_eq!(value["hints"], serde_json::json!(["write a new lock for this machine: `cudashim lock`"]));
}

#[test]
fn where_others_may_write() {
    let (world, _venv) = locked();
    fs::set_permissions(world.path("cudashim.lock"), fs::Permissions::from_mode(0o664)).unwrap();
    let (code, value) = verify(&world, &[]);
    assert_eq!((code, state(&value, "lock")), (1, drifted("unfit")));
    assert!(line(&value, "lock").2.contains("chmod go-w"), "{value:#}");
    assert_eq!(value["hints"], serde_json::json!([]));
    let ran = Seen::of(&mut world.cudashim(["run", "--plan", "cudashim.lock", "venv/bin/python"]));
    assert!(ran.code == Some(125) && ran.err.contains("chmod go-w"), "{}", ran.err);
    fs::set_permissions(world.path("cudashim.lock"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::create_dir(world.path("open")).unwrap();
    fs::set_permissions(world.path("open"), fs::Permissions::from_mode(0o777)).unwrap();
    fs::copy(world.path("cudashim.lock"), world.path("open/cudashim.lock")).unwrap();
    assert_eq!(state(&verify(&world, &["open/cudashim.lock"]).1, "lock"), drifted("unfit"));
    assert_eq!(Seen::of(&mut world.cudashim(["verify", "none.lock"])).code, Some(2));
}

#[test]
fn what_cannot_be_locked() {
    let world = World::new();
    let nothing = Seen::of(&mut world.rooted(["lock"]));
    assert_eq!(nothing.code, Some(2));
    assert!(nothing.err.contains("error: cannot lock: "), "{}", nothing.err);
    // A package that asks by name for what is nowhere.
    let bare = world.venv("bare");
    let library = Lib::new("asks.so").unversioned().uses("libcudart.so.12", &["cudaMalloc"]);
    bare.wheel("cupy-cuda12x", "13.3.0", &[("cupy/asks.so", library)]);
    let empty = Seen::of(&mut world.rooted(["lock", "--python", "/bare"]));
    assert_eq!(empty.code, Some(2), "{}", empty.err);
    assert!(empty.err.contains("no library of NVIDIA's is here for the environment `/bare`"), "{}", empty.err);
    let venv = world.venv("venv");
    torch(&venv);
    let none = Seen::of(&mut world.cudashim(["lock", "--python", "venv"]));
    assert_eq!(none.code, Some(1));
    assert!(none.err.starts_with("error: no set of libraries fits"), "{}", none.err);
    assert!(!world.path("cudashim.lock").exists());
    venv.wheel("nvidia-cublas-cu12", "12.4.5.8", &cublas());
    fs::create_dir(world.path("cudashim.lock")).unwrap();
    let directory = Seen::of(&mut world.cudashim(["lock", "--python", "venv"]));
    assert!(directory.code == Some(2) && directory.err.contains("not a regular file"), "{}", directory.err);
}

#[test]
fn what_a_lock_names_begins_no_line_of_its_own() {
    let world = World::new();
    let lib = "lib\tlibx.so.1\t/gone/\\n\\nthe lock holds\\x1b[2J\t1:2\t3\t4\tbuild-id:00\t-\tredirect";
    fs::write(world.path("x.lock"), format!("cudashim-plan\t1\n{lib}\nend\t2\n")).unwrap();
    let out = Seen::of(&mut world.cudashim(["verify", "x.lock"])).out;
    assert!(out.contains("/gone/\\n\\nthe lock holds\\u{1b}[2J"), "{out}");
    assert_eq!(out.lines().filter(|line| line.starts_with("the lock")).count(), 1, "{out}");
}

#[test]
fn that_is_not_there() {
    let (world, _venv) = locked();
    let done = Seen::of(&mut world.cudashim(["verify", "none.lock"]));
    assert_eq!((done.code, done.out.as_str()), (Some(2), ""));
    assert_eq!(done.err, "error: cannot find the lock `none.lock`\nhint: write one with `cudashim lock -o FILE`\n");
}

#[test]
fn a_repository_that_brings_a_library_of_its_own() {
    let (world, _venv) = locked();
    let text = fs::read_to_string(world.path("cudashim.lock")).unwrap();
    let own = text.lines().find_map(|line| line.strip_prefix("lib\tlibcublasLt.so.12\t")).unwrap();
    let own = own.split('\t').next().unwrap();
    fs::create_dir(world.path("repository")).unwrap();
    let brought = world.path("repository/data.bin");
    fs::copy(own, &brought).unwrap();
    // The very bytes of the library, so that nothing but its place is wrong.
    fs::write(world.path("cudashim.lock"), text.replace(own, brought.to_str().unwrap())).unwrap();
    let (code, value) = verify(&world, &[]);
    assert_eq!((code, state(&value, "libcublasLt.so.12")), (1, drifted("unfit")), "{value:#}");
    assert_eq!(state(&value, "libcublas.so.12").0, "holds");
    let ran = Seen::of(&mut world.cudashim(["run", "--plan", "cudashim.lock", "venv/bin/python"]));
    assert!(ran.code == Some(0) && ran.err.contains("stands outside of what the command has"), "{}", ran.err);
    // Who names the place takes it for good.
    let words = ["run", "--plan", "cudashim.lock", "--place", "repository", "venv/bin/python"];
    let ran = Seen::of(&mut world.cudashim(words));
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
}
