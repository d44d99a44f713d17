/* The dlopen door: what name the loader shall get for the one it was asked for.
 *
 * cudashim_pick is called by the stub in entry.c for every dlopen of the process, from any thread, from constructors, and
 * perhaps before our own constructor. It allocates nothing from the host, holds no lock while it calls the loader, and
 * answers the name it was given wherever it is in doubt. */

/* The marker by which a tool knows the object. */
EXPORT const unsigned cudashim_abi = 2;

/* Before glibc 2.34 dlsym is in libdl, which may not be there when we are linked in, and come later by way of libc itself;
 * that way is open to us, too. The mode is what libc passes to itself. */
extern void *__libc_dlopen_mode(const char *name, int mode), *__libc_dlsym(void *handle, const char *name);
#pragma weak __libc_dlopen_mode
#pragma weak __libc_dlsym

/* Called first of all by cudashim_pick: whether there is one, and then libc. dlsym finds what follows the object it is
 * called from, so it must be called here and not in the stub. Two threads may do this at once; they find the same. */
static bool have_real(void)
{
	void *real = cudashim_real, *libdl = NULL;

	if (real && real != no_dlopen)
		return true;
	if (!dlsym && __libc_dlopen_mode)
		libdl = __libc_dlopen_mode("libdl.so.2", RTLD_LAZY | 1 << 31);
	real = dlsym ? dlsym(RTLD_NEXT, "dlopen") : libdl ? __libc_dlsym(libdl, "dlopen") : NULL;
	cudashim_real = real ? real : no_dlopen;
	return real;
}

/* A name of the plan that is not only kept, asked for by the object at `asker`: given to whoever the plan was made for. */
static const char *by_name(const struct name *found, const char *name, int mode, const char *asker)
{
	const struct lib *lib = &plan.libs[found->lib];
	const char *answer = image_text(lib->path);
	bool own = plan_proves(asker);
	enum mapped mapped = objects_find(lib, own);

	/* Mapped, the loader finds it by its soname for whoever asks: nobody needs to be asked about. */
	if (!own && ((!found->alias && mapped >= MAPPED_ELSEWHERE) || !plan_serves(asker, found)))
		return name;
	if (mapped == MAPPED_NOT) {
		/* RTLD_NOLOAD asks whether it is there, and it is not; a file that is another now is the loader's to find. */
		if ((mode & RTLD_NOLOAD) || said_changed(lib))
			return name;
		(void)load_needed(answer, mode);
		/* One of those may need it, and may have brought another copy along. */
		mapped = objects_find(lib, own);
	}
	/* By its soname the loader finds what is mapped, before it looks anywhere; by its path also a file that names none. */
	if (mapped == MAPPED_OTHER || (mapped == MAPPED_ELSEWHERE && said_changed(lib)))
		answer = found->alias ? image_text(lib->soname) : name;
	return said_answer(found, name, answer);
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
			(void)load_needed(image_text(lib->path), mode);
	} else {
		(void)seek_file(name, caller, load_needed, mode);
	}
	return name;
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
 * The order counts: what is cheap and true of most calls comes first, and the binary is asked last, only for a call that is
 * CUDA's, by its name or by what the file needs, and wants something loaded. Whatever is not there yet (libc's environment,
 * the list of what is mapped) is no mistake: it is the loader's call, then. */
__attribute__((visibility("hidden"))) const char *cudashim_pick(const char *name, int mode, const void *caller)
{
	/* $ORIGIN and its like are the loader's to expand, by the caller that only it knows. */
	if (!have_real() || !name || !*name || !plan_may_be() || text_has(name, '$') || is_audited())
		return name;
	/* One of our own answers that comes back through another object which hooks dlopen is decided once more, to the same. */
	if (plan_in_force(MAY_ASK) ||
	    (plan_may_be() && !(mode & RTLD_NOLOAD) &&
	     (names_know(text_base(name), NULL) || seek_file(name, caller, seek_cuda, 0)) && plan_in_force(NONE)))
		return decide(name, mode, caller);
	return name;
}
