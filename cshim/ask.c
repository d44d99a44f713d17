/* One question to the binary, in a child that the host cannot notice: no fork handlers run (raw clone), no SIGCHLD arrives,
 * nothing is left to be waited for, and no descriptor, signal handler or mask of the host reaches the binary.
 *
 *	host ── supervisor ── the binary
 *
 * The supervisor is there because of SIGCHLD: a child cloned without an exit signal gets SIGCHLD back as soon as it calls
 * execve (clone(2)), and a host that waits for any child would then reap ours. The supervisor never calls it.
 *
 * Called by plan.c alone, by one thread at a time.
 */
#include "shim.h"
#include "sys.h"
#include "text.h"

enum {
	WALL = 0x40000000, /* wait4: also children without an exit signal */
	SIGKILL = 9, SIGCHLD = 17, SIGSTOP = 19, SIGNALS = 64, SIG_SETMASK = 2,
	PR_SET_PDEATHSIG = 1, ITIMER_REAL = 0,
	SECONDS = 2, NOT_STARTED = 127,
};

/* The installer writes the binary's path after the magic (src/launch/shim.rs); all NUL means: never ask. */
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

/* In the supervisor: 0 is /dev/null, 1 the pipe, 2 the host's where decisions are said, and nothing else is open. */
static bool reset_descriptors(int out)
{
	/* Looked at first: a host that runs without 2 may get that number for what is opened next. */
	bool talk = log_is_on() && SYS2(NR_fcntl, 2, F_GETFD) >= 0;
	int null = sys_open("/dev/null", O_RDWR);

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

/* All that the supervisor does. Of the host it has the memory and one thread, whatever the others held then: so it calls
 * nothing of the host's libraries, and the two lists were made before. */
static __attribute__((noreturn)) void supervise(int out, const char *const *words, const char *const *variables)
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
		(void)SYS3(NR_execve, binary_path(), words, variables);
		leave(NOT_STARTED);
	}
	/* Or the reader would never see the end of the pipe. */
	sys_close(1);
	do
		got = SYS4(NR_wait4, child, &status, 0, NULL);
	while (got == -EINTR);
	leave(child > 0 && got == child && (status & 0x7f) == 0 ? status >> 8 & 0xff : 1);
}

/* --- the question --- */

/* Everything up to the end of the pipe; -1 if that takes too long or is too much. */
static long read_answer(int fd, char *to, size_t room)
{
	/* The kernel counts this down over all the calls (ppoll(2), "C library/kernel differences"). */
	struct sys_time left = {SECONDS, 0};
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

/* What is said where there is no answer: always with what to type. */
static const char *failed(const char *what, const char *remedy)
{
	log_say(LOG_WARNING, "no plan: ", binary_path(), " ", what, ": ", remedy, NULL);
	return what;
}

/* Starts the supervisor; its number, or what the kernel said. `*out` is the end of the pipe to read from. */
static long begin(const char *const *words, const char *const *variables, int *out)
{
	uint64_t all = ~(uint64_t)0, before;
	int ends[2];
	long child = SYS2(NR_pipe2, ends, O_CLOEXEC);

	if (child < 0)
		return child;
	/* No handler of the host may run in the children. */
	(void)SYS4(NR_rt_sigprocmask, SIG_SETMASK, &all, &before, 8);
	child = SYS5(NR_clone, 0, 0, 0, 0, 0);
	if (child == 0)
		supervise(ends[1], words, variables);
	(void)SYS4(NR_rt_sigprocmask, SIG_SETMASK, &before, NULL, 8);
	sys_close(ends[1]);
	*out = ends[0];
	if (child < 0)
		sys_close(ends[0]);
	return child;
}

/* The question: the process, its program, and for an object the plan, the object and the name. Whatever becomes of it, the
 * supervisor has been waited for when it returns, and the descriptors of the pipe are closed. */
const char *ask(char answer[static IMAGE_PATH], const char *image, const char *object, const char *name)
{
	char digits[21];
	const char *words[] = {"cudashim", "plan-for", text_decimal(digits, (uint64_t)sys_getpid()), identity.path, image, object,
			       name, NULL};
	size_t room = (identity.variable_count + 1) * sizeof(char *);
	const char **variables = sys_memory(room), *variable = identity.variables;
	int out = -1, status = -1;
	long child, size, got;

	for (unsigned i = 0; variables && i < identity.variable_count; i++, variable += text_length(variable) + 1)
		variables[i] = variable;
	child = variables ? begin(words, variables, &out) : -1;
	if (variables)
		sys_release(variables, room);
	if (child < 0)
		return failed("cannot be started from here", "start the program with `cudashim run -- COMMAND`");
	size = read_answer(out, answer, IMAGE_PATH);
	sys_close(out);
	if (size < 0)
		(void)SYS2(NR_kill, child, SIGKILL);
	do
		got = SYS4(NR_wait4, child, &status, WALL, NULL);
	while (got == -EINTR);
	if (got == child && status >> 8 == NOT_STARTED)
		return failed("cannot be run", "install it there again, or make a new shim with `cudashim shim`");
	if (size < 0)
		return failed("took more than two seconds, or answered too much",
			      "run `cudashim resolve` once, so that the answer is kept, or start with `cudashim run -- COMMAND`");
	if (got != child || status != 0)
		return failed("failed", "run `cudashim resolve` to see why");
	if (size && answer[size - 1] == '\n')
		size--;
	else if (size)
		return failed("did not answer with a line", "run `cudashim doctor`");
	answer[size] = '\0';
	return text_length(answer) == (size_t)size && !text_has(answer, '\n')
		       ? NULL
		       : failed("did not answer with a line", "run `cudashim doctor`");
}
