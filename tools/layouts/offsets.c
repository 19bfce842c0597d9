/*
 * Ask the compiler where Xen puts each field and what each constant is worth, as JSON on stdout.
 *
 * The questions are in questions.h, made by ask-gcc.ts from the tables in pvbus/abi/, so a table cannot be
 * forgotten here: a name the headers do not have stops the compiler.
 *   STRUCT(name) FIELD(name, field)... END(name)   CONSTANT(name)   STRING(name)
 * AS_<name> says which C type a table stands for where it is not `struct <name>`.
 */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define __XEN_TOOLS__ 1
#define xen_mb() __sync_synchronize()
#define xen_rmb() __sync_synchronize()
#define xen_wmb() __sync_synchronize()

#include <xen/xen.h>
#include <xen/domctl.h>
#include <xen/event_channel.h>
#include <xen/features.h>
#include <xen/grant_table.h>
#include <xen/hvm/params.h>
#include <xen/memory.h>
#include <xen/platform.h>
#include <xen/sched.h>
#include <xen/sysctl.h>
#include <xen/trace.h>
#include <xen/vcpu.h>
#include <xen/version.h>
#include <xen/io/blkif.h>
#include <xen/io/console.h>
#include <xen/io/netif.h>
#include <xen/io/protocols.h>
#include <xen/io/9pfs.h>
#include <xen/io/pvcalls.h>
#include <xen/io/ring.h>
#include <xen/io/xenbus.h>
#include <xen/io/xs_wire.h>

/* errno.h hides two numbers from everybody but Xen itself; its list can be expanded with all of them. */
enum {
#define __XEN__ 1
#define XEN_ERRNO(name, value) XEN_##name = value,
#include <xen/errno.h>
#undef __XEN__
};

#define MEMBER(type, field) (((type *)0)->field)

/* Types without a name of their own. */
#define AS_start_info_console __typeof__(MEMBER(struct start_info, console))
#define AS_start_info_console_domU __typeof__(MEMBER(struct start_info, console.domU))
#define AS_start_info_console_dom0 __typeof__(MEMBER(struct start_info, console.dom0))
#define AS_evtchn_status_u __typeof__(MEMBER(struct evtchn_status, u))
#define AS_evtchn_status_unbound __typeof__(MEMBER(struct evtchn_status, u.unbound))
#define AS_evtchn_status_interdomain __typeof__(MEMBER(struct evtchn_status, u.interdomain))
#define AS_xen_platform_op_u __typeof__(MEMBER(struct xen_platform_op, u))
#define AS_gnttab_copy_ptr_u __typeof__(MEMBER(struct gnttab_copy_ptr, u))
#define AS_gnttab_cache_flush_a __typeof__(MEMBER(struct gnttab_cache_flush, a))
#define AS_vcpu_register_runstate_memory_area_addr \
    __typeof__(MEMBER(struct vcpu_register_runstate_memory_area, addr))
#define AS_vcpu_register_time_memory_area_addr __typeof__(MEMBER(struct vcpu_register_time_memory_area, addr))
#define AS_netif_extra_info_u __typeof__(MEMBER(struct netif_extra_info, u))
#define AS_netif_extra_info_gso __typeof__(MEMBER(struct netif_extra_info, u.gso))
#define AS_netif_extra_info_mcast __typeof__(MEMBER(struct netif_extra_info, u.mcast))
#define AS_netif_extra_info_hash __typeof__(MEMBER(struct netif_extra_info, u.hash))
#define AS_xen_pvcalls_request_u __typeof__(MEMBER(struct xen_pvcalls_request, u))
#define AS_xen_domctl_schedparam_vcpu_u __typeof__(MEMBER(struct xen_domctl_schedparam_vcpu, u))
#define AS_xen_domctl_scheduler_op_u __typeof__(MEMBER(struct xen_domctl_scheduler_op, u))
#define AS_xen_domctl_scheduler_op_v __typeof__(MEMBER(struct xen_domctl_scheduler_op, u.v))
#define AS_xen_sysctl_scheduler_op_u __typeof__(MEMBER(struct xen_sysctl_scheduler_op, u))

/* Unions with a name. */
#define AS_xen_add_to_physmap_batch_extra union xen_add_to_physmap_batch_extra
#define AS_blkif_sring_entry union blkif_sring_entry
#define AS_netif_tx_sring_entry union netif_tx_sring_entry
#define AS_netif_rx_sring_entry union netif_rx_sring_entry
#define AS_xen_netif_ctrl_sring_entry union xen_netif_ctrl_sring_entry
#define AS_xen_pvcalls_sring_entry union xen_pvcalls_sring_entry

/* The head that all shared rings have in common: everything in front of the slots. */
#define AS_sring struct blkif_sring
#define SIZE_sring offsetof(struct blkif_sring, ring)

/* Numbers that the headers have only as the size of something. */
#define XENCONS_IN_SIZE sizeof(MEMBER(struct xencons_interface, in))
#define XENCONS_OUT_SIZE sizeof(MEMBER(struct xencons_interface, out))
#define XEN_COMMANDLINE_LEN sizeof(xen_commandline_t)
#define XEN_DOMAIN_HANDLE_SIZE sizeof(xen_domain_handle_t)
#define XEN_PVCALLS_ADDR_SIZE sizeof(MEMBER(struct xen_pvcalls_connect, addr))
#define XEN_RUNSTATE_UPDATE_hi (XEN_RUNSTATE_UPDATE >> 32)

/* Signed or unsigned, for words up to 32 bits. */
#define KIND(field) \
    _Generic(field, int8_t: "i", int16_t: "i", int32_t: "i", uint8_t: "u", uint16_t: "u", uint32_t: "u", default: "")

static const char *separator = "";

static void json_string(const char *s)
{
    /* The names and texts asked for hold nothing that JSON escapes. */
    printf("\"%s\"", s);
}

#define STRUCT(name, size) \
    printf("%s\n    \"%s\": { \"size\": %zu, \"fields\": {", separator, #name, (size_t)(size)); \
    separator = "";
#define FIELD(type, field) \
    printf("%s \"%s\": [%zu, %zu, \"%s\"]", separator, #field, offsetof(type, field), \
           sizeof(MEMBER(type, field)), KIND(MEMBER(type, field))); \
    separator = ",";
#define END() \
    printf(" } }"); \
    separator = ",";
#define CONSTANT(name) \
    printf("%s\n    \"%s\": %lld", separator, #name, (long long)(name)); \
    separator = ",";
#define STRING(name) \
    printf("%s\n    \"%s\": ", separator, #name); \
    json_string(name); \
    separator = ",";

int main(void)
{
    size_t i;

    printf("{\n  \"interface_version\": %u,\n  \"structs\": {", __XEN_LATEST_INTERFACE_VERSION__);
#define ASK_STRUCTS
#include "questions.h"
#undef ASK_STRUCTS
    printf("\n  },\n  \"constants\": {");
    separator = "";
#define ASK_CONSTANTS
#include "questions.h"
#undef ASK_CONSTANTS
    printf("\n  },\n  \"strings\": {");
    separator = "";
#define ASK_STRINGS
#include "questions.h"
#undef ASK_STRINGS
    printf("\n  },\n  \"xsd_errors\": [");
    for (i = 0; i < sizeof(xsd_errors) / sizeof(xsd_errors[0]); i++) {
        printf("%s ", i ? "," : "");
        json_string(xsd_errors[i].errstring);
    }
    printf(" ]\n}\n");
    return 0;
}
