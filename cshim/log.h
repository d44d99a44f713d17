/* What the shim says, and where. */
#ifndef CUDASHIM_LOG_H
#define CUDASHIM_LOG_H

#include <stdbool.h>
#include <stddef.h>

/* Warnings are said unless CUDASHIM_LOG=off, decisions only where it asks for them. */
enum log_level { LOG_WARNING, LOG_DECISION };

/* Called once, when the environment is read; `value` may be NULL. */
void log_setup(const char *value);

/* Says once the plan is looked for that the value is none we know. */
void log_complain(void);

/* Whether decisions are said. */
bool log_is_on(void);

/* One line of the strings up to NULL, with one write(2). */
void log_say(enum log_level level, ...) __attribute__((sentinel));

/* Appends to a file of that path, made if it is not there, with one write(2); false if it cannot be opened. */
bool log_append(const char *path, const char *line, size_t size);

#endif
