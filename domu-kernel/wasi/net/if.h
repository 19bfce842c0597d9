/* <net/if.h>, which wasi-libc has not: the names and numbers of the network's interfaces. */
#ifndef XENOLITH_NET_IF_H
#define XENOLITH_NET_IF_H

#include <stdlib.h>
#include <xenolith_sock.h>

#ifdef __cplusplus
extern "C" {
#endif

#define IF_NAMESIZE 16
#define IFNAMSIZ IF_NAMESIZE

#define IFF_UP 0x1
#define IFF_BROADCAST 0x2
#define IFF_LOOPBACK 0x8
#define IFF_POINTOPOINT 0x10
#define IFF_RUNNING 0x40
#define IFF_NOARP 0x80
#define IFF_PROMISC 0x100
#define IFF_ALLMULTI 0x200
#define IFF_MULTICAST 0x1000

struct if_nameindex {
    unsigned int if_index;
    char *if_name;
};

/* All of them, for free(); NULL: there is no memory. */
static inline struct xenolith_interface *xenolith_interface_list(size_t *count) {
    size_t there = 0;
    xenolith_sock_interfaces(NULL, 0, &there);
    struct xenolith_interface *list = (struct xenolith_interface *)calloc(there + 1, sizeof *list);
    *count = 0;
    if (list == NULL || xenolith_sock_interfaces(list, there, count) != 0) return list;
    if (*count > there) *count = there; /* one has come meanwhile */
    return list;
}
/* 0: there is none of that name. */
static inline unsigned int if_nametoindex(const char *name) {
    size_t count;
    unsigned int found = 0;
    struct xenolith_interface *list = xenolith_interface_list(&count);
    for (size_t i = 0; list && i < count; i++)
        if (strcmp(list[i].name, name) == 0) found = list[i].index;
    free(list);
    if (found == 0) errno = ENODEV;
    return found;
}
static inline char *if_indextoname(unsigned int index, char *name) {
    size_t count;
    char *found = NULL;
    struct xenolith_interface *list = xenolith_interface_list(&count);
    for (size_t i = 0; list && i < count; i++)
        if (list[i].index == index) found = strcpy(name, list[i].name);
    free(list);
    if (found == NULL) errno = ENXIO;
    return found;
}
static inline struct if_nameindex *if_nameindex(void) {
    size_t count;
    struct xenolith_interface *list = xenolith_interface_list(&count);
    struct if_nameindex *names = (struct if_nameindex *)calloc(count + 1, sizeof *names + IF_NAMESIZE);
    if (list == NULL || names == NULL) {
        free(list);
        free(names);
        errno = ENOBUFS;
        return NULL;
    }
    char *text = (char *)(names + count + 1);
    for (size_t i = 0; i < count; i++, text += IF_NAMESIZE) {
        names[i].if_index = list[i].index;
        names[i].if_name = strcpy(text, list[i].name);
    }
    free(list);
    return names;
}
static inline void if_freenameindex(struct if_nameindex *names) { free(names); }

#ifdef __cplusplus
}
#endif

#endif
