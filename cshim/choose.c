/* The dlopen door: what name the loader shall get for the one it was asked for.
 *
 * cudashim_pick is called by the stub in entry.S for every dlopen of the process, from any thread, from constructors, and
 * perhaps before our own constructor. It allocates nothing from the host, holds no lock while it calls the loader, and
 * answers the name it was given wherever it is in doubt.
 */
#include "shim.h"
#include "sys.h"
#include "text.h"

#define EXPORT __attribute__((visibility("default")))

/* The marker by which a tool knows the object. */
EXPORT const unsigned cudashim_abi = 2;

/* --- the real dlopen --- */

/* What the stub jumps to if there is no dlopen in the process at all. */
static void *no_dlopen(const char *name, int mode)
{
	(void)name, (void)mode;
	return NULL;
}

dlopen_function *cudashim_real = no_dlopen;

/* Before glibc 2.34 dlsym is in libdl, which may not be there when we are linked in, and come later by way of libc itself;
 * that way is open to us, too. */
extern void *__libc_dlopen_mode(const char *name, int mode) __attribute__((weak, visibility("default")));
extern void *__libc_dlsym(void *handle, const char *name) __attribute__((weak, visibility("default")));
enum { LIBC_DLOPEN = 1 << 31 };

static void *of_late_libdl(void)
{
	void *libdl = __libc_dlopen_mode && __libc_dlsym ? __libc_dlopen_mode("libdl.so.2", RTLD_LAZY | LIBC_DLOPEN) : NULL;

	return libdl ? __libc_dlsym(libdl, "dlopen") : NULL;
}

/* Called first of all by cudashim_pick. dlsym finds what follows the object it is called from, so it must be called here
 * and not in the stub. Two threads may do this at once; they find the same. */
static bool have_real(void)
{
	dlopen_function *real = __atomic_load_n(&cudashim_real, __ATOMIC_ACQUIRE);

	if (real != no_dlopen)
		return true;
	real = (dlopen_function *)(dlsym ? dlsym(RTLD_NEXT, "dlopen") : of_late_libdl());
	if (!real)
		return false;
	__atomic_store_n(&cudashim_real, real, __ATOMIC_RELEASE);
	return true;
}

/* --- one call --- */

/* `asker`: the path of the object that is to get what the plan names: who opens a bare name, or the file that is opened. */
struct call {
	struct plan *plan;
	const char *name, *asker;
	int mode;
};

/* Who asks for `name` shall get `lib`. `known` is what to ask for if it is mapped: the loader then finds it by its soname,
 * before it looks anywhere. */
static const char *give(const struct call *call, const struct image_lib *lib, const char *known, const char *why,
			const char *more)
{
	const char *path = image_text(call->plan, lib->path);
	bool say = plan_proves(call->plan, call->asker);
	enum mapped mapped = objects_find(call->plan, lib, say);

	if (mapped == MAPPED_NOT) {
		if ((call->mode & RTLD_NOLOAD) || said_changed(call->plan, lib))
			return call->name;
		load_needed(call->plan, path, true, call->mode);
		/* One of those may need it, and may have brought another copy along. */
		mapped = objects_find(call->plan, lib, say);
	}
	return said_answer(call->name, mapped == MAPPED_CHOSEN || mapped == MAPPED_OTHER ? known : path, why, more);
}

/* A bare name that the plan has: given to whoever the plan was made for; what is kept only has what it needs loaded. */
static const char *by_name(const struct call *call, const struct image_name *name)
{
	const struct image_lib *lib = image_lib(call->plan, name->lib);
	const char *soname = image_text(call->plan, lib->soname);

	if (!name->alias && lib->how >= HOW_KEEP) {
		/* The loader finds it, but what it needs may be found elsewhere. */
		if (!(call->mode & RTLD_NOLOAD) && plan_proves(call->plan, call->asker) &&
		    objects_find(call->plan, lib, true) == MAPPED_NOT)
			load_needed(call->plan, image_text(call->plan, lib->path), true, call->mode);
		return call->name;
	}
	/* Mapped, it is what the loader finds by its soname, whoever asks. */
	if ((name->alias || objects_find(call->plan, lib, false) != MAPPED_CHOSEN) &&
	    !plan_serves(call->plan, call->asker, image_text(call->plan, name->name)))
		return call->name;
	return name->alias ? give(call, lib, soname, "alias of ", soname) : give(call, lib, call->name, "chosen by the plan", "");
}

/* Whether a name that a file needs is one that the plan gives, and nothing answers to it yet: what is mapped wins for
 * whoever needs it, and there is nothing to judge. */
static bool is_to_come(const char *name, void *with)
{
	struct plan *plan = with;
	const struct image_name *found = image_name(plan, name);

	return found && !found->alias && image_lib(plan, found->lib)->how < HOW_KEEP &&
	       objects_find(plan, image_lib(plan, found->lib), false) == MAPPED_NOT;
}

/* A file that the host opens: what it needs is loaded first. */
static void by_path(const struct call *call)
{
	bool own = plan_proves(call->plan, call->asker);

	if (own || (peek_any(call->name, is_to_come, call->plan) && plan_serves(call->plan, call->asker, NULL)))
		load_needed(call->plan, call->name, own, call->mode);
}

/* A call with a plan: a bare name of the plan, a path that the plan replaces, or a file. Most names are none of these, and
 * then nobody is asked who calls: to find that out, the loader is made to list what is mapped. */
static const char *decide(struct plan *plan, const char *name, int mode, const void *caller)
{
	bool bare = !text_has(name, '/');
	const struct image_name *found = bare ? image_name(plan, name) : NULL;
	const struct image_lib *lib = bare ? NULL : image_path(plan, name);
	struct call call = {plan, name, name, mode};
	const char *answer = name;
	char *path;

	if (!found && !lib) {
		if (!bare && !(mode & RTLD_NOLOAD) && image_count(plan, LIBS))
			by_path(&call);
		return name;
	}
	path = sys_memory(IMAGE_PATH);
	if (!path)
		return name;
	objects_path(caller, path);
	call.asker = path;
	if (found)
		answer = by_name(&call, found);
	else if (plan_serves(plan, path, image_text(plan, lib->soname)))
		answer = give(&call, lib, image_text(plan, lib->soname), "replaced by ", image_text(plan, lib->soname));
	sys_release(path, IMAGE_PATH);
	return answer;
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

	if (!have_real() || !name || !*name || !plan_may_be() || !objects_can() || !identity_known())
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
