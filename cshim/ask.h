/* Asking the cudashim binary for a plan, where none was given. */
#ifndef CUDASHIM_ASK_H
#define CUDASHIM_ASK_H

#include <stdbool.h>
#include <stddef.h>

enum { ASK_ANSWER = 4096 };

/* Whether the name is one of CUDA's: lib<stem>[-<8 hex>].so[.<digits>]* with a stem of the catalogue. */
bool ask_knows(const char *name);

/* Whether a binary is named in this image. */
bool ask_can(void);

/* Runs the binary and waits for it, some ten seconds at the most. NULL when `path` holds the absolute path of a plan,
 * "" when the binary has none to give, else what went wrong. */
const char *ask_plan(char path[static ASK_ANSWER]);

#endif
