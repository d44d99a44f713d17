/* The tracer: what the loader is asked for, tries, maps and lets go, in records that src/check/trace/records.rs reads.
 *
 * In an object of its own, with the audit door in it: only `cudashim trace` has it mapped. CUDASHIM_TRACE is the file to
 * write to; nothing is handed out unless CUDASHIM_TRACE_ACTS=1. All of it is called under the loader's lock, as audit.c is:
 * one record at a time. A record that cannot be written, or does not fit, is lost, and the program is not kept from anything. */

#define AUDIT_ALONE
#define la_version audit_version
#define la_objsearch audit_objsearch
#define la_objopen audit_objopen
#include "../shim.c"
#undef la_version
#undef la_objsearch
#undef la_objopen

/* The file to write to; empty: write nothing. */
static char trace_file[PATH];
/* Whether the plan is handed out; whether the objects that the program starts with are all mapped; whether a file was tried
 * since the last question, and whether that is recorded. */
static bool acts, started, tried, searching;
static uint64_t failures; /* files tried in vain by the searches of this process */

/* One record: its size, the process, the one of the record before (0: none; another: what this was forked off from), and
 * fields, each with its NUL. */
static struct {
	uint32_t size, process, before;
	char fields[PATH - 12];
} line;

/* The strings up to NULL. */
static void record(const char *kind, ...)
{
	char *at = line.fields;
	va_list fields;

	va_start(fields, kind);
	for (const char *field = kind; at && field; field = va_arg(fields, const char *))
		at = text_copy(at, (size_t)(line.fields + sizeof line.fields - at), field) ? at + text_length(field) + 1 : NULL;
	va_end(fields);
	if (!at || !*trace_file)
		return;
	line.before = line.process;
	line.process = (uint32_t)sys_getpid();
	line.size = (uint32_t)(at - (char *)&line);
	log_append(trace_file, (const char *)&line, line.size);
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

/* The first call: the constructor, that of plan.c, has run. Whose file would be written is the question in secure
 * execution. */
EXPORT unsigned la_version(unsigned version)
{
	for (char **entry = first_environ; entry && *entry && !identity.secure; entry++) {
		if (text_after(*entry, "CUDASHIM_TRACE=/"))
			(void)text_copy(trace_file, sizeof trace_file, *entry + sizeof "CUDASHIM_TRACE");
		acts = acts || text_same(*entry, "CUDASHIM_TRACE_ACTS=1");
	}
	record_start();
	return version;
}

/* A name that is asked for, or a file that is tried for it. Of names that are not CUDA's only the number of tries is kept. */
EXPORT char *la_objsearch(const char *name, uintptr_t *cookie, unsigned flag)
{
	const struct link_map *asker = (const struct link_map *)*cookie;
	const char *answer = acts ? audit_objsearch(name, cookie, flag) : name;
	const char *how = !started && asker == audit_base ? "preload" : "dlopen";
	char code[21];

	if (flag != AS_ASKED) {
		failures++;
		tried = true;
		if (searching)
			record("try", text_decimal(code, flag), name, NULL);
		return (char *)name;
	}
	tried = false;
	searching = names_know(text_base(name), NULL);
	if (elf_string(asker->l_ld, asker->l_addr, DT_NEEDED, name))
		how = "needed";
	if (searching || answer != name)
		record("search", name, how, asker->l_name,
		       elf_string(asker->l_ld, asker->l_addr, DT_RUNPATH, NULL) ? "runpath" : "rpath",
		       answer == name ? "" : answer, NULL);
	return (char *)answer;
}

/* What is mapped, in the order of the loader. */
EXPORT unsigned la_objopen(struct link_map *map, long namespace, uintptr_t *cookie)
{
	char digits[21];

	/* The last one tried was not in vain. */
	failures -= tried;
	tried = false;
	record("open", text_decimal(digits, (uint64_t)namespace), map->l_name, NULL);
	return audit_objopen(map, namespace, cookie);
}

/* Also after what was unmapped: at the end of a process the loader is not active any more, so what is closed then was not
 * closed by dlclose. */
EXPORT void la_activity(uintptr_t *cookie, unsigned what)
{
	char digits[21];

	/* LA_ACT_CONSISTENT. */
	if (what != 0)
		return;
	started = true;
	record("failed", text_decimal(digits, failures), NULL);
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
