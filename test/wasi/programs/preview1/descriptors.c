#include "calls.h"
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

static void renumber(Fd dir) {
    const Fd from = OPEN(dir, "one", CREAT, READ | WRITE), to = OPEN(dir, "two", CREAT, READ);
    const __wasi_fdstat_t old = fdstat_of(from);
    OK(w_fd_renumber(from, to));
    FAILS(w_fd_close(from), BADF);
    const __wasi_fdstat_t new = fdstat_of(to);
    SAME(new.fs_filetype, old.fs_filetype);
    SAME(new.fs_flags, old.fs_flags);
    SAME(new.fs_rights_base, old.fs_rights_base);
    SAME(new.fs_rights_inheriting, old.fs_rights_inheriting);
    FAILS(w_fd_renumber(to, from), BADF);
    FAILS(w_fd_renumber(from, to), BADF);
    FAILS(w_fd_renumber(to, 1 << 30), BADF);
    OK(w_fd_renumber(to, to));
    OK(w_fd_close(to));
    OK(w_path_unlink_file(dir, P("one")));
    OK(w_path_unlink_file(dir, P("two")));
}
static void renumber_stdio(Fd dir) {
    /* 1 stays: an act says by it what was wrong. */
    for (Fd from = 0; from < 3; from += 2) {
        Fd to = -1;
        OK(w_path_open(dir, 0, P("file"), CREAT, 0, 0, 0, &to));
        OK(w_fd_renumber(from, to));
        __wasi_fdstat_t stat;
        OK(w_fd_fdstat_get(to, &stat));
        FAILS(w_fd_fdstat_get(from, &stat), BADF);
        OK(w_path_unlink_file(dir, P("file")));
    }
}
static void not_open(Fd dir) {
    (void)dir;
    const Fd numbers[] = {-31337, -1, 420, INT32_MAX, INT32_MIN};
    size_t n;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        const Fd fd = numbers[i];
        FAILS(w_fd_write(fd, NULL, 0, &n), BADF);
        FAILS(w_fd_read(fd, NULL, 0, &n), BADF);
        FAILS(w_fd_close(fd), BADF);
        FAILS(w_fd_sync(fd), BADF);
        FAILS(w_fd_renumber(fd, 0), BADF);
        FAILS(w_sock_shutdown(fd, 1), BADF);
        FAILS(OPENS(fd, 0, "file", CREAT), BADF);
    }
}
static void not_a_terminal(Fd dir) {
    const Fd file = OPEN(dir, "file", CREAT, 0);
    errno = 0;
    SAME(isatty(file), 0);
    SAME(errno, ENOTTY);
    OK(w_fd_close(file));
    OK(w_path_unlink_file(dir, P("file")));
}
static void not_a_socket(Fd dir) {
    FAILS(w_sock_shutdown(1, __WASI_SDFLAGS_RD), NOTSOCK);
    errno = 0;
    SAME(shutdown(STDOUT_FILENO, SHUT_RD), -1);
    SAME(errno, ENOTSOCK);
    /* A directory is nothing that any call of a socket could mean: programs take the numbers of those they were given for free. */
    FAILS(w_sock_shutdown(dir, __WASI_SDFLAGS_RD), BADF);
}

enum { CLOCK = 0x12345678, INPUT = 0x7654321 };

static __wasi_subscription_t after(uint64_t ns, int clock, int flags) {
    __wasi_subscription_t one = {.userdata = CLOCK};
    one.u.tag = __WASI_EVENTTYPE_CLOCK;
    one.u.u.clock = (__wasi_subscription_clock_t){.id = clock, .timeout = ns, .flags = flags};
    return one;
}
static __wasi_subscription_t when(int type, Fd fd) {
    __wasi_subscription_t one = {.userdata = INPUT + (uint64_t)fd};
    one.u.tag = type;
    one.u.u.fd_read.file_descriptor = fd;
    return one;
}
static void poll_stdio(Fd dir) {
    (void)dir;
    __wasi_subscription_t asked[3] = {after(20000000, __WASI_CLOCKID_MONOTONIC, 0), when(__WASI_EVENTTYPE_FD_READ, 0)};
    __wasi_event_t events[3];
    size_t n = 0;
    OK(w_poll_oneoff(asked, events, 2, &n));
    TRUE(n == 1 || n == 2);
    for (size_t i = 0; i < n; i++) {
        SAME(events[i].error, 0);
        SAME(events[i].userdata, events[i].type == __WASI_EVENTTYPE_CLOCK ? CLOCK : INPUT);
    }
    asked[0] = when(__WASI_EVENTTYPE_FD_WRITE, 1);
    asked[1] = when(__WASI_EVENTTYPE_FD_WRITE, 2);
    asked[2] = after(2000000000, __WASI_CLOCKID_MONOTONIC, 0);
    OK(w_poll_oneoff(asked, events, 3, &n));
    SAME(n, 2);
    for (size_t i = 0; i < n; i++) {
        SAME(events[i].type, __WASI_EVENTTYPE_FD_WRITE);
        SAME(events[i].error, 0);
        SAME(events[i].userdata, INPUT + 1 + i);
        TRUE(events[i].fd_readwrite.nbytes > 0);
    }
}
static void poll_files_and_clocks(Fd dir) {
    const Fd fd = OPEN(dir, "file", CREAT, FILE_RIGHTS), no = OPEN(dir, "file", 0, READ);
    SAME(write_bytes(fd, "four", 4), 4);
    uint64_t at;
    OK(w_fd_seek(fd, 1, __WASI_WHENCE_SET, &at));
    __wasi_subscription_t asked[] = {
        when(__WASI_EVENTTYPE_FD_READ, fd), when(__WASI_EVENTTYPE_FD_WRITE, fd), when(__WASI_EVENTTYPE_FD_READ, 420),
        when(__WASI_EVENTTYPE_FD_WRITE, no), after(0, __WASI_CLOCKID_REALTIME, 0), after(3600000000000, __WASI_CLOCKID_MONOTONIC, 0),
        after(1, __WASI_CLOCKID_MONOTONIC, __WASI_SUBCLOCKFLAGS_SUBSCRIPTION_CLOCK_ABSTIME),
    };
    __wasi_event_t events[7];
    size_t n = 0;
    OK(w_poll_oneoff(asked, events, 7, &n));
    SAME(n, 6);
    SAME(events[0].error, 0);
    SAME(events[0].fd_readwrite.nbytes, 3);
    SAME(events[1].error, 0);
    SAME(events[2].error, __WASI_ERRNO_BADF);
    SAME(events[3].error, __WASI_ERRNO_NOTCAPABLE);
    SAME(events[4].type, __WASI_EVENTTYPE_CLOCK);
    SAME(events[5].userdata, CLOCK);
    FAILS(w_poll_oneoff(asked, events, 0, &n), INVAL);
    asked[0].u.tag = 3;
    FAILS(w_poll_oneoff(asked, events, 1, &n), INVAL);
    OK(w_fd_close(no));
    OK(w_fd_close(fd));
    OK(w_path_unlink_file(dir, P("file")));
}
/* Nothing is written where a program has no memory. */
static void out_of_memory(Fd dir) {
    const Fd fd = OPEN(dir, "file", CREAT, FILE_RIGHTS);
    char *const outside = (char *)(__builtin_wasm_memory_size(0) * 65536 - 1);
    size_t n;
    FAILS(w_fd_write(fd, (Buffer *)outside, 1, &n), FAULT);
    FAILS(w_fd_write(fd, &(Buffer){outside, 2}, 1, &n), FAULT);
    FAILS(w_fd_write(fd, &(Buffer){"x", 1}, 1, (size_t *)outside), FAULT);
    FAILS(w_fd_write(fd, &(Buffer){"x", UINT32_MAX}, 1, &n), FAULT);
    FAILS(w_fd_filestat_get(fd, (void *)outside), FAULT);
    FAILS(opens(dir, 0, outside, 2, CREAT, 0, 0), FAULT);
    SAME(stat_of(fd).size, 0);
    OK(w_fd_close(fd));
    OK(w_path_unlink_file(dir, P("file")));
}

const Named descriptor_acts[] = {
    {"renumber", renumber}, {"renumber-stdio", renumber_stdio}, {"not-open", not_open}, {"not-a-terminal", not_a_terminal},
    {"not-a-socket", not_a_socket}, {"poll-stdio", poll_stdio}, {"poll-files-and-clocks", poll_files_and_clocks},
    {"out-of-memory", out_of_memory}, {0},
};
