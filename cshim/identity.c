/* What this process is: read once, in the constructor, before anybody can change the working directory, the user, the
 * arguments or the environment; or at the first dlopen, where another object's constructor comes before ours.
 *
 * All that is kept is a copy: hosts move and overwrite the originals to change their name in ps(1).
 */
#include <sys/auxv.h>
#include <unistd.h>

#pragma weak environ
#pragma weak getauxval

static struct identity {
	/* Whether all of this has been read. */
	_Atomic bool known;
	/* Whether to stay out of everything; whether the loader may audit with another instance of us; whether the kernel asks
	 * for secure execution, as far as that had to be known. */
	bool out, audited, secure;
	/* The program, as the plan knows programs; all zero where it is not known. */
	struct id program;
	/* The environment: its entries, a list for those that the binary may know, and in the entries the values of
	 * CUDASHIM_PLAN and LD_LIBRARY_PATH (the loader reads that once, too), NULL where they are empty. */
	char *entries, **variables, *given, *search;
	/* The path of the program, as the binary is told it; empty where it is not known. */
	char *path;
} identity;

/* What glibc hands to constructors. An auditor has a namespace of its own, without libc and its `environ`. */
static char **first_environ;

/* The path of the binary that is asked, which the installer writes after the magic (src/launch/shim.rs). All
 * NUL means: never ask. */
static const struct {
	char magic[32], path[PATH];
} binary __attribute__((used, aligned(16))) = {"cudashim: the binary's path -> ", ""};

/* Empty where there is none: then nobody is asked, ever. */
static const char *binary_path(void)
{
	const char *path = binary.path;

	/* The compiler must not reason from the zeros that it sees. */
	__asm__("" : "+r"(path));
	return path;
}

/* --- the environment --- */

/* Made by build.rs of data/variables.tsv: 'v', or 'h' for what must not act on the binary itself; the names have their `=`,
 * or none where any name may follow. */
static const char table[] =
#include "variables.h"
	;
static const char host_prefix[] = "CUDASHIM_HOST_";

/* Copies the environment, with room for the prefix before each entry; from here on nobody looks at the original. False where
 * there is no memory. */
static bool take_environment(char **entries)
{
	/* Most fit here, and cost no mapping. */
	static LARGE _Alignas(char *) char first[4 * PAGE];
	size_t count = 1, room = sizeof host_prefix + PATH;
	const char *value;
	char *to;

	for (char **entry = entries; *entry; entry++, count++)
		room += sizeof host_prefix + text_length(*entry);
	room += count * sizeof *identity.variables;
	identity.variables = room <= sizeof first ? (char **)(void *)first : sys_memory(room);
	if (!identity.variables)
		return false;
	to = identity.entries = (char *)(identity.variables + count);
	for (; *entries; entries++) {
		if (!**entries)
			continue;
		to += sizeof host_prefix - 1;
		if ((value = text_after(*entries, "CUDASHIM_PLAN=")))
			identity.given = *value ? to + (value - *entries) : NULL;
		else if ((value = text_after(*entries, "LD_LIBRARY_PATH=")))
			identity.search = *value ? to + (value - *entries) : NULL;
		to = text_put(to, *entries) + 1;
	}
	/* The entries end in an empty one. */
	identity.path = to + sizeof host_prefix;
	return true;
}

/* Lists what the binary may know of the environment, up to NULL. Inside the gate. Most processes never ask, so it is found
 * out here. A forked child may find it half done. */
static void identity_variables(void)
{
	const size_t prefix = sizeof host_prefix - 1;
	char **to = identity.variables;

	for (char *entry = identity.entries + prefix; *entry; entry += text_length(entry) + 1 + prefix) {
		const char *row = text_row(table, entry);

		if (row && !text_after(entry, host_prefix))
			*to++ = row[0] == 'h' ? memcpy(entry - prefix, host_prefix, prefix) : entry;
	}
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
	identity.program = (struct id){st.st_dev, st.st_ino, dir.st_dev, dir.st_ino};
	return true;
}

/* Into identity.path: `path` as it is, or joined with the working directory. */
static void join(const char *path)
{
	long length = 0;

	if (path[0] != '/') {
		length = SYS(SYS_getcwd, identity.path, PATH - 1);
		if (length < 1)
			return;
		/* It counts the NUL. */
		identity.path[length - 1] = '/';
	}
	if (!text_copy(identity.path + length, PATH - (size_t)length, path))
		identity.path[0] = '\0';
}

/* The path that the program was started by: what the kernel was told; of a script that is the script, and the program is
 * the first argument (execve(2), "Interpreter scripts"); else what the kernel says it is. */
static void find_program(const char *started)
{
	struct stat executed;
	/* Opened, where an emulator of another machine lets its own file be seen only so. Through the link itself and not by
	 * its text: the file may have another name by now, or none. */
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
	got = sys_read(fd, identity.path, PATH - 1);
	sys_close(fd);
	identity.path[got > 0 ? got : 0] = '\0';
	if (is_program(&executed))
		return;
	got = SYS(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", identity.path, PATH - 1);
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
	if (identity.out || identity.secure || !take_environment(entries) || (!identity.given && !*binary_path()))
		identity.out = true;
	/* A string on the stack, which the host may overwrite later. */
	if (!identity.out)
		find_program((const char *)auxiliary(AT_EXECFN, 0));
}

/* Reads all of it unless that has been done; false if it cannot be, yet. Called in the constructor, and before each decision,
 * for a call that comes before it. */
static bool identity_known(void)
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
