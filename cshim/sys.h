/* System calls without a C library: of the machine's headers only numbers and layouts count, which are the kernel's and the
 * same for every libc of 64 bits.
 *
 * Every call returns the kernel's own answer: a negative number is -errno. The host's errno is never touched (a thread's
 * errno belongs to its libc), and nothing here can be interposed.
 */
#ifndef CUDASHIM_SYS_H
#define CUDASHIM_SYS_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

/* Headers older than Linux 5.9. */
#ifndef SYS_close_range
#define SYS_close_range 436
#endif

/* The smallest there is: how much a line of the log has, and where the kernel's errors lie among addresses. */
enum { PAGE = 4096 };

long sys_call(long a, long b, long c, long d, long e, long f, long number);

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
#define sys_release(at, size) ((void)SYS(SYS_munmap, at, size))

/* Always close-on-exec, and never waits for a pipe or becomes a terminal's master. */
int sys_open(const char *path, int flags);
/* Of the directory that a file lies in; `path`, which has a slash, is cut short meanwhile. */
int sys_stat_dir(char *path, struct stat *st);
/* Anonymous private memory, all zero, or NULL. */
void *sys_memory(size_t size);

#endif
