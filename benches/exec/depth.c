/* Allocates and frees a block of 64 B again and again, below a number of calls. Prints the CPU time of one such
 * pair, the lowest of five turns, in nanoseconds.
 *
 *     depth CALLS PAIRS
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "afterdrop.h"

static double cpu_nanos(void) {
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return time.tv_sec * 1e9 + time.tv_nsec;
}

__attribute__((noinline)) static long work(long pairs) {
    for (long i = 0; i < pairs; i++) {
        void *block = malloc(64);
        __asm__ volatile("" : : "r"(block) : "memory");
        free(block);
    }
    return pairs;
}

__attribute__((noinline)) static long deep(int calls, long pairs) {
    if (calls <= 0) {
        return work(pairs);
    }
    long done = deep(calls - 1, pairs);
    __asm__ volatile("");
    return done + 1;
}

int main(int count, char **arguments) {
    if (count != 3) {
        return 2;
    }
    int calls = atoi(arguments[1]);
    long pairs = atol(arguments[2]);
    double least = 1e18;
    afterdrop_mark();
    deep(calls, pairs / 10);
    for (int turn = 0; turn < 5; turn++) {
        double begun = cpu_nanos();
        deep(calls, pairs);
        double nanos = (cpu_nanos() - begun) / pairs;
        least = nanos < least ? nanos : least;
    }
    afterdrop_mark();
    fprintf(stderr, "nanoseconds %.1f\n", least);
    return 0;
}
