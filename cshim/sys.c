/* System calls without a C library: of the machine's headers only numbers and layouts count, which are the kernel's and the
 * same for every libc of 64 bits.
 *
 * Every call returns the kernel's own answer: a negative number is -errno. The host's errno is never touched (a thread's
 * errno belongs to its libc), and nothing here can be interposed. Called from everywhere. */
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#define EXPORT __attribute__((visibility("default")))
/* Of what most processes never touch: the rest lies together, since each page costs them a fault. */
#define LARGE __attribute__((section(".bss.large")))

/* The smallest page there is; the most bytes of a path, with its NUL; a call that headers before Linux 5.9 lack. */
enum { PAGE = 4096, PATH = 4096, CLOSE_RANGE = 436 };

long sys_call(long a, long b, long c, long d, long e, long f, long number);

__asm__(".text\n"
	".globl sys_call\n"
	".hidden sys_call\n"
	"sys_call: .cfi_startproc\n"
#if defined(__x86_64__)
	/* The kernel wants the fourth argument elsewhere than a function does. */
	"	movq 8(%rsp), %rax\n"
	"	movq %rcx, %r10\n"
	"	syscall\n"
#elif defined(__aarch64__)
	"	mov x8, x6\n"
	"	svc #0\n"
#endif
	"	ret\n"
	"	.cfi_endproc");

/* SYS(number, argument…): those that are not given are 0. */
#define SYS(...) SYS_FILLED(__VA_ARGS__, 0, 0, 0, 0, 0, 0, 0)
#define SYS_FILLED(number, a, b, c, d, e, f, ...) \
	sys_call((long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f), number)

/* Never repeated on EINTR: Linux has released the descriptor by then. */
#define sys_close(fd) ((void)SYS(SYS_close, fd))
#define sys_stat(path, st) ((int)SYS(SYS_newfstatat, AT_FDCWD, path, st, 0))
#define sys_fstat(fd, st) ((int)SYS(SYS_fstat, fd, st))
#define sys_read(fd, to, size) SYS(SYS_read, fd, to, size)
#define sys_pread(fd, to, size, at) SYS(SYS_pread64, fd, to, size, at)
/* Asked each time: a value kept in memory would be the parent's after fork. */
#define sys_getpid() ((uint64_t)SYS(SYS_getpid))
/* NULL is no memory of ours, but the host may have something there. */
#define sys_release(at, size) ((void)((at) && SYS(SYS_munmap, at, size)))

/* Always close-on-exec, and never waits for a pipe or becomes a terminal's master. The mode counts where a log is made: its
 * owner's alone. */
static int sys_open(const char *path, int flags)
{
	return (int)SYS(SYS_openat, AT_FDCWD, path, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0600);
}

/* Anonymous private memory, all zero, or NULL. Never from the host's allocator, which may be what is being loaded. The
 * kernel's errors lie in the last page of addresses. */
static void *sys_memory(size_t size)
{
	long at = SYS(SYS_mmap, 0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	return at < 0 && at > -PAGE ? NULL : (void *)at;
}

/* Of the directory that a file lies in. Called by one thread at a time, with a path of our own, which has a slash: it is cut
 * short meanwhile. */
static int sys_stat_dir(char *path, struct stat *st)
{
	char *base = (char *)text_base(path), first = *base;
	int answer;

	*base = '\0';
	answer = sys_stat(path, st);
	*base = first;
	return answer;
}
