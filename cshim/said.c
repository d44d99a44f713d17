/* What is said of the plan's libraries, once each, by whichever door comes to it. */
#include "shim.h"

enum { SAID_CHANGED = 1, SAID_OTHER = 2 };

/* What makes the file another than the one the plan was made for; NULL if nothing does. */
static const char *changed(const struct image_lib *lib, const char *path)
{
	struct stat st;

	if (sys_stat(path, &st) < 0)
		return "it is gone";
	if (st.st_dev != lib->dev || st.st_ino != lib->ino)
		return "another file is there now";
	if ((uint64_t)st.st_size != lib->size)
		return "its size is another";
	/* Nanoseconds of 64 bits, which go round in 584 years. */
	if ((uint64_t)st.st_mtim.tv_sec * 1000000000 + (uint64_t)st.st_mtim.tv_nsec != lib->mtime)
		return "its modification time is another";
	return NULL;
}

/* A library that the plan only keeps where it is loses nothing if the loader finds it by itself. */
enum log_level said_level(const struct image_lib *lib)
{
	return lib->how >= HOW_KEEP ? LOG_DECISION : LOG_WARNING;
}

/* Whether this is the first time. */
static bool first(struct lib_state *state, unsigned char what)
{
	return !(__atomic_fetch_or(&state->said, what, __ATOMIC_RELAXED) & what);
}

bool said_changed(struct plan *plan, const struct image_lib *lib)
{
	const char *path = plan->strings + lib->path, *what = changed(lib, path);

	if (what && first(image_state(plan, lib), SAID_CHANGED))
		log_say(said_level(lib), plan->strings + lib->soname, ": ", path, " is not used: ", what,
			"; left to the loader", NULL);
	return what != NULL;
}

/* If ours was refused or could not be loaded, that has been said, and the loader took another. */
void said_other(struct plan *plan, const struct image_lib *lib, const char *other)
{
	struct lib_state *state = image_state(plan, lib);

	if (!(__atomic_load_n(&state->said, __ATOMIC_RELAXED) & SAID_CHANGED) &&
	    __atomic_load_n(&state->load, __ATOMIC_RELAXED) != LIB_FAILED && first(state, SAID_OTHER))
		log_say(said_level(lib), plan->strings + lib->soname, " is already mapped from ",
			*other ? other : "the program", " (before the plan could act; is it in LD_PRELOAD?); the plan's ",
			plan->strings + lib->path, " is not used", NULL);
}

const char *said_answer(const struct plan *plan, const struct image_name *found, const char *name, const char *answer)
{
	const struct image_lib *lib = &plan->libs[found->lib];
	const char *soname = plan->strings + lib->soname;
	const char *why = !found->alias ? lib->how >= HOW_KEEP ? "kept by the plan" : "chosen by the plan"
			  : *name == '/' ? "replaced by " : "alias of ";

	log_say(LOG_DECISION, name, answer == name ? " is mapped already (" : " -> ", answer == name ? "" : answer,
		answer == name ? "" : " (", why, found->alias ? soname : "", ")", NULL);
	return answer;
}
