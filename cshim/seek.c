/* The file that the loader would take for a bare name: by DT_RPATH, LD_LIBRARY_PATH and DT_RUNPATH of who opens or needs it.
 * The cache of ld.so, its own directories and the run paths of others are not looked at: what is installed there has its
 * libraries there, too.
 *
 * Called by choose.c on the host's thread, for names that are not CUDA's. A wrong answer costs a question to the binary, or a
 * library that is loaded early. Works in memory of its own. Most names are opened again, and most files needed by several: what
 * was looked at in vain is noted. */

/* Whose run path counts, and whether it is known to have none; what is sought, and the files found so far, as many as one call
 * looks into. */
enum { FILES = 16 };
struct seek {
	const char *user, *name;
	bool has_path, has_none;
	uint32_t count;
	char (*files)[PATH];
};

/* A peek_test: whether one of the directories has the file. The loader expands $ORIGIN to where the user lies. */
static bool in_dirs(const char *dirs, void *with)
{
	struct seek *seek = with;
	char *file = seek->files[seek->count];
	struct stat st;

	seek->has_path = true;
	for (const char *rest; *dirs; dirs += *dirs != '\0') {
		size_t origin = 0, length = 0;

		/* With any other token of the loader's ($LIB, $PLATFORM) it stays as it is, and leads to no file. */
		if ((rest = text_after(dirs, "$ORIGIN")) || (rest = text_after(dirs, "${ORIGIN}")))
			origin = (size_t)(text_base(seek->user) - seek->user);
		else
			rest = dirs;
		/* In the variable the loader takes a semicolon for a colon, too (ld.so(8)). */
		while (rest[length] && rest[length] != ':' && rest[length] != ';')
			length++;
		dirs = rest + length;
		if (origin + length + text_length(seek->name) + 2 > PATH)
			continue;
		memcpy(file, seek->user, origin);
		memcpy(file + origin, rest, length);
		file[origin + length] = '/';
		(void)text_put(file + origin + length + 1, seek->name);
		if (*file == '/' && sys_stat(file, &st) == 0 && S_ISREG(st.st_mode))
			return true;
	}
	return false;
}

/* Whether there is a file for the name; it stands behind those that are counted. In the order of the loader, which leaves out
 * the first where there is the last. */
static bool find_file(struct seek *seek, const char *name)
{
	bool found;

	if (!seek->files || seek->count == FILES || seek->has_none)
		return false;
	seek->name = name;
	found = peek_any(seek->user, DT_RPATH, in_dirs, seek) || (identity.search && in_dirs(identity.search, seek)) ||
		peek_any(seek->user, DT_RUNPATH, in_dirs, seek);
	seek->has_none = !seek->has_path;
	return found;
}

/* Whether the file is one that the object at `caller` gets for a path, or for a bare name. Where there is none for that, it is
 * not looked for again; at the last, half of the notes are left for others. */
static bool seek_file(const char *name, const void *caller, bool (*is)(const char *path, int mode), int mode)
{
	uint64_t hash = note_hash(name, (uint64_t)caller);
	struct seek seek = {0};
	bool found;

	if (text_has(name, '/'))
		return is(name, mode);
	if (names_are_libc(name) || note_count >= NOTES / 2 || note_find(hash) != UNKNOWN)
		return false;
	/* The program itself has no path among what is mapped. */
	seek.user = objects_path(caller);
	if (!*seek.user)
		seek.user = identity.path;
	seek.files = sys_memory(sizeof *seek.files);
	found = find_file(&seek, name) && is(*seek.files, mode);
	sys_release(seek.files, sizeof *seek.files);
	if (!found)
		note_add(hash, false);
	return found;
}

/* A peek_test: whether a needed name is CUDA's; if not, its file is one more to look into. */
static bool leads_to_cuda(const char *name, void *with)
{
	struct seek *seek = with;
	uint64_t hash;

	if (names_know(name, NULL))
		return true;
	if (names_are_libc(name) || !find_file(seek, name))
		return false;
	hash = note_hash(seek->files[seek->count], 0);
	if (note_find(hash) == UNKNOWN) {
		note_add(hash, false);
		seek->count++;
	}
	return false;
}

/* Whether the file at `path` needs a name of CUDA, or what it needs does. */
static bool seek_cuda(const char *path, int unused)
{
	struct seek seek = {.user = path, .files = sys_memory(FILES * sizeof *seek.files)};
	uint32_t at = 0;
	bool found;

	/* Breadth first, as the loader: those found last are looked into last. */
	while (!(found = peek_any(seek.user, DT_NEEDED, leads_to_cuda, &seek)) && at < seek.count) {
		seek.user = seek.files[at++];
		seek.has_path = seek.has_none = false;
	}
	sys_release(seek.files, FILES * sizeof *seek.files);
	return found;
}
