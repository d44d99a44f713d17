/* What is mapped into this process, as the loader lists it. Called by the dlopen door; an auditor sees link maps instead.
 *
 * The loader calls back under its list lock, which another thread's dlopen or an exception on its way up may wait for: so
 * nothing in there may wait, allocate from the host, or call the loader again. */

#pragma weak dl_iterate_phdr

/* Nothing of that soname; another file; the file of the plan by another path; that by the plan's path, by which the loader
 * knows it even if it names no soname. */
enum mapped { MAPPED_NOT, MAPPED_OTHER, MAPPED_ELSEWHERE, MAPPED_CHOSEN };

/* What is looked for: whose code lies at an address, or else a library of the plan; and what was found so far. The first of
 * another file's is the one that the loader would take; the chosen file, wherever it stands in the list, ends the search. */
struct search {
	uint64_t address;
	const char *soname, *path;
	enum mapped found;
	char *other;
};

/* Called by the loader for each object, under its list lock: no system call that could wait. 1: no more of them. */
static int match(struct dl_phdr_info *object, size_t size, void *with)
{
	struct search *search = with;
	const char *name = object->dlpi_name, *soname = NULL;
	uint64_t base = object->dlpi_addr;

	for (const Elf64_Phdr *s = object->dlpi_phdr; s < object->dlpi_phdr + object->dlpi_phnum; s++) {
		if (s->p_type == PT_LOAD && search->address && search->address - (base + s->p_vaddr) < s->p_memsz) {
			search->path = name;
			return 1;
		}
		if (s->p_type == PT_DYNAMIC && !search->address)
			soname = elf_string((const void *)(base + s->p_vaddr), base, DT_SONAME, NULL);
	}
	if (search->address)
		return 0;
	if (text_same(name, search->path)) {
		search->found = MAPPED_CHOSEN;
		return 1;
	}
	/* The loader compares DT_SONAME; for a file that has none, the name it was found by. */
	if (search->found == MAPPED_NOT && text_same(soname ? soname : text_base(name), search->soname)) {
		search->found = MAPPED_OTHER;
		/* The object may be unmapped as soon as we return. */
		if ((search->other = sys_memory(PATH)) != NULL)
			(void)text_copy(search->other, PATH, name);
	}
	return 0;
}

/* Where a library of the plan is. `say`: that it is another copy, once. Called before a library is given or loaded: it costs a
 * walk over all that is mapped, so what can be decided without it comes first. */
static enum mapped objects_find(const struct lib *lib, bool say)
{
	struct search search = {.soname = image_text(lib->soname), .path = image_text(lib->path)};
	struct stat st;

	/* It is not asked whether it is there: no process that can open anything is without it, in glibc since 2.2.4. */
	(void)dl_iterate_phdr(match, &search);
	if (search.found == MAPPED_OTHER && search.other) {
		if (sys_stat(search.other, &st) == 0 && st.st_dev == lib->dev && st.st_ino == lib->ino)
			search.found = MAPPED_ELSEWHERE;
		else if (say)
			said_mapped(lib, search.other);
	}
	sys_release(search.other, PATH);
	return search.found;
}

/* The path of the object whose code lies at `address`, "" for the program itself and where there is none; a string of the
 * loader's, which is there as long as the object. Called with the return address of a dlopen. */
static const char *objects_path(const void *address)
{
	struct search search = {.address = (uint64_t)address, .path = ""};

	(void)dl_iterate_phdr(match, &search);
	return search.path;
}
