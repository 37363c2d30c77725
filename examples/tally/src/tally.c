#include "tally.h"

#include <string.h>

static int good(const char *name)
{
	size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-");
	return n > 0 && n <= TALLY_NAME_MAX && name[n] == '\0';
}

static int find(const struct tally *t, const char *name)
{
	for (int i = 0; i < t->used; i++)
		if (strcmp(t->entry[i].name, name) == 0)
			return i;
	return -1;
}

long tally_add(struct tally *t, const char *name)
{
	if (!good(name))
		return TALLY_BAD_NAME;
	int i = find(t, name);
	if (i < 0) {
		if (t->used == TALLY_NAMES)
			return TALLY_FULL;
		i = t->used++;
		strcpy(t->entry[i].name, name);
		t->entry[i].count = 0;
	}
	return ++t->entry[i].count;
}

long tally_get(const struct tally *t, const char *name)
{
	if (!good(name))
		return TALLY_BAD_NAME;
	int i = find(t, name);
	return i < 0 ? TALLY_UNKNOWN : t->entry[i].count;
}
