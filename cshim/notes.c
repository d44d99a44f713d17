/* What was found out about a name or a file, so that it is found out once. Called by plan.c and seek.c, from any thread. */

/* More than a process has, names apart (seek.c); once all are taken, what is not among them counts as NO. */
enum { NOTES = 512 };
enum answer { UNKNOWN, NO, YES };

/* Each a hash whose last bit is the answer. Only grows; another thread may see a new one later. */
static LARGE _Atomic uint64_t notes[NOTES];
static _Atomic uint32_t note_count;

/* Of a string, which may be NULL, and what else counts: FNV-1a. With 63 bits, two of all the notes of a process are the same
 * once in 2^46 processes; the worst that comes of it is a stranger that gets, or does not get, what another one does. */
static uint64_t note_hash(const char *text, uint64_t seed)
{
	uint64_t hash = (seed ^ 14695981039346656037u) * 1099511628211;

	while (text && *text)
		hash = (hash ^ (unsigned char)*text++) * 1099511628211;
	return hash & ~(uint64_t)1;
}

static enum answer note_find(uint64_t hash)
{
	uint32_t count = note_count;

	for (uint32_t i = 0; i < count && i < NOTES; i++)
		if ((notes[i] & ~(uint64_t)1) == hash)
			return notes[i] & 1 ? YES : NO;
	return count < NOTES ? UNKNOWN : NO;
}

static void note_add(uint64_t hash, bool yes)
{
	uint32_t at = note_count < NOTES ? note_count++ : NOTES;

	if (at < NOTES)
		notes[at] = hash | yes;
}
