/*
 * Xen's own ring macros and index arithmetic, driven by commands on stdin, so that a test can drive ours
 * beside them. Usage: ring-macros <protocol> <first index>
 *
 * A command is a line "<op> <a> <b>". After each one, two little-endian 64-bit results and then all shared
 * memory go to stdout. The sequence of commands is the test's; nothing here decides what is legal.
 *
 * A request or response staged with seed s has byte i = s * 31 + i * 7, and so has data written to a stream.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define __XEN_TOOLS__ 1 /* the newest interface version */
#define xen_mb() __sync_synchronize()
#define xen_rmb() __sync_synchronize()
#define xen_wmb() __sync_synchronize()

#include <xen/xen.h>
#include <xen/io/blkif.h>
#include <xen/io/console.h>
#include <xen/io/netif.h>
#include <xen/io/pvcalls.h>
#include <xen/io/xs_wire.h>

/* One page of indices (and mostly data); pvcalls has its data behind it. */
static _Alignas(4096) unsigned char memory[3 * 4096];
static size_t shared_bytes = 4096;

static void fill(void *to, size_t n, uint32_t seed)
{
    unsigned char *bytes = to;
    size_t i;

    for (i = 0; i < n; i++)
        bytes[i] = (unsigned char)(seed * 31 + i * 7);
}

static int64_t checksum(const void *from, size_t n)
{
    const unsigned char *bytes = from;
    uint32_t sum = 1;
    size_t i;

    for (i = 0; i < n; i++)
        sum = sum * 33 + bytes[i];
    return sum;
}

static void report(int64_t result, int64_t detail)
{
    fwrite(&result, sizeof(result), 1, stdout);
    fwrite(&detail, sizeof(detail), 1, stdout);
    fwrite(memory, shared_bytes, 1, stdout);
}

static int next_command(char *op, uint32_t *a, uint32_t *b)
{
    return scanf("%31s %u %u", op, a, b) == 3;
}

#define IS(name) (strcmp(op, name) == 0)

/*
 * What a careful end makes of the peer's producer index: -1 where the macro of ring.h says overflow,
 * -2 where only the order of the indices shows the lie, else the number of entries the macro counts.
 */
#define COUNT_REQUESTS(ring)                                                                       \
    (RING_REQUEST_PROD_OVERFLOW(ring, (ring)->sring->req_prod) ? -1                                \
     : (ring)->sring->req_prod - (ring)->rsp_prod_pvt < (ring)->req_cons - (ring)->rsp_prod_pvt    \
         ? -2                                                                                      \
         : (int64_t)XEN_RING_NR_UNCONSUMED_REQUESTS(ring))
#define COUNT_RESPONSES(ring)                                                                      \
    (RING_RESPONSE_PROD_OVERFLOW(ring, (ring)->sring->rsp_prod) ? -1                               \
     : (ring)->sring->rsp_prod - (ring)->rsp_cons > (ring)->sring->req_prod - (ring)->rsp_cons     \
         ? -2                                                                                      \
         : (int64_t)XEN_RING_NR_UNCONSUMED_RESPONSES(ring))

#define OFFSET(slot) ((int64_t)((unsigned char *)(slot) - memory))

#define DRIVE_RING(name, req_t, rsp_t)                                                             \
    static void drive_##name(uint32_t from)                                                        \
    {                                                                                              \
        name##_sring_t *sring = (name##_sring_t *)memory;                                          \
        name##_front_ring_t front;                                                                 \
        name##_back_ring_t back;                                                                   \
        char op[32];                                                                               \
        uint32_t a, b;                                                                             \
                                                                                                   \
        memset(memory, 0xa5, 4096);                                                                \
        SHARED_RING_INIT(sring);                                                                   \
        sring->req_prod = sring->rsp_prod = from;                                                  \
        sring->req_event = sring->rsp_event = from + 1;                                            \
        FRONT_RING_ATTACH(&front, sring, from, 4096);                                              \
        BACK_RING_ATTACH(&back, sring, from, 4096);                                                \
        report(RING_SIZE(&front), OFFSET(&sring->ring[0]));                                        \
        while (next_command(op, &a, &b)) {                                                         \
            int64_t result = 0, detail = 0;                                                        \
            uint32_t saved;                                                                        \
            req_t req;                                                                             \
            rsp_t rsp;                                                                             \
                                                                                                   \
            if (IS("free")) {                                                                      \
                result = RING_FREE_REQUESTS(&front);                                               \
                detail = RING_FULL(&front);                                                        \
            } else if (IS("stage-request")) {                                                      \
                result = OFFSET(RING_GET_REQUEST(&front, front.req_prod_pvt));                     \
                fill(RING_GET_REQUEST(&front, front.req_prod_pvt++), sizeof(req_t), a);            \
            } else if (IS("push-requests")) {                                                      \
                RING_PUSH_REQUESTS_AND_CHECK_NOTIFY(&front, result);                               \
            } else if (IS("count-requests")) {                                                     \
                result = COUNT_REQUESTS(&back);                                                    \
            } else if (IS("take-request")) {                                                       \
                result = OFFSET(RING_GET_REQUEST(&back, back.req_cons));                           \
                RING_COPY_REQUEST(&back, back.req_cons, &req);                                     \
                back.req_cons++;                                                                   \
                detail = checksum(&req, sizeof(req));                                              \
            } else if (IS("final-check-requests")) {                                               \
                RING_FINAL_CHECK_FOR_REQUESTS(&back, result);                                      \
            } else if (IS("stage-response")) {                                                     \
                result = OFFSET(RING_GET_RESPONSE(&back, back.rsp_prod_pvt));                      \
                fill(RING_GET_RESPONSE(&back, back.rsp_prod_pvt++), sizeof(rsp_t), a);             \
            } else if (IS("push-responses")) {                                                     \
                RING_PUSH_RESPONSES_AND_CHECK_NOTIFY(&back, result);                               \
            } else if (IS("count-responses")) {                                                    \
                result = COUNT_RESPONSES(&front);                                                  \
            } else if (IS("take-response")) {                                                      \
                result = OFFSET(RING_GET_RESPONSE(&front, front.rsp_cons));                        \
                RING_COPY_RESPONSE(&front, front.rsp_cons, &rsp);                                  \
                front.rsp_cons++;                                                                  \
                detail = checksum(&rsp, sizeof(rsp));                                              \
            } else if (IS("final-check-responses")) {                                              \
                RING_FINAL_CHECK_FOR_RESPONSES(&front, result);                                    \
            } else if (IS("hostile-req-prod")) { /* for one look only */                           \
                saved = sring->req_prod;                                                           \
                sring->req_prod = a;                                                               \
                result = COUNT_REQUESTS(&back);                                                    \
                sring->req_prod = saved;                                                           \
            } else if (IS("hostile-rsp-prod")) {                                                   \
                saved = sring->rsp_prod;                                                           \
                sring->rsp_prod = a;                                                               \
                result = COUNT_RESPONSES(&front);                                                  \
                sring->rsp_prod = saved;                                                           \
            } else if (IS("set-req-event")) {                                                      \
                sring->req_event = a;                                                              \
            } else if (IS("set-rsp-event")) {                                                      \
                sring->rsp_event = a;                                                              \
            } else {                                                                               \
                fprintf(stderr, "unknown command %s\n", op);                                       \
                exit(2);                                                                           \
            }                                                                                      \
            report(result, detail);                                                                \
        }                                                                                          \
    }

DRIVE_RING(blkif, struct blkif_request, struct blkif_response)
DRIVE_RING(netif_tx, struct netif_tx_request, struct netif_tx_response)
DRIVE_RING(netif_rx, struct netif_rx_request, struct netif_rx_response)
DRIVE_RING(xen_netif_ctrl, struct xen_netif_ctrl_request, struct xen_netif_ctrl_response)
DRIVE_RING(xen_pvcalls, struct xen_pvcalls_request, struct xen_pvcalls_response)

/* A stream of the console or xenstore page: the header gives the index mask, the rest is counting. */
#define DRIVE_STREAMS(name, type, mask_a, a_data, a_cons, a_prod, mask_b, b_data, b_cons, b_prod)  \
    static void drive_##name(uint32_t from)                                                        \
    {                                                                                              \
        struct type *ring = (struct type *)memory;                                                 \
        static unsigned char data[8192];                                                           \
        char op[32];                                                                               \
        uint32_t a, b;                                                                             \
                                                                                                   \
        memset(memory, 0xa5, 4096);                                                                \
        ring->a_cons = ring->a_prod = ring->b_cons = ring->b_prod = from;                          \
        report(sizeof(ring->a_data), sizeof(ring->b_data));                                        \
        while (next_command(op, &a, &b)) {                                                         \
            int64_t n = 0, detail = 0;                                                             \
                                                                                                   \
            if (IS("write-a")) {                                                                   \
                fill(data, a, b);                                                                  \
                while (n < a && ring->a_prod - ring->a_cons < sizeof(ring->a_data))                \
                    ring->a_data[mask_a(ring->a_prod++)] = data[n++];                              \
                detail = sizeof(ring->a_data) - (ring->a_prod - ring->a_cons);                     \
            } else if (IS("write-b")) {                                                            \
                fill(data, a, b);                                                                  \
                while (n < a && ring->b_prod - ring->b_cons < sizeof(ring->b_data))                \
                    ring->b_data[mask_b(ring->b_prod++)] = data[n++];                              \
                detail = sizeof(ring->b_data) - (ring->b_prod - ring->b_cons);                     \
            } else if (IS("read-a")) {                                                             \
                while (n < a && ring->a_prod != ring->a_cons)                                      \
                    data[n++] = ring->a_data[mask_a(ring->a_cons++)];                              \
                detail = checksum(data, n);                                                        \
            } else if (IS("read-b")) {                                                             \
                while (n < a && ring->b_prod != ring->b_cons)                                      \
                    data[n++] = ring->b_data[mask_b(ring->b_cons++)];                              \
                detail = checksum(data, n);                                                        \
            } else {                                                                               \
                fprintf(stderr, "unknown command %s\n", op);                                       \
                exit(2);                                                                           \
            }                                                                                      \
            report(n, detail);                                                                     \
        }                                                                                          \
    }

/* a flows to the front end, b from it. */
#define XENCONS_MASK_IN(i) MASK_XENCONS_IDX(i, ring->in)
#define XENCONS_MASK_OUT(i) MASK_XENCONS_IDX(i, ring->out)
DRIVE_STREAMS(xencons, xencons_interface, XENCONS_MASK_IN, in, in_cons, in_prod, XENCONS_MASK_OUT, out, out_cons,
              out_prod)
DRIVE_STREAMS(xenstore, xenstore_domain_interface, MASK_XENSTORE_IDX, rsp, rsp_cons, rsp_prod, MASK_XENSTORE_IDX,
              req, req_cons, req_prod)

/* A pvcalls socket's two streams, with the functions DEFINE_XEN_FLEX_RING makes; two pages of data. */
static int64_t flex_write(unsigned char *ring, RING_IDX *prod, RING_IDX cons, RING_IDX size, uint32_t n, uint32_t seed)
{
    static unsigned char data[8192];
    RING_IDX room = size - pvcalls_queued(*prod, cons, size);
    RING_IDX masked_prod = pvcalls_mask(*prod, size);

    if (n > room)
        n = room;
    fill(data, n, seed);
    if (n)
        pvcalls_write_packet(ring, data, n, &masked_prod, pvcalls_mask(cons, size), size);
    *prod += n;
    return n;
}

static int64_t flex_read(unsigned char *ring, RING_IDX prod, RING_IDX *cons, RING_IDX size, uint32_t n, int64_t *sum)
{
    static unsigned char data[8192];
    RING_IDX queued = pvcalls_queued(prod, *cons, size);
    RING_IDX masked_cons = pvcalls_mask(*cons, size);

    if (n > queued)
        n = queued;
    if (n)
        pvcalls_read_packet(data, ring, n, pvcalls_mask(prod, size), &masked_cons, size);
    *cons += n;
    *sum = checksum(data, n);
    return n;
}

static void drive_pvcalls_data(uint32_t from)
{
    struct pvcalls_data_intf *intf = (struct pvcalls_data_intf *)memory;
    RING_IDX size = XEN_FLEX_RING_SIZE(1);
    unsigned char *in = memory + 4096, *out = in + size;
    char op[32];
    uint32_t a, b;

    shared_bytes = sizeof(memory);
    memset(memory, 0xa5, sizeof(memory));
    intf->in_cons = intf->in_prod = intf->out_cons = intf->out_prod = from;
    intf->ring_order = 1;
    report(size, size);
    while (next_command(op, &a, &b)) {
        int64_t n = 0, detail = 0;

        if (IS("write-a")) {
            n = flex_write(in, &intf->in_prod, intf->in_cons, size, a, b);
            detail = size - pvcalls_queued(intf->in_prod, intf->in_cons, size);
        } else if (IS("write-b")) {
            n = flex_write(out, &intf->out_prod, intf->out_cons, size, a, b);
            detail = size - pvcalls_queued(intf->out_prod, intf->out_cons, size);
        } else if (IS("read-a")) {
            n = flex_read(in, intf->in_prod, &intf->in_cons, size, a, &detail);
        } else if (IS("read-b")) {
            n = flex_read(out, intf->out_prod, &intf->out_cons, size, a, &detail);
        } else {
            fprintf(stderr, "unknown command %s\n", op);
            exit(2);
        }
        report(n, detail);
    }
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*drive)(uint32_t from);
    } protocols[] = {
        { "blkif", drive_blkif },
        { "netif_tx", drive_netif_tx },
        { "netif_rx", drive_netif_rx },
        { "xen_netif_ctrl", drive_xen_netif_ctrl },
        { "xen_pvcalls", drive_xen_pvcalls },
        { "xencons", drive_xencons },
        { "xenstore", drive_xenstore },
        { "pvcalls_data", drive_pvcalls_data },
    };
    size_t i;

    for (i = 0; argc == 3 && i < sizeof(protocols) / sizeof(protocols[0]); i++) {
        if (strcmp(argv[1], protocols[i].name) == 0) {
            protocols[i].drive((uint32_t)strtoul(argv[2], NULL, 0));
            return 0;
        }
    }
    fprintf(stderr, "usage: ring-macros <protocol> <first index>\n");
    return 2;
}
