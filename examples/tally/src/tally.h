/* Counts by name, in memory of a fixed size. */
#ifndef TALLY_H
#define TALLY_H

enum { TALLY_NAMES = 256, TALLY_NAME_MAX = 32 };

struct tally {
	int used;
	struct {
		char name[TALLY_NAME_MAX + 1];
		long count;
	} entry[TALLY_NAMES];
};

/* What can go wrong; real counts are above. */
enum { TALLY_UNKNOWN = -1, TALLY_BAD_NAME = -2, TALLY_FULL = -3 };

/* Adds one to a name, which is 1 to 32 of a-z, 0-9 and -; returns its count. */
long tally_add(struct tally *t, const char *name);

/* Returns the count of a name. */
long tally_get(const struct tally *t, const char *name);

#endif
