/* The system calls that are made in many places; sys.h says what holds for all of them. */
#include "sys.h"

int sys_open(const char *path, int flags)
{
	return (int)SYS4(NR_openat, AT_FDCWD, path, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0600);
}

/* Never repeated on EINTR: Linux has released the descriptor by then. */
void sys_close(int fd)
{
	(void)SYS1(NR_close, fd);
}

int sys_stat(const char *path, struct sys_stat *st)
{
	return (int)SYS4(NR_newfstatat, AT_FDCWD, path, st, 0);
}

int sys_fstat(int fd, struct sys_stat *st)
{
	return (int)SYS2(NR_fstat, fd, st);
}

long sys_read(int fd, void *to, size_t size)
{
	long got;

	do
		got = SYS3(NR_read, fd, to, size);
	while (got == -EINTR);
	return got;
}

long sys_pread(int fd, void *to, size_t size, uint64_t at)
{
	return SYS4(NR_pread64, fd, to, size, at);
}

int sys_getpid(void)
{
	return (int)SYS0(NR_getpid);
}

void *sys_memory(size_t size)
{
	long at = sys6(NR_mmap, 0, (long)size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return at < 0 && at > -PAGE ? NULL : (void *)at;
}

void sys_release(void *at, size_t size)
{
	(void)SYS2(NR_munmap, at, size);
}
