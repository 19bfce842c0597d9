/*
 * `tcp listen HOST PORT` answers one connection with what it says, `tcp accept FD` one of a descriptor that listens
 * already; `tcp connect HOST PORT TEXT` says TEXT, once somebody listens, and prints the answer.
 */
#include "../../../../domu-kernel/wasi/xenolith_sock.h"
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static socklen_t name(const char *host, int port, struct sockaddr_storage *to) {
    struct sockaddr_in *in = (struct sockaddr_in *)to;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)to;
    memset(to, 0, sizeof *to);
    if (inet_pton(AF_INET6, host, &in6->sin6_addr) == 1) {
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons(port);
        return sizeof *in6;
    }
    inet_pton(AF_INET, host, &in->sin_addr);
    in->sin_family = AF_INET;
    in->sin_port = htons(port);
    return sizeof *in;
}
static int fail(const char *what) {
    perror(what);
    return 1;
}
static int answer(int server) {
    char text[1000];
    int client = accept(server, NULL, NULL);
    if (client < 0) return fail("accept");
    for (ssize_t n; (n = read(client, text, sizeof text)) > 0;)
        if (write(client, text, n) != n) return fail("write");
    return close(client);
}
int main(int argc, char **argv) {
    struct sockaddr_storage at;
    if (argc == 3) return answer(atoi(argv[2]));
    socklen_t length = name(argv[2], atoi(argv[3]), &at);
    int fd = socket(at.ss_family, SOCK_STREAM, 0);
    if (argc == 4) {
        if (bind(fd, (struct sockaddr *)&at, length) || listen(fd, 5)) return fail("listen");
        return answer(fd);
    }
    while (connect(fd, (struct sockaddr *)&at, length) != 0) {
        if (errno != ECONNREFUSED) return fail("connect");
        usleep(10000);
    }
    char text[1000];
    if (write(fd, argv[4], strlen(argv[4])) < 0 || shutdown(fd, SHUT_WR)) return fail("write");
    for (ssize_t n; (n = read(fd, text, sizeof text)) > 0;) fwrite(text, 1, n, stdout);
    puts("");
    return 0;
}
