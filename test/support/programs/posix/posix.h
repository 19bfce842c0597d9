/* Included before every source: what programs written for POSIX name and a WASI host has not. It says so
 * when it is called (posix.c); locks of files always succeed, since a database has one process here. */
#pragma once
#include <stdio.h>
#include <sys/types.h>

#ifndef F_RDLCK
#define F_RDLCK 0
#define F_WRLCK 1
#define F_UNLCK 2
#define F_GETLK 5
#define F_SETLK 6
#define F_SETLKW 7
#endif
#ifndef L_tmpnam
#define L_tmpnam 20
#endif

#ifndef TIOCGWINSZ
#define TIOCGWINSZ 0x5413
struct winsize {
  unsigned short ws_row, ws_col, ws_xpixel, ws_ypixel;
};
#endif

int fchmod(int fd, mode_t mode);
int chmod(const char *path, mode_t mode);
int fchown(int fd, uid_t owner, gid_t group);
uid_t geteuid(void);
uid_t getuid(void);
FILE *popen(const char *command, const char *mode);
int pclose(FILE *stream);
int system(const char *command);
char *realpath(const char *path, char *resolved);

/* Other processes. */
pid_t fork(void);
int execve(const char *file, char *const argv[], char *const env[]);
int kill(pid_t pid, int signal);
int pipe(int ends[2]);
int dup(int fd);
int dup2(int fd, int to);
int setuid(uid_t uid);
int setgid(gid_t gid);
