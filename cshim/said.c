/* What is said of the plan's libraries, once each, by whichever door comes to it.
 *
 * A warning says which file is not used and why; what the loader does instead is what it would do without us. A decision
 * names the rule.
 */

enum { SAID_CHANGED = 1, SAID_OTHER = 2 };

/* Whether this is the first time. */
static bool first(const struct lib *lib, unsigned char what)
{
	return !(__atomic_fetch_or(&image_state(lib)->said, what, __ATOMIC_RELAXED) & what);
}

/* What the plan only keeps loses nothing if the loader finds it by itself. */
static enum log_level said_level(const struct lib *lib)
{
	return lib->how >= HOW_KEEP ? LOG_DECISION : LOG_WARNING;
}

/* Whether the file of a library is no longer the one that the plan was made for. Looked at each time, just before the loader is
 * sent there: a file may be exchanged while the process runs. */
static bool said_changed(const struct lib *lib)
{
	const char *what = NULL;
	struct stat st;

	if (sys_stat(image_text(lib->path), &st) < 0)
		what = "it is gone";
	else if (st.st_dev != lib->dev || st.st_ino != lib->ino)
		what = "another file is there now";
	else if ((uint64_t)st.st_size != lib->size)
		what = "its size is another";
	/* Nanoseconds of 64 bits, which go round in 584 years. */
	else if ((uint64_t)st.st_mtim.tv_sec * 1000000000 + (uint64_t)st.st_mtim.tv_nsec != lib->mtime)
		what = "its modification time is another";
	if (what && first(lib, SAID_CHANGED))
		log_say(said_level(lib), image_text(lib->soname), ": ", image_text(lib->path), " is not used: ", what,
			"; left to the loader", NULL);
	return what != NULL;
}

/* If ours was refused or could not be loaded, that has been said, and the loader took another. */
static void said_other(const struct lib *lib, const char *other)
{
	if (!(image_state(lib)->said & SAID_CHANGED) && image_state(lib)->load != LIB_FAILED && first(lib, SAID_OTHER))
		log_say(said_level(lib), image_text(lib->soname), " is already mapped from ", *other ? other : "the program",
			" (before the plan could act; is it in LD_PRELOAD?); the plan's ", image_text(lib->path), " is not used", NULL);
}

/* Says what is asked for instead of `name`, and by which rule; answers `answer`. Each decision is one line; a name
 * that comes back as it was is one, too. */
static const char *said_answer(const struct name *found, const char *name, const char *answer)
{
	const struct lib *lib = &plan.libs[found->lib];
	const char *why = lib->how >= HOW_KEEP ? "kept by the plan" : "chosen by the plan";

	if (found->alias)
		why = *name == '/' ? "replaced by " : "alias of ";
	log_say(LOG_DECISION, name, " -> ", answer, " (", why, found->alias ? image_text(lib->soname) : "", ")", NULL);
	return answer;
}

/* What the dlopen door asks the loader for, to learn whether the audit door of this process acts: only that answers. */
#define AUDIT_QUESTION "/cudashim: does the audit door act?"
