/* Read a file of xentrace's format by Xen's own t_rec, one line a record: cpu, event, time, words. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <xen/trace.h>

int main(int argc, char **argv)
{
    FILE *in = argc == 2 ? fopen(argv[1], "rb") : NULL;
    unsigned int cpu = 0;
    uint32_t left = 0;
    struct t_rec rec;

    if (in == NULL)
        return 2;
    while (fread(&rec, sizeof(uint32_t), 1, in) == 1) {
        unsigned int extra = rec.extra_u32;
        size_t size = extra * sizeof(uint32_t) + (rec.cycles_included ? 2 * sizeof(uint32_t) : 0);

        if (fread(&rec.u, 1, size, in) != size)
            return 3;
        if (rec.event == TRC_TRACE_CPU_CHANGE) {
            if (left != 0 || rec.cycles_included || extra != 2)
                return 4;
            cpu = rec.u.nocycles.extra_u32[0];
            left = rec.u.nocycles.extra_u32[1];
            continue;
        }
        if (left < sizeof(uint32_t) + size)
            return 5;
        left -= sizeof(uint32_t) + size;
        printf("%u %x %llu", cpu, rec.event,
               rec.cycles_included
                   ? ((unsigned long long)rec.u.cycles.cycles_hi << 32) | rec.u.cycles.cycles_lo
                   : 0ULL);
        for (unsigned int i = 0; i < extra; i++)
            printf(" %x", rec.cycles_included ? rec.u.cycles.extra_u32[i] : rec.u.nocycles.extra_u32[i]);
        printf("\n");
    }
    return left == 0 ? 0 : 6;
}
