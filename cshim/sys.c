/* The system calls that take more than a line; sys.h says what holds for all of them. */
#include "sys.h"

#include "text.h"

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

/* The mode counts where a log is made: its owner's alone. */
int sys_open(const char *path, int flags)
{
	return (int)SYS(SYS_openat, AT_FDCWD, path, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0600);
}

/* Called by one thread at a time, with a path of our own. */
int sys_stat_dir(char *path, struct stat *st)
{
	char *base = (char *)text_base(path), first = *base;
	int answer;

	*base = '\0';
	answer = sys_stat(path, st);
	*base = first;
	return answer;
}

/* Never from the host's allocator, which may be what is being loaded. The kernel's errors are the last page of addresses. */
void *sys_memory(size_t size)
{
	long at = SYS(SYS_mmap, 0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	return at < 0 && at > -PAGE ? NULL : (void *)at;
}
