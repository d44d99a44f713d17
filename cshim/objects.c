#include "objects.h"

#include "sys.h"
#include "text.h"

extern int dl_iterate_phdr(int (*each)(struct dl_phdr_info *, size_t, void *), void *with)
	__attribute__((weak, visibility("default")));

/* The dynamic section of a mapped object; NULL where it has no such table. */
struct dynamic {
	const struct dl_phdr_info *object;
	const char *strtab, *soname;
	const struct elf_sym *symtab;
	const uint32_t *hash, *gnu_hash;
	const uint16_t *versym;
};

/* How many bytes from `at` on are mapped for the object; 0 if none. */
static uint64_t room_at(const struct dl_phdr_info *object, const void *at)
{
	uint64_t address = (uint64_t)(uintptr_t)at;

	for (unsigned i = 0; i < object->phnum; i++) {
		const struct elf_segment *s = &object->phdr[i];
		uint64_t start = object->addr + s->vaddr;

		if (s->type == PT_LOAD && address >= start && address - start < s->memsz)
			return s->memsz - (address - start);
	}
	return 0;
}

/* glibc adds the load address to the addresses in the table; musl does not, nor does glibc where the table is
 * read-only (the vDSO). Only one of the two lies inside the object. */
static const void *table_at(const struct dl_phdr_info *object, uint64_t address)
{
	const void *as_is = (const void *)(uintptr_t)address;
	const void *moved = (const void *)(uintptr_t)(object->addr + address);

	if (room_at(object, as_is))
		return as_is;
	return room_at(object, moved) ? moved : NULL;
}

static void read_dynamic(struct dynamic *dynamic, const struct dl_phdr_info *object)
{
	const struct elf_dyn *dyn = NULL;
	uint64_t soname = 0, count = 0;

	*dynamic = (struct dynamic){.object = object};
	for (unsigned i = 0; i < object->phnum; i++)
		if (object->phdr[i].type == PT_DYNAMIC) {
			dyn = (const void *)(uintptr_t)(object->addr + object->phdr[i].vaddr);
			count = object->phdr[i].memsz / sizeof *dyn;
		}
	for (; count && dyn->tag != DT_NULL; dyn++, count--) {
		switch (dyn->tag) {
		case DT_SONAME:
			soname = dyn->val;
			break;
		case DT_STRTAB:
			dynamic->strtab = table_at(object, dyn->val);
			break;
		case DT_SYMTAB:
			dynamic->symtab = table_at(object, dyn->val);
			break;
		case DT_HASH:
			dynamic->hash = table_at(object, dyn->val);
			break;
		case DT_GNU_HASH:
			dynamic->gnu_hash = table_at(object, dyn->val);
			break;
		case DT_VERSYM:
			dynamic->versym = table_at(object, dyn->val);
			break;
		default:
			break;
		}
	}
	/* Offset 0 is the empty string: no soname. */
	if (soname && dynamic->strtab && soname < room_at(object, dynamic->strtab))
		dynamic->soname = dynamic->strtab + soname;
}

struct search {
	const char *soname;
	const struct lib *lib;
	enum mapped found;
	bool nameless;
	char *other;
};

/* Called by the loader for each object, under its list lock: no system call but what cannot wait, no write. */
static int match(struct dl_phdr_info *object, size_t size, void *with)
{
	struct search *search = with;
	struct dynamic dynamic;
	const char *name = object->name ? object->name : "";
	bool chosen = search->lib && text_same(name, search->lib->path);

	(void)size;
	read_dynamic(&dynamic, object);
	/* The loader compares DT_SONAME; for a file that has none, the name it was found by. */
	if (!chosen && !text_same(dynamic.soname ? dynamic.soname : text_base(name), search->soname))
		return 0;
	search->nameless = !dynamic.soname || !text_same(dynamic.soname, search->soname);
	if (chosen) {
		search->found = MAPPED_CHOSEN;
		return 1;
	}
	if (search->found == MAPPED_NOT) {
		size_t length = text_length(name);

		search->found = MAPPED_OTHER;
		if (length >= OBJECT_PATH)
			length = OBJECT_PATH - 1;
		memcpy(search->other, name, length);
		search->other[length] = '\0';
	}
	return 0;
}

enum mapped objects_find(const char *soname, const struct lib *lib, char other[static OBJECT_PATH])
{
	struct search search = {.soname = soname, .lib = lib, .other = other};
	struct sys_stat st;

	if (!dl_iterate_phdr)
		return MAPPED_NOT;
	(void)dl_iterate_phdr(match, &search);
	/* Mapped under another name: the same file by another path is not another copy. */
	if (search.found == MAPPED_OTHER && lib && other[0] == '/' && sys_stat(other, &st) == 0 &&
	    st.dev == lib->dev && st.ino == lib->ino)
		search.found = MAPPED_CHOSEN;
	if (search.found == MAPPED_CHOSEN && search.nameless)
		return MAPPED_CHOSEN_NAMELESS;
	return search.found;
}

bool objects_can(void)
{
	return dl_iterate_phdr != NULL;
}

/* Whether symbol `i` is a defined function of that name; `*hidden` if its version is not the default one. */
static const struct elf_sym *is_function(const struct dynamic *dynamic, uint64_t i, const char *name, bool *hidden)
{
	const struct elf_sym *sym = &dynamic->symtab[i];
	const uint16_t *version = dynamic->versym ? &dynamic->versym[i] : NULL;

	if (room_at(dynamic->object, sym) < sizeof *sym || (sym->info & 15) != STT_FUNC || sym->shndx == 0 ||
	    sym->name >= room_at(dynamic->object, dynamic->strtab) || !text_same(dynamic->strtab + sym->name, name))
		return NULL;
	*hidden = version && room_at(dynamic->object, version) >= sizeof *version && (*version & VERSYM_HIDDEN);
	return sym;
}

/* The best symbol of that name: one of the default version, else any. */
static const struct elf_sym *by_gnu_hash(const struct dynamic *dynamic, const char *name)
{
	const struct elf_sym *best = NULL;
	const uint32_t *table = dynamic->gnu_hash, *buckets, *chains, *chain;
	uint32_t hash = 5381;

	for (const char *s = name; *s; s++)
		hash = hash * 33 + (unsigned char)*s;
	/* bucket count, index of the first symbol, filter words, filter shift; filter; buckets; chains */
	if (room_at(dynamic->object, table) < 16 || table[0] == 0)
		return NULL;
	buckets = table + 4 + 2 * (uint64_t)table[2];
	chains = buckets + table[0];
	if (room_at(dynamic->object, buckets) < 4 * (uint64_t)table[0] || buckets[hash % table[0]] < table[1])
		return NULL;
	for (uint64_t i = buckets[hash % table[0]];; i++) {
		const struct elf_sym *sym;
		bool hidden;

		chain = chains + (i - table[1]);
		if (room_at(dynamic->object, chain) < 4)
			return best;
		sym = (*chain | 1) == (hash | 1) ? is_function(dynamic, i, name, &hidden) : NULL;
		if (sym && !hidden)
			return sym;
		if (sym)
			best = sym;
		if (*chain & 1)
			return best;
	}
}

static const struct elf_sym *by_sysv_hash(const struct dynamic *dynamic, const char *name)
{
	const struct elf_sym *best = NULL;
	const uint32_t *table = dynamic->hash, *chains;
	uint32_t hash = 0, i, left;

	for (const char *s = name; *s; s++) {
		hash = (hash << 4) + (unsigned char)*s;
		hash = (hash ^ (hash >> 24 & 0xf0)) & 0x0fffffff;
	}
	if (room_at(dynamic->object, table) < 8 || table[0] == 0 ||
	    room_at(dynamic->object, table) / 4 < 2 + (uint64_t)table[0] + table[1])
		return NULL;
	chains = table + 2 + table[0];
	/* A chain that runs in a circle ends when it has been as long as the table. */
	for (i = table[2 + hash % table[0]], left = table[1]; i && i < table[1] && left; i = chains[i], left--) {
		bool hidden;
		const struct elf_sym *sym = is_function(dynamic, i, name, &hidden);

		if (sym && !hidden)
			return sym;
		if (sym)
			best = sym;
	}
	return best;
}

static int search_dlopen(struct dl_phdr_info *object, size_t size, void *with)
{
	struct dynamic dynamic;
	const struct elf_sym *sym = NULL;

	(void)size;
	read_dynamic(&dynamic, object);
	if (!dynamic.soname || !dynamic.symtab ||
	    !(text_same(dynamic.soname, "libc.so.6") || text_same(dynamic.soname, "libdl.so.2")))
		return 0;
	if (dynamic.gnu_hash)
		sym = by_gnu_hash(&dynamic, "dlopen");
	if (!sym && dynamic.hash)
		sym = by_sysv_hash(&dynamic, "dlopen");
	if (sym)
		*(void **)with = (void *)(uintptr_t)(object->addr + sym->value);
	return sym != NULL;
}

void *objects_find_dlopen(void)
{
	void *found = NULL;

	if (dl_iterate_phdr)
		(void)dl_iterate_phdr(search_dlopen, &found);
	return found;
}
