/* Reading, writing, offsets, sizes, of files that come and go. */
#include "check.h"
#include <sys/uio.h>

static void contents(const char *path) {
    char bytes[64];
    int fd = open(path, O_RDONLY);
    ssize_t n = read(fd, bytes, sizeof bytes);
    printf("%s holds %zd:", path, n);
    for (ssize_t i = 0; i < n; i++) printf(bytes[i] >= ' ' ? " %c" : " \\%d", bytes[i]);
    printf("\n");
    close(fd);
}

int main(void) {
    char bytes[16];
    struct stat st;
    TRY(open("none", O_RDONLY));
    int fd = open("file", O_RDWR | O_CREAT | O_EXCL, 0644);
    TRY(fd);
    TRY(open("file", O_RDWR | O_CREAT | O_EXCL, 0644));
    DO(write(fd, "hello world", 11));
    DO(lseek(fd, 0, SEEK_CUR));
    DO(lseek(fd, 6, SEEK_SET));
    DO(read(fd, bytes, 3));
    printf("%.3s\n", bytes);
    DO(lseek(fd, -2, SEEK_END));
    DO(lseek(fd, -100, SEEK_CUR));
    DO(lseek(fd, 0, 9));
    DO(pwrite(fd, "HE", 2, 0));
    DO(pread(fd, bytes, 4, 1));
    printf("%.4s\n", bytes);
    DO(pread(fd, bytes, 4, 1000));
    struct iovec out[3] = {{"ab", 2}, {"", 0}, {"cdef", 4}};
    DO(writev(fd, out, 3));
    struct iovec in[2] = {{bytes, 3}, {bytes + 3, 5}};
    DO(lseek(fd, 7, SEEK_SET));
    DO(readv(fd, in, 2));
    printf("%.8s\n", bytes);
    DO(ftruncate(fd, 4));
    DO(ftruncate(fd, 8));
    DO(fstat(fd, &st));
    printf("size %lld regular %d links %d\n", (long long)st.st_size, S_ISREG(st.st_mode), (int)st.st_nlink);
    contents("file");
    DO(posix_fallocate(fd, 0, 4));
    DO(posix_fallocate(fd, 6, 6));
    DO(lseek(fd, 0, SEEK_END));
    DO(posix_fadvise(fd, 0, 10, POSIX_FADV_SEQUENTIAL));
    DO(fsync(fd));
    DO(fdatasync(fd));
    DO(close(fd));
    DO(close(fd));
    DO(read(fd, bytes, 1));

    fd = open("file", O_WRONLY | O_APPEND);
    DO(write(fd, "1", 1));
    DO(lseek(fd, 0, SEEK_SET));
    DO(write(fd, "2", 1));
    DO(lseek(fd, 0, SEEK_CUR));
    DO(fcntl(fd, F_GETFL) & O_APPEND ? 1 : 0);
    DO(close(fd));
    contents("file");
    fd = open("file", O_WRONLY | O_TRUNC);
    DO(fstat(fd, &st));
    printf("size %lld\n", (long long)st.st_size);
    DO(write(fd, "gone", 4));
    DO(unlink("file"));
    DO(write(fd, "more", 4));
    DO(fstat(fd, &st));
    printf("size %lld links %d\n", (long long)st.st_size, (int)st.st_nlink);
    TRY(open("file", O_RDONLY));
    DO(close(fd));

    FILE *f = fopen("lines", "w+");
    for (int i = 0; i < 5000; i++) fprintf(f, "line %d\n", i);
    fseek(f, 0, SEEK_SET);
    int lines = 0;
    long sum = 0;
    for (char line[32]; fgets(line, sizeof line, f); lines++) sum += atoi(line + 5);
    printf("%d lines, sum %ld, at %ld\n", lines, sum, ftell(f));
    fclose(f);
    DO(unlink("lines"));
    return 0;
}
