#include "harness.h"

#include "image.h"
#include "memory.h"
#include "shim.h"
#include "text.h"

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

static void put_id(struct out *out, struct image_id id)
{
	put_number(out, id.dev);
	put_number(out, id.ino);
}

static void put_plan(struct out *out, struct plan *plan)
{
	const struct image_name *names = image_records(plan, NAMES);
	const struct image_path *paths = image_records(plan, PATHS);
	const struct image_program *programs = image_records(plan, PROGRAMS);
	const struct image_id *objects = image_records(plan, OBJECTS);

	for (uint32_t i = 0; i < image_count(plan, LIBS); i++) {
		const struct image_lib *lib = image_lib(plan, i);

		put(out, "l");
		put(out, image_text(plan, lib->soname));
		put(out, image_text(plan, lib->path));
		put_id(out, (struct image_id){lib->dev, lib->ino});
		put_number(out, lib->size);
		put_number(out, (uint64_t)lib->mtime);
		put_number(out, lib->how);
		must(image_state(plan, lib)->load == LIB_UNTRIED);
	}
	for (uint32_t i = 0; i < image_count(plan, NAMES); i++) {
		put(out, "n");
		put(out, image_text(plan, names[i].name));
		put_number(out, names[i].lib);
		put_number(out, names[i].alias);
		must(image_name(plan, image_text(plan, names[i].name)) == &names[i]);
	}
	for (uint32_t i = 0; i < image_count(plan, PATHS); i++) {
		put(out, "r");
		put(out, image_text(plan, paths[i].path));
		put_number(out, paths[i].lib);
		must(image_path(plan, image_text(plan, paths[i].path)) == image_lib(plan, paths[i].lib));
	}
	for (uint32_t i = 0; i < image_count(plan, PROGRAMS); i++) {
		put(out, "p");
		put_id(out, programs[i].dir);
		put_id(out, programs[i].file);
		must(image_has_program(plan, &programs[i]));
	}
	for (uint32_t i = 0; i < image_count(plan, OBJECTS); i++) {
		put(out, "o");
		put_id(out, objects[i]);
		must(image_has_object(plan, objects[i]));
	}
	must(!image_name(plan, "\xff\xff no name \xff"));
}

long harness_image(const unsigned char *bytes, size_t size, char *out, size_t room)
{
	struct out to = { out, room, 0 };
	struct plan *plan = NULL;

	memory_file = (struct memory_file){ bytes, size, 0 };
	if (image_read(&plan, "/plan"))
		return -1;
	put_plan(&to, plan);
	image_free(plan);
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
	must(!peek_any("/elf", put_name, &to));
	return (long)to.written;
}
