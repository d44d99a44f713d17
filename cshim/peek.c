/* The needed names of an ELF file that is not mapped, for the dlopen door: an auditor is asked for each of them.
 *
 * Reads with pread, never through a map: a file that is cut short while we look at it must not end the host by SIGBUS. The
 * numbers in the file are used as offsets of bounded reads only. Works in memory of its own, not on the host's stack.
 */
#include "shim.h"
#include "sys.h"
#include "text.h"

enum { SEGMENTS = 64, DYNS_AT_ONCE = 64, DYNS = 2048, NEEDED = 192, NAME = 255 };

struct peek {
	int fd;
	unsigned segment_count, needed_count;
	uint64_t strtab, strsz, needed[NEEDED];
	struct elf_header header;
	/* Right behind the header, where linkers put them: then one read brings both. */
	struct elf_segment segments[SEGMENTS];
	struct elf_dyn dyns[DYNS_AT_ONCE];
	/* What is left in the end; each name with its NUL, then one more. */
	struct needed found;
	char names[NEEDED * (NAME + 1) + 1];
};

/* One for whoever comes first, so that most files cost no mapping; who comes meanwhile gets one of his own. */
static struct peek first;
static unsigned char first_is_taken;

static struct peek *take(void)
{
	if (__atomic_exchange_n(&first_is_taken, 1, __ATOMIC_ACQ_REL))
		return sys_memory(sizeof(struct peek));
	first.needed_count = 0;
	first.strtab = 0;
	first.names[0] = '\0';
	return &first;
}

static void give_back(struct peek *peek)
{
	if (peek == &first)
		__atomic_store_n(&first_is_taken, 0, __ATOMIC_RELEASE);
	else if (peek)
		sys_release(peek, sizeof *peek);
}

/* Exactly `size` bytes at `at`, or false. */
static bool read_at(int fd, void *to, size_t size, uint64_t at)
{
	return at <= INT64_MAX - size && sys_pread(fd, to, size, at) == (long)size;
}

static bool read_segments(struct peek *peek)
{
	const struct elf_header *header = &peek->header;
	long got = sys_pread(peek->fd, &peek->header, sizeof *header + 16 * sizeof(struct elf_segment), 0);
	size_t size;

	if (got < (long)sizeof *header || memcmp(header->ident, "\177ELF\2\1\1", 7) != 0)
		return false;
	if (header->version != 1 || header->machine != ELF_MACHINE || header->type != ET_DYN ||
	    header->phentsize != sizeof(struct elf_segment) || header->phnum == 0 || header->phnum > SEGMENTS)
		return false;
	peek->segment_count = header->phnum;
	size = header->phnum * sizeof(struct elf_segment);
	if (header->phoff == sizeof *header && sizeof *header + size <= (size_t)got)
		return true;
	return read_at(peek->fd, peek->segments, size, header->phoff);
}

/* From an address to an offset in the file. The loader maps segments in order, each over what is there already. */
static bool offset_of(const struct peek *peek, uint64_t address, uint64_t *offset)
{
	for (unsigned i = peek->segment_count; i--;) {
		const struct elf_segment *s = &peek->segments[i];

		if (s->type == PT_LOAD && address >= s->vaddr && address - s->vaddr < s->filesz)
			return !__builtin_add_overflow(address - s->vaddr, s->offset, offset);
	}
	return false;
}

static void note(struct peek *peek, const struct elf_dyn *dyn)
{
	if (dyn->tag == DT_STRTAB)
		peek->strtab = dyn->val;
	else if (dyn->tag == DT_STRSZ)
		peek->strsz = dyn->val;
	else if (dyn->tag == DT_NEEDED && peek->needed_count < NEEDED)
		peek->needed[peek->needed_count++] = dyn->val;
}

/* Collects the string offsets of the needed names, and where the strings are. The table is looked for where the loader
 * does, by the address of the last PT_DYNAMIC. */
static bool read_dynamic(struct peek *peek)
{
	const struct elf_segment *dynamic = NULL;
	uint64_t left, at;

	for (unsigned i = 0; i < peek->segment_count; i++)
		if (peek->segments[i].type == PT_DYNAMIC)
			dynamic = &peek->segments[i];
	if (!dynamic || !offset_of(peek, dynamic->vaddr, &at))
		return false;
	left = dynamic->filesz / sizeof(struct elf_dyn);
	if (left > DYNS)
		left = DYNS;
	while (left) {
		uint64_t count = left < DYNS_AT_ONCE ? left : DYNS_AT_ONCE;
		long got = at > INT64_MAX ? -1 : sys_pread(peek->fd, peek->dyns, count * sizeof *peek->dyns, at);

		/* What the file lacks may lie behind DT_NULL. */
		if (got < (long)sizeof *peek->dyns)
			return false;
		count = (uint64_t)got / sizeof *peek->dyns;
		for (uint64_t i = 0; i < count; i++) {
			if (peek->dyns[i].tag == DT_NULL)
				return true;
			note(peek, &peek->dyns[i]);
		}
		left -= count;
		at += count * sizeof *peek->dyns;
	}
	return true;
}

/* One read for each name. What is too long for a name, or is cut off, is none. */
static void read_names(struct peek *peek, uint64_t strings)
{
	char *to = peek->names;

	for (unsigned i = 0; i < peek->needed_count; i++) {
		uint64_t at;
		long got;

		if (peek->needed[i] >= peek->strsz || __builtin_add_overflow(strings, peek->needed[i], &at) || at > INT64_MAX)
			continue;
		got = sys_pread(peek->fd, to, NAME + 1, at);
		for (long n = 0; n < got; n++)
			if (!to[n]) {
				to += n ? n + 1 : 0;
				break;
			}
	}
	*to = '\0';
}

struct needed *peek_needed(const char *path)
{
	struct peek *peek;
	struct sys_stat st;
	uint64_t strings;
	int fd;

	/* To open a device or a pipe can have effects; the loader would, we need not. */
	if (sys_stat(path, &st) < 0 || (st.mode & S_IFMT) != S_IFREG)
		return NULL;
	peek = take();
	fd = peek ? sys_open(path, O_RDONLY) : -1;
	if (fd >= 0) {
		peek->fd = fd;
		/* The loader does without it. */
		peek->strsz = UINT64_MAX;
		if (read_segments(peek) && read_dynamic(peek) && offset_of(peek, peek->strtab, &strings))
			read_names(peek, strings);
		sys_close(fd);
	}
	if (peek && peek->names[0])
		return &peek->found;
	give_back(peek);
	return NULL;
}

void peek_release(struct needed *needed)
{
	give_back((struct peek *)(void *)((char *)needed - offsetof(struct peek, found)));
}
