/* Reads the compiled plan into memory of our own, checks all of it once, and searches it by halves.
 *
 * image_read is called by plan.c inside the gate, with a path from the environment or from the binary's answer; nothing that
 * is found wrong in the file is ever looked at again, and nothing that happens to the file later can reach us. The searches
 * are called by both doors from any thread, and only read.
 */
#include "image.h"

#include "sys.h"
#include "text.h"

/* Of each table: the bytes of a record, and by how many numbers it begins that are its key; 0: by a string. */
static const struct {
	unsigned char size, numbers;
} shape[TABLES] = {
	[LIBS] = {sizeof(struct image_lib), 0},
	[NAMES] = {sizeof(struct image_name), 0},
	[PATHS] = {sizeof(struct image_path), 0},
	[PROGRAMS] = {sizeof(struct image_program), 4},
	[OBJECTS] = {sizeof(struct image_id), 2},
};

static const void *record(const struct plan *plan, enum image_table table, uint32_t i)
{
	return (const char *)image_records(plan, table) + (size_t)i * shape[table].size;
}

/* The order of a key, a string or numbers, and that of a record. */
static int compare(const struct plan *plan, enum image_table table, const void *key, const void *record)
{
	const uint64_t *x = key, *y = record;

	if (!shape[table].numbers)
		return text_compare(key, image_text(plan, *(const uint32_t *)record));
	for (unsigned n = shape[table].numbers; n; n--, x++, y++)
		if (*x != *y)
			return *x < *y ? -1 : 1;
	return 0;
}

/* --- checks: called by image_read alone, before anything else looks at the file --- */

/* Whether anyone else may put another file in the place of this one: an older plan of ours, say. In a sticky directory
 * only its owner may. */
static bool lies_open(char *path)
{
	char *slash = (char *)text_base(path), first = *slash;
	struct sys_stat st;
	bool open;

	*slash = '\0';
	open = sys_stat(path, &st) < 0 || ((st.mode & 022) && !(st.mode & S_ISVTX));
	*slash = first;
	return open;
}

/* Whether a part of the file lies between the header and the end. */
static bool lies_inside(const struct plan *plan, uint32_t at, uint32_t count, size_t size)
{
	return at >= sizeof *plan->header && at <= plan->size && count <= (plan->size - at) / size;
}

static bool frame_holds(struct plan *plan)
{
	const struct image_header *h = plan->header;

	for (enum image_table t = LIBS; t < TABLES; t++)
		if (h->tables[t].at % 8 || !lies_inside(plan, h->tables[t].at, h->tables[t].count, shape[t].size))
			return false;
	if (!h->strings.count || !lies_inside(plan, h->strings.at, h->strings.count, 1))
		return false;
	plan->strings = (const char *)h + h->strings.at;
	return plan->strings[h->strings.count - 1] == '\0' && h->tables[LIBS].count <= IMAGE_LIBS;
}

/* No longer than a path may be: many strings can share one end, and all of them are compared. */
static bool is_string(const struct plan *plan, uint32_t at)
{
	for (uint32_t end = at; end < plan->header->strings.count && end - at < IMAGE_PATH; end++)
		if (!plan->strings[end])
			return true;
	return false;
}

static bool is_path(const struct plan *plan, uint32_t at)
{
	return is_string(plan, at) && *image_text(plan, at) == '/';
}

static bool record_holds(const struct plan *plan, enum image_table table, const void *record)
{
	const struct image_lib *lib = record;
	const struct image_name *name = record;
	const struct image_path *path = record;

	switch (table) {
	case LIBS: /* The loader would expand a `$`. */
		return is_string(plan, lib->soname) && is_path(plan, lib->path) && lib->how <= HOW_OWN &&
		       !text_has(image_text(plan, lib->path), '$');
	case NAMES:
		return is_string(plan, name->name) && name->lib < image_count(plan, LIBS) && name->alias <= 1;
	case PATHS:
		return is_path(plan, path->path) && path->lib < image_count(plan, LIBS);
	default:
		return true;
	}
}

/* Each record leads to something, and each key is above the one before: it stands once, and halving finds it. */
static bool records_hold(const struct plan *plan)
{
	for (enum image_table t = LIBS; t < TABLES; t++)
		for (uint32_t i = 0; i < image_count(plan, t); i++) {
			const void *now = record(plan, t, i), *before = i && t != LIBS ? record(plan, t, i - 1) : NULL;

			if (!record_holds(plan, t, now))
				return false;
			if (before && compare(plan, t, shape[t].numbers ? before : image_text(plan, *(const uint32_t *)before), now) >= 0)
				return false;
		}
	return true;
}

static const char *check(struct plan *plan)
{
	const struct image_header *h = plan->header;

	if (plan->size >= 14 && memcmp(h->magic, "cudashim-plan\t", 14) == 0)
		return "it is text, which `cudashim run --plan FILE` compiles for a program";
	if (plan->size < sizeof *h || memcmp(h->magic, "cudashim", 8) != 0 || h->version != 2)
		return "it is no compiled plan of this version";
	if (h->size != plan->size)
		return "it is cut off";
	if (!frame_holds(plan))
		return "a table lies outside of it";
	if (image_count(plan, PROGRAMS) == 0)
		return "it is for no program";
	return records_hold(plan) ? NULL : "a record is malformed or out of order";
}

/* --- reading --- */

void image_free(struct plan *plan)
{
	if (plan && plan->header)
		sys_release((void *)plan->header, plan->size + 1);
	if (plan)
		sys_release(plan, sizeof *plan);
}

/* Called with an open file that has passed the checks of its owner. */
static const char *load(struct plan **result, int fd, size_t size, const char *path)
{
	struct plan *plan = sys_memory(sizeof *plan);
	/* One byte more than the file has: it must be as long as it said. */
	char *file = plan ? sys_memory(size + 1) : NULL;
	const char *wrong = "there is no memory for it";
	size_t have = 0;

	if (file) {
		for (long got = 1; got > 0 && have <= size; have += got > 0 ? (size_t)got : 0)
			got = sys_read(fd, file + have, size + 1 - have);
		plan->header = (const void *)file;
		plan->size = size;
		(void)text_copy(plan->path, sizeof plan->path, path);
		wrong = have == size ? check(plan) : "it changed while it was read";
	}
	if (wrong) {
		image_free(plan);
		return wrong;
	}
	(void)SYS3(NR_mprotect, file, size + 1, PROT_READ);
	*result = plan;
	return NULL;
}

const char *image_read(struct plan **plan, const char *path)
{
	char *copy = sys_memory(IMAGE_PATH);
	const char *wrong;
	struct sys_stat st;
	int fd;

	if (!copy)
		return "there is no memory for it";
	fd = path[0] == '/' && text_copy(copy, IMAGE_PATH, path) ? sys_open(path, O_RDONLY | O_NOFOLLOW) : -ENOENT;
	if (path[0] != '/')
		wrong = "its path is not absolute";
	else if (fd < 0)
		wrong = fd == -ENOENT ? "it does not exist" : "it cannot be opened (or is a symbolic link)";
	else if (sys_fstat(fd, &st) < 0 || (st.mode & S_IFMT) != S_IFREG)
		wrong = "it is not a regular file";
	else if (st.uid != 0 && st.uid != (uint32_t)SYS0(NR_geteuid))
		wrong = "it belongs to another user";
	else if (st.mode & 022)
		wrong = "group or others may write it";
	else if (lies_open(copy))
		wrong = "its directory may be written by group or others";
	else if (st.size > IMAGE_BYTES)
		wrong = "it is too large";
	else
		wrong = load(plan, fd, (size_t)st.size, path);
	if (fd >= 0)
		sys_close(fd);
	sys_release(copy, IMAGE_PATH);
	return wrong;
}

/* --- searching --- */

/* The record of a key. */
static const void *find(const struct plan *plan, enum image_table table, const void *key)
{
	uint32_t low = 0, high = image_count(plan, table);

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		int order = compare(plan, table, key, record(plan, table, middle));

		if (order == 0)
			return record(plan, table, middle);
		if (order > 0)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

const struct image_name *image_name(const struct plan *plan, const char *name)
{
	return find(plan, NAMES, name);
}

const struct image_lib *image_path(const struct plan *plan, const char *path)
{
	const struct image_path *found = find(plan, PATHS, path);

	return found ? image_lib(plan, found->lib) : NULL;
}

bool image_has_object(const struct plan *plan, struct image_id object)
{
	return find(plan, OBJECTS, &object) != NULL;
}

bool image_has_program(const struct plan *plan, const struct image_program *program)
{
	return find(plan, PROGRAMS, program) != NULL;
}
