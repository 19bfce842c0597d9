/* exchange HOST PORT: sends its standard input there, ends its side, and prints what comes back. */
#include "../../../domu-kernel/wasi/xenolith_sock.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv) {
    struct xenolith_sockaddr to;
    size_t count;
    char bytes[4096];
    ssize_t n;
    if (argc != 3 || (errno = xenolith_sock_resolve(argv[1], strlen(argv[1]), &to, 1, &count)) != 0) {
        perror("resolve");
        return 2;
    }
    int32_t fd;
    to.port = (uint16_t)atoi(argv[2]);
    if ((errno = xenolith_sock_socket(to.family, &fd)) != 0 || (errno = xenolith_sock_connect(fd, &to)) != 0) {
        perror("connect");
        return 3;
    }
    while ((n = read(STDIN_FILENO, bytes, sizeof bytes)) > 0)
        if (write(fd, bytes, n) != n) return 4;
    shutdown(fd, SHUT_WR);
    while ((n = read(fd, bytes, sizeof bytes)) > 0) fwrite(bytes, 1, n, stdout);
    return n < 0 ? 5 : 0;
}
