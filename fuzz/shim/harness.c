#include "harness.h"

#include "memory.h"

#include "../../cshim/text.c"
#include "../../cshim/image.c"
#include "../../cshim/peek.c"

struct memory_file memory_file;

struct out {
	char *at;
	size_t left, written;
};

static void must(bool holds)
{
	if (!holds)
		abort();
}

static void put(struct out *out, const char *field)
{
	size_t size = text_length(field) + 1;

	must(size <= out->left);
	memcpy(out->at, field, size);
	out->at += size;
	out->left -= size;
	out->written += size;
}

static void put_number(struct out *out, uint64_t n)
{
	char digits[21];

	put(out, text_decimal(digits, n));
}

static void put_plan(struct out *out)
{
	const struct image_header *h = plan.header;

	for (uint32_t i = 0; i < h->libs; i++) {
		const struct lib *lib = &plan.libs[i];

		put(out, "l");
		put(out, plan.strings + lib->soname);
		put(out, plan.strings + lib->path);
		put_number(out, lib->dev);
		put_number(out, lib->ino);
		put_number(out, lib->size);
		put_number(out, lib->mtime);
		put_number(out, lib->how);
		must(!plan.settled[i] && !plan.said[i]);
	}
	for (uint32_t i = 0; i < h->names; i++) {
		put(out, "n");
		put(out, plan.strings + plan.names[i].name);
		put_number(out, plan.names[i].lib);
		put_number(out, plan.names[i].alias);
		must(image_name(plan.strings + plan.names[i].name) == &plan.names[i]);
	}
	for (uint32_t i = 0; i < h->ids; i++) {
		put(out, "i");
		put_number(out, plan.ids[i].dev);
		put_number(out, plan.ids[i].ino);
		put_number(out, plan.ids[i].dir_dev);
		put_number(out, plan.ids[i].dir_ino);
		must(image_has(plan.ids[i]));
	}
	must(!image_name("\xff\xff no name \xff"));
}

long harness_image(const unsigned char *bytes, size_t size, char *out, size_t room)
{
	struct out to = { out, room, 0 };
	char path[] = "/plan";

	memory_file = (struct memory_file){ bytes, size, 0 };
	plan.path = path;
	if (image_read())
		return -1;
	put_plan(&to);
	sys_release(plan.header, plan.header->size + 1);
	return (long)to.written;
}

static bool put_name(const char *name, void *with)
{
	put(with, name);
	return false;
}

long harness_peek(const unsigned char *bytes, size_t size, char *out, size_t room)
{
	struct out to = { out, room, 0 };

	memory_file = (struct memory_file){ bytes, size, 0 };
	must(!peek_any("/elf", DT_NEEDED, put_name, &to));
	return (long)to.written;
}
