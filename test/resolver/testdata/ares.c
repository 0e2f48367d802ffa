/* Looks up argv[1] with ares_getaddrinfo, AF_UNSPEC, and prints the outcome and
   the addresses. Without arguments it prints the version of c-ares. */
#include <ares.h>
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/select.h>
#include <sys/socket.h>

static void found(void *arg, int status, int timeouts, struct ares_addrinfo *list)
{
	struct ares_addrinfo_node *ai;
	char text[INET6_ADDRSTRLEN];

	(void)arg;
	(void)timeouts;
	switch (status) {
	case ARES_SUCCESS:
		puts("found");
		break;
	case ARES_ENOTFOUND:
		puts("not_found");
		break;
	case ARES_ENODATA:
		puts("no_data");
		break;
	case ARES_ESERVFAIL:
	case ARES_ETIMEOUT:
		puts("temporary_failure");
		break;
	default:
		puts("failure");
	}
	for (ai = list ? list->nodes : 0; ai; ai = ai->ai_next) {
		const void *addr = ai->ai_family == AF_INET
			? (const void *)&((struct sockaddr_in *)ai->ai_addr)->sin_addr
			: (const void *)&((struct sockaddr_in6 *)ai->ai_addr)->sin6_addr;
		puts(inet_ntop(ai->ai_family, addr, text, sizeof text));
	}
	if (list)
		ares_freeaddrinfo(list);
}

int main(int argc, char **argv)
{
	ares_channel channel;
	struct ares_addrinfo_hints hints;

	if (argc != 2) {
		puts(ares_version(0));
		return 0;
	}
	if (ares_library_init(ARES_LIB_INIT_ALL) || ares_init(&channel))
		return 2;
	memset(&hints, 0, sizeof hints);
	hints.ai_family = AF_UNSPEC;
	hints.ai_flags = ARES_AI_NOSORT;
	ares_getaddrinfo(channel, argv[1], 0, &hints, found, 0);
	for (;;) {
		fd_set readable, writable;
		struct timeval max = { 60, 0 };
		int n;

		FD_ZERO(&readable);
		FD_ZERO(&writable);
		n = ares_fds(channel, &readable, &writable);
		if (!n)
			break;
		select(n, &readable, &writable, 0, ares_timeout(channel, &max, &max));
		ares_process(channel, &readable, &writable);
	}
	ares_destroy(channel);
	return 0;
}
