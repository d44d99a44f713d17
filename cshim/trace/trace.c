/* The tracer: what the loader is asked for, tries, maps and lets go, one record a line (src/check/trace/records.rs reads them).
 *
 * In an object of its own, with the audit door in it: only `cudashim trace` has it mapped. CUDASHIM_TRACE is the file to
 * write to; nothing is handed out unless CUDASHIM_TRACE_ACTS=1. All of it is called under the loader's lock, as audit.c is:
 * one record at a time. A record that cannot be written is lost, and the program is not kept from anything.
 */
#include "../shim.h"

#include <stdarg.h>

/* LA_SER_ORIG, LA_ACT_CONSISTENT; how long a record may get before what follows is left out, with room for tabs and an end. */
enum { AS_ASKED = 1, CONSISTENT = 0, FULL = 4096 - 32 };

/* audit.c, whose doors are behind ours. */
char *audit_objsearch(const char *name, uintptr_t *cookie, unsigned flag);
unsigned audit_objopen(struct link_map *map, long namespace, uintptr_t *cookie);

/* The file to write to; empty: write nothing. */
static char file[IMAGE_PATH];
static bool acts;
/* Whether the objects that the program starts with are all mapped. */
static bool started;
/* The process of the last record. */
static uint64_t recorded;
/* Files tried in vain by the searches of this process; whether one was tried since the last question, and is recorded. */
static uint64_t failed;
static bool tried, searching;

/* The record at hand. */
static char line[FULL + 32];
static size_t used;

/* One field and the tab behind it, escaped as src/escape.rs reads it. */
static void add(const char *s)
{
	static const char hex[] = "0123456789abcdef";

	for (; *s && used < FULL; s++) {
		unsigned char c = (unsigned char)*s;
		bool plain = c > 0x1f && c < 0x7f && c != '\\';

		if (!plain)
			line[used++] = '\\';
		if (plain || c == '\\') {
			line[used++] = *s;
		} else {
			line[used++] = 'x';
			line[used++] = hex[c >> 4];
			line[used++] = hex[c & 15];
		}
	}
	line[used++] = '\t';
}

/* One record: the process, then the strings up to NULL. One that does not fit ends without its last field, a dot. */
static void record(const char *kind, ...)
{
	char digits[21];
	uint64_t pid = sys_getpid(), parent = recorded;
	va_list fields;

	if (!*file)
		return;
	/* A child by fork has no start of its own to record; what it was forked off from comes before its first record. */
	recorded = pid;
	if (parent && parent != pid)
		record("fork", text_decimal(digits, parent), NULL);
	used = 0;
	add(text_decimal(digits, pid));
	va_start(fields, kind);
	for (const char *field = kind; field; field = va_arg(fields, const char *))
		add(field);
	va_end(fields);
	if (used < FULL)
		line[used++] = '.';
	line[used++] = '\n';
	log_append(file, line, used);
}

/* Once for each process that is started; what it became later is not looked at. */
static void record_start(void)
{
	static char program[1024], command[1024];
	char parent[21];
	int fd = sys_open("/proc/self/cmdline", O_RDONLY);
	long got = sys_read(fd, command, sizeof command - 1);

	sys_close(fd);
	(void)SYS(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", program, sizeof program - 1);
	/* Each argument but the last ends where a blank is to stand. */
	for (long i = 0; i + 1 < got; i++)
		if (!command[i])
			command[i] = ' ';
	record("start", program, command, text_decimal(parent, (uint64_t)SYS(SYS_getppid)), NULL);
}

/* glibc hands argc, argv and envp to constructors of auditors too. */
__attribute__((constructor)) static void start(int argc, char **argv, char **envp)
{
	for (; envp && *envp; envp++) {
		if (text_after(*envp, "CUDASHIM_TRACE=/"))
			(void)text_copy(file, sizeof file, *envp + 15);
		if (text_same(*envp, "CUDASHIM_TRACE_ACTS=1"))
			acts = true;
	}
}

/* --- what the loader calls; see audit.c for what each may not answer --- */

/* The first call: the constructors, this one's and that of identity.c, have run. */
EXPORT unsigned la_version(unsigned version)
{
	/* Whose file would be written is the question. */
	if (identity.secure)
		file[0] = '\0';
	record_start();
	return version;
}

/* A name that is asked for, or a file that is tried for it. Of names that are not CUDA's only the number of tries is kept. */
EXPORT char *la_objsearch(const char *name, uintptr_t *cookie, unsigned flag)
{
	const struct link_map *asker = (const struct link_map *)*cookie;
	const char *answer = name;
	char code[21];

	if (flag != AS_ASKED) {
		failed++;
		tried = true;
		if (searching)
			record("try", text_decimal(code, flag), name, NULL);
		return (char *)name;
	}
	if (acts)
		answer = audit_objsearch(name, cookie, flag);
	tried = false;
	searching = names_know(text_base(name), NULL);
	if (searching || answer != name)
		record("search", name,
		       elf_string(asker->l_ld, asker->l_addr, DT_NEEDED, name) ? "needed"
		       : !started && asker == audit_base                       ? "preload"
									       : "dlopen",
		       asker->l_name, elf_string(asker->l_ld, asker->l_addr, DT_RUNPATH, NULL) ? "runpath" : "rpath",
		       answer == name ? "" : answer, NULL);
	return (char *)answer;
}

/* What is mapped, in the order of the loader. */
EXPORT unsigned la_objopen(struct link_map *map, long namespace, uintptr_t *cookie)
{
	char digits[21];

	/* The last one tried was not in vain. */
	failed -= tried;
	tried = false;
	record("open", text_decimal(digits, (uint64_t)namespace), map->l_name, NULL);
	return audit_objopen(map, namespace, cookie);
}

/* Also after what was unmapped: at the end of a process the loader is not active any more, so what is closed then was not
 * closed by dlclose. */
EXPORT void la_activity(uintptr_t *cookie, unsigned what)
{
	char digits[21];

	if (what != CONSISTENT)
		return;
	started = true;
	record("failed", text_decimal(digits, failed), NULL);
}

/* The loader is done with what the program is linked with: whoever gives no such record did not start. */
EXPORT void la_preinit(uintptr_t *cookie)
{
	record("begin", NULL);
}

/* Before it is unmapped, also at the end of the process. */
EXPORT unsigned la_objclose(uintptr_t *cookie)
{
	record("close", ((const struct link_map *)*cookie)->l_name, NULL);
	return 0;
}
