/* tally counts over HTTP: POST /count/NAME adds one, GET /count/NAME tells.
 *
 * One request at a time, one for each connection; a client that says nothing for two
 * seconds is left. */
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "tally.h"

#ifndef VERSION
#define VERSION "unknown"
#endif

static volatile sig_atomic_t stopped;

static void stop(int sig)
{
	(void)sig;
	stopped = 1;
}

static void answer(int client, const char *status, const char *body)
{
	char out[512];
	int n = snprintf(out, sizeof out, "HTTP/1.1 %s\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s\n",
			 status, strlen(body) + 1, body);
	if (send(client, out, (size_t)n, MSG_NOSIGNAL) < 0)
		perror("tally: send");
}

static void answer_count(int client, long count)
{
	char body[32];
	switch (count) {
	case TALLY_UNKNOWN:
		answer(client, "404 Not Found", "nothing was counted under this name");
		return;
	case TALLY_BAD_NAME:
		answer(client, "400 Bad Request", "a name is 1 to 32 of a-z, 0-9 and -");
		return;
	case TALLY_FULL:
		answer(client, "507 Insufficient Storage", "there are too many names");
		return;
	}
	snprintf(body, sizeof body, "%ld", count);
	answer(client, "200 OK", body);
}

/* Reads until the empty line that ends the head of a request. */
static int read_head(int client, char *head, size_t size)
{
	size_t n = 0;
	while (n < size - 1) {
		ssize_t got = recv(client, head + n, size - 1 - n, 0);
		if (got <= 0)
			return 0;
		n += (size_t)got;
		head[n] = '\0';
		if (strstr(head, "\r\n\r\n"))
			return 1;
	}
	return 0;
}

static void serve(struct tally *t, int client)
{
	char head[4096], method[8], path[128];
	if (!read_head(client, head, sizeof head))
		return;
	if (sscanf(head, "%7s %127s HTTP/", method, path) != 2) {
		answer(client, "400 Bad Request", "that is no HTTP");
		return;
	}
	int post = strcmp(method, "POST") == 0, get = strcmp(method, "GET") == 0;
	if (strncmp(path, "/count/", 7) == 0 && (get || post))
		answer_count(client, post ? tally_add(t, path + 7) : tally_get(t, path + 7));
	else if (get && strcmp(path, "/healthz") == 0)
		answer(client, "200 OK", "ok");
	else if (get && strcmp(path, "/version") == 0)
		answer(client, "200 OK", VERSION);
	else
		answer(client, "404 Not Found", "there is no such page");
}

static int listen_on(int port)
{
	int s = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_port = htons((unsigned short)port), .sin_addr.s_addr = htonl(INADDR_ANY) };
	if (s < 0 || setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) < 0 ||
	    bind(s, (struct sockaddr *)&addr, sizeof addr) < 0 || listen(s, 64) < 0) {
		perror("tally: listen");
		exit(1);
	}
	return s;
}

int main(int argc, char **argv)
{
	static struct tally t;
	struct sigaction on_stop = { .sa_handler = stop }; /* without SA_RESTART: accept returns */
	sigaction(SIGTERM, &on_stop, NULL);
	sigaction(SIGINT, &on_stop, NULL);
	int port = argc > 1 ? atoi(argv[1]) : 8080;
	int server = listen_on(port);
	printf("tally %s listens on port %d\n", VERSION, port);
	fflush(stdout);
	while (!stopped) {
		int client = accept(server, NULL, NULL);
		if (client < 0)
			continue;
		struct timeval patience = { .tv_sec = 2 };
		setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
		serve(&t, client);
		close(client);
	}
	return 0;
}
