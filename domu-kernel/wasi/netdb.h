/*
 * <netdb.h>, which wasi-libc has not: getaddrinfo, getnameinfo and gethostbyname over the import `resolve` of
 * xenolith_sock.h. Services are numbers, or the names of a small table. Nobody is asked for the name of an address.
 */
#ifndef XENOLITH_NETDB_H
#define XENOLITH_NETDB_H

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
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
#define EAI_OVERFLOW -12

#define NI_NUMERICHOST 0x01
#define NI_NUMERICSERV 0x02
#define NI_NAMEREQD 0x08
#define NI_DGRAM 0x10
#define NI_MAXHOST 255
#define NI_MAXSERV 32

#define HOST_NOT_FOUND 1
#define TRY_AGAIN 2
#define NO_RECOVERY 3
#define NO_DATA 4
#define NO_ADDRESS NO_DATA

struct hostent {
    char *h_name;
    char **h_aliases;
    int h_addrtype;
    int h_length;
    char **h_addr_list;
};
#define h_addr h_addr_list[0]

struct servent {
    char *s_name;
    char **s_aliases;
    int s_port;
    char *s_proto;
};

/* Weak: one for all of a program's files. */
__attribute__((__weak__)) int h_errno;

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

/* ---- services ---- */

struct xenolith_service {
    const char *name;
    unsigned short port;
    unsigned char tcp, udp;
};
static const struct xenolith_service xenolith_services[] = {
    {"echo", 7, 1, 1},      {"discard", 9, 1, 1}, {"daytime", 13, 1, 1}, {"ftp-data", 20, 1, 0}, {"ftp", 21, 1, 0},
    {"ssh", 22, 1, 0},      {"telnet", 23, 1, 0}, {"smtp", 25, 1, 0},    {"time", 37, 1, 1},     {"domain", 53, 1, 1},
    {"bootps", 67, 0, 1},   {"bootpc", 68, 0, 1}, {"tftp", 69, 0, 1},    {"http", 80, 1, 0},     {"pop3", 110, 1, 0},
    {"ntp", 123, 0, 1},     {"imap2", 143, 1, 0}, {"snmp", 161, 1, 1},   {"irc", 194, 1, 1},     {"ldap", 389, 1, 1},
    {"https", 443, 1, 1},   {"syslog", 514, 0, 1}, {"ldaps", 636, 1, 1}, {"imaps", 993, 1, 0},   {"pop3s", 995, 1, 0},
    {"mysql", 3306, 1, 0},  {"postgresql", 5432, 1, 0},                  {"http-alt", 8080, 1, 1},
};

static inline const struct xenolith_service *xenolith_service_of(const char *name, int port, int tcp, int udp) {
    size_t count = sizeof xenolith_services / sizeof *xenolith_services;
    for (size_t i = 0; i < count; i++) {
        const struct xenolith_service *one = &xenolith_services[i];
        if (name ? strcmp(one->name, name) != 0 : one->port != port) continue;
        if ((tcp && one->tcp) || (udp && one->udp)) return one;
    }
    return NULL;
}
static inline struct servent *xenolith_servent(const struct xenolith_service *one, int udp) {
    static struct servent entry;
    static char *none[1];
    if (one == NULL) return NULL;
    entry.s_name = (char *)one->name;
    entry.s_aliases = none;
    entry.s_port = (unsigned short)(one->port << 8 | one->port >> 8);
    entry.s_proto = (char *)(udp ? "udp" : "tcp");
    return &entry;
}
/* `proto` NULL: either. */
static inline struct servent *getservbyname(const char *name, const char *proto) {
    int tcp = proto == NULL || strcmp(proto, "tcp") == 0, udp = proto == NULL || strcmp(proto, "udp") == 0;
    const struct xenolith_service *one = xenolith_service_of(name, 0, tcp, udp);
    return xenolith_servent(one, !(tcp && one && one->tcp));
}
static inline struct servent *getservbyport(int port, const char *proto) {
    int tcp = proto == NULL || strcmp(proto, "tcp") == 0, udp = proto == NULL || strcmp(proto, "udp") == 0;
    const struct xenolith_service *one = xenolith_service_of(NULL, (port & 255) << 8 | (port >> 8 & 255), tcp, udp);
    return xenolith_servent(one, !(tcp && one && one->tcp));
}

/* ---- hosts ---- */

/* As many as were asked for of the one type, or of both: sets the protocol. */
static inline int xenolith_type(const struct addrinfo *hints, int type) {
    int protocol = type == SOCK_STREAM ? IPPROTO_TCP : IPPROTO_UDP;
    if (hints && hints->ai_socktype != 0 && hints->ai_socktype != type) return 0;
    if (hints && hints->ai_protocol != 0 && hints->ai_protocol != protocol) return 0;
    return protocol;
}

static inline int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                              struct addrinfo **result) {
    struct xenolith_sockaddr found[16];
    struct addrinfo *first = NULL, **last = &first;
    int flags = hints ? hints->ai_flags : 0, family = hints ? hints->ai_family : AF_UNSPEC;
    unsigned long port = 0;
    size_t count = 0;
    if (host == NULL && service == NULL) return EAI_NONAME;
    int tcp = xenolith_type(hints, SOCK_STREAM), udp = xenolith_type(hints, SOCK_DGRAM);
    if (!tcp && !udp) return EAI_SOCKTYPE;
    if (family != AF_UNSPEC && family != AF_INET && family != AF_INET6) return EAI_FAMILY;
    if (service != NULL) {
        char *end;
        port = strtoul(service, &end, 10);
        if (*service < '0' || *service > '9' || *end != '\0') {
            const struct xenolith_service *named = xenolith_service_of(service, 0, tcp, udp);
            if (flags & AI_NUMERICSERV) return EAI_NONAME;
            if (named == NULL) return EAI_SERVICE;
            port = named->port;
            if (!named->tcp) tcp = 0;
            if (!named->udp) udp = 0;
        } else if (port > 65535) return EAI_SERVICE;
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
    for (size_t i = 0; i < count * 2; i++) {
        const int protocol = i % 2 == 0 ? tcp : udp;
        struct xenolith_sockaddr *address = &found[i / 2];
        int own = address->family == XENOLITH_SOCK_IPV4 ? AF_INET : AF_INET6;
        if (!protocol || (family != AF_UNSPEC && family != own)) continue;
        struct xenolith_addrinfo *one = (struct xenolith_addrinfo *)calloc(1, sizeof *one);
        if (one == NULL) {
            freeaddrinfo(first);
            return EAI_MEMORY;
        }
        one->info.ai_flags = flags;
        one->info.ai_family = own;
        one->info.ai_socktype = protocol == IPPROTO_TCP ? SOCK_STREAM : SOCK_DGRAM;
        one->info.ai_protocol = protocol;
        one->info.ai_addr = (struct sockaddr *)&one->addr;
        one->info.ai_addrlen = sizeof one->addr;
        address->port = (uint16_t)port;
        xenolith_sock_to_posix(address, one->info.ai_addr, &one->info.ai_addrlen);
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
    case EAI_SOCKTYPE: return "streams and datagrams only";
    case EAI_SERVICE: return "there is no such service";
    case EAI_OVERFLOW: return "there is no room for the name";
    case EAI_MEMORY: return "no memory";
    case EAI_SYSTEM: return strerror(errno);
    default: return "it failed";
    }
}

/* The address and port in digits: no name of an address can be had. The service's name is. */
static inline int getnameinfo(const struct sockaddr *addr, socklen_t length, char *host, socklen_t host_size,
                              char *service, socklen_t service_size, int flags) {
    struct xenolith_sockaddr own;
    char text[INET6_ADDRSTRLEN];
    if (xenolith_sock_from_posix(addr, length, &own) != 0) return EAI_FAMILY;
    if (host != NULL && host_size > 0) {
        if (flags & NI_NAMEREQD) return EAI_NONAME;
        inet_ntop(own.family == XENOLITH_SOCK_IPV4 ? AF_INET : AF_INET6, own.addr, text, sizeof text);
        if (strlen(text) >= host_size) return EAI_OVERFLOW;
        strcpy(host, text);
    }
    if (service != NULL && service_size > 0) {
        int udp = (flags & NI_DGRAM) != 0;
        const struct xenolith_service *one =
            flags & NI_NUMERICSERV ? NULL : xenolith_service_of(NULL, own.port, !udp, udp);
        int n = one ? snprintf(service, service_size, "%s", one->name) : snprintf(service, service_size, "%d", own.port);
        if (n >= (int)service_size) return EAI_OVERFLOW;
    }
    return 0;
}

static inline struct hostent *gethostbyname2(const char *name, int family) {
    static struct hostent entry;
    static char *none[1], *list[17], text[256];
    static unsigned char bytes[16][16];
    struct addrinfo hints, *found, *one;
    size_t count = 0;
    memset(&hints, 0, sizeof hints);
    hints.ai_family = family;
    hints.ai_socktype = SOCK_STREAM;
    int error = strlen(name) < sizeof text ? getaddrinfo(name, NULL, &hints, &found) : EAI_NONAME;
    if (error != 0) {
        h_errno = error == EAI_NONAME ? HOST_NOT_FOUND : error == EAI_AGAIN ? TRY_AGAIN : NO_RECOVERY;
        return NULL;
    }
    entry.h_length = family == AF_INET ? 4 : 16;
    for (one = found; one && count < 16; one = one->ai_next, count++) {
        const void *raw = family == AF_INET ? (const void *)&((const struct sockaddr_in *)one->ai_addr)->sin_addr
                                            : (const void *)&((const struct sockaddr_in6 *)one->ai_addr)->sin6_addr;
        memcpy(bytes[count], raw, entry.h_length);
        list[count] = (char *)bytes[count];
    }
    list[count] = NULL;
    freeaddrinfo(found);
    strcpy(text, name);
    entry.h_name = text;
    entry.h_aliases = none;
    entry.h_addrtype = family;
    entry.h_addr_list = list;
    return &entry;
}
static inline struct hostent *gethostbyname(const char *name) { return gethostbyname2(name, AF_INET); }
static inline struct hostent *gethostbyaddr(const void *addr, socklen_t length, int family) {
    (void)addr, (void)length, (void)family;
    h_errno = HOST_NOT_FOUND;
    return NULL;
}
static inline const char *hstrerror(int error) {
    switch (error) {
    case 0: return "nothing is wrong";
    case HOST_NOT_FOUND: return "there is no such name";
    case TRY_AGAIN: return "no name server answers";
    case NO_DATA: return "the name has no address";
    default: return "it failed";
    }
}
static inline void herror(const char *what) {
    if (what && *what) fprintf(stderr, "%s: ", what);
    fprintf(stderr, "%s\n", hstrerror(h_errno));
}

#ifdef __cplusplus
}
#endif

#endif
