/* The audit door (rtld-audit(7)): LD_AUDIT makes the loader itself ask us for each name, also for those of DT_NEEDED, once
 * what is mapped has not answered.
 *
 * An auditor lives in a namespace of its own, here without any other object: nothing of libc is there, and whatever another
 * instance of us does in LD_PRELOAD is not seen. The loader asks under its own lock, so nothing here is called by two
 * threads at once. No list is loaded early: each name is led to its file as it is asked for. */

/* LA_SER_ORIG and LM_ID_BASE, which only glibc's header has. */
enum { AS_ASKED = 1, BASE = 0 };

/* The program itself: the first object of the base namespace. */
static const struct link_map *audit_base;

/* The object that has this soname in the base namespace, or, having none, this name. Under the loader's lock, the list is
 * as the loader sees it. */
static const struct link_map *find_mapped(const char *soname, bool *nameless)
{
	for (const struct link_map *map = audit_base; map; map = map->l_next) {
		const char *own = elf_string(map->l_ld, map->l_addr, DT_SONAME, NULL);

		*nameless = !own;
		if (text_same(own ? own : text_base(map->l_name), soname))
			return map;
	}
	return NULL;
}

/* Whether there is a plan, and it may have to do with this name. */
static bool is_planned(const char *name, const struct link_map *asker)
{
	/* No plan is read for libc: every process asks for it first, and most for nothing else. */
	if (!plan_may_be() || text_has(name, '$') || names_are_libc(name))
		return false;
	while (asker->l_prev)
		asker = asker->l_prev;
	/* An object of another namespace (dlmopen) has a world of its own. */
	return asker == audit_base && plan_in_force(names_know(text_base(name), NULL) ? NONE : MAY_ASK);
}

/* The file for a name that `asker` needs or opens, or the name as it came. As the dlopen door, but that nothing is to be
 * loaded first: what the file needs will be asked for in its turn. */
static const char *answer_for(const char *name, const struct link_map *asker)
{
	const struct name *found = image_name(name);
	const struct lib *lib = found ? &plan.libs[found->lib] : NULL;
	bool needed = elf_string(asker->l_ld, asker->l_addr, DT_NEEDED, name), nameless;
	bool kept = lib && !found->alias && lib->how >= HOW_KEEP;
	const char *who = asker == audit_base ? "" : asker->l_name;
	const struct link_map *other;

	/* What is kept spares the loader a search for what needs it; who opens it by hand, the loader serves better. */
	if (!lib || (kept && !needed))
		return name;
	other = find_mapped(image_text(lib->soname), &nameless);
	/* Mapped by its soname, and yet asked for: it is another namespace that is to have it. */
	if (other && ((!found->alias && !nameless) || *other->l_name != '/'))
		return name;
	if (kept ? !plan_proves(who) : !plan_serves(who, needed ? NULL : found))
		return name;
	if (!other)
		return said_changed(lib) ? name : said_answer(found, name, image_text(lib->path));
	if (!text_same(other->l_name, image_text(lib->path)))
		said_mapped(lib, other->l_name);
	/* The loader knows the file that is mapped by its inode; a soname it would look for in its search path. */
	return said_answer(found, name, other->l_name);
}

/* Called first, once the constructor has run. Never 0, which is to refuse: the loader takes such an auditor out again, and
 * ends the process if that is marked not to be unloaded, as we are (glibc, elf/rtld.c, unload_audit_module). The loader's
 * own number: glibc before 2.35 knows 1 only, and on aarch64 no other than its own will do. */
EXPORT unsigned la_version(unsigned version)
{
	return version;
}

/* Called for each name before any search (LA_SER_ORIG), then for each file that is tried, which is not our business. What is
 * answered is looked for in place of the name: a string of the plan or of a link map, which outlives the search. */
EXPORT char *la_objsearch(const char *name, uintptr_t *cookie, unsigned flag)
{
	/* As it was made: nobody else may write it. */
	const struct link_map *asker = (const struct link_map *)*cookie;

	if (flag != AS_ASKED)
		return (char *)name;
	/* The dlopen door of this process: led to an object that is mapped, whichever. */
	if (text_same(name, AUDIT_QUESTION))
		return (char *)(plan_in_force(MAY_ASK) || plan_may_be() ? asker->l_name : name);
	return (char *)(is_planned(name, asker) ? answer_for(name, asker) : name);
}

/* Called for each object once it is mapped, the program itself first of all.
 * 0: no binding of a symbol is to be told, so no call is slower. */
EXPORT unsigned la_objopen(struct link_map *map, long namespace, uintptr_t *cookie)
{
	if (!audit_base && namespace == BASE)
		audit_base = map;
	return 0;
}
