/* One request, in a child that the host cannot notice: no fork handlers run (raw clone), no SIGCHLD arrives, nothing
 * is left to be waited for, and no descriptor, signal handler or mask of the host reaches the binary.
 *
 *	host ── supervisor ── the binary
 *
 * The supervisor is there because of SIGCHLD: a child cloned without an exit signal gets SIGCHLD back as soon as it
 * calls execve (clone(2)), and a host that waits for any child would then reap ours. The supervisor never calls it.
 */
#include "ask.h"

#include "log.h"
#include "sys.h"
#include "text.h"

enum {
	WALL = 0x40000000, /* wait4: also children without an exit signal */
	SIGKILL = 9, SIGCHLD = 17, SIGSTOP = 19, SIGNALS = 64,
	PR_SET_PDEATHSIG = 1,
	ITIMER_REAL = 0,
	SIG_SETMASK = 2,
	SECONDS = 10,
	ENVIRON = 1 << 20,
	VARIABLES = 128,
};

/* The installer writes the binary's path after the magic (src/handout/shim.rs); all NUL means: never ask. */
static const struct {
	char magic[32];
	char path[4096];
} binary __attribute__((used, aligned(16))) = {"cudashim: the binary's path -> ", ""};

static const char *binary_path(void)
{
	const char *path = binary.path;

	/* The compiler must not reason from the zeros that it sees. */
	__asm__("" : "+r"(path));
	return path;
}

bool ask_can(void)
{
	return binary_path()[0] != '\0';
}

/* --- which names are CUDA's --- */

/* Made by build.rs: for each stem its length in one byte, then its letters; no pointers, which the loader would have
 * to relocate in every process. */
static const char stems[] =
#include "stems.h"
	;

static bool is_hex(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

/* After the stem: `.so`, then any number of `.` and digits. */
static bool is_version(const char *s)
{
	if (!text_starts(s, ".so"))
		return false;
	for (s += 3; *s == '.';) {
		if (s[1] < '0' || s[1] > '9')
			return false;
		for (s++; *s >= '0' && *s <= '9';)
			s++;
	}
	return !*s;
}

static bool starts_with_stem(const char *name, const char *stem)
{
	int left = *stem;

	while (left && *name == *++stem)
		name++, left--;
	return left == 0;
}

bool ask_knows(const char *name)
{
	if (!text_starts(name, "lib"))
		return false;
	name += 3;
	for (const char *stem = stems; *stem; stem += 1 + *stem) {
		const char *rest = name + *stem;
		int hex = 1;

		if (!starts_with_stem(name, stem))
			continue;
		if (is_version(rest))
			return true;
		/* libcudart-d0da41ae.so.11.0: a wheel repair tool put a hash of the file in. */
		while (rest[0] == '-' && hex <= 8 && is_hex(rest[hex]))
			hex++;
		if (hex == 9 && is_version(rest + 9))
			return true;
	}
	return false;
}

/* --- the environment of the binary --- */

struct environment {
	char *entries[VARIABLES + 1];
	unsigned count;
	char *copies;
	char text[ENVIRON + 1];
	char copied[ENVIRON + 64];
};

/* What decides where libraries may be and where the plan is cached; LD_PRELOAD is not among them, or the binary
 * would have us preloaded. */
static const char passed[][24] = {
	"HOME=", "USER=", "PATH=", "LANG=", "XDG_CACHE_HOME=", "XDG_RUNTIME_DIR=", "TMPDIR=", "VIRTUAL_ENV=",
	"PYTHONPATH=", "PYTHONHOME=", "PYTHONUSERBASE=", "PYTHONNOUSERSITE=", "CUDA_HOME=", "CUDA_PATH=",
	"CUDA_ROOT=", "CUDA_TOOLKIT_ROOT_DIR=", "CUDNN_PATH=", "CONDA_PREFIX=",
};

static const char host_prefix[] = "CUDASHIM_HOST_";

static bool is_passed(const char *entry)
{
	if (text_starts(entry, "CUDASHIM_"))
		return !text_starts(entry, host_prefix);
	for (size_t i = 0; i < sizeof passed / sizeof *passed; i++)
		if (text_starts(entry, passed[i]))
			return true;
	return false;
}

static void take(struct environment *env, char *entry)
{
	bool loader = text_starts(entry, "LD_LIBRARY_PATH=") || text_starts(entry, "LD_PRELOAD=");

	if (env->count == VARIABLES)
		return;
	if (is_passed(entry)) {
		env->entries[env->count++] = entry;
	} else if (loader) {
		size_t size = text_length(entry) + 1;

		/* The two together are no longer than the text they come from; 64 bytes are for the prefixes. */
		if ((size_t)(env->copied + sizeof env->copied - env->copies) < sizeof host_prefix + size)
			return;
		env->entries[env->count++] = env->copies;
		memcpy(env->copies, host_prefix, sizeof host_prefix - 1);
		memcpy(env->copies + sizeof host_prefix - 1, entry, size);
		env->copies += sizeof host_prefix - 1 + size;
	}
}

/* The environment as the kernel kept it from the start: libc's array may be moved or freed under us by a setenv in
 * another thread. */
static bool read_environment(struct environment *env)
{
	int fd = sys_open("/proc/self/environ", O_RDONLY | O_CLOEXEC, 0);
	size_t have = 0;

	if (fd < 0)
		return false;
	while (have < ENVIRON) {
		long got = sys_read(fd, env->text + have, ENVIRON - have);

		if (got <= 0)
			break;
		have += (size_t)got;
	}
	sys_close(fd);
	env->copies = env->copied;
	/* `text` is zeroed memory, longer than what is read: the last entry has its NUL. */
	for (char *entry = env->text; entry < env->text + have; entry += text_length(entry) + 1)
		take(env, entry);
	return true;
}

/* --- the two children --- */

static __attribute__((noreturn)) void leave(int status)
{
	for (;;)
		(void)SYS1(NR_exit_group, status);
}

/* SIGALRM, at its default, ends the caller after that many seconds; it outlives execve. */
static void end_after(int64_t seconds)
{
	int64_t timer[4] = {0, 0, seconds, 0};

	(void)SYS3(NR_setitimer, ITIMER_REAL, timer, NULL);
}

/* In the supervisor: nothing of the host's signals. Comes with all signals blocked. */
static void reset_signals(void)
{
	uint64_t action[4] = {0, 0, 0, 0}, none = 0;

	for (int i = 1; i <= SIGNALS; i++)
		if (i != SIGKILL && i != SIGSTOP)
			(void)SYS4(NR_rt_sigaction, i, action, NULL, 8);
	(void)SYS4(NR_rt_sigprocmask, SIG_SETMASK, &none, NULL, 8);
}

/* In the supervisor: 0 and 2 are /dev/null, 1 the pipe, nothing else is open. */
static bool reset_descriptors(int out)
{
	int null = sys_open("/dev/null", O_RDWR | O_CLOEXEC, 0);
	bool talk = log_is_on() && SYS2(NR_fcntl, 2, F_GETFD) >= 0;

	/* Above 2 first: a host that runs with these closed gets their numbers. */
	out = (int)SYS3(NR_fcntl, out, F_DUPFD, 3);
	null = (int)SYS3(NR_fcntl, null, F_DUPFD, 3);
	if (out < 0 || null < 0 || SYS3(NR_dup3, null, 0, 0) < 0 || SYS3(NR_dup3, out, 1, 0) < 0 ||
	    (!talk && SYS3(NR_dup3, null, 2, 0) < 0))
		return false;
	/* Before Linux 5.9, or where a filter forbids it: one by one, as far as hosts usually go. */
	if (SYS3(NR_close_range, 3, 0xffffffff, 0) < 0)
		for (int fd = 3; fd < 4096; fd++)
			sys_close(fd);
	return true;
}

static __attribute__((noreturn)) void supervise(int out, char **argv, char **envp)
{
	int status = -1;
	long child, got;

	reset_signals();
	if (!reset_descriptors(out))
		leave(1);
	/* A little later than the binary, which is ours to wait for. */
	end_after(SECONDS + 1);
	child = SYS5(NR_clone, SIGCHLD, 0, 0, 0, 0);
	if (child == 0) {
		end_after(SECONDS);
		(void)SYS2(NR_prctl, PR_SET_PDEATHSIG, SIGKILL);
		(void)SYS3(NR_execve, binary_path(), argv, envp);
		leave(127);
	}
	/* Or the reader would never see the end of the pipe. */
	sys_close(1);
	do
		got = SYS4(NR_wait4, child, &status, 0, NULL);
	while (got == -EINTR);
	leave(child > 0 && got == child && status == 0 ? 0 : 1);
}

/* --- the request --- */

/* Everything up to the end of the pipe; -1 if that takes too long or is too much. */
static long read_answer(int fd, char *to, size_t room)
{
	/* The kernel counts this down over all the calls (ppoll(2), "C library/kernel differences"). */
	struct sys_time left = {SECONDS + 2, 0};
	size_t have = 0;

	for (;;) {
		struct sys_poll poll = {.fd = fd, .events = POLLIN};
		long got = SYS5(NR_ppoll, &poll, 1, &left, NULL, 8);

		if (got == -EINTR)
			continue;
		if (got != 1)
			return -1;
		got = sys_read(fd, to + have, room - have);
		if (got <= 0)
			return got < 0 ? -1 : (long)have;
		have += (size_t)got;
		if (have == room)
			return -1;
	}
}

/* One line, an absolute path, and nothing else. */
static const char *check_answer(char *answer, size_t size)
{
	if (size == 0 || (size == 1 && answer[0] == '\n'))
		return "";
	if (answer[0] != '/' || answer[size - 1] != '\n')
		return "its answer is not a path";
	answer[size - 1] = '\0';
	return text_length(answer) == size - 1 && !text_has(answer, '\n') ? NULL : "its answer is not a path";
}

const char *ask_plan(char path[static ASK_ANSWER])
{
	struct environment *env = sys_memory(sizeof *env);
	char digits[21], name[] = "cudashim", command[] = "plan-for";
	char *argv[] = {name, command, NULL, NULL};
	uint64_t all = ~(uint64_t)0, before;
	int ends[2], status = -1;
	long child, size, got;

	if (!env)
		return "there is no memory to ask it";
	/* text_decimal writes into `digits`, which is ours to change. */
	argv[2] = digits + (text_decimal(digits, (uint64_t)sys_getpid()) - digits);
	if (!read_environment(env) || SYS2(NR_pipe2, ends, O_CLOEXEC) < 0) {
		sys_release(env, sizeof *env);
		return "it could not be asked";
	}
	/* No handler of the host may run in the children. */
	(void)SYS4(NR_rt_sigprocmask, SIG_SETMASK, &all, &before, 8);
	child = SYS5(NR_clone, 0, 0, 0, 0, 0);
	if (child == 0)
		supervise(ends[1], argv, env->entries);
	(void)SYS4(NR_rt_sigprocmask, SIG_SETMASK, &before, NULL, 8);
	sys_close(ends[1]);
	sys_release(env, sizeof *env);
	if (child < 0) {
		sys_close(ends[0]);
		return "it could not be started";
	}
	size = read_answer(ends[0], path, ASK_ANSWER);
	sys_close(ends[0]);
	if (size < 0)
		(void)SYS2(NR_kill, child, SIGKILL);
	do
		got = SYS4(NR_wait4, child, &status, WALL, NULL);
	while (got == -EINTR);
	if (size < 0)
		return "it took too long, or answered too much";
	if (got != child || status != 0)
		return "it failed";
	return check_answer(path, (size_t)size);
}
