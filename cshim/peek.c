/* The names that an ELF file needs, read before the loader maps it. Called by the dlopen door alone, which never sees
 * DT_NEEDED otherwise; an auditor is asked for each of them.
 *
 * Reads with pread, never through a map: a file that is cut short while we look at it must not end the host by SIGBUS. The
 * numbers in the file are used as offsets of bounded reads only. Works in memory of its own, not on the host's stack.
 */
#include "shim.h"
#include "sys.h"
#include "text.h"

enum { SEGMENTS = 64, DYNS = 2048, NAME = 256 };

struct peek {
	int fd;
	struct elf_header header;
	/* Right behind the header, where linkers put them: then one read brings both. */
	struct elf_segment segments[SEGMENTS];
	char name[NAME];
	struct elf_dyn dyns[DYNS];
};

/* One for whoever comes first, so that most files cost no mapping; who comes meanwhile gets one of his own. Nothing in it
 * is looked at before it was read from the file at hand. */
static struct peek first;
static unsigned char first_is_taken;

/* As many bytes as there are, `size` at the most. */
static size_t read_at(const struct peek *peek, void *to, size_t size, uint64_t at)
{
	long got = at > INT64_MAX ? -1 : sys_pread(peek->fd, to, size, at);

	return got < 0 ? 0 : (size_t)got;
}

static bool read_segments(struct peek *peek)
{
	const struct elf_header *header = &peek->header;
	size_t got = read_at(peek, &peek->header, sizeof *header + sizeof peek->segments, 0);
	size_t size;

	if (got < sizeof *header || memcmp(header->ident, "\177ELF\2\1\1", 7) != 0 || header->version != 1 ||
	    header->machine != ELF_MACHINE || header->type != ET_DYN || header->phentsize != sizeof(struct elf_segment) ||
	    header->phnum > SEGMENTS)
		return false;
	size = header->phnum * sizeof(struct elf_segment);
	return (header->phoff == sizeof *header && got >= sizeof *header + size) ||
	       read_at(peek, peek->segments, size, header->phoff) == size;
}

/* From an address to an offset in the file. The loader maps segments in order, each over what is there already. */
static bool offset_of(const struct peek *peek, uint64_t address, uint64_t *offset)
{
	for (unsigned i = peek->header.phnum; i--;) {
		const struct elf_segment *s = &peek->segments[i];

		if (s->type == PT_LOAD && address >= s->vaddr && address - s->vaddr < s->filesz)
			return !__builtin_add_overflow(address - s->vaddr, s->offset, offset);
	}
	return false;
}

/* Reads the dynamic table, and answers how many entries it has before DT_NULL; 0 where there is no such end. The table is
 * looked for where the loader does, by the address of the last PT_DYNAMIC. */
static size_t read_dynamic(struct peek *peek)
{
	uint64_t size = 0, at = 0;
	size_t count;

	for (unsigned i = 0; i < peek->header.phnum; i++)
		if (peek->segments[i].type == PT_DYNAMIC)
			size = offset_of(peek, peek->segments[i].vaddr, &at) ? peek->segments[i].filesz : 0;
	count = read_at(peek, peek->dyns, size < sizeof peek->dyns ? size : sizeof peek->dyns, at) / sizeof *peek->dyns;
	for (size_t i = 0; i < count; i++)
		if (peek->dyns[i].tag == DT_NULL)
			return i;
	return 0;
}

/* One read for each name. What is too long for a name, or is cut off, is none. */
static bool any_name(struct peek *peek, peek_test *is, void *with)
{
	size_t count = read_dynamic(peek);
	uint64_t strings = 0, at;
	bool found = false;

	for (size_t i = 0; i < count; i++)
		if (peek->dyns[i].tag == DT_STRTAB && !offset_of(peek, peek->dyns[i].val, &strings))
			return false;
	for (size_t i = 0; i < count && !found; i++) {
		size_t got;

		if (peek->dyns[i].tag != DT_NEEDED || __builtin_add_overflow(strings, peek->dyns[i].val, &at))
			continue;
		got = read_at(peek, peek->name, sizeof peek->name, at);
		for (size_t n = 1; n < got; n++)
			if (!peek->name[n]) {
				found = peek->name[0] && is(peek->name, with);
				break;
			}
	}
	return found;
}

bool peek_any(const char *path, peek_test *is, void *with)
{
	struct peek *peek;
	struct sys_stat st;
	bool found = false;

	/* To open a device or a pipe can have effects; the loader would, we need not. */
	if (sys_stat(path, &st) < 0 || (st.mode & S_IFMT) != S_IFREG)
		return false;
	peek = __atomic_exchange_n(&first_is_taken, 1, __ATOMIC_ACQUIRE) ? sys_memory(sizeof *peek) : &first;
	if (!peek)
		return false;
	peek->fd = sys_open(path, O_RDONLY);
	if (peek->fd >= 0) {
		found = read_segments(peek) && any_name(peek, is, with);
		sys_close(peek->fd);
	}
	if (peek == &first)
		__atomic_store_n(&first_is_taken, 0, __ATOMIC_RELEASE);
	else
		sys_release(peek, sizeof *peek);
	return found;
}
