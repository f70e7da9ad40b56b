/* Many connections through one relay, at once or one after the other. */
#include "load.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define MOST 4096

static struct end *ends; /* near ends at even places, their far ends beside them */
static uint64_t *started;
static long pairs;

void open_many(long count, const char *port) {
    if (!ends) ends = allocate(2 * MOST * sizeof *ends), started = allocate(MOST * sizeof *started);
    if (pairs + count > MOST) fail("too many");
    for (long last = pairs + count; pairs < last; pairs++) {
        dial(&ends[2 * pairs], port);
        ends[2 * pairs + 1] = (struct end){.fd = accept_far(), .kind = TCP};
        set_blocking(ends[2 * pairs].fd, false);
        set_blocking(ends[2 * pairs + 1].fd, false);
    }
    printf("{\"open\": %ld}\n", pairs);
}

/* One byte under way on each. */
void all_active(double seconds) {
    struct epoll_event events[256], event = {.events = EPOLLIN};
    size_t most = 1 << 22, count = 0;
    uint64_t *times = allocate(most * sizeof *times), start, deadline;
    uint8_t byte = 'x';
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    for (long i = 0; i < 2 * pairs; i++) {
        event.data.u32 = i;
        epoll_ctl(epoll, EPOLL_CTL_ADD, ends[i].fd, &event);
    }
    start = now();
    deadline = start + (uint64_t)(seconds * SECOND);
    for (long i = 0; i < pairs; i++) {
        started[i] = now();
        write_all(&ends[2 * i], &byte, 1);
    }
    for (long under_way = pairs; under_way;) {
        int ready = epoll_wait(epoll, events, 256, PATIENCE / 1000000);
        if (ready == 0) fail("no progress");
        for (int e = 0; e < ready; e++) {
            uint32_t i = events[e].data.u32;
            if (!read_data(&ends[i], &byte, 1)) continue;
            uint64_t time = now();
            if (i % 2 == 0) {
                if (time <= deadline && count < most) times[count++] = time - started[i / 2];
                if (time > deadline) {
                    under_way--;
                    continue;
                }
                started[i / 2] = time;
            }
            write_all(&ends[i], &byte, 1);
        }
    }
    close(epoll);
    sort_times(times, count);
    printf("{\"operations_per_second\": %.3f, \"p50\": %llu, \"p99\": %llu}\n", count / seconds,
           (unsigned long long)percentile(times, count, 0.5), (unsigned long long)percentile(times, count, 0.99));
    free(times);
}

/* Connect, send a byte, close; again when the far end has seen it. */
void reconnect(long count, const char *port) {
    uint64_t *first_byte = allocate(count * sizeof *first_byte), start = now();
    for (long i = 0; i < count; i++) {
        struct end near = {0}, far = {.kind = TCP};
        uint8_t byte = 'x';
        uint64_t began = now();
        dial(&near, port);
        write_all(&near, &byte, 1);
        far.fd = accept_far();
        read_exactly(&far, &byte, 1);
        first_byte[i] = now() - began;
        close(near.fd);
        wait_for(far.fd, POLLIN);
        if (recv(far.fd, &byte, 1, 0) != 0) fail("the end of the connection did not come through");
        close(far.fd);
    }
    uint64_t whole = (now() - start) / count;
    sort_times(first_byte, count);
    printf("{\"each\": %llu, \"first_byte_p50\": %llu}\n", (unsigned long long)whole,
           (unsigned long long)percentile(first_byte, count, 0.5));
    free(first_byte);
}
