/* The plan in force: the one that was given, where it names this program, else the binary's answer; and which objects of the
 * process it was made for.
 *
 * Called by both doors, from any thread. Once there is a plan, or none will come, it only reads. */
#pragma weak environ
extern char **environ;

/* How far we have come. Only ever goes up, and is written inside the gate alone, after what it speaks of:
 *
 *	START      nothing is known yet; also for a call that comes before libc knows its environment
 *	KNOWN      what this process is
 *	MAY_ASK    no plan was given that is for this program, and there is a binary to ask
 *	NONE       there is none and will be none: every call passes
 *	GIVEN      it is in `plan`, and stays */
static _Atomic enum force { START, KNOWN, MAY_ASK, NONE, GIVEN } in_force;

/* GIVEN if the file at plan.path is a plan for this program; else `otherwise`, which was said: a plan that is refused as a
 * warning, one for another program at the level of `not_for`. */
static enum force take(enum log_level not_for, enum force otherwise)
{
	const char *wrong = image_read();
	char digits[21];

	if (wrong) {
		log_say(LOG_WARNING, "the plan ", plan.path, " is refused: ", wrong, NULL);
	} else if (!image_has(identity.program)) {
		log_say(not_for, "the plan ", plan.path, " is not for ", identity.path, NULL);
		sys_release(plan.header, plan.header->size + 1);
	} else {
		log_say(LOG_DECISION, "plan ", plan.path, ": ", text_decimal(digits, plan.header->libs), " libraries", NULL);
		return GIVEN;
	}
	return otherwise;
}

/* Called once. The binary answers with the path of an image, or with nothing where this process is no business of ours;
 * whatever it is, it is not asked again. */
static enum force ask_for_one(void)
{
	char *answer = plan.path = ask(NULL, NULL);

	if (answer && *answer == '/')
		return take(LOG_WARNING, NONE);
	if (answer && *answer)
		log_say(LOG_WARNING, "no plan: the answer of cudashim is not a path: run `cudashim doctor`", NULL);
	else if (answer)
		log_say(LOG_DECISION, "the cudashim binary has no plan for this process", NULL);
	return NONE;
}

/* Whether it is in force, once we have come so far; MAY_ASK reads what was given, and NONE asks where that was no plan. Who
 * comes meanwhile waits in the gate; who would wait for itself goes without. A child of another environment inherits the
 * variable: that its plan is not for it is as if none had been given. */
static bool plan_in_force(enum force step)
{
	char **entries = &environ && environ ? environ : first_environ;
	enum force otherwise = *binary.path ? MAY_ASK : NONE;

	if (in_force < step && entries && gate_enter()) {
		if (in_force == START)
			in_force = identity_read(entries) ? KNOWN : NONE;
		if (in_force == KNOWN && step > KNOWN)
			in_force = plan.path ? take(LOG_DECISION, otherwise) : otherwise;
		if (in_force == MAY_ASK && step > MAY_ASK)
			in_force = ask_for_one();
		gate_leave();
	}
	return in_force == GIVEN;
}

/* Whether it may ever come to be. Asked before each dlopen: most processes have none, and pay a few loads. */
static bool plan_may_be(void)
{
	if (in_force == START)
		(void)plan_in_force(KNOWN);
	return in_force != START && in_force != NONE;
}

/* glibc hands argc, argv and envp to constructors, musl does not: `environ` is the same in both. */
__attribute__((constructor)) static void start(int argc, char **argv, char **envp)
{
	if (!&environ)
		first_environ = envp;
	(void)plan_in_force(KNOWN);
}

/* Its identity, all zero where it has none. */
static struct id id_of(const char *path)
{
	struct stat st;

	return sys_stat(path, &st) < 0 ? (struct id){0} : (struct id){st.st_dev, st.st_ino, 0, 0};
}

/* Whether the plan was made for the object at `path`, "" being the program itself, whose identity was found in it: it gets
 * what is kept, too. */
static bool plan_proves(const char *path)
{
	return !*path || image_has(id_of(path));
}

/* Whether the object at `path`, which opens, or needs, what the plan names, gets it; `found`: what it opens, NULL where it
 * needs it. Called when the plan could change something for that object, never to find out whether it could: a question takes
 * time, and is put once for each object and name. No answer is no: what the loader does without us is left to it, and nobody
 * is asked again. */
static bool plan_serves(const char *path, const struct name *found)
{
	static bool no_more;
	/* What is asked for by a path that is replaced is the library. */
	bool replaced = found && *image_text(found->name) == '/';
	const char *name = !found ? NULL : image_text(replaced ? plan.libs[found->lib].soname : found->name), *answer;
	struct id object = id_of(path);
	uint64_t hash = note_hash(name, object.dev << 32 ^ object.ino);
	enum answer known = !*path || image_has(object) ? YES : note_find(hash);

	/* One that has no identity cannot be told from another. */
	if (known == UNKNOWN && object.ino && *binary.path && gate_enter()) {
		/* Another thread may have been in before us. */
		known = note_find(hash);
		if (known == UNKNOWN && !no_more) {
			answer = ask(path, name);
			no_more = !answer;
			known = answer && text_same(answer, "set") ? YES : NO;
			note_add(hash, known == YES);
			log_say(LOG_DECISION, path, known == YES ? " gets the plan's libraries" : " is left to the loader",
				name ? " for " : NULL, name, NULL);
		}
		gate_leave();
	}
	return known == YES;
}
