/* One at a time: whoever reads the environment or a plan, or asks the binary, is in here; the others wait for what comes of
 * it, on a futex, no longer than a question may take.
 *
 * Nothing in here calls the loader or the host, so who waits may hold any lock of theirs. Three never wait: a signal
 * handler of the thread that is in, and a constructor that it runs (both are that thread); and a child that was forked
 * off meanwhile, where that thread does not exist: it goes in itself.
 */
#include "shim.h"
#include "sys.h"

enum { FUTEX_WAIT_BITSET_PRIVATE = 9 | 128, FUTEX_WAKE_PRIVATE = 1 | 128, CLOCK_MONOTONIC = 1, SECONDS = 3 };

/* Who is in: the process in the upper half, the thread in the lower, which is the word of the futex; 0: nobody. */
static uint64_t inside;

bool gate_enter(void)
{
	uint64_t self = (uint64_t)sys_getpid() << 32 | (uint32_t)SYS0(NR_gettid), now = 0;
	struct sys_time end = {0, 0};

	while (!__atomic_compare_exchange_n(&inside, &now, self, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
		long woken;

		if (now == self)
			return false;
		/* Of the process we were forked off from: the exchange is tried again with that. */
		if (now == 0 || now >> 32 != self >> 32)
			continue;
		if (!end.sec) {
			(void)SYS2(NR_clock_gettime, CLOCK_MONOTONIC, &end);
			end.sec += SECONDS;
		}
		woken = sys6(NR_futex, (long)&inside, FUTEX_WAIT_BITSET_PRIVATE, (long)(uint32_t)now, (long)&end, 0, -1);
		if (woken < 0 && woken != -EINTR && woken != -EAGAIN)
			return false;
		now = 0;
	}
	return true;
}

void gate_leave(void)
{
	__atomic_store_n(&inside, 0, __ATOMIC_RELEASE);
	(void)SYS3(NR_futex, &inside, FUTEX_WAKE_PRIVATE, INT32_MAX);
}
