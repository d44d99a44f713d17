/* Which names are CUDA's: lib<stem>[-<8 hex>].so[.<digits>]* with a stem of the catalogue. Called before a question is put
 * to the binary, for the name of a file; reads nothing but that name. */
#include "shim.h"
#include "text.h"

/* Made by build.rs: for each stem its length in one byte, then its letters; no pointers, which the loader would have to
 * relocate in every process. */
static const char stems[] =
#include "stems.h"
	;

/* After the stem: `.so`, then any number of `.` and digits. */
static bool is_version(const char *s)
{
	if (!text_starts(s, ".so"))
		return false;
	for (s += 3; *s == '.';) {
		if (s[1] < '0' || s[1] > '9')
			return false;
		for (s++; *s >= '0' && *s <= '9';)
			s++;
	}
	return !*s;
}

/* A wheel repair tool puts a hash of the file in: libcudart-d0da41ae.so.11.0. */
static bool is_rest(const char *s)
{
	int hex = 1;

	while (s[0] == '-' && hex <= 8 && ((s[hex] >= '0' && s[hex] <= '9') || (s[hex] >= 'a' && s[hex] <= 'f')))
		hex++;
	return is_version(hex == 9 ? s + 9 : s);
}

/* Called for each name that may be worth a question: no allocation, no system call. */
bool names_know(const char *name)
{
	if (!text_starts(name, "lib"))
		return false;
	name += 3;
	for (const char *stem = stems; *stem; stem += 1 + *stem) {
		int i = 0;

		while (i < *stem && name[i] == stem[1 + i])
			i++;
		if (i == *stem && is_rest(name + i))
			return true;
	}
	return false;
}
