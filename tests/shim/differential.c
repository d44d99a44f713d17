/* Random sequences of what dlfcn.h and link.h have, told in words that are the same wherever things lie in memory.
 *
 *	driver hash|text SHIFT SEED FIRST COUNT NAMES
 *
 * A sequence is made from SEED and its number alone. It runs in a child of its own and writes to a file what it sees;
 * constructors and destructors of the libraries write there too, in their turn. `hash` prints a line for each sequence,
 * `text` all that was seen. NAMES is a file with a name to open on each line; SHIFT is how many namespaces there are
 * before the first that dlmopen makes.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SEEN = 9, MOST = 512, OPEN = 24 };

static char *names[MOST];
static int name_count, shift, newest;
static uint64_t state;

static uint64_t next(void)
{
	/* splitmix64 */
	uint64_t z = state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static unsigned below(unsigned count)
{
	return (unsigned)(next() % count);
}

static __attribute__((format(printf, 1, 2))) void say(const char *format, ...)
{
	char line[4096];
	va_list list;
	int size;

	va_start(list, format);
	size = vsnprintf(line, sizeof line, format, list);
	va_end(list);
	if (write(SEEN, line, (size_t)size < sizeof line ? (size_t)size : sizeof line - 1) < 0)
		_exit(9);
}

static bool is_shim(const char *name)
{
	return name && strstr(name, "libcudashim");
}

/* Where an address is. */
static void say_place(const char *what, const void *address)
{
	Dl_info info = {0};

	if (!address)
		say("%s null\n", what);
	else if (!dladdr(address, &info))
		say("%s nowhere\n", what);
	else
		say("%s %s %s %d\n", what, info.dli_fname, info.dli_sname ? info.dli_sname : "-", info.dli_saddr == address);
}

struct open {
	void *handle;
	Lmid_t space;
} opened[OPEN];
static int open_count;

/* A handle by its name and the first place where it is held; what the heap has used again is told apart by that. */
static const char *told(const void *handle)
{
	static char text[4096];
	int at = 0;

	if (!handle)
		return "none";
	if (handle == RTLD_NEXT)
		return "next";
	while (at < open_count && opened[at].handle != handle)
		at++;
	snprintf(text, sizeof text, "`%s`%d", ((const struct link_map *)handle)->l_name, at < open_count ? at : -1);
	return text;
}

static const char *const symbols[] = { "which", "sum", "nothing_has_it", "only_default", "versioned", "data" };
static const char *const versions[] = { "V1", "V2", "V9", "GLIBC_2.2.5" };

static int flags(void)
{
	static const int modes[] = { RTLD_LAZY, RTLD_NOW, RTLD_LAZY, RTLD_NOW, RTLD_LAZY | RTLD_NOW, 0 };
	int all = modes[below(16) < 15 ? below(4) : below(6)];

	all |= below(4) ? 0 : RTLD_GLOBAL;
	all |= below(5) ? 0 : RTLD_NOLOAD;
	all |= below(8) ? 0 : RTLD_DEEPBIND;
	all |= below(12) ? 0 : RTLD_NODELETE;
	all |= below(40) ? 0 : 0x4000000;
	return all;
}

static const char *name(void)
{
	return below(30) ? names[below((unsigned)name_count)] : below(2) ? NULL : "";
}

static void keep(void *handle, Lmid_t space)
{
	if (handle && open_count < OPEN)
		opened[open_count++] = (struct open){ handle, space };
}

static struct open *some(void)
{
	return open_count ? &opened[below((unsigned)open_count)] : NULL;
}

static void *handle(void)
{
	struct open *one = some();

	return one && below(8) ? one->handle : below(2) ? RTLD_DEFAULT : RTLD_NEXT;
}

static void open_one(void)
{
	const char *what = name();
	int how = flags();
	struct open *via = below(5) ? NULL : some();
	void *(*from)(const char *, int) = via ? (void *(*)(const char *, int))dlsym(via->handle, "open_from") : NULL;
	void *result;

	errno = 77;
	result = from ? from(what, how) : dlopen(what, how);
	say("dlopen%s(%s, %x) = %s errno %d\n", from ? " there" : "", what ? what : "NULL", (unsigned)how, told(result), errno);
	keep(result, via ? via->space : LM_ID_BASE);
}

static void open_space(void)
{
	struct open *one = some();
	Lmid_t space = below(2) ? LM_ID_BASE : LM_ID_NEWLM;
	const char *what = name();
	int how = flags();
	void *result;

	if (space == LM_ID_NEWLM && (newest == 3 || (how & RTLD_NOLOAD)))
		space = LM_ID_BASE;
	if (one && !below(2))
		space = one->space;
	if (!below(30))
		space = 14;
	errno = 77;
	result = dlmopen(space, what, how);
	say("dlmopen(%ld, %s, %x) = %s errno %d\n", space > 0 && space < 14 ? (long)space - shift : (long)space,
	    what ? what : "NULL", (unsigned)how, told(result), errno);
	if (result && space == LM_ID_NEWLM) {
		newest++;
		dlinfo(result, RTLD_DI_LMID, &space);
	}
	keep(result, space);
}

static void close_one(void)
{
	int which, result;
	void *it;

	if (!open_count)
		return;
	which = (int)below((unsigned)open_count);
	it = opened[which].handle;
	say("closing %s\n", told(it));
	opened[which] = opened[--open_count];
	errno = 77;
	result = dlclose(it);
	say("dlclose = %d errno %d\n", result, errno);
}

static void look_up(void)
{
	void *in = handle(), *found;
	const char *what = symbols[below(sizeof symbols / sizeof *symbols)];
	const char *version = below(3) ? NULL : versions[below(sizeof versions / sizeof *versions)];

	errno = 77;
	found = version ? dlvsym(in, what, version) : dlsym(in, what);
	say("dlsym(%s, %s, %s) errno %d\n", told(in), what,
	    version ? version : "-", errno);
	say_place("  is", found);
	if (found && !strcmp(what, "which"))
		say("  gives %d\n", ((int (*)(void))found)());
}

static void say_error(void)
{
	const char *error = dlerror();

	say("dlerror: %s\n", error ? error : "none");
}

static void say_map(const struct link_map *map)
{
	while (map->l_prev)
		map = map->l_prev;
	for (; map; map = map->l_next)
		if (!is_shim(map->l_name))
			say("  %s\n", told(map));
}

static void ask(void)
{
	static const int requests[] = { RTLD_DI_LMID, RTLD_DI_LINKMAP, RTLD_DI_ORIGIN, RTLD_DI_SERINFO,
					RTLD_DI_TLS_MODID, RTLD_DI_TLS_DATA, 99 };
	int request = requests[below(sizeof requests / sizeof *requests)];
	struct open *one = some();
	union {
		Lmid_t space;
		struct link_map *map;
		char text[8192];
		Dl_serinfo search;
		size_t number;
		void *data;
	} to;
	int result;

	if (!one)
		return;
	memset(&to, 0, sizeof to);
	/* The program has no origin, and glibc looks at it all the same. */
	if (request == RTLD_DI_ORIGIN && !*((const struct link_map *)one->handle)->l_name)
		return;
	if (request == RTLD_DI_SERINFO && dlinfo(one->handle, RTLD_DI_SERINFOSIZE, &to.search) == 0 &&
	    to.search.dls_size > sizeof to)
		return;
	errno = 77;
	result = dlinfo(one->handle, request, &to);
	say("dlinfo(%s, %d) = %d errno %d\n", told(one->handle), request, result, errno);
	if (result)
		return;
	if (request == RTLD_DI_LMID)
		say("  %ld\n", to.space > 0 ? (long)to.space - shift : (long)to.space);
	else if (request == RTLD_DI_LINKMAP)
		say_map(to.map);
	else if (request == RTLD_DI_ORIGIN)
		say("  %s\n", to.text);
	else if (request == RTLD_DI_TLS_MODID)
		say("  %d\n", to.number != 0);
	else if (request == RTLD_DI_SERINFO)
		for (unsigned i = 0; i < to.search.dls_cnt; i++)
			say("  %s %x\n", to.search.dls_serpath[i].dls_name, to.search.dls_serpath[i].dls_flags);
}

static unsigned long long adds, subs;

static int each(struct dl_phdr_info *info, size_t size, void *with)
{
	int *count = with;

	(void)size;
	if (is_shim(info->dlpi_name))
		return 0;
	/* The numbers of modules with thread-local storage count the shim, too. */
	say("  %s %u %d\n", info->dlpi_name, info->dlpi_phnum, info->dlpi_tls_modid != 0);
	if (!(*count)++)
		say("  adds %llu subs %llu\n", info->dlpi_adds - adds, info->dlpi_subs - subs);
	return !below(20) ? 5 : 0;
}

static int remember(struct dl_phdr_info *info, size_t size, void *with)
{
	(void)size, (void)with;
	adds = info->dlpi_adds;
	subs = info->dlpi_subs;
	return 1;
}

static void iterate(void)
{
	int count = 0, result;

	say("dl_iterate_phdr\n");
	result = dl_iterate_phdr(each, &count);
	say("  = %d\n", result);
}

static void sequence(void)
{
	int length = 8 + (int)below(25);

	dl_iterate_phdr(remember, NULL);
	while (length--) {
		unsigned what = below(40);

		if (what < 16)
			open_one();
		else if (what < 18)
			open_space();
		else if (what < 23)
			close_one();
		else if (what < 29)
			look_up();
		else if (what < 33)
			say_error();
		else if (what < 36)
			ask();
		else if (what < 37)
			say_place("dladdr", below(2) ? (void *)(uintptr_t)below(1 << 20) : (void *)sequence);
		else
			iterate();
	}
	while (open_count && below(6))
		close_one();
	say("exit\n");
	exit(0);
}

static void read_names(const char *path)
{
	static char line[4096];
	FILE *file = fopen(path, "r");

	while (file && name_count < MOST && fgets(line, sizeof line, file)) {
		line[strcspn(line, "\n")] = 0;
		names[name_count++] = strdup(line);
	}
	if (!name_count)
		exit(2);
	fclose(file);
}

int main(int argc, char **argv)
{
	static char seen[1 << 20];
	unsigned long seed, first, count;
	int file;

	if (argc != 7)
		return 2;
	shift = atoi(argv[2]);
	seed = strtoul(argv[3], NULL, 10);
	first = strtoul(argv[4], NULL, 10);
	count = strtoul(argv[5], NULL, 10);
	read_names(argv[6]);
	file = memfd_create("seen", 0);
	if (file < 0 || dup2(file, SEEN) < 0)
		return 2;
	if (file != SEEN)
		close(file);
	for (unsigned long i = first; i < first + count; i++) {
		uint64_t hash = 0xcbf29ce484222325;
		int status = -1;
		long size;
		pid_t child;

		if (ftruncate(SEEN, 0) || lseek(SEEN, 0, SEEK_SET))
			return 2;
		fflush(stdout);
		child = fork();
		if (!child) {
			alarm(60);
			state = seed * 0x100000001b3 + i;
			sequence();
		}
		waitpid(child, &status, 0);
		size = pread(SEEN, seen, sizeof seen, 0);
		for (long at = 0; at < size; at++)
			hash = (hash ^ (unsigned char)seen[at]) * 0x100000001b3;
		if (!strcmp(argv[1], "text"))
			fwrite(seen, 1, (size_t)size, stdout);
		printf("%lu %016llx %d\n", i, (unsigned long long)hash, status);
	}
	return 0;
}
