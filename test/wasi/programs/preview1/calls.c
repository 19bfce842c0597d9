#include "calls.h"
#include <stdlib.h>

int wrong;

Fd open_at_(int line, Fd dir, const char *path, int oflags, Rights rights, int fdflags) {
    Fd fd = -1;
    int error = w_path_open(dir, 0, P(path), oflags, rights, rights, fdflags, &fd);
    if (error == 0 && fd > 2) return fd;
    printf("line %d: path_open(%s) is %d, descriptor %d\n", line, path, error, fd);
    wrong++;
    return -1;
}
int opens(Fd dir, int dirflags, const char *path, size_t length, int oflags, Rights rights, int fdflags) {
    Fd fd = -1;
    int error = w_path_open(dir, dirflags, path, length, oflags, rights, 0, fdflags, &fd);
    if (error == 0) OK(w_fd_close(fd));
    return error;
}
void make_file(Fd dir, const char *path) {
    OK(OPENS(dir, 0, path, CREAT));
}
__wasi_filestat_t stat_of(Fd fd) {
    __wasi_filestat_t stat = {0};
    OK(w_fd_filestat_get(fd, &stat));
    return stat;
}
__wasi_filestat_t stat_at(Fd dir, int flags, const char *path) {
    __wasi_filestat_t stat = {0};
    OK(w_path_filestat_get(dir, flags, P(path), &stat));
    return stat;
}
__wasi_fdstat_t fdstat_of(Fd fd) {
    __wasi_fdstat_t stat = {0};
    OK(w_fd_fdstat_get(fd, &stat));
    return stat;
}
long long write_bytes(Fd fd, const void *bytes, size_t length) {
    size_t n = 0;
    int error = w_fd_write(fd, &(Buffer){bytes, length}, 1, &n);
    return error ? -error : (long long)n;
}
long long read_bytes(Fd fd, void *bytes, size_t length) {
    size_t n = 0;
    int error = w_fd_read(fd, &(Buffer){bytes, length}, 1, &n);
    return error ? -error : (long long)n;
}

static const char *given_name = "/";

Fd given(void) {
    for (Fd fd = 3;; fd++) {
        __wasi_prestat_t stat;
        char name[256];
        if (w_fd_prestat_get(fd, &stat) != 0) break;
        if (stat.tag != __WASI_PREOPENTYPE_DIR || stat.u.dir.pr_name_len > sizeof name) continue;
        if (w_fd_prestat_dir_name(fd, name, stat.u.dir.pr_name_len) != 0) continue;
        if (stat.u.dir.pr_name_len == strlen(given_name) && memcmp(name, given_name, strlen(given_name)) == 0) return fd;
    }
    printf("no directory is given as %s\n", given_name);
    exit(2);
}

/* One act in a directory of its own: `program act directory`. Without an act their names. */
int main(int argc, char **argv) {
    const Named *const families[] = {directory_acts, file_acts, link_acts, name_acts, descriptor_acts};
    if (argc > 2) given_name = argv[2];
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        for (const Named *named = families[i]; named->name != NULL; named++) {
            if (argc < 2) puts(named->name);
            else if (strcmp(named->name, argv[1]) == 0) {
                const Fd top = given();
                Fd dir = -1;
                OK(w_path_create_directory(top, P(named->name)));
                OK(w_path_open(top, 0, P(named->name), DIRECTORY, DIRECTORY_RIGHTS, DIRECTORY_RIGHTS | FILE_RIGHTS, 0, &dir));
                named->act(dir);
                /* Whoever leaves something behind has not removed what it said it removed. */
                if (w_fd_close(dir) == 0) OK(w_path_remove_directory(top, P(named->name)));
                return wrong != 0;
            }
        }
    }
    return argc < 2 ? 0 : 2;
}
