//! Each rule of `docs/SHIM_RULES.md` has a line that keeps it: taken out, a test of that rule fails.
//!
//! `mutants_are_all_found` builds the object with each change, puts it in the place of the one in a copy of this
//! program, and runs the tests that the page names for the rule. What stands beside it sees to it that each rule has a
//! mutant, or a reason why it has none.

use crate::support::*;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::made;
use cudashim::internal::launch::shim::{IMAGE, TRACER};
use rustix::process::{Pid, Signal, kill_process_group};
use std::os::unix::process::CommandExt;

/// The beginning of a rule on the page, the source, and the replacements in it. `ARGUMENT`: one of the linker's.
type Mutant = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const ARGUMENT: &str = "the linker's argument";

#[rustfmt::skip]
const MUTANTS: &[Mutant] = &[
    // For whom.
    ("A plan is for the programs it names", "plan.c", &[("!image_has(identity.program)", "false")]),
    ("Later changes of the process", "plan.c", &[("	(void)plan_in_force(KNOWN);\n}\n", "}\n")]),
    ("A process that the given plan does not name", "plan.c",
        &[("enum force otherwise = *binary.path ?", "enum force otherwise = *binary.path && !plan.path ?")]),
    ("The binary is never asked about objects of the plan", "plan.c", &[("!*path || image_has(object) ? YES : note_find(hash)", "note_find(hash)")]),
    ("The binary is asked once about a stranger", "plan.c",
        &[("			note_add(hash, known == YES);\n", "")]),
    ("The binary is asked once about a stranger", "plan.c", &[("			no_more = !answer;\n", "")]),
    ("Without a binary, a stranger is left", "plan.c", &[("return known == YES;", "return known != NO;")]),
    ("A stranger that needs nothing of the plan", "load.c", &[("objects_find(&plan.libs[i], false) == MAPPED_NOT && plan_serves", "plan_serves")]),
    ("Kept libraries are for the plan's own", "load.c", &[("needs = {ours || plan_proves(path),", "needs = {true,")]),
    // The dlopen door.
    ("The caller stays the caller", "entry.c",
        &[("	jmp *cudashim_real(%rip)\\n", "	subq $8, %rsp\\n	call *cudashim_real(%rip)\\n	addq $8, %rsp\\n	ret\\n")]),
    ("Other names are untouched", "choose.c",
        &[("found = image_name(name);\n	const struct lib *lib = found ?", "found = image_name(text_base(name));\n	const struct lib *lib = found ?")]),
    ("Other names are untouched", "choose.c", &[("text_has(name, '$') || ", "")]),
    ("A bare name that is no name of the plan", "choose.c",
        &[("		(void)seek_file(name, caller, load_needed, mode);\n", "		(void)(text_has(name, '/') && load_needed(name, mode));\n")]),
    ("A bare name that is no name of the plan", "choose.c", &[("if (lib && plan_proves(objects_path(caller)))", "if (lib)")]),
    ("The binary is asked also for what leads", "seek.c", &[("(identity.search && in_dirs(identity.search, seek)) ||", "")]),
    ("The binary is asked also for what leads", "choose.c", &[("seek_file(name, caller, seek_cuda, 0)", "(text_has(name, '/') && seek_cuda(name, 0))")]),
    ("The binary is asked also for what leads", "seek.c",
        &[("		seek->count++;\n", "")]),
    ("An alias resolves to its library", "choose.c", &[("if (found && (found->alias || lib->how < HOW_KEEP))", "if (lib && !found->alias && lib->how < HOW_KEEP)")]),
    ("No second copy of a mapped soname", "choose.c", &[("answer = found->alias ? image_text(lib->soname) : name;", "answer = name;")]),
    ("`RTLD_NOLOAD` is answered truthfully", "choose.c", &[("(mode & RTLD_NOLOAD) || said_changed(lib)", "said_changed(lib)")]),
    ("`RTLD_NOLOAD` is answered truthfully", "choose.c", &[("(mode & RTLD_NOLOAD) || !plan.header", "!plan.header")]),
    ("An absolute path is replaced only", "choose.c", &[("if (found && (found->alias", "if (found && *name != '/' && (found->alias")]),
    ("Of a driver, only what the plan names", "choose.c", &[("(found->alias || lib->how < HOW_KEEP))\n		return by_name", "true)\n		return by_name")]),
    ("Needed libraries are loaded first", "choose.c", &[("seek_file(name, caller, load_needed, mode)", "0")]),
    ("Needed libraries are loaded first", "choose.c", &[("		(void)load_needed(answer, mode);\n", "")]),
    ("Needed libraries are loaded first", "load.c",
        &[("		(void)peek_any(image_text(plan.libs[i].path), DT_NEEDED, note, &needs);\n", "")]),
    ("The consumer's own libraries are left", "load.c", &[("lib->how == HOW_OWN || ", "")]),
    ("A library counts as loaded only", "load.c", &[("	if (mapped == MAPPED_OTHER)\n		return;\n", "")]),
    ("A library counts as loaded only", "load.c", &[("if (mapped == MAPPED_OTHER)", "if (mapped != MAPPED_NOT)")]),
    ("No second copy of a mapped soname", "choose.c",
        &[("if (mapped == MAPPED_OTHER || (mapped == MAPPED_ELSEWHERE && said_changed(lib)))", "if (false)")]),
    ("No second copy of a mapped soname", "choose.c",
        &[("(mapped == MAPPED_ELSEWHERE && said_changed(lib))", "mapped == MAPPED_ELSEWHERE")]),
    ("Needed libraries are loaded first", "load.c", &[("needs = {ours || plan_proves(path),", "needs = {plan_proves(path),")]),
    ("The binary is asked once about a stranger", "seek.c", &[("note_count >= NOTES / 2 || ", "")]),
    ("Without a binary, a stranger is left", "choose.c",
        &[("((!found->alias && mapped >= MAPPED_ELSEWHERE) || !plan_serves(asker, found))", "(found->alias || mapped < MAPPED_ELSEWHERE) && !plan_serves(asker, found)")]),
    ("A stranger that needs nothing of the plan", "choose.c", &[("(!found->alias && mapped >= MAPPED_ELSEWHERE) || ", "")]),
    ("No second copy of a mapped soname", "objects.c", &[("if (text_same(name, search->path)) {", "if (false) {")]),
    ("No second copy of a mapped soname", "objects.c", &[("st.st_ino == lib->ino)", "false)")]),
    ("Nothing is unloaded, including the shim", ARGUMENT, &[("-Wl,-z,nodelete", "")]),
    ("Flags are passed unchanged", "entry.c", &[("	popq %rsi\\n", "	popq %rsi\\n	movl $1, %esi\\n")]),
    ("errno and dlerror are the host's", "load.c", &[("	if (place)\n		*place() = before;\n", "")]),
    ("errno and dlerror are the host's", "load.c", &[("loaded ? NULL : why ? why() :", "loaded ? NULL :")]),
    ("A call before the shim's constructor", "plan.c", &[("	if (in_force == START)\n		(void)plan_in_force(KNOWN);\n	return", "	return")]),
    ("A call from a constructor is decided", "load.c", &[("	(void)peek_any(path, DT_NEEDED, note, &needs);\n", "	static int levels;\n	if (levels++)\n		return false;\n	(void)peek_any(path, DT_NEEDED, note, &needs);\n"), ("	return serves;\n", "	levels = 0;\n	return serves;\n")]),
    ("Threads: no lock of the shim", "load.c",
        &[("	int *(*place)(void) = dlsym ?",
           "	static unsigned char lock;\n\n	while (__atomic_exchange_n(&lock, 1, 5))\n		;\n	int *(*place)(void) = dlsym ?"),
          ("	return error;\n", "	__atomic_store_n(&lock, 0, 5);\n	return error;\n")]),
    ("Files are read with pread", "peek.c", &[(" && S_ISREG(st.st_mode)", "")]),
    ("Secure execution: nothing is done", "identity.c", &[("if (identity.secure || !read_own", "if (!read_own")]),
    ("A failure passes the original call on", "said.c", &[("__ATOMIC_RELAXED) < said)", "__ATOMIC_RELAXED) <= said)")]),
    ("A failure passes the original call on", "choose.c", &[("(mode & RTLD_NOLOAD) || said_changed(lib)", "mode & RTLD_NOLOAD")]),
    ("A process that opens nothing reads no plan", "plan.c", &[("	(void)plan_in_force(KNOWN);\n}\n", "	(void)plan_in_force(MAY_ASK);\n}\n")]),
    // The audit door.
    ("A name resolves to its file before any search", "audit.c", &[("is_planned(name, asker) ? answer_for(name, asker) : name", "name")]),
    ("No second copy, and no symbol bound", "audit.c", &[("	if (!other)\n", "	if (true)\n")]),
    ("An auditor without a plan has no effect", "audit.c", &[("	return version;\n", "	return plan_may_be() ? version : 0;\n")]),
    ("An auditor without a plan has no effect", "choose.c", &[(" || is_audited())", ")")]),
    ("Another namespace is left alone", "audit.c", &[("return asker == audit_base &&", "return")]),
    ("Preloads for one program are removed", "identity.c", &[("		end_once(preload, once);\n", "		;\n")]),
    ("Preloads for one program are removed", "identity.c", &[(" && (!*rest || *rest == ':' || *rest == ' ')) {", ") {")]),
    ("The tracer writes a line", "trace/trace.c", &[("record(\"open\",", "record(\"over\",")]),
    // The object.
    ("No needed library, six weak imports", ARGUMENT, &[("-Wl,-z,now", "")]),
    // Under attack.
    ("A plan of another user", "image.c", &[("st.st_uid != 0 && st.st_uid != (uint32_t)SYS(SYS_geteuid)", "false")]),
    ("A plan of another user", "image.c", &[("	if (st.st_mode & 022)\n", "	if (false)\n")]),
    ("A plan in a directory that its group", "image.c", &[("sys_stat_dir(plan.path, &dir) < 0 || ((dir.st_mode & 022) && !(dir.st_mode & S_ISVTX))", "sys_stat_dir(plan.path, &dir) < 0")]),
    ("A link, a pipe, a directory", "image.c", &[("O_RDONLY | O_NOFOLLOW", "O_RDONLY")]),
    ("A link, a pipe, a directory", "image.c", &[("sys_fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)", "sys_fstat(fd, &st) < 0")]),
    ("Exchanged between check and use", "image.c",
        &[("	wrong = check_owner(fd, &size);\n", "	wrong = check_owner(fd, &size);\n	sys_close(fd);\n	fd = sys_open(plan.path, O_RDONLY);\n")]),
    ("Cut short while in use", "image.c",
        &[("sys_memory(size + 1)", "(char *)SYS(SYS_mmap, 0, size, PROT_READ, MAP_PRIVATE, fd)"),
          ("(got = sys_read(fd, file + have, size + 1 - have)) > 0", "(got = have ? 0 : (long)size) > 0")]),
    ("A library cut short while the shim reads it", "peek.c",
        &[("	long got = at > INT64_MAX ? -1 : sys_pread(peek->fd, to, size, at);\n",
           "	const char *map = (const char *)SYS(SYS_mmap, 0, at + size, PROT_READ, MAP_PRIVATE, peek->fd);\n	long got = (long)size;\n\n	for (size_t i = 0; i < size; i++)\n		((char *)to)[i] = map[at + i];\n")]),
    ("Cut, flipped, text, too large", "image.c", &[("	if (h->size != size)\n", "	if (false)\n")]),
    ("Cut, flipped, text, too large", "image.c", &[(" || lib->how > HOW_OWN)", ")")]),
    ("Cut, flipped, text, too large", "image.c", &[("(i && name_order(", "(false && name_order(")]),
    ("Cut, flipped, text, too large", "image.c", &[("name->lib >= h->libs ||", "false ||")]),
    ("A library replaced after planning", "said.c", &[("st.st_dev != lib->dev || st.st_ino != lib->ino", "false")]),
    ("A library replaced after planning", "said.c", &[("(uint64_t)st.st_size != lib->size", "false")]),
    ("A library replaced after planning", "said.c", &[("(uint64_t)st.st_mtim.tv_sec * 1000000000 + (uint64_t)st.st_mtim.tv_nsec != lib->mtime", "false")]),
    ("A log that is a link", "log.c", &[("O_APPEND | O_CREAT | O_NOFOLLOW", "O_APPEND | O_CREAT")]),
    ("A log that is a link", "log.c", &[("|| before == 0xc2)) ? '?' : (char)c", "|| before == 0xc2)) ? (char)c : (char)c")]),
    ("A log that is a link", "log.c", &[("st.st_dev == log_stderr.st_dev && st.st_ino == log_stderr.st_ino &&", "")]),
    ("A log that is a link", "log.c", &[("	(void)SYS(SYS_rt_sigprocmask, SIG_BLOCK, &quiet, &before, 8);\n", "")]),
    // The question to the binary.
    ("The binary is asked once, at the first CUDA name", "choose.c", &[("(names_know(text_base(name), NULL) || seek_file(name, caller, seek_cuda, 0))", "true")]),
    ("The binary is asked once, at the first CUDA name", "choose.c", &[("|| seek_file(name, caller, seek_cuda, 0)", "|| (!text_has(name, '/') && seek_file(name, caller, seek_cuda, 0))")]),
    ("The variables of `data/variables.tsv`", "ask.c",
        &[("	if (SYS(CLOSE_RANGE, 3, 0xffffffff) < 0)\n", "	if (false)\n")]),
    ("The variables of `data/variables.tsv`", "ask.c", &[("		if (text_row(table, *entry + sizeof host_prefix - 1))\n", "		if (true)\n")]),
    ("The variables of `data/variables.tsv`", "ask.c", &[("struct timespec limit = {SECONDS, 0}", "struct timespec limit = {600, 0}")]),
    ("The host keeps its children", "ask.c", &[("wait_for(child, late ? WNOHANG : 0)", "(late ? -1 : wait_for(child, 0))")]),
    ("The variables of `data/variables.tsv`", "ask.c", &[("	if (late && SYS(SYS_kill, child, SIGKILL) == 0)\n", "	if (late)\n")]),
    ("Its reason is logged in one line", "ask.c", &[("	log_say(LOG_WARNING, \"no plan: \", answer + 1, NULL);\n", "")]),
    ("Other threads wait for the answer", "gate.c", &[("			(void)SYS(SYS_nanosleep, &millisecond, NULL);\n", "			return false;\n")]),
    ("Other threads wait for the answer", "gate.c", &[("SYS(SYS_tgkill, sys_getpid(), now, 0) == 0", "true")]),
    ("Other threads wait for the answer", "gate.c", &[("now == self || time", "time")]),
    ("The host keeps its children", "ask.c", &[("	child = SYS(SYS_clone, 0);\n", "	child = SYS(SYS_clone, SIGCHLD);\n")]),
    ("The variables of `data/variables.tsv`", "ask.c", &[("	reset_signals();\n", "")]),
    // Proof that it acts.
    ("One line for each decision", "said.c", &[("\" (\", why, found->alias ? image_text(lib->soname) : \"\", \")\", NULL", "NULL")]),
];

/// Rules that no line of the object keeps by itself.
const WITHOUT: &[(&str, &str)] = &[
    ("No door on a machine without assembly", "the build stops there"),
    ("fork and vfork, from all sides", "all that is kept is memory, which a child has too"),
    ("jemalloc, tcmalloc and ASan", "what is not imported and not called"),
    ("Paths with spaces and colons", "nothing is split"),
    ("A kilobyte of stack", "its test compiles the sources itself"),
    ("The object for aarch64 acts", "its test compiles the sources itself"),
    ("A file that the loader rejects", "kept by the binary"),
    ("One answer for a hundred processes", "kept by the binary"),
    ("A cache that another user cannot fill", "kept by the binary"),
    ("The interpreter that is asked", "kept by the binary"),
    ("noexec, switched off, another class", "kept by the binary"),
];

/// A rule of the page, and the tests it names.
struct Rule {
    text: String,
    tests: Vec<String>,
}

/// The rows of the page that name tests.
fn rules() -> Vec<Rule> {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/SHIM_RULES.md")).unwrap();
    let row = |line: &str| {
        let text = line.strip_prefix("| ")?.to_owned();
        let name = |word: &&str| {
            word.matches('_').count() > 1
                && word.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit())
        };
        let tests: Vec<String> = text.split('`').skip(1).step_by(2).filter(name).map(str::to_owned).collect();
        (!tests.is_empty()).then_some(Rule { text, tests })
    };
    page.lines().filter_map(row).collect()
}

fn source(file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("cshim").join(file)).unwrap()
}

#[test]
fn mutants_cover_each_rule() {
    let rules = rules();
    let named: BTreeSet<&str> =
        MUTANTS.iter().map(|(rule, ..)| *rule).chain(WITHOUT.iter().map(|(rule, _)| *rule)).collect();
    for name in &named {
        assert_eq!(rules.iter().filter(|rule| rule.text.starts_with(name)).count(), 1, "no rule of the page: {name}");
    }
    for rule in &rules {
        assert!(named.iter().any(|name| rule.text.starts_with(name)), "no mutant: {}", rule.text);
    }
    for (_, file, changes) in MUTANTS.iter().filter(|(_, file, _)| *file != ARGUMENT) {
        for (from, _) in *changes {
            assert_eq!(source(file).matches(from).count(), 1, "{file}: {from}");
        }
    }
}

/// The object of sources with the changes, or none where a compiler refuses them.
fn build(lab: &Machine, file: &str, changes: &[(&str, &str)]) -> Vec<u8> {
    let cshim = lab.path("cshim");
    let machine = made::of_machine(std::env::consts::ARCH).unwrap();
    let _ = fs::remove_dir_all(&cshim);
    for dir in ["", "trace"] {
        fs::create_dir_all(cshim.join(dir)).unwrap();
        for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("cshim").join(dir)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                fs::copy(&path, cshim.join(dir).join(path.file_name().unwrap())).unwrap();
            }
        }
    }
    if file != ARGUMENT {
        let text = changes.iter().fold(source(file), |text, (from, to)| text.replace(from, to));
        fs::write(cshim.join(file), text).unwrap();
    }
    let object = if file.starts_with("trace/") { made::TRACE } else { made::SHIM };
    let to = lab.path(object.soname);
    for arguments in made::runs(&object, machine, env!("OUT_DIR").as_ref(), &cshim, &to).unwrap() {
        let kept = arguments
            .iter()
            .filter(|word| file != ARGUMENT || changes.iter().all(|(from, _)| *word != Path::new(from)));
        // What a change leaves without use is no mistake here.
        let ran = Command::new("cc").arg("-std=gnu11").args(kept).args(["-Wno-error", "-w"]).output().unwrap();
        assert!(ran.status.success(), "{changes:?}: {}", String::from_utf8_lossy(&ran.stderr));
    }
    fs::read(to).unwrap()
}

/// An object in no more than `room` bytes: what stands behind its last segment is for tools.
fn within(object: &[u8], room: usize) -> Vec<u8> {
    let mut object = object.to_vec();
    if object.len() > room {
        let headers = goblin::elf::Elf::parse(&object).unwrap().program_headers;
        assert!(headers.iter().all(|segment| usize::try_from(segment.p_offset + segment.p_filesz).unwrap() <= room));
        object.truncate(room);
        // e_shoff; e_shentsize, e_shnum, e_shstrndx.
        object[40..48].fill(0);
        object[58..64].fill(0);
    }
    object
}

/// Whether a test of those fails, or does not end.
fn fails(program: &Path, tests: &[String], limit: Duration) -> bool {
    let mut child = Command::new(program)
        .args(tests)
        .args(["--include-ignored", "--test-threads", "2"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap();
    let end = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return !status.success();
        }
        if Instant::now() > end {
            // And what it started.
            let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw).unwrap();
            kill_process_group(group, Signal::KILL).unwrap();
            let _ = child.wait();
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// `CUDASHIM_RULE`: only those of rules that begin so.
#[test]
#[ignore = "takes minutes"]
fn mutants_are_all_found() {
    let lab = Machine::new();
    let own = fs::read(std::env::current_exe().unwrap()).unwrap();
    let places = [IMAGE, TRACER].map(|image| {
        let found: Vec<usize> = (0..own.len() - image.len()).filter(|at| own[*at..].starts_with(image)).collect();
        assert!(!found.is_empty());
        found
    });
    let only = std::env::var("CUDASHIM_RULE").unwrap_or_default();
    let program = lab.path("tests");
    let put = |mutant: &[u8], trace: bool| {
        let image = if trace { TRACER } else { IMAGE };
        let mutant = within(mutant, image.len());
        let mut bytes = own.clone();
        for at in &places[usize::from(trace)] {
            bytes[*at..*at + image.len()].fill(0);
            bytes[*at..*at + mutant.len()].copy_from_slice(&mutant);
        }
        let _ = fs::remove_file(&program);
        fs::write(&program, bytes).unwrap();
        fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    };
    let rules = rules();
    let mut survivors = Vec::new();
    for (rule, file, changes) in MUTANTS.iter().filter(|(rule, ..)| rule.starts_with(&only)) {
        let tests = &rules.iter().find(|known| known.text.starts_with(rule)).unwrap().tests;
        put(&build(&lab, file, changes), file.starts_with("trace/"));
        let found = fails(&program, tests, Duration::from_secs(60));
        eprintln!("{} {rule} ({file}): {:?}", if found { "found   " } else { "SURVIVES" }, changes[0].0);
        if !found {
            survivors.push((rule, file, changes[0].0));
        }
    }
    // The object as it is passes them all.
    put(IMAGE, false);
    let all: Vec<String> =
        rules.iter().filter(|rule| rule.text.starts_with(&only)).flat_map(|rule| rule.tests.clone()).collect();
    assert!(!fails(&program, &all, Duration::from_secs(900)), "the tests fail without a change");
    assert!(survivors.is_empty(), "{survivors:#?}");
}
