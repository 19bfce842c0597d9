#include "calls.h"

/* What is given can be closed like anything else, and what was opened through it stays. */
static void close_given(Fd dir) {
    const Fd top = given();
    TRUE(dir > top);
    OK(w_fd_close(top));
    SAME(fdstat_of(dir).fs_filetype, __WASI_FILETYPE_DIRECTORY);
    __wasi_fdstat_t stat;
    FAILS(w_fd_fdstat_get(top, &stat), BADF);
    OK(w_fd_close(dir));
}
/* ... and can be replaced. */
static void replace_given(Fd dir) {
    const Fd top = given();
    const __wasi_filestat_t old = stat_of(dir);
    OK(w_fd_renumber(dir, top));
    const __wasi_filestat_t new = stat_of(top);
    SAME(new.dev, old.dev);
    SAME(new.ino, old.ino);
    __wasi_fdstat_t stat;
    FAILS(w_fd_fdstat_get(dir, &stat), BADF);
}
static void rights_given(Fd dir) {
    (void)dir;
    const Fd top = given();
    const __wasi_fdstat_t stat = fdstat_of(top);
    SAME(stat.fs_filetype, __WASI_FILETYPE_DIRECTORY);
    SAME(stat.fs_flags, 0);
    SAME(stat.fs_rights_base & DIRECTORY_RIGHTS, DIRECTORY_RIGHTS);
    SAME(stat.fs_rights_inheriting & (DIRECTORY_RIGHTS | FILE_RIGHTS), DIRECTORY_RIGHTS | FILE_RIGHTS);
    Fd fd = -1;
    OK(w_path_open(top, 0, P("."), 0, stat.fs_rights_base, stat.fs_rights_inheriting, 0, &fd));
    OK(w_fd_close(fd));
    OK(OPENS(top, 0, ".", 0));
    OK(OPENS(top, 0, ".", DIRECTORY));
    OK(opens(top, 0, P("."), DIRECTORY, READ, 0));
    FAILS(opens(top, 0, P("."), DIRECTORY, READ | WRITE, 0), ISDIR);
    OK(opens(top, 0, P("."), 0, 0, __WASI_FDFLAGS_NONBLOCK));
}
static void name_given(Fd dir) {
    const Fd top = given();
    __wasi_prestat_t stat;
    char name[256];
    OK(w_fd_prestat_get(top, &stat));
    const size_t length = stat.u.dir.pr_name_len;
    FAILS(w_fd_prestat_dir_name(top, name, 0), NAMETOOLONG);
    FAILS(w_fd_prestat_dir_name(top, name, length - 1), NAMETOOLONG);
    name[length] = 'x';
    OK(w_fd_prestat_dir_name(top, name, length + 1));
    SAME(name[length], 'x');
    FAILS(w_fd_prestat_get(dir, &stat), BADF);
    FAILS(w_fd_prestat_dir_name(dir, name, sizeof name), BADF);
}

/* A directory is neither read nor written nor of any length. */
static void not_a_file(Fd dir) {
    char bytes[8] = {0};
    size_t n;
    uint64_t at;
    const Buffer buffer = {bytes, sizeof bytes};
    SAME(stat_of(dir).filetype, __WASI_FILETYPE_DIRECTORY);
    SAME(read_bytes(dir, bytes, 8), -__WASI_ERRNO_ISDIR);
    SAME(write_bytes(dir, bytes, 8), -__WASI_ERRNO_ISDIR);
    FAILS(w_fd_pread(dir, &buffer, 1, 0, &n), ISDIR);
    FAILS(w_fd_pwrite(dir, &buffer, 1, 0, &n), ISDIR);
    for (int whence = __WASI_WHENCE_SET; whence <= __WASI_WHENCE_END; whence++) FAILS(w_fd_seek(dir, 0, whence, &at), ISDIR);
    FAILS(w_fd_tell(dir, &at), ISDIR);
    FAILS(w_fd_allocate(dir, 0, 1), ISDIR);
    FAILS(w_fd_filestat_set_size(dir, 0), ISDIR);
}
static void no_right_to_seek(Fd dir) {
    OK(w_path_create_directory(dir, P("inner")));
    const Fd fd = OPEN(dir, "inner", DIRECTORY, RIGHT(FD_SEEK));
    uint64_t at;
    FAILS(w_fd_seek(fd, 0, __WASI_WHENCE_CUR, &at), ISDIR);
    const __wasi_fdstat_t stat = fdstat_of(fd);
    SAME(stat.fs_filetype, __WASI_FILETYPE_DIRECTORY);
    SAME(stat.fs_rights_base & RIGHT(FD_SEEK), 0);
    OK(w_fd_close(fd));
    OK(w_path_remove_directory(dir, P("inner")));
}

typedef struct { __wasi_dirent_t head; char name[64]; } Entry;

/* Entries that fit into 256 bytes, from `cookie` on; what is cut off is not counted. */
static int entries_from(Fd dir, uint64_t cookie, Entry *entries, bool *end) {
    char bytes[256];
    size_t used = 0;
    int n = 0;
    OK(w_fd_readdir(dir, bytes, sizeof bytes, cookie, &used));
    TRUE(used <= sizeof bytes);
    *end = used < sizeof bytes;
    for (size_t at = 0; at + sizeof(__wasi_dirent_t) <= used; n++) {
        memset(&entries[n], 0, sizeof *entries);
        memcpy(&entries[n].head, bytes + at, sizeof(__wasi_dirent_t));
        at += sizeof(__wasi_dirent_t);
        const size_t length = entries[n].head.d_namlen;
        if (at + length > used) break;
        memcpy(entries[n].name, bytes + at, length < 63 ? length : 63);
        at += length;
    }
    return n;
}
static const Entry *entry_named(const Entry *entries, int n, const char *name) {
    for (int i = 0; i < n; i++) if (strcmp(entries[i].name, name) == 0) return &entries[i];
    printf("no entry %s\n", name);
    wrong++;
    return entries;
}
static void list(Fd dir) {
    Entry found[16];
    bool end;
    int n = entries_from(dir, 0, found, &end);
    TRUE(end);
    SAME(n, 2);
    const Entry *self = entry_named(found, n, "."), *parent = entry_named(found, n, "..");
    SAME(self->head.d_type, __WASI_FILETYPE_DIRECTORY);
    SAME(self->head.d_ino, stat_of(dir).ino);
    SAME(parent->head.d_type, __WASI_FILETYPE_DIRECTORY);

    const Fd file = OPEN(dir, "file", CREAT, READ | WRITE | RIGHT(FD_READDIR) | RIGHT(FD_FILESTAT_GET));
    const uint64_t ino = stat_of(file).ino;
    OK(w_fd_close(file));
    n = entries_from(dir, 0, found, &end);
    SAME(n, 3);
    const Entry *entry = entry_named(found, n, "file");
    SAME(entry->head.d_type, __WASI_FILETYPE_REGULAR_FILE);
    SAME(entry->head.d_ino, ino);

    /* A cookie leads to the entry behind the one that it is of; that of the last one to the end. */
    Entry rest[16];
    for (int i = 0; i < n; i++) {
        const int left = entries_from(dir, found[i].head.d_next, rest, &end);
        TRUE(end);
        SAME(left, n - 1 - i);
        for (int j = 0; j < left; j++) TRUE(strcmp(rest[j].name, found[i + 1 + j].name) == 0);
    }
    size_t used = 99;
    OK(w_fd_readdir(dir, rest, 0, 0, &used));
    SAME(used, 0);
    OK(w_path_unlink_file(dir, P("file")));
}
enum { MANY = 200 };
static void list_many(Fd dir) {
    char name[32];
    bool seen[MANY] = {false};
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "file.%d", i);
        make_file(dir, name);
    }
    int total = 0;
    uint64_t cookie = 0;
    for (bool end = false; !end && total < 2 * MANY;) {
        Entry found[16];
        const int n = entries_from(dir, cookie, found, &end);
        for (int i = 0; i < n; i++) {
            int number = -1;
            sscanf(found[i].name, "file.%d", &number);
            if (number >= 0 && number < MANY) {
                TRUE(!seen[number]);
                seen[number] = true;
            }
        }
        total += n;
        if (n == 0) break;
        cookie = found[n - 1].head.d_next;
    }
    SAME(total, MANY + 2);
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "file.%d", i);
        OK(w_path_unlink_file(dir, P(name)));
    }
}
static void remove_full(Fd dir) {
    OK(w_path_create_directory(dir, P("outer")));
    OK(w_path_create_directory(dir, P("outer/inner")));
    FAILS(w_path_create_directory(dir, P("outer")), EXIST);
    FAILS(w_path_remove_directory(dir, P("outer")), NOTEMPTY);
    OK(w_path_remove_directory(dir, P("outer/inner")));
    OK(w_path_remove_directory(dir, P("outer")));
    FAILS(w_path_remove_directory(dir, P("outer")), NOENT);
}
static void remove_with_slash(Fd dir) {
    OK(w_path_create_directory(dir, P("inner")));
    OK(w_path_remove_directory(dir, P("inner/")));
    OK(w_path_create_directory(dir, P("inner/")));
    OK(w_path_remove_directory(dir, P("inner")));
    make_file(dir, "file");
    FAILS(w_path_remove_directory(dir, P("file")), NOTDIR);
    FAILS(w_path_remove_directory(dir, P("file/")), NOTDIR);
    OK(w_path_unlink_file(dir, P("file")));
}
/* A directory that is open can be removed, and has nothing in it from then on. */
static void remove_open(Fd dir) {
    OK(w_path_create_directory(dir, P("inner")));
    const Fd fd = OPEN(dir, "inner", DIRECTORY, DIRECTORY_RIGHTS);
    OK(w_path_remove_directory(dir, P("inner")));
    OK(w_path_create_directory(dir, P("inner")));
    FAILS(OPENS(fd, 0, "file", CREAT), NOENT);
    OK(w_fd_close(fd));
    OK(w_path_remove_directory(dir, P("inner")));
}

const Named directory_acts[] = {
    {"close-given", close_given}, {"replace-given", replace_given}, {"rights-given", rights_given}, {"name-given", name_given},
    {"not-a-file", not_a_file}, {"no-right-to-seek", no_right_to_seek}, {"list", list}, {"list-many", list_many},
    {"remove-full", remove_full}, {"remove-with-slash", remove_with_slash}, {"remove-open", remove_open}, {0},
};
