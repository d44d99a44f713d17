/* What this process is: read once, in the constructor, before anybody can change the working directory, the user, the
 * arguments or the environment; or at the first dlopen, where another object's constructor comes before ours.
 *
 * All that is kept is a copy: hosts move and overwrite the originals to change their name in ps(1).
 */
#include "shim.h"

#include <sys/auxv.h>
#include <unistd.h>

#pragma weak environ
#pragma weak getauxval

struct identity identity;

/* What glibc hands to constructors. An auditor has a namespace of its own, without libc and its `environ`. */
static char **first_environ;

/* --- the environment --- */

/* Made by build.rs of data/variables.tsv: 'v', or 'h' for what must not act on the binary itself; the names have their `=`,
 * or none where any name may follow. */
static const char table[] =
#include "variables.h"
	;
static const char host_prefix[] = "CUDASHIM_HOST_";

/* Copies the environment, with room for the prefix before each entry; from here on nobody looks at the original. */
static void take_environment(char **entries)
{
	size_t count = 1, room = sizeof host_prefix;
	char *to;

	for (char **entry = entries; *entry; entry++, count++)
		room += sizeof host_prefix + text_length(*entry);
	identity.variables = sys_memory(count * sizeof *identity.variables + room);
	to = identity.entries = (char *)(identity.variables + count);
	for (; identity.variables && *entries; entries++) {
		if (!**entries)
			continue;
		to += sizeof host_prefix - 1;
		if (text_after(*entries, "LD_LIBRARY_PATH="))
			identity.search = to + sizeof "LD_LIBRARY_PATH";
		to = text_put(to, *entries) + 1;
	}
}

/* Most processes never ask, so it is found out here what the binary may know. A forked child may find it half done. */
char **identity_variables(void)
{
	char **to = identity.variables, *entry = identity.entries + sizeof host_prefix - 1;
	const char *row;

	for (; to && *entry; entry += text_length(entry) + sizeof host_prefix) {
		row = text_row(table, entry);
		if (row && !text_after(entry, host_prefix))
			*to++ = row[0] == 'h' ? memcpy(entry - (sizeof host_prefix - 1), host_prefix, sizeof host_prefix - 1) : entry;
	}
	return identity.variables;
}

/* CUDASHIM_ONCE is the part of LD_PRELOAD, behind us, that was meant for this program: its children shall not map that too.
 * Both are changed where they stand; no entry but a whole one, with the separator before it, is taken out. */
static void end_once(char *list, char **once)
{
	for (const char *rest; *list; list++) {
		rest = text_after(list + 1, *once + sizeof "CUDASHIM_ONCE");
		if (rest > list + 1 && (*list == ':' || *list == ' ') && (!*rest || *rest == ':' || *rest == ' ')) {
			(void)text_put(list, rest);
			break;
		}
	}
	do
		once[0] = once[1];
	while (*once++);
}

/* Our own variables; of one that stands there twice the last counts. */
static void read_own(char **entry)
{
	char *preload = "", **once = NULL;
	const char *value, *log = NULL;

	for (; *entry; entry++) {
		if (text_after(*entry, "LD_PRELOAD="))
			preload = *entry;
		else if (text_after(*entry, "CUDASHIM_ONCE="))
			once = entry;
		else if ((value = text_after(*entry, "LD_AUDIT=")))
			identity.audited = *value;
		else if ((value = text_after(*entry, "CUDASHIM_PLAN=")))
			(void)text_copy(identity.given, sizeof identity.given, value);
		else if ((value = text_after(*entry, "CUDASHIM_LOG=")))
			log = value;
		else if (text_same(*entry, "CUDASHIM_OFF=1"))
			identity.out = true;
	}
	log_setup(log);
	/* An auditor's is not the environment that children get. */
	if (once && !first_environ)
		end_once(preload, once);
}

/* --- the program --- */

/* What the kernel said of the process at its start. Of a program that may not be read, its file of this cannot be either
 * (proc(5)): libc is asked, else it stands behind the environment, where nobody has moved that yet. */
static uint64_t auxiliary(uint64_t type, uint64_t otherwise)
{
	char **end = first_environ;

	if (getauxval)
		return getauxval(type);
	while (end && *end)
		end++;
	for (const uint64_t *pair = (const uint64_t *)(end + 1); end && pair[0] != AT_NULL; pair += 2)
		if (pair[0] == type)
			return pair[1];
	return otherwise;
}

/* Whether identity.path leads to the file that is executed; then the directory that it lies in counts, too. */
static bool is_program(const struct stat *executed)
{
	struct stat st, dir;

	if (identity.path[0] != '/' || sys_stat(identity.path, &st) < 0 || st.st_dev != executed->st_dev ||
	    st.st_ino != executed->st_ino || sys_stat_dir(identity.path, &dir) < 0)
		return false;
	identity.program = (struct image_id){st.st_dev, st.st_ino, dir.st_dev, dir.st_ino};
	return true;
}

/* Into identity.path: `path` as it is, or joined with the working directory. */
static void join(const char *path)
{
	long length = 0;

	if (path[0] != '/') {
		length = SYS(SYS_getcwd, identity.path, sizeof identity.path - 1);
		if (length < 1)
			return;
		/* It counts the NUL. */
		identity.path[length - 1] = '/';
	}
	if (!text_copy(identity.path + length, sizeof identity.path - (size_t)length, path))
		identity.path[0] = '\0';
}

/* The path that the program was started by: what the kernel was told; of a script that is the script, and the program is
 * the first argument (execve(2), "Interpreter scripts"); else what the kernel says it is. */
static void find_program(const char *started)
{
	struct stat executed;
	/* Opened, where an emulator of another machine lets its own file be seen only so. Through the link itself and not by its
	 * text: the file may have another name by now, or none. */
	int fd = sys_open("/proc/self/exe", O_PATH);
	long got;

	if (fd < 0 || sys_fstat(fd, &executed) < 0)
		return;
	sys_close(fd);
	/* To start oneself again, or an open file, by way of these is no place that a program lies in. */
	if (started && !text_after(started, "/proc/") && !text_after(started, "/dev/fd/"))
		join(started);
	if (is_program(&executed))
		return;
	/* Up to the NUL behind the first argument; where that is no path, as of a name found on PATH, it is no program. */
	fd = sys_open("/proc/self/cmdline", O_RDONLY);
	got = sys_read(fd, identity.path, sizeof identity.path - 1);
	sys_close(fd);
	identity.path[got > 0 ? got : 0] = '\0';
	if (is_program(&executed))
		return;
	got = SYS(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", identity.path, sizeof identity.path - 1);
	identity.path[got > 0 ? got : 0] = '\0';
	if (!is_program(&executed))
		identity.path[0] = '\0';
}

/* --- once, whoever comes first --- */

/* Called once, inside the gate. Whoever is to stay out needs to know nothing else of itself. */
static void read_identity(char **entries)
{
	read_own(entries);
	/* In secure execution the environment is the attacker's; in doubt it is asked for. The loader then drops preloads that
	 * have a slash in their name, but an administrator may have put us into a directory it trusts. */
	identity.secure = auxiliary(AT_SECURE, 1) != 0;
	if (identity.secure || (!identity.given[0] && !ask_can()))
		identity.out = true;
	if (identity.out)
		return;
	/* A string on the stack, which the host may overwrite later. */
	find_program((const char *)auxiliary(AT_EXECFN, 0));
	take_environment(entries);
}

/* Called in the constructor, and before each decision, for a call that comes before it. */
bool identity_known(void)
{
	char **entries = &environ && environ ? environ : first_environ;

	if (identity.known)
		return true;
	/* libc has not come so far; the next call may. */
	if (!entries || !gate_enter())
		return false;
	if (!identity.known)
		read_identity(entries);
	identity.known = true;
	gate_leave();
	return true;
}

/* glibc hands argc, argv and envp to constructors, musl does not: `environ` is the same in both. */
__attribute__((constructor)) static void start(int argc, char **argv, char **envp)
{
	if (!&environ)
		first_environ = envp;
	(void)identity_known();
}
