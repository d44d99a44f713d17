/* The plan in force: the one that was given, where it names this program, else the binary's answer; and which objects of the
 * process it was made for.
 *
 * Called by both doors, from any thread. Once there is a plan, or none will come, it only reads.
 */
#include "shim.h"

/* Only ever goes up, and is written inside the gate alone, after the plan that it speaks of:
 *
 *	NOT_READ   at the start; also for a call that comes before libc knows its environment
 *	MAY_ASK    none was given that is for this program, and there is a binary to ask
 *	NONE       there is none and will be none: every call passes
 *	GIVEN      it is in `plan`, and stays
 */
static _Atomic enum force { NOT_READ, MAY_ASK, NONE, GIVEN } in_force;

/* One load: most processes have no plan, and pay no more for a dlopen. */
bool plan_may_be(void)
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
		return otherwise;
	}
	if (!image_has(identity.program)) {
		log_say(not_for, "the plan ", path, " is not for ", identity.path, NULL);
		image_free();
		return otherwise;
	}
	log_say(LOG_DECISION, "plan ", path, ": ", text_decimal(digits, plan.header->libs.count), " libraries", NULL);
	return GIVEN;
}

/* Called once, at the first call of all that comes so far. Without a plan that is for this program it is as if none had
 * been given: the binary may be asked, later, if the process turns out to be CUDA's. */
static enum force read_given(void)
{
	enum force otherwise = ask_can() ? MAY_ASK : NONE;

	/* Of a program that is not known nothing can be told apart. */
	if (identity.out || !identity.program.ino)
		return NONE;
	/* Children of other environments inherit the variable: that is as it should be. */
	return identity.given[0] ? take(identity.given, LOG_DECISION, otherwise) : otherwise;
}

/* Called once. The binary answers with the path of an image, or with `!` and the reason why there is none, or with nothing
 * where this process is no business of ours; whatever it is, it is not asked again. */
static enum force ask_for_one(void)
{
	char *answer = ask(NULL, NULL, NULL);

	if (answer && answer[0] == '/')
		return take(answer, LOG_WARNING, NONE);
	if (answer && answer[0] == '!')
		log_say(LOG_WARNING, "no plan: ", answer + 1, NULL);
	else if (answer && answer[0])
		log_say(LOG_WARNING, "no plan: the answer of cudashim is not a path: run `cudashim doctor`", NULL);
	else if (answer)
		log_say(LOG_DECISION, "the cudashim binary has no plan for this process", NULL);
	return NONE;
}

/* --- the plan --- */

/* Called for each dlopen. The first of all reads what was given; the first that is CUDA's asks. Who comes meanwhile waits in
 * the gate; who would wait for itself goes without. */
bool plan_in_force(bool want)
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

/* What the binary said of objects that the plan does not know. Only grows, and only inside the gate; a full table is the end
 * of asking. */
enum { VERDICTS = 128 };

static struct verdict {
	struct image_id object;
	const char *name; /* one of the plan's strings, or NULL */
	bool set;
} verdicts[VERDICTS];
static _Atomic uint32_t verdict_count;

/* Names are compared as addresses: each is a string of the plan's, which has it once. */
static const struct verdict *find_verdict(struct image_id object, const char *name)
{
	for (uint32_t i = 0; i < verdict_count; i++)
		if (verdicts[i].object.dev == object.dev && verdicts[i].object.ino == object.ino && verdicts[i].name == name)
			return &verdicts[i];
	return NULL;
}

/* Inside the gate. A reason is said as a warning, the answer as a decision. No answer is no: what the loader does without us
 * is left to it, and nobody is asked again. */
static bool ask_about(const char *path, const char *name)
{
	static bool no_more;
	const char *answer = no_more ? NULL : ask(plan.path, path, name);
	bool set = answer && text_same(answer, "set");

	if (answer && answer[0] == '!')
		log_say(LOG_WARNING, "no plan: ", answer + 1, NULL);
	if (!no_more)
		log_say(LOG_DECISION, path, set ? " gets the plan's libraries" : " is left to the loader",
			name ? " for " : NULL, name, NULL);
	no_more = !answer;
	return set;
}

/* Its identity, all zero where it has none. */
static struct image_id id_of(const char *path)
{
	struct stat st;

	return sys_stat(path, &st) < 0 ? (struct image_id){0} : (struct image_id){st.st_dev, st.st_ino, 0, 0};
}

/* The program itself is: its identity was found in the plan. */
bool plan_proves(const char *path)
{
	return !*path || image_has(id_of(path));
}

/* Called when the plan could change something for that object, never to find out whether it could: a question takes time,
 * and is put once for each object and name. */
bool plan_serves(const char *path, const struct image_name *found)
{
	const char *name = found ? image_text(found->name) : NULL;
	const struct verdict *known;
	struct image_id object;

	if (plan_proves(path))
		return true;
	/* What is asked for by a path that is replaced is the library. */
	if (name && *name == '/')
		name = image_text(plan.libs[found->lib].soname);
	object = id_of(path);
	known = find_verdict(object, name);
	/* One that has no identity cannot be told from another. */
	if (!known && object.ino && ask_can() && gate_enter()) {
		/* Another thread may have been in before us. */
		known = find_verdict(object, name);
		if (!known && verdict_count < VERDICTS) {
			verdicts[verdict_count] = (struct verdict){object, name, ask_about(path, name)};
			known = &verdicts[verdict_count++];
		}
		gate_leave();
	}
	return known && known->set;
}
