/* Brings in what must be there before an object that needs it is loaded: DT_NEEDED never comes through dlopen.
 *
 * Called by choose.c, on the host's thread, in the middle of its dlopen. Never closes what it loaded, never loads a second
 * copy of a soname that is mapped, and takes no lock: what it calls is the loader, which has its own. */
#include <dlfcn.h>

#pragma weak dlsym

/* What the stub jumps to where there is no dlopen in the process at all. */
static void *no_dlopen(const char *name, int mode)
{
	return NULL;
}

/* The real dlopen: that of libc or libdl, or of another object behind us that hooks it as we do. */
void *(*_Atomic cudashim_real)(const char *name, int mode);

/* The real dlopen, with errno and dlerror left as the host had them; NULL once it has loaded, else why not. What the loader
 * runs may set errno, which the host's own call shall find as it was. Asked of dlsym here only: errno's place is a function
 * of libc, and importing it would bind us to one. */
static const char *load_quietly(const char *path, int mode)
{
	int *(*place)(void) = dlsym ? (int *(*)(void))dlsym(RTLD_DEFAULT, "__errno_location") : NULL;
	const char *(*why)(void) = dlsym ? (const char *(*)(void))dlsym(RTLD_DEFAULT, "dlerror") : NULL;
	int before = place ? *place() : 0;
	void *loaded = cudashim_real(path, (mode & RTLD_NOW ? RTLD_NOW : RTLD_LAZY) | RTLD_LOCAL);
	const char *error = loaded ? NULL : why ? why() : "the loader does not say why";

	if (place)
		*place() = before;
	return error;
}

/* Loads one library unless another copy of it is mapped. One of ours that the host has opened is opened once more, so that
 * it stays even if the host closes it meanwhile.
 *
 * Two threads may come here for the same library: both call the real dlopen, whose own lock lets one wait for the other as
 * it would without us, and the same path is the same object. The same thread may come here again from a constructor of
 * what it loads: whatever runs constructors is mapped by then, and to load it again only counts. */
static void load_member(const struct lib *lib, int mode)
{
	const char *soname = image_text(lib->soname), *path = image_text(lib->path), *error;
	enum mapped mapped;

	/* Loaded by itself, an object of the consumer's would not find what only its user brings along. */
	if (lib->how == HOW_OWN || plan.settled[lib - plan.libs])
		return;
	mapped = objects_find(lib, true);
	if (mapped == MAPPED_OTHER)
		return;
	/* By the path of what is mapped the loader opens no file, whatever became of that. */
	error = mapped != MAPPED_CHOSEN && said_changed(lib) ? "" : load_quietly(path, mode);
	if (error)
		said_unused(lib, SAID_FILE, "it cannot be loaded: ", error, NULL);
	else if (mapped == MAPPED_NOT)
		log_say(LOG_DECISION, soname, " loaded from ", path, NULL);
	plan.settled[lib - plan.libs] = true;
}

/* What one call has found out so far, in memory of its own: of each lib whether it is needed, and whether its own needs are
 * noted, too; and whether what the plan only keeps counts. */
enum { NEEDED = 1, LOOKED_INTO };

struct needs {
	bool kept;
	unsigned char *of;
};

/* Called for each name that a file needs. What we have loaded, or could not, is settled, and so is what it needs. */
static bool note(const char *name, void *with)
{
	struct needs *needs = with;
	const struct lib *lib = image_lib(name);

	if (lib && (needs->kept || lib->how < HOW_KEEP) && !plan.settled[lib - plan.libs] &&
	    (needs->of || (needs->of = sys_memory(IMAGE_LIBS))) && !needs->of[lib - plan.libs])
		needs->of[lib - plan.libs] = NEEDED;
	return false;
}

/* Loads what the file at `path`, which is about to be loaded, needs of the plan, and what that needs; what the plan only keeps
 * for whom it was made for. False: it is a stranger that is left to the loader, or there is nothing to judge, since what is
 * mapped wins. Called by choose.c for what the host opens, and for what we answer with. Two passes: what is needed, from the
 * file downwards; then the loading, in the order of the plan, which has each after what it needs.
 *
 * Who is here at once with another thread, or again from a constructor, has notes of his own: nobody takes for done what
 * somebody else is still about to do. */
static bool load_needed(const char *path, int mode)
{
	bool ours = path >= plan.strings && path < plan.strings + plan.header->strings;
	struct needs needs = {ours || plan_proves(path), NULL};
	bool serves = needs.kept;
	uint32_t count;

	(void)peek_any(path, DT_NEEDED, note, &needs);
	count = needs.of ? plan.header->libs : 0;
	for (uint32_t i = 0; i < count && !serves; i++)
		serves = needs.of[i] && objects_find(&plan.libs[i], false) == MAPPED_NOT && plan_serves(path, NULL);
	/* The plan was made for its own libraries, whoever needs them. */
	needs.kept = true;
	for (uint32_t i = serves ? count : 0; i--;) {
		if (needs.of[i] != NEEDED)
			continue;
		needs.of[i] = LOOKED_INTO;
		/* What is mapped has what it needs. */
		if (objects_find(&plan.libs[i], true) != MAPPED_NOT)
			continue;
		(void)peek_any(image_text(plan.libs[i].path), DT_NEEDED, note, &needs);
		/* Most of what it needs stands before it; in a circle, something behind it. */
		i = count;
	}
	for (uint32_t i = 0; i < count && serves; i++)
		if (needs.of[i])
			load_member(&plan.libs[i], mode);
	sys_release(needs.of, IMAGE_LIBS);
	return serves;
}
