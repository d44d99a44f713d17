/* One question to the binary, in a child that the host cannot notice: no fork handlers run (raw clone), no SIGCHLD arrives,
 * nothing is left to be waited for, and no descriptor, signal handler or mask of the host reaches the binary.
 *
 *	host ── supervisor ── the binary
 *
 * The supervisor is there because of SIGCHLD: a child cloned without an exit signal gets SIGCHLD back as soon as it calls
 * execve (clone(2)), and a host that waits for any child would then reap ours. The supervisor never calls it.
 *
 * Called by plan.c alone, inside the gate.
 */
#include "shim.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <sys/wait.h>

/* How long the binary has, also by its own count (src/cli/plan_for.rs); what the child says where there is none to run. */
enum { SECONDS = 2, NOT_STARTED = 127 };

/* The installer writes the binary's path after the magic (src/launch/shim.rs); all NUL means: never ask. */
static const struct {
	char magic[32];
	char path[4096];
} binary __attribute__((used, aligned(16))) = {"cudashim: the binary's path -> ", ""};

/* Empty until the installer has written one. */
static const char *binary_path(void)
{
	const char *path = binary.path;

	/* The compiler must not reason from the zeros that it sees. */
	__asm__("" : "+r"(path));
	return path;
}

/* Called where a question would be next: without a binary nobody is asked, ever. */
bool ask_can(void)
{
	return binary_path()[0] != '\0';
}

/* --- the two children --- */

/* In the two children, which must not run what the host has registered for its end. */
static __attribute__((noreturn)) void leave(int status)
{
	for (;;)
		(void)SYS(SYS_exit_group, status);
}

/* In the supervisor, which comes with all of them blocked: nothing of the host's signals. The kernel refuses to touch SIGKILL
 * and SIGSTOP. */
static void reset_signals(void)
{
	uint64_t action[4] = {0, 0, 0, 0}, none = 0;

	for (int i = 1; i <= 64; i++)
		(void)SYS(SYS_rt_sigaction, i, action, NULL, 8);
	(void)SYS(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, 8);
}

/* In the supervisor: 0 is /dev/null, 1 the pipe, 2 the host's where decisions are said, and nothing else is open. */
static bool reset_descriptors(int out)
{
	/* Looked at first: a host that runs without 2 may get that number for what is opened next. */
	bool talk = log_limit == LOG_DECISION && SYS(SYS_fcntl, 2, F_GETFD) >= 0;
	int null = sys_open("/dev/null", O_RDWR);

	/* Above 2 first: a host that runs with these closed gets their numbers. */
	out = (int)SYS(SYS_fcntl, out, F_DUPFD, 3);
	null = (int)SYS(SYS_fcntl, null, F_DUPFD, 3);
	if (SYS(SYS_dup3, null, 0, 0) < 0 || SYS(SYS_dup3, out, 1, 0) < 0 || (!talk && SYS(SYS_dup3, null, 2, 0) < 0))
		return false;
	/* Before Linux 5.9, or where a filter forbids it: one by one, as far as hosts usually go. */
	if (SYS(SYS_close_range, 3, 0xffffffff) < 0)
		for (int fd = 3; fd < 4096; fd++)
			sys_close(fd);
	return true;
}

/* In the child of the supervisor. The timer outlives execve, and SIGALRM is at its default: it ends what takes too long,
 * whatever became of who asked. */
static __attribute__((noreturn)) void become_binary(const char *const *words)
{
	const int64_t timer[4] = {0, 0, SECONDS, 0};

	(void)SYS(SYS_setitimer, ITIMER_REAL, timer, NULL);
	(void)SYS(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL);
	(void)SYS(SYS_execve, binary_path(), words, identity.variables);
	leave(NOT_STARTED);
}

/* All that the supervisor does. Of the host it has the memory and one thread, whatever the others held then: so it calls
 * nothing of the host's libraries, and the two lists were made before. */
static __attribute__((noreturn)) void supervise(int out, const char *const *words)
{
	int status = -1;
	long child, got;

	reset_signals();
	if (!reset_descriptors(out))
		leave(1);
	child = SYS(SYS_clone, SIGCHLD);
	if (child == 0)
		become_binary(words);
	/* Or the reader would never see the end of the pipe, which the binary holds too. */
	sys_close(1);
	do
		got = SYS(SYS_wait4, child, &status, 0, NULL);
	while (got == -EINTR);
	leave(child > 0 && got == child && WIFEXITED(status) ? WEXITSTATUS(status) : 1);
}

/* --- the question --- */

/* Everything up to the end of the pipe; -1 if that takes too long or is too much. */
static long read_answer(int fd, char *to, size_t room)
{
	/* The kernel counts this down over all the calls (ppoll(2), "C library/kernel differences"). */
	struct timespec left = {SECONDS, 0};
	struct pollfd poll = {.fd = fd, .events = POLLIN};
	size_t have = 0;

	for (;;) {
		long got = SYS(SYS_ppoll, &poll, 1, &left, NULL, 8);

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
static char *failed(const char *what, const char *remedy)
{
	log_say(LOG_WARNING, "no plan: ", binary_path(), " ", what, ": ", remedy, NULL);
	return NULL;
}

/* The question: the process, its program, and for an object the plan, the object and the name. Whatever becomes of it, the
 * supervisor has been waited for when it returns, and the descriptors of the pipe are closed. */
char *ask(const char *image, const char *object, const char *name)
{
	static char answer[IMAGE_PATH];
	char digits[21];
	const char *words[] = {"cudashim", "plan-for", text_decimal(digits, sys_getpid()), identity.path, image, object, name, NULL};
	uint64_t all = ~(uint64_t)0, before;
	int ends[2], status = -1;
	long child = -ENOMEM, size, got, end = 0;

	if (identity_variables() && SYS(SYS_pipe2, ends, O_CLOEXEC) == 0) {
		/* No handler of the host may run in the children. */
		(void)SYS(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, 8);
		child = SYS(SYS_clone, 0);
		if (child == 0)
			supervise(ends[1], words);
		(void)SYS(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, 8);
		sys_close(ends[1]);
		size = child < 0 ? -1 : read_answer(ends[0], answer, sizeof answer);
		sys_close(ends[0]);
	}
	if (child < 0)
		return failed("cannot be started from here", "start the program with `cudashim run -- COMMAND`");
	if (size < 0)
		(void)SYS(SYS_kill, child, SIGKILL);
	do
		got = SYS(SYS_wait4, child, &status, __WALL, NULL);
	while (got == -EINTR);
	/* The supervisor ends as the binary did; no shell is between them that could use that number for something else. */
	if (got == child && WIFEXITED(status) && WEXITSTATUS(status) == NOT_STARTED)
		return failed("cannot be run", "install it there again, or make a new shim with `cudashim shim`");
	if (size < 0)
		return failed("took more than two seconds, or answered too much",
			      "run `cudashim resolve` once, so that the answer is kept, or start with `cudashim run -- COMMAND`");
	if (got != child || status != 0)
		return failed("failed", "run `cudashim resolve` to see why");
	/* Nothing at all, or one line: a NUL or a second line would be somebody else's answer. */
	while (end < size && answer[end] && answer[end] != '\n')
		end++;
	if (size && (end != size - 1 || !answer[end]))
		return failed("did not answer with a line", "run `cudashim doctor`");
	answer[end] = '\0';
	return answer;
}
