/* What is mapped into this process. */
#ifndef CUDASHIM_OBJECTS_H
#define CUDASHIM_OBJECTS_H

#include <stdbool.h>

#include "elf64.h"
#include "plan.h"

enum mapped {
	MAPPED_NOT,
	MAPPED_CHOSEN, /* the file of the plan, and the loader knows it by its soname */
	MAPPED_CHOSEN_NAMELESS, /* the file of the plan, which names no soname: known by its path alone */
	MAPPED_OTHER, /* another file of the same soname */
};

enum { OBJECT_PATH = 1024 };

/* Whether an object of this soname is mapped. `lib` may be NULL: then any is MAPPED_OTHER. On MAPPED_OTHER,
 * `other` holds its path, cut to fit. */
enum mapped objects_find(const char *soname, const struct lib *lib, char other[static OBJECT_PATH]);

/* Whether the objects can be listed at all. */
bool objects_can(void);

/* The real dlopen in libc.so.6 or libdl.so.2, by their own hash tables; NULL if there is none. For processes in
 * which dlsym was not there when we were linked in: glibc before 2.34 whose libdl came later. */
void *objects_find_dlopen(void);

#endif
