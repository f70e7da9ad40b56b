"""All that is measured, and what is to be reached: the one table of bounds.

A guard's bound is the floor, loosened by what the ratios of short runs vary by on a busy machine; where a
floor is not reached yet, it is what was, loosened alike.
"""

from __future__ import annotations

from . import blocking, codec, flashing, line, sharing, starting, workloads
from .candidates import (
    APART_BUSY,
    APART_IDLE,
    BUSY,
    BUSY_IN_C,
    DIRECT,
    HALF_BUSY,
    HAPROXY,
    IDLE,
    LINK,
    PYSERIAL_CLIENT,
    RFC2217_CLIENT,
    SER2NET,
    SERVE,
    SERVE_RAW,
    SOCAT,
    SOCAT_FORK,
    SOCAT_PTY,
    SOCKET_CLIENT,
    STREAMS,
    STREAMS_BUSY,
    STREAMS_IDLE,
    TAPPED,
    TCP_CLIENT,
    TRIO,
    UVLOOP,
)
from .measuring import Group, Less, More

__all__ = ["GROUPS"]

TCP_WAYS = {"one way": "out", "both ways": "both"}
PTY_WAYS = {"to the PTY": "out", "from the PTY": "in"}

GROUPS = (
    Group(
        "tcp-streams",
        "TCP to TCP, throughput",
        workloads.streams("tcp", TCP_WAYS),
        (SOCAT, HAPROXY, STREAMS, LINK, UVLOOP, TRIO, TAPPED, DIRECT),
        (
            More("one way", LINK, SOCAT, floor=2.2, goal=3.0, guard=1.2),
            More("both ways", LINK, SOCAT, floor=3.3, goal=4.2, guard=1.6),
            Less("one way, CPU per GB", LINK, SOCAT, floor=0.25, goal=0.15, guard=0.45),
            More("one way", LINK, HAPROXY, floor=1.1, goal=1.6, guard=0.7),
            More("both ways", LINK, HAPROXY, floor=0.95, goal=1.2, guard=0.7),
            Less("one way, CPU per GB", LINK, HAPROXY, floor=0.5, goal=0.35, guard=1.0),
            Less("both ways, CPU per GB", LINK, HAPROXY, floor=0.85, goal=0.7, guard=1.1),
            Less("one way, CPU per GB", LINK, STREAMS, guard=0.4),
            More("one way", TAPPED, SOCAT, floor=1.8, goal=2.2, guard=1.1),
            Less("one way, CPU per GB", TAPPED, SOCAT, floor=0.6, goal=0.45, guard=0.8),
        ),
    ),
    Group(
        "tcp-latency",
        "TCP to TCP, round trip of one byte",
        workloads.round_trips("tcp"),
        (SOCAT, HAPROXY, STREAMS, LINK, UVLOOP, TRIO, TAPPED, DIRECT),
        (
            Less("round trip", LINK, SOCAT, floor=1.25, goal=1.0, guard=1.5),
            Less("round trip", UVLOOP, SOCAT, floor=1.25, goal=1.0, guard=1.5),
            Less("round trip", TRIO, SOCAT, floor=1.25, goal=1.0, guard=1.5),
            Less("round trip", LINK, STREAMS, guard=0.75),
            Less("round trip", TAPPED, SOCAT, floor=1.5, goal=1.25, guard=1.6),
        ),
    ),
    Group(
        "pty-streams",
        "PTY and TCP, throughput",
        workloads.streams("pty", PTY_WAYS),
        (SOCAT_PTY, SERVE_RAW, DIRECT),
        (
            More("to the PTY", SERVE_RAW, SOCAT_PTY, floor=0.85, goal=1.0, guard=0.65),
            More("from the PTY", SERVE_RAW, SOCAT_PTY, floor=0.85, goal=1.0, guard=0.65),
            Less("to the PTY, CPU per GB", SERVE_RAW, SOCAT_PTY, floor=1.1, goal=0.9, guard=1.5),
            Less("from the PTY, CPU per GB", SERVE_RAW, SOCAT_PTY, floor=1.1, goal=0.9, guard=1.5),
        ),
    ),
    Group(
        "pty-latency",
        "PTY and TCP, round trip of one byte",
        workloads.round_trips("pty"),
        (SOCAT_PTY, SERVE_RAW, DIRECT),
        (Less("round trip", SERVE_RAW, SOCAT_PTY, floor=1.3, goal=1.1, guard=1.6),),
    ),
    Group(
        "rfc2217-text",
        "RFC 2217 server on a PTY, text",
        workloads.streams("pty", PTY_WAYS),
        (SER2NET, SERVE),
        (
            More("to the PTY", SERVE, SER2NET, floor=3, goal=5, guard=2),
            More("from the PTY", SERVE, SER2NET, floor=5, goal=8, guard=3),
            Less("to the PTY, CPU per GB", SERVE, SER2NET, floor=0.15, goal=0.1, guard=0.2),
            Less("from the PTY, CPU per GB", SERVE, SER2NET, floor=0.15, goal=0.1, guard=0.2),
        ),
    ),
    Group(
        "rfc2217-erased",
        "RFC 2217 server on a PTY, erased flash (all 0xFF)",
        workloads.streams("pty", PTY_WAYS, "ff"),
        (SER2NET, SERVE),
        (
            More("to the PTY", SERVE, SER2NET, floor=3, goal=4, guard=2),
            More("from the PTY", SERVE, SER2NET, floor=5, goal=7, guard=3),
        ),
    ),
    Group(
        "rfc2217-random",
        "RFC 2217 server on a PTY, random bytes",
        workloads.streams("pty", PTY_WAYS, "random"),
        (SER2NET, SERVE),
        (More("to the PTY", SERVE, SER2NET), More("from the PTY", SERVE, SER2NET)),
    ),
    Group(
        "rfc2217-latency",
        "RFC 2217 server on a PTY, round trip of one byte",
        workloads.round_trips("pty"),
        (SER2NET, SERVE),
        (Less("round trip", SERVE, SER2NET, floor=1.2, goal=1.0, guard=2.0),),
    ),
    Group(
        "clients",
        "RFC 2217 client, against raw TCP to the same server",
        workloads.clients,
        (TCP_CLIENT, RFC2217_CLIENT, SOCKET_CLIENT, PYSERIAL_CLIENT),
        (
            More("receiving", RFC2217_CLIENT, TCP_CLIENT, floor=0.8, goal=0.95, guard=0.6),
            More("sending", RFC2217_CLIENT, TCP_CLIENT, floor=0.8, goal=0.95, guard=0.5),
            Less("round trip", RFC2217_CLIENT, TCP_CLIENT, floor=1.3, goal=1.1, guard=1.6),
        ),
    ),
    Group(
        "many",
        "Many bridges in one process",
        workloads.many,
        (HAPROXY, STREAMS, LINK),
        (
            More("operations per second", LINK, HAPROXY, floor=0.85, goal=1.0, guard=0.65),
            Less("round trip, p99", LINK, HAPROXY, floor=1.0, goal=0.85, guard=1.5),
            Less("KiB per idle bridge", LINK, None, floor=12, goal=6, guard=13),
        ),
    ),
    Group(
        "busy",
        "Requests while the event loop works 1 ms at a time",
        workloads.requests,
        (IDLE, BUSY, BUSY_IN_C, HALF_BUSY, APART_IDLE, APART_BUSY, STREAMS_IDLE, STREAMS_BUSY),
        (
            Less("answer, p50", APART_BUSY, APART_IDLE, floor=1.3, goal=1.15, guard=1.5),
            Less("answer, p50", BUSY, IDLE, floor=1.3, goal=1.15),
            Less("answer, p50", BUSY_IN_C, IDLE, floor=1.3, goal=1.15),
            Less("answer, p50", HALF_BUSY, IDLE),
            Less("answer, p50", STREAMS_BUSY, STREAMS_IDLE),
            Less("answer, p50", BUSY, STREAMS_BUSY, guard=1.5),
        ),
    ),
    Group(
        "flashing",
        "Stock esptool and a simulated ESP32, on the loopback interface",
        flashing.flashing,
        (flashing.DEVICE, flashing.OURS, flashing.STOCK),
        (
            Less("flash-id", flashing.OURS, flashing.DEVICE, floor=1.3),
            Less("write-flash 256 KiB", flashing.OURS, flashing.DEVICE, floor=1.3),
            More("flash-id", flashing.STOCK, flashing.OURS, floor=12),
            More("write-flash 256 KiB", flashing.STOCK, flashing.OURS, floor=12),
        ),
    ),
    Group(
        "blocking",
        "The object with pyserial's interface",
        blocking.reading,
        (blocking.PYSERIAL, blocking.PTY, blocking.TCP),
        (
            More("receiving", blocking.PTY, blocking.PYSERIAL, floor=1, guard=0.7),
            Less("round trip", blocking.PTY, blocking.PYSERIAL, floor=3, guard=4.5),
        ),
    ),
    Group(
        "connections",
        "Connect, one byte, close",
        workloads.connections,
        (SOCAT_FORK, HAPROXY, STREAMS, LINK),
        (
            Less("connect, one byte, close", LINK, SOCAT_FORK, floor=0.8, goal=0.5, guard=1.1),
            Less("connect to first byte", LINK, SOCAT_FORK),
        ),
    ),
    Group(
        "paced",
        "Messages of 16 bytes at the pace of a UART",
        workloads.paced,
        (SOCAT, HAPROXY, STREAMS, LINK),
        (
            Less("CPU per round trip at 115200", LINK, SOCAT),
            Less("CPU per round trip at 921600", LINK, SOCAT),
        ),
    ),
    Group(
        "line",
        "Line requests and events of an RFC 2217 server",
        line.requests_and_events,
        (line.PYSERIAL, line.OURS),
        (
            Less("client's DTR to ioctl", line.OURS, line.PYSERIAL),
            Less("modem change to notification", line.OURS, line.PYSERIAL),
        ),
    ),
    Group(
        "sharing",
        "One writer and 63 watchers at a port",
        sharing.writing_while_others_watch,
        (sharing.ALL_GOING, sharing.ONE_STOPPED),
        (
            More("writer's stream", sharing.ONE_STOPPED, sharing.ALL_GOING, floor=0.9, goal=1.0),
            Less("writer's round trip", sharing.ONE_STOPPED, sharing.ALL_GOING, floor=1.1, goal=1.0),
        ),
    ),
    Group(
        "import",
        "Importing",
        starting.importing,
        (starting.DEPENDENCIES, starting.OURS, starting.OPENING, starting.ALL),
        (
            Less("import", starting.OURS, starting.DEPENDENCIES, goal=1.3, guard=1.3),
            Less("import", starting.OPENING, starting.DEPENDENCIES),
            Less("import", starting.ALL, starting.DEPENDENCIES),
        ),
    ),
    Group(
        "start",
        "Starting a command",
        starting.running,
        (starting.DEPENDENCIES_COMMAND, starting.OUR_COMMAND, starting.SERVING_COMMAND, starting.MINITERM),
        (
            Less("start to end", starting.OUR_COMMAND, starting.DEPENDENCIES_COMMAND, guard=2.5),
            Less("start to end", starting.SERVING_COMMAND, starting.DEPENDENCIES_COMMAND),
        ),
    ),
    Group(
        "codec",
        "RFC 2217 codec alone",
        codec.rates,
        (codec.PYSERIAL, codec.OURS),
        tuple(More(name, codec.OURS, codec.PYSERIAL, guard=bound) for name, bound in codec.GUARDS.items()),
    ),
)
