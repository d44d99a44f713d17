/* What this process is: read once, in the constructor, before anybody can change the working directory, the user, the
 * arguments or the environment; or at the first dlopen, where another object's constructor comes before ours.
 *
 * All that is kept is a copy: hosts move and overwrite the originals to change their name in ps(1). */
#include <sys/auxv.h>

#pragma weak getauxval

static struct identity {
	/* Whether the loader may audit with another instance of us; whether the kernel asks for secure execution. */
	bool audited, secure;
	struct id program; /* as the plan knows programs; all zero where it is not known */
	/* The environment up to NULL, and in it the value of LD_LIBRARY_PATH (the loader reads that once, too), NULL where it is
	 * empty. */
	char **variables, *search;
	char *path; /* of the program, as the binary is told it; empty where it is not known */
} identity;

/* What glibc hands to constructors. An auditor has a namespace of its own, without libc and its `environ`. */
static char **first_environ;

/* The path of the binary that is asked, which the installer writes after the magic (src/launch/shim.rs). Empty where there is
 * none: then nobody is asked, ever. Weak, so that the compiler does not reason from the zeros that it sees. */
__attribute__((weak, visibility("hidden"))) const struct {
	char magic[32], path[PATH];
} binary = {"cudashim: the binary's path -> ", ""};

/* Under names with it, no variable acts on the binary. */
static const char host_prefix[] = "CUDASHIM_HOST_";

/* Copies the environment, each entry behind the prefix; from here on nobody looks at the original. False where there is no
 * memory. */
static bool take_environment(char **entries)
{
	/* Most fit here, and cost no mapping. */
	static _Alignas(char *) char first[4 * PAGE];
	size_t count = 0, room = (plan.path ? text_length(plan.path) + 1 : 0) + PATH;
	const char *value;
	char **list, *to;

	for (; entries[count]; count++)
		room += sizeof host_prefix + text_length(entries[count]);
	room += (count + 1) * sizeof *list;
	identity.variables = list = room <= sizeof first ? (char **)(void *)first : sys_memory(room);
	if (!list)
		return false;
	to = (char *)(list + count + 1);
	for (; *entries; entries++) {
		*list++ = to;
		to = text_put(to, host_prefix);
		if ((value = text_after(*entries, "LD_LIBRARY_PATH=")) && *value)
			identity.search = to + (value - *entries);
		to = text_put(to, *entries) + 1;
	}
	identity.path = plan.path ? text_put(to, plan.path) + 1 : to;
	plan.path = plan.path ? to : NULL;
	return true;
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

/* Our own variables; of one that stands there twice the last counts. False: all is to pass. */
static bool read_own(char **entry)
{
	const char *value, *log = NULL;
	char *preload = "", **once = NULL;
	bool off = false;

	for (; *entry; entry++) {
		if (text_after(*entry, "LD_PRELOAD="))
			preload = *entry;
		else if (text_after(*entry, "CUDASHIM_ONCE="))
			once = entry;
		else if ((value = text_after(*entry, "LD_AUDIT=")))
			identity.audited = *value;
		else if ((value = text_after(*entry, "CUDASHIM_LOG=")))
			log = value;
		else if ((value = text_after(*entry, "CUDASHIM_PLAN=")))
			plan.path = *value ? (char *)value : NULL;
		else
			off = off || text_same(*entry, "CUDASHIM_OFF=1");
	}
	log_setup(log);
	/* An auditor's is not the environment that children get. */
	if (once && !first_environ)
		end_once(preload, once);
	return !off;
}

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

/* Into identity.path: `path` as it is, or joined with the working directory; answers its length, or less than 1. */
static long join(const char *path)
{
	/* The kernel counts the NUL. */
	long length = *path == '/' ? 0 : SYS(SYS_getcwd, identity.path, PATH - 1);

	if (length > 0)
		identity.path[length - 1] = '/';
	if (length < 0 || !text_copy(identity.path + length, PATH - (size_t)length, path))
		return 0;
	return length + (long)text_length(path);
}

/* Whether identity.path, of which `length` bytes were written, leads to the file that is executed; then the directory that it
 * lies in counts, too. */
static bool is_program(long length, const struct stat *executed)
{
	struct stat st, dir;

	identity.path[length > 0 ? length : 0] = '\0';
	if (*identity.path != '/' || sys_stat(identity.path, &st) < 0 || st.st_dev != executed->st_dev ||
	    st.st_ino != executed->st_ino || sys_stat_dir(identity.path, &dir) < 0)
		return false;
	identity.program = (struct id){st.st_dev, st.st_ino, dir.st_dev, dir.st_ino};
	return true;
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
	if (started && !text_after(started, "/proc/") && !text_after(started, "/dev/fd/") && is_program(join(started), &executed))
		return;
	/* Up to the NUL behind the first argument; where that is no path, as of a name found on PATH, it is no program. */
	fd = sys_open("/proc/self/cmdline", O_RDONLY);
	got = sys_read(fd, identity.path, PATH - 1);
	sys_close(fd);
	if (!is_program(got, &executed) &&
	    !is_program(SYS(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", identity.path, PATH - 1), &executed))
		*identity.path = '\0';
}

/* Called once, inside the gate. False: nothing is to be done here, ever. */
static bool identity_read(char **entries)
{
	/* In secure execution the environment is the attacker's; in doubt it is asked for. The loader then drops preloads that
	 * have a slash in their name, but an administrator may have put us into a directory it trusts. */
	identity.secure = auxiliary(AT_SECURE, 1) != 0;
	if (identity.secure || !read_own(entries) || (!plan.path && !*binary.path) || !take_environment(entries))
		return false;
	/* A string on the stack, which the host may overwrite later. */
	find_program((const char *)auxiliary(AT_EXECFN, 0));
	/* Of a program that is not known nothing can be told apart. */
	return identity.program.ino;
}
