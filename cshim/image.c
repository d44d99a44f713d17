/* Reads the compiled plan into memory of our own, checks all of it once, and searches it by halves.
 *
 * image_read is called by plan.c inside the gate, with a path from the environment or from the binary's answer; nothing that
 * is found wrong in the file is ever looked at again, and nothing that happens to the file later can reach us. The searches
 * are called by both doors from any thread, and only read.
 */

enum { IMAGE_BYTES = 4 << 20, IMAGE_LIBS = 1024 };

/* From HOW_KEEP on, the loader finds it; HOW_OWN: one of the consumer's own, which is never loaded by itself. */

enum how { HOW_PRELOAD, HOW_REDIRECT, HOW_KEEP, HOW_OWN };

/* The records, as they lie in the file. Strings are offsets into its block of strings. */

/* A library: the file as it was when the plan was compiled (mtime in ns), and how it is handed out. */
struct lib {
	uint64_t dev, ino, size, mtime;
	uint32_t soname, path, how, zero;
};

/* A file, and the directory it is started from, where it is a program; else zeros: an object. */
struct id {
	uint64_t dev, ino, dir_dev, dir_ino;
};

/* A bare name, or the absolute path that a plan replaces; the index of its library; `alias`: any but its soname. */
struct name {
	uint32_t name, lib, alias;
};

/* How many records each table has, in the order in which they lie behind the header; of the strings, how many bytes. */
struct image_header {
	char magic[8];
	uint32_t version, size, libs, ids, names, strings;
};

/* What became of our own attempt to load a library, and what has been said of it. */
enum { LIB_UNTRIED, LIB_LOADED, LIB_FAILED };

struct lib_state {
	_Atomic unsigned char load, said;
};

/* The file, its parts once they have passed all checks, and what is known of its libraries. Only one is ever read that is in
 * force, and it lasts as long as the process; plan.c says from when on it may be looked at. */
static struct plan {
	const struct image_header *header;
	const struct lib *libs;
	const struct id *ids;
	const struct name *names;
	const char *strings;
	struct lib_state states[IMAGE_LIBS];
	char path[PATH];
} plan LARGE;

/* A string, and the state of a library, of the plan. */
#define image_text(at) (plan.strings + (at))
#define image_state(lib) (&plan.states[(lib) - plan.libs])

/* --- the order of the sorted tables: of a key and a record, below, equal to or above 0 --- */

typedef int order(const void *key, uint32_t record);

/* Called with a name of the plan, or of the host's: any string. */
static int name_order(const void *key, uint32_t record)
{
	return text_compare(key, image_text(plan.names[record].name));
}

/* Called with a struct id: four numbers, of which the first counts most. */
static int id_order(const void *key, uint32_t record)
{
	const uint64_t *x = key, *y = (const uint64_t *)&plan.ids[record];

	for (int i = 0; i < 4; i++)
		if (x[i] != y[i])
			return x[i] < y[i] ? -1 : 1;
	return 0;
}

/* --- checks: called by image_read alone, before anything else looks at the file --- */

/* Sets the parts, one behind the other up to the end; none of their records has been looked at when it answers. */
static bool parts_hold(void)
{
	const struct image_header *h = plan.header;
	uint64_t libs = (uint64_t)h->libs * sizeof *plan.libs, ids = (uint64_t)h->ids * sizeof *plan.ids;
	uint64_t names = (uint64_t)h->names * sizeof *plan.names;

	if (sizeof *h + libs + ids + names + h->strings != h->size || !h->strings || h->libs > IMAGE_LIBS)
		return false;
	plan.libs = (const void *)(h + 1);
	plan.ids = (const void *)(plan.libs + h->libs);
	plan.names = (const void *)(plan.ids + h->ids);
	plan.strings = (const void *)(plan.names + h->names);
	return !plan.strings[h->strings - 1];
}

/* Whether a string of the plan begins there. No longer than a path may be: many strings can share one end, and all of them
 * are compared. */
static bool is_string(uint32_t at)
{
	for (uint32_t end = at; end < plan.header->strings && end - at < PATH; end++)
		if (!plan.strings[end])
			return true;
	return false;
}

/* Each record leads to something, and each key is above the one before: it stands once, and halving finds it. The loader
 * would expand a `$`; a name with a slash is a path, and no relative one. */
static bool records_hold(void)
{
	const struct image_header *h = plan.header;

	for (const struct lib *lib = plan.libs; lib < plan.libs + h->libs; lib++)
		if (!is_string(lib->soname) || !is_string(lib->path) || *image_text(lib->path) != '/' ||
		    text_has(image_text(lib->path), '$') || lib->how > HOW_OWN)
			return false;
	for (uint32_t i = 0; i < h->names; i++) {
		const struct name *name = &plan.names[i];

		if (!is_string(name->name) || name->lib >= h->libs || name->alias > 1 ||
		    (*image_text(name->name) != '/' && text_has(image_text(name->name), '/')) ||
		    (i && name_order(image_text(name[-1].name), i) >= 0))
			return false;
	}
	for (uint32_t i = 1; i < h->ids; i++)
		if (id_order(&plan.ids[i - 1], i) >= 0)
			return false;
	return true;
}

/* What is wrong with the bytes that were read, or NULL: from the outside in, each check on what those before it have let
 * through. Behind them there is a 0. */
static const char *check(size_t size)
{
	if (text_after((const char *)plan.header, "cudashim-plan\t"))
		return "it is text, which `cudashim run --plan FILE` compiles for a program";
	if (size < sizeof *plan.header || !text_after(plan.header->magic, "cudashim") || plan.header->version != 4)
		return "it is no compiled plan of this version";
	if (plan.header->size != size)
		return "it is cut off";
	if (!parts_hold())
		return "its tables do not fill it";
	return records_hold() ? NULL : "a record is malformed or out of order";
}

/* --- reading --- */

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
	/* A read may give less than it was asked for, on some file systems of the network. */
	while (have <= size && ((got = sys_read(fd, file + have, size + 1 - have)) > 0 || got == -EINTR))
		have += got > 0 ? (size_t)got : 0;
	plan.header = (const void *)file;
	(void)text_copy(plan.path, sizeof plan.path, path);
	wrong = have == size ? check(size) : "it changed while it was read";
	if (wrong)
		sys_release(file, size + 1);
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

/* NULL when the file can be used, and is in `plan`; else why not (a string constant), and nothing is. `path` is the same
 * again when it returns. Opened once, and checked through the descriptor: what stands at the path meanwhile does not count. A
 * pipe is opened without waiting for its writer, and then refused. */
static const char *image_read(char *path)
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
	for (uint32_t low = 0, high = count; low < high;) {
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

/* The record of a name, or NULL. Called for each name that the host opens or a file needs; most are no names of the plan. */
static const struct name *image_name(const char *name)
{
	uint32_t at = find(name_order, name, plan.header->names);

	return at < plan.header->names ? &plan.names[at] : NULL;
}

/* The library that has this soname, or NULL. */
static const struct lib *image_lib(const char *soname)
{
	const struct name *found = image_name(soname);

	return found && !found->alias ? &plan.libs[found->lib] : NULL;
}

/* Whether the plan is for a program, or was made for an object. Called for the program once, then for each object that wants
 * something of the plan. */
static bool image_has(struct id id)
{
	return find(id_order, &id, plan.header->ids) < plan.header->ids;
}
