/* What is said, and where. Called from everywhere; touches neither stdio nor a descriptor of the host's but 2, and never
 * waits for a reader.
 *
 * A line is put together in a page of our own and written at once: lines of many processes do not mix, and the host's
 * buffers keep their order. Where it cannot be written, it is lost; nothing is tried twice. */

/* Warnings are said unless CUDASHIM_LOG=off, decisions only where it asks for them: the last level that is said. */
enum log_level { LOG_NOTHING = -1, LOG_WARNING, LOG_DECISION };

static enum log_level log_limit;
/* What descriptor 2 was at the start, all zero where it was none: a host may close it and get the number again for a file of
 * its own, and a warning must not end up in that. */
static struct stat log_stderr;
static LARGE char log_file[PATH]; /* that of CUDASHIM_LOG; empty where lines go to stderr */

/* Called once, while the environment is read; `value` may be NULL. One that means nothing is as none: to say so would be a
 * line in every process. */
static void log_setup(const char *value)
{
	(void)sys_fstat(2, &log_stderr);
	if (value && text_same(value, "off"))
		log_limit = LOG_NOTHING;
	else if (value && (text_same(value, "1") || text_same(value, "stderr") || text_same(value, "/dev/stderr") ||
			   (*value == '/' && text_copy(log_file, sizeof log_file, value))))
		log_limit = LOG_DECISION;
}

/* A file at the limit of its size is SIGXFSZ, a pipe whose reader has just gone SIGPIPE, both sent to the thread that
 * writes (setrlimit(2), write(2)): a line of ours must not end the host. One that was pending before stays so. */
static void write_quietly(int fd, const char *line, size_t size)
{
	const uint64_t quiet = 1ULL << (SIGPIPE - 1) | 1ULL << (SIGXFSZ - 1);
	uint64_t before = 0, pending = 0, ours;
	struct timespec now = {0, 0};

	(void)SYS(SYS_rt_sigprocmask, SIG_BLOCK, &quiet, &before, 8);
	(void)SYS(SYS_rt_sigpending, &pending, 8);
	ours = quiet & ~pending;
	if (SYS(SYS_write, fd, line, size) < 0 && ours)
		(void)SYS(SYS_rt_sigtimedwait, &ours, NULL, &now, 8);
	(void)SYS(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, 8);
}

/* Appends to a file of that path, made if it is not there; false if it cannot be opened. Opened for each line: a descriptor
 * kept open is one that hosts close, reuse, or count. */
static bool log_append(const char *path, const char *line, size_t size)
{
	int fd = sys_open(path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW);

	if (fd < 0)
		return false;
	write_quietly(fd, line, size);
	sys_close(fd);
	return true;
}

/* Never waits, and never writes to what descriptor 2 was not at the start: a line is lost rather than a host harmed. */
static void to_stderr(const char *line, size_t size)
{
	struct stat st;
	/* A pipe that is full would make us wait, one that nobody reads would end the host by SIGPIPE. */
	struct pollfd poll = {.fd = 2, .events = POLLOUT};
	struct timespec now = {0, 0};

	if (sys_fstat(2, &st) == 0 && st.st_dev == log_stderr.st_dev && st.st_ino == log_stderr.st_ino &&
	    SYS(SYS_ppoll, &poll, 1, &now, NULL, 8) == 1 && poll.revents == POLLOUT)
		write_quietly(2, line, size);
}

/* Appends as much as there is room for, the line feed apart. A name comes from files and callers: no control byte may reach a
 * terminal, neither C0 nor C1, the latter neither raw nor in UTF-8. */
static char *add(char *at, const char *end, const char *s)
{
	for (unsigned char c, before = 0; (c = (unsigned char)*s++) && at < end; before = c)
		*at++ = c < 0x20 || c == 0x7f || (c >= 0x80 && c < 0xa0 && (before < 0x80 || before == 0xc2)) ? '?' : (char)c;
	return at;
}

/* One line of the strings up to NULL. The process is named first: many may write to one file. What does not fit into a page is
 * left out; what cannot be put into the file is no secret, but of decisions there would be too many. */
static __attribute__((sentinel)) void log_say(enum log_level level, ...)
{
	static const char lost[] = "cudashim: the file of CUDASHIM_LOG cannot be opened (or is a symbolic link)\n";
	static _Atomic bool said;
	/* Of the host's stack little may be left. */
	char digits[21], *line = level > log_limit ? NULL : sys_memory(PAGE), *end, *at;
	va_list parts;
	bool kept;

	if (!line)
		return;
	end = line + PAGE - 1;
	at = add(add(add(line, end, "cudashim["), end, text_decimal(digits, sys_getpid())), end, "]: ");
	va_start(parts, level);
	for (const char *part; (part = va_arg(parts, const char *));)
		at = add(at, end, part);
	va_end(parts);
	*at++ = '\n';
	kept = *log_file && log_append(log_file, line, (size_t)(at - line));
	if (!kept && (!*log_file || level == LOG_WARNING))
		to_stderr(line, (size_t)(at - line));
	if (!kept && *log_file && !__atomic_exchange_n(&said, true, __ATOMIC_RELAXED))
		to_stderr(lost, sizeof lost - 1);
	sys_release(line, PAGE);
}
