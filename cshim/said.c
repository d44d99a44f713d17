/* What is said of the plan's libraries, once each, by whichever door comes to it. */
#include "shim.h"
#include "sys.h"
#include "text.h"

enum { TOLD_CHANGED = 1, TOLD_OTHER = 2 };

/* What makes the file another than the one the plan was made for; NULL if nothing does. */
static const char *changed(const struct image_lib *lib, const char *path)
{
	struct sys_stat st;

	if (sys_stat(path, &st) < 0)
		return "it is gone";
	if (st.dev != lib->dev || st.ino != lib->ino)
		return "another file is there now";
	if ((uint64_t)st.size != lib->size)
		return "its size is another";
	if (__builtin_mul_overflow(st.mtime, 1000000000, &st.mtime) ||
	    __builtin_add_overflow(st.mtime, st.mtime_ns, &st.mtime) || st.mtime != lib->mtime)
		return "its modification time is another";
	return NULL;
}

/* A library that the plan only keeps where it is loses nothing if the loader finds it by itself. */
static enum log_level level_of(const struct image_lib *lib)
{
	return lib->how >= HOW_KEEP ? LOG_DECISION : LOG_WARNING;
}

/* Whether this is the first time. */
static bool first(struct lib_state *state, unsigned char what)
{
	return !(__atomic_fetch_or(&state->told, what, __ATOMIC_RELAXED) & what);
}

bool said_changed(struct plan *plan, const struct image_lib *lib)
{
	const char *path = image_text(plan, lib->path), *what = changed(lib, path);

	if (what && first(image_state(plan, lib), TOLD_CHANGED))
		log_say(level_of(lib), image_text(plan, lib->soname), ": ", path, " is not used: ", what,
			"; left to the loader", NULL);
	return what != NULL;
}

/* If ours was refused or could not be loaded, that has been said, and the loader took another. */
void said_other(struct plan *plan, const struct image_lib *lib, const char *other)
{
	struct lib_state *state = image_state(plan, lib);

	if (!(__atomic_load_n(&state->told, __ATOMIC_RELAXED) & TOLD_CHANGED) &&
	    __atomic_load_n(&state->load, __ATOMIC_RELAXED) != LIB_FAILED && first(state, TOLD_OTHER))
		log_say(level_of(lib), image_text(plan, lib->soname), " is already mapped from ",
			*other ? other : "the program", " (before the plan could act; is it in LD_PRELOAD?); the plan's ",
			image_text(plan, lib->path), " is not used", NULL);
}

/* The one line of each decision: the name, what is asked for instead, and the rule. */
const char *said_answer(const char *name, const char *answer, const char *why, const char *more)
{
	if (answer == name)
		log_say(LOG_DECISION, name, " is mapped already (", why, more, ")", NULL);
	else
		log_say(LOG_DECISION, name, " -> ", answer, " (", why, more, ")", NULL);
	return answer;
}
