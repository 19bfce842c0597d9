/* What the program was given: its environment, its directories by name, and whether the file `argv[1]` is there. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <wasi/api.h>

extern char **environ;

int main(int argc, char **argv) {
    for (char **one = environ; one && *one; one++) printf("env %s\n", *one);
    for (__wasi_fd_t fd = 3;; fd++) {
        __wasi_prestat_t stat;
        char name[256] = {0};
        if (__wasi_fd_prestat_get(fd, &stat) != 0) break;
        if (__wasi_fd_prestat_dir_name(fd, (unsigned char *)name, stat.u.dir.pr_name_len) == 0) printf("%u %s\n", fd, name);
    }
    for (int i = 1; i < argc; i++) {
        FILE *file = fopen(argv[i], "r");
        printf("%s: %s\n", argv[i], file ? "there" : strerror(errno));
        if (file) fclose(file);
    }
    return 0;
}
