/* `shim image|peek FILE`: what the readers of cshim make of a file, for tests that run no fuzzer. 1: refused. */
#include <stdio.h>
#include <string.h>

#include "harness.h"

static unsigned char bytes[8 << 20];
static char out[32 << 20];

int main(int argc, char **argv)
{
	FILE *file = argc == 3 ? fopen(argv[2], "rb") : NULL;
	long (*reads)(const unsigned char *, size_t, char *, size_t) =
		argc == 3 && !strcmp(argv[1], "image") ? harness_image : harness_peek;
	size_t size;
	long written;

	if (!file) {
		perror(argv[0]);
		return 2;
	}
	size = fread(bytes, 1, sizeof bytes, file);
	fclose(file);
	written = reads(bytes, size, out, sizeof out);
	if (written > 0)
		fwrite(out, 1, (size_t)written, stdout);
	return written < 0;
}
