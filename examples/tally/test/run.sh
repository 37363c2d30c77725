#!/bin/sh
# run.sh TEST SERVER: runs the test program, then asks the server what its users ask.
set -eu
failed=0
"$1" || failed=1

"$2" 8081 &
trap 'kill $!' EXIT
url=http://127.0.0.1:8081

# same WHAT WANT COMMAND...: what the command prints must be WANT.
same() {
	what=$1 want=$2
	shift 2
	got=$("$@" 2>/dev/null) || got="nothing"
	if [ "$got" = "$want" ]; then echo "ok    $what"; else echo "FAIL  $what is $got, want $want" && failed=1; fi
}

# The server needs a moment to begin; nobody has to guess how long.
for _ in 1 2 3 4 5 6 7 8 9 10; do
	wget -q -O /dev/null $url/healthz 2>/dev/null && break
	sleep 0.1
done
same "health" ok wget -q -O - $url/healthz
same "a sheep" 1 wget -q -O - --post-data= $url/count/sheep
same "another sheep" 2 wget -q -O - --post-data= $url/count/sheep
same "all sheep" 2 wget -q -O - $url/count/sheep
same "no goats" nothing wget -q -O - $url/count/goat
same "a bad name" nothing wget -q -O - --post-data= $url/count/UPPER
exit $failed
