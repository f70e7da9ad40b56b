/*
 * An Arduino Uno for tests: simavr's ATmega328P with the boot loader in the file that is named.
 *
 * Standard input and output are its serial line. SIGUSR1 is the reset button. Its flash lives as long as the
 * process. The chip never runs faster than a real one; on a busy machine it runs slower, and misses nothing.
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

#define FREQUENCY 16000000
#define SLICE 16000 /* cycles: 1 ms */
#define MCUSR 0x54
#define EXTRF 2

static volatile sig_atomic_t pressed;
static int room; /* the UART takes more */

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

static void is_ready(struct avr_irq_t *irq, uint32_t value, void *param)
{
    (void)irq, (void)value;
    room = param != NULL;
}

static void reset(avr_t *avr)
{
    avr_reset(avr);
    avr->data[MCUSR] = EXTRF; /* optiboot leaves at once after any other reset */
    room = 1;
}

/* Hands over what waits at standard input; when there is nothing to do, waits a little. */
static void feed(avr_irq_t *input, int timeout)
{
    struct pollfd line = {.fd = STDIN_FILENO, .events = POLLIN};
    uint8_t byte;

    while (room && poll(&line, 1, timeout) > 0) {
        if (read(STDIN_FILENO, &byte, 1) != 1)
            exit(0);
        avr_raise_irq(input, byte);
        timeout = 0;
    }
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
    avr_irq_t *input;

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
    input = avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_INPUT);
    avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_OUTPUT), sent, NULL);
    avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_OUT_XON), is_ready, avr);
    avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_OUT_XOFF), is_ready, NULL);
    sigaction(SIGUSR1, &action, NULL);
    reset(avr);
    clock_gettime(CLOCK_MONOTONIC, &next);
    for (;;) {
        if (pressed) {
            pressed = 0;
            reset(avr);
        }
        if (avr->state == cpu_Done || avr->state == cpu_Crashed) { /* until somebody presses the button */
            poll(NULL, 0, 10);
            continue;
        }
        feed(input, 0);
        for (avr_cycle_count_t end = avr->cycle + SLICE; avr->cycle < end && !pressed;)
            if (avr_run(avr) == cpu_Done || avr->state == cpu_Crashed)
                break;
        sleep_until(&next);
    }
}
