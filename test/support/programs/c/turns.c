// Computes and asks the kernel for something in turns, as its first argument says; the result is checked by who runs it.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static volatile unsigned sink;

static unsigned spin(unsigned x, unsigned turns) {
  for (unsigned i = 0; i < turns; i++) x = x * 1664525u + 1013904223u;
  return x;
}
static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
  const char *act = argc > 1 ? argv[1] : "";
  unsigned n = argc > 2 ? (unsigned)strtoul(argv[2], 0, 10) : 0;
  unsigned turns = argc > 3 ? (unsigned)strtoul(argv[3], 0, 10) : 1000000;
  setvbuf(stdout, 0, _IONBF, 0);
  unsigned x = 1;
  // A line for each stretch of computing.
  if (!strcmp(act, "lines")) {
    for (unsigned i = 0; i < n; i++) printf("%u %u\n", i, x = spin(x, turns));
    return 0;
  }
  // Numbers in, numbers out, and work on each.
  if (!strcmp(act, "filter")) {
    for (unsigned i; scanf("%*u %u", &i) == 1;) printf("%u\n", x = spin(i ^ x, turns));
    return 0;
  }
  // Memory, a little at a time, that is whole at the end.
  if (!strcmp(act, "grow")) {
    unsigned **blocks = calloc(n, sizeof *blocks);
    for (unsigned i = 0; i < n; i++) {
      if (!(blocks[i] = malloc(100000))) return printf("no memory at %u\n", i), 1;
      for (unsigned j = 0; j < 25000; j++) blocks[i][j] = x = spin(x, turns);
    }
    unsigned sum = 0;
    for (unsigned i = 0; i < n; i++) for (unsigned j = 0; j < 25000; j++) sum += blocks[i][j];
    return printf("%u\n", sum) < 0;
  }
  // A file that is written, read and renamed between stretches of computing.
  if (!strcmp(act, "files")) {
    char name[64], text[32];
    for (unsigned i = 0; i < n; i++) {
      snprintf(name, sizeof name, "/tmp/%s-%u", argv[4], i);
      int fd = open(name, O_CREAT | O_RDWR | O_TRUNC, 0666);
      int length = snprintf(text, sizeof text, "%u", x = spin(x, turns));
      struct stat st;
      if (fd < 0 || write(fd, text, length) != length || lseek(fd, 0, SEEK_SET) != 0) return perror("write"), 1;
      memset(text, 0, sizeof text);
      if (read(fd, text, sizeof text) != length || strtoul(text, 0, 10) != x) return perror("read"), 1;
      if (fstat(fd, &st) || st.st_size != length || close(fd) || unlink(name)) return perror("file"), 1;
    }
    return printf("%u\n", x) < 0;
  }
  // How long a call takes that the kernel has to make.
  if (!strcmp(act, "calls")) {
    sink = spin(x, turns);
    double from = now();
    struct stat st;
    for (unsigned i = 0; i < n; i++) fstat(0, &st);
    return printf("%.3f us a call\n", (now() - from) / n * 1e6) < 0;
  }
  fprintf(stderr, "no such act\n");
  return 2;
}
