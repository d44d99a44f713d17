/* Reads the compiled plan into memory of our own, checks all of it once, and searches it by halves.
 *
 * image_read is called by plan.c inside the gate; nothing that is found wrong in the file is ever looked at again, and nothing
 * that happens to the file later can reach us. The searches are called by both doors from any thread, and only read. */

enum { IMAGE_BYTES = 4 << 20, IMAGE_LIBS = 1024 };

/* From HOW_KEEP on, the loader finds it; HOW_OWN: one of the consumer's own, which is never loaded by itself. */
enum how { HOW_PRELOAD, HOW_REDIRECT, HOW_KEEP, HOW_OWN };

/* The records, as they lie in the file; strings are offsets into its block of strings. A library: its file as it was when the
 * plan was compiled (mtime in ns), and how it is handed out. */
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

/* The file, its parts once they have passed all checks, and what is known of its libraries. Only one is ever read that is in
 * force, and it lasts as long as the process; plan.c says from when on it may be looked at. */
static struct plan {
	const struct image_header *header;
	const struct lib *libs;
	const struct id *ids;
	const struct name *names;
	const char *strings;
	/* Of each library, whether we have loaded it, or could not, and what was said of why it is not used. */
	_Atomic unsigned char settled[IMAGE_LIBS], said[IMAGE_LIBS];
	char *path; /* NULL where none was given */
} plan;

#define image_text(at) (plan.strings + (at))

/* The order of a sorted table: of a key and a record, below, equal to or above 0. */
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

/* Whether a string of the plan begins there, no longer than a path may be. That all of them end has been looked at. */
static bool is_string(uint32_t at)
{
	return at < plan.header->strings && text_length(image_text(at)) < PATH;
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
	for (uint32_t i = 1; i < h->ids; i++)
		if (id_order(&plan.ids[i - 1], i) >= 0)
			return false;
	for (uint32_t i = 0; i < h->names; i++) {
		const struct name *name = &plan.names[i];

		if (!is_string(name->name) || name->lib >= h->libs || name->alias > 1 ||
		    (*image_text(name->name) != '/' && text_has(image_text(name->name), '/')) ||
		    (i && name_order(image_text(name[-1].name), i) >= 0))
			return false;
	}
	return true;
}

/* What is wrong with the bytes that were read, or NULL: from the outside in, each check on what those before it have let
 * through. Behind them there is a 0. */
static const char *check(size_t size)
{
	const struct image_header *h = plan.header;

	if (text_after(h->magic, "cudashim-plan\t"))
		return "it is text, which `cudashim run --plan FILE` compiles for a program";
	if (size < sizeof *h || !text_after(h->magic, "cudashim") || h->version != 4)
		return "it is no compiled plan of this version";
	if (h->size != size)
		return "it is cut off";
	/* Counts of 32 bits cannot lead around the addresses of 64. */
	plan.libs = (const void *)(h + 1);
	plan.ids = (const void *)(plan.libs + h->libs);
	plan.names = (const void *)(plan.ids + h->ids);
	plan.strings = (const void *)(plan.names + h->names);
	if (plan.strings + h->strings != (const char *)h + size || !h->strings || plan.strings[h->strings - 1] ||
	    h->libs > IMAGE_LIBS)
		return "its tables do not fill it";
	return records_hold() ? NULL : "a record is malformed or out of order";
}

/* Whether anyone else may put another file in the place of this one (an older plan of ours, say), or change it: why not. In
 * a sticky directory only its owner may. */
static const char *check_owner(int fd, size_t *size)
{
	struct stat st, dir;

	if (sys_fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return "it is not a regular file";
	if (st.st_uid != 0 && st.st_uid != (uint32_t)SYS(SYS_geteuid))
		return "it belongs to another user";
	if (st.st_mode & 022)
		return "group or others may write it";
	if (sys_stat_dir(plan.path, &dir) < 0 || ((dir.st_mode & 022) && !(dir.st_mode & S_ISVTX)))
		return "its directory may be written by group or others";
	*size = (size_t)st.st_size;
	return *size > IMAGE_BYTES ? "it is too large" : NULL;
}

/* NULL when the file at plan.path can be used, and is in `plan`; else why not (a string constant). Opened once, and checked
 * through the descriptor: what stands at the path meanwhile does not count. A pipe is opened without waiting for its writer,
 * and then refused. */
static const char *image_read(void)
{
	size_t size = 0, have = 0;
	const char *wrong;
	char *file = NULL;
	long got;
	int fd;

	if (*plan.path != '/')
		return "its path is not absolute";
	fd = sys_open(plan.path, O_RDONLY | O_NOFOLLOW);
	if (fd < 0)
		return fd == -ENOENT ? "it does not exist" : "it cannot be opened (or is a symbolic link)";
	wrong = check_owner(fd, &size);
	/* One byte more than the file has: it must be as long as it said. */
	if (!wrong && !(file = sys_memory(size + 1)))
		wrong = "there is no memory for it";
	/* A read may give less than it was asked for, on some file systems of the network. */
	while (!wrong && have <= size && ((got = sys_read(fd, file + have, size + 1 - have)) > 0 || got == -EINTR))
		have += got > 0 ? (size_t)got : 0;
	sys_close(fd);
	plan.header = (const void *)file;
	if (!wrong)
		wrong = have == size ? check(size) : "it changed while it was read";
	if (wrong)
		sys_release(file, size + 1);
	else
		(void)SYS(SYS_mprotect, file, size + 1, PROT_READ);
	return wrong;
}

/* The index of the record of a key among so many; `count` where there is none. */
static uint32_t find(order *order, const void *key, uint32_t count)
{
	uint32_t low = 0, high = count, middle;

	while (low < high) {
		middle = low + (high - low) / 2;
		if (order(key, middle) > 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low < count && order(key, low) == 0 ? low : count;
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
