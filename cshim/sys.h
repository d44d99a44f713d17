/* System calls without a C library.
 *
 * Every call returns the kernel's own answer: a negative number is -errno. The host's errno is never touched (a thread's
 * errno belongs to its libc), and nothing here can be interposed.
 */
#ifndef CUDASHIM_SYS_H
#define CUDASHIM_SYS_H

#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__)
enum {
	NR_read = 0, NR_write = 1, NR_close = 3, NR_fstat = 5, NR_mmap = 9, NR_mprotect = 10, NR_munmap = 11,
	NR_rt_sigaction = 13, NR_rt_sigprocmask = 14, NR_pread64 = 17, NR_setitimer = 38, NR_getpid = 39, NR_clone = 56,
	NR_execve = 59, NR_wait4 = 61, NR_kill = 62, NR_fcntl = 72, NR_getcwd = 79, NR_geteuid = 107, NR_getppid = 110,
	NR_rt_sigpending = 127, NR_rt_sigtimedwait = 128, NR_prctl = 157, NR_gettid = 186, NR_futex = 202,
	NR_clock_gettime = 228, NR_exit_group = 231, NR_tgkill = 234, NR_openat = 257, NR_newfstatat = 262, NR_readlinkat = 267,
	NR_ppoll = 271, NR_dup3 = 292, NR_pipe2 = 293, NR_close_range = 436,
	O_NOFOLLOW = 0400000, ELF_MACHINE = 62,
};

/* The kernel's struct stat, not libc's. */
struct sys_stat {
	uint64_t dev, ino, nlink;
	uint32_t mode, uid, gid, pad0;
	uint64_t rdev;
	int64_t size, blksize, blocks;
	int64_t atime, atime_ns, mtime, mtime_ns, ctime, ctime_ns;
	int64_t unused[3];
};

static inline long sys6(long nr, long a, long b, long c, long d, long e, long f)
{
	long answer;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;

	__asm__ volatile("syscall"
			 : "=a"(answer)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return answer;
}
#elif defined(__aarch64__)
enum {
	NR_getcwd = 17, NR_dup3 = 24, NR_fcntl = 25, NR_openat = 56, NR_close = 57, NR_pipe2 = 59, NR_read = 63,
	NR_write = 64, NR_pread64 = 67, NR_ppoll = 73, NR_readlinkat = 78, NR_newfstatat = 79, NR_fstat = 80,
	NR_exit_group = 94, NR_futex = 98, NR_setitimer = 103, NR_clock_gettime = 113, NR_kill = 129, NR_tgkill = 131,
	NR_rt_sigaction = 134, NR_rt_sigprocmask = 135, NR_rt_sigpending = 136, NR_rt_sigtimedwait = 137, NR_prctl = 167,
	NR_getpid = 172, NR_getppid = 173, NR_geteuid = 175, NR_gettid = 178, NR_munmap = 215, NR_clone = 220,
	NR_execve = 221, NR_mmap = 222, NR_mprotect = 226, NR_wait4 = 260, NR_close_range = 436,
	O_NOFOLLOW = 0100000, ELF_MACHINE = 183,
};

struct sys_stat {
	uint64_t dev, ino;
	uint32_t mode, nlink, uid, gid;
	uint64_t rdev, pad0;
	int64_t size;
	int32_t blksize, pad1;
	int64_t blocks;
	int64_t atime, atime_ns, mtime, mtime_ns, ctime, ctime_ns;
	uint32_t unused[2];
};

static inline long sys6(long nr, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = nr;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;

	__asm__ volatile("svc #0"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
			 : "memory");
	return x0;
}
#else
#error "cudashim's preload object knows x86_64 and aarch64 only"
#endif

enum {
	O_RDONLY = 0, O_WRONLY = 01, O_RDWR = 02, O_CREAT = 0100, O_NOCTTY = 0400, O_APPEND = 02000, O_NONBLOCK = 04000,
	O_CLOEXEC = 02000000, O_PATH = 010000000,
	AT_FDCWD = -100,
	ENOENT = 2, EINTR = 4, EAGAIN = 11,
	S_IFMT = 0170000, S_IFREG = 0100000, S_ISVTX = 01000,
	F_DUPFD = 0, F_GETFD = 1,
	PROT_READ = 1, PROT_WRITE = 2, MAP_PRIVATE = 2, MAP_ANONYMOUS = 0x20, PAGE = 4096,
	POLLIN = 1, POLLOUT = 4,
};

struct sys_poll {
	int fd;
	short events, revents;
};

struct sys_time {
	int64_t sec, nsec;
};

#define SYS0(nr) sys6(nr, 0, 0, 0, 0, 0, 0)
#define SYS1(nr, a) sys6(nr, (long)(a), 0, 0, 0, 0, 0)
#define SYS2(nr, a, b) sys6(nr, (long)(a), (long)(b), 0, 0, 0, 0)
#define SYS3(nr, a, b, c) sys6(nr, (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define SYS4(nr, a, b, c, d) sys6(nr, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)
#define SYS5(nr, a, b, c, d, e) sys6(nr, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), 0)

/* Always close-on-exec, and never waits for a pipe or becomes a terminal's master. */
int sys_open(const char *path, int flags);
void sys_close(int fd);
int sys_stat(const char *path, struct sys_stat *st);
int sys_fstat(int fd, struct sys_stat *st);
long sys_read(int fd, void *to, size_t size);
long sys_pread(int fd, void *to, size_t size, uint64_t at);
/* Asked each time: a value kept in memory would be the parent's after fork. */
int sys_getpid(void);
/* Anonymous private memory, all zero, or NULL. */
void *sys_memory(size_t size);
void sys_release(void *at, size_t size);

#endif
