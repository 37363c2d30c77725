#!/bin/sh
# Each file that the page refers to is there, in the source tree.
set -eu
sed -n 's/.*href="\/\([^"]*\)".*/\1/p' www/index.html | while read -r file; do
	test -s "www/$file" || { echo "index.html refers to $file, which is missing"; exit 1; }
	echo "ok    $file"
done
