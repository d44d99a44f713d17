/* The dlopen door: what name the loader shall get for the one it was asked for.
 *
 * cudashim_pick is called by the stub in entry.S for every dlopen of the process, from any thread, from constructors,
 * and perhaps before our own constructor. It takes no lock, allocates nothing from the host, waits for nobody, and
 * answers the name it was given wherever it is in doubt.
 */
#include "ask.h"
#include "cudashim.h"
#include "log.h"
#include "objects.h"
#include "peek.h"
#include "plan.h"
#include "shim.h"
#include "sys.h"
#include "text.h"

enum {
	RTLD_LAZY = 1, RTLD_NOW = 2, RTLD_NOLOAD = 4, RTLD_DEEPBIND = 8, RTLD_LOCAL = 0,
	AT_NULL = 0, AT_SECURE = 23, AT_EXECFN = 31,
	/* Members that load members that load members: far more than any program does, far less than a stack. */
	DEPTH = 8,
	/* Needed names of one file that the plan speaks of. */
	WANTED = 64,
};

#define RTLD_NEXT ((void *)-1L)
#define RTLD_DEFAULT ((void *)0)

typedef void *dlopen_function(const char *name, int mode);

extern void *dlsym(void *handle, const char *name) __attribute__((weak, visibility("default")));
extern char **environ __attribute__((weak, visibility("default")));

#define EXPORT __attribute__((visibility("default")))

EXPORT const unsigned cudashim_abi = 1;

/* --- the real dlopen --- */

/* What the stub jumps to if there is no dlopen in the process at all. */
static void *no_dlopen(const char *name, int mode)
{
	(void)name, (void)mode;
	return NULL;
}

dlopen_function *cudashim_real = no_dlopen;

/* Called first of all by cudashim_pick. dlsym finds what follows the object it is called from, so it must be called
 * here and not in the stub. Two threads may do this at once; they find the same. */
static bool have_real(void)
{
	dlopen_function *real = __atomic_load_n(&cudashim_real, __ATOMIC_ACQUIRE);

	if (real != no_dlopen)
		return true;
	real = NULL;
	if (dlsym)
		real = (dlopen_function *)dlsym(RTLD_NEXT, "dlopen");
	if (!real)
		real = (dlopen_function *)objects_find_dlopen();
	if (!real)
		return false;
	__atomic_store_n(&cudashim_real, real, __ATOMIC_RELEASE);
	return true;
}

/* --- the environment --- */

static bool off, strict;
/* A switch that is neither on nor off; NULL: none. */
static const char *odd_switch;

/* `1` is on; nothing and `0` are off; all else is off, too, and said. */
static bool switched_on(const char *name, const char *value)
{
	if (text_same(value, "1"))
		return true;
	if (*value && !text_same(value, "0"))
		odd_switch = name;
	return false;
}

/* Whether the loader may be auditing with another instance of us. */
static bool may_be_audited;
bool shim_auditing;
char shim_trace[4096];
static bool trace_acts;
static char given_plan[4096];
static bool given_plan_too_long;
/* LD_LIBRARY_PATH as the loader read it; empty if unset. */
static char library_path[8192];
static bool library_path_too_long;

enum { UNREAD, READING, READ };

static int environment;

/* What glibc hands to constructors. An auditor has a namespace of its own, without libc and its `environ`. */
static char **first_environ;

/* Called by the constructor, or by the first dlopen if that comes earlier; later changes of the environment are not
 * seen. The values are copied: hosts overwrite the originals to change their name in ps(1). */
static bool have_environment(void)
{
	int unread = UNREAD;
	const char *log = NULL;
	char **entry;

	if (__atomic_load_n(&environment, __ATOMIC_ACQUIRE) == READ)
		return true;
	/* libc has not come so far; the next call may. */
	entry = &environ ? environ : first_environ;
	if (!entry)
		return false;
	if (!__atomic_compare_exchange_n(&environment, &unread, READING, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		return unread == READ;
	for (; *entry; entry++) {
		const char *s = *entry;

		if (s[0] == 'L' && text_starts(s, "LD_LIBRARY_PATH="))
			library_path_too_long = !text_copy(library_path, sizeof library_path, s + 16);
		if (s[0] == 'L' && text_starts(s, "LD_AUDIT="))
			may_be_audited = s[9] != '\0';
		if (s[0] != 'C' || !text_starts(s, "CUDASHIM_"))
			continue;
		s += 9;
		if (text_starts(s, "PLAN="))
			given_plan_too_long = !text_copy(given_plan, sizeof given_plan, s + 5);
		else if (text_starts(s, "LOG="))
			log = s + 4;
		else if (text_starts(s, "STRICT="))
			strict = switched_on("CUDASHIM_STRICT", s + 7);
		else if (text_starts(s, "OFF="))
			off = switched_on("CUDASHIM_OFF", s + 4);
		else if (text_starts(s, "TRACE=/"))
			(void)text_copy(shim_trace, sizeof shim_trace, s + 6);
		else if (text_starts(s, "TRACE_ACTS="))
			trace_acts = text_same(s + 11, "1");
	}
	log_setup(log);
	__atomic_store_n(&environment, READ, __ATOMIC_RELEASE);
	return true;
}

/* CUDASHIM_ONCE is a part of LD_PRELOAD that was meant for this program: its children shall not map that too. */
static void end_once(char **entry)
{
	char *list = NULL, **once = NULL;

	for (; *entry; entry++) {
		if (text_starts(*entry, "LD_PRELOAD="))
			list = *entry;
		if (text_starts(*entry, "CUDASHIM_ONCE="))
			once = entry;
	}
	if (!once)
		return;
	for (; list && *list; list++)
		if (*list == ':' && text_starts(list + 1, *once + 14)) {
			const char *rest = list + 1 + text_length(*once + 14);

			memmove(list, rest, text_length(rest) + 1);
			break;
		}
	do
		once[0] = once[1];
	while (*once++);
}

/* glibc hands argc, argv and envp to constructors, musl does not: `environ` is the same in both. */
__attribute__((constructor)) static void start(int argc, char **argv, char **envp)
{
	(void)argc, (void)argv;
	if (!&environ)
		first_environ = envp;
	else if (environ)
		end_once(environ);
	(void)have_environment();
}

/* The path this program was started by, as the kernel was told it; empty if that is not known. */
char shim_program[4096];

static void note_program(uint64_t at)
{
	if (at && !text_copy(shim_program, sizeof shim_program, (const char *)(uintptr_t)at))
		shim_program[0] = '\0';
}

/* Whether the kernel asks for secure execution; notes `shim_program` on the way. The loader then drops preloads that have a
 * slash in their name, but an administrator may have put us into a directory it trusts. In doubt: yes.
 *
 * libc is asked first: a server that has given its user up may not read its own auxv file any more (proc(5),
 * PR_SET_DUMPABLE), nor one that has no descriptor left. */
bool shim_is_secure(void)
{
	unsigned long (*of_libc)(unsigned long) =
		dlsym ? (unsigned long (*)(unsigned long))dlsym(RTLD_DEFAULT, "getauxval") : NULL;
	uint64_t pairs[2 * 64];
	bool secure = true;
	long got;
	int fd;

	if (of_libc) {
		note_program(of_libc(AT_EXECFN));
		return of_libc(AT_SECURE) != 0;
	}
	fd = sys_open("/proc/self/auxv", O_RDONLY | O_CLOEXEC, 0);

	if (fd == -ENOENT) /* no /proc: what of it we can see */
		return SYS0(NR_getuid) != SYS0(NR_geteuid) || SYS0(NR_getgid) != SYS0(NR_getegid);
	if (fd < 0)
		return true;
	got = sys_read(fd, pairs, sizeof pairs);
	sys_close(fd);
	for (long i = 0; i + 1 < got / (long)sizeof *pairs && pairs[i] != AT_NULL; i += 2) {
		if (pairs[i] == AT_SECURE)
			secure = pairs[i + 1] != 0;
		if (pairs[i] == AT_EXECFN)
			note_program(pairs[i + 1]);
	}
	return secure;
}

/* --- the plan in force --- */

/* What is known about the plan: one of these, an odd number above them (the process of half that number is asking for
 * one), or the address of a plan. A plan is read by whoever comes, and published by whoever is first; so no thread
 * waits, and none is let through with the wrong answer. Only one asks: the others pass by meanwhile. A child that is
 * forked off meanwhile asks again, for the thread that was at it is not there. */
enum { UNKNOWN = 0, NO_PLAN = 1, MAY_ASK = 2 };

static uintptr_t phase;

static bool is_plan(uintptr_t now)
{
	return now > MAY_ASK && !(now & 1);
}

static bool is_asking(uintptr_t now)
{
	return now > NO_PLAN && (now & 1);
}

/* Replaces `from`; answers what is in force then. Says what became of the plan, once. */
static uintptr_t publish(uintptr_t from, struct plan *plan, uintptr_t next, const char *path, const char *wrong)
{
	char digits[21];
	uintptr_t now = from;

	if (plan && !wrong)
		next = (uintptr_t)plan;
	if (!__atomic_compare_exchange_n(&phase, &now, next, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		next = now;
	else if (!wrong && plan)
		log_say(LOG_DECISION, "plan ", path, ": ", text_decimal(digits, plan->lib_count), " libraries", NULL);
	else if (wrong && plan && plan->line)
		log_say(LOG_WARNING, "the plan ", path, " is refused: ", wrong, " (line ",
			text_decimal(digits, plan->line), ")", NULL);
	else if (wrong)
		log_say(LOG_WARNING, "the plan ", path, " is refused: ", wrong, NULL);
	if (plan && next != (uintptr_t)plan) {
		plan_free(plan);
		sys_release(plan, sizeof *plan);
	}
	return next;
}

/* Of a script, the kernel tells what it was started by, but the program is what its `#!` names: the first argument then
 * (execve(2), "Interpreter scripts"). */
static bool covers_interpreter(const struct plan *plan)
{
	char first[4096];
	long got = 0;
	int fd = sys_open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC, 0);

	if (fd >= 0) {
		got = sys_read(fd, first, sizeof first - 1);
		sys_close(fd);
	}
	first[got > 0 ? got : 0] = '\0';
	return first[0] == '/' && plan_covers(plan, first);
}

/* `given`: the plan came with the environment, which children of other environments inherit too; what it says of one
 * would be wrong for another. Such a process is as one that was given none. */
static uintptr_t read_plan(uintptr_t from, const char *path, bool given)
{
	struct plan *plan = sys_memory(sizeof *plan);
	const char *wrong = plan ? plan_load(plan, path) : "there is no memory for it";

	if (plan && !wrong && given && !plan_covers(plan, shim_program) && !covers_interpreter(plan)) {
		log_say(LOG_DECISION, "the plan ", path, " is not meant for ", shim_program, NULL);
		plan_free(plan);
		sys_release(plan, sizeof *plan);
		return publish(from, NULL, ask_can() ? MAY_ASK : NO_PLAN, NULL, NULL);
	}
	return publish(from, plan, NO_PLAN, path, wrong);
}

/* Called by first_phase: what was set and does not mean what it seems to. */
static void complain(void)
{
	static unsigned char told;

	if (__atomic_exchange_n(&told, 1, __ATOMIC_RELAXED))
		return;
	log_complain();
	if (odd_switch)
		log_say(LOG_WARNING, odd_switch, " is neither 0 nor 1, and counts as 0", NULL);
}

static uintptr_t first_phase(void)
{
	if (off || !(shim_auditing || objects_can()) || shim_is_secure())
		return publish(UNKNOWN, NULL, NO_PLAN, NULL, NULL);
	complain();
	if (given_plan_too_long)
		return publish(UNKNOWN, NULL, NO_PLAN, "of CUDASHIM_PLAN", "its path is too long");
	if (given_plan[0])
		return read_plan(UNKNOWN, given_plan, true);
	return publish(UNKNOWN, NULL, ask_can() ? MAY_ASK : NO_PLAN, NULL, NULL);
}

/* Called for the first name that is CUDA's. */
static uintptr_t ask_for_plan(uintptr_t from)
{
	uintptr_t asking = (uintptr_t)sys_getpid() << 1 | 1;
	char path[ASK_ANSWER];
	const char *wrong;

	if (from == asking ||
	    !__atomic_compare_exchange_n(&phase, &from, asking, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		return from;
	wrong = ask_plan(path);
	if (!wrong)
		return read_plan(asking, path, false);
	if (*wrong)
		log_say(LOG_WARNING, "no plan: the cudashim binary was asked, but ", wrong, NULL);
	else
		log_say(LOG_DECISION, "the cudashim binary has no plan for this process", NULL);
	return publish(asking, NULL, NO_PLAN, NULL, NULL);
}

/* --- libraries --- */

/* A name that cannot be opened and says why, for CUDASHIM_STRICT=1. It must live on: a page for each library. */
static const char *refusal_of(struct lib *lib)
{
	char *mine = NULL, *theirs = NULL;
	size_t at = 0;

	theirs = (char *)__atomic_load_n(&lib->refusal, __ATOMIC_ACQUIRE);
	if (theirs)
		return theirs;
	mine = sys_memory(PAGE);
	if (!mine)
		return "/cudashim: strict: file changed since the plan was made";
	for (int part = 0; part < 3; part++) {
		const char *s = part == 0   ? "/cudashim: strict: "
				: part == 1 ? lib->soname
					    : ": file changed since the plan was made";

		/* Short of PATH_MAX, and nothing that the loader would expand. */
		for (; *s && at < 1024; s++)
			mine[at++] = *s == '$' ? '?' : *s;
	}
	if (__atomic_compare_exchange_n(&lib->refusal, (const char **)&theirs, mine, false, __ATOMIC_ACQ_REL,
					__ATOMIC_ACQUIRE))
		return mine;
	sys_release(mine, PAGE);
	return theirs;
}

/* What makes the file another than the one the plan was made for; NULL if nothing does. */
static const char *changed(const struct lib *lib)
{
	struct sys_stat st;

	if (text_has(lib->path, '$'))
		return "the loader would expand the `$` in it";
	if (sys_stat(lib->path, &st) < 0)
		return "it is gone";
	if (st.dev != lib->dev || st.ino != lib->ino)
		return "another file is there now";
	if (st.size < 0 || (uint64_t)st.size != lib->size)
		return "its size is another";
	if (__builtin_mul_overflow(st.mtime, 1000000000, &st.mtime) ||
	    __builtin_add_overflow(st.mtime, st.mtime_ns, &st.mtime) || st.mtime != lib->mtime)
		return "its modification time is another";
	return NULL;
}

/* A library that the plan only keeps where it is loses nothing if the loader finds it by itself. */
static enum log_level level_of(const struct lib *lib)
{
	return lib->how == HOW_KEEP ? LOG_DECISION : LOG_WARNING;
}

/* The answer that refuses a call for want of `lib`, or NULL: only a library that the plan chose is worth that. */
static const char *refused(struct lib *lib)
{
	return strict && lib->how != HOW_KEEP ? refusal_of(lib) : NULL;
}

static void tell_changed(struct lib *lib, const char *what)
{
	if (!__atomic_exchange_n(&lib->told_changed, 1, __ATOMIC_RELAXED))
		log_say(level_of(lib), lib->soname, ": ", lib->path, " is not used: ", what,
			refused(lib) ? "; refused" : "; left to the loader", NULL);
}

const char *shim_changed(struct lib *lib, const char *name)
{
	const char *what = changed(lib), *refusal;

	if (!what)
		return NULL;
	tell_changed(lib, what);
	refusal = refused(lib);
	return refusal ? refusal : name;
}

void shim_tell_other(struct lib *lib, const char *other)
{
	/* If ours was refused, that has been said, and the loader took another. */
	if (!__atomic_load_n(&lib->told_changed, __ATOMIC_RELAXED) && __atomic_load_n(&lib->state, __ATOMIC_RELAXED) != LIB_FAILED &&
	    !__atomic_exchange_n(&lib->told_other, 1, __ATOMIC_RELAXED))
		log_say(level_of(lib), lib->soname, " is already mapped from ", *other ? other : "the program",
			" (before the plan could act; is it in LD_PRELOAD?); the plan's ", lib->path, " is not used",
			NULL);
}

/* Where a library is now; says so once if another copy of it was there before. */
static enum mapped where(struct lib *lib)
{
	char other[OBJECT_PATH];
	enum mapped mapped = objects_find(lib->soname, lib, other);

	if (mapped == MAPPED_OTHER)
		shim_tell_other(lib, other);
	return mapped;
}

static bool is_mapped(const char *soname)
{
	char other[OBJECT_PATH];

	return objects_find(soname, NULL, other) != MAPPED_NOT;
}

/* --- loading members --- */

static __thread int depth __attribute__((tls_model("initial-exec")));

/* Calls the real dlopen; it and what it runs may set errno, which the host's own call shall find as it was. Asked of
 * dlsym here only: errno's place is a function of libc, and importing it would bind us to one. */
static void *load(const char *path, int mode, const char **error)
{
	int *(*place)(void) = dlsym ? (int *(*)(void))dlsym(RTLD_DEFAULT, "__errno_location") : NULL;
	const char *(*why)(void) = dlsym ? (const char *(*)(void))dlsym(RTLD_DEFAULT, "dlerror") : NULL;
	int before = place ? *place() : 0;
	void *handle;

	depth++;
	handle = cudashim_real(path, (mode & RTLD_NOW ? RTLD_NOW : RTLD_LAZY) | RTLD_LOCAL);
	depth--;
	*error = handle || !why ? NULL : why();
	if (place)
		*place() = before;
	return handle;
}

/* Loads one library unless it is mapped. NULL when all may go on, else the answer that refuses the call.
 *
 * Two threads may come here for the same library: both call the real dlopen, whose own lock lets one wait for the
 * other as it would without us, and the same path is the same object. The same thread may come here again from a
 * constructor of what it loads: whatever runs constructors is mapped by then, and to load it again only counts. */
static const char *load_member(struct lib *lib, int mode)
{
	unsigned char state = __atomic_load_n(&lib->state, __ATOMIC_ACQUIRE);
	const char *what, *error;
	enum mapped mapped;

	if (state == LIB_LOADED)
		return NULL;
	if (state == LIB_FAILED)
		return refused(lib);
	mapped = where(lib);
	what = mapped == MAPPED_OTHER ? NULL : changed(lib);
	/* Ours that the host has opened is opened once more, so that it stays even if the host closes it meanwhile. */
	if (mapped == MAPPED_OTHER || (what && mapped != MAPPED_NOT))
		return NULL;
	if (what) {
		tell_changed(lib, what);
	} else if (load(lib->path, mode, &error)) {
		__atomic_store_n(&lib->state, LIB_LOADED, __ATOMIC_RELEASE);
		if (mapped == MAPPED_NOT)
			log_say(LOG_DECISION, lib->soname, " loaded from ", lib->path, NULL);
		return NULL;
	} else {
		log_say(level_of(lib), lib->soname, ": ", lib->path, " could not be loaded: ",
			error ? error : "the loader does not say why", NULL);
	}
	__atomic_store_n(&lib->state, LIB_FAILED, __ATOMIC_RELEASE);
	return refused(lib);
}

/* Called by load_list: loads all of a list, and what it is the list of, at once through its bundle. Only where nothing of
 * it is mapped from another file or was changed: the bundle would map a second copy. What it does not do is done one by
 * one. */
static void load_bundle(const struct plan *plan, struct record *list, int mode)
{
	struct lib *bundle = list->lib, *own = plan_lib(plan, list->key);
	const char *soname = list->value, *error;
	uint32_t missing = 0;

	if (__atomic_load_n(&bundle->state, __ATOMIC_ACQUIRE) != LIB_UNTRIED)
		return;
	for (uint32_t i = 0; i <= list->count; i++) {
		struct lib *lib = i < list->count ? plan_lib(plan, soname) : own;

		if (i < list->count)
			soname += text_length(soname) + 1;
		if (!lib || __atomic_load_n(&lib->state, __ATOMIC_ACQUIRE) == LIB_LOADED)
			continue;
		switch (where(lib)) {
		case MAPPED_NOT:
			if (changed(lib))
				return;
			missing++;
			break;
		case MAPPED_CHOSEN:
			break;
		default:
			return;
		}
	}
	if (missing < 2)
		return;
	error = changed(bundle);
	if (error || !load(bundle->path, mode, &error)) {
		__atomic_store_n(&bundle->state, LIB_FAILED, __ATOMIC_RELEASE);
		log_say(LOG_DECISION, "what ", list->key, " needs could not be loaded at once: ",
			error ? error : "the loader does not say why", NULL);
		return;
	}
	__atomic_store_n(&bundle->state, LIB_LOADED, __ATOMIC_RELEASE);
	soname = list->value;
	for (uint32_t i = 0; i <= list->count; i++) {
		struct lib *lib = i < list->count ? plan_lib(plan, soname) : own;

		if (i < list->count)
			soname += text_length(soname) + 1;
		if (lib && !__atomic_exchange_n(&lib->state, LIB_LOADED, __ATOMIC_ACQ_REL))
			log_say(LOG_DECISION, lib->soname, " loaded from ", lib->path, " (with ", list->key, ")", NULL);
	}
}

/* Loads what must be there before an object called `name` is; `self` is left to the caller; unless the
 * object is of the consumer's `home`, what the plan only keeps is, too. As load_member. */
static const char *load_list(const struct plan *plan, const char *name, const struct lib *self, int mode, bool home)
{
	struct record *list = plan_find(plan, KEY_TRIGGER, name);
	const char *soname, *refusal;
	bool done = true;

	if (!list || depth >= DEPTH || __atomic_load_n(&list->done, __ATOMIC_ACQUIRE))
		return NULL;
	/* The bundle brings `self` along, and how symbols are looked up for it is settled then. */
	if (list->lib && home && !(self && (mode & RTLD_DEEPBIND)))
		load_bundle(plan, list, mode);
	soname = list->value;
	for (uint32_t i = 0; i < list->count; i++, soname += text_length(soname) + 1) {
		struct lib *lib = plan_lib(plan, soname);

		if (!lib || lib == self)
			continue;
		if (!home && lib->how == HOW_KEEP) {
			done = false;
			continue;
		}
		refusal = load_member(lib, mode);
		if (refusal)
			return refusal;
		done = done && __atomic_load_n(&lib->state, __ATOMIC_ACQUIRE) == LIB_LOADED;
	}
	/* Only what we hold ourselves is sure to stay; the host may close what it opened. */
	if (done)
		__atomic_store_n(&list->done, 1, __ATOMIC_RELEASE);
	return NULL;
}

/* --- decisions --- */

const char *shim_told(const char *name, const char *answer, const char *why, const char *more)
{
	if (answer == name)
		log_say(LOG_DECISION, name, " is mapped already (", why, more, ")", NULL);
	else
		log_say(LOG_DECISION, name, " -> ", answer, " (", why, more, ")", NULL);
	return answer;
}

/* Who asks for `name` shall get `lib`. `known` is what to ask for if it is mapped: the loader then finds it by its
 * soname, before it looks anywhere. */
static const char *give(const struct plan *plan, struct lib *lib, const char *name, const char *known, int mode,
			const char *why, const char *more)
{
	const char *refusal;
	enum mapped mapped = where(lib);

	if (mapped == MAPPED_NOT) {
		if (mode & RTLD_NOLOAD)
			return name;
		refusal = shim_changed(lib, name);
		if (refusal)
			return refusal;
		refusal = load_list(plan, lib->soname, lib, mode, true);
		if (refusal)
			return refusal;
		/* One of the list may need it, and may have brought another copy along. */
		mapped = where(lib);
	}
	return shim_told(name, mapped == MAPPED_CHOSEN || mapped == MAPPED_OTHER ? known : lib->path, why, more);
}

bool shim_searched_alike(const struct plan *plan)
{
	return !plan->searched || (!library_path_too_long && text_same(plan->searched, library_path));
}

static const char *by_name(const struct plan *plan, const char *name, int mode)
{
	struct record *record = plan_find(plan, KEY_NAME, name);

	if (!record) {
		/* Not ours to find, but what it needs may be. */
		const char *refusal = mode & RTLD_NOLOAD ? NULL : load_list(plan, name, NULL, mode, true);

		return refusal ? refusal : name;
	}
	if (record->kind == RECORD_ALIAS)
		return give(plan, record->lib, name, record->lib->soname, mode, "alias of ", record->lib->soname);
	if (record->kind == RECORD_LIB && record->lib->how == HOW_KEEP) {
		/* The loader finds it, but what it needs may be found elsewhere. */
		const char *refusal = (mode & RTLD_NOLOAD) || where(record->lib) != MAPPED_NOT
					      ? NULL
					      : load_list(plan, name, record->lib, mode, true);

		return refusal ? refusal : name;
	}
	if (record->kind == RECORD_LIB)
		return give(plan, record->lib, name, name, mode, "chosen by the plan", "");
	/* absent */
	if ((mode & RTLD_NOLOAD) || is_mapped(name))
		return name;
	/* Another search path may have it. */
	if (!shim_searched_alike(plan))
		return name;
	return shim_told(name, record->value, "known to be absent, so it is not searched for", "");
}

/* The needed names of one file that the plan speaks of: as hashes would not do, their records. */
struct wanted {
	const struct plan *plan;
	struct lib *libs[WANTED];
	const char *names[WANTED];
	unsigned count;
};

/* Called by peek_needed, while the file is open: only notes. */
static bool note_wanted(void *with, const char *needed)
{
	struct wanted *wanted = with;
	struct record *list = plan_find(wanted->plan, KEY_TRIGGER, needed);
	struct lib *lib = plan_lib(wanted->plan, needed);

	if (list || lib) {
		wanted->libs[wanted->count] = lib;
		wanted->names[wanted->count] = lib ? lib->soname : list->key;
		wanted->count++;
	}
	return wanted->count == WANTED;
}

static const char *by_path(const struct plan *plan, const char *name, int mode)
{
	struct record *record = name[0] == '/' ? plan_find(plan, KEY_PATH, name) : NULL;
	bool home;
	struct wanted wanted;

	if (record)
		return give(plan, record->lib, name, record->lib->soname, mode, "replaced by ", record->lib->soname);
	if ((mode & RTLD_NOLOAD) || plan->lib_count == 0)
		return name;
	wanted.plan = plan;
	wanted.count = 0;
	peek_needed(name, note_wanted, &wanted);
	/* What the plan keeps is where the loader finds it for the consumer; another object may have its own. */
	home = plan_is_home(plan, name);
	for (unsigned i = 0; i < wanted.count; i++) {
		struct lib *lib = wanted.libs[i];
		const char *refusal = NULL;

		if (lib ? where(lib) == MAPPED_NOT : !is_mapped(wanted.names[i]))
			refusal = load_list(plan, wanted.names[i], lib, mode, home);
		if (!refusal && lib && depth < DEPTH && (home || lib->how != HOW_KEEP))
			refusal = load_member(lib, mode);
		if (refusal)
			return shim_told(name, refusal, "it needs ", wanted.names[i]);
	}
	return name;
}

static bool note_known(void *with, const char *needed)
{
	return *(bool *)with = ask_knows(needed);
}

/* Whether the call is CUDA's, so that it is worth asking for a plan. */
static bool touches(const char *name)
{
	bool known = ask_knows(text_base(name));

	/* What a file needs, an auditor is asked for by and by. */
	if (!known && !shim_auditing && text_has(name, '/'))
		peek_needed(name, note_known, &known);
	return known;
}

bool shim_may_act(void)
{
	return have_environment() && !off && (!*shim_trace || !shim_auditing || trace_acts) &&
	       (given_plan[0] || given_plan_too_long || ask_can());
}

/* `name` may be NULL: then none is asked for. */
const struct plan *shim_plan_for(const char *name, bool noload)
{
	uintptr_t now = __atomic_load_n(&phase, __ATOMIC_ACQUIRE);

	if (now == UNKNOWN)
		now = first_phase();
	if (!name)
		return is_plan(now) ? (const struct plan *)now : NULL;
	if ((now == MAY_ASK || is_asking(now)) && !noload && touches(name))
		now = ask_for_plan(now);
	return is_plan(now) ? (const struct plan *)now : NULL;
}

/* Whether another instance of us is the loader's auditor, and hands out what there is to hand out. It is asked by way of
 * the loader, which leads to an object that is mapped, ourselves, or to nothing; so an auditor that the loader did not
 * take is none. */
static bool is_audited(void)
{
	static unsigned char answer;
	const char *error;

	if (may_be_audited && !__atomic_load_n(&answer, __ATOMIC_RELAXED))
		__atomic_store_n(&answer, load(AUDIT_QUESTION, RTLD_LAZY, &error) ? 2 : 1, __ATOMIC_RELAXED);
	return answer == 2;
}

/* Called by the stub in entry.S, before every dlopen; what it answers is asked for instead of `name`. */
__attribute__((visibility("hidden"))) const char *cudashim_pick(const char *name, int mode)
{
	const struct plan *plan;

	if (!have_real() || !name || !*name || !have_environment())
		return name;
	if (__atomic_load_n(&phase, __ATOMIC_ACQUIRE) == NO_PLAN)
		return name;
	/* $ORIGIN and its like are the loader's to expand, by the caller that only it knows. */
	if (text_has(name, '$') || is_audited())
		return name;
	plan = shim_plan_for(name, mode & RTLD_NOLOAD);
	/* One of our own answers, come back through another object that hooks dlopen: it is decided. */
	if (!plan || plan_owns(plan, name))
		return name;
	return text_has(name, '/') ? by_path(plan, name, mode) : by_name(plan, name, mode);
}

/* --- for programs (cudashim.h) --- */

EXPORT const char *cudashim_plan(void)
{
	const struct plan *plan = have_environment() ? shim_plan_for(NULL, true) : NULL;

	return plan ? plan->path : NULL;
}

EXPORT const char *cudashim_path(const char *soname)
{
	const struct plan *plan = have_environment() ? shim_plan_for(NULL, true) : NULL;
	const struct record *record = plan && soname ? plan_find(plan, KEY_NAME, soname) : NULL;

	return record && record->lib && record->lib->how != HOW_KEEP ? record->lib->path : NULL;
}
