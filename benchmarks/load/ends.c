/* The two ends of a relay: sockets or a PTY's master, raw or with telnet's framing. */
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pty.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define IAC 255
#define SB 250
#define SE 240
#define BINARY 0
#define SUPPRESS_GO_AHEAD 3
#define COM_PORT 44

enum { WILL = 251, WONT, DO, DONT };

struct end near_end = {.fd = -1}, far_end = {.fd = -1};
static int listener = -1, slave = -1;

void wait_for(int fd, short events) {
    struct pollfd poll_fd = {.fd = fd, .events = events};
    int ready;
    do ready = poll(&poll_fd, 1, PATIENCE / 1000000);
    while (ready < 0 && errno == EINTR);
    if (ready <= 0) fail("no progress");
}

void set_blocking(int fd, bool blocking) {
    int flags = fcntl(fd, F_GETFL);
    fcntl(fd, F_SETFL, blocking ? flags & ~O_NONBLOCK : flags | O_NONBLOCK);
}

static void no_delay(int fd) {
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

/* Returns where the relay is to go: a port, or a device. */
const char *open_far(const char *kind) {
    static char name[64];
    if (!strcmp(kind, "tcp")) {
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t size = sizeof address;
        listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (bind(listener, (void *)&address, size) || listen(listener, 1024)) fail("cannot listen");
        getsockname(listener, (void *)&address, &size);
        snprintf(name, sizeof name, "%d", ntohs(address.sin_port));
        return name;
    }
    struct termios raw;
    cfmakeraw(memset(&raw, 0, sizeof raw));
    raw.c_cflag = CS8 | CREAD | CLOCAL | B115200;
    raw.c_cc[VMIN] = 1;
    if (openpty(&far_end.fd, &slave, name, &raw, NULL)) fail("cannot open a PTY");
    /* The slave stays open here, so that the master sees no hang-up when the relay comes and goes. */
    far_end.kind = TTY;
    set_blocking(far_end.fd, false);
    return name;
}

void dial(struct end *end, const char *port) {
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(atoi(port))};
    struct timespec pause = {.tv_nsec = 2000000};
    uint64_t deadline = now() + PATIENCE;
    for (;;) {
        end->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connect(end->fd, (void *)&address, sizeof address) == 0) break;
        close(end->fd);
        if (errno != ECONNREFUSED || now() > deadline) fail("cannot connect to port %s: %s", port, strerror(errno));
        nanosleep(&pause, NULL); /* the relay is only starting */
    }
    end->kind = TCP;
    no_delay(end->fd);
}

int accept_far(void) {
    wait_for(listener, POLLIN);
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0) fail("cannot accept: %s", strerror(errno));
    no_delay(fd);
    return fd;
}

static void settle(void) {
    uint8_t buffer[CHUNK];
    struct pollfd ends[] = {{.fd = near_end.fd, .events = POLLIN}, {.fd = far_end.fd, .events = POLLIN}};
    uint64_t deadline = now() + PATIENCE;
    while (poll(ends, 2, QUIET_MS) > 0) {
        if (now() > deadline) fail("the relay does not come to rest");
        if (ends[0].revents) read_data(&near_end, buffer, sizeof buffer);
        if (ends[1].revents) read_data(&far_end, buffer, sizeof buffer);
    }
}

void connect_through(const char *port, bool telnet) {
    dial(&near_end, port);
    near_end.telnet = telnet;
    set_blocking(near_end.fd, false);
    if (listener >= 0) {
        far_end.fd = accept_far();
        set_blocking(far_end.fd, false);
    } else
        settle(); /* a relay sets its port up, and negotiates */
    printf("{}\n");
}

void connect_directly(void) {
    char port[16];
    if (listener >= 0) {
        struct sockaddr_in address;
        socklen_t size = sizeof address;
        getsockname(listener, (void *)&address, &size);
        snprintf(port, sizeof port, "%d", ntohs(address.sin_port));
        connect_through(port, false);
        return;
    }
    near_end.fd = slave;
    near_end.kind = TTY;
    set_blocking(slave, false);
    printf("{}\n");
}

static void answer(struct end *end, uint8_t verb, uint8_t option) {
    bool agreed = option == BINARY || option == SUPPRESS_GO_AHEAD || option == COM_PORT;
    uint8_t reply[] = {IAC, 0, option};
    if (verb == WILL) reply[1] = agreed ? DO : DONT;
    if (verb == DO) reply[1] = agreed ? WILL : WONT;
    if (!reply[1] || end->answered[verb - WILL][option]) return;
    end->answered[verb - WILL][option] = true;
    write_all(end, reply, sizeof reply);
}

/* Takes telnet's framing away, in place; returns how much data there was. */
static size_t unframe(struct end *end, uint8_t *buffer, size_t size) {
    size_t data = 0;
    for (uint8_t *at = buffer, *stop = buffer + size; at < stop;) {
        if (end->state == DATA) {
            uint8_t *iac = memchr(at, IAC, stop - at);
            size_t plain = (iac ? iac : stop) - at;
            memmove(buffer + data, at, plain);
            data += plain;
            at += plain;
            if (iac) at++, end->state = IAC_SEEN;
            continue;
        }
        uint8_t byte = *at++;
        switch (end->state) {
        case IAC_SEEN:
            end->state = byte == SB ? SUBNEGOTIATION : byte >= WILL && byte <= DONT ? OPTION : DATA;
            end->verb = byte;
            if (byte == IAC) buffer[data++] = IAC;
            break;
        case OPTION:
            end->state = DATA;
            answer(end, end->verb, byte);
            break;
        case SUBNEGOTIATION:
            if (byte == IAC) end->state = SUBNEGOTIATION_IAC;
            break;
        default:
            end->state = byte == SE ? DATA : SUBNEGOTIATION;
        }
    }
    return data;
}

size_t read_data(struct end *end, uint8_t *buffer, size_t size) {
    /* What came over TCP is thrown away: the kernel need not copy it, unless somebody looks. */
    ssize_t n = end->kind == TCP && !end->telnet && size > 4096 ? recv(end->fd, buffer, size, MSG_TRUNC)
                                                                 : read(end->fd, buffer, size);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
    if (n == 0) fail("an end was closed");
    if (n < 0) fail("cannot read: %s", strerror(errno));
    return end->telnet ? unframe(end, buffer, n) : (size_t)n;
}

void write_all(struct end *end, const uint8_t *data, size_t size) {
    while (size) {
        ssize_t n = write(end->fd, data, size);
        if (n < 0 && errno == EAGAIN)
            wait_for(end->fd, POLLOUT);
        else if (n < 0)
            fail("cannot write: %s", strerror(errno));
        else
            data += n, size -= n;
    }
}

void read_exactly(struct end *end, uint8_t *buffer, size_t size) {
    while (size) size -= read_data(end, buffer, size);
}
