/*
 * What Xen's xentrace asks of a hypervisor, faked, so that Debian's runs on any Linux machine. The pages it maps are
 * real: those of a file, FAKE_TRACE_PAGES, in which frame n is mfn n. FAKE_TRACE_CPUS pCPUs, t_info at mfn
 * FAKE_TRACE_INFO. No VIRQ comes: it polls.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>
#include <xenctrl.h>
#include <xenevtchn.h>

#define PAGE 4096

static int some_handle;

__attribute__((constructor)) static void die_with_parent(void) { prctl(PR_SET_PDEATHSIG, SIGKILL); }

static const char *setting(const char *name)
{
    const char *value = getenv(name);
    if (!value) abort();
    return value;
}

xc_interface *xc_interface_open(xentoollog_logger *logger, xentoollog_logger *dombuild_logger, unsigned flags)
{
    return (void *)&some_handle;
}
int xc_interface_close(xc_interface *xch) { return 0; }
int xc_get_max_cpus(xc_interface *xch) { return atoi(setting("FAKE_TRACE_CPUS")); }
int xc_get_cpumap_size(xc_interface *xch) { return (xc_get_max_cpus(xch) + 7) / 8; }
xc_cpumap_t xc_cpumap_alloc(xc_interface *xch) { return calloc(1, xc_get_cpumap_size(xch)); }
void xc_cpumap_setcpu(int cpu, xc_cpumap_t map) { map[cpu / 8] |= 1 << (cpu % 8); }
int xc_physinfo(xc_interface *xch, xc_physinfo_t *info)
{
    memset(info, 0, sizeof *info);
    info->nr_cpus = xc_get_max_cpus(xch);
    info->max_cpu_id = info->nr_cpus - 1;
    return 0;
}

int xc_tbuf_enable(xc_interface *xch, unsigned long pages, unsigned long *mfn, unsigned long *size)
{
    *mfn = atoi(setting("FAKE_TRACE_INFO"));
    *size = atoi(setting("FAKE_TRACE_INFO_BYTES"));
    return 0;
}
int xc_tbuf_disable(xc_interface *xch) { return 0; }
int xc_tbuf_set_cpu_mask(xc_interface *xch, xc_cpumap_t mask) { return 0; }
int xc_tbuf_set_evt_mask(xc_interface *xch, uint32_t mask) { return 0; }

static int pages_file(void)
{
    int fd = open(setting("FAKE_TRACE_PAGES"), O_RDWR | O_CLOEXEC);
    if (fd < 0) abort();
    return fd;
}
void *xc_map_foreign_range(xc_interface *xch, uint32_t dom, int size, int prot, unsigned long mfn)
{
    int fd = pages_file();
    void *at = dom == DOMID_XEN ? mmap(NULL, size, prot, MAP_SHARED, fd, mfn * PAGE) : MAP_FAILED;
    close(fd);
    return at == MAP_FAILED ? NULL : at;
}
void *xc_map_foreign_pages(xc_interface *xch, uint32_t dom, int prot, const xen_pfn_t *arr, int num)
{
    int fd = pages_file();
    char *at = mmap(NULL, (size_t)num * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (dom != DOMID_XEN || at == MAP_FAILED) abort();
    for (int i = 0; i < num; i++)
        if (mmap(at + (size_t)i * PAGE, PAGE, prot, MAP_SHARED | MAP_FIXED, fd, arr[i] * PAGE) == MAP_FAILED) abort();
    close(fd);
    return at;
}

xenevtchn_handle *xenevtchn_open(xentoollog_logger *logger, unsigned int flags) { return (void *)&some_handle; }
int xenevtchn_fd(xenevtchn_handle *xce)
{
    static int ends[2];
    if (ends[0] == 0 && pipe2(ends, O_CLOEXEC) < 0) abort();
    return ends[0];
}
xenevtchn_port_or_error_t xenevtchn_bind_virq(xenevtchn_handle *xce, unsigned int virq) { return 1; }
xenevtchn_port_or_error_t xenevtchn_pending(xenevtchn_handle *xce) { return -1; }
int xenevtchn_unmask(xenevtchn_handle *xce, evtchn_port_t port) { return 0; }
