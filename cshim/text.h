/* Strings and memory without a C library. */
#ifndef CUDASHIM_TEXT_H
#define CUDASHIM_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The four calls a compiler makes up on its own; hidden, so that they are never imported (a strong import that cannot be
 * found ends every process that has us preloaded). */
void *memcpy(void *restrict to, const void *restrict from, size_t size);
void *memmove(void *to, const void *from, size_t size);
void *memset(void *to, int byte, size_t size);
int memcmp(const void *a, const void *b, size_t size);

size_t text_length(const char *s);
/* Below, equal to or above 0, by bytes. */
int text_compare(const char *a, const char *b);
bool text_same(const char *a, const char *b);
bool text_starts(const char *s, const char *prefix);
bool text_has(const char *s, char c);
/* What follows the last slash; the whole string if there is none. */
const char *text_base(const char *path);
/* Copies with the closing NUL; false, and nothing copied, if it does not fit. */
bool text_copy(char *to, size_t room, const char *from);
/* The decimal digits of n, written to the end of buf; answers their start. */
char *text_decimal(char buf[static 21], uint64_t n);

#endif
