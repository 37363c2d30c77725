#!/bin/sh
# Serves the app on port 8080 until it is told to stop. The kernel keeps SIGTERM from a
# process 1 that does not ask for it, as httpd does not; this shell asks.
httpd -f -p 8080 -h /app/www &
trap 'kill $!' TERM INT
wait $!
