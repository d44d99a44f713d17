#include "plan.h"

#include "sys.h"
#include "text.h"

enum { FIELDS = 9 };

/* One line, unescaped and split: its fields lie one after the other, each ended by NUL. */
struct fields {
	const char *at[FIELDS];
	uint32_t count;
};

static enum key_space space_of(unsigned kind)
{
	return kind == RECORD_TRIGGER   ? KEY_TRIGGER
	       : kind == RECORD_REPLACE ? KEY_PATH
	       : kind == RECORD_BUNDLE  ? KEY_BUNDLE
	       : kind == RECORD_SCOPE   ? KEY_SCOPE
	       : kind == RECORD_OWN     ? KEY_OWN
					: KEY_NAME;
}

/* FNV-1a, begun differently for each key space. */
static uint32_t hash_of(enum key_space space, const char *key)
{
	uint32_t hash = 2166136261u + (uint32_t)space;

	for (; *key; key++)
		hash = (hash ^ (unsigned char)*key) * 16777619u;
	return hash;
}

struct record *plan_find(const struct plan *plan, enum key_space space, const char *key)
{
	uint32_t hash = hash_of(space, key);

	/* Ends: the table is never more than half full. */
	for (uint32_t i = hash & plan->slot_mask; plan->slots[i]; i = (i + 1) & plan->slot_mask) {
		struct record *record = &plan->records[plan->slots[i] - 1];

		if (record->hash == hash && space_of(record->kind) == space && text_same(record->key, key))
			return record;
	}
	return NULL;
}

struct lib *plan_lib(const struct plan *plan, const char *soname)
{
	struct record *record = plan_find(plan, KEY_NAME, soname);

	return record && record->kind == RECORD_LIB ? record->lib : NULL;
}

bool plan_owns(const struct plan *plan, const char *s)
{
	return (uintptr_t)s >= (uintptr_t)plan->text && (uintptr_t)s < (uintptr_t)plan->text + plan->size;
}

/* Called while parsing with a record whose kind and key are set; false if the key is taken. */
static bool insert(struct plan *plan, struct record *record)
{
	uint32_t i;

	if (plan_find(plan, space_of(record->kind), record->key))
		return false;
	record->hash = hash_of(space_of(record->kind), record->key);
	for (i = record->hash & plan->slot_mask; plan->slots[i];)
		i = (i + 1) & plan->slot_mask;
	plan->slots[i] = (uint16_t)(++plan->record_count);
	return true;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Splits the line [at, end) in place; `*end` is its line feed. Every line goes through here, also those of unknown
 * kinds. Never writes beyond what it has read: an unescaped field is never longer than its escaped form. */
static const char *split(struct fields *fields, char *at, char *end)
{
	char *to = at;

	fields->count = 1;
	fields->at[0] = at;
	while (at < end) {
		char c = *at++;

		if (c == '\t') {
			*to++ = '\0';
			if (fields->count < FIELDS)
				fields->at[fields->count] = to;
			fields->count++;
			continue;
		}
		if ((unsigned char)c < 0x20 || c == 0x7f)
			return "a control character stands unescaped";
		if (c == '\\') {
			if (at == end)
				return "an escape is cut off";
			c = *at++;
			if (c == 't') {
				c = '\t';
			} else if (c == 'n') {
				c = '\n';
			} else if (c == 'x') {
				int high = end - at < 2 ? -1 : hex_digit(at[0]);
				int low = end - at < 2 ? -1 : hex_digit(at[1]);
				int byte = high < 0 || low < 0 ? 0 : 16 * high + low;

				if (byte == 0 || (byte >= 0x20 && byte < 0x7f))
					return "an escape is malformed";
				c = (char)byte;
				at += 2;
			} else if (c != '\\') {
				return "an escape is unknown";
			}
		}
		*to++ = c;
	}
	*to = '\0';
	return NULL;
}

/* Decimal digits up to `stop`; answers what follows them, NULL if there are none or they are too many. */
static const char *decimal(const char *s, uint64_t *n)
{
	const char *start = s;

	for (*n = 0; *s >= '0' && *s <= '9'; s++)
		if (__builtin_mul_overflow(*n, 10, n) || __builtin_add_overflow(*n, (uint64_t)(*s - '0'), n))
			return NULL;
	return s == start ? NULL : s;
}

static bool whole_decimal(const char *s, uint64_t *n)
{
	s = decimal(s, n);
	return s && !*s;
}

/* Well-formed UTF-8 up to `end` (the Unicode Standard, table 3-7). */
static bool is_utf8(const char *text, const char *end)
{
	const unsigned char *s = (const unsigned char *)text, *stop = (const unsigned char *)end;

	while (s < stop) {
		unsigned char c = *s++, low = 0x80, high = 0xbf;
		int more = c < 0x80 ? 0 : c < 0xc2 ? -1 : c < 0xe0 ? 1 : c < 0xf0 ? 2 : c < 0xf5 ? 3 : -1;

		if (more < 0 || stop - s < more)
			return false;
		if (c == 0xe0)
			low = 0xa0;
		else if (c == 0xed)
			high = 0x9f;
		else if (c == 0xf0)
			low = 0x90;
		else if (c == 0xf4)
			high = 0x8f;
		for (; more; more--, s++, low = 0x80, high = 0xbf)
			if (*s < low || *s > high)
				return false;
	}
	return true;
}

/* What is for people, or a name: not empty, and UTF-8 also where bytes of it are escaped. */
static bool is_text(const char *s)
{
	return *s && is_utf8(s, s + text_length(s));
}

static bool is_name(const char *s)
{
	return is_text(s) && !text_has(s, '/');
}

static bool is_identity(const char *s)
{
	if (text_same(s, "-"))
		return true;
	if (text_starts(s, "build-id:"))
		s += 9;
	else if (text_starts(s, "sha256:"))
		s += 7;
	else
		return false;
	if (!*s)
		return false;
	while (hex_digit(*s) >= 0)
		s++;
	return !*s;
}

/* Three fields: dev:ino, size, mtime. */
static const char *read_state(struct lib *lib, const char *const at[3])
{
	uint64_t mtime;
	const char *s = decimal(at[0], &lib->dev);

	if (!s || *s != ':' || !whole_decimal(s + 1, &lib->ino))
		return "a device and inode are malformed";
	if (!whole_decimal(at[1], &lib->size))
		return "a size is malformed";
	s = at[2];
	if (!whole_decimal(*s == '-' ? s + 1 : s, &mtime) || mtime > INT64_MAX)
		return "a modification time is malformed";
	lib->mtime = *s == '-' ? -(int64_t)mtime : (int64_t)mtime;
	return NULL;
}

/* bundle: trigger, path, dev:ino, size, mtime. The file is handled as a library that nobody asks for by name. */
static const char *read_bundle(struct plan *plan, struct record *record, const struct fields *fields)
{
	struct lib *lib = &plan->libs[plan->lib_count];
	const char *wrong;

	if (plan->lib_count == PLAN_LIBS)
		return "it has too many lib and bundle records";
	if (fields->count < 6)
		return "a bundle record has too few fields";
	lib->soname = fields->at[1];
	lib->path = fields->at[2];
	lib->how = HOW_KEEP;
	if (!is_name(lib->soname) || lib->path[0] != '/')
		return "a bundle record needs a name and an absolute path";
	wrong = read_state(lib, &fields->at[3]);
	if (wrong)
		return wrong;
	record->kind = RECORD_BUNDLE;
	record->key = lib->soname;
	record->lib = lib;
	plan->lib_count++;
	return insert(plan, record) ? NULL : "a name stands twice";
}

/* lib: soname, path, dev:ino, size, mtime, identity, version, how. */
static const char *read_lib(struct plan *plan, struct record *record, const struct fields *fields)
{
	struct lib *lib = &plan->libs[plan->lib_count];
	const char *s, *wrong;

	if (plan->lib_count == PLAN_LIBS)
		return "it has too many lib and bundle records";
	if (fields->count < 9)
		return "a lib record has too few fields";
	lib->soname = fields->at[1];
	lib->path = fields->at[2];
	if (!is_name(lib->soname) || lib->path[0] != '/')
		return "a lib record needs a soname and an absolute path";
	wrong = read_state(lib, &fields->at[3]);
	if (wrong)
		return wrong;
	if (!is_identity(fields->at[6]))
		return "an identity is malformed";
	if (!is_text(fields->at[7]))
		return "a version is malformed";
	s = fields->at[8];
	if (text_same(s, "preload"))
		lib->how = HOW_PRELOAD;
	else if (text_same(s, "redirect"))
		lib->how = HOW_REDIRECT;
	else if (text_same(s, "keep"))
		lib->how = HOW_KEEP;
	else
		return "a lib record is neither preload nor redirect nor keep";
	record->kind = RECORD_LIB;
	record->key = lib->soname;
	record->lib = lib;
	plan->lib_count++;
	return insert(plan, record) ? NULL : "a name stands twice";
}

/* for: kind, text, path. Only looked at: the tools would refuse it. */
static const char *read_for(const struct fields *fields)
{
	if (fields->count < 4)
		return "a for record has too few fields";
	if (!is_text(fields->at[1]) || !is_text(fields->at[2]) ||
	    (fields->at[3][0] != '/' && !text_same(fields->at[3], "-")))
		return "a for record is malformed";
	return NULL;
}

/* One line between the first and the last. Sonames are looked up later: their records may follow. */
static const char *read_record(struct plan *plan, const struct fields *fields)
{
	struct record *record = &plan->records[plan->record_count];
	const char *kind = fields->at[0];

	if (!*kind)
		return "a line has no kind";
	if (text_same(kind, "lib"))
		return read_lib(plan, record, fields);
	if (text_same(kind, "bundle"))
		return read_bundle(plan, record, fields);
	if (text_same(kind, "for"))
		return read_for(fields);
	if (text_same(kind, "searched")) {
		if (fields->count < 2 || plan->searched)
			return "a searched record needs one value, and stands once";
		plan->searched = fields->at[1];
		return NULL;
	}
	if (text_same(kind, "scope") || text_same(kind, "own")) {
		if (fields->count < 2 || fields->at[1][0] != '/')
			return "a scope or own record needs an absolute path";
		record->kind = text_same(kind, "own") ? RECORD_OWN : RECORD_SCOPE;
		record->key = fields->at[1];
		return insert(plan, record) ? NULL : "a name stands twice";
	}
	if (text_same(kind, "alias"))
		record->kind = RECORD_ALIAS;
	else if (text_same(kind, "replace"))
		record->kind = RECORD_REPLACE;
	else if (text_same(kind, "trigger"))
		record->kind = RECORD_TRIGGER;
	else if (text_same(kind, "absent"))
		record->kind = RECORD_ABSENT;
	else
		return NULL;
	if (fields->count < 3)
		return "a record has too few fields";
	record->key = fields->at[1];
	record->value = fields->at[2];
	record->count = fields->count - 2;
	if (record->kind == RECORD_REPLACE ? record->key[0] != '/' : !is_name(record->key))
		return "a record's name or path is malformed";
	if (record->kind == RECORD_ABSENT && record->value[0] != '/')
		return "an absent record needs an absolute path";
	return insert(plan, record) ? NULL : "a name stands twice";
}

/* Called once all records are read: what an alias, replace or trigger names must have a lib record, and a bundle a
 * trigger. */
static const char *resolve_names(struct plan *plan)
{
	uint32_t bundles = 0;

	for (uint32_t i = 0; i < plan->record_count; i++)
		bundles += plan->records[i].kind == RECORD_BUNDLE;
	for (uint32_t i = 0; i < plan->record_count; i++) {
		struct record *record = &plan->records[i];
		const char *soname = record->value;

		if (record->kind == RECORD_LIB || record->kind == RECORD_ABSENT || record->kind == RECORD_BUNDLE ||
		    record->kind == RECORD_SCOPE || record->kind == RECORD_OWN)
			continue;
		/* The sonames of one line lie one after the other; an alias has one that counts. */
		for (uint32_t n = record->kind == RECORD_TRIGGER ? record->count : 1; n; n--) {
			record->lib = plan_lib(plan, soname);
			if (!record->lib)
				return "a record names a soname that has no lib record";
			soname += text_length(soname) + 1;
		}
		if (record->kind == RECORD_TRIGGER) {
			struct record *bundle = plan_find(plan, KEY_BUNDLE, record->key);

			record->lib = bundle ? bundle->lib : NULL;
			bundles -= bundle != NULL;
		}
	}
	return bundles ? "a bundle stands for a trigger that there is none of" : NULL;
}

/* Memory for as many records as there are lines: records, libraries, then a table at most half full. */
static bool make_tables(struct plan *plan, uint32_t lines)
{
	uint32_t libs = lines < PLAN_LIBS ? lines : PLAN_LIBS;
	uint32_t slots = 4;
	size_t size;
	char *at;

	while (slots < 2 * lines)
		slots *= 2;
	size = lines * sizeof(struct record) + (libs + 1) * sizeof(struct lib) + slots * sizeof(uint16_t);
	at = sys_memory(size);
	if (!at)
		return false;
	plan->tables = at;
	plan->tables_size = size;
	plan->records = (void *)at;
	plan->libs = (void *)(at + lines * sizeof(struct record));
	plan->slots = (void *)(plan->libs + libs + 1);
	plan->slot_mask = slots - 1;
	return true;
}

/* Called by read_all with bytes that are the plan's to change and to keep. */
static const char *parse(struct plan *plan, char *text, size_t size)
{
	static const char first[] = "cudashim-plan\t1\n";
	char *end = text + size;
	uint32_t lines = 0, line;

	plan->line = 1;
	if (size < sizeof first - 1 || memcmp(text, first, sizeof first - 1) != 0)
		return "it does not begin as a plan of format 1";
	if (end[-1] != '\n')
		return "it is cut off";
	for (const char *s = text; s < end; s++)
		lines += *s == '\n';
	if (lines > PLAN_RECORDS + 2)
		return "it has too many records";
	if (!make_tables(plan, lines))
		return "there is no memory for it";

	text += sizeof first - 1;
	for (line = 1; text < end; line++) {
		struct fields fields;
		const char *wrong;
		char *stop = text;
		uint64_t count;

		plan->line = line + 1;
		while (*stop != '\n')
			stop++;
		if (stop == text)
			return "a line is empty";
		if (!is_utf8(text, stop))
			return "a line is not UTF-8";
		wrong = split(&fields, text, stop);
		if (wrong)
			return wrong;
		text = stop + 1;
		if (!text_same(fields.at[0], "end")) {
			wrong = read_record(plan, &fields);
			if (wrong)
				return wrong;
			continue;
		}
		if (fields.count < 2 || !whole_decimal(fields.at[1], &count) || count != line)
			return "its last line does not count its lines";
		return text == end ? resolve_names(plan) : "something follows its end";
	}
	return "it is cut off";
}

/* Called by plan_load: the bytes of an open file that has passed the checks. */
static const char *read_all(struct plan *plan, int fd, size_t size)
{
	size_t have = 0;
	/* One more than the file has: it must be as long as it said. */
	char *text = sys_memory(size + 1);

	if (!text)
		return "there is no memory for it";
	plan->text = text;
	plan->size = size;
	while (have <= size) {
		long got = sys_read(fd, text + have, size + 1 - have);

		if (got <= 0)
			break;
		have += (size_t)got;
	}
	return have == size ? parse(plan, text, size) : "it changed while it was read";
}

/* Whether `path` is one of the records of a kind, or lies below one; `none` where there is no such record. */
static bool is_below(const struct plan *plan, unsigned kind, const char *path, bool none)
{
	for (uint32_t i = 0; i < plan->record_count; i++) {
		const char *dir = plan->records[i].key, *at = path;

		if (plan->records[i].kind != kind)
			continue;
		none = false;
		for (; *dir && *dir == *at; dir++)
			at++;
		/* `/` is above everything. */
		if (!*dir && (!*at || *at == '/' || dir[-1] == '/'))
			return true;
	}
	return none;
}

bool plan_covers(const struct plan *plan, const char *program)
{
	return program[0] != '/' || is_below(plan, RECORD_SCOPE, program, true);
}

bool plan_is_home(const struct plan *plan, const char *path)
{
	return is_below(plan, RECORD_OWN, path, true);
}

void plan_free(struct plan *plan)
{
	if (plan->text)
		sys_release(plan->text, plan->size + 1);
	if (plan->tables)
		sys_release(plan->tables, plan->tables_size);
}

/* Whether anyone may put another file in the place of this one: an older plan of ours, say. In a sticky directory only
 * the owner may. */
static bool lies_open(struct plan *plan)
{
	char *slash = (char *)text_base(plan->path), first = *slash;
	struct sys_stat st;
	bool open;

	*slash = '\0';
	open = sys_stat(plan->path, &st) < 0 || (st.mode & 01002) == 02;
	*slash = first;
	return open;
}

const char *plan_load(struct plan *plan, const char *path)
{
	const char *wrong;
	struct sys_stat st;
	int fd;

	if (path[0] != '/')
		return "its path is not absolute";
	if (!text_copy(plan->path, sizeof plan->path, path))
		return "its path is too long";
	/* O_NONBLOCK: a named pipe must not stop us. */
	fd = sys_open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0);
	if (fd < 0)
		return fd == -ENOENT ? "it does not exist" : "it cannot be opened (or is a symbolic link)";
	if (sys_fstat(fd, &st) < 0 || (st.mode & S_IFMT) != S_IFREG)
		wrong = "it is not a regular file";
	else if (st.uid != 0 && st.uid != (uint32_t)SYS0(NR_geteuid))
		wrong = "it belongs to another user";
	else if (st.mode & 022)
		wrong = "group or others may write it";
	else if (lies_open(plan))
		wrong = "its directory may be written by others";
	else if (st.size > PLAN_BYTES)
		wrong = "it is too large";
	else
		wrong = read_all(plan, fd, (size_t)st.size);
	sys_close(fd);
	if (!wrong)
		sys_read_only(plan->text, plan->size + 1);
	return wrong;
}
