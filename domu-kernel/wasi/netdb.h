/*
 * <netdb.h>, which wasi-libc has not: getaddrinfo over the import `resolve` of xenolith_sock.h. Services are numbers.
 */
#ifndef XENOLITH_NETDB_H
#define XENOLITH_NETDB_H

#include <arpa/inet.h>
#include <stdlib.h>
#include <xenolith_sock.h>

#ifdef __cplusplus
extern "C" {
#endif

#define AI_PASSIVE 0x01
#define AI_CANONNAME 0x02
#define AI_NUMERICHOST 0x04
#define AI_NUMERICSERV 0x400
#define AI_ADDRCONFIG 0x20

#define EAI_BADFLAGS -1
#define EAI_NONAME -2
#define EAI_AGAIN -3
#define EAI_FAIL -4
#define EAI_FAMILY -6
#define EAI_SOCKTYPE -7
#define EAI_SERVICE -8
#define EAI_MEMORY -10
#define EAI_SYSTEM -11

struct addrinfo {
    int ai_flags;
    int ai_family;
    int ai_socktype;
    int ai_protocol;
    socklen_t ai_addrlen;
    struct sockaddr *ai_addr;
    char *ai_canonname;
    struct addrinfo *ai_next;
};

/* One of these is one allocation. */
struct xenolith_addrinfo {
    struct addrinfo info;
    struct sockaddr_storage addr;
};

static inline void freeaddrinfo(struct addrinfo *list) {
    while (list != NULL) {
        struct addrinfo *next = list->ai_next;
        free(list->ai_canonname);
        free(list);
        list = next;
    }
}

static inline int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                              struct addrinfo **result) {
    struct xenolith_sockaddr found[16];
    struct addrinfo *first = NULL, **last = &first;
    int flags = hints ? hints->ai_flags : 0, family = hints ? hints->ai_family : AF_UNSPEC;
    unsigned long port = 0;
    size_t count = 0;
    if (host == NULL && service == NULL) return EAI_NONAME;
    if (hints && hints->ai_socktype != 0 && hints->ai_socktype != SOCK_STREAM) return EAI_SOCKTYPE;
    if (family != AF_UNSPEC && family != AF_INET && family != AF_INET6) return EAI_FAMILY;
    if (service != NULL) {
        char *end;
        port = strtoul(service, &end, 10);
        if (*service < '0' || *service > '9' || *end != '\0' || port > 65535) return EAI_SERVICE;
    }
    memset(found, 0, sizeof found);
    if (host == NULL) {
        /* The loopback, or for who binds every address. */
        found[0].family = XENOLITH_SOCK_IPV4;
        found[1].family = XENOLITH_SOCK_IPV6;
        if ((flags & AI_PASSIVE) == 0) {
            found[0].addr[0] = 127;
            found[0].addr[3] = found[1].addr[15] = 1;
        }
        count = 2;
    } else {
        unsigned char bytes[16];
        if ((flags & AI_NUMERICHOST) && inet_pton(AF_INET, host, bytes) != 1 && inet_pton(AF_INET6, host, bytes) != 1)
            return EAI_NONAME;
        int32_t error = xenolith_sock_resolve(host, strlen(host), found, 16, &count);
        if (error == ENOENT) return EAI_NONAME;
        if (error == ETIMEDOUT) return EAI_AGAIN;
        if (error != 0) {
            errno = error;
            return EAI_SYSTEM;
        }
    }
    for (size_t i = 0; i < count; i++) {
        int own = found[i].family == XENOLITH_SOCK_IPV4 ? AF_INET : AF_INET6;
        if (family != AF_UNSPEC && family != own) continue;
        struct xenolith_addrinfo *one = (struct xenolith_addrinfo *)calloc(1, sizeof *one);
        if (one == NULL) {
            freeaddrinfo(first);
            return EAI_MEMORY;
        }
        one->info.ai_flags = flags;
        one->info.ai_family = own;
        one->info.ai_socktype = SOCK_STREAM;
        one->info.ai_protocol = IPPROTO_TCP;
        one->info.ai_addr = (struct sockaddr *)&one->addr;
        one->info.ai_addrlen = sizeof one->addr;
        found[i].port = (uint16_t)port;
        xenolith_sock_to_posix(&found[i], one->info.ai_addr, &one->info.ai_addrlen);
        if ((flags & AI_CANONNAME) && first == NULL && host != NULL) one->info.ai_canonname = strdup(host);
        *last = &one->info;
        last = &one->info.ai_next;
    }
    if (first == NULL) return EAI_NONAME;
    *result = first;
    return 0;
}

static inline const char *gai_strerror(int error) {
    switch (error) {
    case EAI_NONAME: return "there is no such name";
    case EAI_AGAIN: return "no name server answers";
    case EAI_FAMILY: return "no such family of addresses";
    case EAI_SOCKTYPE: return "streams only";
    case EAI_SERVICE: return "a service is a number here";
    case EAI_MEMORY: return "no memory";
    case EAI_SYSTEM: return strerror(errno);
    default: return "it failed";
    }
}

#ifdef __cplusplus
}
#endif

#endif
