/* Sockets by POSIX's names, as xenolith_sock.h gives them: to itself, and to another host. */
#include "check.h"
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>

static struct sockaddr_in at(const char *host, int port) {
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, host, &addr.sin_addr);
    return addr;
}
static void say(const char *what, const struct sockaddr_in *addr) {
    char text[32];
    printf("%s %s:%d\n", what, inet_ntop(AF_INET, &addr->sin_addr, text, sizeof text), ntohs(addr->sin_port));
}

static int option(int fd, int level, int name) {
    int value = -1;
    socklen_t length = sizeof value;
    return getsockopt(fd, level, name, &value, &length) == 0 ? value : -1;
}
static int set(int fd, int level, int name, int value) { return setsockopt(fd, level, name, &value, sizeof value); }

static void look_up(const char *host, const char *service, int flags) {
    struct addrinfo hints = {.ai_flags = flags, .ai_socktype = SOCK_STREAM}, *list = NULL;
    int error = getaddrinfo(host, service, &hints, &list);
    printf("%s %s:", host ? host : "-", service ? service : "-");
    if (error != 0) printf(" %s", gai_strerror(error));
    for (struct addrinfo *one = list; one; one = one->ai_next) {
        char text[64];
        const struct sockaddr_in *in = (const struct sockaddr_in *)one->ai_addr;
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)one->ai_addr;
        const void *bytes = one->ai_family == AF_INET ? (const void *)&in->sin_addr : (const void *)&in6->sin6_addr;
        inet_ntop(one->ai_family, bytes, text, sizeof text);
        printf(" %s/%d", text, ntohs(one->ai_family == AF_INET ? in->sin_port : in6->sin6_port));
    }
    freeaddrinfo(list);
    puts("");
}

int main(void) {
    char bytes[64];
    struct sockaddr_in own = at("0.0.0.0", 8080), to = at("10.0.0.1", 8080), addr;
    struct sockaddr *any = (struct sockaddr *)&addr;
    socklen_t length = sizeof addr;
    DO(socket(AF_UNIX, SOCK_STREAM, 0));
    DO(socket(AF_INET, 99, 0));
    int server = socket(AF_INET, SOCK_STREAM, 0);
    DO(bind(server, (struct sockaddr *)&own, sizeof own));
    DO(bind(server, (struct sockaddr *)&own, 3));
    DO(listen(server, 5));
    DO(getsockname(server, any, &length));
    say("listens at", &addr);
    DO(getpeername(server, any, &length));

    int client = socket(AF_INET, SOCK_STREAM, 0);
    DO(connect(client, (struct sockaddr *)&to, sizeof to));
    DO(connect(client, (struct sockaddr *)&to, sizeof to));
    DO(getpeername(client, any, &length));
    say("connected to", &addr);
    int peer = accept(server, any, &length);
    TRY(peer);
    DO(send(client, "hello", 5, 0));
    DO(recv(peer, bytes, 64, MSG_PEEK));
    DO(read(peer, bytes, 64));
    printf("%.5s\n", bytes);
    DO(write(peer, "world", 5));
    DO(recv(client, bytes, 5, MSG_WAITALL));
    printf("%.5s\n", bytes);
    struct pollfd fds[2] = {{client, POLLIN, 0}, {peer, POLLIN | POLLOUT, 0}};
    DO(poll(fds, 2, 100));
    printf("%d %d\n", fds[0].revents, fds[1].revents == POLLOUT);
    DO(shutdown(client, SHUT_WR));
    DO(read(peer, bytes, 64));
    DO(send(client, "x", 1, 0));
    DO(shutdown(STDOUT_FILENO, SHUT_RD));
    DO(close(peer));
    DO(read(client, bytes, 64));
    DO(close(client));

    client = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    to = at("10.0.0.2", 8080); /* over the wire, and nobody listens */
    DO(connect(client, (struct sockaddr *)&to, sizeof to));
    DO(connect(client, (struct sockaddr *)&to, sizeof to));
    fds[0] = (struct pollfd){client, POLLOUT, 0};
    DO(poll(fds, 1, 5000));
    DO(connect(client, (struct sockaddr *)&to, sizeof to));
    DO(connect(client, (struct sockaddr *)&to, sizeof to));
    fds[0].revents = 0;
    DO(poll(fds, 1, 5000));
    DO(option(client, SOL_SOCKET, SO_ERROR) == ECONNREFUSED);
    DO(option(client, SOL_SOCKET, SO_ERROR));
    DO(option(client, SOL_SOCKET, SO_TYPE) == SOCK_STREAM);
    DO(option(client, SOL_SOCKET, SO_ACCEPTCONN));
    DO(option(server, SOL_SOCKET, SO_ACCEPTCONN));
    DO(set(client, SOL_SOCKET, SO_REUSEADDR, 1));
    DO(option(client, SOL_SOCKET, SO_KEEPALIVE));
    DO(set(client, SOL_SOCKET, SO_KEEPALIVE, 1));
    DO(option(client, SOL_SOCKET, SO_KEEPALIVE));
    DO(option(client, IPPROTO_TCP, TCP_KEEPIDLE));
    DO(set(client, IPPROTO_TCP, TCP_KEEPIDLE, 60));
    DO(option(client, IPPROTO_TCP, TCP_KEEPIDLE));
    DO(set(client, IPPROTO_TCP, TCP_KEEPINTVL, 0));
    DO(set(client, IPPROTO_TCP, TCP_NODELAY, 1));
    DO(set(client, SOL_SOCKET, SO_TYPE, 1));
    DO(set(client, SOL_SOCKET, 12345, 1));
    DO(setsockopt(client, SOL_SOCKET, SO_KEEPALIVE, "", 1));
    DO(option(STDOUT_FILENO, SOL_SOCKET, SO_TYPE));
    DO(fcntl(server, F_SETFL, O_NONBLOCK));
    DO(accept(server, any, &length));
    DO(bind(STDOUT_FILENO, (struct sockaddr *)&own, sizeof own));

    struct xenolith_sockaddr found[4];
    size_t count = 0;
    RAW(xenolith_sock_resolve("localhost", 9, found, 4, &count));
    printf("%zu: %d.%d.%d.%d\n", count, found[0].addr[0], found[0].addr[1], found[0].addr[2], found[0].addr[3]);
    RAW(xenolith_sock_resolve("none.invalid", 12, found, 4, &count));
    look_up("localhost", "8080", 0);
    look_up("10.0.0.2", NULL, AI_NUMERICHOST);
    look_up("::1", "65535", 0);
    look_up(NULL, "80", AI_PASSIVE);
    look_up(NULL, "80", 0);
    look_up("localhost", "80", AI_NUMERICHOST);
    look_up("none.invalid", "80", 0);
    look_up("localhost", "http", 0);
    look_up("localhost", "http", AI_NUMERICSERV);
    look_up("localhost", "ntp", 0); /* of no stream */
    look_up("localhost", "none", 0);
    struct servent *service = getservbyname("domain", "udp");
    printf("%s %s %d\n", service->s_name, service->s_proto, ntohs(service->s_port));
    service = getservbyport(htons(80), "tcp");
    printf("%s %s %d\n", service->s_name, service->s_proto, ntohs(service->s_port));
    DO(getservbyname("http", "udp") == NULL);
    struct hostent *host = gethostbyname("localhost");
    printf("%s %s, no more: %d\n", host->h_name, inet_ntoa(*(struct in_addr *)host->h_addr), !host->h_addr_list[1]);
    DO(gethostbyname("none.invalid") == NULL);
    printf("%s\n", hstrerror(h_errno));
    char name[8], number[8];
    DO(getnameinfo((struct sockaddr *)&to, sizeof to, name, sizeof name, number, sizeof number, 0) == EAI_OVERFLOW);
    DO(getnameinfo((struct sockaddr *)&to, sizeof to, bytes, sizeof bytes, number, sizeof number, NI_NUMERICSERV));
    printf("%s %s\n", bytes, number);
    DO(inet_addr("10.0.0.2") == to.sin_addr.s_addr);
    DO(inet_addr("10.0.0.256") == (in_addr_t)-1);
    return 0;
}
