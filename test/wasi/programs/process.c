/* Arguments, environment, clocks, polling of clocks and files, random numbers, descriptors, exit. */
#include "check.h"
#include <poll.h>
#include <sched.h>
#include <time.h>

extern char **environ;

int main(int argc, char **argv) {
    for (int i = 0; i < argc; i++) printf("argv[%d] = %s\n", i, i == 0 ? "-" : argv[i]);
    for (char **one = environ; *one; one++) printf("env %s\n", *one);
    struct timespec before, after, res;
    DO(clock_gettime(CLOCK_REALTIME, &before));
    printf("later than 2020: %d\n", before.tv_sec > 1577836800);
    DO(clock_gettime(CLOCK_MONOTONIC, &before));
    DO(clock_getres(CLOCK_MONOTONIC, &res));
    struct timespec pause = {0, 20000000};
    DO(nanosleep(&pause, 0));
    DO(clock_gettime(CLOCK_MONOTONIC, &after));
    long long took = (after.tv_sec - before.tv_sec) * 1000000000LL + after.tv_nsec - before.tv_nsec;
    printf("slept: %d\n", took >= 10000000);
    uint8_t random[2][32] = {{0}};
    RAW(__wasi_random_get(random[0], 32));
    RAW(__wasi_random_get(random[1], 32));
    DO(sched_yield());

    int fd = open("polled", O_CREAT | O_RDWR, 0644);
    struct pollfd fds[2] = {{fd, POLLIN, 0}, {fd, POLLOUT, 0}};
    DO(poll(fds, 2, 1000));
    printf("revents %d %d\n", fds[0].revents & POLLIN ? 1 : 0, fds[1].revents & POLLOUT ? 1 : 0);
    DO(unlink("polled"));
    DO(isatty(fd));

    int other = open("other", O_CREAT | O_RDWR, 0644);
    RAW(__wasi_fd_renumber(fd, other));
    RAW(__wasi_fd_renumber(fd, other));
    DO(close(fd));
    RAW(__wasi_fd_close(other));
    __wasi_fdstat_t stat;
    RAW(__wasi_fd_fdstat_get(3, &stat));
    printf("fd 3 is a directory: %d\n", stat.fs_filetype == __WASI_FILETYPE_DIRECTORY);
    fd = open("other", O_RDWR);
    RAW(__wasi_fd_fdstat_get(fd, &stat));
    RAW(__wasi_fd_fdstat_set_rights(fd, stat.fs_rights_base & ~__WASI_RIGHTS_FD_WRITE, 0));
    RAW(__wasi_fd_fdstat_set_rights(fd, stat.fs_rights_base, 0));
    DO(write(fd, "x", 1));
    DO(fcntl(fd, F_SETFL, O_NONBLOCK));
    DO(fcntl(fd, F_GETFL) & O_NONBLOCK ? 1 : 0);
    printf("that was all\n");
    exit(42);
}
