/* Strings and memory without a C library. Called from everywhere; touches nothing but what it is handed, and looks behind no
 * NUL. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* These two are called by compiled code too; hidden, so that they are never imported. The loops must not be turned into
 * calls of themselves: the build says -fno-tree-loop-distribute-patterns. */
void *memcpy(void *restrict to, const void *restrict from, size_t size)
{
	for (size_t i = 0; i < size; i++)
		((char *)to)[i] = ((const char *)from)[i];
	return to;
}

void *memset(void *to, int byte, size_t size)
{
	for (size_t i = 0; i < size; i++)
		((char *)to)[i] = (char)byte;
	return to;
}

static size_t text_length(const char *s)
{
	const char *end = s;

	while (*end)
		end++;
	return (size_t)(end - s);
}

/* Below, equal to or above 0, as unsigned bytes, which is the order that the binary sorts by. */
static int text_compare(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return (unsigned char)*a - (unsigned char)*b;
}
#define text_same(a, b) (text_compare(a, b) == 0)

/* What follows the prefix; NULL if `s` does not begin so. */
static const char *text_after(const char *s, const char *prefix)
{
	while (*prefix)
		if (*s++ != *prefix++)
			return NULL;
	return s;
}

static bool text_has(const char *s, char c)
{
	while (*s && *s != c)
		s++;
	return *s == c;
}

/* What follows the last slash: "" for a path that ends in one, the whole string if there is none. */
static const char *text_base(const char *path)
{
	const char *base = path;

	for (; *path; path++)
		if (*path == '/')
			base = path + 1;
	return base;
}

/* Copies with the closing NUL, and answers where that is. Forward, byte by byte: `to` may lie before `from` in the same
 * string. */
static char *text_put(char *to, const char *from)
{
	while ((*to = *from++))
		to++;
	return to;
}

/* The same where there is room for it, as for what comes from outside; false, and nothing copied, if not. */
static bool text_copy(char *to, size_t room, const char *from)
{
	return text_length(from) < room && text_put(to, from);
}

/* The decimal digits of n, of which 64 bits have 20 at the most, written to the end of buf; answers their start. */
static char *text_decimal(char buf[static 21], uint64_t n)
{
	char *at = buf + 20;

	*at = '\0';
	do
		*--at = (char)('0' + n % 10);
	while (n /= 10);
	return at;
}

/* The first row, from `row` on, whose name `s` begins with; NULL if there is none. A row is the length of a name in one byte,
 * and the name; they are in the order of the names (build.rs). No pointers: the loader would have to relocate them in every
 * process. */
static const char *text_row(const char *row, const char *s)
{
	/* The first letter ends the search early; `s` ends where a name cannot go on. */
	for (int i; *row && row[1] <= *s; row += 1 + row[0]) {
		for (i = 0; i < row[0] && s[i] == row[1 + i];)
			i++;
		if (i == row[0])
			return row;
	}
	return NULL;
}
