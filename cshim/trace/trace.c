/* The tracer: what the loader is asked for, tries, maps and lets go, one record a line (src/check/trace/records.rs reads them).
 *
 * In an object of its own, with the audit door in it: only `cudashim trace` has it mapped. CUDASHIM_TRACE is the file to
 * write to; nothing is handed out unless CUDASHIM_TRACE_ACTS=1.
 */
#include <stdarg.h>

#include "../shim.h"
#include "../sys.h"
#include "../text.h"

enum { LA_SER_ORIG = 1, LA_ACT_CONSISTENT = 0, LM_ID_BASE = 0, RECORD = 4096, LINE = 1024 };

#define EXPORT __attribute__((visibility("default")))

/* audit.c, whose doors are behind ours. */
char *audit_objsearch(const char *name, const uintptr_t *cookie, unsigned flag);
unsigned audit_objopen(const struct link_map *map, long namespace, uintptr_t *cookie);

static char file[IMAGE_PATH];
static bool acts;
static const struct link_map *base;
/* Whether the objects that the program starts with are all mapped. */
static bool started;
static int recorded_pid;
/* Files tried in vain by the searches of this process; what was tried since the last question. */
static uint64_t failed, told_failed;
static bool tried, searching, closed;

static const char *name_of(const struct link_map *map)
{
	return map->name ? map->name : "";
}

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
	char *line, digits[21], of[21];
	const char *field = kind;
	int pid = sys_getpid(), parent = recorded_pid;
	va_list fields;
	size_t at;

	recorded_pid = pid;
	if (parent && parent != pid)
		record("fork", text_decimal(of, (uint64_t)parent), NULL);
	line = sys_memory(RECORD);
	if (!line)
		return;
	at = add(line, 0, text_decimal(digits, (uint64_t)pid));
	va_start(fields, kind);
	for (; field && line[at - 1] != '\n'; field = va_arg(fields, const char *))
		at = add(line, at, field);
	va_end(fields);
	if (line[at - 1] == '\t') {
		line[at++] = '.';
		line[at++] = '\n';
	}
	log_append(file, line, at);
	sys_release(line, RECORD);
}

static void record_start(void)
{
	char *exe = sys_memory(RECORD), *line = exe + LINE, parent[21];
	int fd = sys_open("/proc/self/cmdline", O_RDONLY);
	long got;

	if (exe) {
		(void)SYS4(NR_readlinkat, AT_FDCWD, "/proc/self/exe", exe, LINE - 1);
		got = fd < 0 ? 0 : sys_read(fd, line, LINE - 1);
		/* Each argument but the last ends where a blank is to stand. */
		for (long i = 0; i + 1 < got; i++)
			if (!line[i])
				line[i] = ' ';
		record("start", exe, line, text_decimal(parent, (uint64_t)SYS0(NR_getppid)), NULL);
		sys_release(exe, RECORD);
	}
	if (fd >= 0)
		sys_close(fd);
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

/* glibc hands argc, argv and envp to constructors of auditors too. */
__attribute__((constructor)) static void start(int argc, char **argv, char **envp)
{
	(void)argc, (void)argv;
	for (; envp && *envp; envp++) {
		if (text_starts(*envp, "CUDASHIM_TRACE=/"))
			(void)text_copy(file, sizeof file, *envp + 15);
		if (text_same(*envp, "CUDASHIM_TRACE_ACTS=1"))
			acts = true;
	}
}

/* --- what the loader calls; see audit.c for what each may not answer --- */

EXPORT unsigned la_version(unsigned version)
{
	/* Whose file would be written is the question. */
	if (identity.secure)
		file[0] = '\0';
	if (*file)
		record_start();
	return version;
}

EXPORT char *la_objsearch(const char *name, const uintptr_t *cookie, unsigned flag)
{
	const struct link_map *asker = (const struct link_map *)*cookie;
	const char *answer = name;
	char code[21];

	if (flag != LA_SER_ORIG) {
		failed++;
		tried = true;
		if (searching)
			record("try", text_decimal(code, flag), name, NULL);
		return (char *)name;
	}
	if (acts)
		answer = audit_objsearch(name, cookie, flag);
	tried = false;
	searching = *file && names_know(text_base(name));
	if (searching || (*file && answer != name))
		record("search", name,
		       audit_entry(asker, DT_NEEDED, name) ? "needed"
		       : !started && asker == base ? "preload"
						   : "dlopen",
		       name_of(asker), audit_entry(asker, DT_RUNPATH, NULL) ? "runpath" : "rpath",
		       answer == name ? "" : answer, NULL);
	return (char *)answer;
}

EXPORT unsigned la_objopen(const struct link_map *map, long namespace, uintptr_t *cookie)
{
	char digits[21];

	if (!base && namespace == LM_ID_BASE)
		base = map;
	/* The last one tried was not in vain. */
	if (tried)
		failed--;
	tried = false;
	if (*file)
		record("open", text_decimal(digits, (uint64_t)namespace), name_of(map), NULL);
	return audit_objopen(map, namespace, cookie);
}

EXPORT void la_activity(uintptr_t *cookie, unsigned what)
{
	(void)cookie;
	if (what != LA_ACT_CONSISTENT)
		return;
	started = true;
	if (*file)
		record_failed();
}

/* The loader is done with what the program is linked with: whoever gives no such record did not start. */
EXPORT void la_preinit(uintptr_t *cookie)
{
	(void)cookie;
	if (*file)
		record("begin", NULL);
}

EXPORT unsigned la_objclose(const uintptr_t *cookie)
{
	closed = true;
	if (*file)
		record("close", name_of((const struct link_map *)*cookie), NULL);
	return 0;
}
