/* Strings and memory without a C library. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Strings end in NUL, and none of these looks behind it. */

/* The two calls that the compiler makes up on its own; hidden, so that they are never imported (a strong import that
 * cannot be found ends every process that has us preloaded). */
void *memcpy(void *restrict to, const void *restrict from, size_t size);
void *memset(void *to, int byte, size_t size);

size_t text_length(const char *s);
/* Below, equal to or above 0, by bytes. */
int text_compare(const char *a, const char *b);
#define text_same(a, b) (text_compare(a, b) == 0)
/* What follows the prefix; NULL if `s` does not begin so. */
const char *text_after(const char *s, const char *prefix);
bool text_has(const char *s, char c);
/* What follows the last slash; the whole string if there is none. */
const char *text_base(const char *path);
/* Copies with the closing NUL, and answers where that is. */
char *text_put(char *to, const char *from);
/* The same where there is room for it; false, and nothing copied, if not. */
bool text_copy(char *to, size_t room, const char *from);
/* The decimal digits of n, written to the end of buf; answers their start. */
char *text_decimal(char buf[static 21], uint64_t n);
/* The first row, from `row` on, whose name `s` begins with; NULL if there is none. A row is what build.rs makes of a line of
 * a table: a letter, the length of the name in one byte, the name; they are in the order of the names. No pointers: the
 * loader would have to relocate them in every process. */
const char *text_row(const char *row, const char *s);
