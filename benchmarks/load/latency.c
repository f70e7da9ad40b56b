/* How long a small message takes there and back. */
#include "load.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int compare(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

void sort_times(uint64_t *times, size_t count) { qsort(times, count, sizeof *times, compare); }

uint64_t percentile(uint64_t *sorted, size_t count, double p) { return count ? sorted[(size_t)(p * (count - 1))] : 0; }

static void print_times(uint64_t *times, long count) {
    sort_times(times, count);
    printf("{\"count\": %ld, \"p50\": %llu, \"p99\": %llu}\n", count,
           (unsigned long long)percentile(times, count, 0.5), (unsigned long long)percentile(times, count, 0.99));
    free(times);
}

/* The next message goes when the last one is back; ends early when the time is over. */
void ping_pong(long count, long size, double seconds) {
    uint8_t message[4096];
    uint64_t *times = allocate(count * sizeof *times), deadline = now() + (uint64_t)(seconds * SECOND);
    long done = 0;
    if (size < 1 || size > (long)sizeof message || count < 1) fail("no such message");
    memset(message, 'x', sizeof message);
    set_blocking(near_end.fd, true);
    set_blocking(far_end.fd, true);
    while (done < count && now() < deadline) {
        uint64_t start = now();
        write_all(&near_end, message, size);
        read_exactly(&far_end, message, size);
        write_all(&far_end, message, size);
        read_exactly(&near_end, message, size);
        times[done++] = now() - start;
    }
    print_times(times, done);
}

/* A message each time the clock says so, whether or not the last one is back; times count from when it was due. */
void paced(long count, double rate, long size) {
    uint8_t message[4096];
    uint64_t *due = allocate(count * sizeof *due), *times = allocate(count * sizeof *times);
    uint64_t period = (uint64_t)(SECOND / rate), next = now() + period, last = now();
    long sent = 0, back = 0, partly = 0;
    uint32_t random = 2463534242u;
    memset(message, 'x', sizeof message);
    set_blocking(near_end.fd, false);
    set_blocking(far_end.fd, false);
    while (back < count) {
        struct pollfd ends[] = {{.fd = near_end.fd, .events = POLLIN}, {.fd = far_end.fd, .events = POLLIN}};
        uint64_t time = now(), wait = sent < count ? (next > time ? next - time : 0) : PATIENCE;
        struct timespec timeout = {.tv_sec = wait / SECOND, .tv_nsec = wait % SECOND};
        ppoll(ends, 2, &timeout, NULL);
        if (now() - last > PATIENCE + period) fail("no progress");
        while (sent < count && now() >= next) {
            due[sent++] = next;
            write_all(&near_end, message, size);
            /* Half to one and a half periods: in step with nothing. */
            random ^= random << 13, random ^= random >> 17, random ^= random << 5;
            next += period / 2 + period * (random >> 16) / 65536;
        }
        if (ends[1].revents) {
            size_t n = read_data(&far_end, message, sizeof message);
            write_all(&far_end, message, n);
        }
        if (ends[0].revents) {
            partly += read_data(&near_end, message, sizeof message);
            for (; partly >= size && back < sent; partly -= size) times[back] = now() - due[back], back++;
            last = now();
        }
    }
    free(due);
    print_times(times, count);
}

/* Send so many bytes back at the far end that somebody else sends. */
void echo(long count) {
    uint8_t message[4096];
    for (size_t n; count > 0; count -= n) {
        wait_for(far_end.fd, POLLIN);
        n = read_data(&far_end, message, sizeof message);
        write_all(&far_end, message, n);
    }
    printf("{}\n");
}
