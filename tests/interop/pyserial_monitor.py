"""A program: a monitor on pyserial: from the port to standard output, lines from there to the port."""

import sys
import threading

import serial


def main() -> None:
    with serial.serial_for_url(sys.argv[1], baudrate=115200, timeout=0.05) as port:
        print("attached", flush=True)

        def copy() -> None:
            while port.is_open:
                sys.stdout.buffer.write(port.read(65536))
                sys.stdout.flush()

        threading.Thread(target=copy, daemon=True).start()
        for line in sys.stdin:
            port.write(line.encode())


if __name__ == "__main__":
    main()
