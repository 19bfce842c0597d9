/* The calls of WASI preview1 themselves, without what a libc makes of them: a path may hold a NUL, any descriptor and any
 * flag may be passed. A program of these has acts by name; each says on stdout what was not as it has to be. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <wasi/api.h>

typedef int32_t Fd;
typedef uint64_t Rights;
typedef struct { const void *bytes; size_t length; } Buffer;

#define CALL(name) __attribute__((import_module("wasi_snapshot_preview1"), import_name(#name))) int32_t w_##name
CALL(fd_advise)(Fd, uint64_t offset, uint64_t length, int32_t advice);
CALL(fd_allocate)(Fd, uint64_t offset, uint64_t length);
CALL(fd_close)(Fd);
CALL(fd_datasync)(Fd);
CALL(fd_fdstat_get)(Fd, __wasi_fdstat_t *);
CALL(fd_fdstat_set_flags)(Fd, int32_t flags);
CALL(fd_fdstat_set_rights)(Fd, Rights base, Rights inheriting);
CALL(fd_filestat_get)(Fd, __wasi_filestat_t *);
CALL(fd_filestat_set_size)(Fd, uint64_t size);
CALL(fd_filestat_set_times)(Fd, uint64_t atim, uint64_t mtim, int32_t flags);
CALL(fd_pread)(Fd, const Buffer *, size_t count, uint64_t offset, size_t *);
CALL(fd_prestat_get)(Fd, __wasi_prestat_t *);
CALL(fd_prestat_dir_name)(Fd, char *, size_t);
CALL(fd_pwrite)(Fd, const Buffer *, size_t count, uint64_t offset, size_t *);
CALL(fd_read)(Fd, const Buffer *, size_t count, size_t *);
CALL(fd_readdir)(Fd, void *, size_t, uint64_t cookie, size_t *);
CALL(fd_renumber)(Fd, Fd);
CALL(fd_seek)(Fd, int64_t delta, int32_t whence, uint64_t *);
CALL(fd_sync)(Fd);
CALL(fd_tell)(Fd, uint64_t *);
CALL(fd_write)(Fd, const Buffer *, size_t count, size_t *);
CALL(path_create_directory)(Fd, const char *, size_t);
CALL(path_filestat_get)(Fd, int32_t flags, const char *, size_t, __wasi_filestat_t *);
CALL(path_filestat_set_times)(Fd, int32_t flags, const char *, size_t, uint64_t atim, uint64_t mtim, int32_t fstflags);
CALL(path_link)(Fd, int32_t flags, const char *, size_t, Fd, const char *, size_t);
CALL(path_open)(Fd, int32_t dirflags, const char *, size_t, int32_t oflags, Rights, Rights, int32_t fdflags, Fd *);
CALL(path_readlink)(Fd, const char *, size_t, void *, size_t, size_t *);
CALL(path_remove_directory)(Fd, const char *, size_t);
CALL(path_rename)(Fd, const char *, size_t, Fd, const char *, size_t);
CALL(path_symlink)(const char *, size_t, Fd, const char *, size_t);
CALL(path_unlink_file)(Fd, const char *, size_t);
CALL(poll_oneoff)(const __wasi_subscription_t *, __wasi_event_t *, size_t, size_t *);
CALL(sock_shutdown)(Fd, int32_t how);
#undef CALL

/* How many things were not as they have to be. */
extern int wrong;

/* Two numbers that have to be the same. */
#define SAME(actual, expected) do { \
    long long actual_ = (long long)(actual), expected_ = (long long)(expected); \
    if (actual_ == expected_) break; \
    printf("%s:%d: %s is %lld, not %s = %lld\n", __FILE_NAME__, __LINE__, #actual, actual_, #expected, expected_); \
    wrong++; \
} while (0)
#define TRUE(condition) SAME(!!(condition), 1)
#define OK(call) SAME(call, 0)
/* `error` without its prefix: FAILS(path_open(...), NOENT). */
#define FAILS(call, error) SAME(call, __WASI_ERRNO_##error)

#define P(path) (path), strlen(path)
#define FOLLOW __WASI_LOOKUPFLAGS_SYMLINK_FOLLOW
#define CREAT __WASI_OFLAGS_CREAT
#define DIRECTORY __WASI_OFLAGS_DIRECTORY
#define EXCL __WASI_OFLAGS_EXCL
#define TRUNC __WASI_OFLAGS_TRUNC
#define RIGHT(name) __WASI_RIGHTS_##name
#define READ RIGHT(FD_READ)
#define WRITE RIGHT(FD_WRITE)

/* Of a directory that a program is given: every right that a directory can have, and hands on. */
#define DIRECTORY_RIGHTS (RIGHT(FD_READDIR) | RIGHT(FD_FILESTAT_GET) | RIGHT(FD_FILESTAT_SET_TIMES) | RIGHT(PATH_CREATE_DIRECTORY) \
    | RIGHT(PATH_CREATE_FILE) | RIGHT(PATH_LINK_SOURCE) | RIGHT(PATH_LINK_TARGET) | RIGHT(PATH_OPEN) | RIGHT(PATH_READLINK) \
    | RIGHT(PATH_RENAME_SOURCE) | RIGHT(PATH_RENAME_TARGET) | RIGHT(PATH_FILESTAT_GET) | RIGHT(PATH_FILESTAT_SET_SIZE) \
    | RIGHT(PATH_FILESTAT_SET_TIMES) | RIGHT(PATH_SYMLINK) | RIGHT(PATH_REMOVE_DIRECTORY) | RIGHT(PATH_UNLINK_FILE))
#define FILE_RIGHTS (READ | WRITE | RIGHT(FD_SEEK) | RIGHT(FD_TELL) | RIGHT(FD_SYNC) | RIGHT(FD_DATASYNC) | RIGHT(FD_ADVISE) \
    | RIGHT(FD_ALLOCATE) | RIGHT(FD_FDSTAT_SET_FLAGS) | RIGHT(FD_FILESTAT_GET) | RIGHT(FD_FILESTAT_SET_SIZE) \
    | RIGHT(FD_FILESTAT_SET_TIMES) | RIGHT(POLL_FD_READWRITE))

/* -1 where it cannot be opened, which is said. */
Fd open_at_(int line, Fd dir, const char *path, int oflags, Rights rights, int fdflags);
#define OPEN(dir, path, oflags, rights) open_at_(__LINE__, dir, path, oflags, rights, 0)
#define OPEN_WITH(dir, path, oflags, rights, fdflags) open_at_(__LINE__, dir, path, oflags, rights, fdflags)
/* What path_open says to those; what it opens is closed. */
int opens(Fd dir, int dirflags, const char *path, size_t length, int oflags, Rights rights, int fdflags);
#define OPENS(dir, dirflags, path, oflags) opens(dir, dirflags, P(path), oflags, 0, 0)
/* An empty file of that name. */
void make_file(Fd dir, const char *path);
__wasi_filestat_t stat_of(Fd);
__wasi_filestat_t stat_at(Fd dir, int flags, const char *path);
__wasi_fdstat_t fdstat_of(Fd);
/* Bytes transferred; minus the errno. */
long long write_bytes(Fd, const void *, size_t);
long long read_bytes(Fd, void *, size_t);
/* The first of the directories that the program was given, and one that was opened as what it is. */
Fd given(void);

/* Every act has an empty directory, with all rights. */
typedef void Act(Fd dir);
typedef struct { const char *name; Act *act; } Named;
extern const Named directory_acts[], file_acts[], link_acts[], name_acts[], descriptor_acts[];
