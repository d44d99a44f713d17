/* The dlopen door: what name the loader shall get for the one it was asked for.
 *
 * cudashim_pick is called by the stub in entry.c for every dlopen of the process, from any thread, from constructors, and
 * perhaps before our own constructor. It allocates nothing from the host, holds no lock while it calls the loader, and
 * answers the name it was given wherever it is in doubt.
 */
#include <dlfcn.h>

/* The marker by which a tool knows the object. */
EXPORT const unsigned cudashim_abi = 2;

/* --- the real dlopen: that of libc or libdl, or of another object behind us that hooks it as we do --- */

/* What the stub jumps to: the real one, or where there is no dlopen in the process at all this. */
static void *no_dlopen(const char *name, int mode)
{
	return NULL;
}

/* Before glibc 2.34 dlsym is in libdl, which may not be there when we are linked in, and come later by way of libc itself;
 * that way is open to us, too. */
extern void *__libc_dlopen_mode(const char *name, int mode);
extern void *__libc_dlsym(void *handle, const char *name);
/* What libc passes to itself. */
enum { LIBC_DLOPEN = 1 << 31 };
#pragma weak __libc_dlopen_mode
#pragma weak __libc_dlsym
#pragma weak dlsym

/* Called first of all by cudashim_pick: whether there is one, and then libc. dlsym finds what follows the object it is
 * called from, so it must be called here and not in the stub. Two threads may do this at once; they find the same. */
static bool have_real(void)
{
	void *real = cudashim_real, *libdl = NULL;

	if (real && real != no_dlopen)
		return true;
	if (!dlsym && __libc_dlopen_mode)
		libdl = __libc_dlopen_mode("libdl.so.2", RTLD_LAZY | LIBC_DLOPEN);
	real = dlsym ? dlsym(RTLD_NEXT, "dlopen") : libdl ? __libc_dlsym(libdl, "dlopen") : NULL;
	cudashim_real = real ? real : no_dlopen;
	return real;
}

/* --- one call: which file it is to get, and what must be there before --- */

/* A name of the plan that is not only kept, asked for by the object at `asker`: given to whoever the plan was made for. */
static const char *by_name(const struct name *found, const char *name, int mode, const char *asker)
{
	const struct lib *lib = &plan.libs[found->lib];
	bool own = plan_proves(asker);
	enum mapped mapped = objects_find(lib, own);
	const char *answer = image_text(lib->path);

	/* Mapped, it is what the loader finds by its soname, whoever asks: nobody needs to be asked about. */
	if (!own && (found->alias || mapped != MAPPED_CHOSEN) && !plan_serves(asker, found))
		return name;
	if (mapped == MAPPED_NOT) {
		/* RTLD_NOLOAD asks whether it is there, and it is not; a file that is another now is the loader's to find. */
		if ((mode & RTLD_NOLOAD) || said_changed(lib))
			return name;
		load_needed(answer, true, mode);
		/* One of those may need it, and may have brought another copy along. */
		mapped = objects_find(lib, own);
	}
	/* By its soname the loader finds what is mapped, before it looks anywhere. */
	if (mapped == MAPPED_CHOSEN || mapped == MAPPED_OTHER)
		answer = found->alias ? image_text(lib->soname) : name;
	return said_answer(found, name, answer);
}

/* Whether a name that a file needs is one that the plan gives, and nothing answers to it yet: what is mapped wins for
 * whoever needs it, and there is nothing to judge. */
static bool is_to_come(const char *name, void *unused)
{
	const struct lib *lib = image_lib(name);

	return lib && lib->how < HOW_KEEP && objects_find(lib, false) == MAPPED_NOT;
}

/* A seek_file test: whether the file at `path` needs something of the plan, which is loaded first, then. */
static bool has_needed(const char *path, int mode)
{
	bool own = plan_proves(path), has = own || (peek_any(path, DT_NEEDED, is_to_come, NULL) && plan_serves(path, NULL));

	if (has)
		load_needed(path, own, mode);
	return has;
}

/* A call with a plan: a name of the plan, or a file, of which what it needs is loaded first. Most names are neither, and
 * then nobody is asked who calls: to find that out, the loader is made to list what is mapped. */
static const char *decide(const char *name, int mode, const void *caller)
{
	const struct name *found = image_name(name);
	const struct lib *lib = found ? &plan.libs[found->lib] : NULL;

	if (found && (found->alias || lib->how < HOW_KEEP))
		return by_name(found, name, mode, objects_path(caller));
	if ((mode & RTLD_NOLOAD) || !plan.header->libs)
		return name;
	/* What is kept the loader finds, but what it needs may be found elsewhere. */
	if (lib && plan_proves(objects_path(caller))) {
		if (objects_find(lib, true) == MAPPED_NOT)
			load_needed(image_text(lib->path), true, mode);
	} else if (text_has(name, '/')) {
		(void)has_needed(name, mode);
	} else {
		(void)seek_file(name, caller, has_needed, mode);
	}
	return name;
}

/* Whether the call is CUDA's, so that it is worth asking for a plan: by its name, or by what the file needs. */
static bool is_cudas(const char *name, const void *caller)
{
	return names_know(text_base(name), NULL) ||
	       (text_has(name, '/') ? seek_cuda(name, 0) : seek_file(name, caller, seek_cuda, 0));
}

/* Whether another instance of us is the loader's auditor, and hands out what there is to hand out. It is asked by way of
 * the loader, which leads to an object that is mapped, ourselves, or to nothing; so an auditor that the loader did not
 * take is none. */
static bool is_audited(void)
{
	static _Atomic enum answer answer;

	if (identity.audited && answer == UNKNOWN)
		answer = load_quietly(AUDIT_QUESTION, RTLD_LAZY) ? NO : YES;
	return answer == YES;
}

/* What it answers is asked for instead of `name`. `caller`: the return address of the call. Called by the stub alone.
 *
 * The order counts: what is cheap and true of most calls comes first, and the binary is asked last, of all calls only for
 * one that is CUDA's and wants something loaded. Whatever is not there yet (libc's environment, the list of what is mapped)
 * is no mistake: an earlier object's constructor may call before libc has come so far, and then it is the loader's call. */
__attribute__((visibility("hidden"))) const char *cudashim_pick(const char *name, int mode, const void *caller)
{
	if (!have_real() || !name || !*name || !plan_may_be() || !identity_known())
		return name;
	/* $ORIGIN and its like are the loader's to expand, by the caller that only it knows. */
	if (text_has(name, '$') || is_audited())
		return name;
	/* One of our own answers that comes back through another object which hooks dlopen is decided once more, to the same. */
	if (plan_in_force(false) || (plan_may_be() && !(mode & RTLD_NOLOAD) && is_cudas(name, caller) && plan_in_force(true)))
		return decide(name, mode, caller);
	return name;
}
