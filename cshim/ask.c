/* One question to the binary, in a child that the host cannot notice: no fork handlers run (raw clone), no SIGCHLD arrives,
 * nothing is left to be waited for, and no descriptor, signal handler or mask of the host reaches the binary.
 *
 * Between the two stands a supervisor, because of SIGCHLD: a child cloned without an exit signal gets SIGCHLD back as soon as
 * it calls execve (clone(2)), and a host that waits for any child would then reap ours. The supervisor never calls it.
 *
 * Called by plan.c alone, inside the gate. */
#include <sys/wait.h>

/* How long the binary has, also by its own count (src/cli/plan_for.rs); what is said where it took longer, or there is none. */
enum { SECONDS = 2, TOO_LONG = 124, NOT_STARTED = 127 };

/* What the binary may know of the environment, made by build.rs of data/variables.tsv: names with their `=`, or without where
 * more may follow. */
static const char table[] =
#include "variables.h"
	;

/* In the two children, which must not run what the host has registered for its end. */
static __attribute__((noreturn)) void leave(int status)
{
	for (;;)
		(void)SYS(SYS_exit_group, status);
}

/* In the supervisor, which comes with all of them blocked, and stays so: nothing of the host's signals. The kernel refuses to
 * touch SIGKILL and SIGSTOP. */
static void reset_signals(void)
{
	const uint64_t action[4] = {0, SA_NOCLDSTOP};

	for (int i = 1; i <= 64; i++)
		(void)SYS(SYS_rt_sigaction, i, action, NULL, 8);
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
	if (SYS(CLOSE_RANGE, 3, 0xffffffff) < 0)
		for (int fd = 3; fd < 4096; fd++)
			sys_close(fd);
	return true;
}

/* Until that child has ended, or with WNOHANG as it is now; what it exited with, or -1. */
static int wait_for(long child, int options)
{
	int status = -1;
	long got;

	do
		got = SYS(SYS_wait4, child, &status, __WALL | options, NULL);
	while (got == -EINTR);
	return got == child && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* All that the supervisor does. Of the host it has the memory and one thread, whatever the others held then: so it calls
 * nothing of the host's libraries, and the two lists were made before. It ends as the binary did; no shell is between them
 * that could use that number for something else. What takes too long it ends and waits for, whatever became of who asked: the
 * host may inherit children. Only one that the kernel does not let go is left behind. */
static __attribute__((noreturn)) void supervise(int out, const char *const *words)
{
	const uint64_t ended = 1ULL << (SIGCHLD - 1), none = 0;
	struct timespec limit = {SECONDS, 0}, tenth = {0, 100000000};
	long child = -EINVAL;
	bool late;

	reset_signals();
	if (reset_descriptors(out))
		child = SYS(SYS_clone, SIGCHLD);
	if (child == 0) {
		(void)SYS(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, 8);
		(void)SYS(SYS_execve, binary.path, words, identity.variables);
		leave(NOT_STARTED);
	}
	late = child > 0 && SYS(SYS_rt_sigtimedwait, &ended, NULL, &limit, 8) < 0;
	if (late && SYS(SYS_kill, child, SIGKILL) == 0)
		(void)SYS(SYS_rt_sigtimedwait, &ended, NULL, &tenth, 8);
	child = child > 0 ? wait_for(child, late ? WNOHANG : 0) : -1;
	leave(late ? TOO_LONG : (int)child);
}

/* What is said where there is no answer: always with what to type. */
static char *failed(const char *what, const char *remedy)
{
	log_say(LOG_WARNING, "no plan: ", binary.path, " ", what, ": ", remedy, NULL);
	return NULL;
}

/* Puts the question: the process, its program, and for an object the plan, the object and the name, which may be NULL. Its
 * answer without the line feed lasts until the next one about an object; NULL where there is none, or only the reason why (a
 * `!`, and that), which was said. Whatever becomes of it, the supervisor has been waited for, and the pipe is closed. */
static char *ask(const char *object, const char *name)
{
	static LARGE char answers[2][PATH];
	char digits[21], *answer = answers[object != NULL], *pid = text_decimal(digits, sys_getpid());
	const char *words[] = {"cudashim", "plan-for", pid, identity.path, object ? plan.path : NULL, object, name, NULL};
	char **known = identity.variables;
	uint64_t all = ~(uint64_t)0, before;
	int ends[2], code = -1;
	long child = -ENOMEM, size = 0, end = 0;

	/* Most processes never ask, so it is found out here; a second time, nothing is left to take out. */
	for (char **entry = known; *entry; entry++)
		if (text_row(table, *entry + sizeof host_prefix - 1))
			*known++ = *entry;
	*known = NULL;
	/* An answer that does not fit into the pipe is none, and nobody waits for what the binary may have left behind. */
	if (SYS(SYS_pipe2, ends, O_CLOEXEC | O_NONBLOCK) == 0) {
		/* No handler of the host may run in the children. */
		(void)SYS(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, 8);
		child = SYS(SYS_clone, 0);
		if (child == 0)
			supervise(ends[1], words);
		(void)SYS(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, 8);
		sys_close(ends[1]);
		if (child > 0)
			code = wait_for(child, 0);
		size = sys_read(ends[0], answer, PATH);
		sys_close(ends[0]);
	}
	if (child < 0)
		return failed("cannot be started from here", "start the program with `cudashim run -- COMMAND`");
	if (code == NOT_STARTED)
		return failed("cannot be run", "install it there again, or make a new shim with `cudashim shim`");
	if (code == TOO_LONG || size == PATH)
		return failed("took more than two seconds, or answered too much",
			      "run `cudashim resolve` once, so that the answer is kept, or start with `cudashim run -- COMMAND`");
	if (code != 0 || size < 0)
		return failed("failed", "run `cudashim resolve` to see why");
	/* Nothing at all, or one line: a NUL or a second line would be somebody else's answer. */
	while (end < size && answer[end] && answer[end] != '\n')
		end++;
	if (size && (end != size - 1 || !answer[end]))
		return failed("did not answer with a line", "run `cudashim doctor`");
	answer[end] = '\0';
	if (*answer != '!')
		return answer;
	log_say(LOG_WARNING, "no plan: ", answer + 1, NULL);
	return NULL;
}
