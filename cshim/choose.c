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
static const char *give(const struct call *call, const struct image_lib *lib, const char *known, enum served served,
			const char *why, const char *more)
{
	enum mapped mapped = load_where(call->plan, lib, call->asker);

	if (mapped == MAPPED_NOT) {
		if ((call->mode & RTLD_NOLOAD) || said_changed(call->plan, lib))
			return call->name;
		load_list(call->plan, image_text(call->plan, lib->soname), lib, call->mode, served);
		/* One of the list may need it, and may have brought another copy along. */
		mapped = load_where(call->plan, lib, call->asker);
	}
	return said_answer(call->name,
			   mapped == MAPPED_CHOSEN || mapped == MAPPED_OTHER ? known : image_text(call->plan, lib->path), why, more);
}

/* The loader finds it, but what it needs may be found elsewhere. */
static void list_only(const struct call *call, const struct image_lib *lib)
{
	const struct image_trigger *list = image_trigger(call->plan, call->name);
	enum served served;

	if (!list || (call->mode & RTLD_NOLOAD) || (lib && load_where(call->plan, lib, call->asker) != MAPPED_NOT))
		return;
	served = plan_serves(call->plan, call->asker, image_text(call->plan, list->name));
	if (served != SERVED_NOT)
		load_list(call->plan, call->name, lib, call->mode, served);
}

static const char *by_name(const struct call *call)
{
	const struct image_name *name = image_name(call->plan, call->name);
	const struct image_lib *lib = name ? &call->plan->libs[name->lib] : NULL;
	enum served served;

	if (!name || (!name->alias && lib->how == HOW_KEEP)) {
		list_only(call, lib);
		return call->name;
	}
	/* Mapped, it is what the loader finds by its soname, whoever asks. */
	served = !name->alias && load_where(call->plan, lib, call->asker) == MAPPED_CHOSEN
			 ? SERVED_SET
			 : plan_serves(call->plan, call->asker, image_text(call->plan, name->name));
	if (served == SERVED_NOT)
		return call->name;
	if (name->alias)
		return give(call, lib, image_text(call->plan, lib->soname), served, "alias of ", image_text(call->plan, lib->soname));
	return give(call, lib, call->name, served, "chosen by the plan", "");
}

/* Before a file that needs `name` is loaded. `*served` is what the file may have, once that had to be known. */
static void before(const struct call *call, const char *name, enum served *served, bool *judged)
{
	const struct image_name *found = image_name(call->plan, name);
	const struct image_lib *lib = found && !found->alias ? &call->plan->libs[found->lib] : NULL;
	enum mapped mapped = MAPPED_OTHER;

	if (lib)
		mapped = load_where(call->plan, lib, call->asker);
	else if (image_trigger(call->plan, name) && !objects_have(name))
		mapped = MAPPED_NOT;
	/* A mapped name wins for whoever needs it: there is nothing to judge. */
	if (mapped == MAPPED_OTHER)
		return;
	if (!*judged && mapped == MAPPED_NOT) {
		*served = plan_serves(call->plan, call->asker, NULL);
		*judged = true;
	}
	if (mapped == MAPPED_NOT && *served != SERVED_NOT)
		load_list(call->plan, name, lib, call->mode, *served);
	/* Ours, that the host has opened: so that it stays. */
	if (lib && !load_is_deep() && (*served == SERVED_WHOLE || (lib->how != HOW_KEEP && (*served || mapped != MAPPED_NOT))))
		load_member(call->plan, lib, call->mode);
}

static void by_path(const struct call *call)
{
	struct needed *needed = peek_needed(call->name);
	enum served served = SERVED_NOT;
	bool judged = false;

	for (const char *name = needed ? needed->names : ""; *name; name += text_length(name) + 1)
		before(call, name, &served, &judged);
	if (needed)
		peek_release(needed);
}

/* A call with a plan. */
static const char *decide(struct plan *plan, const char *name, int mode, const void *caller)
{
	const struct image_lib *lib = name[0] == '/' ? image_path(plan, name) : NULL;
	struct call call = {plan, name, name, mode};
	const char *answer = name;
	enum served served;
	char *path;

	if (!lib && text_has(name, '/')) {
		if (!(mode & RTLD_NOLOAD) && plan->header->libs.count)
			by_path(&call);
		return name;
	}
	/* Most names are none of the plan's. */
	if (!lib && !image_name(plan, name) && !image_trigger(plan, name))
		return name;
	path = sys_memory(IMAGE_PATH);
	if (!path)
		return name;
	objects_path(caller, path);
	call.asker = path;
	if (!lib) {
		answer = by_name(&call);
	} else {
		const char *soname = image_text(plan, lib->soname);

		served = plan_serves(plan, path, soname);
		if (served != SERVED_NOT)
			answer = give(&call, lib, soname, served, "replaced by ", soname);
	}
	sys_release(path, IMAGE_PATH);
	return answer;
}

/* Whether the call is CUDA's, so that it is worth asking for a plan. */
static bool is_cudas(const char *name)
{
	struct needed *needed = NULL;
	bool known = names_know(text_base(name));

	if (!known && text_has(name, '/'))
		needed = peek_needed(name);
	for (const char *s = needed ? needed->names : ""; *s && !known; s += text_length(s) + 1)
		known = names_know(s);
	if (needed)
		peek_release(needed);
	return known;
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

/* What it answers is asked for instead of `name`. `caller`: the return address of the call. */
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
	/* One of our own answers, come back through another object that hooks dlopen: it is decided. */
	return plan && !image_owns(plan, name) ? decide(plan, name, mode, caller) : name;
}
