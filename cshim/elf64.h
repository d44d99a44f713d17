/* The parts of ELF64 that are read, with the names of the gABI; no header of a C library is included anywhere. */
#ifndef CUDASHIM_ELF64_H
#define CUDASHIM_ELF64_H

#include <stddef.h>
#include <stdint.h>

struct elf_header {
	unsigned char ident[16];
	uint16_t type, machine;
	uint32_t version;
	uint64_t entry, phoff, shoff;
	uint32_t flags;
	uint16_t ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
};

struct elf_segment {
	uint32_t type, flags;
	uint64_t offset, vaddr, paddr, filesz, memsz, align;
};

struct elf_dyn {
	int64_t tag;
	uint64_t val;
};

enum {
	ET_DYN = 3,
	PT_LOAD = 1, PT_DYNAMIC = 2,
	DT_NULL = 0, DT_NEEDED = 1, DT_STRTAB = 5, DT_SONAME = 14, DT_RUNPATH = 29,
};

/* What dl_iterate_phdr(3) gives; only the fields that every libc has. */
struct dl_phdr_info {
	uint64_t addr;
	const char *name;
	const struct elf_segment *phdr;
	uint16_t phnum;
};

/* What an auditor is told of an object (link.h); only the fields that are public. */
struct link_map {
	uint64_t addr;
	const char *name;
	const struct elf_dyn *ld;
	const struct link_map *next, *prev;
};

_Static_assert(sizeof(struct elf_header) == 64 && sizeof(struct elf_segment) == 56 && sizeof(struct elf_dyn) == 16,
	       "the gABI's sizes");

#endif
