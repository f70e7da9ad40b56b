/* Reads commands from its standard input, one a line, and answers each with a line of JSON. */
#include "load.h"

#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * SECOND + (uint64_t)time.tv_nsec;
}

void fail(const char *format, ...) {
    va_list arguments;
    char reason[256];
    va_start(arguments, format);
    vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    printf("{\"error\": \"%s\"}\n", reason);
    fflush(stdout);
    _exit(1);
}

void *allocate(size_t size) {
    void *memory = calloc(1, size);
    if (memory == NULL) fail("no memory");
    return memory;
}

/* Keep a CPU from going to sleep, at a priority that takes nothing from anybody. */
static void spin(int cpu) {
    struct sched_param none = {0};
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set) || sched_setscheduler(0, SCHED_IDLE, &none)) _exit(1);
    for (;;)
        for (volatile int i = 0; i < 100000000; i++) continue;
}

static void obey(char *line) {
    char *words[8] = {NULL}, *rest = line;
    for (int i = 0; i < 7 && (words[i] = strtok_r(rest, " \n", &rest)); i++) continue;
    const char *command = words[0], *a = words[1], *b = words[2], *c = words[3];
    if (!command)
        return;
    if (!strcmp(command, "connect") && b)
        connect_through(a, !strcmp(b, "telnet"));
    else if (!strcmp(command, "direct"))
        connect_directly();
    else if (!strcmp(command, "stream") && c)
        stream(a, atof(b), c);
    else if (!strcmp(command, "source") && b)
        source(atof(a), b);
    else if (!strcmp(command, "sink"))
        sink();
    else if (!strcmp(command, "pingpong") && c)
        ping_pong(atol(a), atol(b), atof(c));
    else if (!strcmp(command, "paced") && c)
        paced(atol(a), atof(b), atol(c));
    else if (!strcmp(command, "echo") && a)
        echo(atol(a));
    else if (!strcmp(command, "open") && b)
        open_many(atol(a), b);
    else if (!strcmp(command, "storm") && a)
        all_active(atof(a));
    else if (!strcmp(command, "reconnect") && b)
        reconnect(atol(a), b);
    else
        fail("no such command: %s", command);
    fflush(stdout);
}

int main(int count, char **words) {
    struct rlimit files;
    char line[256];
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* nothing is left running, whatever becomes of the one who asked */
    prctl(PR_SET_TIMERSLACK, 1ul);
    signal(SIGPIPE, SIG_IGN);
    if (count == 3 && !strcmp(words[1], "spin")) spin(atoi(words[2]));
    if (count != 2) fail("expected: load tcp|pty, or load spin CPU");
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    printf("{\"far\": \"%s\"}\n", open_far(words[1]));
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) obey(line);
    return 0;
}
