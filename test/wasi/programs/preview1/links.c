#include "calls.h"

static int symlink_to(const char *target, Fd dir, const char *path) {
    return w_path_symlink(P(target), dir, P(path));
}
static int link_from(Fd dir, int flags, const char *from, Fd to_dir, const char *to) {
    return w_path_link(dir, flags, P(from), to_dir, P(to));
}

static void dangling(Fd dir) {
    OK(symlink_to("target", dir, "symlink"));
    FAILS(OPENS(dir, 0, "symlink", DIRECTORY), NOTDIR);
    FAILS(OPENS(dir, 0, "symlink", 0), LOOP);
    FAILS(OPENS(dir, FOLLOW, "symlink", 0), NOENT);
    FAILS(OPENS(dir, FOLLOW, "symlink", CREAT | EXCL), EXIST);
    OK(OPENS(dir, FOLLOW, "symlink", CREAT));
    SAME(stat_at(dir, 0, "target").filetype, __WASI_FILETYPE_REGULAR_FILE);
    OK(w_path_unlink_file(dir, P("target")));
    OK(w_path_unlink_file(dir, P("symlink")));
}
static void not_followed(Fd dir) {
    OK(w_path_create_directory(dir, P("target")));
    OK(symlink_to("target", dir, "symlink"));
    FAILS(OPENS(dir, 0, "symlink", DIRECTORY), NOTDIR);
    FAILS(OPENS(dir, 0, "symlink", 0), LOOP);
    OK(OPENS(dir, FOLLOW, "symlink", DIRECTORY));
    FAILS(OPENS(dir, 1 << 1, "symlink", 0), INVAL);
    OK(w_path_unlink_file(dir, P("symlink")));
    OK(w_path_remove_directory(dir, P("target")));

    make_file(dir, "target");
    OK(symlink_to("target", dir, "symlink"));
    FAILS(OPENS(dir, 0, "symlink", DIRECTORY), NOTDIR);
    FAILS(OPENS(dir, 0, "symlink", 0), LOOP);
    OK(OPENS(dir, FOLLOW, "symlink", 0));
    FAILS(OPENS(dir, FOLLOW, "symlink", DIRECTORY), NOTDIR);
    OK(w_path_unlink_file(dir, P("target")));
    OK(w_path_unlink_file(dir, P("symlink")));
}
static void loop(Fd dir) {
    OK(symlink_to("symlink", dir, "symlink"));
    FAILS(OPENS(dir, 0, "symlink", 0), LOOP);
    FAILS(OPENS(dir, FOLLOW, "symlink", 0), LOOP);
    FAILS(OPENS(dir, 0, "symlink/file", 0), LOOP);
    __wasi_filestat_t stat;
    FAILS(w_path_filestat_get(dir, FOLLOW, P("symlink"), &stat), LOOP);
    OK(w_path_unlink_file(dir, P("symlink")));
}
/* Out of its directory nothing leads. */
static void outwards(Fd dir) {
    FAILS(symlink_to("/", dir, "symlink"), PERM);
    FAILS(symlink_to("", dir, "symlink"), NOENT);
    OK(symlink_to("..", dir, "symlink"));
    FAILS(OPENS(dir, FOLLOW, "symlink", 0), PERM);
    FAILS(OPENS(dir, 0, "symlink/outwards", 0), PERM);
    OK(w_path_unlink_file(dir, P("symlink")));
    OK(symlink_to("a/../../outwards/file", dir, "symlink"));
    OK(w_path_create_directory(dir, P("a")));
    FAILS(OPENS(dir, FOLLOW, "symlink", CREAT), PERM);
    OK(w_path_remove_directory(dir, P("a")));
    OK(w_path_unlink_file(dir, P("symlink")));
}
static void target_of(Fd dir) {
    char bytes[10] = {0};
    size_t n = 0;
    make_file(dir, "target");
    OK(symlink_to("target", dir, "symlink"));
    OK(w_path_readlink(dir, P("symlink"), bytes, sizeof bytes, &n));
    SAME(n, 6);
    TRUE(memcmp(bytes, "target\0\0\0\0", 10) == 0);
    memset(bytes, 0, sizeof bytes);
    OK(w_path_readlink(dir, P("symlink"), bytes, 4, &n));
    SAME(n, 4);
    TRUE(memcmp(bytes, "targ\0", 5) == 0);
    OK(w_path_readlink(dir, P("symlink"), bytes, 0, &n));
    SAME(n, 0);
    FAILS(w_path_readlink(dir, P("target"), bytes, sizeof bytes, &n), INVAL);
    FAILS(w_path_readlink(dir, P("nothing"), bytes, sizeof bytes, &n), NOENT);
    OK(w_path_unlink_file(dir, P("target")));
    OK(w_path_unlink_file(dir, P("symlink")));
}
static void symlink_with_slash(Fd dir) {
    FAILS(symlink_to("source", dir, "target/"), NOENT);
    OK(symlink_to("source", dir, "target"));
    OK(w_path_unlink_file(dir, P("target")));
    OK(w_path_create_directory(dir, P("target")));
    FAILS(symlink_to("source", dir, "target/"), EXIST);
    FAILS(symlink_to("source", dir, "target"), EXIST);
    OK(w_path_remove_directory(dir, P("target")));
    make_file(dir, "target");
    const int error = symlink_to("source", dir, "target/");
    TRUE(error == __WASI_ERRNO_NOTDIR || error == __WASI_ERRNO_EXIST);
    FAILS(symlink_to("source", dir, "target"), EXIST);
    OK(w_path_unlink_file(dir, P("target")));
}
static void stat_of_symlink(Fd dir) {
    make_file(dir, "file");
    OK(symlink_to("file", dir, "symlink"));
    const __wasi_filestat_t file = stat_at(dir, 0, "file"), own = stat_at(dir, 0, "symlink");
    SAME(own.filetype, __WASI_FILETYPE_SYMBOLIC_LINK);
    SAME(own.size, 4);
    OK(w_path_filestat_set_times(dir, 0, P("symlink"), 0, own.mtim - 200, __WASI_FSTFLAGS_MTIM));
    SAME(stat_at(dir, 0, "symlink").mtim, own.mtim - 200);
    SAME(stat_at(dir, 0, "file").mtim, file.mtim);
    SAME(stat_at(dir, FOLLOW, "symlink").mtim, file.mtim);
    SAME(stat_at(dir, FOLLOW, "symlink").ino, file.ino);
    OK(w_path_filestat_set_times(dir, FOLLOW, P("symlink"), 0, own.mtim - 300, __WASI_FSTFLAGS_MTIM));
    SAME(stat_at(dir, 0, "file").mtim, own.mtim - 300);
    SAME(stat_at(dir, 0, "symlink").mtim, own.mtim - 200);
    OK(w_path_unlink_file(dir, P("symlink")));
    OK(w_path_unlink_file(dir, P("file")));
}
static void what_there_is(Fd dir) {
    OK(w_path_create_directory(dir, P("inner")));
    make_file(dir, "inner/file");
    OK(symlink_to("inner/file", dir, "to-file"));
    OK(symlink_to("inner", dir, "to-directory"));
    for (unsigned flags = 0; flags <= FOLLOW; flags += FOLLOW) {
        SAME(stat_at(dir, flags, "inner").filetype, __WASI_FILETYPE_DIRECTORY);
        SAME(stat_at(dir, flags, "inner/file").filetype, __WASI_FILETYPE_REGULAR_FILE);
        SAME(stat_at(dir, flags, "to-directory/file").filetype, __WASI_FILETYPE_REGULAR_FILE);
        SAME(stat_at(dir, flags, "to-file").filetype, flags ? __WASI_FILETYPE_REGULAR_FILE : __WASI_FILETYPE_SYMBOLIC_LINK);
        SAME(stat_at(dir, flags, "to-directory").filetype, flags ? __WASI_FILETYPE_DIRECTORY : __WASI_FILETYPE_SYMBOLIC_LINK);
    }
    OK(w_path_unlink_file(dir, P("to-file")));
    OK(w_path_unlink_file(dir, P("to-directory")));
    OK(w_path_unlink_file(dir, P("inner/file")));
    OK(w_path_remove_directory(dir, P("inner")));
}
static void same_file(Fd one, Fd other) {
    const __wasi_filestat_t a = stat_of(one), b = stat_of(other);
    TRUE(memcmp(&a, &b, sizeof a) == 0);
    SAME(a.nlink, 2);
    const __wasi_fdstat_t c = fdstat_of(one), d = fdstat_of(other);
    SAME(c.fs_filetype, d.fs_filetype);
    SAME(c.fs_flags, d.fs_flags);
    SAME(c.fs_rights_base, d.fs_rights_base);
    SAME(c.fs_rights_inheriting, d.fs_rights_inheriting);
}
static void hard_link(Fd dir) {
    const Rights rights = READ | RIGHT(PATH_LINK_SOURCE) | RIGHT(PATH_LINK_TARGET) | RIGHT(FD_FILESTAT_GET) | RIGHT(PATH_OPEN)
        | RIGHT(PATH_UNLINK_FILE);
    const Fd file = OPEN(dir, "file", CREAT, rights);
    OK(link_from(dir, 0, "file", dir, "link"));
    Fd other = OPEN(dir, "link", 0, rights);
    same_file(file, other);
    OK(w_fd_close(other));
    OK(w_path_unlink_file(dir, P("link")));
    OK(w_path_create_directory(dir, P("inner")));
    const Fd inner = OPEN(dir, "inner", DIRECTORY, rights);
    OK(link_from(dir, 0, "file", inner, "link"));
    other = OPEN(inner, "link", 0, rights);
    same_file(file, other);
    OK(w_path_unlink_file(inner, P("link")));
    OK(w_fd_close(other));
    OK(w_fd_close(inner));
    OK(w_fd_close(file));
    OK(w_path_remove_directory(dir, P("inner")));
    OK(w_path_unlink_file(dir, P("file")));
}
static void hard_link_refused(Fd dir) {
    make_file(dir, "file");
    make_file(dir, "link");
    FAILS(link_from(dir, 0, "file", dir, "link"), EXIST);
    OK(w_path_unlink_file(dir, P("link")));
    FAILS(link_from(dir, 0, "file", dir, "file"), EXIST);
    FAILS(link_from(dir, 0, "file", dir, "link/"), NOENT);
    FAILS(link_from(dir, 0, "nothing", dir, "link"), NOENT);
    OK(w_path_create_directory(dir, P("link")));
    FAILS(link_from(dir, 0, "file", dir, "link"), EXIST);
    FAILS(link_from(dir, 0, "link", dir, "other"), PERM);
    OK(w_path_remove_directory(dir, P("link")));
    OK(w_path_unlink_file(dir, P("file")));
}
static void hard_link_of_symlink(Fd dir) {
    for (int i = 0; i < 2; i++) {
        OK(symlink_to(i == 0 ? "target" : "symlink", dir, "symlink"));
        OK(link_from(dir, 0, "symlink", dir, "link"));
        SAME(stat_at(dir, 0, "link").filetype, __WASI_FILETYPE_SYMBOLIC_LINK);
        SAME(stat_at(dir, 0, "link").ino, stat_at(dir, 0, "symlink").ino);
        OK(w_path_unlink_file(dir, P("symlink")));
        OK(w_path_unlink_file(dir, P("link")));
    }
    make_file(dir, "file");
    OK(symlink_to("target", dir, "symlink"));
    FAILS(link_from(dir, 0, "file", dir, "symlink"), EXIST);
    FAILS(link_from(dir, FOLLOW, "symlink", dir, "link"), NOENT);
    OK(w_path_unlink_file(dir, P("symlink")));
    OK(w_path_unlink_file(dir, P("file")));
}

const Named link_acts[] = {
    {"dangling", dangling}, {"not-followed", not_followed}, {"loop", loop}, {"outwards", outwards}, {"target-of", target_of},
    {"symlink-with-slash", symlink_with_slash}, {"stat-of-symlink", stat_of_symlink}, {"what-there-is", what_there_is},
    {"hard-link", hard_link}, {"hard-link-refused", hard_link_refused}, {"hard-link-of-symlink", hard_link_of_symlink}, {0},
};
