/* The compiled plan: docs/PLAN_FORMAT.md, "The image". */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { IMAGE_BYTES = 4 << 20, IMAGE_LIBS = 1024, IMAGE_PATH = 4096 };

/* From HOW_KEEP on, the loader finds it; HOW_OWN: one of the consumer's own, which is never loaded by itself. */
enum how { HOW_PRELOAD, HOW_REDIRECT, HOW_KEEP, HOW_OWN };

/* The records, as they lie in the file. Strings are offsets into its block of strings, `lib` is the index of a library. */

/* A library: the file as it was when the plan was compiled (mtime in ns), and how it is handed out. */
struct image_lib {
	uint64_t dev, ino, size, mtime;
	uint32_t soname, path, how, zero;
};

/* A bare name, or the absolute path that a plan replaces; `alias`: any but the soname of the library. */
struct image_name {
	uint32_t name, lib, alias;
};

/* A file, and the directory it is started from, where it is a program; else zeros: an object. */
struct image_id {
	uint64_t dev, ino, dir_dev, dir_ino;
};

/* Where a table lies in the file, and how many records it has; of the strings, how many bytes. */
struct image_part {
	uint32_t at, count;
};

struct image_header {
	char magic[8];
	uint32_t version, size;
	struct image_part libs, names, ids, strings;
};

/* What became of our own attempt to load a library, and what has been said of it; atomic. */
enum { LIB_UNTRIED, LIB_LOADED, LIB_FAILED };

struct lib_state {
	_Atomic unsigned char load, said;
};

/* The file, its parts once they have passed all checks, and what is known of its libraries. Only one is ever read that is in
 * force, and it lasts as long as the process; plan.c says from when on it may be looked at. */
extern struct plan {
	const struct image_header *header;
	size_t size;
	const struct image_lib *libs;
	const struct image_name *names;
	const struct image_id *ids;
	const char *strings;
	struct lib_state states[IMAGE_LIBS];
	char path[IMAGE_PATH];
} plan;

/* A string, and the state of a library, of the plan. */
#define image_text(at) (plan.strings + (at))
#define image_state(lib) (&plan.states[(lib) - plan.libs])

/* NULL when the file can be used, and is in `plan`; else why not (a string constant), and nothing is. `path` has room for
 * IMAGE_PATH bytes, and is the same again when it returns. */
const char *image_read(char *path);
/* For a plan that nobody else has seen. */
void image_free(void);

/* The record of a name, or NULL. */
const struct image_name *image_name(const char *name);
/* Whether the plan is for a program, or was made for an object. */
bool image_has(struct image_id id);
