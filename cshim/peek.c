/* What an ELF file needs, and its run paths, read before the loader maps it. Called by the dlopen door alone, which never sees
 * DT_NEEDED otherwise; an auditor is asked for each of them.
 *
 * Reads with pread, never through a map: a file that is cut short while we look at it must not end the host by SIGBUS. The
 * numbers in the file are used as offsets of bounded reads only. Works in memory of its own, not on the host's stack: nothing
 * in it is looked at before it was read from the file at hand. */

/* The most that is read of a file: far more than linkers make, and what is beyond is as if it were not there. */
enum { SEGMENTS = 64, DYNS = 2048, NAME = 2048 };

struct peek {
	int fd;
	Elf64_Ehdr header;
	Elf64_Phdr segments[SEGMENTS];
	char name[NAME];
	Elf64_Dyn dyns[DYNS];
};

typedef bool peek_test(const char *name, void *with);

/* One for whoever comes first, so that most files cost no mapping and no faults of pages; who comes meanwhile gets one of his
 * own. */
static LARGE struct peek shared;
static bool shared_is_taken;

/* As many bytes as there are, `size` at the most. */
static size_t read_at(const struct peek *peek, void *to, size_t size, uint64_t at)
{
	long got = at > INT64_MAX ? -1 : sys_pread(peek->fd, to, size, at);

	return got < 0 ? 0 : (size_t)got;
}

/* False for what the loader would refuse, or what has more segments than anybody makes. */
static bool read_segments(struct peek *peek)
{
	const Elf64_Ehdr *h = &peek->header;
	/* Linkers put the segments right behind the header: then one read brings both. */
	size_t size = sizeof *h + sizeof peek->segments, got = read_at(peek, &peek->header, size, 0);

	if (got < sizeof *h || !text_after((const char *)h->e_ident, ELFMAG "\2\1\1") ||
	    h->e_version != 1 || h->e_machine != ELF_MACHINE || h->e_phentsize != sizeof(Elf64_Phdr) || h->e_phnum > SEGMENTS)
		return false;
	size = h->e_phnum * sizeof(Elf64_Phdr);
	return (h->e_phoff == sizeof *h && got >= sizeof *h + size) ||
	       read_at(peek, peek->segments, size, h->e_phoff) == size;
}

/* From an address to an offset in the file. The loader maps segments in order, each over what is there already. */
static bool offset_of(const struct peek *peek, uint64_t address, uint64_t *offset)
{
	for (unsigned i = peek->header.e_phnum; i--;) {
		const Elf64_Phdr *s = &peek->segments[i];

		if (s->p_type == PT_LOAD && address - s->p_vaddr < s->p_filesz && address >= s->p_vaddr)
			return !__builtin_add_overflow(address - s->p_vaddr, s->p_offset, offset);
	}
	return false;
}

/* peek_any, of a file whose segments are known. The dynamic table is looked for where the loader does, by the address of the
 * last PT_DYNAMIC; it counts if it has an end. One read for each name: string tables are large, and most of what is in them
 * are symbols. What is too long for a name, or is cut off, is none. */
static bool any_name(struct peek *peek, int64_t tag, peek_test *is, void *with)
{
	uint64_t size = 0, at = 0, strings = 0;
	size_t count, end = 0;

	for (unsigned i = 0; i < peek->header.e_phnum; i++)
		if (peek->segments[i].p_type == PT_DYNAMIC)
			size = offset_of(peek, peek->segments[i].p_vaddr, &at) ? peek->segments[i].p_filesz : 0;
	count = read_at(peek, peek->dyns, size < sizeof peek->dyns ? size : sizeof peek->dyns, at) / sizeof *peek->dyns;
	for (; end < count && peek->dyns[end].d_tag != DT_NULL; end++)
		if (peek->dyns[end].d_tag == DT_STRTAB && !offset_of(peek, peek->dyns[end].d_un.d_ptr, &strings))
			return false;
	for (size_t i = 0; end < count && i < end; i++) {
		size_t got, length = 0;

		if (peek->dyns[i].d_tag != tag || __builtin_add_overflow(strings, peek->dyns[i].d_un.d_val, &at))
			continue;
		got = read_at(peek, peek->name, sizeof peek->name, at);
		while (length < got && peek->name[length])
			length++;
		if (length && length < got && is(peek->name, with))
			return true;
	}
	return false;
}

/* Whether a string of that tag is one (DT_NEEDED, DT_RPATH, DT_RUNPATH): they are tried in its order, up to the first. `is`
 * may not load anything. Called on the host's thread for what it opens by a path, and for libraries of the plan. A file that
 * cannot be read, or is none of ELF, needs nothing: the loader says what is wrong with it. */
static bool peek_any(const char *path, int64_t tag, peek_test *is, void *with)
{
	struct peek *peek = NULL;
	struct stat st;
	bool found = false;

	/* To open a device or a pipe can have effects; the loader would, we need not. */
	if (sys_stat(path, &st) == 0 && S_ISREG(st.st_mode))
		peek = __atomic_exchange_n(&shared_is_taken, true, __ATOMIC_SEQ_CST) ? sys_memory(sizeof *peek) : &shared;
	if (!peek)
		return false;
	peek->fd = sys_open(path, O_RDONLY);
	if (peek->fd >= 0) {
		found = read_segments(peek) && any_name(peek, tag, is, with);
		sys_close(peek->fd);
	}
	if (peek == &shared)
		__atomic_store_n(&shared_is_taken, false, __ATOMIC_SEQ_CST);
	else
		sys_release(peek, sizeof *peek);
	return found;
}
