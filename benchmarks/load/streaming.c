/* As much as goes through, one way or both. */
#include "load.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One way: a thread that sends and one that receives. */
struct way {
    struct end *from, *to;
    const char *pattern;
    uint64_t deadline, finished;
    _Atomic uint64_t sent;
    _Atomic bool done;
    uint64_t received;
};

/* A chunk as it goes over the wire; returns how long it is there. */
static size_t make_chunk(const char *pattern, bool telnet, uint8_t *wire) {
    size_t size = 0;
    uint32_t random = 2463534242u;
    for (int i = 0; i < CHUNK; i++) {
        random ^= random << 13, random ^= random >> 17, random ^= random << 5;
        uint8_t byte = !strcmp(pattern, "ff") ? 255 : !strcmp(pattern, "random") ? random >> 24 : (uint32_t)(' ' + i % 94);
        wire[size++] = byte;
        if (telnet && byte == 255) wire[size++] = byte;
    }
    return size;
}

static void *send_all(void *argument) {
    struct way *way = argument;
    uint8_t *wire = allocate(2 * CHUNK);
    size_t size = make_chunk(way->pattern, way->from->telnet, wire);
    do {
        write_all(way->from, wire, size);
        way->sent += CHUNK;
    } while (now() < way->deadline);
    way->done = true;
    free(wire);
    return NULL;
}

static void *receive_all(void *argument) {
    struct way *way = argument;
    struct pollfd readable = {.fd = way->to->fd, .events = POLLIN};
    uint8_t *buffer = allocate(4 * CHUNK);
    way->finished = now();
    while (!way->done || way->received < way->sent) {
        size_t n = read_data(way->to, buffer, 4 * CHUNK);
        way->received += n;
        if (n)
            way->finished = now();
        else if (poll(&readable, 1, 20) == 0 && now() > way->finished + PATIENCE)
            fail("%lld bytes were lost", (long long)(way->sent - way->received));
    }
    free(buffer);
    return NULL;
}

void stream(const char *direction, double seconds, const char *pattern) {
    uint64_t start = now(), finished = start, bytes = 0, deadline = start + (uint64_t)(seconds * SECOND);
    struct way ways[2] = {
        {.from = &near_end, .to = &far_end, .pattern = pattern, .deadline = deadline},
        {.from = &far_end, .to = &near_end, .pattern = pattern, .deadline = deadline},
    };
    pthread_t threads[4];
    int first = !strcmp(direction, "in"), last = strcmp(direction, "out") ? 1 : 0, count = 0;
    for (int i = first; i <= last; i++) {
        set_blocking(ways[i].from->fd, false);
        set_blocking(ways[i].to->fd, false);
        if (pthread_create(&threads[count++], NULL, receive_all, &ways[i])) fail("no thread");
        if (pthread_create(&threads[count++], NULL, send_all, &ways[i])) fail("no thread");
    }
    for (int i = 0; i < count; i++) pthread_join(threads[i], NULL);
    for (int i = first; i <= last; i++) {
        if (ways[i].received != ways[i].sent) fail("more bytes came than were sent");
        bytes += ways[i].received;
        if (ways[i].finished > finished) finished = ways[i].finished;
    }
    printf("{\"bytes\": %llu, \"seconds\": %.9f}\n", (unsigned long long)bytes,
           (double)(finished - start) / SECOND);
}

/* Send from the far end to somebody else. */
void source(double seconds, const char *pattern) {
    struct way way = {
        .from = &far_end, .pattern = pattern, .deadline = now() + (uint64_t)(seconds * SECOND)};
    send_all(&way);
    printf("{\"bytes\": %llu}\n", (unsigned long long)way.sent);
}

/* Receive at the far end what somebody else sends, until nothing comes for a while. */
void sink(void) {
    uint8_t *buffer = allocate(4 * CHUNK);
    uint64_t bytes = 0, first = 0, last = 0;
    struct pollfd readable = {.fd = far_end.fd, .events = POLLIN};
    while (poll(&readable, 1, bytes ? QUIET_MS : PATIENCE / 1000000) > 0) {
        size_t n = read_data(&far_end, buffer, 4 * CHUNK);
        last = now();
        if (!bytes) first = last; /* the clock starts with the first bytes */
        bytes += n;
    }
    if (!bytes) fail("nothing came");
    free(buffer);
    printf("{\"bytes\": %llu, \"seconds\": %.9f}\n", (unsigned long long)bytes, (double)(last - first) / SECOND);
}
