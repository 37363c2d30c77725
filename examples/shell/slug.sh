# slug makes a title fit for a URL: lower case, words joined by single dashes.
# It is sourced by the app and by its tests.
slug() {
	printf '%s' "$1" | tr '[:upper:]' '[:lower:]' | tr -cs 'a-z0-9' '-' | sed 's/^-*//; s/-*$//'
}
