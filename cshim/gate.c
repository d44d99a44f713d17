/* One at a time: whoever reads the environment or a plan, or asks the binary, is in here; the others wait for what comes of
 * it, on a futex, no longer than a question may take.
 *
 * Nothing in here calls the loader or the host, so who waits may hold any lock of theirs. Three never wait: a signal
 * handler of the thread that is in, and a constructor that it runs (both are that thread); and a child that was forked
 * off meanwhile, where that thread does not exist: it goes in itself.
 */

enum { FUTEX_WAIT_BITSET_PRIVATE = 9 | 128, FUTEX_WAKE_PRIVATE = 1 | 128, WAIT = 3 };

/* The number of the thread that is in; 0: nobody. How many wait for it. */
static _Atomic uint32_t inside, waiting;

/* False: who is in is this very thread, or it took too long. Whoever gets in leaves it again before he calls anything of the
 * loader or the host. The number of a thread and not a flag: it tells who is in, also to a child by fork, in whose memory it
 * still stands. */
static bool gate_enter(void)
{
	uint32_t self = (uint32_t)SYS(SYS_gettid), now = 0;
	struct timespec end = {0, 0};
	long woken;

	while (!__atomic_compare_exchange_n(&inside, &now, self, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
		if (now == self)
			return false;
		/* One that is no thread of ours, of the process that we were forked off from: tried again with that. */
		if (now == 0 || SYS(SYS_tgkill, sys_getpid(), now, 0) < 0)
			continue;
		if (!end.tv_sec) {
			(void)SYS(SYS_clock_gettime, CLOCK_MONOTONIC, &end);
			end.tv_sec += WAIT;
		}
		/* The kernel looks whether `now` is still in before it lets us sleep. */
		waiting++;
		woken = SYS(SYS_futex, &inside, FUTEX_WAIT_BITSET_PRIVATE, now, &end, 0, -1);
		waiting--;
		if (woken < 0 && woken != -EINTR && woken != -EAGAIN)
			return false;
		now = 0;
	}
	return true;
}

/* Who waits has said so before it went to sleep, and looks once more at `inside` then: none is missed. */
static void gate_leave(void)
{
	inside = 0;
	if (waiting)
		(void)SYS(SYS_futex, &inside, FUTEX_WAKE_PRIVATE, INT32_MAX);
}
