/* Names: which are CUDA's, lib<stem>[-<8 hex>].so[.<digits>]* with a stem of the catalogue; and those that a mapped object
 * has in its table. Called from everywhere; no allocation, no system call. */

/* Made by build.rs of data/families.tsv: rows as text_row wants them. */
static const char stems[] =
#include "stems.h"
	;

#define is_digit(c) ((unsigned char)((c) - '0') < 10)

/* After the stem: `.so`, then any number of `.` and digits; before that the hash of the file, where a wheel repair tool put one
 * in: libcudart-d0da41ae.so.11.0. */
static bool is_rest(const char *s)
{
	int hex = 1;

	while (s[0] == '-' && hex <= 8 && (is_digit(s[hex]) || (s[hex] >= 'a' && s[hex] <= 'f')))
		hex++;
	s = text_after(hex == 9 ? s + 9 : s, ".so");
	while (s && s[0] == '.' && is_digit(s[1]))
		for (s++; is_digit(*s);)
			s++;
	return s && !*s;
}

/* Whether it is a part of libc or of the compiler, which every process has, or finds as ever: none of them needs CUDA. */
static bool names_are_libc(const char *name)
{
	return text_row("\010ld-linux\010libc.so.\011libdl.so.\014libgcc_s.so.\010libm.so.\016libpthread.so."
				   "\011librt.so.\015libstdc++.so.", name);
}

/* Whether a file's name is one of CUDA's: a peek_test. One stem may be the beginning of another. */
static bool names_know(const char *name, void *unused)
{
	const char *row = stems;

	name = text_after(name, "lib");
	for (; name && (row = text_row(row, name)); row += 1 + row[0])
		if (is_rest(name + row[0]))
			return true;
	return false;
}

/* An entry of that tag in the table of a mapped object, naming `name` where one is given. The loader has added the load
 * address to the addresses in the table, but where the table is read-only (the vDSO), and but for musl. */
static const char *elf_string(const Elf64_Dyn *table, uint64_t base, int64_t tag, const char *name)
{
	const char *strings = NULL;

	for (const Elf64_Dyn *dyn = table; dyn && dyn->d_tag != DT_NULL; dyn++)
		if (dyn->d_tag == DT_STRTAB)
			strings = (const char *)(dyn->d_un.d_ptr < base ? dyn->d_un.d_ptr + base : dyn->d_un.d_ptr);
	for (const Elf64_Dyn *dyn = table; strings && dyn->d_tag != DT_NULL; dyn++)
		if (dyn->d_tag == tag && (!name || text_same(strings + dyn->d_un.d_val, name)))
			return strings + dyn->d_un.d_val;
	return NULL;
}
