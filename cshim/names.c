/* Which names are CUDA's: lib<stem>[-<8 hex>].so[.<digits>]* with a stem of the catalogue. Called before a question is put
 * to the binary, for the name of a file; reads nothing but that name. */
#include "shim.h"

/* Made by build.rs of data/families.tsv: rows as text_row wants them. */
static const char stems[] =
#include "stems.h"
	;

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* After the stem: `.so`, then any number of `.` and digits. */
static bool is_version(const char *s)
{
	s = text_after(s, ".so");
	while (s && s[0] == '.' && is_digit(s[1]))
		for (s++; is_digit(*s);)
			s++;
	return s && !*s;
}

/* A wheel repair tool puts a hash of the file in: libcudart-d0da41ae.so.11.0. */
static bool is_rest(const char *s)
{
	int hex = 1;

	while (s[0] == '-' && hex <= 8 && (is_digit(s[hex]) || (s[hex] >= 'a' && s[hex] <= 'f')))
		hex++;
	return is_version(hex == 9 ? s + 9 : s);
}

bool names_are_libc(const char *name)
{
	return text_after(name, "libc.so.") || text_after(name, "libm.so.") || text_after(name, "ld-linux");
}

/* No allocation, no system call. One stem may be the beginning of another. */
bool names_know(const char *name, void *unused)
{
	const char *row = stems;

	name = text_after(name, "lib");
	for (; name && (row = text_row(row, name)); row += 2 + row[1])
		if (is_rest(name + row[1]))
			return true;
	return false;
}
