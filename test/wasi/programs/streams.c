/* Streams over the loopback as servers and clients use them: the same lines from a guest as from gcc's program on Linux. */
#include "check.h"
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/uio.h>

static char bytes[1 << 16];

static int ready(int fd, int events, int ms) {
    struct pollfd one = {fd, events, 0};
    int n = poll(&one, 1, ms);
    return n > 0 ? one.revents : n;
}
/* Of one descriptor, once one of `first` is so. POLLHUP and POLLERR are not the same: WASI has one flag for both. */
static void say_ready(const char *what, int fd, int first, int events) {
    ready(fd, first, 1000);
    int got = ready(fd, events, 0);
    printf("%s:%s%s%s\n", what, got & POLLIN ? " in" : "", got & POLLOUT ? " out" : "", got & POLLNVAL ? " nval" : "");
}
static int get(int fd, int level, int name) {
    int value = -1;
    socklen_t length = sizeof value;
    return getsockopt(fd, level, name, &value, &length) == 0 ? value : -1;
}
static int set(int fd, int level, int name, int value) { return setsockopt(fd, level, name, &value, sizeof value); }
static const char *outcome(long long value) { return value < 0 ? name_of(errno) : "ok"; }

static struct sockaddr_in self;
static int listening(int backlog) {
    socklen_t length = sizeof self;
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    memset(&self, 0, sizeof self);
    self.sin_family = AF_INET;
    self.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    bind(fd, (struct sockaddr *)&self, sizeof self);
    getsockname(fd, (struct sockaddr *)&self, &length);
    listen(fd, backlog);
    return fd;
}
static int dial(void) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&self, sizeof self) == 0) return fd;
    printf("connect: %s\n", name_of(errno));
    return -1;
}
/* Both ends of a connection. */
static void pair(int ends[2]) {
    int server = listening(5);
    ends[0] = dial();
    ends[1] = accept(server, NULL, NULL);
    close(server);
}

/* An echo server that polls hundreds of connections. */
#define MANY 500
static void echo(void) {
    static struct pollfd fds[MANY + 1];
    static int clients[MANY];
    int server = listening(128), open = 0, echoed = 0, right = 0;
    fcntl(server, F_SETFL, O_NONBLOCK);
    fds[0] = (struct pollfd){server, POLLIN, 0};
    for (int i = 0; i < MANY; i++) {
        clients[i] = dial();
        if (clients[i] < 0) return;
        if (ready(server, POLLIN, 1000) == POLLIN) {
            int fd = accept(server, NULL, NULL);
            if (fd >= 0) fds[++open] = (struct pollfd){fd, POLLIN, 0};
        }
    }
    printf("%d connections\n", open);
    DO(accept(server, NULL, NULL));
    for (int i = 0; i < MANY; i++) {
        int n = snprintf(bytes, sizeof bytes, "I am %d", i);
        if (send(clients[i], bytes, n, 0) != n) printf("send %d\n", i);
    }
    while (echoed < MANY) {
        if (poll(fds, MANY + 1, 2000) <= 0) break;
        for (int i = 1; i <= MANY; i++) {
            if (!(fds[i].revents & POLLIN)) continue;
            ssize_t n = recv(fds[i].fd, bytes, sizeof bytes, 0);
            if (n > 0 && send(fds[i].fd, bytes, n, 0) == n) echoed++;
        }
    }
    for (int i = 0; i < MANY; i++) {
        char own[32];
        int n = snprintf(own, sizeof own, "I am %d", i);
        if (ready(clients[i], POLLIN, 2000) == POLLIN && recv(clients[i], bytes, sizeof bytes, 0) == n && memcmp(own, bytes, n) == 0) right++;
        close(clients[i]);
    }
    printf("echoed %d, right %d\n", echoed, right);
    int ends = 0;
    for (int i = 1; i <= MANY; i++) {
        if (ready(fds[i].fd, POLLIN, 2000) & POLLIN && recv(fds[i].fd, bytes, sizeof bytes, 0) == 0) ends++;
        close(fds[i].fd);
    }
    printf("ends %d\n", ends);
    DO(close(server));
}

static void halves(void) {
    int ends[2];
    pair(ends);
    say_ready("both open", ends[0], POLLOUT, POLLIN | POLLOUT);
    DO(shutdown(ends[0], SHUT_WR));
    DO(shutdown(ends[0], SHUT_WR));
    DO(send(ends[0], "x", 1, MSG_NOSIGNAL));
    say_ready("its peer", ends[1], POLLIN, POLLIN | POLLOUT);
    DO(recv(ends[1], bytes, 10, 0));
    DO(recv(ends[1], bytes, 10, 0));
    DO(send(ends[1], "still", 5, 0));
    DO(recv(ends[0], bytes, 10, 0));
    DO(shutdown(ends[1], SHUT_RDWR));
    say_ready("it", ends[0], POLLIN, POLLIN);
    DO(recv(ends[0], bytes, 10, 0));
    say_ready("its peer", ends[1], POLLIN, POLLIN);
    DO(send(ends[1], "x", 1, MSG_NOSIGNAL));
    DO(recv(ends[1], bytes, 10, 0));
    DO(get(ends[0], SOL_SOCKET, SO_ERROR));
    DO(close(ends[0]));
    DO(close(ends[1]));
    /* no more is to be read */
    pair(ends);
    DO(shutdown(ends[0], SHUT_RD));
    DO(recv(ends[0], bytes, 10, 0));
    say_ready("shut for reading", ends[0], POLLIN, POLLIN);
    DO(send(ends[0], "to you", 6, 0));
    DO(recv(ends[1], bytes, 10, 0));
    DO(shutdown(ends[1], 7));
    DO(close(ends[0]));
    DO(close(ends[1]));
    int fresh = socket(AF_INET, SOCK_STREAM, 0), server = listening(1);
    DO(recv(fresh, bytes, 10, 0));
    DO(send(fresh, "x", 1, MSG_NOSIGNAL));
    DO(listen(fresh, 1));
    DO(recv(server, bytes, 10, 0));
    DO(send(server, "x", 1, MSG_NOSIGNAL));
    DO(connect(server, (struct sockaddr *)&self, sizeof self));
    DO(close(fresh));
    fresh = socket(AF_INET, SOCK_STREAM, 0);
    DO(accept(fresh, NULL, NULL));
    DO(close(fresh));
    DO(close(server));
}

static void nonblocking(void) {
    int server = listening(5), fd = socket(AF_INET, SOCK_STREAM, 0);
    DO(fcntl(fd, F_SETFL, O_NONBLOCK));
    DO(connect(fd, (struct sockaddr *)&self, sizeof self));
    say_ready("connecting", fd, POLLOUT, POLLOUT);
    DO(get(fd, SOL_SOCKET, SO_ERROR));
    DO(recv(fd, bytes, 10, 0));
    int peer = accept(server, NULL, NULL);
    DO(connect(fd, (struct sockaddr *)&self, sizeof self) < 0);
    DO(connect(fd, (struct sockaddr *)&self, sizeof self));
    long long sent = 0, taken = 0;
    for (ssize_t n; (n = send(fd, bytes, sizeof bytes, 0)) > 0;) sent += n;
    printf("full: %s, %d\n", name_of(errno), sent > 1000);
    fcntl(peer, F_SETFL, O_NONBLOCK);
    while (taken < sent) {
        ssize_t n = recv(peer, bytes, sizeof bytes, 0);
        if (n > 0) taken += n;
        else if (ready(peer, POLLIN, 2000) <= 0) break;
    }
    printf("all taken: %d\n", taken == sent);
    say_ready("room again", fd, POLLOUT, POLLOUT);
    DO(close(peer));
    say_ready("its peer is gone", fd, POLLIN, POLLIN);
    DO(close(fd));
    /* nobody listens */
    DO(close(server));
    fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    DO(connect(fd, (struct sockaddr *)&self, sizeof self));
    say_ready("refused", fd, POLLOUT, POLLOUT);
    DO(get(fd, SOL_SOCKET, SO_ERROR) == ECONNREFUSED);
    DO(get(fd, SOL_SOCKET, SO_ERROR));
    DO(send(fd, "x", 1, MSG_NOSIGNAL));
    DO(close(fd));
    fd = socket(AF_INET, SOCK_STREAM, 0);
    DO(connect(fd, (struct sockaddr *)&self, sizeof self));
    DO(connect(fd, (struct sockaddr *)&self, sizeof self));
    DO(close(fd));
}

static void flags(void) {
    int ends[2];
    pair(ends);
    DO(recv(ends[0], bytes, 10, MSG_DONTWAIT));
    DO(send(ends[1], "abcdef", 6, 0));
    ready(ends[0], POLLIN, 1000);
    DO(recv(ends[0], bytes, 3, MSG_PEEK));
    DO(recv(ends[0], bytes, 100, MSG_PEEK));
    printf("%.6s\n", bytes);
    DO(recv(ends[0], bytes, 100, MSG_PEEK | MSG_DONTWAIT));
    DO(recv(ends[0], bytes, 0, 0));
    DO(recv(ends[0], bytes, 4, MSG_WAITALL));
    DO(recv(ends[0], bytes, 10, MSG_DONTWAIT | MSG_WAITALL));
    DO(recv(ends[0], bytes, 10, MSG_DONTWAIT | MSG_WAITALL));
    DO(send(ends[1], "ghi", 3, 0));
    DO(shutdown(ends[1], SHUT_WR));
    DO(recv(ends[0], bytes, 10, MSG_WAITALL));
    printf("%.3s\n", bytes);
    DO(recv(ends[0], bytes, 10, MSG_PEEK));
    /* several buffers, some of them empty */
    char a[4] = "", b[8] = "", c[8] = "";
    struct iovec out[4] = {{"one ", 4}, {"", 0}, {"two ", 4}, {"three", 5}}, in[3] = {{a, 3}, {b, 0}, {c, 6}};
    struct sockaddr_storage from;
    struct msghdr message;
    memset(&message, 0, sizeof message);
    message.msg_iov = out;
    message.msg_iovlen = 4;
    DO(sendmsg(ends[0], &message, 0));
    ready(ends[1], POLLIN, 1000);
    memset(&message, 0, sizeof message);
    message.msg_name = &from;
    message.msg_namelen = sizeof from;
    message.msg_iov = in;
    message.msg_iovlen = 3;
    message.msg_flags = 99;
    DO(recvmsg(ends[1], &message, 0));
    printf("%.3s|%.6s, flags %d, name %d\n", a, c, message.msg_flags, (int)message.msg_namelen);
    DO(readv(ends[1], in, 3));
    printf("%.3s|%.1s\n", a, c);
    message.msg_iov = NULL;
    message.msg_iovlen = 0;
    message.msg_name = NULL;
    message.msg_namelen = 0;
    DO(sendmsg(ends[0], &message, 0));
    DO(send(ends[0], "", 0, 0));
    struct sockaddr_in other = self;
    DO(sendto(ends[0], "to", 2, 0, (struct sockaddr *)&other, sizeof other));
    DO(write(ends[0], "x", 1));
    DO(read(ends[1], bytes, sizeof bytes));
    int waiting = -1;
    DO(write(ends[0], "12345", 5));
    ready(ends[1], POLLIN, 1000);
    DO(ioctl(ends[1], FIONREAD, &waiting));
    printf("%d wait\n", waiting);
    DO(close(ends[0]));
    DO(close(ends[1]));
}

static void lingering(void) {
    struct linger linger = {1, 0}, got = {9, 9};
    socklen_t length = sizeof got;
    int ends[2];
    pair(ends);
    DO(getsockopt(ends[0], SOL_SOCKET, SO_LINGER, &got, &length));
    printf("%d %d\n", got.l_onoff, got.l_linger);
    DO(setsockopt(ends[0], SOL_SOCKET, SO_LINGER, &linger, sizeof linger));
    DO(getsockopt(ends[0], SOL_SOCKET, SO_LINGER, &got, &length));
    printf("%d %d\n", got.l_onoff, got.l_linger);
    DO(setsockopt(ends[0], SOL_SOCKET, SO_LINGER, &linger, 4));
    DO(close(ends[0]));
    say_ready("reset", ends[1], POLLIN, POLLIN);
    DO(recv(ends[1], bytes, 10, 0));
    DO(recv(ends[1], bytes, 10, 0));
    DO(send(ends[1], "x", 1, MSG_NOSIGNAL));
    DO(close(ends[1]));
    /* what is not read when it is closed resets too */
    pair(ends);
    DO(send(ends[1], "unread", 6, 0));
    ready(ends[0], POLLIN, 1000);
    DO(close(ends[0]));
    say_ready("unread", ends[1], POLLIN, POLLIN);
    DO(get(ends[1], SOL_SOCKET, SO_ERROR) == ECONNRESET);
    DO(recv(ends[1], bytes, 10, 0));
    DO(close(ends[1]));
    /* with a time, it is as without */
    linger.l_linger = 1;
    pair(ends);
    DO(setsockopt(ends[0], SOL_SOCKET, SO_LINGER, &linger, sizeof linger));
    DO(send(ends[0], "last", 4, 0));
    DO(close(ends[0]));
    DO(recv(ends[1], bytes, 10, MSG_WAITALL));
    DO(recv(ends[1], bytes, 10, 0));
    DO(close(ends[1]));
}

static void restarts(void) {
    int server = listening(5), one = dial(), peer = accept(server, NULL, NULL), on = 1;
    /* its port is another's once it is closed, with SO_REUSEADDR */
    DO(close(peer));
    DO(close(one));
    DO(close(server));
    server = socket(AF_INET, SOCK_STREAM, 0);
    DO(setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on));
    DO(bind(server, (struct sockaddr *)&self, sizeof self));
    DO(listen(server, 5));
    DO(listen(server, 50));
    one = dial();
    say_ready("one waits", server, POLLIN, POLLIN);
    DO(close(one));
    peer = accept(server, NULL, NULL);
    TRY(peer);
    DO(recv(peer, bytes, 10, 0));
    DO(close(peer));
    DO(close(server));
    DO(get(server, SOL_SOCKET, SO_ERROR));
}

static void options(void) {
    int fd = socket(AF_INET, SOCK_STREAM, 0), letters = socket(AF_INET, SOCK_DGRAM, 0), both[2] = {fd, letters};
    struct { const char *text; int level, name; } known[] = {
        {"SO_TYPE", SOL_SOCKET, SO_TYPE}, {"SO_ERROR", SOL_SOCKET, SO_ERROR}, {"SO_REUSEADDR", SOL_SOCKET, SO_REUSEADDR},
        {"SO_KEEPALIVE", SOL_SOCKET, SO_KEEPALIVE}, {"SO_BROADCAST", SOL_SOCKET, SO_BROADCAST},
        {"SO_ACCEPTCONN", SOL_SOCKET, SO_ACCEPTCONN}, {"SO_DOMAIN", SOL_SOCKET, SO_DOMAIN},
        {"SO_PROTOCOL", SOL_SOCKET, SO_PROTOCOL},
        {"TCP_NODELAY", IPPROTO_TCP, TCP_NODELAY}, {"TCP_KEEPIDLE", IPPROTO_TCP, TCP_KEEPIDLE},
        {"TCP_KEEPINTVL", IPPROTO_TCP, TCP_KEEPINTVL}, {"TCP_KEEPCNT", IPPROTO_TCP, TCP_KEEPCNT},
    };
    for (int i = 0; i < (int)(sizeof known / sizeof *known); i++)
        for (int j = 0; j < 2; j++) {
            int value = get(both[j], known[i].level, known[i].name);
            if (known[i].name == SO_TYPE && known[i].level == SOL_SOCKET) value = value == (j ? SOCK_DGRAM : SOCK_STREAM);
            if (known[i].name == SO_DOMAIN && known[i].level == SOL_SOCKET) value = value == AF_INET;
            printf("%s of a %s: %d\n", known[i].text, j ? "datagram's" : "stream", value);
        }
    DO(get(fd, SOL_SOCKET, SO_SNDBUF) > 2000);
    DO(get(fd, SOL_SOCKET, SO_RCVBUF) > 2000);
    DO(get(letters, SOL_SOCKET, SO_SNDBUF) > 2000);
    DO(set(fd, SOL_SOCKET, SO_SNDBUF, 40000));
    DO(get(fd, SOL_SOCKET, SO_SNDBUF));
    DO(set(letters, SOL_SOCKET, SO_SNDBUF, 40000));
    DO(get(letters, SOL_SOCKET, SO_SNDBUF));
    DO(set(fd, SOL_SOCKET, SO_RCVBUF, 40000));
    DO(get(fd, SOL_SOCKET, SO_RCVBUF));
    DO(set(fd, SOL_SOCKET, SO_TYPE, 1));
    DO(set(fd, SOL_SOCKET, SO_ERROR, 1));
    DO(set(fd, IPPROTO_TCP, TCP_KEEPCNT, 128));
    DO(set(letters, IPPROTO_TCP, TCP_NODELAY, 1));
    DO(close(fd));
    DO(close(letters));
}

static void selecting(void) {
    int ends[2];
    pair(ends);
    fd_set in, out;
    struct timeval none = {0, 0}, some = {2, 0};
    FD_ZERO(&in);
    FD_ZERO(&out);
    FD_SET(ends[0], &in);
    FD_SET(ends[0], &out);
    DO(select(ends[0] + 1, &in, &out, NULL, &none));
    printf("%d %d\n", FD_ISSET(ends[0], &in) != 0, FD_ISSET(ends[0], &out) != 0);
    DO(send(ends[1], "x", 1, 0));
    FD_SET(ends[0], &in);
    DO(select(ends[0] + 1, &in, NULL, NULL, &some));
    printf("%d\n", FD_ISSET(ends[0], &in) != 0);
    DO(close(ends[0]));
    DO(close(ends[1]));
    say_ready("closed", ends[0], POLLIN, POLLIN);
    DO(recv(ends[0], bytes, 1, 0));
    DO(socket(AF_INET, SOCK_STREAM, IPPROTO_UDP));
    DO(socket(AF_INET, 77, 0));
    DO(socket(77, SOCK_STREAM, 0));
}

int main(void) {
    setvbuf(stdout, NULL, _IONBF, 0);
#ifndef __wasi__
    alarm(60);
#endif
    echo();
    halves();
    nonblocking();
    flags();
    lingering();
    restarts();
    options();
    selecting();
    return 0;
}
