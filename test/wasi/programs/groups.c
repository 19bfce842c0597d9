/* Groups of datagrams, on the loopback and on eth0: the same lines from a guest as from gcc's program on Linux, where both have
 * lo, and eth0 with 10.0.0.1/24 and fd00::1/64. */
#include "check.h"
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

static char bytes[4096];

static struct in_addr ip(const char *text) {
    struct in_addr addr = {0};
    if (text) inet_pton(AF_INET, text, &addr);
    return addr;
}
static struct sockaddr_in at(const char *text, int port) {
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
    in.sin_addr = ip(text);
    return in;
}
static struct sockaddr_in6 at6(const char *text, int port) {
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    inet_pton(AF_INET6, text, &in6.sin6_addr);
    return in6;
}
static int bound(const char *text, int port, int reuse) {
    struct sockaddr_in in = at(text, port);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof reuse);
    if (bind(fd, (struct sockaddr *)&in, sizeof in) == 0) return fd;
    printf("bind %s: %s\n", text, name_of(errno));
    return -1;
}
static int bound6(const char *text, int port) {
    struct sockaddr_in6 in6 = at6(text, port);
    int fd = socket(AF_INET6, SOCK_DGRAM, 0), on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (text[0] == 'f') in6.sin6_scope_id = 2; /* Linux asks for it */
    if (bind(fd, (struct sockaddr *)&in6, sizeof in6) == 0) return fd;
    printf("bind %s: %s\n", text, name_of(errno));
    return -1;
}
static int port_of(int fd) {
    struct sockaddr_storage all;
    socklen_t length = sizeof all;
    getsockname(fd, (struct sockaddr *)&all, &length);
    return ntohs(((struct sockaddr_in *)&all)->sin_port);
}
static int member(int fd, int name, const char *group, const char *own) {
    struct ip_mreq asked = {ip(group), ip(own)};
    return setsockopt(fd, IPPROTO_IP, name, &asked, sizeof asked);
}
static int member_at(int fd, int name, const char *group, const char *own, int index) {
    struct ip_mreqn asked = {ip(group), ip(own), index};
    return setsockopt(fd, IPPROTO_IP, name, &asked, sizeof asked);
}
static int member6(int fd, int name, const char *group, int index) {
    struct ipv6_mreq asked = {at6(group, 0).sin6_addr, index};
    return setsockopt(fd, IPPROTO_IPV6, name, &asked, sizeof asked);
}
static int set(int fd, int level, int name, int value) { return setsockopt(fd, level, name, &value, sizeof value); }
static int get(int fd, int level, int name) {
    int value = -1;
    socklen_t length = sizeof value;
    return getsockopt(fd, level, name, &value, &length) == 0 ? value : -1;
}
static int by(int fd, const char *own) {
    struct in_addr addr = ip(own);
    return setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &addr, sizeof addr);
}
static void say_by(int fd) {
    struct in_addr addr;
    socklen_t length = sizeof addr;
    DO(getsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &addr, &length));
    printf("by %s\n", inet_ntoa(addr));
}
static int to(int fd, const char *group, int port) {
    struct sockaddr_in in = at(group, port);
    return sendto(fd, "hello", 5, 0, (struct sockaddr *)&in, sizeof in);
}
static int to6(int fd, const char *group, int port) {
    struct sockaddr_in6 in6 = at6(group, port);
    return sendto(fd, "hello", 5, 0, (struct sockaddr *)&in6, sizeof in6);
}
/* Who hears it, and of whom. */
static void heard(const char *who, int fd) {
    struct sockaddr_storage all;
    socklen_t length = sizeof all;
    char text[64];
    struct pollfd one = {fd, POLLIN, 0};
    if (poll(&one, 1, 60) != 1) {
        printf("%s: nothing\n", who);
        return;
    }
    ssize_t n = recvfrom(fd, bytes, sizeof bytes, 0, (struct sockaddr *)&all, &length);
    if (all.ss_family == AF_INET) inet_ntop(AF_INET, &((struct sockaddr_in *)&all)->sin_addr, text, sizeof text);
    else {
        const struct in6_addr *own = &((struct sockaddr_in6 *)&all)->sin6_addr;
        if (IN6_IS_ADDR_LINKLOCAL(own)) strcpy(text, "a link-local address"); /* of this run's MAC address */
        else inet_ntop(AF_INET6, own, text, sizeof text);
    }
    printf("%s: %d bytes from %s\n", who, (int)n, text);
}

static int group_at(int fd, int level, int name, int index, const void *group, size_t length) {
    struct {
        uint32_t interface;
        struct sockaddr_storage group;
    } asked;
    memset(&asked, 0, sizeof asked);
    asked.interface = index;
    memcpy(&asked.group, group, length);
    return setsockopt(fd, level, name, &asked, sizeof asked);
}
/* Of one family by the options of the other. */
static void families(void) {
    int fd = socket(AF_INET, SOCK_DGRAM, 0), six = socket(AF_INET6, SOCK_DGRAM, 0);
    struct sockaddr_in ipv4 = at("239.1.2.3", 0);
    struct sockaddr_in6 ipv6 = at6("ff02::1234", 0), mapped = at6("::ffff:239.1.2.3", 0);
    DO(member6(six, IPV6_JOIN_GROUP, "::ffff:239.1.2.3", 2));
    DO(member6(six, IPV6_LEAVE_GROUP, "::ffff:239.1.2.3", 2));
    DO(group_at(fd, IPPROTO_IP, MCAST_JOIN_GROUP, 2, &ipv4, sizeof ipv4));
    DO(group_at(fd, IPPROTO_IP, MCAST_LEAVE_GROUP, 2, &ipv4, sizeof ipv4));
    DO(group_at(fd, IPPROTO_IP, MCAST_JOIN_GROUP, 2, &ipv6, sizeof ipv6));
    DO(group_at(fd, IPPROTO_IPV6, MCAST_JOIN_GROUP, 2, &ipv6, sizeof ipv6));
    DO(group_at(six, IPPROTO_IPV6, MCAST_JOIN_GROUP, 2, &ipv6, sizeof ipv6));
    DO(group_at(six, IPPROTO_IPV6, MCAST_JOIN_GROUP, 2, &ipv4, sizeof ipv4));
    DO(group_at(six, IPPROTO_IPV6, MCAST_JOIN_GROUP, 2, &mapped, sizeof mapped));
    DO(group_at(six, IPPROTO_IP, MCAST_JOIN_GROUP, 2, &ipv4, sizeof ipv4));
    DO(close(fd));
    DO(close(six));
}

static void memberships(void) {
    int fd = socket(AF_INET, SOCK_DGRAM, 0), stream = socket(AF_INET, SOCK_STREAM, 0), six = socket(AF_INET6, SOCK_DGRAM, 0);
    DO(member(fd, IP_ADD_MEMBERSHIP, "10.1.2.3", NULL));
    DO(member(fd, IP_ADD_MEMBERSHIP, "239.1.2.3", "127.0.0.1"));
    DO(member(fd, IP_ADD_MEMBERSHIP, "239.1.2.3", "127.0.0.1"));
    DO(member(fd, IP_ADD_MEMBERSHIP, "239.1.2.3", "10.0.0.1"));
    DO(member(fd, IP_ADD_MEMBERSHIP, "239.1.2.3", NULL)); /* eth0, where the route goes */
    DO(member(fd, IP_ADD_MEMBERSHIP, "239.1.2.3", "192.0.2.9"));
    DO(member_at(fd, IP_ADD_MEMBERSHIP, "239.1.2.4", NULL, 1));
    DO(member_at(fd, IP_ADD_MEMBERSHIP, "239.1.2.4", "192.0.2.9", 2));
    DO(member_at(fd, IP_ADD_MEMBERSHIP, "239.1.2.4", NULL, 99));
    DO(setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, "1234567", 7));
    DO(member(fd, IP_DROP_MEMBERSHIP, "239.1.2.9", "127.0.0.1"));
    DO(member(fd, IP_DROP_MEMBERSHIP, "239.1.2.3", "192.0.2.9"));
    DO(member(fd, IP_DROP_MEMBERSHIP, "239.1.2.3", "127.0.0.1"));
    DO(member(fd, IP_DROP_MEMBERSHIP, "239.1.2.3", "127.0.0.1"));
    DO(member(fd, IP_DROP_MEMBERSHIP, "239.1.2.3", NULL));
    DO(member(fd, IP_DROP_MEMBERSHIP, "239.1.2.3", NULL));
    DO(member_at(fd, IP_DROP_MEMBERSHIP, "239.1.2.4", NULL, 2));
    DO(member_at(fd, IP_DROP_MEMBERSHIP, "239.1.2.4", NULL, 2));
    DO(member_at(fd, IP_DROP_MEMBERSHIP, "239.1.2.4", NULL, 1));
    DO(member_at(fd, IP_ADD_MEMBERSHIP, "239.1.2.5", NULL, 1));
    DO(member(fd, IP_DROP_MEMBERSHIP, "239.1.2.5", NULL)); /* eth0 has not joined it */
    DO(member_at(fd, IP_DROP_MEMBERSHIP, "239.1.2.5", "127.0.0.1", 99));
    DO(member(fd, IP_DROP_MEMBERSHIP, "239.1.2.5", "127.0.0.1"));
    DO(member(fd, IP_DROP_MEMBERSHIP, "239.1.2.5", "127.0.0.1"));
    int joined = 0;
    for (int i = 1; i < 40; i++) {
        char text[32];
        snprintf(text, sizeof text, "239.9.0.%d", i);
        if (member(fd, IP_ADD_MEMBERSHIP, text, "127.0.0.1") == 0) joined++;
        else if (i < 23) printf("after %d: %s\n", joined, name_of(errno));
    }
    DO(member(stream, IP_ADD_MEMBERSHIP, "239.1.2.3", "127.0.0.1"));
    DO(member6(stream, IPV6_JOIN_GROUP, "ff02::1234", 1) < 0);
    DO(member6(fd, IPV6_JOIN_GROUP, "ff02::1234", 1));
    DO(member(six, IP_ADD_MEMBERSHIP, "239.1.2.3", "127.0.0.1"));
    DO(member6(six, IPV6_JOIN_GROUP, "fd00::1", 1));
    DO(member6(six, IPV6_JOIN_GROUP, "ff02::1234", 2));
    DO(member6(six, IPV6_JOIN_GROUP, "ff02::1234", 2));
    DO(member6(six, IPV6_JOIN_GROUP, "ff02::1234", 0));
    DO(member6(six, IPV6_JOIN_GROUP, "ff02::1234", 1));
    DO(member6(six, IPV6_JOIN_GROUP, "ff02::1235", 99));
    DO(member6(six, IPV6_JOIN_GROUP, "ff02::1236", 0));
    DO(setsockopt(six, IPPROTO_IPV6, IPV6_JOIN_GROUP, bytes, 19));
    DO(member6(six, IPV6_LEAVE_GROUP, "ff02::1239", 0));
    DO(member6(six, IPV6_LEAVE_GROUP, "ff02::1234", 2));
    DO(member6(six, IPV6_LEAVE_GROUP, "ff02::1234", 2));
    DO(member6(six, IPV6_LEAVE_GROUP, "ff02::1234", 0));
    DO(member6(six, IPV6_LEAVE_GROUP, "ff02::1234", 0));
    DO(close(fd));
    DO(close(stream));
    DO(close(six));
}

static void options(void) {
    unsigned char byte = 7;
    socklen_t length = sizeof byte;
    int fd = socket(AF_INET, SOCK_DGRAM, 0), six = socket(AF_INET6, SOCK_DGRAM, 0);
    DO(get(fd, IPPROTO_IP, IP_MULTICAST_TTL));
    DO(get(fd, IPPROTO_IP, IP_MULTICAST_LOOP));
    DO(get(fd, IPPROTO_IP, IP_MULTICAST_ALL));
    DO(set(fd, IPPROTO_IP, IP_MULTICAST_TTL, 255));
    DO(get(fd, IPPROTO_IP, IP_MULTICAST_TTL));
    DO(set(fd, IPPROTO_IP, IP_MULTICAST_TTL, 256));
    DO(set(fd, IPPROTO_IP, IP_MULTICAST_TTL, -1));
    DO(get(fd, IPPROTO_IP, IP_MULTICAST_TTL));
    DO(set(fd, IPPROTO_IP, IP_MULTICAST_TTL, -2));
    DO(setsockopt(fd, IPPROTO_IP, IP_MULTICAST_TTL, &byte, 1));
    DO(getsockopt(fd, IPPROTO_IP, IP_MULTICAST_TTL, &byte, &length));
    printf("%d, %d bytes\n", byte, (int)length);
    DO(setsockopt(fd, IPPROTO_IP, IP_MULTICAST_TTL, &byte, 0));
    DO(set(fd, IPPROTO_IP, IP_MULTICAST_LOOP, 0));
    DO(get(fd, IPPROTO_IP, IP_MULTICAST_LOOP));
    DO(set(fd, IPPROTO_IP, IP_MULTICAST_LOOP, 9));
    DO(get(fd, IPPROTO_IP, IP_MULTICAST_LOOP));
    DO(set(fd, IPPROTO_IP, IP_MULTICAST_ALL, 2));
    DO(set(fd, IPPROTO_IP, IP_MULTICAST_ALL, 0));
    DO(get(fd, IPPROTO_IP, IP_MULTICAST_ALL));
    say_by(fd);
    DO(by(fd, "127.0.0.1"));
    say_by(fd);
    DO(by(fd, "192.0.2.9"));
    say_by(fd);
    DO(by(fd, "10.0.0.1"));
    say_by(fd);
    struct ip_mreqn asked = {{0}, {0}, 1};
    DO(setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &asked, sizeof asked));
    say_by(fd);
    asked.imr_ifindex = 99;
    DO(setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &asked, sizeof asked));
    DO(by(fd, NULL));
    say_by(fd);
    DO(setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &asked, 3));
    DO(set(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, 3));
    DO(get(six, IPPROTO_IPV6, IPV6_MULTICAST_HOPS));
    DO(get(six, IPPROTO_IPV6, IPV6_MULTICAST_LOOP));
    DO(get(six, IPPROTO_IPV6, IPV6_MULTICAST_IF));
    DO(set(six, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, 255));
    DO(get(six, IPPROTO_IPV6, IPV6_MULTICAST_HOPS));
    DO(set(six, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, 256));
    DO(set(six, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, -1));
    DO(get(six, IPPROTO_IPV6, IPV6_MULTICAST_HOPS));
    DO(set(six, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, 2));
    DO(set(six, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, 0));
    DO(get(six, IPPROTO_IPV6, IPV6_MULTICAST_LOOP));
    DO(set(six, IPPROTO_IPV6, IPV6_MULTICAST_IF, 2));
    DO(get(six, IPPROTO_IPV6, IPV6_MULTICAST_IF));
    DO(set(six, IPPROTO_IPV6, IPV6_MULTICAST_IF, 99));
    DO(get(six, IPPROTO_IPV6, IPV6_MULTICAST_IF));
    DO(setsockopt(six, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, bytes, 1));
    DO(get(six, IPPROTO_IP, IP_MULTICAST_TTL));
    DO(close(fd));
    DO(close(six));
}

/* Several at one port, of which some have joined. */
static void hearing(const char *own) {
    int one = bound("0.0.0.0", 0, 1), port = port_of(one);
    int two = bound("239.7.7.7", port, 1), three = bound("239.7.7.8", port, 1), four = bound("0.0.0.0", port, 1);
    int elsewhere = bound("0.0.0.0", 0, 1), local = bound(own, port, 1), sender = socket(AF_INET, SOCK_DGRAM, 0);
    printf("by %s\n", own);
    DO(by(sender, own));
    DO(to(sender, "239.7.7.7", port));
    heard("nobody has joined", one);
    DO(member(one, IP_ADD_MEMBERSHIP, "239.7.7.7", own));
    DO(set(four, IPPROTO_IP, IP_MULTICAST_ALL, 0));
    DO(to(sender, "239.7.7.7", port));
    heard("who has joined", one);
    heard("who is bound to it", two);
    heard("who is bound to another", three);
    heard("who wants its own alone", four);
    heard("another port", elsewhere);
    heard("who is bound to an address", local);
    DO(to(sender, "239.7.7.8", port));
    heard("a group of nobody's", one);
    heard("a group of nobody's", three);
    DO(member(four, IP_ADD_MEMBERSHIP, "239.7.7.7", own));
    DO(member(one, IP_DROP_MEMBERSHIP, "239.7.7.7", own));
    DO(to(sender, "239.7.7.7", port));
    heard("who has left", one);
    heard("who wants its own alone", four);
    heard("who is bound to it", two);
    DO(close(four));
    DO(to(sender, "239.7.7.7", port));
    heard("all have left", one);
    heard("all have left", two);
    DO(to(sender, "224.0.0.1", port));
    heard("all hosts", one);
    /* how it is sent */
    DO(member(one, IP_ADD_MEMBERSHIP, "239.7.7.7", own));
    DO(set(sender, IPPROTO_IP, IP_MULTICAST_TTL, 0));
    DO(to(sender, "239.7.7.7", port));
    heard("of no hop", one);
    DO(set(one, IPPROTO_IP, IP_MULTICAST_LOOP, 0)); /* of its own sending only */
    DO(to(sender, "239.7.7.7", port));
    heard("sent by another", one);
    DO(to(one, "239.7.7.7", port));
    if (strcmp(own, "127.0.0.1") != 0) heard("of no loop", one);
    DO(close(one));
    DO(close(two));
    DO(close(three));
    DO(close(elsewhere));
    DO(close(local));
    /* its address says by which interface, and a peer is heard alone */
    one = bound("0.0.0.0", 0, 1);
    two = bound(own, 0, 0);
    DO(member(one, IP_ADD_MEMBERSHIP, "239.7.7.9", own));
    DO(to(two, "239.7.7.9", port_of(one)));
    heard("by its address", one);
    struct sockaddr_in peer = at("239.7.7.9", port_of(one));
    DO(connect(sender, (struct sockaddr *)&peer, sizeof peer));
    DO(send(sender, "hello", 5, 0));
    heard("of who is connected", one);
    struct sockaddr_in self;
    socklen_t length = sizeof self;
    DO(getsockname(sender, (struct sockaddr *)&self, &length));
    printf("connected as %s\n", inet_ntoa(self.sin_addr));
    DO(close(one));
    DO(close(two));
    DO(close(sender));
}

/* What its socket has room for is not lost before. */
static void burst(const char *own) {
    int one = bound("0.0.0.0", 0, 0), sender = socket(AF_INET, SOCK_DGRAM, 0), sent = 0, got = 0;
    struct pollfd waiting = {one, POLLIN, 0};
    DO(member(one, IP_ADD_MEMBERSHIP, "239.7.7.8", own));
    DO(by(sender, own));
    for (int i = 0; i < 200; i++) sent += to(sender, "239.7.7.8", port_of(one)) == 5;
    while (poll(&waiting, 1, 60) == 1 && recv(one, bytes, sizeof bytes, 0) == 5) got++;
    printf("%d of %d\n", got, sent);
    DO(close(one));
    DO(close(sender));
}

static void hearing6(void) {
    int one = bound6("::", 0), port = port_of(one), two = bound6("ff02::7777", port), three = bound6("ff02::7778", port);
    int sender = socket(AF_INET6, SOCK_DGRAM, 0), four = socket(AF_INET, SOCK_DGRAM, 0);
    DO(set(sender, IPPROTO_IPV6, IPV6_MULTICAST_IF, 2));
    DO(to6(sender, "ff02::7777", port));
    heard("nobody has joined", one);
    DO(member6(one, IPV6_JOIN_GROUP, "ff02::7777", 2));
    DO(to6(sender, "ff02::7777", port));
    heard("who has joined", one);
    heard("who is bound to it", two);
    heard("who is bound to another", three);
    DO(to6(sender, "ff02::1", port));
    heard("all nodes", one);
    DO(set(sender, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, 0));
    DO(to6(sender, "ff02::7777", port));
    heard("of no loop", one);
    DO(set(sender, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, 1));
    DO(set(sender, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, 0));
    DO(to6(sender, "ff02::7777", port));
    heard("of no hop", one);
    DO(member6(two, IPV6_JOIN_GROUP, "ff05::7777", 2));
    DO(to6(sender, "ff05::7777", port));
    heard("of a site", one);
    heard("of a site", two);
    /* one of both families hears groups of IPv4 */
    DO(member(one, IP_ADD_MEMBERSHIP, "239.7.7.7", "10.0.0.1"));
    DO(by(four, "10.0.0.1"));
    DO(to(four, "239.7.7.7", port));
    heard("of IPv4", one);
    DO(member6(one, IPV6_LEAVE_GROUP, "ff02::7777", 2));
    DO(to6(sender, "ff02::7777", port));
    heard("who has left", one);
    DO(close(one));
    DO(close(two));
    DO(close(three));
    DO(close(sender));
    DO(close(four));
}

static void interfaces(void) {
    char name[IF_NAMESIZE], text[64], mask[64];
    struct ifaddrs *list;
    DO(if_nametoindex("lo"));
    DO(if_nametoindex("eth0"));
    DO(if_nametoindex("eth9"));
    printf("1 is %s\n", if_indextoname(1, name));
    printf("2 is %s\n", if_indextoname(2, name));
    DO(if_indextoname(99, name) == NULL);
    struct if_nameindex *all = if_nameindex();
    for (struct if_nameindex *one = all; one->if_index != 0; one++) printf("%u %s\n", one->if_index, one->if_name);
    if_freenameindex(all);
    DO(getifaddrs(&list));
    for (struct ifaddrs *one = list; one; one = one->ifa_next) {
        if (one->ifa_addr == NULL) continue;
        if (one->ifa_addr->sa_family == AF_INET) {
            inet_ntop(AF_INET, &((struct sockaddr_in *)one->ifa_addr)->sin_addr, text, sizeof text);
            inet_ntop(AF_INET, &((struct sockaddr_in *)one->ifa_netmask)->sin_addr, mask, sizeof mask);
            printf("%s %s %s %x", one->ifa_name, text, mask, one->ifa_flags);
            inet_ntop(AF_INET, &((struct sockaddr_in *)one->ifa_broadaddr)->sin_addr, text, sizeof text);
            printf(" %s\n", text);
        } else if (one->ifa_addr->sa_family == AF_INET6) {
            struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)one->ifa_addr;
            inet_ntop(AF_INET6, &in6->sin6_addr, text, sizeof text);
            if (IN6_IS_ADDR_LINKLOCAL(&in6->sin6_addr)) strcpy(text, "a link-local address");
            inet_ntop(AF_INET6, &((struct sockaddr_in6 *)one->ifa_netmask)->sin6_addr, mask, sizeof mask);
            printf("%s %s %s %d\n", one->ifa_name, text, mask, in6->sin6_scope_id);
        }
    }
    freeifaddrs(list);
}

int main(void) {
    setvbuf(stdout, NULL, _IONBF, 0);
    memberships();
    families();
    options();
    hearing("127.0.0.1");
    hearing("10.0.0.1");
    burst("127.0.0.1");
    burst("10.0.0.1");
    hearing6();
    interfaces();
    return 0;
}
