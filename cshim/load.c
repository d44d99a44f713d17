/* Brings in what must be there before an object that needs it is loaded: DT_NEEDED never comes through dlopen.
 *
 * Called by choose.c, on the host's thread, in the middle of its dlopen. Never closes what it loaded, never loads a second
 * copy of a soname that is mapped, and takes no lock: what it calls is the loader, which has its own.
 */
#include "shim.h"
#include "sys.h"
#include "text.h"

/* Members that load members that load members: far more than any program does, far less than a stack. */
enum { DEPTH = 8 };

static __thread int depth __attribute__((tls_model("initial-exec")));

bool load_is_deep(void)
{
	return depth >= DEPTH;
}

/* What the loader runs may set errno, which the host's own call shall find as it was. Asked of dlsym here only: errno's
 * place is a function of libc, and importing it would bind us to one. */
void *load_quietly(const char *path, int mode, const char **error)
{
	int *(*place)(void) = dlsym ? (int *(*)(void))dlsym(RTLD_DEFAULT, "__errno_location") : NULL;
	const char *(*why)(void) = dlsym ? (const char *(*)(void))dlsym(RTLD_DEFAULT, "dlerror") : NULL;
	int before = place ? *place() : 0;
	void *handle;

	depth++;
	handle = cudashim_real(path, (mode & RTLD_NOW ? RTLD_NOW : RTLD_LAZY) | RTLD_LOCAL);
	depth--;
	*error = handle ? NULL : why ? why() : NULL;
	if (!handle && !*error)
		*error = "the loader does not say why";
	if (place)
		*place() = before;
	return handle;
}

static unsigned char load_of(const struct plan *plan, const struct image_lib *lib)
{
	return __atomic_load_n(&image_state(plan, lib)->load, __ATOMIC_ACQUIRE);
}

/* Whether it was something else before. */
static bool set_load(const struct plan *plan, const struct image_lib *lib, unsigned char load)
{
	return __atomic_exchange_n(&image_state(plan, lib)->load, load, __ATOMIC_ACQ_REL) != load;
}

enum mapped load_where(struct plan *plan, const struct image_lib *lib, const char *asker)
{
	char *other;
	enum mapped mapped = objects_find(plan, lib, &other);

	if (other) {
		if (!asker || plan_proves(plan, asker))
			said_other(plan, lib, other);
		sys_release(other, IMAGE_PATH);
	}
	return mapped;
}

/* Loads one library unless it is mapped.
 *
 * Two threads may come here for the same library: both call the real dlopen, whose own lock lets one wait for the other as
 * it would without us, and the same path is the same object. The same thread may come here again from a constructor of
 * what it loads: whatever runs constructors is mapped by then, and to load it again only counts. */
void load_member(struct plan *plan, const struct image_lib *lib, int mode)
{
	const char *soname = image_text(plan, lib->soname), *path = image_text(plan, lib->path), *error;
	enum mapped mapped;

	if (load_of(plan, lib) != LIB_UNTRIED)
		return;
	mapped = load_where(plan, lib, NULL);
	/* Ours that the host has opened is opened once more, so that it stays even if the host closes it meanwhile. */
	if (mapped == MAPPED_OTHER)
		return;
	if (said_changed(plan, lib)) {
		if (mapped == MAPPED_NOT)
			set_load(plan, lib, LIB_FAILED);
	} else if (load_quietly(path, mode, &error)) {
		set_load(plan, lib, LIB_LOADED);
		if (mapped == MAPPED_NOT)
			log_say(LOG_DECISION, soname, " loaded from ", path, NULL);
	} else {
		log_say(lib->how == HOW_KEEP ? LOG_DECISION : LOG_WARNING, soname, ": ", path, " could not be loaded: ", error, NULL);
		set_load(plan, lib, LIB_FAILED);
	}
}

/* The library at a place of a list; behind its end, what it is the list of: `last`, which may be NULL. */
static const struct image_lib *member(const struct plan *plan, const struct image_trigger *list, uint32_t i,
				      const struct image_lib *last)
{
	return i < list->count ? &plan->libs[plan->members[list->first + i]] : last;
}

/* Loads all of a list, and what it is the list of, at once through its bundle: one scope, as the loader would make it. Only
 * where nothing of it is mapped from another file or was changed: the bundle would map a second copy. What it does not do
 * is done one by one. */
static void load_bundle(struct plan *plan, const struct image_trigger *list, int mode)
{
	const struct image_lib *bundle = &plan->libs[list->bundle - 1], *lib;
	const char *name = image_text(plan, list->name), *error = "it is not what it was";
	const struct image_name *own = image_name(plan, name);
	const struct image_lib *last = own && !own->alias ? &plan->libs[own->lib] : NULL;
	uint32_t missing = 0;

	if (load_of(plan, bundle) != LIB_UNTRIED)
		return;
	for (uint32_t i = 0; i <= list->count; i++) {
		enum mapped mapped;

		lib = member(plan, list, i, last);
		if (!lib || load_of(plan, lib) == LIB_LOADED)
			continue;
		mapped = load_where(plan, lib, NULL);
		if (mapped != MAPPED_CHOSEN && (mapped != MAPPED_NOT || said_changed(plan, lib)))
			return;
		missing += mapped == MAPPED_NOT;
	}
	if (missing < 2)
		return;
	if (said_changed(plan, bundle) || !load_quietly(image_text(plan, bundle->path), mode, &error)) {
		set_load(plan, bundle, LIB_FAILED);
		log_say(LOG_DECISION, "what ", name, " needs could not be loaded at once: ", error, NULL);
		return;
	}
	set_load(plan, bundle, LIB_LOADED);
	for (uint32_t i = 0; i <= list->count; i++) {
		lib = member(plan, list, i, last);
		if (lib && set_load(plan, lib, LIB_LOADED))
			log_say(LOG_DECISION, image_text(plan, lib->soname), " loaded from ", image_text(plan, lib->path), " (with ",
				name, ")", NULL);
	}
}

/* Loads what must be there before an object called `name` is; `self` is left to the caller, and so is what the plan only
 * keeps, unless the object has the whole plan. */
void load_list(struct plan *plan, const char *name, const struct image_lib *self, int mode, enum served served)
{
	const struct image_trigger *list = image_trigger(plan, name);
	unsigned char *whole = list ? &plan->done[list - plan->triggers] : NULL;
	bool done = true;

	if (!list || load_is_deep() || __atomic_load_n(whole, __ATOMIC_ACQUIRE))
		return;
	/* The bundle brings `self` along, and how symbols are looked up for it is settled then. */
	if (list->bundle && served == SERVED_WHOLE && !(self && (mode & RTLD_DEEPBIND)))
		load_bundle(plan, list, mode);
	for (uint32_t i = 0; i < list->count; i++) {
		const struct image_lib *lib = member(plan, list, i, NULL);

		if (lib == self)
			continue;
		if (served == SERVED_WHOLE || lib->how != HOW_KEEP)
			load_member(plan, lib, mode);
		done = done && load_of(plan, lib) == LIB_LOADED;
	}
	/* Only what we hold ourselves is sure to stay; the host may close what it opened. */
	if (done)
		__atomic_store_n(whole, 1, __ATOMIC_RELEASE);
}
