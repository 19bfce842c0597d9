/* Datagrams over the loopback: the same lines from a guest as from gcc's program on Linux. */
#include "check.h"
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>

static int family;
static char bytes[70000];

/* Loopback or any, at `port`. */
static struct sockaddr_storage at(int loopback, int port) {
    struct sockaddr_storage all;
    memset(&all, 0, sizeof all);
    if (family == AF_INET) {
        struct sockaddr_in *in = (struct sockaddr_in *)&all;
        in->sin_family = AF_INET;
        in->sin_port = htons(port);
        if (loopback) in->sin_addr.s_addr = htonl(0x7f000001);
    } else {
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&all;
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons(port);
        if (loopback) in6->sin6_addr.s6_addr[15] = 1;
    }
    return all;
}
static socklen_t size(void) { return family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6); }
static int port_of(const struct sockaddr_storage *addr) {
    return ntohs(family == AF_INET ? ((const struct sockaddr_in *)addr)->sin_port : ((const struct sockaddr_in6 *)addr)->sin6_port);
}
/* A port of this run's is not the same in another. */
static void say(const char *what, const struct sockaddr_storage *addr, int known) {
    char text[64];
    const void *raw = family == AF_INET ? (const void *)&((const struct sockaddr_in *)addr)->sin_addr
                                        : (const void *)&((const struct sockaddr_in6 *)addr)->sin6_addr;
    inet_ntop(family, raw, text, sizeof text);
    printf("%s %s %s\n", what, text, port_of(addr) == 0 ? "0" : port_of(addr) == known ? "its port" : "another port");
}
static int own_port(int fd) {
    struct sockaddr_storage addr;
    socklen_t length = sizeof addr;
    return getsockname(fd, (struct sockaddr *)&addr, &length) == 0 ? port_of(&addr) : -1;
}
static int new_socket(void) { return socket(family, SOCK_DGRAM, 0); }
static int bound(int loopback) {
    struct sockaddr_storage addr = at(loopback, 0);
    int fd = new_socket();
    return bind(fd, (struct sockaddr *)&addr, size()) == 0 ? fd : -1;
}
static int to(int fd, int port, const char *text, size_t length) {
    struct sockaddr_storage addr = at(1, port);
    return sendto(fd, text, length, 0, (struct sockaddr *)&addr, size());
}
static int option(int fd, int name) {
    int value = -1;
    socklen_t length = sizeof value;
    return getsockopt(fd, SOL_SOCKET, name, &value, &length) == 0 ? value : -1;
}
static int set(int fd, int name, int value) { return setsockopt(fd, SOL_SOCKET, name, &value, sizeof value); }
static int ready(int fd, int events, int ms) {
    struct pollfd one = {fd, events, 0};
    return poll(&one, 1, ms);
}

static void names(void) {
    struct sockaddr_storage addr, any = at(0, 0), self = at(1, 0), other;
    socklen_t length = sizeof addr;
    int fd = new_socket();
    DO(getsockname(fd, (struct sockaddr *)&addr, &length));
    say("unbound", &addr, 0);
    DO(getpeername(fd, (struct sockaddr *)&addr, &length));
    DO(send(fd, "x", 1, 0));
    DO(listen(fd, 1));
    DO(accept(fd, NULL, NULL));
    DO(shutdown(fd, SHUT_RDWR));
    DO(close(fd));
    fd = new_socket();
    DO(bind(fd, (struct sockaddr *)&self, size()));
    DO(bind(fd, (struct sockaddr *)&self, size()));
    int port = own_port(fd), taker = new_socket();
    self = at(1, port);
    any = at(0, port);
    DO(bind(taker, (struct sockaddr *)&self, size()));
    DO(bind(taker, (struct sockaddr *)&any, size()));
    DO(close(fd));
    DO(bind(taker, (struct sockaddr *)&self, size()));
    DO(close(taker));
    /* one of another host */
    fd = new_socket();
    other = at(1, 0);
    if (family == AF_INET) inet_pton(AF_INET, "192.0.2.1", &((struct sockaddr_in *)&other)->sin_addr);
    else inet_pton(AF_INET6, "2001:db8::1", &((struct sockaddr_in6 *)&other)->sin6_addr);
    DO(bind(fd, (struct sockaddr *)&other, size()));
    DO(option(fd, SO_TYPE) == SOCK_DGRAM);
    DO(option(fd, SO_ERROR));
    DO(option(fd, SO_ACCEPTCONN));
    DO(option(fd, SO_BROADCAST));
    DO(set(fd, SO_BROADCAST, 1));
    DO(option(fd, SO_BROADCAST));
    DO(option(fd, SO_RCVBUF));
    DO(set(fd, SO_RCVBUF, 10000));
    DO(option(fd, SO_RCVBUF));
    DO(set(fd, SO_RCVBUF, 1));
    DO(option(fd, SO_RCVBUF));
    DO(close(fd));
    /* two that share it */
    int one = new_socket(), two = new_socket();
    DO(set(one, SO_REUSEADDR, 1));
    DO(set(two, SO_REUSEADDR, 1));
    self = at(1, 0);
    DO(bind(one, (struct sockaddr *)&self, size()));
    self = at(1, own_port(one));
    DO(bind(two, (struct sockaddr *)&self, size()));
    DO(close(one));
    DO(close(two));
}

static void letters(void) {
    struct sockaddr_storage from, peer;
    socklen_t length = sizeof from;
    int server = bound(0), client = new_socket(), port = own_port(server);
    DO(to(client, port, "hello", 5));
    DO(ready(server, POLLIN, 5000));
    DO(recvfrom(server, bytes, 64, 0, (struct sockaddr *)&from, &length));
    printf("%.5s, %d bytes of address\n", bytes, length == size());
    say("from", &from, own_port(client));
    DO(sendto(server, "world!", 6, 0, (struct sockaddr *)&from, length));
    DO(ready(client, POLLIN, 5000));
    DO(recv(client, bytes, 3, MSG_PEEK));
    DO(recv(client, bytes, 3, MSG_PEEK | MSG_TRUNC));
    DO(recv(client, bytes, 3, 0));
    printf("%.3s\n", bytes);
    DO(recv(client, bytes, 3, MSG_DONTWAIT));
    DO(ready(client, POLLIN, 10));
    DO(ready(client, POLLOUT, 10));
    /* the boundaries of datagrams stay */
    struct iovec parts[3] = {{"ab", 2}, {"", 0}, {"cdef", 4}}, room[2] = {{bytes, 1}, {bytes + 8, 4}};
    peer = at(1, port);
    DO(connect(client, (struct sockaddr *)&peer, size()));
    DO(writev(client, parts, 3));
    DO(write(client, "second", 6));
    DO(send(client, "", 0, 0));
    DO(send(client, "last", 4, MSG_NOSIGNAL));
    DO(ready(server, POLLIN, 5000));
    DO(readv(server, room, 2));
    printf("%.1s %.4s\n", bytes, bytes + 8);
    DO(read(server, bytes, 0));
    DO(read(server, bytes, 64));
    DO(recv(server, bytes, 64, 0));
    struct msghdr message;
    memset(&message, 0, sizeof message);
    message.msg_name = &from;
    message.msg_namelen = sizeof from;
    message.msg_iov = room;
    message.msg_iovlen = 1;
    DO(recvmsg(server, &message, 0));
    DO(message.msg_flags == MSG_TRUNC);
    say("from", &from, own_port(client));
    /* sizes */
    DO(to(client, port, bytes, 65507));
    DO(ready(server, POLLIN, 5000));
    DO(read(server, bytes, sizeof bytes));
    if (family == AF_INET) DO(to(client, port, bytes, 65508));
    DO(to(client, port, bytes, 66000));
    DO(to(client, 0, bytes, 1));
    DO(fcntl(server, F_SETFL, O_NONBLOCK));
    DO(read(server, bytes, sizeof bytes));
    DO(close(server));
    DO(close(client));
}

static void peers(void) {
    struct sockaddr_storage addr, peer, nobody;
    socklen_t length = sizeof addr;
    int gone = bound(1), port = own_port(gone), client = new_socket(), stranger = bound(1);
    close(gone);
    peer = at(1, port);
    DO(connect(client, (struct sockaddr *)&peer, size()));
    DO(getpeername(client, (struct sockaddr *)&addr, &length));
    say("to", &addr, port);
    length = sizeof addr;
    DO(getsockname(client, (struct sockaddr *)&addr, &length));
    say("as", &addr, own_port(client));
    DO(to(stranger, own_port(client), "no", 2));
    DO(send(client, "x", 1, 0));
    DO(ready(client, POLLIN, 5000));
    DO(recv(client, bytes, 64, 0));
    DO(send(client, "x", 1, 0));
    DO(ready(client, POLLIN, 5000));
    DO(option(client, SO_ERROR) == ECONNREFUSED);
    DO(option(client, SO_ERROR));
    DO(recv(client, bytes, 64, MSG_DONTWAIT));
    memset(&nobody, 0, sizeof nobody);
    DO(connect(client, (struct sockaddr *)&nobody, size()));
    length = sizeof addr;
    DO(getpeername(client, (struct sockaddr *)&addr, &length));
    length = sizeof addr;
    DO(getsockname(client, (struct sockaddr *)&addr, &length));
    say("as", &addr, 0);
    DO(to(client, port, "x", 1));
    DO(ready(client, POLLIN, 10));
    /* shut down */
    peer = at(1, own_port(stranger));
    DO(connect(client, (struct sockaddr *)&peer, size()));
    DO(shutdown(client, SHUT_WR));
    DO(send(client, "x", 1, MSG_NOSIGNAL));
    DO(shutdown(client, SHUT_RD));
    DO(recv(client, bytes, 64, 0));
    DO(close(client));
    /* more than is taken */
    int sent = 0, taken = 0;
    client = new_socket();
    set(stranger, SO_RCVBUF, 5000);
    for (int i = 0; i < 200; i++) sent += to(client, own_port(stranger), bytes, 1000) == 1000;
    while (ready(stranger, POLLIN, 100) == 1 && recv(stranger, bytes, 2000, MSG_DONTWAIT) == 1000) taken++;
    printf("sent %d, all taken: %d, some: %d\n", sent, taken == sent, taken > 2);
    DO(close(client));
    DO(close(stranger));
}

static void say_time(int fd, int name) {
    struct timeval time = {9, 9};
    socklen_t length = sizeof time;
    DO(getsockopt(fd, SOL_SOCKET, name, &time, &length));
    printf("%d s %d us, %d\n", (int)time.tv_sec, (int)time.tv_usec, length == sizeof time);
}
/* How long a call waits. */
static void limits(void) {
    struct timeval time = {0, 40000}, wrong = {0, 1000000};
    struct sockaddr_storage addr = at(1, 0);
    int fd = bound(1), listener = socket(family, SOCK_STREAM, 0);
    say_time(fd, SO_RCVTIMEO);
    DO(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time));
    say_time(fd, SO_RCVTIMEO);
    say_time(fd, SO_SNDTIMEO);
    DO(recv(fd, bytes, 10, 0));
    DO(read(fd, bytes, 10));
    DO(to(fd, own_port(fd), "x", 1));
    DO(recv(fd, bytes, 10, 0));
    DO(recv(fd, bytes, 10, 0));
    DO(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wrong, sizeof wrong));
    DO(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &time, 4));
    DO(bind(listener, (struct sockaddr *)&addr, size()));
    DO(listen(listener, 1));
    DO(setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time));
    DO(accept(listener, NULL, NULL));
    /* nobody accepts, and the backlog is full */
    int waiting[4], late = socket(family, SOCK_STREAM, 0);
    addr = at(1, own_port(listener));
    for (int i = 0; i < 4; i++) {
        waiting[i] = socket(family, SOCK_STREAM, 0);
        fcntl(waiting[i], F_SETFL, O_NONBLOCK);
        connect(waiting[i], (struct sockaddr *)&addr, size());
    }
    ready(fd, POLLIN, 20); /* nothing comes: until they are there */
    DO(setsockopt(late, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time));
    DO(connect(late, (struct sockaddr *)&addr, size()));
    DO(connect(late, (struct sockaddr *)&addr, size()));
    DO(connect(late, (struct sockaddr *)&addr, size()));
    for (int i = 0; i < 4; i++) close(waiting[i]);
    DO(close(late));
    DO(close(listener));
    DO(close(fd));
}

static void everybody(void) {
    struct sockaddr_in all = {.sin_family = AF_INET, .sin_port = htons(9)};
    int fd = socket(AF_INET, SOCK_DGRAM, IPPROTO_UDP);
    all.sin_addr.s_addr = 0xffffffff;
    DO(sendto(fd, "x", 1, 0, (struct sockaddr *)&all, sizeof all));
    DO(connect(fd, (struct sockaddr *)&all, sizeof all));
    DO(socket(AF_INET, SOCK_DGRAM, IPPROTO_TCP));
    DO(close(fd));
}

static void look_up(const char *host, const char *service, int type, int protocol) {
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = type, .ai_protocol = protocol}, *list = NULL;
    int error = getaddrinfo(host, service, &hints, &list);
    printf("%s %s:%s", host, service, error ? " no" : "");
    for (struct addrinfo *one = list; one; one = one->ai_next) {
        if (one->ai_socktype != SOCK_STREAM && one->ai_socktype != SOCK_DGRAM) continue;
        const struct sockaddr_in *in = (const struct sockaddr_in *)one->ai_addr;
        printf(" %s/%d/%s", inet_ntoa(in->sin_addr), ntohs(in->sin_port), one->ai_protocol == IPPROTO_UDP ? "udp" : "tcp");
    }
    puts("");
    if (list) freeaddrinfo(list);
}

int main(void) {
    setvbuf(stdout, NULL, _IONBF, 0);
    static const int families[2] = {AF_INET, AF_INET6};
    for (int i = 0; i < 2; i++) {
        family = families[i];
        printf("IPv%d\n", i == 0 ? 4 : 6);
        names();
        letters();
        peers();
        limits();
    }
    everybody();
    look_up("127.0.0.1", "53", SOCK_DGRAM, 0);
    look_up("127.0.0.1", "53", 0, 0);
    look_up("127.0.0.1", "53", 0, IPPROTO_UDP);
    look_up("127.0.0.1", "53", SOCK_STREAM, IPPROTO_UDP);
    look_up("127.0.0.1", "no-such-service", 0, 0);
    return 0;
}
