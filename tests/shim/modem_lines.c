/*
 * Gives PTYs what only serial ports have: modem lines, BREAK, counters, unsent bytes, data bits and parity.
 *
 * Preload it (LD_PRELOAD) into any program. SERIALNET_MODEM_LINES names the PTYs and the Unix sockets of
 * those who host them: "136:0=/tmp/a.sock;136:1=/tmp/b.sock", each PTY by its device number. A call that a
 * PTY cannot answer becomes one request on one connection, so that nothing is shared between threads or
 * with forked children:
 *
 *   request  uint32 ioctl number, uint32 argument
 *   reply    int32 errno or 0, uint32 result[12]
 */
#define _GNU_SOURCE
#include <asm/ioctls.h>
#include <asm/termbits.h>
#include <dlfcn.h>
#include <errno.h>
#include <linux/serial.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#define RESULTS 12
#define FRAMING (CSIZE | PARENB) /* the bits of c_cflag that a PTY forgets */

struct request { uint32_t code, argument; };
struct reply { int32_t error; uint32_t result[RESULTS]; };

/* Puts the path of the socket for this descriptor into path; returns 0 if it has none. */
static int find_socket(int fd, char path[static sizeof(((struct sockaddr_un *)0)->sun_path)])
{
    const char *entry = getenv("SERIALNET_MODEM_LINES");
    struct stat status;
    unsigned major_number, minor_number;
    int saved = errno, found = 0;

    if (entry && fstat(fd, &status) == 0 && S_ISCHR(status.st_mode)) {
        for (; entry && !found; entry = strchr(entry, ';'), entry += entry != NULL) {
            found = sscanf(entry, "%u:%u=%107[^;]", &major_number, &minor_number, path) == 3
                && status.st_rdev == makedev(major_number, minor_number);
        }
    }
    errno = saved;
    return found;
}

/* Asks the host; returns what an ioctl returns. */
static int ask(const char *path, uint32_t code, uint32_t argument, uint32_t result[static RESULTS])
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct request request = {code, argument};
    struct reply reply;
    size_t have = 0;
    ssize_t n;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0
        && send(fd, &request, sizeof request, MSG_NOSIGNAL) == sizeof request) {
        while (have < sizeof reply) {
            n = read(fd, (char *)&reply + have, sizeof reply - have);
            if (n > 0)
                have += n;
            else if (n == 0 || errno != EINTR)
                break;
        }
    }
    if (fd >= 0)
        close(fd);
    if (have < sizeof reply) {
        errno = EIO; /* as when a device was unplugged */
        return -1;
    }
    memcpy(result, reply.result, sizeof reply.result);
    if (reply.error)
        errno = reply.error;
    return reply.error ? -1 : 0;
}

/* What was written belongs to the settings before: the host takes it in, then looks away until after. */
static void before_settings(const char *path)
{
    uint32_t result[RESULTS];
    ask(path, TCSETSW, 0, result);
}

static int after_settings(const char *path, uint32_t cflag)
{
    uint32_t result[RESULTS];
    return ask(path, TCSETS, cflag, result);
}

/* The host throws away what it holds; what the PTY holds goes after that. */
static void purge(const char *path, uint32_t queue)
{
    uint32_t result[RESULTS];
    ask(path, TCFLSH, queue, result);
}

static int restore_framing(const char *path, uint32_t *cflag)
{
    uint32_t result[RESULTS];
    if (ask(path, TCGETS, 0, result))
        return -1;
    *cflag = (*cflag & ~FRAMING) | (result[0] & FRAMING);
    return 0;
}

static int counters(const char *path, struct serial_icounter_struct *counter)
{
    uint32_t result[RESULTS];
    if (ask(path, TIOCGICOUNT, 0, result))
        return -1;
    memset(counter, 0, sizeof *counter);
    memcpy(counter, result, 11 * sizeof(int)); /* cts to buf_overrun, in their order */
    return 0;
}

static int modem_ioctl(const char *path, unsigned long code, void *argument)
{
    uint32_t result[RESULTS];

    switch (code) {
    case TIOCMGET:
    case TIOCOUTQ:
        if (ask(path, code, 0, result))
            return -1;
        *(int *)argument = result[0];
        return 0;
    case TIOCMSET:
    case TIOCMBIS:
    case TIOCMBIC:
        return ask(path, code, *(int *)argument, result);
    case TIOCGICOUNT:
        return counters(path, argument);
    case TIOCGSERIAL:
        if (ask(path, code, 0, result))
            return -1;
        memset(argument, 0, sizeof(struct serial_struct));
        ((struct serial_struct *)argument)->flags = result[0];
        return 0;
    case TIOCSSERIAL:
        return ask(path, code, ((struct serial_struct *)argument)->flags, result);
    default: /* TIOCMIWAIT, TIOCSBRK, TIOCCBRK */
        return ask(path, code, (uintptr_t)argument, result);
    }
}

int ioctl(int fd, unsigned long code, ...)
{
    static int (*real)(int, unsigned long, ...);
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
    uint32_t *cflag;
    void *argument;
    va_list arguments;

    va_start(arguments, code);
    argument = va_arg(arguments, void *);
    va_end(arguments);
    if (!real)
        real = (int (*)(int, unsigned long, ...))dlsym(RTLD_NEXT, "ioctl");
    code &= 0xffffffff; /* some callers extend the sign */
    switch (code) {
    case TIOCMGET: case TIOCMSET: case TIOCMBIS: case TIOCMBIC: case TIOCMIWAIT: case TIOCGICOUNT:
    case TIOCSBRK: case TIOCCBRK: case TIOCOUTQ: case TIOCGSERIAL: case TIOCSSERIAL:
        if (find_socket(fd, path))
            return modem_ioctl(path, code, argument);
        break;
    case TCFLSH:
        if (find_socket(fd, path))
            purge(path, (uintptr_t)argument);
        break;
    case TCGETS: case TCGETS2:
        cflag = &((struct termios *)argument)->c_cflag; /* at the same place in both structures */
        if (find_socket(fd, path))
            return real(fd, code, argument) ? -1 : restore_framing(path, cflag);
        break;
    case TCSETS: case TCSETSW: case TCSETSF: case TCSETS2: case TCSETSW2: case TCSETSF2:
        cflag = &((struct termios *)argument)->c_cflag;
        if (find_socket(fd, path)) {
            before_settings(path);
            return real(fd, code, argument) ? -1 : after_settings(path, *cflag);
        }
    }
    return real(fd, code, argument);
}

/* The C library does not go through its own ioctl(); its struct termios begins as the kernel's does. */

int tcflush(int fd, int queue)
{
    return ioctl(fd, TCFLSH, queue);
}

int tcgetattr(int fd, struct termios *attributes)
{
    static int (*real)(int, struct termios *);
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)];

    if (!real)
        real = (int (*)(int, struct termios *))dlsym(RTLD_NEXT, "tcgetattr");
    if (real(fd, attributes))
        return -1;
    return find_socket(fd, path) ? restore_framing(path, &attributes->c_cflag) : 0;
}

int tcsetattr(int fd, int action, const struct termios *attributes)
{
    static int (*real)(int, int, const struct termios *);
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
    char plain[128]; /* the C library's structure, larger than the kernel's; it checks that the framing is taken */
    int result;

    if (!real)
        real = (int (*)(int, int, const struct termios *))dlsym(RTLD_NEXT, "tcsetattr");
    if (!find_socket(fd, path))
        return real(fd, action, attributes);
    before_settings(path);
    memcpy(plain, attributes, 60); /* sizeof(struct termios) in <termios.h> */
    ((struct termios *)plain)->c_cflag = (attributes->c_cflag & ~FRAMING) | CS8;
    result = real(fd, action, (struct termios *)plain);
    return result ? -1 : after_settings(path, attributes->c_cflag);
}
