/* Tests of the counting itself: a line for each, "ok" or "FAIL file:line". */
#include <stdio.h>
#include <string.h>

#include "../src/tally.h"

static int failed;

#define EQUAL(what, got, want)                                                               \
	do {                                                                                 \
		long g = (got), w = (want);                                                  \
		if (g == w) {                                                                \
			printf("ok    %s\n", what);                                          \
		} else {                                                                     \
			printf("FAIL  %s:%d: %s is %ld, want %ld\n", __FILE__, __LINE__, what, g, w); \
			failed = 1;                                                          \
		}                                                                            \
	} while (0)

int main(void)
{
	static struct tally t;
	char name[TALLY_NAME_MAX + 2];

	EQUAL("the first", tally_add(&t, "sheep"), 1);
	EQUAL("the second", tally_add(&t, "sheep"), 2);
	EQUAL("another", tally_add(&t, "goat-2"), 1);
	EQUAL("what was counted", tally_get(&t, "sheep"), 2);
	EQUAL("what was not", tally_get(&t, "cow"), TALLY_UNKNOWN);

	EQUAL("an empty name", tally_add(&t, ""), TALLY_BAD_NAME);
	EQUAL("a path", tally_add(&t, "../sheep"), TALLY_BAD_NAME);
	memset(name, 'x', sizeof name);
	name[TALLY_NAME_MAX + 1] = '\0';
	EQUAL("a name too long", tally_add(&t, name), TALLY_BAD_NAME);
	name[TALLY_NAME_MAX] = '\0';
	EQUAL("the longest name", tally_add(&t, name), 1);

	while (t.used < TALLY_NAMES) {
		snprintf(name, sizeof name, "n%d", t.used);
		tally_add(&t, name);
	}
	EQUAL("one name too many", tally_add(&t, "straw"), TALLY_FULL);
	EQUAL("a known one, when full", tally_add(&t, "sheep"), 3);
	return failed;
}
