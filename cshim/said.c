/* What is said of the plan's libraries, by whichever door comes to it: each decision, with its rule, and once why a library is
 * not used. What the loader does instead is what it would do without us. */

/* What the dlopen door asks the loader for, to learn whether the audit door of this process acts: only that answers. */
#define AUDIT_QUESTION "/cudashim: does the audit door act?"

/* Another file was there first; ours cannot be used, after which the other is no news. */
enum said { SAID_OTHER = 1, SAID_FILE };

/* Says why: `what`, and the rest where there is more. What the plan only keeps loses nothing if the loader finds it by itself:
 * that is a decision. */
static void said_unused(const struct lib *lib, enum said said, const char *what, const char *rest, const char *more)
{
	if (__atomic_exchange_n(&plan.said[lib - plan.libs], said, __ATOMIC_RELAXED) < said)
		log_say(lib->how >= HOW_KEEP ? LOG_DECISION : LOG_WARNING, image_text(lib->soname), ": ",
			image_text(lib->path), " is not used: ", what, rest, more, NULL);
}

/* Whether the file of a library is no longer the one that the plan was made for. Looked at each time, just before the loader is
 * sent there: a file may be exchanged while the process runs. */
static bool said_changed(const struct lib *lib)
{
	struct stat st;
	const char *what = sys_stat(image_text(lib->path), &st) < 0 ? "it is gone" :
			   st.st_dev != lib->dev || st.st_ino != lib->ino ? "another file is there now" :
			   (uint64_t)st.st_size != lib->size ? "its size is another" :
			   /* Nanoseconds of 64 bits, which go round in 584 years. */
			   (uint64_t)st.st_mtim.tv_sec * 1000000000 + (uint64_t)st.st_mtim.tv_nsec != lib->mtime ?
			   "its modification time is another" : NULL;

	if (what)
		said_unused(lib, SAID_FILE, what, "; left to the loader", NULL);
	return what;
}

/* Another file of that soname is mapped, and the loader takes that; if ours could not be loaded, that has been said. */
static void said_mapped(const struct lib *lib, const char *other)
{
	said_unused(lib, SAID_OTHER, *other ? other : "the program",
		    " is already mapped (before the plan could act; is it in LD_PRELOAD?)", NULL);
}

/* Says what is asked for instead of `name`, and by which rule; answers `answer`. A name that comes back as it was is a
 * decision, too. */
static const char *said_answer(const struct name *found, const char *name, const char *answer)
{
	const struct lib *lib = &plan.libs[found->lib];
	const char *why = !found->alias ? (lib->how >= HOW_KEEP ? "kept by the plan" : "chosen by the plan") :
					  *name == '/' ? "replaced by " : "alias of ";

	log_say(LOG_DECISION, name, " -> ", answer, " (", why, found->alias ? image_text(lib->soname) : "", ")", NULL);
	return answer;
}
