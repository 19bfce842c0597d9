/* <ifaddrs.h>, whose functions wasi-libc has not: the addresses of the network's interfaces; no entries of AF_PACKET. */
#ifndef XENOLITH_IFADDRS_H
#define XENOLITH_IFADDRS_H

#include <net/if.h>
#include_next <ifaddrs.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One of these is one allocation. */
struct xenolith_ifaddrs {
    struct ifaddrs entry;
    struct sockaddr_storage addr, netmask, broadcast;
    char name[IF_NAMESIZE];
};

#define freeifaddrs xenolith_freeifaddrs
static inline void freeifaddrs(struct ifaddrs *list) {
    while (list != NULL) {
        struct ifaddrs *next = list->ifa_next;
        free(list);
        list = next;
    }
}

static inline void xenolith_fill(struct sockaddr_storage *into, int family, const uint8_t *addr) {
    struct xenolith_sockaddr one;
    socklen_t length = sizeof *into;
    memset(&one, 0, sizeof one);
    one.family = (uint16_t)family;
    memcpy(one.addr, addr, family == XENOLITH_SOCK_IPV4 ? 4 : 16);
    xenolith_sock_to_posix(&one, (struct sockaddr *)into, &length);
}
static inline struct ifaddrs *xenolith_ifaddr(const struct xenolith_interface *on,
                                              const struct xenolith_interface_address *own) {
    uint8_t mask[16], all[16];
    struct xenolith_ifaddrs *one = (struct xenolith_ifaddrs *)calloc(1, sizeof *one);
    if (one == NULL) return NULL;
    for (int i = 0; i < 16; i++) {
        int bits = own->prefix_length - 8 * i;
        mask[i] = (uint8_t)(bits >= 8 ? 255 : bits <= 0 ? 0 : 255 << (8 - bits));
        all[i] = (uint8_t)(own->addr[i] | (uint8_t)~mask[i]);
    }
    one->entry.ifa_name = strcpy(one->name, on->name);
    one->entry.ifa_flags = on->flags;
    one->entry.ifa_addr = (struct sockaddr *)&one->addr;
    one->entry.ifa_netmask = (struct sockaddr *)&one->netmask;
    xenolith_fill(&one->addr, own->family, own->addr);
    xenolith_fill(&one->netmask, own->family, mask);
    if (own->family == XENOLITH_SOCK_IPV6) {
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&one->addr;
        if (own->addr[0] == 0xfe && (own->addr[1] & 0xc0) == 0x80) in6->sin6_scope_id = on->index;
    } else {
        /* As glibc: an address of its own where nobody has one for all. */
        xenolith_fill(&one->broadcast, own->family, on->flags & IFF_BROADCAST ? all : own->addr);
        one->entry.ifa_broadaddr = (struct sockaddr *)&one->broadcast;
    }
    return &one->entry;
}
#define getifaddrs xenolith_getifaddrs
static inline int getifaddrs(struct ifaddrs **list) {
    size_t interfaces, count = 0, there = 0;
    struct ifaddrs *first = NULL, **last = &first;
    struct xenolith_interface *on = xenolith_interface_list(&interfaces);
    xenolith_sock_interface_addresses(NULL, 0, &there);
    struct xenolith_interface_address *own = (struct xenolith_interface_address *)calloc(there + 1, sizeof *own);
    int failed = on == NULL || own == NULL;
    if (!failed) xenolith_sock_interface_addresses(own, there, &count);
    if (count > there) count = there;
    /* As Linux: all of IPv4 first. */
    for (int family = XENOLITH_SOCK_IPV4; family <= XENOLITH_SOCK_IPV6; family += 2)
        for (size_t i = 0; i < count && !failed; i++)
            for (size_t j = 0; j < interfaces && own[i].family == family; j++) {
                if (on[j].index != own[i].index) continue;
                *last = xenolith_ifaddr(&on[j], &own[i]);
                failed = *last == NULL;
                if (!failed) last = &(*last)->ifa_next;
            }
    free(on);
    free(own);
    if (failed) {
        freeifaddrs(first);
        errno = ENOMEM;
        return -1;
    }
    *list = first;
    return 0;
}

#ifdef __cplusplus
}
#endif

#endif
