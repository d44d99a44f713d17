/* The dlopen door: what name the loader shall get for the one it was asked for.
 *
 * cudashim_pick is called by the stub in entry.S for every dlopen of the process, from any thread, from constructors, and
 * perhaps before our own constructor. It allocates nothing from the host, holds no lock while it calls the loader, and
 * answers the name it was given wherever it is in doubt.
 */
#include "shim.h"

#include <dlfcn.h>

/* The marker by which a tool knows the object. */
EXPORT const unsigned cudashim_abi = 2;

/* --- the real dlopen --- */

/* What the stub jumps to if there is no dlopen in the process at all. */
static void *no_dlopen(const char *name, int mode)
{
	(void)name, (void)mode;
	return NULL;
}

void *(*cudashim_real)(const char *name, int mode) = no_dlopen;

/* Before glibc 2.34 dlsym is in libdl, which may not be there when we are linked in, and come later by way of libc itself;
 * that way is open to us, too. */
extern void *__libc_dlopen_mode(const char *name, int mode);
extern void *__libc_dlsym(void *handle, const char *name);
enum { LIBC_DLOPEN = 1 << 31 };
#pragma weak __libc_dlopen_mode
#pragma weak __libc_dlsym
#pragma weak dlsym

/* Called first of all by cudashim_pick: whether there is one, and then libc. dlsym finds what follows the object it is
 * called from, so it must be called here and not in the stub. Two threads may do this at once; they find the same. */
static bool have_real(void)
{
	void *libdl, *real = __atomic_load_n(&cudashim_real, __ATOMIC_ACQUIRE);

	if (real != no_dlopen)
		return true;
	if (dlsym) {
		real = dlsym(RTLD_NEXT, "dlopen");
	} else {
		libdl = __libc_dlopen_mode ? __libc_dlopen_mode("libdl.so.2", RTLD_LAZY | LIBC_DLOPEN) : NULL;
		real = libdl ? __libc_dlsym(libdl, "dlopen") : NULL;
	}
	if (real)
		__atomic_store_n(&cudashim_real, real, __ATOMIC_RELEASE);
	return real;
}

/* --- one call --- */

/* A name of the plan, asked for by the object at `asker`: given to whoever the plan was made for. What is kept the loader
 * finds, but what it needs may be found elsewhere. */
static const char *by_name(struct plan *plan, const struct image_name *found, const char *name, int mode, const char *asker)
{
	const struct image_lib *lib = &plan->libs[found->lib];
	bool own = plan_proves(plan, asker), kept = !found->alias && lib->how >= HOW_KEEP;
	enum mapped mapped = objects_find(plan, lib, own);
	const char *path = plan->strings + lib->path;

	/* Mapped, it is what the loader finds by its soname, whoever asks. */
	if (!own && (kept || ((found->alias || mapped != MAPPED_CHOSEN) && !plan_serves(plan, asker, found))))
		return name;
	if (mapped == MAPPED_NOT) {
		if ((mode & RTLD_NOLOAD) || (!kept && said_changed(plan, lib)))
			return name;
		load_needed(plan, path, true, mode);
		/* One of those may need it, and may have brought another copy along. */
		mapped = objects_find(plan, lib, own);
	}
	if (kept)
		return name;
	/* By its soname the loader finds what is mapped, before it looks anywhere. */
	if (mapped == MAPPED_CHOSEN || mapped == MAPPED_OTHER)
		path = found->alias ? plan->strings + lib->soname : name;
	return said_answer(plan, found, name, path);
}

/* Whether a name that a file needs is one that the plan gives, and nothing answers to it yet: what is mapped wins for
 * whoever needs it, and there is nothing to judge. */
static bool is_to_come(const char *name, void *with)
{
	struct plan *plan = with;
	const struct image_name *found = image_name(plan, name);

	return found && !found->alias && plan->libs[found->lib].how < HOW_KEEP &&
	       objects_find(plan, &plan->libs[found->lib], false) == MAPPED_NOT;
}

/* A file that the host opens: what it needs is loaded first. */
static void by_path(struct plan *plan, const char *path, int mode)
{
	bool own = plan_proves(plan, path);

	if (own || (peek_any(path, is_to_come, plan) && plan_serves(plan, path, NULL)))
		load_needed(plan, path, own, mode);
}

/* A call with a plan: a name of the plan, or a file. Most names are neither, and then nobody is asked who calls: to find
 * that out, the loader is made to list what is mapped. */
static const char *decide(struct plan *plan, const char *name, int mode, const void *caller)
{
	const struct image_name *found = image_name(plan, name);

	if (found)
		return by_name(plan, found, name, mode, objects_path(caller));
	if (text_has(name, '/') && !(mode & RTLD_NOLOAD) && plan->header->libs.count)
		by_path(plan, name, mode);
	return name;
}

/* For a file whose own name says nothing: what it needs may. */
static bool is_known(const char *name, void *with)
{
	(void)with;
	return names_know(name);
}

/* Whether the call is CUDA's, so that it is worth asking for a plan. */
static bool is_cudas(const char *name)
{
	return names_know(text_base(name)) || (text_has(name, '/') && peek_any(name, is_known, NULL));
}

/* Whether another instance of us is the loader's auditor, and hands out what there is to hand out. It is asked by way of
 * the loader, which leads to an object that is mapped, ourselves, or to nothing; so an auditor that the loader did not
 * take is none. */
static bool is_audited(void)
{
	static unsigned char answer;
	const char *error;

	if (!identity.audited)
		return false;
	if (!__atomic_load_n(&answer, __ATOMIC_RELAXED))
		__atomic_store_n(&answer, load_quietly(AUDIT_QUESTION, RTLD_LAZY, &error) ? 2 : 1, __ATOMIC_RELAXED);
	return __atomic_load_n(&answer, __ATOMIC_RELAXED) == 2;
}

/* What it answers is asked for instead of `name`. `caller`: the return address of the call. Called by the stub alone.
 *
 * The order counts: what is cheap and true of most calls comes first, and the binary is asked last, of all calls only for
 * one that is CUDA's and wants something loaded. Whatever is not there yet (libc's environment, the list of what is mapped)
 * is no mistake: an earlier object's constructor may call before libc has come so far, and then it is the loader's call. */
__attribute__((visibility("hidden"))) const char *cudashim_pick(const char *name, int mode, const void *caller)
{
	struct plan *plan;

	if (!have_real() || !name || !*name || !plan_may_be() || !identity_known())
		return name;
	/* $ORIGIN and its like are the loader's to expand, by the caller that only it knows. */
	if (text_has(name, '$') || is_audited())
		return name;
	plan = plan_in_force(false);
	if (!plan && plan_may_be() && !(mode & RTLD_NOLOAD) && is_cudas(name))
		plan = plan_in_force(true);
	/* One of our own answers that comes back through another object which hooks dlopen is decided once more, to the same. */
	return plan ? decide(plan, name, mode, caller) : name;
}
