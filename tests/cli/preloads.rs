//! The previous entries of `LD_PRELOAD`, and the variables that cudashim sets.

use super::sound;
use crate::support::*;
use std::fs;

/// A library that needs a missing one prevents every program from starting, whether it is NVIDIA's or not.
#[test]
fn run_removes_an_unloadable_nvidia_entry_of_ld_preload() {
    let (world, venv) = sound();
    let needy = |name: &str| {
        let library = Lib::new(name).defines(&["nothing"]).uses("libnowhere.so.1", &["nowhere"]);
        library.build(&world.path("opt").join(name))
    };
    let (ours, theirs) = (needy("libcurand.so.10"), needy("libtheirs.so"));
    let start = |entry: &std::path::Path| {
        Process::of(world.cudashim(["run", "--"]).arg(venv.python()).env("LD_PRELOAD", entry))
    };
    let mended = start(&ours);
    assert_eq!(mended.code, Some(0), "{}", mended.err);
    let says = format!(
        "cudashim: removed `{}` from LD_PRELOAD: it needs libnowhere.so.1, which is not found, and no program starts with it\n",
        ours.display()
    );
    assert_eq!(mended.err, says);
    let left = start(&theirs);
    assert_eq!(left.code, Some(127));
    let says = format!("cudashim: LD_PRELOAD names `{}`, which needs libnowhere.so.1", theirs.display());
    assert!(left.err.starts_with(&says), "{}", left.err);
}

/// Where only the auditor comes early enough, `env` sets that.
#[test]
fn env_sets_ld_audit_for_a_linked_program() {
    let (world, venv) = sound();
    let cublas = venv.site.join("nvidia/cublas/lib/libcublas.so.12");
    let link = cublas.to_string_lossy().into_owned();
    let program = cc(
        world.root(),
        "app",
        "int main(void) { return 0; }\n",
        &["-Wl,--no-as-needed", &link, "-Wl,--allow-shlib-undefined"],
    );
    let lines = Process::of(world.cudashim(["env", "--for"]).arg(&program).args(["--place", "venv"]));
    assert_eq!(lines.code, Some(0), "{}", lines.err);
    let run = Process::of(world.cudashim(["run", "-v", "--place", "venv", "--"]).arg(&program));
    if run.err.contains("by LD_AUDIT") {
        assert!(lines.out.contains("export LD_AUDIT=") && !lines.out.contains("LD_PRELOAD"), "{}", lines.out);
    } else {
        assert!(lines.err.contains("start it with `cudashim run -- "), "{}{}", lines.out, lines.err);
    }
}

/// A launcher in an environment without CUDA starts another, which requests its own plan.
#[test]
fn run_passes_the_shim_through_a_launcher() {
    let (world, venv) = sound();
    let tool = world.venv("tool");
    let torch = venv.torch_deps();
    let mut command = world.cudashim(["run", "--"]);
    command.arg(tool.python()).arg("--exec").arg(venv.python()).arg("--load").arg(&torch);
    let healed = Process::of(command.env("LD_LIBRARY_PATH", super::run::hijack(&world)));
    assert_eq!(healed.ok(), "ok\n");
    // Who names an environment hears that it has nothing.
    let named = Process::of(world.cudashim(["run", "--python", "tool", "--"]).arg(tool.python()));
    assert!(named.code == Some(0) && named.err.contains("no libraries chosen"), "{}", named.err);
}

/// A lock of a repository may have any content: nothing is loaded that `verify` does not report as unchanged.
#[test]
fn run_loads_nothing_of_a_foreign_repository() {
    let (world, venv) = sound();
    world.tools(&["sh"]);
    let evil = Lib::new("libcurand.so.10").defines(&["x"]).source(
        "#include <unistd.h>\n__attribute__((constructor)) static void run(void) { (void)!write(2, \"EVIL\\n\", 5); }\n",
    );
    let evil = evil.build(&world.path("data.bin"));
    let size = fs::metadata(&evil).unwrap().len();
    let sha = Process::of(std::process::Command::new("sha256sum").arg(&evil)).out;
    let sha = sha.split(' ').next().unwrap();
    for (number, path) in ["/proc/self/cwd/data.bin", "/var/run/../proc/self/cwd/data.bin"].into_iter().enumerate() {
        let bundle = format!("bundle\tlibcurand.so.10\t{}\t1:2\t3\t4\n", evil.display());
        let text = format!(
            "cudashim-plan\t1\nlib\tlibcurand.so.10\t{path}\t1:2\t{size}\t3\tsha256:{sha}\t-\tpreload\n\
             trigger\tlibcurand.so.10\tlibcurand.so.10\n{bundle}end\t4\n"
        );
        let lock = format!("evil-{number}.lock");
        fs::write(world.path(&lock), text).unwrap();
        let verified = Process::of(world.cudashim(["verify", &lock]).env("COLUMNS", "200"));
        assert!(
            verified.code == Some(1) && verified.out.contains("is never handed out"),
            "{}{}",
            verified.out,
            verified.err
        );
        for via in ["preload", "audit"] {
            let mut command = world.cudashim(["run", "--via", via, "--plan", &lock, "--"]);
            let ran = Process::of(command.arg(venv.python()).args(["--load", "libcurand.so.10"]));
            assert!(!ran.err.contains("EVIL"), "{}", ran.err);
        }
    }
}

/// A plan for one environment that is handed to another by name.
#[test]
fn run_warns_of_a_plan_of_another_environment() {
    let (world, venv) = sound();
    let other = world.venv("other");
    assert_eq!(world.run(["lock", "-q", "--python", "venv"]).code, Some(0));
    assert_eq!(world.run(["resolve", "-q", "--python", "venv", "-o", "kept.plan"]).code, Some(0));
    let run =
        |plan: &str, python: std::path::PathBuf| Process::of(world.cudashim(["run", "--plan", plan, "--"]).arg(python));
    assert_eq!(run("cudashim.lock", venv.python()).err, "");
    let refused = run("cudashim.lock", other.python());
    assert!(refused.code == Some(125) && refused.err.contains("torch is not installed for"), "{}", refused.err);
    assert_eq!(run("kept.plan", venv.python()).err, "");
    let says = format!(
        "cudashim: `{}` is for `{}`, and is handed to `{}`\n",
        world.path("kept.plan").display(),
        venv.python().display(),
        other.python().display()
    );
    let said = run("kept.plan", other.python()).err;
    assert!(said.ends_with(&says), "{said}");
}
