/* One at a time: whoever reads the environment or a plan, or asks the binary, is in here; the others wait for what comes of
 * it, on a futex, no longer than a question may take.
 *
 * Nothing in here calls the loader or the host, so who waits may hold any lock of theirs. Three never wait: a signal
 * handler of the thread that is in, and a constructor that it runs (both are that thread); and a child that was forked
 * off meanwhile, where that thread does not exist: it goes in itself.
 */
#include "shim.h"

enum { FUTEX_WAIT_BITSET_PRIVATE = 9 | 128, FUTEX_WAKE_PRIVATE = 1 | 128, SECONDS = 3 };

/* The number of the thread that is in; 0: nobody. How many wait for it. */
static uint32_t inside, waiting;

/* False where it took too long. */
static bool wait_for(uint32_t thread, struct timespec *end)
{
	long woken;

	if (!end->tv_sec) {
		(void)SYS(SYS_clock_gettime, CLOCK_MONOTONIC, end);
		end->tv_sec += SECONDS;
	}
	__atomic_add_fetch(&waiting, 1, __ATOMIC_SEQ_CST);
	woken = SYS(SYS_futex, &inside, FUTEX_WAIT_BITSET_PRIVATE, thread, end, 0, -1);
	__atomic_sub_fetch(&waiting, 1, __ATOMIC_SEQ_CST);
	return woken >= 0 || woken == -EINTR || woken == -EAGAIN;
}

/* The number of a thread and not a flag: it tells who is in, also to a child by fork, in whose memory it still stands. */
bool gate_enter(void)
{
	uint32_t self = (uint32_t)SYS(SYS_gettid), now = 0;
	struct timespec end = {0, 0};

	while (!__atomic_compare_exchange_n(&inside, &now, self, false, __ATOMIC_SEQ_CST, __ATOMIC_ACQUIRE)) {
		if (now == self)
			return false;
		/* One that is no thread of ours, of the process that we were forked off from: tried again with that. */
		if (now == 0 || SYS(SYS_tgkill, sys_getpid(), now, 0) < 0)
			continue;
		if (!wait_for(now, &end))
			return false;
		now = 0;
	}
	return true;
}

/* Who waits has said so before it went to sleep, and looks once more at `inside` then: none is missed. */
void gate_leave(void)
{
	__atomic_store_n(&inside, 0, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&waiting, __ATOMIC_SEQ_CST))
		(void)SYS(SYS_futex, &inside, FUTEX_WAKE_PRIVATE, INT32_MAX);
}
