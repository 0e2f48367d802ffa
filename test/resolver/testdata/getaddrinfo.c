/* Looks up argv[1] with getaddrinfo, AF_UNSPEC, and prints the outcome and the
   addresses. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

int main(int argc, char **argv)
{
	struct addrinfo hints, *list = 0, *ai;
	char text[INET6_ADDRSTRLEN];

	if (argc != 2)
		return 2;
	memset(&hints, 0, sizeof hints);
	hints.ai_family = AF_UNSPEC;
	hints.ai_socktype = SOCK_STREAM;
	switch (getaddrinfo(argv[1], 0, &hints, &list)) {
	case 0:
		puts("found");
		break;
	case EAI_NONAME:
		puts("not_found");
		break;
	case EAI_NODATA:
		puts("no_data");
		break;
	case EAI_AGAIN:
		puts("temporary_failure");
		break;
	default:
		puts("failure");
	}
	for (ai = list; ai; ai = ai->ai_next) {
		const void *addr = ai->ai_family == AF_INET
			? (const void *)&((struct sockaddr_in *)ai->ai_addr)->sin_addr
			: (const void *)&((struct sockaddr_in6 *)ai->ai_addr)->sin6_addr;
		puts(inet_ntop(ai->ai_family, addr, text, sizeof text));
	}
	return 0;
}
