/* The plan in force: the one that was given, where it names this program, else the binary's answer; and which objects of the
 * process it was made for.
 *
 * Called by both doors, from any thread. Once there is a plan, or none will come, it only reads.
 */

/* Only ever goes up, and is written inside the gate alone, after the plan that it speaks of:
 *
 *	NOT_READ   at the start; also for a call that comes before libc knows its environment
 *	MAY_ASK    none was given that is for this program, and there is a binary to ask
 *	NONE       there is none and will be none: every call passes
 *	GIVEN      it is in `plan`, and stays
 */

static _Atomic enum force { NOT_READ, MAY_ASK, NONE, GIVEN } in_force;

/* Whether a plan may ever come into force here. Asked before each dlopen: most processes have none, and pay one load. */
static bool plan_may_be(void)
{
	return in_force != NONE;
}

/* --- inside the gate --- */

/* GIVEN if the file is a plan for this program; else `otherwise`, which was said: a plan that is refused as a warning, one
 * for another program at the level of `not_for`. */
static enum force take(char *path, enum log_level not_for, enum force otherwise)
{
	const char *wrong = image_read(path);
	char digits[21];

	if (wrong) {
		log_say(LOG_WARNING, "the plan ", path, " is refused: ", wrong, NULL);
	} else if (!image_has(identity.program)) {
		log_say(not_for, "the plan ", path, " is not for ", identity.path, NULL);
		sys_release(plan.header, plan.header->size + 1);
	} else {
		log_say(LOG_DECISION, "plan ", path, ": ", text_decimal(digits, plan.header->libs), " libraries", NULL);
		return GIVEN;
	}
	return otherwise;
}

/* Called once, at the first call of all that comes so far. Without a plan that is for this program it is as if none had
 * been given: the binary may be asked, later, if the process turns out to be CUDA's. */
static enum force read_given(void)
{
	enum force otherwise = *binary_path() ? MAY_ASK : NONE;

	/* Of a program that is not known nothing can be told apart. */
	if (identity.out || !identity.program.ino)
		return NONE;
	/* Children of other environments inherit the variable: that is as it should be. */
	return identity.given ? take(identity.given, LOG_DECISION, otherwise) : otherwise;
}

/* Asks, and says the reason if the answer is one: a `!`, and why there is none. */
static char *ask_or_say(const char *image, const char *object, const char *name)
{
	char *answer = ask(image, object, name);

	if (answer && answer[0] == '!')
		log_say(LOG_WARNING, "no plan: ", answer + 1, NULL);
	return answer;
}

/* Called once. The binary answers with the path of an image, or with a reason, or with nothing where this process is no
 * business of ours; whatever it is, it is not asked again. */
static enum force ask_for_one(void)
{
	char *answer = ask_or_say(NULL, NULL, NULL);

	if (answer && answer[0] == '/')
		return take(answer, LOG_WARNING, NONE);
	if (answer && !answer[0])
		log_say(LOG_DECISION, "the cudashim binary has no plan for this process", NULL);
	else if (answer && answer[0] != '!')
		log_say(LOG_WARNING, "no plan: the answer of cudashim is not a path: run `cudashim doctor`", NULL);
	return NONE;
}

/* --- the plan --- */

/* Whether there is one: `plan`. `want`: the call is CUDA's, so where none was given the binary is worth a question. Called for
 * each dlopen: the first of all reads what was given. Who comes meanwhile waits in the gate; who would wait for itself goes
 * without. */
static bool plan_in_force(bool want)
{
	enum force now = in_force;

	if (now >= NONE || (now == MAY_ASK && !want))
		return now == GIVEN;
	if (!identity_known() || !gate_enter())
		return false;
	/* Another thread may have been in before us. */
	if (in_force == NOT_READ)
		in_force = read_given();
	if (in_force == MAY_ASK && want)
		in_force = ask_for_one();
	gate_leave();
	return in_force == GIVEN;
}

/* --- whom it serves --- */

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

/* Inside the gate. The answer is said as a decision. No answer is no: what the loader does without us is left to it, and nobody
 * is asked again. */
static bool ask_about(const char *path, const char *name)
{
	static bool no_more;
	const char *answer = no_more ? NULL : ask_or_say(plan.path, path, name);
	bool set = answer && text_same(answer, "set");

	if (!no_more)
		log_say(LOG_DECISION, path, set ? " gets the plan's libraries" : " is left to the loader",
			name ? " for " : NULL, name, NULL);
	no_more = !answer;
	return set;
}

/* Whether the object at `path`, which opens, or needs, what the plan names, gets it; `found`: what it opens, NULL where it
 * needs it. Called when the plan could change something for that object, never to find out whether it could: a question takes
 * time, and is put once for each object and name. */
static bool plan_serves(const char *path, const struct name *found)
{
	/* What is asked for by a path that is replaced is the library. */
	const char *name = found ? image_text(plan.libs[found->lib].soname) : NULL;
	struct id object = id_of(path);
	enum answer known;
	uint64_t hash;

	if (plan_proves(path))
		return true;
	if (found && *image_text(found->name) != '/')
		name = image_text(found->name);
	hash = note_hash(name, object.dev << 32 ^ object.ino);
	known = note_find(hash);
	/* One that has no identity cannot be told from another. */
	if (known == UNKNOWN && object.ino && *binary_path() && gate_enter()) {
		/* Another thread may have been in before us. */
		known = note_find(hash);
		if (known == UNKNOWN) {
			known = ask_about(path, name) ? YES : NO;
			note_add(hash, known == YES);
		}
		gate_leave();
	}
	return known == YES;
}
