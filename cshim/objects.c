/* What is mapped into this process, as the loader lists it. Called by the dlopen door; an auditor sees link maps instead. */
#include "shim.h"
#include "sys.h"
#include "text.h"

extern int dl_iterate_phdr(int (*each)(struct dl_phdr_info *, size_t, void *), void *with)
	__attribute__((weak, visibility("default")));

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

/* glibc adds the load address to the addresses in the table; musl does not, nor does glibc where the table is read-only
 * (the vDSO). Only one of the two lies inside the object. */
static const void *table_at(const struct dl_phdr_info *object, uint64_t address)
{
	const void *as_is = (const void *)(uintptr_t)address;
	const void *moved = (const void *)(uintptr_t)(object->addr + address);

	if (room_at(object, as_is))
		return as_is;
	return room_at(object, moved) ? moved : NULL;
}

/* Read where the object is mapped: its own table says how it is called, and every number in it is held against what is
 * mapped. NULL where it has none. */
static const char *soname_of(const struct dl_phdr_info *object)
{
	const struct elf_dyn *dyn = NULL;
	const char *strings = NULL;
	uint64_t soname = 0, count = 0;

	for (unsigned i = 0; i < object->phnum; i++)
		if (object->phdr[i].type == PT_DYNAMIC) {
			dyn = (const void *)(uintptr_t)(object->addr + object->phdr[i].vaddr);
			count = object->phdr[i].memsz / sizeof *dyn;
		}
	for (; count && dyn->tag != DT_NULL; dyn++, count--) {
		if (dyn->tag == DT_SONAME)
			soname = dyn->val;
		if (dyn->tag == DT_STRTAB)
			strings = table_at(object, dyn->val);
	}
	/* Offset 0 is the empty string: no soname. */
	return soname && strings && soname < room_at(object, strings) ? strings + soname : NULL;
}

static const char *name_of(const struct dl_phdr_info *object)
{
	return object->name ? object->name : "";
}

bool objects_can(void)
{
	return dl_iterate_phdr != NULL;
}

/* --- by soname --- */

/* What is looked for, and what was found so far. The first of another file's is the one that the loader would take; the
 * chosen file, wherever it stands in the list, ends the search. */
struct search {
	const char *soname, *path; /* of the plan */
	enum mapped found;
	bool nameless;
	char *other;
};

/* Called by the loader for each object, under its list lock: no system call that could wait. */
static int match(struct dl_phdr_info *object, size_t size, void *with)
{
	struct search *search = with;
	const char *name = name_of(object), *soname = soname_of(object);
	bool chosen = text_same(name, search->path);

	(void)size;
	/* The loader compares DT_SONAME; for a file that has none, the name it was found by. */
	if (!chosen && !text_same(soname ? soname : text_base(name), search->soname))
		return 0;
	search->nameless = !soname || !text_same(soname, search->soname);
	if (chosen) {
		search->found = MAPPED_CHOSEN;
		return 1;
	}
	/* The object may be unmapped as soon as we return. */
	if (search->found == MAPPED_NOT && (search->other = sys_memory(IMAGE_PATH)) != NULL)
		(void)text_copy(search->other, IMAGE_PATH, name);
	search->found = MAPPED_OTHER;
	return 0;
}

enum mapped objects_find(struct plan *plan, const struct image_lib *lib, bool say)
{
	struct search search = {.soname = image_text(plan, lib->soname), .path = image_text(plan, lib->path)};
	struct sys_stat st;

	(void)dl_iterate_phdr(match, &search);
	/* Mapped under another name: the same file by another path is not another copy. */
	if (search.other && search.found == MAPPED_OTHER) {
		if (search.other[0] == '/' && sys_stat(search.other, &st) == 0 && st.dev == lib->dev && st.ino == lib->ino)
			search.found = MAPPED_CHOSEN;
		else if (say)
			said_other(plan, lib, search.other);
	}
	if (search.other)
		sys_release(search.other, IMAGE_PATH);
	return search.found == MAPPED_CHOSEN && search.nameless ? MAPPED_CHOSEN_NAMELESS : search.found;
}

/* --- by address --- */

struct place {
	const void *address;
	char *path;
};

/* Called by the loader for each object, until one is the one. */
static int contains(struct dl_phdr_info *object, size_t size, void *with)
{
	struct place *place = with;

	(void)size;
	if (!room_at(object, place->address))
		return 0;
	/* A path that is too long is that of a file nobody can know: nothing has this name. */
	if (!text_copy(place->path, IMAGE_PATH, name_of(object)))
		(void)text_copy(place->path, IMAGE_PATH, "/");
	return 1;
}

void objects_path(const void *address, char path[static IMAGE_PATH])
{
	struct place place = {address, path};

	path[0] = '\0';
	(void)dl_iterate_phdr(contains, &place);
}
