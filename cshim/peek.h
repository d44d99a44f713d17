/* The needed names of an ELF file that is not mapped. */
#ifndef CUDASHIM_PEEK_H
#define CUDASHIM_PEEK_H

#include <stdbool.h>

/* Told of one needed name, which lives for the time of the call only; true ends the walk. */
typedef bool peek_sees(void *with, const char *needed);

/* Tells `sees` of each DT_NEEDED of the file, in the file's order. Anything that is not a shared object for this
 * machine, or that does not hold together, has none. */
void peek_needed(const char *path, peek_sees *sees, void *with);

#endif
