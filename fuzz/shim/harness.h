/* What the readers of cshim make of bytes, as text that another reader's can be compared with. */
#ifndef CUDASHIM_HARNESS_H
#define CUDASHIM_HARNESS_H

#include <stddef.h>

/* Both write to `out`, which has room for `room` bytes, and answer how many they wrote: each field ends in NUL.
 * -1: the plan is refused. Ends the process where the reader contradicts itself, or the room does not do. */

/* An image: a letter and fields for each record, table after table as in `struct ImageView` of src/plan. */
long harness_image(const unsigned char *bytes, size_t size, char *out, size_t room);

/* An ELF file: its needed names. */
long harness_peek(const unsigned char *bytes, size_t size, char *out, size_t room);

#endif
