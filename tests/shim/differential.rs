//! Random sequences of dlopen and its kin over random libraries: bare, and with the shim by both doors, without a plan
//! and with one of other names. All that a program can see must be the same.
//!
//! A hundred sequences; `CUDASHIM_SEQUENCES=100000 cargo test differential` for more.

use super::COMMON;
use crate::support::*;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Sequences of one world.
const EACH: u64 = 2000;
/// Libraries of one world.
const LIBRARIES: u64 = 16;

/// What each library writes from constructor and destructor, to the file that the driver has open; without libc, since
/// a namespace of its own need not have one.
const MARK: &str = r#"
static void mark(const char *text)
{
	unsigned long size = 0;
	while (text[size])
		size++;
#ifdef __x86_64__
	long result;
	__asm__ volatile("syscall" : "=a"(result) : "0"(1), "D"(9), "S"(text), "d"(size) : "rcx", "r11", "memory");
#else
	register long x0 __asm__("x0") = 9, x1 __asm__("x1") = (long)text, x2 __asm__("x2") = (long)size, x8 __asm__("x8") = 64;
	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x1), "r"(x2), "r"(x8) : "memory");
#endif
}
extern void *dlopen(const char *, int) __attribute__((weak));
void *open_from(const char *name, int flags)
{
	void *handle = dlopen ? dlopen(name, flags) : 0;
	__asm__ volatile("" : "+r"(handle)); /* no tail call: the caller is this library */
	return handle;
}
"#;

/// splitmix64, as in the driver.
struct Random(u64);

impl Random {
    fn below(&mut self, count: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % count
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }

    /// Once in so many times.
    fn rarely(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

struct Library {
    file: String,
    dir: &'static str,
    soname: Option<String>,
    source: String,
    needs: Vec<usize>,
    args: Vec<String>,
    script: Option<String>,
}

/// A directory of libraries that need each other, in circles too, found or not, and the names to open them by.
struct World {
    lab: Machine,
    libraries: Vec<PathBuf>,
}

impl World {
    fn new(seed: u64) -> Self {
        let lab = Machine::new();
        let mut random = Random(seed);
        let all: Vec<Library> = (0..LIBRARIES).map(|number| Library::new(&mut random, number, lab.root())).collect();
        // Without what they need first: so circles can be linked.
        for library in &all {
            library.build(&lab, &format!("stubs/{}", library.file), &[]);
        }
        let mut names = Vec::new();
        let mut libraries = Vec::new();
        for library in &all {
            let inside = format!("{}/{}", library.dir, library.file);
            let needs = library.needs.iter().map(|need| format!("-l:{}", all[*need].file));
            let more: Vec<String> = ["-Lstubs".into()].into_iter().chain(needs).chain(library.args.clone()).collect();
            let path = library.build(&lab, &inside, &more);
            let shown = path.to_str().unwrap().to_owned();
            let around = format!("{}//{}/../{inside}", lab.root().display(), library.dir);
            names.extend([
                library.file.clone(),
                library.file.clone(),
                shown.clone(),
                shown,
                around,
                format!("./{inside}"),
                inside,
            ]);
            names.extend(library.soname.clone());
            libraries.push(path);
        }
        let text = lab.write("text", "no object\n");
        let empty = lab.write("empty", "");
        names.extend(
            [&text, &empty, &lab.path("driver"), &lab.path("on")].map(|path| path.to_str().unwrap().to_owned()),
        );
        names.extend(
            ["libnone.so.1", "/no/such/libx.so", "$ORIGIN/on/libn3.so", "libm.so.6", "libc.so.6", "x"]
                .map(str::to_owned),
        );
        names.extend(["x".repeat(260), format!("/{}", "y".repeat(200))]);
        lab.write("names", names.join("\n") + "\n");
        lab.program("driver", include_str!("differential.c"), &["-rdynamic", "-ldl"]);
        Self { lab, libraries }
    }

    fn driver(&self, mode: &str, shift: &str, seed: u64, first: u64, count: u64) -> Command {
        let mut command = clean_command(self.lab.path("driver"));
        command.current_dir(self.lab.root()).env("LD_LIBRARY_PATH", self.lab.path("on"));
        command.args([mode, shift]).args([seed, first, count].map(|number| number.to_string())).arg("names");
        command
    }

    /// A plan of names that no sequence opens, proven for every other library.
    fn plan(&self) -> PathBuf {
        use std::os::unix::fs::PermissionsExt as _;
        let other = self.lab.copy("planned/libother.so.1", 1);
        let plan = PlanText::new()
            .program(&self.lab.path("driver"))
            .lib("libother.so.1", &other, "preload")
            .record(&["alias", "libother.so", "libother.so.1"])
            .record(&["replace", "/opt/other/libother.so.1", "libother.so.1"]);
        let proven = self.libraries.iter().step_by(2);
        let (_, bytes) = proven.fold(plan, |plan, path| plan.record(&["object", path.to_str().unwrap()])).image();
        let path = self.lab.write("plan.image", bytes);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }
}

impl Library {
    fn new(random: &mut Random, number: u64, root: &Path) -> Self {
        let root = root.display();
        // NVIDIA's names need a question, and there is no binary to answer.
        let file = match number {
            0 => "libcudart.so.12".into(),
            1 => "libcublas.so.12".into(),
            _ if random.rarely(3) => format!("libn{number}.so.{}", 1 + random.below(3)),
            _ => format!("libn{number}.so"),
        };
        let soname = match random.below(5) {
            0 => None,
            1 => Some(format!("libso{number}.so.1")),
            _ => Some(file.clone()),
        };
        let needs: Vec<usize> = (0..[0, 0, 1, 1, 2, 3][usize::try_from(random.below(6)).unwrap()])
            .map(|_| usize::try_from(random.below(LIBRARIES)).unwrap())
            .collect();
        let mut source = format!(
            "{MARK}int which(void) {{ return {number}; }}\nint own_{number}(void) {{ return {number}; }}\nint data = {number};\n"
        );
        let mut sum = String::from("which()");
        for need in needs.iter().collect::<std::collections::BTreeSet<_>>() {
            let _ = writeln!(source, "int own_{need}(void);");
            let _ = write!(sum, " + own_{need}()");
        }
        let _ = writeln!(source, "int sum(void) {{ return {sum}; }}");
        if random.rarely(6) {
            source += "int nobody_has_it(void); int never(void) { return nobody_has_it(); }\n";
        }
        if random.rarely(5) {
            source += "__thread int tls_data = 3; int tls(void) { return tls_data++; }\n";
        }
        let opens = if random.rarely(4) {
            format!("if (dlopen) dlopen(\"libn{}.so\", 1);", random.below(LIBRARIES))
        } else {
            String::new()
        };
        let _ = writeln!(
            source,
            "static __attribute__((constructor)) void in(void) {{ mark(\"+{number} \"); {opens} }}\n\
             static __attribute__((destructor)) void out(void) {{ mark(\"-{number} \"); }}"
        );
        let script = (!random.rarely(3)).then(|| {
            source += "int versioned(void) { return 2; }\n";
            format!("V1 {{ global: which; own_{number}; sum; data; open_from; }};\nV2 {{ global: versioned; }} V1;\n")
        });
        let mut args = vec![format!("-Wl,-z,{}", random.one(&["now", "lazy"]))];
        let all = format!("{root}/on:{root}/off:$ORIGIN/../other:/no/such:{root}/off/private");
        let run_path = random.one(&["$ORIGIN", "$ORIGIN/private", &all, &all, &all]).to_owned();
        match random.one(&["none", "--enable-new-dtags", "--enable-new-dtags", "--disable-new-dtags"]) {
            "none" => {}
            tags => args.extend([format!("-Wl,-rpath,{run_path}"), format!("-Wl,{tags}")]),
        }
        for (times, flag) in [(10, "nodelete"), (20, "initfirst"), (20, "nodlopen"), (20, "global")] {
            args.extend(random.rarely(times).then(|| format!("-Wl,-z,{flag}")));
        }
        let dir = match random.one(&["on", "off", "off/private", "other"]) {
            "on" => "on",
            "off" => "off",
            "other" => "other",
            _ => "off/private",
        };
        Self { file, dir, soname, source, needs, args, script }
    }

    fn build(&self, lab: &Machine, name: &str, more: &[String]) -> PathBuf {
        let script = self.script.as_ref().map(|script| {
            let path = lab.write(&format!("{name}.map"), script);
            format!("-Wl,--version-script={}", path.display())
        });
        let soname = self.soname.as_ref().map(|soname| format!("-Wl,-soname,{soname}"));
        let args: Vec<&str> = ["-shared", "-fPIC", "-nostdlib"]
            .into_iter()
            .chain(script.iter().chain(&soname).chain(more).map(String::as_str))
            .collect();
        lab.program(name, &self.source, &args)
    }
}

fn printed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{:?}", output.status);
    // Warnings of the shim are no part of what a program sees.
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn shim_changes_nothing_the_plan_does_not_name() {
    let asked = std::env::var("CUDASHIM_SEQUENCES").ok().and_then(|count| count.parse().ok());
    let count: u64 = asked.unwrap_or(100);
    let shim = COMMON.shim.to_str().unwrap();
    let mut ended = 0;
    for seed in 0..count.div_ceil(EACH) {
        let world = World::new(seed);
        let plan = world.plan();
        let count = EACH.min(count - seed * EACH);
        let bare = printed(&mut world.driver("hash", "0", seed, 0, count));
        assert_eq!(bare.lines().count() as u64, count);
        ended += bare.lines().filter(|line| line.ends_with(" 0")).count() as u64;
        for (door, shift) in [("LD_PRELOAD", "0"), ("LD_AUDIT", "1")] {
            for plan in [None, Some(&plan)] {
                let with = |mode: &str, first: u64, count: u64| {
                    let mut command = world.driver(mode, shift, seed, first, count);
                    command.env(door, shim).envs(plan.map(|plan| ("CUDASHIM_PLAN", plan)));
                    printed(&mut command)
                };
                let shimmed = with("hash", 0, count);
                let differs = bare.lines().zip(shimmed.lines()).position(|(bare, shimmed)| bare != shimmed);
                if let Some(at) = differs {
                    let at = at as u64;
                    let (bare, shimmed) = (printed(&mut world.driver("text", "0", seed, at, 1)), with("text", at, 1));
                    panic!("{door} {plan:?}: world {seed}, sequence {at}\n--- bare\n{bare}--- shim\n{shimmed}");
                }
                assert_eq!(bare.len(), shimmed.len());
            }
        }
    }
    // That all of them crash alike would pass for agreement.
    assert!(ended * 100 >= count * 95, "{ended} of {count}");
}
