/* The load generator: it holds both ends of a relay. */
#ifndef LOAD_H
#define LOAD_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define CHUNK 65536
#define SECOND 1000000000ull
/* How long anything may make no progress. */
#define PATIENCE (10 * SECOND)
/* How long nothing comes from what has come to rest. */
#define QUIET_MS 300

enum kind { TCP, TTY };

/* What has been seen of a telnet stream so far. */
enum telnet_state { DATA, IAC_SEEN, OPTION, SUBNEGOTIATION, SUBNEGOTIATION_IAC };

struct end {
    int fd;
    enum kind kind;
    bool telnet; /* RFC 2217 framing: 0xFF doubled, commands in between */
    enum telnet_state state;
    uint8_t verb;
    bool answered[4][256];
};

/* The ends of the one relay that most commands are about. */
extern struct end near_end, far_end;

/* ends.c */
const char *open_far(const char *kind);
void dial(struct end *end, const char *port);
int accept_far(void);
void connect_through(const char *port, bool telnet);
void connect_directly(void);
void wait_for(int fd, short events);
void set_blocking(int fd, bool blocking);
size_t read_data(struct end *end, uint8_t *buffer, size_t size); /* 0: nothing there */
void write_all(struct end *end, const uint8_t *data, size_t size);
void read_exactly(struct end *end, uint8_t *buffer, size_t size);

/* streaming.c */
void stream(const char *way, double seconds, const char *pattern);
void source(double seconds, const char *pattern);
void sink(void);

/* latency.c */
void ping_pong(long count, long size, double seconds);
void paced(long count, double rate, long size);
void echo(long count);
uint64_t percentile(uint64_t *sorted, size_t count, double p);
void sort_times(uint64_t *times, size_t count);

/* many.c */
void open_many(long count, const char *port);
void all_active(double seconds);
void reconnect(long count, const char *port);

/* main.c */
uint64_t now(void);
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
void *allocate(size_t size);

#endif
