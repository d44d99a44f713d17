/* Strings and memory. Called from everywhere; touches nothing but what it is handed. */
#include "text.h"

/* These four are called by compiled code only. The loops must not be turned into calls of themselves: the build says
 * -fno-tree-loop-distribute-patterns. */
void *memmove(void *to, const void *from, size_t size)
{
	char *t = to;
	const char *f = from;

	if ((uintptr_t)t > (uintptr_t)f)
		while (size--)
			t[size] = f[size];
	else
		for (size_t i = 0; i < size; i++)
			t[i] = f[i];
	return to;
}

void *memcpy(void *restrict to, const void *restrict from, size_t size)
{
	return memmove(to, from, size);
}

void *memset(void *to, int byte, size_t size)
{
	char *t = to;

	while (size--)
		*t++ = (char)byte;
	return to;
}

int memcmp(const void *a, const void *b, size_t size)
{
	const unsigned char *x = a, *y = b;

	for (; size; size--, x++, y++)
		if (*x != *y)
			return *x - *y;
	return 0;
}

size_t text_length(const char *s)
{
	size_t n = 0;

	while (s[n])
		n++;
	return n;
}

int text_compare(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return (unsigned char)*a - (unsigned char)*b;
}

bool text_same(const char *a, const char *b)
{
	return text_compare(a, b) == 0;
}

bool text_starts(const char *s, const char *prefix)
{
	while (*prefix)
		if (*s++ != *prefix++)
			return false;
	return true;
}

bool text_has(const char *s, char c)
{
	for (; *s; s++)
		if (*s == c)
			return true;
	return false;
}

const char *text_base(const char *path)
{
	const char *base = path;

	for (; *path; path++)
		if (*path == '/')
			base = path + 1;
	return base;
}

bool text_copy(char *to, size_t room, const char *from)
{
	size_t size = text_length(from) + 1;

	if (size > room)
		return false;
	memcpy(to, from, size);
	return true;
}

char *text_decimal(char buf[static 21], uint64_t n)
{
	char *at = buf + 20;

	*at = '\0';
	do
		*--at = (char)('0' + n % 10);
	while (n /= 10);
	return at;
}
