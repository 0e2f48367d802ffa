/*
 * The probe that looks up names with the C library it is linked to: glibc or musl.
 *
 *   probe pause            wait to be killed (the default command, so the image can be a sandbox's too)
 *   probe report           print {"resolvConf": ..., "env": [...]} as one line
 *   probe lookup NAME...   look up each name as most programs do (getaddrinfo, A and AAAA), and print one line for each:
 *                          {"name": ..., "addresses": [...], "error": ..., "milliseconds": ...}
 *   probe lookup4 NAME...  the same, only A
 *   probe lookup6 NAME...  the same, only AAAA
 */
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static void quoted_character(int c) {
  if (c == '"' || c == '\\')
    printf("\\%c", c);
  else if (c < 0x20)
    printf("\\u%04x", c);
  else
    putchar(c);
}

static void quoted(const char *s) {
  putchar('"');
  for (; *s; s++) quoted_character((unsigned char)*s);
  putchar('"');
}

static int report(void) {
  FILE *file = fopen("/etc/resolv.conf", "r");
  printf("{\"resolvConf\":\"");
  if (file) {
    int c;
    while ((c = fgetc(file)) != EOF) quoted_character(c);
    fclose(file);
  }
  printf("\",\"env\":[");
  for (char **entry = environ; *entry; entry++) {
    if (entry != environ) putchar(',');
    quoted(*entry);
  }
  printf("]}\n");
  return 0;
}

static int lookup(int family, const char *name) {
  struct addrinfo hints = {.ai_family = family, .ai_socktype = SOCK_STREAM}, *answers = NULL;
  struct timespec before, after;
  clock_gettime(CLOCK_MONOTONIC, &before);
  int error = getaddrinfo(name, NULL, &hints, &answers);
  clock_gettime(CLOCK_MONOTONIC, &after);

  printf("{\"name\":");
  quoted(name);
  printf(",\"addresses\":[");
  for (struct addrinfo *a = answers; !error && a; a = a->ai_next) {
    char text[INET6_ADDRSTRLEN];
    const void *address = a->ai_family == AF_INET6 ? (void *)&((struct sockaddr_in6 *)a->ai_addr)->sin6_addr
                                                   : (void *)&((struct sockaddr_in *)a->ai_addr)->sin_addr;
    inet_ntop(a->ai_family, address, text, sizeof text);
    if (a != answers) putchar(',');
    quoted(text);
  }
  printf("],\"error\":");
  quoted(error ? gai_strerror(error) : "");
  printf(",\"milliseconds\":%.3f}\n",
         (after.tv_sec - before.tv_sec) * 1e3 + (after.tv_nsec - before.tv_nsec) / 1e6);
  if (!error) freeaddrinfo(answers);
  return 0;
}

static void end(int signal) {
  (void)signal;
  _exit(0);
}

int main(int argc, char **argv) {
  if (argc > 1 && !strcmp(argv[1], "report")) return report();
  if (argc > 1 && !strncmp(argv[1], "lookup", 6)) {
    int family = !strcmp(argv[1], "lookup4") ? AF_INET : !strcmp(argv[1], "lookup6") ? AF_INET6 : AF_UNSPEC;
    for (int i = 2; i < argc; i++) lookup(family, argv[i]);
    return 0;
  }
  signal(SIGTERM, end); /* process 1 ignores what it does not handle */
  for (;;) pause();
}
