/* The compiled plan: docs/PLAN_FORMAT.md, "The image". */
#ifndef CUDASHIM_IMAGE_H
#define CUDASHIM_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { IMAGE_BYTES = 4 << 20, IMAGE_LIBS = 1024, IMAGE_PATH = 4096 };

/* From HOW_KEEP on, the loader finds it; HOW_OWN: one of the consumer's own, which is never loaded by itself. */
enum how { HOW_PRELOAD, HOW_REDIRECT, HOW_KEEP, HOW_OWN };

/* The tables, in the order of the header; all but the first are sorted by what their records begin with. */
enum image_table { LIBS, NAMES, PATHS, PROGRAMS, OBJECTS, TABLES };

/* In the file. Strings are offsets into its block of strings. */
struct image_lib {
	uint64_t dev, ino, size;
	int64_t mtime;
	uint32_t soname, path, how, zero;
};

struct image_name {
	uint32_t name, lib, alias, zero;
};

struct image_path {
	uint32_t path, lib;
};

struct image_id {
	uint64_t dev, ino;
};

struct image_program {
	struct image_id dir, file;
};

struct image_header {
	char magic[8];
	uint32_t version, size;
	struct {
		uint32_t at, count;
	} tables[TABLES], strings;
};

/* What became of our own attempt to load a library, and what has been said of it; atomic. */
enum { LIB_UNTRIED, LIB_LOADED, LIB_FAILED };

struct lib_state {
	unsigned char load, told;
};

struct plan {
	const struct image_header *header;
	const char *strings;
	size_t size;
	struct lib_state states[IMAGE_LIBS];
	char path[IMAGE_PATH];
};

/* NULL, and a plan in `*plan`, when the file can be used; else why not (a string constant). */
const char *image_read(struct plan **plan, const char *path);
/* Only for a plan that nobody else has seen: one that is in force lives as long as the process. */
void image_free(struct plan *plan);

const struct image_name *image_name(const struct plan *plan, const char *name);
/* The library that is to be given for an absolute path, or NULL. */
const struct image_lib *image_path(const struct plan *plan, const char *path);
bool image_has_object(const struct plan *plan, struct image_id object);
bool image_has_program(const struct plan *plan, const struct image_program *program);

/* Where the records of a table begin. */
static inline const void *image_records(const struct plan *plan, enum image_table table)
{
	return (const char *)plan->header + plan->header->tables[table].at;
}

static inline uint32_t image_count(const struct plan *plan, enum image_table table)
{
	return plan->header->tables[table].count;
}

static inline const struct image_lib *image_lib(const struct plan *plan, uint32_t index)
{
	return (const struct image_lib *)image_records(plan, LIBS) + index;
}

static inline const char *image_text(const struct plan *plan, uint32_t at)
{
	return plan->strings + at;
}

static inline struct lib_state *image_state(struct plan *plan, const struct image_lib *lib)
{
	return &plan->states[lib - image_lib(plan, 0)];
}

#endif
