/* Reads the compiled plan into memory of our own, checks all of it once, and searches it by halves.
 *
 * Called with a path from the environment or from the binary's answer; nothing that is found wrong in the file is ever
 * looked at again, and nothing that happens to the file later can reach us.
 */
#include "image.h"

#include "sys.h"
#include "text.h"

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

/* --- checks: called by image_read alone, before anything else looks at the file --- */

/* No longer than a path may be: many strings can share one end, and all of them are compared. */
static bool is_string(const struct plan *plan, uint32_t at)
{
	for (uint32_t end = at; end < plan->header->strings_size && end - at < IMAGE_PATH; end++)
		if (!plan->strings[end])
			return true;
	return false;
}

static bool is_path(const struct plan *plan, uint32_t at)
{
	return is_string(plan, at) && *image_text(plan, at) == '/';
}

/* Where a table begins, or NULL if it is not inside the file. */
static const void *table(const struct plan *plan, uint32_t at, uint32_t count, size_t record)
{
	const char *file = (const char *)plan->header;

	return at % 8 == 0 && at >= sizeof *plan->header && at <= plan->size && count <= (plan->size - at) / record ? file + at : NULL;
}

static bool set_tables(struct plan *plan)
{
	const struct image_header *h = plan->header;

	plan->libs = table(plan, h->libs.at, h->libs.count, sizeof *plan->libs);
	plan->names = table(plan, h->names.at, h->names.count, sizeof *plan->names);
	plan->paths = table(plan, h->paths.at, h->paths.count, sizeof *plan->paths);
	plan->programs = table(plan, h->programs.at, h->programs.count, sizeof *plan->programs);
	plan->objects = table(plan, h->objects.at, h->objects.count, sizeof *plan->objects);
	if (h->strings < sizeof *h || h->strings > plan->size || h->strings_size > plan->size - h->strings ||
	    h->strings_size == 0 || h->libs.count > IMAGE_LIBS)
		return false;
	plan->strings = (const char *)h + h->strings;
	return plan->libs && plan->names && plan->paths && plan->programs && plan->objects &&
	       plan->strings[h->strings_size - 1] == '\0';
}

/* As the numbers stand in a record, one after the other. */
static int compare_numbers(const void *a, const void *b, unsigned count)
{
	const uint64_t *x = a, *y = b;

	for (; count; count--, x++, y++)
		if (*x != *y)
			return *x < *y ? -1 : 1;
	return 0;
}

/* The order of two records. `numbers`: how many they begin with that count; 0: they begin with a string. */
static int compare(const struct plan *plan, const void *a, const void *b, unsigned numbers)
{
	return numbers ? compare_numbers(a, b, numbers)
		       : text_compare(image_text(plan, *(const uint32_t *)a), image_text(plan, *(const uint32_t *)b));
}

/* Strictly ascending: a key stands once, and halving finds it. Its strings are inside of the file. */
static bool is_sorted(const struct plan *plan, const void *records, uint32_t count, size_t size, unsigned numbers)
{
	const char *at = records;

	for (uint32_t i = 0; i < count; i++, at += size)
		if ((!numbers && !is_string(plan, *(const uint32_t *)(const void *)at)) ||
		    (i && compare(plan, at - size, at, numbers) >= 0))
			return false;
	return true;
}

static bool keys_are_sorted(const struct plan *plan)
{
	const struct image_header *h = plan->header;

	return is_sorted(plan, plan->names, h->names.count, sizeof *plan->names, 0) &&
	       is_sorted(plan, plan->paths, h->paths.count, sizeof *plan->paths, 0) &&
	       is_sorted(plan, plan->programs, h->programs.count, sizeof *plan->programs, 4) &&
	       is_sorted(plan, plan->objects, h->objects.count, sizeof *plan->objects, 2);
}

/* What the records lead to. */
static bool records_hold(const struct plan *plan)
{
	const struct image_header *h = plan->header;

	for (uint32_t i = 0; i < h->libs.count; i++) {
		const struct image_lib *lib = &plan->libs[i];

		/* The loader would expand a `$`. */
		if (!is_string(plan, lib->soname) || !is_path(plan, lib->path) || lib->how > HOW_OWN ||
		    text_has(image_text(plan, lib->path), '$'))
			return false;
	}
	for (uint32_t i = 0; i < h->names.count; i++)
		if (plan->names[i].lib >= h->libs.count || plan->names[i].alias > 1)
			return false;
	for (uint32_t i = 0; i < h->paths.count; i++)
		if (plan->paths[i].lib >= h->libs.count || !is_path(plan, plan->paths[i].path))
			return false;
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
	if (!set_tables(plan))
		return "a table lies outside of it";
	if (h->programs.count == 0)
		return "it is for no program";
	if (!records_hold(plan))
		return "a record is malformed";
	return keys_are_sorted(plan) ? NULL : "a table is out of order";
}

/* --- reading --- */

void image_free(struct plan *plan)
{
	if (plan && plan->header)
		sys_release((void *)plan->header, plan->size + 1);
	if (plan && plan->states)
		sys_release(plan->states, plan->size + 1);
	if (plan)
		sys_release(plan, sizeof *plan);
}

/* Called with an open file that has passed the checks of its owner. */
static const char *load(struct plan **result, int fd, size_t size, const char *path)
{
	struct plan *plan = sys_memory(sizeof *plan);
	/* One byte more than the file has: it must be as long as it said. */
	char *file = sys_memory(size + 1);
	const char *wrong = "there is no memory for it";
	size_t have = 0;

	while (file && have <= size) {
		long got = sys_read(fd, file + have, size + 1 - have);

		if (got <= 0)
			break;
		have += (size_t)got;
	}
	if (plan && file) {
		plan->header = (const void *)file;
		plan->size = size;
		/* A library has more bytes in the file than in here. */
		plan->states = sys_memory(size + 1);
		(void)text_copy(plan->path, sizeof plan->path, path);
		if (plan->states)
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

/* --- searching: read only, from any thread --- */

/* The record that begins as `key` does. */
static const void *find(const struct plan *plan, const void *records, uint32_t count, size_t size, const char *text,
			const void *key, unsigned numbers)
{
	const char *low = records;

	while (count) {
		const char *middle = low + count / 2 * size;
		int order = numbers ? compare_numbers(key, middle, numbers)
				    : text_compare(text, image_text(plan, *(const uint32_t *)(const void *)middle));

		if (order == 0)
			return middle;
		if (order > 0) {
			low = middle + size;
			count--;
		}
		count /= 2;
	}
	return NULL;
}

const struct image_name *image_name(const struct plan *plan, const char *name)
{
	return find(plan, plan->names, plan->header->names.count, sizeof *plan->names, name, NULL, 0);
}

const struct image_lib *image_path(const struct plan *plan, const char *path)
{
	const struct image_path *found = find(plan, plan->paths, plan->header->paths.count, sizeof *plan->paths, path, NULL, 0);

	return found ? &plan->libs[found->lib] : NULL;
}

bool image_has_object(const struct plan *plan, struct image_id object)
{
	return find(plan, plan->objects, plan->header->objects.count, sizeof object, NULL, &object, 2) != NULL;
}

bool image_has_program(const struct plan *plan, const struct image_program *program)
{
	return find(plan, plan->programs, plan->header->programs.count, sizeof *program, NULL, program, 4) != NULL;
}

bool image_owns(const struct plan *plan, const char *s)
{
	return (uintptr_t)s >= (uintptr_t)plan->strings && (uintptr_t)s < (uintptr_t)plan->strings + plan->header->strings_size;
}
