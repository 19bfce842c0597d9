/* For Debian's xl where there is no hypervisor: what it asks the libraries before it has read its configs. */
#include <stdlib.h>
#include <string.h>

#define PAGE 4096

void *xc_interface_open(void *logger, void *dombuild_logger, unsigned flags) { return calloc(1, PAGE); }
int xc_interface_close(void *handle) { free(handle); return 0; }
void *xs_open(unsigned long flags) { return calloc(1, PAGE); }
void xs_close(void *handle) { free(handle); }
int xc_version(void *handle, int command, void *out) { return 0; }
int xc_get_max_cpus(void *handle) { return 4; }
int xc_get_max_nodes(void *handle) { return 1; }
int libxl_domain_info(void *context, void *info, unsigned domid) { return -3; }
int libxl_get_physinfo(void *context, void *info)
{
    memset(info, 0, 64);
    *(unsigned *)info = 1; /* threads_per_core */
    return 0;
}
