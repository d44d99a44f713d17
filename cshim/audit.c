/* The audit door (rtld-audit(7)): LD_AUDIT makes the loader itself ask us for each name, also for those of DT_NEEDED, once
 * what is mapped has not answered.
 *
 * An auditor lives in a namespace of its own, here without any other object: nothing of libc is there, and whatever another
 * instance of us does in LD_PRELOAD is not seen. The loader asks under its own lock, so nothing here is called by two
 * threads at once. No list is loaded early: each name is led to its file as it is asked for.
 */
#include "elf64.h"
#include "shim.h"
#include "sys.h"
#include "text.h"

enum { LA_SER_ORIG = 1, LM_ID_BASE = 0 };

#define EXPORT __attribute__((visibility("default")))

/* The program itself: the first object of the base namespace. */
static const struct link_map *base;

static const char *name_of(const struct link_map *map)
{
	return map->name ? map->name : "";
}

/* The object that has this soname in the base namespace, or, having none, this name. */
static const struct link_map *find_mapped(const char *soname, bool *nameless)
{
	for (const struct link_map *map = base; map; map = map->next) {
		const char *own = audit_entry(map, DT_SONAME, NULL);

		*nameless = !own;
		if (text_same(own ? own : text_base(name_of(map)), soname))
			return map;
	}
	return NULL;
}

/* An object of another namespace (dlmopen) has a world of its own. */
static bool in_base(const struct link_map *map)
{
	while (map->prev)
		map = map->prev;
	return map == base;
}

/* What no plan is read for: every process asks for these first, and most for nothing else. */
static bool is_plain(const char *name)
{
	return text_starts(name, "libc.so.") || text_starts(name, "libm.so.") || text_starts(name, "ld-linux");
}

/* The plan, where it may have to do with this name. */
static struct plan *plan_for(const char *name, const struct link_map *asker)
{
	if (!plan_may_be() || text_has(name, '$') || is_plain(name) || !in_base(asker))
		return NULL;
	return plan_in_force(names_know(text_base(name)));
}

/* The file for a name that `asker` needs or opens, or the name as it came. As the dlopen door, but that nothing is to be
 * loaded first: what the file needs will be asked for in its turn. */
static const char *decide(struct plan *plan, const char *name, const struct link_map *asker)
{
	const struct image_name *found = text_has(name, '/') ? NULL : image_name(plan, name);
	const struct image_lib *lib = found ? image_lib(plan, found->lib) : image_path(plan, name);
	bool needed = audit_entry(asker, DT_NEEDED, name) != NULL, alias = !found || found->alias, nameless;
	const struct link_map *other;
	const char *soname, *path;
	bool kept;

	/* What is kept spares the loader a search for what needs it; who opens it by hand, the loader serves better. */
	kept = lib && !alias && lib->how >= HOW_KEEP;
	if (!lib || (kept && !needed))
		return name;
	soname = image_text(plan, lib->soname);
	other = find_mapped(soname, &nameless);
	/* Mapped by its soname, and yet asked for: it is another namespace that is to have it. */
	if (other && ((!alias && !nameless) || *name_of(other) != '/'))
		return name;
	path = asker == base ? "" : name_of(asker);
	if (kept ? !plan_proves(plan, path) : !plan_serves(plan, path, needed ? NULL : found ? image_text(plan, found->name) : soname))
		return name;
	if (other) {
		if (!text_same(name_of(other), image_text(plan, lib->path)))
			said_other(plan, lib, name_of(other));
		/* The loader knows the file that is mapped by its inode. */
		return said_answer(name, name_of(other), "mapped already, as ", soname);
	}
	if (said_changed(plan, lib))
		return name;
	return said_answer(name, image_text(plan, lib->path),
			   !found  ? "replaced by "
			   : alias ? "alias of "
			   : kept  ? "kept where the loader finds "
				   : "chosen by the plan for ",
			   soname);
}

/* --- what the loader calls --- */

/* Called first, once the constructor has run. Never 0, which is to refuse: the loader takes such an auditor out again, and
 * ends the process if that is marked not to be unloaded, as we are (glibc, elf/rtld.c, unload_audit_module). The loader's
 * own number: glibc before 2.35 knows 1 only, and on aarch64 no other than its own will do. */
EXPORT unsigned la_version(unsigned version)
{
	return version;
}

/* Called for each name before any search (LA_SER_ORIG), then for each file that is tried, which is not our business. What is
 * answered is looked for in place of the name: a string of the plan or of a link map, which outlives the search. */
EXPORT char *la_objsearch(const char *name, const uintptr_t *cookie, unsigned flag)
{
	/* As it was made: nobody else may write it. */
	const struct link_map *asker = (const struct link_map *)*cookie;
	struct plan *plan = NULL;

	if (flag != LA_SER_ORIG)
		return (char *)name;
	if (text_same(name, AUDIT_QUESTION))
		return (char *)(plan_in_force(false) || plan_may_be() ? name_of(asker) : name);
	plan = plan_for(name, asker);
	return (char *)(plan ? decide(plan, name, asker) : name);
}

/* Called for each object once it is mapped, the program itself first of all.
 * 0: no binding of a symbol is to be told, so no call is slower. */
EXPORT unsigned la_objopen(const struct link_map *map, long namespace, uintptr_t *cookie)
{
	(void)cookie;
	if (!base && namespace == LM_ID_BASE)
		base = map;
	return 0;
}
