/* What the files of this object share, by the file that has it. Nobody outside calls any of it. */
#pragma once

#include <link.h>

#include "image.h"
#include "sys.h"
#include "text.h"

#define EXPORT __attribute__((visibility("default")))

/* --- log.c: what is said, and where --- */

/* Warnings are said unless CUDASHIM_LOG=off, decisions only where it asks for them. */
enum log_level { LOG_NOTHING = -1, LOG_WARNING, LOG_DECISION };

/* Called once, while the environment is read; `value` may be NULL. */
void log_setup(const char *value);
/* The last level that is said. */
extern enum log_level log_limit;
/* One line of the strings up to NULL, with one write(2). */
void log_say(enum log_level level, ...) __attribute__((sentinel));
/* Appends to a file of that path, made if it is not there, with one write(2); false if it cannot be opened. */
bool log_append(const char *path, const char *line, size_t size);

/* --- gate.c: one thread at a time, and nobody waits for ever --- */

/* Whoever gets in leaves it again before he calls anything of the loader or the host.
 * False: who is in is this very thread, or it took too long. */
bool gate_enter(void);
void gate_leave(void);

/* --- identity.c: what this process is, and the environment it was started with --- */

struct identity {
	/* Whether all of this has been read. */
	_Atomic bool known;
	/* Whether to stay out of everything; whether the loader may audit with another instance of us; whether the kernel asks
	 * for secure execution, as far as that had to be known. */
	bool out, audited, secure;
	/* The program, as the plan knows programs; all zero where it is not known. */
	struct image_id program;
	/* The environment: its entries, and a list for those that the binary may know; NULL where nobody can be asked. */
	char *entries, **variables;
	/* The value of LD_LIBRARY_PATH in them, which the loader read once, too. */
	const char *search;
	/* What descriptor 2 was, all zero where it was none. A host may close it and get the number again for a file of its own,
	 * and a warning must not end up in that. */
	struct stat stderr;
	/* The path of the program, as the binary is told it; empty where it is not known. */
	char path[IMAGE_PATH];
	/* CUDASHIM_PLAN; empty where it is unset or cannot be a path. */
	char given[IMAGE_PATH];
};

/* What most processes touch lies together, at the start: each page costs them a fault. */
extern struct identity identity;

/* Reads all of it unless that has been done; false if it cannot be, yet. Once it was true, nothing of it changes. */
bool identity_known(void);
/* What the binary may know of the environment, up to NULL; itself NULL where there is no memory. Inside the gate. */
char **identity_variables(void);

/* --- plan.c: the plan in force, and for whom it is --- */

/* Whether there is one: `plan`. `ask`: the call is CUDA's, so where none was given the binary is worth a question. */
bool plan_in_force(bool ask);
/* Whether a plan may ever come into force here. Cheap: asked before each dlopen. */
bool plan_may_be(void);
/* Whether the plan was made for the object at `path`, "" being the program itself: it gets what is kept, too. */
bool plan_proves(const char *path);
/* Whether the object at `path`, which opens, or needs, what the plan names, gets it; `name`: what it opens, NULL where it
 * needs it. May ask the binary. */
bool plan_serves(const char *path, const struct image_name *name);

/* --- names.c --- */

/* Whether a file's name is one of CUDA's: a peek_test. */
bool names_know(const char *name, void *unused);
/* Whether it is a part of libc, which every process has. */
bool names_are_libc(const char *name);

/* --- ask.c: the question --- */

/* Whether a binary is named in this object. */
bool ask_can(void);
/* Puts a question to it and waits, two seconds at the most. Its answer without the line feed, in memory that lasts until the
 * next question; NULL where there is none, which was said. The three may be NULL. */
char *ask(const char *image, const char *object, const char *name);

/* --- objects.c: what is mapped --- */

enum mapped {
	MAPPED_NOT,
	MAPPED_CHOSEN, /* the file of the plan, and the loader knows it by its soname */
	MAPPED_CHOSEN_NAMELESS, /* the file of the plan, which names no soname: known by its path alone */
	MAPPED_OTHER, /* another file of the same soname */
};

/* Where a library of the plan is. `say`: that it is another copy, once. Calls the loader, and so never inside the gate. */
enum mapped objects_find(const struct image_lib *lib, bool say);
/* The path of the object whose code lies at `address`, "" for the program itself and where there is none; a string of the
 * loader's, which is there as long as the object. */
const char *objects_path(const void *address);

/* --- peek.c: an ELF file that is not mapped --- */

typedef bool peek_test(const char *name, void *with);

/* Whether a string of that tag is one (DT_NEEDED, DT_RPATH, DT_RUNPATH): they are tried in its order, up to the first. `is` may
 * not load anything. */
bool peek_any(const char *path, int64_t tag, peek_test *is, void *with);

/* --- seek.c: the file that a bare name leads to (the dlopen door alone) --- */

typedef bool seek_test(const char *path, int mode);

/* Whether the file that the object at `caller` gets for a bare name is one. Where not, it is not looked for again. */
bool seek_file(const char *name, const void *caller, seek_test *is, int mode);
/* Whether the file at `path` needs a name of CUDA, or what it needs does: a seek_test. */
bool seek_cuda(const char *path, int unused);

/* --- load.c: bringing in what must be there first (the dlopen door alone) --- */

extern void *(*_Atomic cudashim_real)(const char *name, int mode);

/* The real dlopen, with errno and dlerror left as the host had them; NULL once it has loaded, else why not. */
const char *load_quietly(const char *path, int mode);
/* Loads what the file at `path`, which is about to be loaded, needs of the plan, and what that needs; `kept`: also where
 * the plan only keeps it. */
void load_needed(const char *path, bool kept, int mode);

/* --- said.c: what is said of a plan's libraries, by both doors --- */

/* A library that the plan only keeps where it is loses nothing if the loader finds it by itself. */
enum log_level said_level(const struct image_lib *lib);
/* Whether the file of a library is no longer the one that the plan was made for; says so once. */
bool said_changed(const struct image_lib *lib);
void said_other(const struct image_lib *lib, const char *other);
/* Says what is asked for instead of `name`, and by which rule; answers `answer`. */
const char *said_answer(const struct image_name *found, const char *name, const char *answer);

/* --- audit.c --- */

/* What the dlopen door asks the loader for, to learn whether the audit door of this process acts: only that answers. */
#define AUDIT_QUESTION "/cudashim: does the audit door act?"

/* The program itself: the first object of the base namespace. */
extern const struct link_map *audit_base;

/* An entry of that tag in the table of a mapped object, naming `name` where one is given. The loader has added the load
 * address to the addresses in the table, but where the table is read-only (the vDSO), and but for musl. */
static inline const char *elf_string(const Elf64_Dyn *table, uint64_t base, int64_t tag, const char *name)
{
	const char *strings = NULL;

	for (const Elf64_Dyn *dyn = table; dyn && dyn->d_tag != DT_NULL; dyn++)
		if (dyn->d_tag == DT_STRTAB)
			strings = (const char *)(dyn->d_un.d_ptr < base ? dyn->d_un.d_ptr + base : dyn->d_un.d_ptr);
	for (const Elf64_Dyn *dyn = table; strings && dyn->d_tag != DT_NULL; dyn++)
		if (dyn->d_tag == tag && (!name || text_same(strings + dyn->d_un.d_val, name)))
			return strings + dyn->d_un.d_val;
	return NULL;
}
