/* Reads with pread, never through a map: a file that is cut short while we look at it must not end the host by
 * SIGBUS. Three or four small reads; the numbers in the file are used as offsets of bounded reads only. */
#include "peek.h"

#include "elf64.h"
#include "sys.h"
#include "text.h"

enum {
	SEGMENTS = 64,
	DYNS_AT_ONCE = 64,
	DYNS = 2048,
	NEEDED = 192,
	WINDOW = 1024,
	NAME = 255,
};

struct peek {
	int fd;
	struct elf_segment segments[SEGMENTS];
	unsigned segment_count;
	uint64_t strtab, strsz;
	uint64_t needed[NEEDED];
	unsigned needed_count;
};

/* Exactly `size` bytes at `at`, or false. */
static bool read_at(int fd, void *to, size_t size, uint64_t at)
{
	return at <= INT64_MAX - size && sys_pread(fd, to, size, at) == (long)size;
}

/* The header and the program headers: one read where they lie together, as linkers put them. */
static bool read_segments(struct peek *peek)
{
	struct {
		struct elf_header header;
		struct elf_segment segments[16];
	} head;
	const struct elf_header *header = &head.header;
	size_t size;
	long got = sys_pread(peek->fd, &head, sizeof head, 0);

	if (got < (long)sizeof *header || memcmp(header->ident, "\177ELF\2\1\1", 7) != 0)
		return false;
	if (header->version != 1 || header->machine != ELF_MACHINE || header->type != ET_DYN ||
	    header->phentsize != sizeof(struct elf_segment) || header->phnum == 0 || header->phnum > SEGMENTS)
		return false;
	peek->segment_count = header->phnum;
	size = header->phnum * sizeof(struct elf_segment);
	if (header->phoff == sizeof *header && sizeof *header + size <= (size_t)got) {
		memcpy(peek->segments, head.segments, size);
		return true;
	}
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

/* Collects the string offsets of the needed names, and where the strings are. The table is looked for where the
 * loader does, by the address of the last PT_DYNAMIC. */
static bool read_dynamic(struct peek *peek)
{
	struct elf_dyn dyns[DYNS_AT_ONCE];
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
		long got = at > INT64_MAX ? -1 : sys_pread(peek->fd, dyns, count * sizeof *dyns, at);

		/* What the file lacks may lie behind DT_NULL. */
		if (got < (long)sizeof *dyns)
			return false;
		count = (uint64_t)got / sizeof *dyns;
		for (uint64_t i = 0; i < count; i++) {
			if (dyns[i].tag == DT_NULL)
				return true;
			if (dyns[i].tag == DT_STRTAB)
				peek->strtab = dyns[i].val;
			else if (dyns[i].tag == DT_STRSZ)
				peek->strsz = dyns[i].val;
			else if (dyns[i].tag == DT_NEEDED && peek->needed_count < NEEDED)
				peek->needed[peek->needed_count++] = dyns[i].val;
		}
		left -= count;
		at += count * sizeof *dyns;
	}
	return true;
}

/* The names mostly lie close together: one window serves many. */
static void read_names(const struct peek *peek, uint64_t strings, peek_sees *sees, void *with)
{
	char window[WINDOW];
	uint64_t start = 0;
	size_t have = 0;

	for (unsigned i = 0; i < peek->needed_count; i++) {
		uint64_t name = peek->needed[i];
		const char *s;

		if (name >= peek->strsz)
			continue;
		/* So that what follows finds a NUL inside the window, or the name is longer than names are. */
		if (name < start || name - start >= have || have - (size_t)(name - start) <= NAME) {
			uint64_t at;
			long got;

			if (__builtin_add_overflow(strings, name, &at) || at > INT64_MAX)
				continue;
			got = sys_pread(peek->fd, window, sizeof window, at);
			if (got <= 0)
				continue;
			start = name;
			have = (size_t)got;
		}
		s = window + (name - start);
		for (size_t n = 0; n <= NAME && s + n < window + have; n++)
			if (!s[n]) {
				if (n && sees(with, s))
					return;
				break;
			}
	}
}

void peek_needed(const char *path, peek_sees *sees, void *with)
{
	struct peek peek;
	struct sys_stat st;
	uint64_t strings;

	/* To open a device or a pipe can have effects; the loader would, we need not. */
	if (sys_stat(path, &st) < 0 || (st.mode & S_IFMT) != S_IFREG)
		return;
	peek.fd = sys_open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0);
	if (peek.fd < 0)
		return;
	peek.segment_count = peek.needed_count = 0;
	peek.strtab = 0;
	/* The loader does without it. */
	peek.strsz = UINT64_MAX;
	if (read_segments(&peek) && read_dynamic(&peek) && offset_of(&peek, peek.strtab, &strings))
		read_names(&peek, strings, sees, with);
	sys_close(peek.fd);
}
