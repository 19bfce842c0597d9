/*
 * Sockets for WASI preview1 programs in a guest of xenolith: what preview1 lacks to make connections.
 *
 * The first half is the import module xenolith_sock as it is. Each call returns an errno of WASI, 0 for success, and
 * leaves its result where a pointer says. Descriptors are those of every other call: read, write, poll, close,
 * fcntl(O_NONBLOCK) and shutdown of wasi-libc work on them.
 *
 * The second half gives the same by POSIX's names, for struct sockaddr_in and sockaddr_in6 of wasi-libc:
 *
 *   #include <xenolith_sock.h>
 *   int fd = socket(AF_INET, SOCK_STREAM, 0);
 *   struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(80) };
 *   inet_pton(AF_INET, "10.0.0.2", &to.sin_addr);
 *   if (connect(fd, (struct sockaddr *)&to, sizeof to) != 0) perror("connect");
 *
 * There are streams (TCP) and datagrams (UDP). See docs/wasi.md.
 */
#ifndef XENOLITH_SOCK_H
#define XENOLITH_SOCK_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#ifdef __cplusplus
extern "C" {
#endif

#define XENOLITH_SOCK_IPV4 4
#define XENOLITH_SOCK_IPV6 6

struct xenolith_sockaddr {
    uint16_t family; /* XENOLITH_SOCK_IPV4 or XENOLITH_SOCK_IPV6 */
    uint16_t port;   /* a number: 80 is 80 */
    uint8_t addr[16]; /* as in a packet; of IPv4 the first four bytes */
};

#define XENOLITH_SOCK_IMPORT(name) __attribute__((__import_module__("xenolith_sock"), __import_name__(name)))

/* A TCP socket that is neither bound nor connected. */
XENOLITH_SOCK_IMPORT("socket") int32_t xenolith_sock_socket(int32_t family, int32_t *fd);
/* A UDP socket. */
XENOLITH_SOCK_IMPORT("socket_dgram") int32_t xenolith_sock_socket_dgram(int32_t family, int32_t *fd);
/* Port 0: one that is free. EADDRINUSE, EADDRNOTAVAIL. */
XENOLITH_SOCK_IMPORT("bind") int32_t xenolith_sock_bind(int32_t fd, const struct xenolith_sockaddr *addr);
XENOLITH_SOCK_IMPORT("listen") int32_t xenolith_sock_listen(int32_t fd, int32_t backlog);
/*
 * Waits until it is connected. With O_NONBLOCK: EINPROGRESS, then poll for writing, then call it again: 0 when it is
 * connected, EALREADY when it is not yet, else why it failed. Of datagrams it is the one peer from now on; of family 0:
 * there is none any more.
 */
XENOLITH_SOCK_IMPORT("connect") int32_t xenolith_sock_connect(int32_t fd, const struct xenolith_sockaddr *addr);
XENOLITH_SOCK_IMPORT("getsockname") int32_t xenolith_sock_getsockname(int32_t fd, struct xenolith_sockaddr *addr);
XENOLITH_SOCK_IMPORT("getpeername") int32_t xenolith_sock_getpeername(int32_t fd, struct xenolith_sockaddr *addr);
/*
 * One datagram, or what read and write do of a stream. `addr`: to whom, and from whom; NULL: its one peer; nobody asks. What
 * recvfrom says of a stream has family 0. With TRUNC `size` is the datagram's also where it was cut off, which `out` says.
 */
#define XENOLITH_SOCK_PEEK 1
#define XENOLITH_SOCK_WAITALL 2
#define XENOLITH_SOCK_TRUNC 0x20
#define XENOLITH_SOCK_DONTWAIT 0x40
XENOLITH_SOCK_IMPORT("sendto")
int32_t xenolith_sock_sendto(int32_t fd, const struct iovec *iovs, size_t count, int32_t flags,
                             const struct xenolith_sockaddr *addr, size_t *size);
XENOLITH_SOCK_IMPORT("recvfrom")
int32_t xenolith_sock_recvfrom(int32_t fd, const struct iovec *iovs, size_t count, int32_t flags,
                               struct xenolith_sockaddr *addr, size_t *size, int32_t *out);
/*
 * Options. ERROR is why it failed to connect, or what its connection ended of: once. TYPE and ACCEPTCONN can only be
 * read. Connections that are accepted begin with those of the listener. Sockets of the host keep them, and heed none.
 */
#define XENOLITH_SOCK_TYPE 1
#define XENOLITH_SOCK_ERROR 2
#define XENOLITH_SOCK_REUSEADDR 3
#define XENOLITH_SOCK_KEEPALIVE 4
#define XENOLITH_SOCK_KEEPIDLE 5  /* seconds */
#define XENOLITH_SOCK_KEEPINTVL 6 /* seconds */
#define XENOLITH_SOCK_KEEPCNT 7
#define XENOLITH_SOCK_NODELAY 8
#define XENOLITH_SOCK_ACCEPTCONN 9
#define XENOLITH_SOCK_BROADCAST 10
#define XENOLITH_SOCK_RCVBUF 11 /* bytes; of datagrams, and twice what was set */
#define XENOLITH_SOCK_RCVTIMEO 12 /* milliseconds that a call waits, then EAGAIN; 0: for ever */
#define XENOLITH_SOCK_SNDTIMEO 13
#define XENOLITH_SOCK_V6ONLY 14 /* before it is bound */
#define XENOLITH_SOCK_LINGER 15 /* seconds; 0: close resets the connection; -1: off */
#define XENOLITH_SOCK_SNDBUF 16 /* bytes, twice what was set; not heeded */
#define XENOLITH_SOCK_DOMAIN 17 /* XENOLITH_SOCK_IPV4 or _IPV6, which can only be read */
#define XENOLITH_SOCK_PROTOCOL 18 /* the same of IPPROTO_TCP or IPPROTO_UDP */
/* Of datagrams: how they are sent to groups, and whether groups are heard that others have joined. Of IPv4, and with 6 of IPv6. */
#define XENOLITH_SOCK_MULTICAST_HOPS 32
#define XENOLITH_SOCK_MULTICAST_LOOP 33
#define XENOLITH_SOCK_MULTICAST_ALL 34
#define XENOLITH_SOCK_MULTICAST_IF 35   /* the number of an interface; 0: as the routes say */
#define XENOLITH_SOCK_MULTICAST_ADDR 36 /* the same by its address, a number: 127.0.0.1 is 0x7f000001 */
#define XENOLITH_SOCK_MULTICAST_HOPS6 37
#define XENOLITH_SOCK_MULTICAST_LOOP6 38
#define XENOLITH_SOCK_MULTICAST_ALL6 39
#define XENOLITH_SOCK_MULTICAST_IF6 40
/* ENOPROTOOPT: there is no such option; EINVAL: not such a value. */
XENOLITH_SOCK_IMPORT("setsockopt") int32_t xenolith_sock_setsockopt(int32_t fd, int32_t option, int32_t value);
XENOLITH_SOCK_IMPORT("getsockopt") int32_t xenolith_sock_getsockopt(int32_t fd, int32_t option, int32_t *value);
/*
 * A socket of datagrams is to hear what comes to a group, on the interface of that number, else of that address (IPv4's, or NULL), else
 * where the routes say. EADDRINUSE, ENOBUFS, ENODEV; EADDRNOTAVAIL where it has not joined it.
 */
XENOLITH_SOCK_IMPORT("join")
int32_t xenolith_sock_join(int32_t fd, const struct xenolith_sockaddr *group, const struct xenolith_sockaddr *own,
                           int32_t interface);
XENOLITH_SOCK_IMPORT("leave")
int32_t xenolith_sock_leave(int32_t fd, const struct xenolith_sockaddr *group, const struct xenolith_sockaddr *own,
                            int32_t interface);
/* What this domain has, at most `max` of them; `count`: how many there are. Flags are Linux's. */
struct xenolith_interface {
    uint32_t index, flags, mtu;
    char name[16];
    uint8_t mac[8]; /* six of them */
};
struct xenolith_interface_address {
    uint32_t index; /* of its interface */
    uint16_t family, prefix_length;
    uint8_t addr[16];
};
XENOLITH_SOCK_IMPORT("interfaces")
int32_t xenolith_sock_interfaces(struct xenolith_interface *list, size_t max, size_t *count);
XENOLITH_SOCK_IMPORT("interface_addresses")
int32_t xenolith_sock_interface_addresses(struct xenolith_interface_address *list, size_t max, size_t *count);
/* The addresses of a host, at most `max`, their ports 0. ENOENT: there is no such host. Waits for the answer. */
XENOLITH_SOCK_IMPORT("resolve")
int32_t xenolith_sock_resolve(const char *name, size_t length, struct xenolith_sockaddr *addrs, size_t max,
                              size_t *count);

/* ---- by POSIX's names ---- */

#ifndef SO_REUSEADDR
#define SO_REUSEADDR 2
#define SO_ERROR 4
#define SO_KEEPALIVE 9
#define SO_ACCEPTCONN 30
#endif
#ifndef SO_LINGER
#define SO_SNDBUF 7
#define SO_LINGER 13
#define SO_PROTOCOL 38
#define SO_DOMAIN 39
#endif
#ifndef SO_BROADCAST
#define SO_BROADCAST 6
#define SO_RCVBUF 8
#endif
#ifndef SO_RCVTIMEO
#define SO_RCVTIMEO 20
#define SO_SNDTIMEO 21
#endif
/* wasi-libc's name for MSG_TRUNC is of nothing. */
#undef MSG_TRUNC
#define MSG_TRUNC XENOLITH_SOCK_TRUNC
#ifndef MSG_DONTWAIT
#define MSG_DONTWAIT XENOLITH_SOCK_DONTWAIT
#endif
#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0x4000 /* there is no such signal here */
#endif

static inline int xenolith_sock_result(int32_t error) {
    if (error == 0) return 0;
    errno = error;
    return -1;
}

static inline int32_t xenolith_sock_from_posix(const struct sockaddr *from, socklen_t length,
                                               struct xenolith_sockaddr *to) {
    memset(to, 0, sizeof *to);
    if (length >= sizeof(struct sockaddr_in) && from->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)from;
        to->family = XENOLITH_SOCK_IPV4;
        to->port = (uint16_t)(in->sin_port << 8 | in->sin_port >> 8);
        memcpy(to->addr, &in->sin_addr, 4);
        return 0;
    }
    if (length >= sizeof(struct sockaddr_in6) && from->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)from;
        to->family = XENOLITH_SOCK_IPV6;
        to->port = (uint16_t)(in6->sin6_port << 8 | in6->sin6_port >> 8);
        memcpy(to->addr, &in6->sin6_addr, 16);
        return 0;
    }
    return EAFNOSUPPORT;
}

/* As much of it as `length` says there is room for, as POSIX has it. */
static inline void xenolith_sock_to_posix(const struct xenolith_sockaddr *from, struct sockaddr *to,
                                          socklen_t *length) {
    uint16_t port = (uint16_t)(from->port << 8 | from->port >> 8);
    union {
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    } all;
    socklen_t size;
    memset(&all, 0, sizeof all);
    if (from->family == XENOLITH_SOCK_IPV4) {
        size = sizeof all.in;
        all.in.sin_family = AF_INET;
        all.in.sin_port = port;
        memcpy(&all.in.sin_addr, from->addr, 4);
    } else {
        size = sizeof all.in6;
        all.in6.sin6_family = AF_INET6;
        all.in6.sin6_port = port;
        memcpy(&all.in6.sin6_addr, from->addr, 16);
    }
    memcpy(to, &all, *length < size ? *length : size);
    *length = size;
}

static inline int socket(int domain, int type, int protocol) {
    int32_t fd = -1;
    int kind = type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (domain != AF_INET && domain != AF_INET6) return xenolith_sock_result(EAFNOSUPPORT);
    int32_t family = domain == AF_INET ? XENOLITH_SOCK_IPV4 : XENOLITH_SOCK_IPV6, error = EPROTONOSUPPORT;
    if (kind != SOCK_STREAM && kind != SOCK_DGRAM) error = EINVAL;
    if (kind == SOCK_STREAM && (protocol == 0 || protocol == IPPROTO_TCP)) error = xenolith_sock_socket(family, &fd);
    if (kind == SOCK_DGRAM && (protocol == 0 || protocol == IPPROTO_UDP)) error = xenolith_sock_socket_dgram(family, &fd);
    if (error != 0) return xenolith_sock_result(error);
    if (type & SOCK_NONBLOCK) {
        __wasi_errno_t error = __wasi_fd_fdstat_set_flags(fd, __WASI_FDFLAGS_NONBLOCK);
        if (error != 0) return xenolith_sock_result(error);
    }
    return fd;
}

static inline int bind(int fd, const struct sockaddr *addr, socklen_t length) {
    struct xenolith_sockaddr own;
    int32_t error = xenolith_sock_from_posix(addr, length, &own);
    return xenolith_sock_result(error ? error : xenolith_sock_bind(fd, &own));
}

static inline int listen(int fd, int backlog) { return xenolith_sock_result(xenolith_sock_listen(fd, backlog)); }

static inline int connect(int fd, const struct sockaddr *addr, socklen_t length) {
    struct xenolith_sockaddr to;
    int32_t error = xenolith_sock_from_posix(addr, length, &to);
    if (error != 0 && length >= sizeof addr->sa_family && addr->sa_family == AF_UNSPEC) error = 0; /* nobody */
    return xenolith_sock_result(error ? error : xenolith_sock_connect(fd, &to));
}

static inline ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    struct xenolith_sockaddr to;
    size_t size;
    int32_t error = 0;
    if (message->msg_name != NULL)
        error = xenolith_sock_from_posix((const struct sockaddr *)message->msg_name, message->msg_namelen, &to);
    if (error == 0)
        error = xenolith_sock_sendto(fd, message->msg_iov, message->msg_iovlen, flags & ~MSG_NOSIGNAL,
                                     message->msg_name ? &to : NULL, &size);
    return error ? xenolith_sock_result(error) : (ssize_t)size;
}

static inline ssize_t recvmsg(int fd, struct msghdr *message, int flags) {
    struct xenolith_sockaddr from;
    size_t size;
    int32_t out = 0;
    int32_t error = xenolith_sock_recvfrom(fd, message->msg_iov, message->msg_iovlen, flags, &from, &size, &out);
    if (error != 0) return xenolith_sock_result(error);
    message->msg_flags = out ? MSG_TRUNC : 0;
    message->msg_controllen = 0;
    if (message->msg_name == NULL || from.family == 0) message->msg_namelen = 0;
    else xenolith_sock_to_posix(&from, (struct sockaddr *)message->msg_name, &message->msg_namelen);
    return (ssize_t)size;
}

static inline ssize_t sendto(int fd, const void *bytes, size_t length, int flags, const struct sockaddr *addr,
                             socklen_t size) {
    struct iovec one = {(void *)bytes, length};
    struct msghdr message;
    memset(&message, 0, sizeof message);
    message.msg_name = (void *)addr;
    message.msg_namelen = size;
    message.msg_iov = &one;
    message.msg_iovlen = 1;
    return sendmsg(fd, &message, flags);
}

static inline ssize_t recvfrom(int fd, void *bytes, size_t length, int flags, struct sockaddr *addr, socklen_t *size) {
    struct iovec one = {bytes, length};
    struct msghdr message;
    memset(&message, 0, sizeof message);
    message.msg_name = addr;
    message.msg_namelen = addr && size ? *size : 0;
    message.msg_iov = &one;
    message.msg_iovlen = 1;
    ssize_t n = recvmsg(fd, &message, flags);
    if (n >= 0 && addr && size) *size = message.msg_namelen;
    return n;
}

/* wasi-libc's own know fewer flags, and its accept says nothing of who it is. */
#define send xenolith_sock_posix_send
static inline ssize_t send(int fd, const void *bytes, size_t length, int flags) {
    return sendto(fd, bytes, length, flags, NULL, 0);
}
#define recv xenolith_sock_posix_recv
static inline ssize_t recv(int fd, void *bytes, size_t length, int flags) {
    return recvfrom(fd, bytes, length, flags, NULL, NULL);
}

/* 0: there is none of that name. */
static inline int32_t xenolith_sock_option(int level, int name) {
    if (level == SOL_SOCKET) {
        switch (name) {
        case SO_TYPE: return XENOLITH_SOCK_TYPE;
        case SO_ERROR: return XENOLITH_SOCK_ERROR;
        case SO_REUSEADDR: return XENOLITH_SOCK_REUSEADDR;
        case SO_KEEPALIVE: return XENOLITH_SOCK_KEEPALIVE;
        case SO_ACCEPTCONN: return XENOLITH_SOCK_ACCEPTCONN;
        case SO_BROADCAST: return XENOLITH_SOCK_BROADCAST;
        case SO_RCVBUF: return XENOLITH_SOCK_RCVBUF;
        case SO_SNDBUF: return XENOLITH_SOCK_SNDBUF;
        case SO_LINGER: return XENOLITH_SOCK_LINGER;
        case SO_DOMAIN: return XENOLITH_SOCK_DOMAIN;
        case SO_PROTOCOL: return XENOLITH_SOCK_PROTOCOL;
        case SO_RCVTIMEO: return XENOLITH_SOCK_RCVTIMEO;
        case SO_SNDTIMEO: return XENOLITH_SOCK_SNDTIMEO;
        }
    } else if (level == IPPROTO_TCP) {
        switch (name) {
        case TCP_KEEPIDLE: return XENOLITH_SOCK_KEEPIDLE;
        case TCP_KEEPINTVL: return XENOLITH_SOCK_KEEPINTVL;
        case TCP_KEEPCNT: return XENOLITH_SOCK_KEEPCNT;
        case TCP_NODELAY: return XENOLITH_SOCK_NODELAY;
        }
    } else if (level == IPPROTO_IPV6) {
        switch (name) {
        case IPV6_V6ONLY: return XENOLITH_SOCK_V6ONLY;
        case IPV6_MULTICAST_HOPS: return XENOLITH_SOCK_MULTICAST_HOPS6;
        case IPV6_MULTICAST_LOOP: return XENOLITH_SOCK_MULTICAST_LOOP6;
        case IPV6_MULTICAST_ALL: return XENOLITH_SOCK_MULTICAST_ALL6;
        case IPV6_MULTICAST_IF: return XENOLITH_SOCK_MULTICAST_IF6;
        }
    } else if (level == IPPROTO_IP) {
        switch (name) {
        case IP_MULTICAST_TTL: return XENOLITH_SOCK_MULTICAST_HOPS;
        case IP_MULTICAST_LOOP: return XENOLITH_SOCK_MULTICAST_LOOP;
        case IP_MULTICAST_ALL: return XENOLITH_SOCK_MULTICAST_ALL;
        case IP_MULTICAST_IF: return XENOLITH_SOCK_MULTICAST_ADDR;
        }
    }
    return 0;
}

static inline struct xenolith_sockaddr xenolith_sock_of_ip(struct in_addr from) {
    struct xenolith_sockaddr to;
    memset(&to, 0, sizeof to);
    to.family = XENOLITH_SOCK_IPV4;
    memcpy(to.addr, &from, 4);
    return to;
}
/* IP_ADD_MEMBERSHIP, IPV6_JOIN_GROUP, MCAST_JOIN_GROUP, and those that leave; -1: it is none of these. */
static inline int32_t xenolith_sock_membership(int fd, int level, int name, const void *value, socklen_t length) {
    enum { ADD = 35, DROP = 36, JOIN = 42, LEAVE = 45 }; /* wasi-libc has not all of these names always */
    struct xenolith_sockaddr group, own;
    uint32_t ip[3] = {0, 0, 0}, interface = 0;
    int joins = 1;
    memset(&own, 0, sizeof own);
    if ((level == IPPROTO_IP || level == IPPROTO_IPV6) && (name == JOIN || name == LEAVE)) {
        struct {
            uint32_t interface;
            struct sockaddr_storage group;
        } asked;
        if (length < sizeof asked) return EINVAL;
        memcpy(&asked, value, sizeof asked);
        if (level == IPPROTO_IP && asked.group.ss_family != AF_INET) return EINVAL;
        if (level == IPPROTO_IPV6 && asked.group.ss_family != AF_INET6) return EADDRNOTAVAIL;
        if (xenolith_sock_from_posix((const struct sockaddr *)&asked.group, sizeof asked.group, &group) != 0)
            return EADDRNOTAVAIL;
        interface = asked.interface;
        joins = name == JOIN;
    } else if (level == IPPROTO_IP && (name == ADD || name == DROP)) {
        /* struct ip_mreq, or ip_mreqn, which has the interface's number behind it */
        struct in_addr first, second;
        if (length < 8) return EINVAL;
        memcpy(ip, value, length < sizeof ip ? 8 : sizeof ip);
        memcpy(&first, &ip[0], 4);
        memcpy(&second, &ip[1], 4);
        group = xenolith_sock_of_ip(first);
        own = xenolith_sock_of_ip(second);
        interface = ip[2];
        joins = name == ADD;
    } else if (level == IPPROTO_IPV6 && (name == IPV6_JOIN_GROUP || name == IPV6_LEAVE_GROUP)) {
        struct ipv6_mreq asked;
        if (length < sizeof asked) return EINVAL;
        memcpy(&asked, value, sizeof asked);
        memset(&group, 0, sizeof group);
        group.family = XENOLITH_SOCK_IPV6;
        memcpy(group.addr, &asked.ipv6mr_multiaddr, 16);
        interface = asked.ipv6mr_interface;
        joins = name == IPV6_JOIN_GROUP;
    } else return -1;
    return (joins ? xenolith_sock_join : xenolith_sock_leave)(fd, &group, own.family ? &own : NULL, (int32_t)interface);
}
/* By an address, a struct ip_mreq or an ip_mreqn. */
static inline int32_t xenolith_sock_multicast_if(int fd, const void *value, socklen_t length) {
    uint32_t ip[3] = {0, 0, 0}, interface;
    if (length < 4) return EINVAL;
    memcpy(ip, value, length < 8 ? 4 : length < sizeof ip ? 8 : sizeof ip);
    interface = length < 8 ? ip[0] : ip[1];
    if (ip[2] != 0) return xenolith_sock_setsockopt(fd, XENOLITH_SOCK_MULTICAST_IF, (int32_t)ip[2]);
    return xenolith_sock_setsockopt(fd, XENOLITH_SOCK_MULTICAST_ADDR, (int32_t)ntohl(interface));
}

static inline int setsockopt(int fd, int level, int name, const void *value, socklen_t length) {
    int32_t number, option = xenolith_sock_option(level, name);
    int32_t error = xenolith_sock_membership(fd, level, name, value, length);
    if (error >= 0) return xenolith_sock_result(error);
    if (option == XENOLITH_SOCK_MULTICAST_ADDR)
        return xenolith_sock_result(xenolith_sock_multicast_if(fd, value, length));
    if (level == IPPROTO_IP && length > 0 && length < sizeof number) {
        /* As with Linux, those of IPv4 may be bytes. */
        unsigned char byte;
        memcpy(&byte, value, sizeof byte);
        return xenolith_sock_result(xenolith_sock_setsockopt(fd, option, byte));
    }
    if (option == XENOLITH_SOCK_RCVTIMEO || option == XENOLITH_SOCK_SNDTIMEO) {
        struct timeval time;
        if (length < sizeof time) return xenolith_sock_result(EINVAL);
        memcpy(&time, value, sizeof time);
        if (time.tv_usec < 0 || time.tv_usec >= 1000000) return xenolith_sock_result(EDOM);
        /* Up to the next millisecond; as with Linux a time before now is soon over. */
        if (time.tv_sec < 0) number = 1;
        else if (time.tv_sec > 2000000) number = 2000000000;
        else number = (int32_t)(time.tv_sec * 1000 + (time.tv_usec + 999) / 1000);
        return xenolith_sock_result(xenolith_sock_setsockopt(fd, option, number));
    }
    if (option == XENOLITH_SOCK_LINGER) {
        struct linger linger;
        if (length < sizeof linger) return xenolith_sock_result(EINVAL);
        memcpy(&linger, value, sizeof linger);
        number = !linger.l_onoff ? -1 : linger.l_linger < 0 ? 0x7fffffff : linger.l_linger;
        return xenolith_sock_result(xenolith_sock_setsockopt(fd, option, number));
    }
    if (length < sizeof number) return xenolith_sock_result(EINVAL);
    memcpy(&number, value, sizeof number);
    return xenolith_sock_result(xenolith_sock_setsockopt(fd, option, number));
}

/* wasi-libc has one of its own, which knows SO_TYPE only. */
#define getsockopt xenolith_sock_posix_getsockopt
static inline int getsockopt(int fd, int level, int name, void *value, socklen_t *length) {
    int32_t number;
    int none = level == IPPROTO_IP && name == IP_OPTIONS; /* packets here have no options */
    int32_t option = none ? XENOLITH_SOCK_TYPE : xenolith_sock_option(level, name);
    int32_t error = xenolith_sock_getsockopt(fd, option, &number);
    if (none) *length = 0;
    if (level == SOL_SOCKET && (name == SO_RCVTIMEO || name == SO_SNDTIMEO) && error == 0) {
        struct timeval time;
        memset(&time, 0, sizeof time);
        time.tv_sec = number / 1000;
        time.tv_usec = number % 1000 * 1000;
        if (*length > sizeof time) *length = sizeof time;
        memcpy(value, &time, *length);
    } else if (option == XENOLITH_SOCK_LINGER && error == 0) {
        struct linger linger;
        memset(&linger, 0, sizeof linger);
        linger.l_onoff = number >= 0;
        if (number >= 0) linger.l_linger = number;
        if (*length > sizeof linger) *length = sizeof linger;
        memcpy(value, &linger, *length);
    } else if (error == 0) {
        if (option == XENOLITH_SOCK_DOMAIN) number = number == XENOLITH_SOCK_IPV4 ? AF_INET : AF_INET6;
        if (option == XENOLITH_SOCK_MULTICAST_ADDR) number = (int32_t)htonl((uint32_t)number);
        if (level == IPPROTO_IP && option != XENOLITH_SOCK_MULTICAST_ADDR && *length > 0 && *length < sizeof number)
            *length = 1;
        if (*length > sizeof number) *length = sizeof number;
        memcpy(value, &number, *length);
    }
    return xenolith_sock_result(error);
}

static inline int getsockname(int fd, struct sockaddr *addr, socklen_t *length) {
    struct xenolith_sockaddr own;
    int32_t error = xenolith_sock_getsockname(fd, &own);
    if (error == 0) xenolith_sock_to_posix(&own, addr, length);
    return xenolith_sock_result(error);
}

static inline int getpeername(int fd, struct sockaddr *addr, socklen_t *length) {
    struct xenolith_sockaddr peer;
    int32_t error = xenolith_sock_getpeername(fd, &peer);
    if (error == 0) xenolith_sock_to_posix(&peer, addr, length);
    return xenolith_sock_result(error);
}

#define accept4 xenolith_sock_posix_accept4
static inline int accept4(int fd, struct sockaddr *addr, socklen_t *length, int flags) {
    __wasi_fd_t made = -1;
    __wasi_errno_t error = __wasi_sock_accept(fd, flags & SOCK_NONBLOCK ? __WASI_FDFLAGS_NONBLOCK : 0, &made);
    if (error != 0) return xenolith_sock_result(error);
    if (addr != NULL && length != NULL && getpeername(made, addr, length) != 0) *length = 0; /* it is gone already */
    return made;
}
#define accept xenolith_sock_posix_accept
static inline int accept(int fd, struct sockaddr *addr, socklen_t *length) { return accept4(fd, addr, length, 0); }

/* Those of <arpa/inet.h> that wasi-libc has not. */
static inline in_addr_t inet_addr(const char *text) {
    struct in_addr addr;
    return inet_aton(text, &addr) ? addr.s_addr : (in_addr_t)-1;
}
static inline char *inet_ntoa(struct in_addr addr) {
    static char text[INET_ADDRSTRLEN];
    return (char *)inet_ntop(AF_INET, &addr, text, sizeof text);
}

#ifdef __cplusplus
}
#endif

#endif
