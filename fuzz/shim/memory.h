/* The system that the readers of cshim see under test: one file, of bytes in memory. Included before them in place of
 * cshim/sys.c. Memory comes from malloc, so that a sanitizer knows where each piece ends. */
#ifndef CUDASHIM_SYS_H
#define CUDASHIM_SYS_H

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#if defined(__aarch64__)
#define ELF_MACHINE EM_AARCH64
#else
#define ELF_MACHINE EM_X86_64
#endif

/* Nothing here is told apart by its page. */
#define LARGE

enum { PATH = 4096 };

/* A read gives fewer bytes than it was asked for. */
enum { READ_AT_MOST = 1000 };

/* SYS_geteuid is answered by 0, as the file's owner is; SYS_mprotect is not looked at. */
#define SYS(...) 0

struct memory_file {
	const unsigned char *bytes;
	size_t size, at;
};

extern struct memory_file memory_file;

static inline int sys_open(const char *path, int flags)
{
	(void)path, (void)flags;
	memory_file.at = 0;
	return 3;
}

static inline void sys_close(int fd)
{
	(void)fd;
}

static inline int sys_fstat(int fd, struct stat *st)
{
	(void)fd;
	st->st_mode = S_IFREG | 0600;
	st->st_uid = 0;
	st->st_size = (off_t)memory_file.size;
	return 0;
}

static inline int sys_stat(const char *path, struct stat *st)
{
	(void)path;
	return sys_fstat(3, st);
}

static inline int sys_stat_dir(char *path, struct stat *st)
{
	return sys_stat(path, st);
}

static inline long sys_pread(int fd, void *to, size_t size, uint64_t at)
{
	char *t = to;
	size_t got = 0;

	(void)fd;
	for (; got < size && at < memory_file.size; got++)
		t[got] = (char)memory_file.bytes[at++];
	return (long)got;
}

static inline long sys_read(int fd, void *to, size_t size)
{
	long got = sys_pread(fd, to, size < READ_AT_MOST ? size : READ_AT_MOST, memory_file.at);

	memory_file.at += (size_t)got;
	return got;
}

static inline void *sys_memory(size_t size)
{
	return calloc(1, size);
}

static inline void sys_release(const void *at, size_t size)
{
	(void)size;
	free((void *)at);
}

#endif
