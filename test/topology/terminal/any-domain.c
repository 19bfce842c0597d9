/* What xenconsole asks libxenctrl before it looks at xenstore: any domain is there. Preloaded, since the hypervisor
 * of this host is no device of the machine's. */
#include <string.h>
#include <xenctrl.h>

static int handle;

xc_interface *xc_interface_open(xentoollog_logger *log, xentoollog_logger *builder, unsigned flags)
{
    return (xc_interface *)&handle;
}
int xc_interface_close(xc_interface *xch) { return 0; }
int xc_domain_getinfo(xc_interface *xch, uint32_t domid, unsigned int most, xc_dominfo_t *info)
{
    memset(info, 0, sizeof *info);
    info->domid = domid;
    return 1;
}
