/* A program that does what its arguments say, one after the other, and prints what came of it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static void *last, *held;
static const char *to_open;
static pthread_barrier_t barrier;
static volatile sig_atomic_t sigchlds;

static void count_sigchld(int sig)
{
	(void)sig;
	sigchlds++;
}

/* For constructors: what was opened last is closed under their hands. */
void close_last(void)
{
	dlclose(last);
	last = NULL;
}

static int flags_of(const char *letters)
{
	int flags = strchr(letters, 'n') ? RTLD_NOW : RTLD_LAZY;

	if (strchr(letters, 'g'))
		flags |= RTLD_GLOBAL;
	if (strchr(letters, 'd'))
		flags |= RTLD_DEEPBIND;
	if (strchr(letters, 'N'))
		flags |= RTLD_NOLOAD;
	return flags;
}

static void *open_it(void *unused)
{
	(void)unused;
	pthread_barrier_wait(&barrier);
	return dlopen(to_open, RTLD_NOW);
}

static void threads(int n)
{
	pthread_t ids[64];
	int ok = 0;

	pthread_barrier_init(&barrier, NULL, (unsigned)n);
	for (int i = 0; i < n; i++)
		pthread_create(&ids[i], NULL, open_it, NULL);
	for (int i = 0; i < n; i++) {
		void *handle;

		pthread_join(ids[i], &handle);
		ok += handle != NULL;
	}
	printf("threads: %d\n", ok);
}

static void *open_own(void *number)
{
	char path[4096];

	snprintf(path, sizeof path, "%s/lib%d.so", to_open, (int)(long)number);
	pthread_barrier_wait(&barrier);
	/* While the constructors of the others run. */
	if ((long)number % 2)
		usleep(2000);
	return dlopen(path, RTLD_NOW);
}

/* Each of 64 threads opens a library of its own. */
static void crowd(void)
{
	pthread_t ids[64];
	int ok = 0;

	pthread_barrier_init(&barrier, NULL, 64);
	for (int i = 0; i < 64; i++)
		pthread_create(&ids[i], NULL, open_own, (void *)(long)i);
	for (int i = 0; i < 64; i++) {
		void *handle;

		pthread_join(ids[i], &handle);
		ok += handle != NULL;
	}
	printf("crowd: %d\n", ok);
}

static char *self;

/* A child by fork or vfork that becomes this program again, and opens the same. */
static void *start_children(void *number)
{
	char *script[] = {self, "open", (char *)to_open, "n", "call", "sum", NULL};
	long ok = 0;

	pthread_barrier_wait(&barrier);
	for (int i = 0; i < 8; i++) {
		int status = 1;
		pid_t pid = ((long)number + i) % 2 ? fork() : vfork();

		if (pid == 0) {
			execv("/proc/self/exe", script);
			_exit(9);
		}
		if (pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0)
			ok++;
	}
	return (void *)ok;
}

/* Eight threads start children while eight others open and close. */
static void storm(void)
{
	pthread_t ids[16];
	long ok = 0;
	int opened = 0;

	pthread_barrier_init(&barrier, NULL, 16);
	for (int i = 0; i < 16; i++)
		pthread_create(&ids[i], NULL, i % 2 ? start_children : open_it, (void *)(long)(i / 2));
	for (int i = 0; i < 16; i++) {
		void *answer;

		pthread_join(ids[i], &answer);
		if (i % 2)
			ok += (long)answer;
		else
			opened += answer != NULL;
	}
	printf("storm: %d opened, %ld children\n", opened, ok);
}

/* The distinct files that are mapped and have `text` in their path, in the order of their addresses. */
static void maps(const char *text)
{
	char line[4096], seen[64][512];
	int count = 0;
	FILE *f = fopen("/proc/self/maps", "r");

	while (fgets(line, sizeof line, f)) {
		char *path = strchr(line, '/');
		int i = 0;

		if (!path || !strstr(path, text))
			continue;
		path[strcspn(path, "\n")] = 0;
		while (i < count && strcmp(seen[i], path))
			i++;
		if (i == count && count < 64)
			snprintf(seen[count++], 512, "%s", path);
	}
	fclose(f);
	printf("maps %s: %d\n", text, count);
	for (int i = 0; i < count; i++)
		printf("  %s\n", seen[i]);
}

static void open_in_handler(int sig)
{
	(void)sig;
	dlopen(to_open, RTLD_NOW);
}

static int which_of(void *in)
{
	int (*f)(void) = in ? (int (*)(void))dlsym(in, "which") : NULL;

	return f ? f() : -1;
}

static void *open_now(void *unused)
{
	(void)unused;
	return dlopen(to_open, RTLD_NOW);
}

/* Forks while another thread is in the middle of its dlopen, which `file` shows; both open the same. */
static void fork_while(const char *file)
{
	pthread_t id;
	void *handle;
	pid_t pid;
	int status = 0;

	pthread_create(&id, NULL, open_now, NULL);
	while (access(file, F_OK))
		usleep(1000);
	pid = fork();
	if (pid == 0) {
		printf("which: %d\n", which_of(dlopen(to_open, RTLD_NOW)));
		exit(0);
	}
	waitpid(pid, &status, 0);
	printf("child: %d\n", WEXITSTATUS(status));
	pthread_join(id, &handle);
	printf("which: %d\n", which_of(handle));
}

static void title(char **argv)
{
	extern char **environ;
	static char *copies[4096], *words[4096];
	char *start = argv[0], *end = start;
	int n = 0;

	for (n = 0; argv[n]; n++) {
		end = argv[n] + strlen(argv[n]) + 1;
		words[n] = strdup(argv[n]);
	}
	memcpy(argv, words, n * sizeof *argv);
	for (n = 0; environ[n]; n++) {
		end = environ[n] + strlen(environ[n]) + 1;
		copies[n] = strdup(environ[n]);
	}
	environ = copies;
	memset(start, 0, end - start);
}

static const char *or_none(const char *s)
{
	return s ? s : "none";
}

int main(int argc, char **argv)
{
	int after = 0;

	self = argv[0];
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int i = 1; i < argc; i++) {
		char *what = argv[i];

		if (!strcmp(what, "open")) {
			const char *name = argv[++i];
			int flags = flags_of(argv[++i]);

			errno = 42;
			last = dlopen(name, flags);
			after = errno;
			printf("open %s: %s\n", name, last ? "ok" : "no");
		} else if (!strcmp(what, "null")) {
			errno = 42;
			last = dlopen(NULL, RTLD_NOW);
			after = errno;
			printf("null: %s\n", last ? "ok" : "no");
		} else if (!strcmp(what, "error")) {
			printf("error: %s\n", or_none(dlerror()));
		} else if (!strcmp(what, "errno")) {
			printf("errno: %d\n", after);
		} else if (!strcmp(what, "call") || !strcmp(what, "default")) {
			const char *name = argv[++i];
			void *in = *what == 'c' ? last : RTLD_DEFAULT;
			int (*f)(void) = in || *what == 'd' ? (int (*)(void))dlsym(in, name) : NULL;

			f ? printf("%s: %d\n", name, f()) : printf("%s: none\n", name);
		} else if (!strcmp(what, "maps")) {
			maps(argv[++i]);
		} else if (!strcmp(what, "threads")) {
			to_open = argv[++i];
			threads(32);
		} else if (!strcmp(what, "crowd")) {
			to_open = argv[++i];
			crowd();
		} else if (!strcmp(what, "storm")) {
			to_open = argv[++i];
			storm();
		} else if (!strcmp(what, "cut")) {
			if (truncate(argv[++i], 0))
				return 9;
		} else if (!strcmp(what, "hold")) {
			held = dlopen(argv[++i], RTLD_LAZY);
		} else if (!strcmp(what, "release")) {
			dlclose(held);
		} else if (!strcmp(what, "close")) {
			dlclose(last);
			last = NULL;
		} else if (!strcmp(what, "fork")) {
			pid_t pid = fork();
			int status;

			if (pid) {
				waitpid(pid, &status, 0);
				printf("child: %d\n", WEXITSTATUS(status));
				return 0;
			}
		} else if (!strcmp(what, "chdir")) {
			if (chdir(argv[++i]))
				return 9;
		} else if (!strcmp(what, "setenv")) {
			setenv(argv[i + 1], argv[i + 2], 1);
			i += 2;
		} else if (!strcmp(what, "sigchld")) {
			signal(SIGCHLD, count_sigchld);
		} else if (!strcmp(what, "subreaper")) {
			if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
				return 9;
		} else if (!strcmp(what, "sigchlds")) {
			int status, left = waitpid(-1, &status, 0);

			printf("sigchlds: %d, children: %s\n", (int)sigchlds, left < 0 ? "none" : "some");
		} else if (!strcmp(what, "reuse2")) {
			close(2);
			if (open(argv[++i], O_WRONLY | O_CREAT, 0600) != 2)
				return 9;
		} else if (!strcmp(what, "signal")) {
			to_open = argv[++i];
			signal(SIGUSR1, open_in_handler);
		} else if (!strcmp(what, "fork-while")) {
			to_open = argv[++i];
			fork_while(argv[++i]);
		} else if (!strcmp(what, "title")) {
			/* As setproctitle does it: the arguments and the environment of the start are written over. */
			title(argv);
		} else if (!strcmp(what, "drop")) {
			/* As a server that was started by root does; the files of its /proc are root's from then on. */
			if ((geteuid() == 0 && setresuid(65534, 65534, 65534)) || prctl(PR_SET_DUMPABLE, 0))
				return 9;
		} else if (!strcmp(what, "limit-files")) {
			struct rlimit limit = {(rlim_t)atoi(argv[++i]), RLIM_INFINITY};

			if (setrlimit(RLIMIT_FSIZE, &limit))
				return 9;
		} else if (!strcmp(what, "leak")) {
			printf("leaked: %d\n", open(argv[++i], O_WRONLY | O_CREAT, 0600));
		} else if (!strcmp(what, "fds")) {
			int count = 0;

			for (int fd = 0; fd < 256; fd++)
				count += fcntl(fd, F_GETFD) >= 0;
			printf("fds: %d\n", count);
		} else {
			return 8;
		}
	}
	return 0;
}
