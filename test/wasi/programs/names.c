/* Directories, links, renames; paths of every kind. */
#include "check.h"

static void touch(const char *path) { close(open(path, O_CREAT | O_WRONLY, 0644)); }

static int compare(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static void list(const char *path) {
    char *names[300];
    int n = 0, others = 0;
    DIR *dir = opendir(path);
    if (!dir) {
        printf("list %s: %s\n", path, name_of(errno));
        return;
    }
    for (struct dirent *entry; (entry = readdir(dir));) {
        struct stat st;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        if (fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 || st.st_ino != entry->d_ino) others++;
        names[n] = malloc(strlen(entry->d_name) + 8);
        sprintf(names[n++], "%s(%d)", entry->d_name, entry->d_type);
    }
    closedir(dir);
    qsort(names, n, sizeof *names, compare);
    printf("list %s:", path);
    for (int i = 0; i < n; i++) {
        if (n < 20) printf(" %s", names[i]);
        free(names[i]);
    }
    printf(" = %d\n", n);
    printf("d_ino is st_ino: %s\n", others == 0 ? "yes" : "no");
}

int main(void) {
    char buffer[64];
    struct stat st, other;
    DO(mkdir("dir", 0755));
    DO(mkdir("dir", 0755));
    DO(mkdir("dir/sub/", 0755));
    DO(mkdir("none/sub", 0755));
    touch("dir/file");
    list("dir");
    list("dir/");
    list("dir/file");
    list("none");
    DO(rmdir("dir"));
    DO(rmdir("dir/file"));
    DO(rmdir("none"));
    DO(unlink("dir"));
    DO(unlink("dir/file/"));
    DO(unlink("none"));
    TRY(open("dir/file/", O_RDONLY));
    TRY(open("dir/file/x", O_RDONLY));
    TRY(open("dir", O_RDWR));
    TRY(open("dir", O_RDONLY | O_DIRECTORY));
    TRY(open("dir/file", O_RDONLY | O_DIRECTORY));
    TRY(open("dir//.///sub/../file", O_RDONLY));
    TRY(open("", O_RDONLY));
    memset(buffer, 'x', sizeof buffer);
    DO(symlink("dir/file", "link"));
    DO(symlink("x", "link"));
    DO(symlink("dir", "to-dir"));
    DO(symlink("nowhere", "dangling"));
    DO(symlink("loop", "loop"));
    DO(symlink("../x", "dir/sub/up"));
    DO(readlink("link", buffer, sizeof buffer));
    printf("%.8s\n", buffer);
    DO(readlink("link", buffer, 3));
    DO(readlink("dir/file", buffer, 9));
    DO(readlink("none", buffer, 9));
    TRY(open("link", O_RDONLY));
    TRY(open("link", O_RDONLY | O_NOFOLLOW));
    TRY(open("dangling", O_RDONLY));
    TRY(open("loop", O_RDONLY));
    TRY(open("to-dir/file", O_RDONLY));
    TRY(open("dangling", O_CREAT | O_EXCL | O_RDWR, 0644));
    TRY(open("dangling", O_CREAT | O_RDWR, 0644));
    DO(access("nowhere", F_OK));
    DO(stat("link", &st));
    printf("link leads to a file: %d\n", S_ISREG(st.st_mode));
    DO(lstat("link", &st));
    printf("link is a symlink: %d, %lld bytes\n", S_ISLNK(st.st_mode), (long long)st.st_size);
    DO(stat("none", &st));
    DO(link("dir/file", "hard"));
    DO(link("dir/file", "hard"));
    DO(link("none", "x"));
    DO(link("link", "hard-link"));
    DO(lstat("hard-link", &st));
    printf("a link of a symlink is one: %d\n", S_ISLNK(st.st_mode));
    DO(stat("hard", &st));
    DO(stat("dir/file", &other));
    printf("the same file: %d, links %d\n", st.st_ino == other.st_ino && st.st_dev == other.st_dev, (int)st.st_nlink);
    DO(rename("hard", "hard2"));
    DO(rename("none", "x"));
    DO(rename("hard2", "dir"));
    DO(rename("dir", "hard2"));
    DO(mkdir("empty", 0755));
    DO(rename("empty", "dir"));
    DO(rename("dir", "empty"));
    DO(rename("empty", "empty/below"));
    DO(rename("hard2", "empty/sub/../moved"));
    list("empty");
    list(".");
    for (int i = 0; i < 250; i++) {
        char name[32];
        sprintf(name, "many-%d", i);
        if (mkdir(name, 0755) != 0) printf("%s: %s\n", name, name_of(errno));
    }
    list(".");
    struct timespec times[2] = {{1000, 5}, {2000, 7}};
    DO(utimensat(AT_FDCWD, "empty/file", times, 0));
    DO(stat("empty/file", &st));
    printf("times %lld.%ld %lld.%ld\n", (long long)st.st_atim.tv_sec, st.st_atim.tv_nsec, (long long)st.st_mtim.tv_sec,
           st.st_mtim.tv_nsec);
    times[0].tv_nsec = UTIME_OMIT;
    times[1].tv_nsec = UTIME_NOW;
    DO(utimensat(AT_FDCWD, "empty/file", times, 0));
    DO(stat("empty/file", &st));
    printf("atime %lld, mtime later: %d\n", (long long)st.st_atim.tv_sec, st.st_mtim.tv_sec > 1000000000);
    return 0;
}
