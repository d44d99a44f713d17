/* The audit door (rtld-audit(7)): LD_AUDIT makes the loader itself ask us for each name, also for those of DT_NEEDED.
 *
 * An auditor lives in a namespace of its own, here without any other object: nothing of libc is there, and whatever
 * another instance of us does in LD_PRELOAD is not seen. The loader asks under its own lock (but for la_objclose at the
 * end of the process), so nothing here is called by two threads at once.
 *
 * With CUDASHIM_TRACE it also writes down what it sees, one record a line (src/trace/records.rs reads them).
 */
#include <stdarg.h>

#include "ask.h"
#include "log.h"
#include "plan.h"
#include "shim.h"
#include "sys.h"
#include "text.h"
#include "elf64.h"

enum {
	LA_SER_ORIG = 1, LA_ACT_CONSISTENT = 0, LM_ID_BASE = 0,
	RECORD = 4096,
	LINE = 512,
};

#define EXPORT __attribute__((visibility("default")))

/* --- what is seen --- */

/* The program itself: the first object of the base namespace. */
static const struct link_map *base;
/* Whether the objects that the program starts with are all mapped. */
static bool started;
static bool acts;

static const char *name_of(const struct link_map *map)
{
	return map->name ? map->name : "";
}

/* The loader has added the load address to the addresses in the table, but where the table is read-only (the vDSO). */
static const char *strings_of(const struct link_map *map)
{
	for (const struct elf_dyn *dyn = map->ld; dyn && dyn->tag != DT_NULL; dyn++)
		if (dyn->tag == DT_STRTAB)
			return (const char *)(uintptr_t)(dyn->val < map->addr ? dyn->val + map->addr : dyn->val);
	return NULL;
}

/* Whether an entry of this tag is there, and names `name` where one is given; `*value` is the last of them. */
static bool has(const struct link_map *map, int64_t tag, const char *name, const char **value)
{
	const char *strings = strings_of(map);

	for (const struct elf_dyn *dyn = map->ld; strings && dyn->tag != DT_NULL; dyn++)
		if (dyn->tag == tag && (!name || text_same(strings + dyn->val, name))) {
			*value = strings + dyn->val;
			return true;
		}
	return false;
}

/* The object that has this soname in the base namespace, or, having none, this name. */
static const struct link_map *find_mapped(const char *soname, bool *nameless)
{
	for (const struct link_map *map = base; map; map = map->next) {
		const char *own;

		*nameless = !has(map, DT_SONAME, NULL, &own);
		if (text_same(*nameless ? text_base(name_of(map)) : own, soname))
			return map;
	}
	return NULL;
}

/* An object of another namespace (dlmopen) has a world of its own. */
static bool in_base(const struct link_map *map)
{
	while (map->prev)
		map = map->prev;
	return map == base;
}

/* --- the record --- */

static int recorded_pid;
/* Files tried in vain by the searches of this process; what was tried since the last question. */
static uint64_t failed, told_failed;
static bool tried, searching, closed;

static size_t add(char *line, size_t at, const char *s)
{
	static const char hex[] = "0123456789abcdef";

	for (; *s && at < RECORD - 8; s++) {
		unsigned char c = (unsigned char)*s;

		if (c == '\\' || c < 0x20 || c >= 0x7f) {
			line[at++] = '\\';
			if (c != '\\') {
				line[at++] = 'x';
				line[at++] = hex[c >> 4];
				c = (unsigned char)hex[c & 15];
			}
		}
		line[at++] = (char)c;
	}
	line[at++] = *s ? '\n' : '\t';
	return at;
}

/* One record: the process, then the strings up to NULL. One that does not fit ends without its last field, a dot. */
static void record(const char *kind, ...)
{
	char line[RECORD], digits[21];
	const char *field = kind;
	int pid = sys_getpid();
	size_t at = add(line, 0, text_decimal(digits, (uint64_t)pid));
	va_list fields;

	if (recorded_pid && recorded_pid != pid) {
		int parent = recorded_pid;
		char of[21];

		recorded_pid = pid;
		record("fork", text_decimal(of, (uint64_t)parent), NULL);
	}
	recorded_pid = pid;
	va_start(fields, kind);
	for (; field && line[at - 1] != '\n'; field = va_arg(fields, const char *))
		at = add(line, at, field);
	va_end(fields);
	if (line[at - 1] == '\t') {
		line[at++] = '.';
		line[at++] = '\n';
	}
	log_append(shim_trace, line, at);
}

static void record_start(void)
{
	char exe[RECORD / 4], line[LINE], parent[21];
	int fd = sys_open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC, 0);
	long got = SYS4(NR_readlinkat, AT_FDCWD, "/proc/self/exe", exe, sizeof exe - 1);

	exe[got > 0 ? got : 0] = '\0';
	got = fd < 0 ? 0 : sys_read(fd, line, sizeof line - 1);
	if (fd >= 0)
		sys_close(fd);
	line[got > 0 ? got : 0] = '\0';
	/* Each argument but the last ends where a blank is to stand. */
	for (long i = 0; i + 1 < got; i++)
		if (!line[i])
			line[i] = ' ';
	record("start", exe, line, text_decimal(parent, (uint64_t)SYS0(NR_getppid)), NULL);
}

/* Also after what was unmapped: at the end of a process the loader is not active any more, so it is no dlclose. */
static void record_failed(void)
{
	char digits[21];

	if (failed == told_failed && !closed)
		return;
	told_failed = failed;
	closed = false;
	record("failed", text_decimal(digits, failed), NULL);
}

/* --- decisions --- */

/* What no plan is read for: every process asks for these first, and most for nothing else. */
static bool is_plain(const char *name)
{
	return text_starts(name, "libc.so.") || text_starts(name, "libm.so.") || text_starts(name, "ld-linux");
}

/* Whether what is kept is kept for this object: it is of the consumer's own, or the plan's. */
static bool is_home(const struct plan *plan, const char *asker)
{
	for (uint32_t i = 0; i < plan->lib_count; i++)
		if (text_same(plan->libs[i].path, asker))
			return true;
	return plan_is_home(plan, *asker ? asker : shim_program);
}

/* What the loader shall look for when `asker` asks for `name`. The loader has not found it among what is mapped, neither
 * by a name it was found by nor by its soname. */
static const char *decide(const char *name, const struct link_map *asker, bool needed)
{
	bool path = text_has(name, '/'), nameless;
	const struct plan *plan;
	const struct record *found = NULL;
	const struct link_map *other;
	const char *refusal;
	struct lib *lib;

	if (!acts || text_has(name, '$') || is_plain(name) || !in_base(asker))
		return name;
	plan = shim_plan_for(name, false);
	if (plan)
		found = plan_find(plan, path ? KEY_PATH : KEY_NAME, name);
	if (!found)
		return name;
	if (found->kind == RECORD_ABSENT)
		return needed || !shim_searched_alike(plan)
			       ? name
			       : shim_told(name, found->value, "known to be absent, so it is not searched for", "");
	lib = found->lib;
	/* It spares the loader a search there; elsewhere the loader knows better. */
	if (found->kind == RECORD_LIB && lib->how == HOW_KEEP && !(needed && is_home(plan, name_of(asker))))
		return name;
	other = find_mapped(lib->soname, &nameless);
	if (other) {
		/* Mapped by its soname, and yet asked for: it is another namespace that is to have it. */
		if (found->kind == RECORD_LIB && !nameless)
			return name;
		if (*name_of(other) != '/')
			return name;
		if (!text_same(name_of(other), lib->path))
			shim_tell_other(lib, name_of(other));
		/* The loader knows the file that is mapped by its inode. */
		return shim_told(name, name_of(other), "mapped already, as ", lib->soname);
	}
	refusal = shim_changed(lib, name);
	if (refusal)
		return refusal;
	return shim_told(name, lib->path,
			 found->kind == RECORD_REPLACE ? "replaced by "
			 : found->kind == RECORD_ALIAS ? "alias of "
			 : lib->how == HOW_KEEP	       ? "kept where the loader finds "
						       : "chosen by the plan for ",
			 lib->soname);
}

/* --- what the loader calls --- */

/* Called first, once the constructor has run. Never 0, which is to refuse: the loader takes such an auditor out again, and
 * ends the process if that is marked not to be unloaded, as we are (glibc, elf/rtld.c, unload_audit_module). */
EXPORT unsigned la_version(unsigned version)
{
	shim_auditing = true;
	acts = shim_may_act();
	/* Whose file would be written is the question. */
	if (*shim_trace && shim_is_secure())
		*shim_trace = '\0';
	if (*shim_trace)
		record_start();
	/* The loader's own: glibc before 2.35 knows 1 only, and on aarch64 no other than its own will do. */
	return version;
}

EXPORT char *la_objsearch(const char *name, const uintptr_t *cookie, unsigned flag)
{
	/* As it was made: nobody else may write it. */
	const struct link_map *asker = (const struct link_map *)*cookie;
	const char *answer = name, *unused;
	char code[21];
	bool needed;

	if (flag != LA_SER_ORIG) {
		failed++;
		tried = true;
		if (searching)
			record("try", text_decimal(code, flag), name, NULL);
		return (char *)name;
	}
	if (text_same(name, AUDIT_QUESTION))
		return (char *)(acts && (shim_plan_for(NULL, true) || ask_can()) ? name_of(asker) : name);
	needed = has(asker, DT_NEEDED, name, &unused);
	answer = decide(name, asker, needed);
	tried = false;
	searching = *shim_trace && ask_knows(text_base(name));
	if (searching || (*shim_trace && answer != name))
		record("search", name,
		       needed			    ? "needed"
		       : !started && asker == base ? "preload"
						   : "dlopen",
		       name_of(asker), has(asker, DT_RUNPATH, NULL, &unused) ? "runpath" : "rpath",
		       answer == name ? "" : answer, NULL);
	return (char *)answer;
}

/* 0: no binding of a symbol is to be told, so no call is slower. */
EXPORT unsigned la_objopen(const struct link_map *map, long namespace, uintptr_t *cookie)
{
	char digits[21];

	(void)cookie;
	if (!base && namespace == LM_ID_BASE)
		base = map;
	/* The last one tried was not in vain. */
	if (tried)
		failed--;
	tried = false;
	if (*shim_trace)
		record("open", text_decimal(digits, (uint64_t)namespace), name_of(map), NULL);
	return 0;
}

EXPORT void la_activity(uintptr_t *cookie, unsigned what)
{
	(void)cookie;
	if (what != LA_ACT_CONSISTENT)
		return;
	started = true;
	if (*shim_trace)
		record_failed();
}

EXPORT unsigned la_objclose(const uintptr_t *cookie)
{
	closed = true;
	if (*shim_trace)
		record("close", name_of((const struct link_map *)*cookie), NULL);
	return 0;
}
