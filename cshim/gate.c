/* One at a time: whoever reads the environment or a plan, or asks the binary, is in here; the others wait for what comes of
 * it, no longer than a question may take.
 *
 * Nothing in here calls the loader or the host, so who waits may hold any lock of theirs. Three never wait: a signal
 * handler of the thread that is in, and a constructor that it runs (both are that thread); and a child that was forked
 * off meanwhile, where that thread does not exist: it goes in itself. */

/* The number of the thread that is in; 0: nobody. A number and not a flag: it tells who is in, also to a child by fork, in
 * whose memory it still stands. */
static _Atomic uint32_t inside;

/* False: who is in is this very thread, or has been for more than three seconds. Whoever gets in leaves again before he calls
 * anything of the loader or the host. */
static bool gate_enter(void)
{
	struct timespec millisecond = {0, 1000000}, time = {0, 0};
	uint32_t self = (uint32_t)SYS(SYS_gettid), now = 0;
	int64_t end = 0;

	while (!__atomic_compare_exchange_n(&inside, &now, self, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
		(void)SYS(SYS_clock_gettime, CLOCK_MONOTONIC, &time);
		end = end ? end : time.tv_sec + 4;
		if (now == self || time.tv_sec >= end)
			return false;
		/* Else one that is no thread of ours, of the process that we were forked off from: tried again with that. */
		if (now != 0 && SYS(SYS_tgkill, sys_getpid(), now, 0) == 0) {
			(void)SYS(SYS_nanosleep, &millisecond, NULL);
			now = 0;
		}
	}
	return true;
}

#define gate_leave() ((void)(inside = 0))
