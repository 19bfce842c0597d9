/* ends N: with that exit code. ends trap: by an instruction that may not be reached. ends stdin: when its stdin does. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    if (strcmp(argv[1], "trap") == 0) __builtin_trap();
    if (strcmp(argv[1], "stdin") != 0) return atoi(argv[1]);
    fputs("ready", stdout);
    fputs("all is well", stderr);
    fflush(stdout);
    return getchar() == EOF ? 0 : 1;
}
