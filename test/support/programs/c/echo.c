/* Says what it was given, copies stdin to stdout, says how much that was on stderr, and ends with 7. */
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
  for (int i = 0; i < argc; i++) printf("%s\n", argv[i]);
  printf("A=%s\n", getenv("A"));
  fflush(stdout);
  static char buffer[65536];
  size_t n, all = 0;
  while ((n = fread(buffer, 1, sizeof buffer, stdin)) > 0) {
    fwrite(buffer, 1, n, stdout);
    fflush(stdout);
    all += n;
  }
  fprintf(stderr, "%zu bytes\n", all);
  return 7;
}
