#!/bin/sh
# Unit tests of slug: one line a case, "title|what it becomes".
set -eu
. ./slug.sh

failed=0
while IFS='|' read -r title want; do
	got=$(slug "$title")
	if [ "$got" = "$want" ]; then
		echo "ok    '$title' -> $got"
	else
		echo "FAIL  '$title' -> '$got', want '$want'"
		failed=1
	fi
done <<'CASES'
Hello|hello
Hello, World!|hello-world
  What -- is it?  |what-is-it
2 + 2 = 4|2-2-4
CASES
exit $failed
