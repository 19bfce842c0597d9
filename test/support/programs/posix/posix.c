#include "posix.h"
#include "dlfcn.h"
#include "pwd.h"
#include "sys/wait.h"
#include "termios.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int absent(void) {
  errno = ENOSYS;
  return -1;
}

int fchmod(int fd, mode_t mode) { return 0; }
int chmod(const char *path, mode_t mode) { return 0; }
int fchown(int fd, uid_t owner, gid_t group) { return 0; }
uid_t geteuid(void) { return 0; }
uid_t getuid(void) { return 0; }
int setuid(uid_t uid) { return absent(); }
int setgid(gid_t gid) { return absent(); }
struct passwd *getpwuid(uid_t uid) { return NULL; }
char *realpath(const char *path, char *resolved) { return resolved == NULL ? strdup(path) : strcpy(resolved, path); }

FILE *popen(const char *command, const char *mode) {
  absent();
  return NULL;
}
int pclose(FILE *stream) { return absent(); }
int system(const char *command) { return command == NULL ? 0 : absent(); }
FILE *tmpfile(void) {
  absent();
  return NULL;
}
char *tmpnam(char *buffer) { return NULL; }

pid_t fork(void) { return absent(); }
int execve(const char *file, char *const argv[], char *const env[]) { return absent(); }
pid_t waitpid(pid_t pid, int *status, int options) { return absent(); }
int kill(pid_t pid, int signal) { return absent(); }
int pipe(int ends[2]) { return absent(); }
int dup(int fd) { return absent(); }
int dup2(int fd, int to) { return absent(); }

int tcgetattr(int fd, struct termios *to) { return absent(); }
int tcsetattr(int fd, int when, const struct termios *from) { return absent(); }
void *dlopen(const char *file, int mode) { return NULL; }
void *dlsym(void *handle, const char *name) { return NULL; }
int dlclose(void *handle) { return absent(); }
