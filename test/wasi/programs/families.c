/* Which addresses a socket has, of one family or of both: the same lines from a guest as from gcc's program on Linux. */
#include "check.h"
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

/* What a socket is bound to, and how. */
struct name {
    const char *text;
    int family, only6;
};
static const struct name names[] = {
    {"0.0.0.0", AF_INET, 0},
    {"127.0.0.1", AF_INET, 0},
    {"127.0.0.2", AF_INET, 0},
    {"::", AF_INET6, 0},
    {"::", AF_INET6, 1},
    {"::1", AF_INET6, 0},
    {"::1", AF_INET6, 1},
    {"::ffff:127.0.0.1", AF_INET6, 0},
    {"::ffff:0.0.0.0", AF_INET6, 0},
    {"::ffff:127.0.0.1", AF_INET6, 1},
};
#define NAMES (int)(sizeof names / sizeof *names)

static struct sockaddr_storage at(const char *text, int family, int port) {
    struct sockaddr_storage all;
    memset(&all, 0, sizeof all);
    all.ss_family = family;
    if (family == AF_INET) {
        inet_pton(AF_INET, text, &((struct sockaddr_in *)&all)->sin_addr);
        ((struct sockaddr_in *)&all)->sin_port = htons(port);
    } else {
        inet_pton(AF_INET6, text, &((struct sockaddr_in6 *)&all)->sin6_addr);
        ((struct sockaddr_in6 *)&all)->sin6_port = htons(port);
    }
    return all;
}
static socklen_t size_of(int family) {
    return family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
}
static int port_of(const struct sockaddr_storage *all) {
    return ntohs(all->ss_family == AF_INET ? ((const struct sockaddr_in *)all)->sin_port
                                           : ((const struct sockaddr_in6 *)all)->sin6_port);
}
static const char *text_of(const struct sockaddr_storage *all) {
    static char text[64];
    const void *raw = all->ss_family == AF_INET ? (const void *)&((const struct sockaddr_in *)all)->sin_addr
                                                : (const void *)&((const struct sockaddr_in6 *)all)->sin6_addr;
    return inet_ntop(all->ss_family, raw, text, sizeof text);
}
static int own_port(int fd) {
    struct sockaddr_storage all;
    socklen_t length = sizeof all;
    return getsockname(fd, (struct sockaddr *)&all, &length) == 0 ? port_of(&all) : -1;
}
static void say_own(const char *what, int fd) {
    struct sockaddr_storage all;
    socklen_t length = sizeof all;
    if (getsockname(fd, (struct sockaddr *)&all, &length) < 0) printf("%s %s\n", what, name_of(errno));
    else printf("%s %s, port %s, %d bytes\n", what, text_of(&all), port_of(&all) ? "yes" : "no", length == size_of(all.ss_family));
}
static void say_peer(const char *what, int fd) {
    struct sockaddr_storage all;
    socklen_t length = sizeof all;
    if (getpeername(fd, (struct sockaddr *)&all, &length) < 0) printf("%s %s\n", what, name_of(errno));
    else printf("%s %s, %d bytes\n", what, text_of(&all), length == size_of(all.ss_family));
}
static int set(int fd, int level, int name, int value) { return setsockopt(fd, level, name, &value, sizeof value); }
static int only6(int fd) {
    int value = -1;
    socklen_t length = sizeof value;
    return getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &value, &length) == 0 ? value : -1;
}
static int ready(int fd, int events, int ms) {
    struct pollfd one = {fd, events, 0};
    return poll(&one, 1, ms);
}
static const char *outcome(int value) { return value < 0 ? name_of(errno) : "ok"; }

static int new_socket(const struct name *name, int type, int reuse) {
    int fd = socket(name->family, type, 0);
    if (name->only6) set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    if (reuse) set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    return fd;
}
static int bind_to(int fd, const struct name *name, int port) {
    struct sockaddr_storage all = at(name->text, name->family, port);
    return bind(fd, (struct sockaddr *)&all, size_of(name->family));
}

/* Who may have a port beside whom. */
static void pair(const struct name *one, const struct name *two, int type, int reuse) {
    int first = new_socket(one, type, reuse & 1), second = new_socket(two, type, reuse & 2);
    printf("%s%s%s, %s%s%s:", one->text, one->only6 ? " only" : "", reuse & 1 ? " reuse" : "", two->text,
           two->only6 ? " only" : "", reuse & 2 ? " reuse" : "");
    if (bind_to(first, one, 0) < 0) printf(" %s\n", name_of(errno));
    else {
        int error = bind_to(second, two, own_port(first));
        printf(" %s", outcome(error));
        if (error == 0 && type == SOCK_STREAM) {
            printf(", listen %s", outcome(listen(first, 1)));
            printf(" %s", outcome(listen(second, 1)));
        } else if (type == SOCK_STREAM && reuse == 3) {
            /* who listens has it alone, whoever may share */
            printf(", listen %s", outcome(listen(first, 1)));
            printf(" bind %s", outcome(bind_to(second, two, own_port(first))));
        }
        puts("");
    }
    close(first);
    close(second);
}
static void pairs(int type) {
    for (int i = 0; i < NAMES; i++)
        for (int j = 0; j < NAMES; j++)
            for (int reuse = 0; reuse < 4; reuse++) pair(&names[i], &names[j], type, reuse);
}

static void option(int type) {
    struct sockaddr_storage any = at("::", AF_INET6, 0);
    int fd = socket(AF_INET6, type, 0), four = socket(AF_INET, type, 0);
    DO(only6(fd));
    DO(set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 5));
    DO(only6(fd));
    DO(set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0));
    DO(only6(fd));
    DO(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, "", 1));
    DO(only6(four));
    DO(set(four, IPPROTO_IPV6, IPV6_V6ONLY, 1));
    DO(bind(fd, (struct sockaddr *)&any, size_of(AF_INET6)));
    DO(set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1));
    DO(only6(fd));
    say_own("bound", fd);
    DO(close(fd));
    DO(close(four));
}

/* A client of `family` to `text`. */
static int client_to(const char *text, int family, int port) {
    struct sockaddr_storage to = at(text, family, port);
    int fd = socket(family, SOCK_STREAM, 0);
    int error = connect(fd, (struct sockaddr *)&to, size_of(family));
    printf("connect to %s: %s\n", text, outcome(error));
    if (error == 0) return fd;
    close(fd);
    return -1;
}
static void streams(const struct name *name) {
    static const struct { const char *text; int family; } to[] = {
        {"127.0.0.1", AF_INET}, {"::ffff:127.0.0.1", AF_INET6}, {"::1", AF_INET6}, {"0.0.0.0", AF_INET}, {"::", AF_INET6},
        {"::ffff:0.0.0.0", AF_INET6},
    };
    int server = new_socket(name, SOCK_STREAM, 0);
    printf("listening at %s%s\n", name->text, name->only6 ? " only" : "");
    TRY(bind_to(server, name, 0));
    say_own("bound", server);
    DO(listen(server, 5));
    say_own("listening", server);
    for (int i = 0; i < (int)(sizeof to / sizeof *to); i++) {
        struct sockaddr_storage all;
        socklen_t length = sizeof all;
        int client = client_to(to[i].text, to[i].family, own_port(server));
        if (client < 0) continue;
        say_own("client", client);
        say_peer("client's peer", client);
        int peer = accept(server, (struct sockaddr *)&all, &length);
        printf("accepted from %s, its port: %d, %d bytes\n", text_of(&all), port_of(&all) == own_port(client),
               length == size_of(name->family));
        say_own("accepted at", peer);
        say_peer("accepted from", peer);
        if (name->family == AF_INET6) DO(only6(peer));
        close(peer);
        close(client);
    }
    DO(close(server));
}

static void datagrams(const struct name *name) {
    static const struct { const char *text; int family; } to[] = {
        {"127.0.0.1", AF_INET}, {"::ffff:127.0.0.1", AF_INET6}, {"::1", AF_INET6}, {"::", AF_INET6}, {"::ffff:0.0.0.0", AF_INET6},
    };
    char bytes[16];
    int server = new_socket(name, SOCK_DGRAM, 0);
    printf("datagrams at %s%s\n", name->text, name->only6 ? " only" : "");
    TRY(bind_to(server, name, 0));
    say_own("bound", server);
    for (int i = 0; i < (int)(sizeof to / sizeof *to); i++) {
        struct sockaddr_storage all = at(to[i].text, to[i].family, own_port(server));
        socklen_t length = sizeof all;
        int client = socket(to[i].family, SOCK_DGRAM, 0);
        printf("to %s: %s\n", to[i].text, outcome(connect(client, (struct sockaddr *)&all, size_of(to[i].family))));
        say_own("client", client);
        say_peer("client's peer", client);
        DO(send(client, "x", 1, 0));
        if (ready(server, POLLIN, 50) == 1) {
            DO(recvfrom(server, bytes, sizeof bytes, 0, (struct sockaddr *)&all, &length));
            printf("from %s, its port: %d\n", text_of(&all), port_of(&all) == own_port(client));
            DO(sendto(server, "y", 1, 0, (struct sockaddr *)&all, length));
            DO(recv(client, bytes, sizeof bytes, 0));
        } else DO(recv(client, bytes, sizeof bytes, MSG_DONTWAIT));
        close(client);
    }
    DO(close(server));
}

/* One of IPv6 alone sends to nobody else. */
static void nobody_else(void) {
    struct sockaddr_storage to = at("::ffff:127.0.0.1", AF_INET6, 9);
    int stream = socket(AF_INET6, SOCK_STREAM, 0), letters = socket(AF_INET6, SOCK_DGRAM, 0);
    DO(set(stream, IPPROTO_IPV6, IPV6_V6ONLY, 1));
    DO(set(letters, IPPROTO_IPV6, IPV6_V6ONLY, 1));
    DO(connect(stream, (struct sockaddr *)&to, size_of(AF_INET6)));
    DO(connect(letters, (struct sockaddr *)&to, size_of(AF_INET6)));
    DO(sendto(letters, "x", 1, 0, (struct sockaddr *)&to, size_of(AF_INET6)));
    DO(close(stream));
    DO(close(letters));
}

/* Two at one port: who hears what. */
static void beside(void) {
    int four = new_socket(&names[0], SOCK_DGRAM, 1), six = new_socket(&names[4], SOCK_DGRAM, 1), both = new_socket(&names[3], SOCK_DGRAM, 1);
    char bytes[16];
    TRY(bind_to(six, &names[4], 0));
    DO(bind_to(four, &names[0], own_port(six)));
    DO(bind_to(both, &names[3], own_port(six)));
    for (int i = 0; i < 2; i++) {
        int family = i == 0 ? AF_INET : AF_INET6, client = socket(family, SOCK_DGRAM, 0);
        struct sockaddr_storage to = at(i == 0 ? "127.0.0.1" : "::1", family, own_port(six));
        if (i == 1) DO(close(both));
        DO(sendto(client, "x", 1, 0, (struct sockaddr *)&to, size_of(family)));
        ready(i == 0 ? four : six, POLLIN, 500);
        DO(recv(four, bytes, sizeof bytes, MSG_DONTWAIT));
        DO(recv(six, bytes, sizeof bytes, MSG_DONTWAIT));
        DO(close(client));
    }
    DO(close(four));
    DO(close(six));
}

int main(void) {
    setvbuf(stdout, NULL, _IONBF, 0);
    static const int types[2] = {SOCK_STREAM, SOCK_DGRAM};
    for (int i = 0; i < 2; i++) {
        puts(i == 0 ? "streams" : "datagrams");
        option(types[i]);
        pairs(types[i]);
    }
    for (int i = 0; i < NAMES - 1; i++) {
        if (i == 2 || i == 6) continue;
        streams(&names[i]);
        datagrams(&names[i]);
    }
    nobody_else();
    beside();
    return 0;
}
