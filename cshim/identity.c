/* What this process is: read once, in the constructor, before anybody can change the working directory, the user, the
 * arguments or the environment; or at the first dlopen, where another object's constructor comes before ours.
 *
 * All that is kept is a copy: hosts move and overwrite the originals to change their name in ps(1).
 */
#include "shim.h"
#include "sys.h"
#include "text.h"

enum { AT_NULL = 0, AT_SECURE = 23, AT_EXECFN = 31 };

extern char **environ __attribute__((weak, visibility("default")));
extern unsigned long getauxval(unsigned long type) __attribute__((weak, visibility("default")));

struct identity identity;

/* What glibc hands to constructors. An auditor has a namespace of its own, without libc and its `environ`. */
static char **first_environ;
static unsigned char known;

/* --- the environment --- */

/* Made by build.rs of data/variables.tsv: for each variable 'v', or 'h' for one that must not act on the binary itself, its
 * length in one byte, then its name; with `=`, or without where any name may follow. */
static const char table[] =
#include "variables.h"
	;
static const char host_prefix[] = "CUDASHIM_HOST_";

/* 0: the binary may not know it; else how the table has it. */
static char kind_of(const char *entry)
{
	if (text_starts(entry, host_prefix))
		return 0;
	for (const char *row = table; *row; row += 2 + row[1]) {
		int i = 0;

		while (i < row[1] && entry[i] == row[2 + i])
			i++;
		if (i == row[1])
			return row[0];
	}
	return 0;
}

/* Copies what the binary may know; from here on nobody looks at the environment itself. */
static void take_variables(char **entries)
{
	size_t room = 0;
	char *to;

	/* A forked child may find it half done. */
	identity.variable_count = 0;
	/* No more than all of it; of the memory, only what is written to is there. */
	for (char **entry = entries; *entry; entry++)
		room += sizeof host_prefix + text_length(*entry);
	to = identity.variables = sys_memory(room + 1);
	for (char **entry = entries; to && *entry; entry++) {
		char kind = kind_of(*entry);
		size_t size = text_length(*entry) + 1;

		if (kind == 'h') {
			memcpy(to, host_prefix, sizeof host_prefix - 1);
			to += sizeof host_prefix - 1;
		}
		if (kind) {
			memcpy(to, *entry, size);
			to += size;
			identity.variable_count++;
		}
	}
}

/* Our own variables; of one that stands there twice the last counts. */
static void read_own(char **entry)
{
	const char *log = NULL;

	for (; *entry; entry++) {
		const char *s = *entry;

		if (s[0] == 'L' && text_starts(s, "LD_AUDIT="))
			identity.audited = s[9] != '\0';
		if (s[0] != 'C' || !text_starts(s, "CUDASHIM_"))
			continue;
		if (text_starts(s + 9, "PLAN="))
			(void)text_copy(identity.given, sizeof identity.given, s + 14);
		else if (text_starts(s + 9, "LOG="))
			log = s + 13;
		else if (text_same(s + 9, "OFF=1"))
			identity.out = true;
	}
	log_setup(log);
}

/* Takes one entry out of a list of LD_PRELOAD, with the separator before it. The first of the list is us. */
static void take_out(char *list, const char *entry, size_t length)
{
	for (; *list; list++) {
		const char *rest = list + 1 + length;
		size_t i = 0;

		if (*list != ':' && *list != ' ')
			continue;
		while (i < length && list[1 + i] == entry[i])
			i++;
		if (i == length && (!*rest || *rest == ':' || *rest == ' ')) {
			memmove(list, rest, text_length(rest) + 1);
			return;
		}
	}
}

/* CUDASHIM_ONCE names the entries of LD_PRELOAD that were meant for this program: its children shall not map those too. */
static void end_once(char **entry)
{
	char *list = NULL, **once = NULL;

	for (; *entry; entry++) {
		if (text_starts(*entry, "LD_PRELOAD="))
			list = *entry + 11;
		if (text_starts(*entry, "CUDASHIM_ONCE="))
			once = entry;
	}
	if (!once)
		return;
	for (const char *at = *once + 14; list && *at;) {
		size_t length = 0;

		while (at[length] && at[length] != ':')
			length++;
		if (length)
			take_out(list, at, length);
		at += length + (at[length] == ':');
	}
	do
		once[0] = once[1];
	while (*once++);
}

/* --- the program --- */

/* Whether the kernel asks for secure execution (in doubt it does), and the path it was told to start, or NULL. */
static bool read_auxv(const char **started)
{
	uint64_t pairs[2 * 16];
	bool secure = true;
	long got;
	int fd;

	/* libc is asked first: of a program that may not be read, neither may its auxv file (proc(5)). */
	if (getauxval) {
		*started = (const char *)getauxval(AT_EXECFN);
		return getauxval(AT_SECURE) != 0;
	}
	fd = sys_open("/proc/self/auxv", O_RDONLY);
	while (fd >= 0 && (got = sys_read(fd, pairs, sizeof pairs)) > 0)
		for (long i = 0; i + 1 < got / 8; i += 2) {
			if (pairs[i] == AT_SECURE)
				secure = pairs[i + 1] != 0;
			if (pairs[i] == AT_EXECFN)
				*started = (const char *)(uintptr_t)pairs[i + 1];
		}
	if (fd >= 0)
		sys_close(fd);
	return secure;
}

/* Whether identity.path leads to the file that is executed; then the directory that it lies in counts, too. */
static bool is_program(struct image_id file)
{
	char *slash = (char *)text_base(identity.path), first = *slash;
	struct sys_stat st;
	bool found;

	if (identity.path[0] != '/' || sys_stat(identity.path, &st) < 0 || st.dev != file.dev || st.ino != file.ino)
		return false;
	*slash = '\0';
	found = sys_stat(identity.path, &st) == 0;
	*slash = first;
	if (found)
		identity.program = (struct image_program){.dir = {st.dev, st.ino}, .file = file};
	return found;
}

/* Into identity.path: `path` as it is, or joined with the working directory. */
static void join(const char *path)
{
	long length = 0;

	if (path[0] != '/') {
		length = SYS2(NR_getcwd, identity.path, sizeof identity.path - 1);
		/* It counts the NUL. */
		if (length <= 1)
			length = 0;
		else
			identity.path[length - 1] = '/';
	}
	if (!text_copy(identity.path + length, sizeof identity.path - (size_t)length, path))
		identity.path[0] = '\0';
}

/* Whether what `fd` shows is the program, too, as is_program. */
static bool is_at(int fd)
{
	struct sys_stat st;

	return sys_fstat(fd, &st) == 0 && is_program((struct image_id){st.dev, st.ino});
}

/* The path that the program was started by: what the kernel was told; of a script that is the script, and the program is
 * the first argument (execve(2), "Interpreter scripts"); else what the kernel says it is. */
static void find_program(const char *started)
{
	struct sys_stat st;
	long got;
	int exe, fd;

	/* To start oneself again, or an open file, by way of these is no place that a program lies in. */
	if (started && !text_starts(started, "/proc/") && !text_starts(started, "/dev/fd/"))
		join(started);
	/* Through the link itself and not by its text: the file may have another name by now, or none. */
	if (sys_stat("/proc/self/exe", &st) == 0 && is_program((struct image_id){st.dev, st.ino}))
		return;
	/* Opened, where an emulator of another machine lets its own file be seen only so. */
	exe = sys_open("/proc/self/exe", O_PATH);
	if (exe >= 0 && !is_at(exe)) {
		fd = sys_open("/proc/self/cmdline", O_RDONLY);
		got = fd < 0 ? 0 : sys_read(fd, identity.path, sizeof identity.path - 1);
		identity.path[got > 0 ? got : 0] = '\0';
		sys_close(fd);
		if (!is_at(exe)) {
			got = SYS4(NR_readlinkat, AT_FDCWD, "/proc/self/exe", identity.path, sizeof identity.path - 1);
			identity.path[got > 0 ? got : 0] = '\0';
			if (!is_at(exe))
				identity.path[0] = '\0';
		}
	}
	sys_close(exe);
}

/* --- once --- */

/* Called once, inside the gate. Whoever is to stay out needs to know nothing else of itself. */
static void read_identity(char **entries)
{
	const char *started = NULL;

	read_own(entries);
	/* In secure execution the environment is the attacker's. The loader then drops preloads that have a slash in their
	 * name, but an administrator may have put us into a directory it trusts. */
	identity.secure = read_auxv(&started);
	if (identity.secure || (!identity.given[0] && !ask_can()))
		identity.out = true;
	if (identity.out)
		return;
	find_program(started);
	if (ask_can())
		take_variables(entries);
}

/* Called in the constructor, and before each decision, for a call that comes before it. */
bool identity_known(void)
{
	char **entries = &environ && environ ? environ : first_environ;

	if (__atomic_load_n(&known, __ATOMIC_ACQUIRE))
		return true;
	/* libc has not come so far; the next call may. */
	if (!entries || !gate_enter())
		return false;
	if (!known)
		read_identity(entries);
	__atomic_store_n(&known, 1, __ATOMIC_RELEASE);
	gate_leave();
	return true;
}

/* glibc hands argc, argv and envp to constructors, musl does not: `environ` is the same in both. */
__attribute__((constructor)) static void start(int argc, char **argv, char **envp)
{
	(void)argc, (void)argv;
	if (!&environ)
		first_environ = envp;
	/* Before the variables are read: what was for this program only is not the binary's business either. */
	else if (environ)
		end_once(environ);
	(void)identity_known();
}
