/* Each line of output is one act and what came of it: the name of an errno, or a value. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef __wasi__
#include <wasi/api.h>
#endif

static const char *name_of(int error) {
    static char number[16];
    switch (error) {
#define NAME(e) case e: return #e;
        NAME(EACCES) NAME(EAGAIN) NAME(EBADF) NAME(EBUSY) NAME(EEXIST) NAME(EFAULT) NAME(EFBIG) NAME(EILSEQ) NAME(EINVAL)
        NAME(EISDIR) NAME(ELOOP) NAME(EMFILE) NAME(ENAMETOOLONG) NAME(ENOENT) NAME(ENOSPC) NAME(ENOSYS) NAME(ENOTDIR)
        NAME(ENOTEMPTY) NAME(ENOTSOCK) NAME(ENOTSUP) NAME(ENOTTY) NAME(EOVERFLOW) NAME(EPERM) NAME(EPIPE) NAME(ESPIPE)
        NAME(EXDEV) NAME(EINPROGRESS) NAME(EALREADY) NAME(EISCONN) NAME(ECONNREFUSED) NAME(EAFNOSUPPORT)
        NAME(ENODEV) NAME(ENOBUFS) NAME(EPROTO) NAME(ENXIO) NAME(ENOTCONN) NAME(EADDRINUSE) NAME(EPROTONOSUPPORT)
        NAME(ENOPROTOOPT) NAME(ECONNRESET) NAME(EADDRNOTAVAIL) NAME(EDESTADDRREQ) NAME(EMSGSIZE) NAME(ENETUNREACH) NAME(EDOM)
#ifdef ENOTCAPABLE
        NAME(ENOTCAPABLE)
#endif
    }
    snprintf(number, sizeof number, "errno %d", error);
    return number;
}

/* A call of libc: its value, or why it failed. */
#define DO(call) do { \
    errno = 0; \
    long long value_ = (long long)(call); \
    if (value_ < 0) printf("%s: %s\n", #call, name_of(errno)); \
    else printf("%s: %lld\n", #call, value_); \
} while (0)

/* The same where a value is not the same everywhere, such as a descriptor. */
#define TRY(call) do { \
    errno = 0; \
    printf("%s: %s\n", #call, (long long)(call) < 0 ? name_of(errno) : "ok"); \
} while (0)

/* A call of WASI itself. */
#define RAW(call) do { \
    int error_ = (call); \
    printf("%s: %s\n", #call, error_ == 0 ? "ok" : name_of(error_)); \
} while (0)
