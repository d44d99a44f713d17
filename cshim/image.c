/* Reads the compiled plan into memory of our own, checks all of it once, and searches it by halves.
 *
 * image_read is called by plan.c inside the gate, with a path from the environment or from the binary's answer; nothing that
 * is found wrong in the file is ever looked at again, and nothing that happens to the file later can reach us. The searches
 * are called by both doors from any thread, and only read.
 */
#include "image.h"

#include "sys.h"
#include "text.h"

/* --- the order of the sorted tables: of a key and a record, below, equal to or above 0 --- */

typedef int order(const struct plan *plan, const void *key, uint32_t record);

static int by_name(const struct plan *plan, const void *key, uint32_t record)
{
	return text_compare(key, plan->strings + plan->names[record].name);
}

static int by_id(const struct plan *plan, const void *key, uint32_t record)
{
	const uint64_t *x = key, *y = (const uint64_t *)&plan->ids[record];

	for (int i = 0; i < 4; i++)
		if (x[i] != y[i])
			return x[i] < y[i] ? -1 : 1;
	return 0;
}

/* --- checks: called by image_read alone, before anything else looks at the file --- */

/* Where a part of the file lies; NULL unless that is between the header and the end. */
static const void *part(const struct plan *plan, struct image_part part, size_t size)
{
	if (part.at % 8 || part.at < sizeof *plan->header || part.at > plan->size || part.count > (plan->size - part.at) / size)
		return NULL;
	return (const char *)plan->header + part.at;
}

static bool parts_hold(struct plan *plan)
{
	const struct image_header *h = plan->header;

	plan->libs = part(plan, h->libs, sizeof *plan->libs);
	plan->names = part(plan, h->names, sizeof *plan->names);
	plan->ids = part(plan, h->ids, sizeof *plan->ids);
	plan->strings = part(plan, h->strings, 1);
	return plan->libs && plan->names && plan->ids && plan->strings && h->libs.count <= IMAGE_LIBS && h->strings.count &&
	       !plan->strings[h->strings.count - 1];
}

/* No longer than a path may be: many strings can share one end, and all of them are compared. */
static bool is_string(const struct plan *plan, uint32_t at)
{
	for (uint32_t end = at; end < plan->header->strings.count && end - at < IMAGE_PATH; end++)
		if (!plan->strings[end])
			return true;
	return false;
}

/* The loader would expand a `$`. */
static bool lib_holds(const struct plan *plan, const struct image_lib *lib)
{
	return is_string(plan, lib->soname) && is_string(plan, lib->path) && plan->strings[lib->path] == '/' &&
	       !text_has(plan->strings + lib->path, '$') && lib->how <= HOW_OWN;
}

/* A name with a slash is a path, and no relative one. */
static bool name_holds(const struct plan *plan, const struct image_name *name)
{
	return is_string(plan, name->name) && name->lib < plan->header->libs.count && name->alias <= 1 &&
	       (plan->strings[name->name] == '/' || !text_has(plan->strings + name->name, '/'));
}

/* Each record leads to something, and each key is above the one before: it stands once, and halving finds it. */
static bool records_hold(const struct plan *plan)
{
	const struct image_header *h = plan->header;

	for (uint32_t i = 0; i < h->libs.count; i++)
		if (!lib_holds(plan, &plan->libs[i]))
			return false;
	for (uint32_t i = 0; i < h->names.count; i++)
		if (!name_holds(plan, &plan->names[i]) ||
		    (i && by_name(plan, plan->strings + plan->names[i - 1].name, i) >= 0))
			return false;
	for (uint32_t i = 1; i < h->ids.count; i++)
		if (by_id(plan, &plan->ids[i - 1], i) >= 0)
			return false;
	return true;
}

/* What is wrong with a file of that size, or NULL. */
static const char *check(struct plan *plan)
{
	const struct image_header *h = plan->header;

	/* A byte behind the file is ours, and 0. */
	if (text_after((const char *)h, "cudashim-plan\t"))
		return "it is text, which `cudashim run --plan FILE` compiles for a program";
	if (plan->size < sizeof *h || !text_after(h->magic, "cudashim") || h->version != 3)
		return "it is no compiled plan of this version";
	if (h->size != plan->size)
		return "it is cut off";
	if (!parts_hold(plan))
		return "a table lies outside of it";
	return records_hold(plan) ? NULL : "a record is malformed or out of order";
}

/* --- reading --- */

void image_free(struct plan *plan)
{
	sys_release(plan->header, plan->size + 1);
	sys_release(plan, sizeof *plan);
}

/* Called with an open file that has passed the checks of its owner. */
static const char *load(struct plan **result, int fd, size_t size, const char *path)
{
	struct plan *plan = sys_memory(sizeof *plan);
	/* One byte more than the file has: it must be as long as it said. */
	char *file = plan ? sys_memory(size + 1) : NULL;
	const char *wrong;
	size_t have = 0;
	long got;

	if (!file)
		return "there is no memory for it";
	while (have <= size && ((got = sys_read(fd, file + have, size + 1 - have)) > 0 || got == -EINTR))
		have += got > 0 ? (size_t)got : 0;
	plan->header = (const void *)file;
	plan->size = size;
	(void)text_copy(plan->path, sizeof plan->path, path);
	wrong = have == size ? check(plan) : "it changed while it was read";
	if (wrong) {
		image_free(plan);
		return wrong;
	}
	(void)SYS(SYS_mprotect, file, size + 1, PROT_READ);
	*result = plan;
	return NULL;
}

/* Whether anyone else may put another file in the place of this one (an older plan of ours, say), or change it: why not. In
 * a sticky directory only its owner may. */
static const char *check_owner(int fd, char *path, struct stat *st)
{
	struct stat dir;

	if (sys_fstat(fd, st) < 0 || !S_ISREG(st->st_mode))
		return "it is not a regular file";
	if (st->st_uid != 0 && st->st_uid != (uint32_t)SYS(SYS_geteuid))
		return "it belongs to another user";
	if (st->st_mode & 022)
		return "group or others may write it";
	if (sys_stat_dir(path, &dir) < 0 || ((dir.st_mode & 022) && !(dir.st_mode & S_ISVTX)))
		return "its directory may be written by group or others";
	return st->st_size > IMAGE_BYTES ? "it is too large" : NULL;
}

const char *image_read(struct plan **plan, char *path)
{
	const char *wrong;
	struct stat st;
	int fd;

	if (path[0] != '/')
		return "its path is not absolute";
	fd = sys_open(path, O_RDONLY | O_NOFOLLOW);
	if (fd < 0)
		return fd == -ENOENT ? "it does not exist" : "it cannot be opened (or is a symbolic link)";
	wrong = check_owner(fd, path, &st);
	if (!wrong)
		wrong = load(plan, fd, (size_t)st.st_size, path);
	sys_close(fd);
	return wrong;
}

/* --- searching --- */

/* The index of the record of a key among so many; `count` where there is none. */
static uint32_t find(const struct plan *plan, order *order, const void *key, uint32_t count)
{
	uint32_t low = 0, high = count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		int is = order(plan, key, middle);

		if (is == 0)
			return middle;
		if (is > 0)
			low = middle + 1;
		else
			high = middle;
	}
	return count;
}

const struct image_name *image_name(const struct plan *plan, const char *name)
{
	uint32_t count = plan->header->names.count, at = find(plan, by_name, name, count);

	return at < count ? &plan->names[at] : NULL;
}

bool image_has(const struct plan *plan, struct image_id id)
{
	uint32_t count = plan->header->ids.count;

	return find(plan, by_id, &id, count) < count;
}
