/* The file that the loader would take for a bare name: by DT_RPATH, LD_LIBRARY_PATH and DT_RUNPATH of who opens or needs it.
 * The cache of ld.so, its own directories and the run paths of others are not looked at: what is installed there has its
 * libraries there, too.
 *
 * Called by choose.c on the host's thread; calls nobody who waits. A wrong answer costs a question to the binary, or a library
 * that is loaded early. Works in memory of its own.
 */
#include "shim.h"

/* Files that one call looks into; bare names, and both together, that a process looks for in vain before it gives up. */
enum { FILES = 16, NAMES = 64, LOOKS = 512 };

/* Whose run path counts, what is sought, and the files found so far. */
struct seek {
	const char *user, *name;
	uint32_t count;
	char (*files)[IMAGE_PATH];
};

/* --- what was looked at in vain: most names are opened again, most files needed by several --- */

static _Atomic uint32_t looks[LOOKS], look_count, name_count;

static uint32_t hash(const char *name, const void *by)
{
	uint32_t hash = (uint32_t)(uintptr_t)by;

	while (*name)
		hash = (hash ^ (unsigned char)*name++) * 16777619;
	return hash;
}

/* Also true once no more is to be looked at. */
static bool is_known(uint32_t hash)
{
	uint32_t count = look_count;

	for (uint32_t i = 0; i < count && i < LOOKS; i++)
		if (looks[i] == hash)
			return true;
	return count >= LOOKS;
}

static void know(uint32_t hash)
{
	uint32_t at = look_count < LOOKS ? look_count++ : LOOKS;

	if (at < LOOKS)
		looks[at] = hash;
}

/* --- one name --- */

/* A peek_test: whether one of the directories has the file. The loader expands $ORIGIN to where the user lies. */
static bool in_dirs(const char *dirs, void *with)
{
	struct seek *seek = with;
	char *file = seek->files[seek->count];
	struct stat st;

	for (const char *rest; *dirs; dirs += *dirs != '\0') {
		size_t origin = 0, length = 0;

		if ((rest = text_after(dirs, "$ORIGIN")) || (rest = text_after(dirs, "${ORIGIN}")))
			origin = (size_t)(text_base(seek->user) - seek->user);
		else
			rest = dirs;
		while (rest[length] && rest[length] != ':' && rest[length] != ';')
			length++;
		dirs = rest + length;
		if (origin + length + text_length(seek->name) + 2 > IMAGE_PATH)
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
static bool find(struct seek *seek, const char *name)
{
	seek->name = name;
	if (!seek->files)
		seek->files = sys_memory(FILES * sizeof *seek->files);
	return seek->files && seek->count < FILES &&
	       (peek_any(seek->user, DT_RPATH, in_dirs, seek) || (identity.search && in_dirs(identity.search, seek)) ||
		peek_any(seek->user, DT_RUNPATH, in_dirs, seek));
}

static void finish(struct seek *seek)
{
	if (seek->files)
		sys_release(seek->files, FILES * sizeof *seek->files);
}

bool seek_file(const char *name, const void *caller, seek_test *is, int mode)
{
	struct seek seek = {0};
	bool found;

	if (names_are_libc(name) || name_count >= NAMES || is_known(hash(name, caller)))
		return false;
	seek.user = objects_path(caller);
	if (!*seek.user)
		seek.user = identity.path;
	found = find(&seek, name) && is(*seek.files, mode);
	finish(&seek);
	if (!found) {
		know(hash(name, caller));
		name_count++;
	}
	return found;
}

/* --- what it leads to --- */

/* A peek_test: whether a needed name is CUDA's; if not, its file is one more to look into. */
static bool leads_to_cuda(const char *name, void *with)
{
	struct seek *seek = with;

	if (names_know(name, NULL))
		return true;
	if (!names_are_libc(name) && find(seek, name) && !is_known(hash(seek->files[seek->count], NULL)))
		know(hash(seek->files[seek->count++], NULL));
	return false;
}

bool seek_cuda(const char *path, int unused)
{
	struct seek seek = {.user = path};
	uint32_t at = 0;
	bool found;

	while (!(found = peek_any(seek.user, DT_NEEDED, leads_to_cuda, &seek)) && at < seek.count)
		seek.user = seek.files[at++];
	finish(&seek);
	return found;
}
