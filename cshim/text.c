/* Strings and memory. Called from everywhere; touches nothing but what it is handed. */
#include "text.h"

/* These two are called by compiled code too. The loops must not be turned into calls of themselves: the build says
 * -fno-tree-loop-distribute-patterns. */
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

/* Without the NUL. */
size_t text_length(const char *s)
{
	const char *end = s;

	while (*end)
		end++;
	return (size_t)(end - s);
}

/* As unsigned bytes, which is the order that the binary sorts by. */
int text_compare(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return (unsigned char)*a - (unsigned char)*b;
}

/* Never reads beyond the end of either. */
const char *text_after(const char *s, const char *prefix)
{
	while (*prefix)
		if (*s++ != *prefix++)
			return NULL;
	return s;
}

bool text_has(const char *s, char c)
{
	while (*s && *s != c)
		s++;
	return *s == c;
}

/* "" for a path that ends in a slash. */
const char *text_base(const char *path)
{
	const char *base = path;

	for (; *path; path++)
		if (*path == '/')
			base = path + 1;
	return base;
}

/* Forward, byte by byte: `to` may lie before `from` in the same string. */
char *text_put(char *to, const char *from)
{
	while ((*to = *from++))
		to++;
	return to;
}

/* For what comes from outside; where the room was counted before, text_put does. */
bool text_copy(char *to, size_t room, const char *from)
{
	if (text_length(from) >= room)
		return false;
	(void)text_put(to, from);
	return true;
}

/* 20 digits are the most that 64 bits have. */
char *text_decimal(char buf[static 21], uint64_t n)
{
	char *at = buf + 20;

	*at = '\0';
	do
		*--at = (char)('0' + n % 10);
	while (n /= 10);
	return at;
}

/* Called with the first row, or with the one behind that it answered last. The first letter ends the search early; `s` ends
 * where a name cannot go on. */
const char *text_row(const char *row, const char *s)
{
	for (; *row && row[2] <= *s; row += 2 + row[1]) {
		int i = 0;

		while (i < row[1] && s[i] == row[2 + i])
			i++;
		if (i == row[1])
			return row;
	}
	return NULL;
}
