/* read PATH...: copies each file to stdout, or says why not. write PATH TEXT: makes a file, or says why not. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int failed(const char *path) {
  printf("%s: %s\n", path, strerror(errno));
  return 1;
}
static int copy(const char *path) {
  char bytes[4096];
  int fd = open(path, O_RDONLY);
  if (fd < 0) return failed(path);
  ssize_t n;
  while ((n = read(fd, bytes, sizeof bytes)) > 0) fwrite(bytes, 1, n, stdout);
  close(fd);
  return n < 0 ? failed(path) : 0;
}
static int make(const char *path, const char *text) {
  int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0666);
  if (fd < 0) return failed(path);
  if (write(fd, text, strlen(text)) != (ssize_t)strlen(text) || fsync(fd) || close(fd)) return failed(path);
  return 0;
}

int main(int argc, char **argv) {
  int failures = 0;
  if (argc == 4 && strcmp(argv[1], "write") == 0) return make(argv[2], argv[3]);
  for (int i = 2; i < argc; i++) failures += copy(argv[i]);
  return failures;
}
