/*
 * An Arduino Uno for tests: simavr's ATmega328P with the boot loader in the file that is named.
 *
 * Standard input and output are its serial line. SIGUSR1 is the reset button. Its flash lives as long as the
 * process. The chip never runs faster than a real one; on a busy machine it runs slower. Bytes come one after
 * the other, and what the program does not take out of the UART in time is lost.
 */
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <simavr/avr_uart.h>
#include <simavr/sim_avr.h>
#include <simavr/sim_hex.h>
#include <simavr/sim_io.h>

#define FREQUENCY 16000000
#define SLICE 16000 /* cycles: 1 ms */
#define BYTE 1500   /* cycles: one at 115200 baud, with a pause */
#define UNREAD 2    /* bytes that the UART keeps */
#define START_UP 65 /* slices from the end of a reset to the program's first step (fuses SUT) */
#define MCUSR 0x54
#define EXTRF 2

DEFINE_FIFO(uint16_t, uart_fifo);

static volatile sig_atomic_t pressed;

static void press(int number)
{
    (void)number;
    pressed = 1;
}

static void sent(struct avr_irq_t *irq, uint32_t value, void *param)
{
    uint8_t byte = value;
    (void)irq, (void)param;
    if (write(STDOUT_FILENO, &byte, 1) != 1)
        exit(0);
}

static void reset(avr_t *avr)
{
    avr_reset(avr);
    avr->data[MCUSR] = EXTRF; /* optiboot leaves at once after any other reset */
}

static avr_uart_t *find_uart(avr_t *avr)
{
    avr_io_t *io = avr->io_port;

    while (strcmp(io->kind, "uart") != 0)
        io = io->next;
    return (avr_uart_t *)io;
}

/* Takes the next byte that waits at standard input, if any does. */
static int take(uint8_t *byte)
{
    struct pollfd line = {.fd = STDIN_FILENO, .events = POLLIN};

    if (poll(&line, 1, 0) <= 0)
        return 0;
    if (read(STDIN_FILENO, byte, 1) != 1)
        exit(0);
    return 1;
}

static int is_alive(avr_t *avr)
{
    return avr->state != cpu_Done && avr->state != cpu_Crashed;
}

static void sleep_until(struct timespec *next)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    next->tv_nsec += 1000000;
    if (next->tv_nsec >= 1000000000)
        next->tv_sec++, next->tv_nsec -= 1000000000;
    if (now.tv_sec > next->tv_sec || (now.tv_sec == next->tv_sec && now.tv_nsec > next->tv_nsec))
        *next = now; /* late: that time is lost */
    else
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, next, NULL);
}

int main(int argc, char *argv[])
{
    struct sigaction action = {.sa_handler = press};
    uint32_t size, start, flags = 0;
    struct timespec next;
    uint8_t *boot = argc == 2 ? read_ihex_file(argv[1], &size, &start) : NULL;
    avr_t *avr = avr_make_mcu_by_name("atmega328p");
    avr_uart_t *uart;
    avr_irq_t *input;
    uint8_t byte;
    int starting = 0;

    if (!boot || !avr) {
        fprintf(stderr, "usage: uno OPTIBOOT.hex\n");
        return 2;
    }
    avr_init(avr);
    avr->frequency = FREQUENCY;
    avr->log = LOG_NONE;
    memcpy(avr->flash + start, boot, size);
    avr->reset_pc = start; /* fuse BOOTRST */
    avr_ioctl(avr, AVR_IOCTL_UART_SET_FLAGS('0'), &flags);
    uart = find_uart(avr);
    input = avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_INPUT);
    avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_OUTPUT), sent, NULL);
    sigaction(SIGUSR1, &action, NULL);
    reset(avr);
    clock_gettime(CLOCK_MONOTONIC, &next);
    for (;;) {
        if (pressed) {
            pressed = 0;
            reset(avr);
            starting = START_UP;
        }
        if (starting) {
            while (take(&byte))
                ;
            starting--;
            sleep_until(&next);
            continue;
        }
        if (!is_alive(avr)) { /* until somebody presses the button */
            poll(NULL, 0, 10);
            continue;
        }
        for (avr_cycle_count_t end = avr->cycle + SLICE; avr->cycle < end && !pressed && is_alive(avr);) {
            if (take(&byte) && uart_fifo_get_read_size(&uart->input) < UNREAD)
                avr_raise_irq(input, byte);
            for (avr_cycle_count_t next_byte = avr->cycle + BYTE; avr->cycle < next_byte && is_alive(avr);)
                avr_run(avr);
        }
        sleep_until(&next);
    }
}
