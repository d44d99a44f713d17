/* The plan file (docs/PLAN_FORMAT.md), read into memory of our own and parsed in place. */
#ifndef CUDASHIM_PLAN_H
#define CUDASHIM_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	PLAN_BYTES = 1 << 20,
	PLAN_LIBS = 1024,
	PLAN_RECORDS = 8192,
};

enum how { HOW_PRELOAD, HOW_REDIRECT, HOW_KEEP };

/* What became of our own attempt to load a library. */
enum lib_state { LIB_UNTRIED, LIB_LOADED, LIB_FAILED };

struct lib {
	const char *soname, *path;
	uint64_t dev, ino, size;
	int64_t mtime;
	enum how how;
	/* Changed while many threads read; atomic. */
	unsigned char state, told_changed, told_other;
	const char *refusal;
};

enum record_kind { RECORD_LIB, RECORD_ALIAS, RECORD_ABSENT, RECORD_TRIGGER, RECORD_REPLACE, RECORD_BUNDLE, RECORD_SCOPE };

/* What a key may be: a name asked for without a slash, a name that triggers, an absolute path, a trigger that has a
 * bundle, a scope. In each space a key stands once. */
enum key_space { KEY_NAME, KEY_TRIGGER, KEY_PATH, KEY_BUNDLE, KEY_SCOPE };

struct record {
	const char *key;
	/* absent: the path; trigger: the first of `count` sonames, one after the other, each ended by NUL. */
	const char *value;
	struct lib *lib; /* lib, alias, replace; trigger: its bundle, or NULL */
	uint32_t hash;
	uint32_t count;
	unsigned char kind;
	unsigned char done; /* trigger: every member is loaded by us, for good; atomic */
};

struct plan {
	char *text;
	size_t size;
	struct record *records;
	uint32_t record_count;
	struct lib *libs;
	uint32_t lib_count;
	uint16_t *slots; /* index of a record plus one; 0 is free */
	uint32_t slot_mask;
	uint32_t line; /* where parsing stopped, from 1 */
	void *tables; /* records, libs and slots */
	size_t tables_size;
	char path[4096];
};

/* Opens, checks, reads and parses into a plan that is all zero. NULL when it can be used, else why not (a string
 * constant); then `line` is where, or 0. */
const char *plan_load(struct plan *plan, const char *path);

/* Gives back what plan_load took, whatever it answered. */
void plan_free(struct plan *plan);

struct record *plan_find(const struct plan *plan, enum key_space space, const char *key);

/* The library of a soname, or NULL. */
struct lib *plan_lib(const struct plan *plan, const char *soname);

/* Whether the plan is meant for a program, by the path it was started by. A plan without scopes is for all, and a path
 * that is not absolute proves nothing. */
bool plan_covers(const struct plan *plan, const char *program);

/* Whether the string is one of the plan's own: an answer that we gave earlier. */
bool plan_owns(const struct plan *plan, const char *s);

#endif
