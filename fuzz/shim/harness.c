#include "harness.h"

#include "memory.h"
#include "peek.h"
#include "plan.h"
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

static void put_file(struct out *out, const struct lib *lib)
{
	put(out, lib->path);
	put_number(out, lib->dev);
	put_number(out, lib->ino);
	put_number(out, lib->size);
	put(out, lib->mtime < 0 ? "-" : "+");
	put_number(out, lib->mtime < 0 ? -(uint64_t)lib->mtime : (uint64_t)lib->mtime);
}

static void put_record(struct out *out, const struct plan *plan, const struct record *record)
{
	static const char *const hows[] = { "preload", "redirect", "keep" };
	const char *soname = record->value;

	put(out, record->key);
	switch (record->kind) {
	case RECORD_LIB:
		put_file(out, record->lib);
		put(out, hows[record->lib->how]);
		must(plan_lib(plan, record->key) == record->lib && plan_owns(plan, record->lib->path));
		break;
	case RECORD_ALIAS:
	case RECORD_REPLACE:
		put(out, record->lib->soname);
		break;
	case RECORD_TRIGGER:
		put_number(out, record->count);
		for (uint32_t n = record->count; n; n--) {
			put(out, soname);
			must(plan_lib(plan, soname) != NULL);
			soname += text_length(soname) + 1;
		}
		break;
	case RECORD_BUNDLE:
		put_file(out, record->lib);
		must(plan_find(plan, KEY_TRIGGER, record->key)->lib == record->lib);
		break;
	case RECORD_ABSENT:
		put(out, record->value);
		break;
	}
}

static enum key_space space_of(unsigned kind)
{
	static const enum key_space spaces[] = { KEY_NAME, KEY_NAME, KEY_NAME, KEY_TRIGGER, KEY_PATH, KEY_BUNDLE, KEY_SCOPE, KEY_OWN };

	return spaces[kind];
}

long harness_plan(const unsigned char *bytes, size_t size, char *out, size_t room)
{
	static const struct {
		unsigned char kind;
		char letter[2];
	} order[] = { { RECORD_SCOPE, "s" }, { RECORD_OWN, "o" }, { RECORD_LIB, "l" }, { RECORD_ALIAS, "n" },
		      { RECORD_REPLACE, "r" }, { RECORD_TRIGGER, "t" }, { RECORD_BUNDLE, "b" }, { RECORD_ABSENT, "a" } };
	struct plan plan = { 0 };
	struct out to = { out, room, 0 };
	const char *wrong;

	memory_file = (struct memory_file){ bytes, size, 0 };
	wrong = plan_load(&plan, "/plan");
	if (!wrong) {
		put(&to, plan.searched ? "v" : "-");
		put(&to, plan.searched ? plan.searched : "");
		for (size_t kind = 0; kind < sizeof order / sizeof *order; kind++)
			for (uint32_t i = 0; i < plan.record_count; i++) {
				const struct record *record = &plan.records[i];

				if (record->kind != order[kind].kind)
					continue;
				must(plan_find(&plan, space_of(record->kind), record->key) == record);
				must(record->kind != RECORD_SCOPE || plan_covers(&plan, record->key));
				must(record->kind != RECORD_OWN || plan_is_home(&plan, record->key));
				put(&to, order[kind].letter);
				put_record(&to, &plan, record);
			}
		must(!plan_find(&plan, KEY_NAME, "a name with a / is none") && !plan_owns(&plan, out));
	}
	plan_free(&plan);
	return wrong ? -1 : (long)to.written;
}

static bool sees(void *with, const char *needed)
{
	put(with, needed);
	return false;
}

long harness_peek(const unsigned char *bytes, size_t size, char *out, size_t room)
{
	struct out to = { out, room, 0 };

	memory_file = (struct memory_file){ bytes, size, 0 };
	peek_needed("/elf", sees, &to);
	return (long)to.written;
}
