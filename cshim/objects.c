/* What is mapped into this process, as the loader lists it. Called by the dlopen door; an auditor sees link maps instead.
 *
 * The loader calls back under its list lock, which another thread's dlopen or an exception on its way up may wait for: so
 * nothing in there may wait, allocate from the host, or call the loader again.
 */

#pragma weak dl_iterate_phdr

enum mapped {
	MAPPED_NOT,
	MAPPED_CHOSEN, /* the file of the plan, and the loader knows it by its soname */
	MAPPED_CHOSEN_NAMELESS, /* the file of the plan, which names no soname: known by its path alone */
	MAPPED_OTHER, /* another file of the same soname */
};

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
	const char *name = object->dlpi_name, *soname = NULL;

	for (unsigned i = 0; i < object->dlpi_phnum; i++)
		if (object->dlpi_phdr[i].p_type == PT_DYNAMIC)
			soname = elf_string((const void *)(object->dlpi_addr + object->dlpi_phdr[i].p_vaddr), object->dlpi_addr,
					    DT_SONAME, NULL);
	search->nameless = !soname || !text_same(soname, search->soname);
	if (text_same(name, search->path)) {
		search->found = MAPPED_CHOSEN;
		return 1;
	}
	/* The loader compares DT_SONAME; for a file that has none, the name it was found by. */
	if (soname ? search->nameless : !text_same(text_base(name), search->soname))
		return 0;
	/* The object may be unmapped as soon as we return. */
	if (search->found == MAPPED_NOT && (search->other = sys_memory(PATH)) != NULL)
		(void)text_copy(search->other, PATH, name);
	search->found = MAPPED_OTHER;
	return 0;
}

/* Where a library of the plan is. `say`: that it is another copy, once. Called before a library is given, before it is
 * loaded, and for each name that a file needs: it costs a walk over all that is mapped, so what can be decided without it
 * comes first. */
static enum mapped objects_find(const struct lib *lib, bool say)
{
	struct search search = {.soname = image_text(lib->soname), .path = image_text(lib->path)};
	struct stat st;

	/* It is not asked whether it is there: no process that can open anything is without it, in glibc since 2.2.4. */
	(void)dl_iterate_phdr(match, &search);
	/* Mapped under another name: the same file by another path is not another copy. */
	if (search.other && search.found == MAPPED_OTHER) {
		if (sys_stat(search.other, &st) == 0 && st.st_dev == lib->dev && st.st_ino == lib->ino)
			search.found = MAPPED_CHOSEN;
		else if (say)
			said_other(lib, search.other);
	}
	if (search.other)
		sys_release(search.other, PATH);
	return search.found == MAPPED_CHOSEN && search.nameless ? MAPPED_CHOSEN_NAMELESS : search.found;
}

/* --- by address --- */

/* Where the code lies that is looked for, and in whose object it was found. */
struct place {
	uint64_t address;
	const char *path;
};

/* Called by the loader for each object, until one is the one. */
static int contains(struct dl_phdr_info *object, size_t size, void *with)
{
	struct place *place = with;

	for (const Elf64_Phdr *s = object->dlpi_phdr; s < object->dlpi_phdr + object->dlpi_phnum; s++)
		if (s->p_type == PT_LOAD && place->address - (object->dlpi_addr + s->p_vaddr) < s->p_memsz) {
			place->path = object->dlpi_name;
			return 1;
		}
	return 0;
}

/* The path of the object whose code lies at `address`, "" for the program itself and where there is none; a string of the
 * loader's, which is there as long as the object. Called with the return address of a dlopen. */
static const char *objects_path(const void *address)
{
	struct place place = {(uint64_t)address, ""};

	(void)dl_iterate_phdr(contains, &place);
	return place.path;
}
