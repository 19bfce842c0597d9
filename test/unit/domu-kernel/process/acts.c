// One act for each thing that a process may do to the vCPU it runs on.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static volatile unsigned sink;

static unsigned spin(unsigned turns) {
  unsigned x = 1;
  for (unsigned i = 0; i < turns; i++) x = x * 1664525u + 1013904223u;
  return x;
}
static unsigned fib(unsigned n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }
// A line of stdin, read where the stack is deep; each level knows its own number still.
static int deep(int n) {
  volatile int mine = n;
  char line[16] = "";
  if (n == 0) return fgets(line, sizeof line, stdin) ? atoi(line) : -1;
  int below = deep(n - 1);
  return mine == n ? below + 1 : -1000000;
}
static int endless(int n) { volatile char room[256]; room[n & 255] = n; return endless(n + 1) + room[n & 255]; }

int main(int argc, char **argv) {
  const char *act = argc > 1 ? argv[1] : "";
  unsigned n = argc > 2 ? (unsigned)strtoul(argv[2], 0, 10) : 0;
  setvbuf(stdout, 0, _IONBF, 0);
  if (!strcmp(act, "exit")) return n;
  if (!strcmp(act, "spin")) for (;;) sink = spin(1000000);
  if (!strcmp(act, "sum") && argc > 3) return sink = spin(n), abort(), 0;
  if (!strcmp(act, "sum")) return printf("%u\n", spin(n)) < 0;
  if (!strcmp(act, "fib")) return printf("%u\n", fib(n)) < 0;
  if (!strcmp(act, "deep")) return printf("%d\n", deep(n)) < 0;
  if (!strcmp(act, "endless")) return endless(0);
  if (!strcmp(act, "abort")) abort();
  if (!strcmp(act, "wild")) return *(volatile int *)0xfffffff0;
  if (!strcmp(act, "sleep")) { usleep(n * 1000); puts("slept"); return 0; }
  if (!strcmp(act, "cat")) {
    char buffer[3000];
    for (ssize_t got; (got = read(0, buffer, sizeof buffer)) > 0;)
      for (ssize_t at = 0; at < got;) {
        ssize_t done = write(1, buffer + at, got - at);
        if (done < 0) return 1;
        at += done;
      }
    return 0;
  }
  if (!strcmp(act, "write")) {
    for (unsigned i = 0; i < n; i++) printf("line %u\n", i);
    return 0;
  }
  if (!strcmp(act, "grow")) {
    unsigned got = 0;
    // Through a volatile pointer: clang knows malloc, and leaves out what nobody looks at.
    for (char *volatile block; got < n && (block = malloc(1 << 20)); got++) memset(block, 1, 1 << 20);
    printf("%u MiB\n", got);
    char line[16];
    if (argc > 3) fgets(line, sizeof line, stdin);
    return got < n;
  }
  if (!strcmp(act, "env")) return printf("%s %s %d\n", getenv("PWD"), getenv("A") ? getenv("A") : "-", argc) < 0;
  fprintf(stderr, "no such act\n");
  return 2;
}
