#include "calls.h"

static void allocate(Fd dir) {
    const Fd fd = OPEN(dir, "file", CREAT, READ | WRITE | RIGHT(FD_ALLOCATE) | RIGHT(FD_FILESTAT_GET));
    SAME(stat_of(fd).size, 0);
    OK(w_fd_allocate(fd, 0, 100));
    SAME(stat_of(fd).size, 100);
    OK(w_fd_allocate(fd, 10, 10));
    SAME(stat_of(fd).size, 100);
    OK(w_fd_allocate(fd, 90, 20));
    SAME(stat_of(fd).size, 110);
    FAILS(w_fd_allocate(fd, 0, 0), INVAL);
    FAILS(w_fd_allocate(fd, UINT64_MAX, 2), FBIG);
    char bytes[128];
    SAME(read_bytes(fd, bytes, sizeof bytes), 110);
    for (int i = 0; i < 110; i++) if (bytes[i] != 0) wrong++;
    OK(w_fd_close(fd));
    OK(w_path_unlink_file(dir, P("file")));
}
static void advise(Fd dir) {
    const Fd fd = OPEN(dir, "file", CREAT, FILE_RIGHTS);
    OK(w_fd_filestat_set_size(fd, 100));
    for (int advice = __WASI_ADVICE_NORMAL; advice <= __WASI_ADVICE_NOREUSE; advice++) OK(w_fd_advise(fd, 10, 50, advice));
    SAME(stat_of(fd).size, 100);
    FAILS(w_fd_advise(fd, 0, 1, __WASI_ADVICE_NOREUSE + 1), INVAL);
    OK(w_fd_close(fd));
    OK(w_path_unlink_file(dir, P("file")));
}
static void at_offsets(Fd dir) {
    const Fd fd = OPEN(dir, "file", CREAT, READ | WRITE | RIGHT(FD_SEEK));
    size_t n;
    char in[4] = {0};
    OK(w_fd_pwrite(fd, &(Buffer){"\0\1\2\3", 4}, 1, 0, &n));
    SAME(n, 4);
    OK(w_fd_pread(fd, &(Buffer){in, 4}, 1, 0, &n));
    SAME(n, 4);
    TRUE(memcmp(in, "\0\1\2\3", 4) == 0);
    const Buffer halves[] = {{in + 2, 2}, {in, 2}};
    OK(w_fd_pread(fd, halves, 2, 0, &n));
    SAME(n, 4);
    TRUE(memcmp(in, "\2\3\0\1", 4) == 0);
    OK(w_fd_pread(fd, &(Buffer){in, 4}, 1, 2, &n));
    SAME(n, 2);
    OK(w_fd_pread(fd, &(Buffer){in, 4}, 1, 4, &n));
    SAME(n, 0);
    const Buffer parts[] = {{"\1", 1}, {"", 0}, {"\0", 1}};
    OK(w_fd_pwrite(fd, parts, 3, 2, &n));
    SAME(n, 2);
    /* Nobody has moved what read and write go on from. */
    SAME(read_bytes(fd, in, 4), 4);
    TRUE(memcmp(in, "\0\1\1\0", 4) == 0);
    FAILS(w_fd_pread(fd, &(Buffer){in, 4}, 1, UINT64_MAX, &n), INVAL);
    OK(w_fd_close(fd));
    OK(w_path_unlink_file(dir, P("file")));
}
static void seek_and_tell(Fd dir) {
    const Fd fd = OPEN(dir, "file", CREAT, READ | WRITE | RIGHT(FD_SEEK) | RIGHT(FD_TELL));
    uint64_t at = 99;
    char bytes[100] = {0};
    OK(w_fd_tell(fd, &at));
    SAME(at, 0);
    SAME(write_bytes(fd, bytes, 100), 100);
    OK(w_fd_tell(fd, &at));
    SAME(at, 100);
    OK(w_fd_seek(fd, -50, __WASI_WHENCE_CUR, &at));
    SAME(at, 50);
    OK(w_fd_seek(fd, 0, __WASI_WHENCE_SET, &at));
    SAME(at, 0);
    OK(w_fd_seek(fd, -1, __WASI_WHENCE_END, &at));
    SAME(at, 99);
    OK(w_fd_seek(fd, 1000, __WASI_WHENCE_CUR, &at));
    SAME(at, 1099);
    SAME(read_bytes(fd, bytes, 1), 0);
    FAILS(w_fd_seek(fd, -2000, __WASI_WHENCE_CUR, &at), INVAL);
    FAILS(w_fd_seek(fd, 0, 3, &at), INVAL);
    OK(w_fd_tell(fd, &at));
    SAME(at, 1099);
    OK(w_fd_seek(fd, 0, __WASI_WHENCE_SET, &at));
    SAME(read_bytes(fd, bytes, 100), 100);
    OK(w_fd_tell(fd, &at));
    SAME(at, 100);
    OK(w_fd_close(fd));
    OK(w_path_unlink_file(dir, P("file")));
}
static void truncate_on_open(Fd dir) {
    Fd fd = OPEN(dir, "file", CREAT, WRITE);
    SAME(write_bytes(fd, "to be cut off", 13), 13);
    OK(w_fd_close(fd));
    fd = OPEN(dir, "file", CREAT | TRUNC, READ | WRITE);
    char bytes[16];
    SAME(read_bytes(fd, bytes, sizeof bytes), 0);
    OK(w_fd_close(fd));
    OK(w_path_unlink_file(dir, P("file")));
}
/* What one descriptor wrote another one reads. */
static void seen_at_once(Fd dir) {
    const Fd reader = OPEN(dir, "file", CREAT, READ), writer = OPEN(dir, "file", 0, WRITE);
    char byte = 0;
    SAME(write_bytes(writer, "\1", 1), 1);
    SAME(read_bytes(reader, &byte, 1), 1);
    SAME(byte, 1);
    OK(w_fd_close(writer));
    OK(w_fd_close(reader));
    OK(w_path_unlink_file(dir, P("file")));
}
static void read_only_and_write_only(Fd dir) {
    char bytes[100] = {0};
    size_t n;
    make_file(dir, "file");
    Fd fd = OPEN(dir, "file", 0, READ);
    SAME(fdstat_of(fd).fs_rights_base & (READ | WRITE), READ);
    SAME(read_bytes(fd, bytes, 100), 0);
    /* POSIX has EBADF for it. */
    SAME(write_bytes(fd, bytes, 1), -__WASI_ERRNO_BADF);
    OK(w_fd_close(fd));
    fd = OPEN(dir, "file", 0, WRITE | RIGHT(FD_SEEK));
    SAME(fdstat_of(fd).fs_rights_base & (READ | WRITE), WRITE);
    SAME(read_bytes(fd, bytes, 1), -__WASI_ERRNO_BADF);
    FAILS(w_fd_pread(fd, &(Buffer){bytes, 1}, 1, 0, &n), BADF);
    SAME(write_bytes(fd, bytes, 50), 50);
    OK(w_fd_close(fd));
    fd = OPEN(dir, "file", 0, READ | WRITE | RIGHT(FD_FILESTAT_GET));
    SAME(fdstat_of(fd).fs_rights_base & (READ | WRITE), READ | WRITE);
    SAME(read_bytes(fd, bytes, 100), 50);
    SAME(write_bytes(fd, bytes, 25), 25);
    SAME(stat_of(fd).size, 75);
    OK(w_fd_close(fd));
    OK(w_path_unlink_file(dir, P("file")));
}
static void append(Fd dir) {
    const Fd fd = OPEN_WITH(dir, "file", CREAT, FILE_RIGHTS, __WASI_FDFLAGS_APPEND);
    uint64_t at;
    char in[4];
    SAME(fdstat_of(fd).fs_flags, __WASI_FDFLAGS_APPEND);
    SAME(write_bytes(fd, "aa", 2), 2);
    OK(w_fd_seek(fd, 0, __WASI_WHENCE_SET, &at));
    SAME(write_bytes(fd, "bb", 2), 2);
    OK(w_fd_tell(fd, &at));
    SAME(at, 4);
    size_t n;
    OK(w_fd_pwrite(fd, &(Buffer){"cc", 2}, 1, 0, &n));
    OK(w_fd_tell(fd, &at));
    SAME(at, 4);
    OK(w_fd_fdstat_set_flags(fd, 0));
    SAME(fdstat_of(fd).fs_flags, 0);
    OK(w_fd_seek(fd, 1, __WASI_WHENCE_SET, &at));
    SAME(write_bytes(fd, "d", 1), 1);
    OK(w_fd_seek(fd, 0, __WASI_WHENCE_SET, &at));
    SAME(read_bytes(fd, in, 4), 4);
    TRUE(memcmp(in, "cdbb", 4) == 0);
    SAME(stat_of(fd).size, 4);
    FAILS(w_fd_fdstat_set_flags(fd, 1 << 5), INVAL);
    OK(w_fd_close(fd));
    OK(w_path_unlink_file(dir, P("file")));
}
static void sync_flags(Fd dir) {
    const int flags = __WASI_FDFLAGS_APPEND | __WASI_FDFLAGS_SYNC;
    const Fd fd = OPEN_WITH(dir, "file", CREAT, READ | WRITE | RIGHT(PATH_FILESTAT_GET), flags);
    const __wasi_fdstat_t stat = fdstat_of(fd);
    SAME(stat.fs_flags, flags);
    /* A file has no right to paths, whatever it was opened with. */
    SAME(stat.fs_rights_base & RIGHT(PATH_FILESTAT_GET), 0);
    SAME(write_bytes(fd, "on the medium", 13), 13);
    SAME(stat_at(dir, 0, "file").size, 13);
    OK(w_fd_close(fd));
    OK(w_path_unlink_file(dir, P("file")));
}
static void size_and_times(Fd dir) {
    const Fd fd = OPEN(dir, "file", CREAT, READ | WRITE | RIGHT(FD_FILESTAT_GET) | RIGHT(FD_FILESTAT_SET_SIZE) | RIGHT(FD_FILESTAT_SET_TIMES));
    SAME(stat_of(fd).size, 0);
    OK(w_fd_filestat_set_size(fd, 100));
    const __wasi_filestat_t old = stat_of(fd);
    SAME(old.size, 100);
    OK(w_fd_filestat_set_times(fd, old.mtim - 100, old.mtim - 100, __WASI_FSTFLAGS_MTIM));
    const __wasi_filestat_t new = stat_of(fd);
    SAME(new.size, 100);
    SAME(new.mtim, old.mtim - 100);
    SAME(new.atim, old.atim);
    OK(w_fd_filestat_set_times(fd, 5000, 6000, __WASI_FSTFLAGS_ATIM));
    SAME(stat_of(fd).atim, 5000);
    SAME(stat_of(fd).mtim, old.mtim - 100);
    OK(w_fd_filestat_set_times(fd, 0, 6000, __WASI_FSTFLAGS_MTIM));
    OK(w_fd_filestat_set_times(fd, 0, 0, __WASI_FSTFLAGS_MTIM_NOW | __WASI_FSTFLAGS_ATIM_NOW));
    /* Not beside the old one: a shared folder's times are of another clock. */
    TRUE(stat_of(fd).mtim > 6000 && stat_of(fd).atim > 5000);
    FAILS(w_fd_filestat_set_times(fd, 1, 2, __WASI_FSTFLAGS_MTIM | __WASI_FSTFLAGS_MTIM_NOW), INVAL);
    FAILS(w_fd_filestat_set_times(fd, 1, 2, __WASI_FSTFLAGS_ATIM | __WASI_FSTFLAGS_ATIM_NOW), INVAL);
    FAILS(w_fd_filestat_set_times(fd, 1, 2, 1 << 4), INVAL);
    OK(w_fd_close(fd));
    OK(w_path_unlink_file(dir, P("file")));
}
static void times_by_path(Fd dir) {
    make_file(dir, "file");
    const uint64_t before = stat_at(dir, 0, "file").mtim - 100;
    OK(w_path_filestat_set_times(dir, 0, P("file"), 0, before, __WASI_FSTFLAGS_MTIM));
    SAME(stat_at(dir, 0, "file").mtim, before);
    FAILS(w_path_filestat_set_times(dir, 0, P("file"), 0, 7, __WASI_FSTFLAGS_MTIM | __WASI_FSTFLAGS_MTIM_NOW), INVAL);
    FAILS(w_path_filestat_set_times(dir, 0, P("file"), 7, 0, __WASI_FSTFLAGS_ATIM | __WASI_FSTFLAGS_ATIM_NOW), INVAL);
    SAME(stat_at(dir, 0, "file").mtim, before);
    OK(w_path_unlink_file(dir, P("file")));
}
/* A file that has lost its name is there until it is closed; another one of the name is another one. */
static void remove_open_file(Fd dir) {
    const Fd fd = OPEN(dir, "file", CREAT, FILE_RIGHTS);
    OK(w_path_unlink_file(dir, P("file")));
    SAME(write_bytes(fd, "alive", 5), 5);
    make_file(dir, "file");
    SAME(stat_of(fd).size, 5);
    SAME(stat_at(dir, 0, "file").size, 0);
    TRUE(stat_of(fd).ino != stat_at(dir, 0, "file").ino);
    SAME(stat_of(fd).dev, stat_at(dir, 0, "file").dev);
    OK(w_fd_close(fd));
    OK(w_path_unlink_file(dir, P("file")));
    FAILS(w_path_unlink_file(dir, P("file")), NOENT);
}
static void right_to_truncate(Fd dir) {
    make_file(dir, "file");
    const __wasi_fdstat_t stat = fdstat_of(dir);
    SAME(stat.fs_flags, 0);
    SAME(stat.fs_rights_base & RIGHT(FD_FILESTAT_SET_SIZE), 0);
    OK(OPENS(dir, 0, "file", TRUNC));
    const Rights base = stat.fs_rights_base, handed_on = stat.fs_rights_inheriting & ~RIGHT(FD_FILESTAT_SET_SIZE);
    OK(w_fd_fdstat_set_rights(dir, base, handed_on));
    OK(OPENS(dir, 0, "file", TRUNC));
    OK(w_fd_fdstat_set_rights(dir, base & ~RIGHT(PATH_FILESTAT_SET_SIZE), handed_on));
    SAME(fdstat_of(dir).fs_rights_base & RIGHT(PATH_FILESTAT_SET_SIZE), 0);
    FAILS(OPENS(dir, 0, "file", TRUNC), NOTCAPABLE);
    OK(w_path_unlink_file(dir, P("file")));
}
static void rights_given_up(Fd dir) {
    const Rights moves = RIGHT(FD_SEEK) | RIGHT(FD_TELL);
    const Fd fd = OPEN(dir, "file", CREAT, READ | WRITE | moves);
    char bytes[4] = {0, 1, 2, 3};
    uint64_t at;
    SAME(write_bytes(fd, bytes, 4), 4);
    OK(w_fd_seek(fd, 0, __WASI_WHENCE_SET, &at));
    const __wasi_fdstat_t stat = fdstat_of(fd);
    OK(w_fd_fdstat_set_rights(fd, stat.fs_rights_base & ~(READ | WRITE), stat.fs_rights_inheriting));
    SAME(fdstat_of(fd).fs_rights_base, moves);
    SAME(read_bytes(fd, bytes, 4), -__WASI_ERRNO_BADF);
    SAME(write_bytes(fd, bytes, 4), -__WASI_ERRNO_BADF);
    OK(w_fd_seek(fd, 0, __WASI_WHENCE_END, &at));
    FAILS(w_fd_fdstat_set_rights(fd, READ | WRITE | moves, stat.fs_rights_inheriting | READ), NOTCAPABLE);
    FAILS(w_fd_fdstat_set_rights(fd, moves, UINT64_MAX), NOTCAPABLE);
    SAME(fdstat_of(fd).fs_rights_base, moves);
    OK(w_fd_close(fd));
    OK(w_path_unlink_file(dir, P("file")));
}
/* What a directory does not hand on nobody has who opens through it. */
static void rights_not_handed_on(Fd dir) {
    make_file(dir, "file");
    const __wasi_fdstat_t stat = fdstat_of(dir);
    OK(w_fd_fdstat_set_rights(dir, stat.fs_rights_base, stat.fs_rights_inheriting & ~READ));
    FAILS(opens(dir, 0, P("file"), 0, READ, 0), NOTCAPABLE);
    const Fd fd = OPEN(dir, "file", 0, 0);
    char byte;
    SAME(fdstat_of(fd).fs_rights_base & READ, 0);
    SAME(fdstat_of(fd).fs_rights_inheriting & READ, 0);
    SAME(read_bytes(fd, &byte, 1), -__WASI_ERRNO_BADF);
    OK(w_fd_close(fd));
    OK(w_path_unlink_file(dir, P("file")));
}

const Named file_acts[] = {
    {"allocate", allocate}, {"advise", advise}, {"at-offsets", at_offsets}, {"seek-and-tell", seek_and_tell},
    {"truncate-on-open", truncate_on_open}, {"seen-at-once", seen_at_once}, {"read-only-and-write-only", read_only_and_write_only},
    {"append", append}, {"sync-flags", sync_flags}, {"size-and-times", size_and_times}, {"times-by-path", times_by_path},
    {"remove-open-file", remove_open_file}, {"right-to-truncate", right_to_truncate}, {"rights-given-up", rights_given_up},
    {"rights-not-handed-on", rights_not_handed_on}, {0},
};
