/*
 * What Xen's two xenstore daemons ask of a hypervisor and of root, faked, so that they run on any Linux machine.
 * Preloaded into them; the daemons themselves are Debian's, untouched.
 *
 * Faked, all below the folder FAKE_XEN_DIR, which the test owns:
 *   libxenctrl    domain N exists while the file domN does (two pages: its xenstore page; then two words, flags
 *                 and shutdown reason, as XEN_DOMINF_dying, XEN_DOMINF_shutdown)
 *   libxengnttab  grant 1 of domain N, and any frame of it, is the first page of domN
 *   libxenevtchn  the FIFO `events` carries the ports that are pending, a u32 each: 1 is VIRQ_DOM_EXC, 100 + N is
 *                 domain N's; the word in the file `handled` counts those taken. Notifications to domains
 *                 go nowhere: a domain of these tests looks at its page
 *   /proc/xen     xsd_port and xsd_kva, the announcement of dom0's own page: the files of that name
 *   root          oxenstored has /var/run/xenstored built in and raises its limit of open files
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <xenctrl.h>
#include <xenevtchn.h>
#include <xengnttab.h>

#define PAGE 4096
#define VIRQ_PORT 1
#define FIRST_PORT 100
#define BUILT_IN "/var/run/xenstored"

static int some_handle;

/* A daemon of a test does not outlive it. */
__attribute__((constructor)) static void die_with_parent(void) { prctl(PR_SET_PDEATHSIG, SIGKILL); }

static const char *below(char *path, const char *name)
{
    const char *dir = getenv("FAKE_XEN_DIR");
    if (!dir) abort();
    snprintf(path, 256, "%s/%s", dir, name);
    return path;
}

/* ---- domains ---- */

static void *map_domain(uint32_t domid, size_t bytes)
{
    char name[32], path[256];
    snprintf(name, sizeof name, "dom%u", domid);
    int fd = open(below(path, name), O_RDWR | O_CLOEXEC);
    if (fd < 0) { errno = ESRCH; return NULL; }
    void *page = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    return page == MAP_FAILED ? NULL : page;
}

/* Flags and shutdown reason of a domain; -1 when there is none. */
static int look(uint32_t domid, uint32_t words[2])
{
    uint32_t *pages = map_domain(domid, 2 * PAGE);
    if (!pages) return -1;
    memcpy(words, pages + PAGE / 4, 8);
    munmap(pages, 2 * PAGE);
    return 0;
}

xc_interface *xc_interface_open(xentoollog_logger *log, xentoollog_logger *builder, unsigned flags)
{
    return (xc_interface *)&some_handle;
}
int xc_interface_close(xc_interface *xch) { return 0; }

const xc_error *xc_get_last_error(xc_interface *xch)
{
    static const xc_error error = { .code = XC_ERROR_NONE };
    return &error;
}

int xc_domain_getinfo(xc_interface *xch, uint32_t domid, unsigned int most, xc_dominfo_t *info)
{
    uint32_t words[2];
    memset(info, 0, sizeof *info);
    if (look(domid, words)) { errno = ESRCH; return -1; }
    info->domid = domid;
    info->dying = !!(words[0] & XEN_DOMINF_dying);
    info->shutdown = !!(words[0] & XEN_DOMINF_shutdown);
    info->shutdown_reason = words[1];
    return 1;
}

int xc_domain_getinfolist(xc_interface *xch, uint32_t domid, unsigned int most, xc_domaininfo_t *info)
{
    uint32_t words[2];
    memset(info, 0, sizeof *info);
    if (look(domid, words)) return 0;
    info->domain = domid;
    info->flags = words[0] | words[1] << XEN_DOMINF_shutdownshift;
    return 1;
}

void *xc_map_foreign_range(xc_interface *xch, uint32_t domid, int size, int prot, unsigned long mfn)
{
    return map_domain(domid, PAGE);
}

/* ---- grants ---- */

xengnttab_handle *xengnttab_open(xentoollog_logger *log, unsigned flags) { return (xengnttab_handle *)&some_handle; }
int xengnttab_close(xengnttab_handle *xgt) { return 0; }
int xengnttab_set_max_grants(xengnttab_handle *xgt, uint32_t n) { return 0; }
void *xengnttab_map_grant_ref(xengnttab_handle *xgt, uint32_t domid, uint32_t ref, int prot)
{
    return map_domain(domid, PAGE);
}
int xengnttab_unmap(xengnttab_handle *xgt, void *at, uint32_t count) { return munmap(at, count * PAGE); }

/* ---- event channels ---- */

static int events = -1;
static volatile uint32_t *handled;

xenevtchn_handle *xenevtchn_open(xentoollog_logger *log, unsigned flags)
{
    char path[256];
    if (mkfifo(below(path, "events"), 0600) && errno != EEXIST) return NULL;
    /* Open for writing too: else the reader sees an end when the last writer closes. */
    events = open(path, O_RDWR | O_CLOEXEC);
    int fd = open(below(path, "handled"), O_RDWR | O_CLOEXEC);
    void *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (events < 0 || page == MAP_FAILED) return NULL;
    handled = page;
    return (xenevtchn_handle *)&some_handle;
}
int xenevtchn_close(xenevtchn_handle *xce) { return close(events); }
int xenevtchn_fd(xenevtchn_handle *xce) { return events; }
int xenevtchn_notify(xenevtchn_handle *xce, evtchn_port_t port) { return 0; }
xenevtchn_port_or_error_t xenevtchn_bind_interdomain(xenevtchn_handle *xce, uint32_t domid, evtchn_port_t remote)
{
    uint32_t words[2];
    if (look(domid, words)) { errno = ESRCH; return -1; }
    return FIRST_PORT + domid;
}
xenevtchn_port_or_error_t xenevtchn_bind_virq(xenevtchn_handle *xce, unsigned int virq) { return VIRQ_PORT; }
int xenevtchn_unbind(xenevtchn_handle *xce, evtchn_port_t port) { return 0; }
int xenevtchn_unmask(xenevtchn_handle *xce, evtchn_port_t port) { return 0; }
xenevtchn_port_or_error_t xenevtchn_pending(xenevtchn_handle *xce)
{
    evtchn_port_t port;
    if (read(events, &port, sizeof port) != sizeof port) return -1;
    ++*handled;
    return (xenevtchn_port_or_error_t)port;
}

/* ---- what is announced to the daemon in /proc/xen ---- */

static const char *instead(const char *path, char *other)
{
    return strncmp(path, "/proc/xen/", 10) ? path : below(other, path + 10);
}

#define real(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

FILE *fopen(const char *path, const char *mode)
{
    char other[256];
    return real(fopen)(instead(path, other), mode);
}

int open(const char *path, int flags, ...)
{
    char other[256];
    va_list args;
    va_start(args, flags);
    int mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, int) : 0;
    va_end(args);
    return real(open)(instead(path, other), flags, mode);
}

/* ---- what only root may do ---- */

static const char *in_place(const char *path, char *other)
{
    size_t n = strlen(BUILT_IN);
    return strncmp(path, BUILT_IN, n) ? path : below(other, path[n] ? path + n + 1 : ".");
}

int bind(int fd, const struct sockaddr *addr, socklen_t len)
{
    const struct sockaddr_un *asked = (const void *)addr;
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    char other[256];
    if (addr->sa_family != AF_UNIX || strncmp(asked->sun_path, BUILT_IN, strlen(BUILT_IN)))
        return real(bind)(fd, addr, len);
    if (snprintf(un.sun_path, sizeof un.sun_path, "%s", in_place(asked->sun_path, other)) >= (int)sizeof un.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    return real(bind)(fd, (struct sockaddr *)&un, sizeof un);
}
int unlink(const char *path) { char other[256]; return real(unlink)(in_place(path, other)); }
int mkdir(const char *path, mode_t mode) { char other[256]; return real(mkdir)(in_place(path, other), mode); }
int chmod(const char *path, mode_t mode) { char other[256]; return real(chmod)(in_place(path, other), mode); }

int setrlimit(__rlimit_resource_t what, const struct rlimit *limit)
{
    struct rlimit now;
    if (what == RLIMIT_NOFILE && !getrlimit(what, &now) && limit->rlim_max > now.rlim_max) return 0;
    return real(setrlimit)(what, limit);
}
