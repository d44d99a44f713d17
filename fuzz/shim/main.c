/* `shim image|peek FILE`: what the readers of cshim make of a file, for tests that run no fuzzer. 1: refused.
 * `shim images FILE`: of many, each with its size as four bytes before it; before each answer its size, or -1. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"

static unsigned char bytes[64 << 20];
static char out[32 << 20];

static int many(size_t size)
{
	for (size_t at = 0; at + 4 <= size;) {
		uint32_t length;
		int32_t written;
		unsigned char *one;

		memcpy(&length, bytes + at, 4);
		at += 4;
		/* A piece of memory of its own: what is read beyond its end is seen by a sanitizer. */
		one = length <= size - at ? malloc(length + 1) : NULL;
		if (!one)
			return 2;
		memcpy(one, bytes + at, length);
		at += length;
		written = (int32_t)harness_image(one, length, out, sizeof out);
		free(one);
		fwrite(&written, 4, 1, stdout);
		fwrite(out, 1, written < 0 ? 0 : (size_t)written, stdout);
	}
	return 0;
}

int main(int argc, char **argv)
{
	FILE *file = argc == 3 ? fopen(argv[2], "rb") : NULL;
	size_t size;
	long written;

	if (!file) {
		perror(argv[0]);
		return 2;
	}
	size = fread(bytes, 1, sizeof bytes, file);
	fclose(file);
	if (!strcmp(argv[1], "images"))
		return many(size);
	written = (!strcmp(argv[1], "image") ? harness_image : harness_peek)(bytes, size, out, sizeof out);
	if (written > 0)
		fwrite(out, 1, (size_t)written, stdout);
	return written < 0;
}
