/* Reads the compiled plan into memory of our own, checks all of it once, and searches it by halves.
 *
 * image_read is called by plan.c inside the gate, with a path from the environment or from the binary's answer; nothing that
 * is found wrong in the file is ever looked at again, and nothing that happens to the file later can reach us. The searches
 * are called by both doors from any thread, and only read.
 */
#include "image.h"

#include "sys.h"
#include "text.h"

struct plan plan;

/* --- the order of the sorted tables: of a key and a record, below, equal to or above 0 --- */

typedef int order(const void *key, uint32_t record);

/* Called with a name of the plan, or of the host's: any string. */
static int by_name(const void *key, uint32_t record)
{
	return text_compare(key, image_text(plan.names[record].name));
}

/* Called with a struct image_id: four numbers, of which the first counts most. */
static int by_id(const void *key, uint32_t record)
{
	const uint64_t *x = key, *y = (const uint64_t *)&plan.ids[record];

	for (int i = 0; i < 4; i++)
		if (x[i] != y[i])
			return x[i] < y[i] ? -1 : 1;
	return 0;
}

/* --- checks: called by image_read alone, before anything else looks at the file --- */

/* Where a part of the file lies; NULL unless that is between the header and the end. */
static const void *part(struct image_part part, size_t size)
{
	if (part.at % 8 || part.at < sizeof *plan.header || part.at > plan.size || part.count > (plan.size - part.at) / size)
		return NULL;
	return (const char *)plan.header + part.at;
}

/* Sets the parts; none of their records has been looked at when it answers. */
static bool parts_hold(void)
{
	const struct image_header *h = plan.header;

	plan.libs = part(h->libs, sizeof *plan.libs);
	plan.names = part(h->names, sizeof *plan.names);
	plan.ids = part(h->ids, sizeof *plan.ids);
	plan.strings = part(h->strings, 1);
	return plan.libs && plan.names && plan.ids && plan.strings && h->libs.count <= IMAGE_LIBS && h->strings.count &&
	       !plan.strings[h->strings.count - 1];
}

/* Whether a string of the plan begins there. No longer than a path may be: many strings can share one end, and all of them
 * are compared. */
static bool is_string(uint32_t at)
{
	for (uint32_t end = at; end < plan.header->strings.count && end - at < IMAGE_PATH; end++)
		if (!plan.strings[end])
			return true;
	return false;
}

/* Each record leads to something, and each key is above the one before: it stands once, and halving finds it. The loader
 * would expand a `$`; a name with a slash is a path, and no relative one. */
static bool records_hold(void)
{
	const struct image_header *h = plan.header;

	for (const struct image_lib *lib = plan.libs; lib < plan.libs + h->libs.count; lib++)
		if (!is_string(lib->soname) || !is_string(lib->path) || *image_text(lib->path) != '/' ||
		    text_has(image_text(lib->path), '$') || lib->how > HOW_OWN)
			return false;
	for (uint32_t i = 0; i < h->names.count; i++) {
		const struct image_name *name = &plan.names[i];

		if (!is_string(name->name) || name->lib >= h->libs.count || name->alias > 1 ||
		    (*image_text(name->name) != '/' && text_has(image_text(name->name), '/')) ||
		    (i && by_name(image_text(name[-1].name), i) >= 0))
			return false;
	}
	for (uint32_t i = 1; i < h->ids.count; i++)
		if (by_id(&plan.ids[i - 1], i) >= 0)
			return false;
	return true;
}

/* What is wrong with what was read, or NULL: from the outside in, each check on what those before it have let through. */
static const char *check(void)
{
	const struct image_header *h = plan.header;

	/* A byte behind the file is ours, and 0. */
	if (text_after((const char *)h, "cudashim-plan\t"))
		return "it is text, which `cudashim run --plan FILE` compiles for a program";
	if (plan.size < sizeof *h || !text_after(h->magic, "cudashim") || h->version != 3)
		return "it is no compiled plan of this version";
	if (h->size != plan.size)
		return "it is cut off";
	if (!parts_hold())
		return "a table lies outside of it";
	return records_hold() ? NULL : "a record is malformed or out of order";
}

/* --- reading --- */

/* Called by plan.c for a plan of another program, and here for what is refused. */
void image_free(void)
{
	sys_release(plan.header, plan.size + 1);
}

/* Called with an open file that has passed the checks of its owner. */
static const char *load(int fd, size_t size, const char *path)
{
	/* One byte more than the file has: it must be as long as it said. */
	char *file = sys_memory(size + 1);
	const char *wrong;
	size_t have = 0;
	long got;

	if (!file)
		return "there is no memory for it";
	while (have <= size && ((got = sys_read(fd, file + have, size + 1 - have)) > 0 || got == -EINTR))
		have += got > 0 ? (size_t)got : 0;
	plan.header = (const void *)file;
	plan.size = size;
	(void)text_copy(plan.path, sizeof plan.path, path);
	wrong = have == size ? check() : "it changed while it was read";
	if (wrong)
		image_free();
	else
		(void)SYS(SYS_mprotect, file, size + 1, PROT_READ);
	return wrong;
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

/* Opened once, and checked through the descriptor: what stands at the path meanwhile does not count. A pipe is opened
 * without waiting for its writer, and then refused. */
const char *image_read(char *path)
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
		wrong = load(fd, (size_t)st.st_size, path);
	sys_close(fd);
	return wrong;
}

/* --- searching --- */

/* The index of the record of a key among so many; `count` where there is none. */
static uint32_t find(order *order, const void *key, uint32_t count)
{
	uint32_t low = 0, high = count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		int is = order(key, middle);

		if (is == 0)
			return middle;
		if (is > 0)
			low = middle + 1;
		else
			high = middle;
	}
	return count;
}

/* Called for each name that the host opens or a file needs; most are no names of the plan. */
const struct image_name *image_name(const char *name)
{
	uint32_t count = plan.header->names.count, at = find(by_name, name, count);

	return at < count ? &plan.names[at] : NULL;
}

/* Called for the program once, then for each object that wants something of the plan. */
bool image_has(struct image_id id)
{
	return find(by_id, &id, plan.header->ids.count) < plan.header->ids.count;
}
