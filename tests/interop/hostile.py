"""What a server may be sent by mistake or in bad faith: what ends other servers, and what is made up."""

from __future__ import annotations

from random import Random

IAC, SE, SB = b"\xff", b"\xf0", b"\xfa"
BRK, AYT = b"\xf3", b"\xf6"
WILL, WONT, DO, DONT = b"\xfb", b"\xfc", b"\xfd", b"\xfe"
COM_PORT = b"\x2c"
MIB = 1 << 20


def command(code: int, payload: bytes = b"") -> bytes:
    """A command of RFC 2217, whether it makes sense or not."""
    return IAC + SB + COM_PORT + bytes([code]) + payload.replace(IAC, IAC + IAC) + IAC + SE


# Each ends pyserial's servers or sets something that no port can do.
KNOWN = {
    "unknown parity": command(3, b"\x09"),
    "SE without SB": IAC + SE,
    "baud rate of one byte": command(1, b"\x01"),
    "baud rate of three bytes": command(1, b"\x01\xc2\x00"),
    "baud rate of five bytes": command(1, bytes(5)),
    "no baud rate": command(1),
    "greatest baud rate": command(1, b"\xff" * 4),
    "lowest baud rate": command(1, b"\0\0\0\x01"),
    "unknown data size": command(2, b"\x09"),
    "no data size": command(2),
    "no parity": command(3),
    "unknown stop size": command(4, b"\x09"),
    "no stop size": command(4),
    "unknown control": command(5, b"\xfe"),
    "no control": command(5),
    "no line state mask": command(10),
    "long line state mask": command(10, b"\xff" * 100),
    "no modem state mask": command(11),
    "unknown purge": command(12, b"\x09"),
    "no purge": command(12),
    "unknown command": command(99, b"what"),
    "a server's command": command(101, bytes(4)),
    "empty subnegotiation": IAC + SB + IAC + SE,
    "no command": IAC + SB + COM_PORT + IAC + SE,
    "another option's": IAC + SB + b"\x18\x01" + IAC + SE,
    "SB within SB": IAC + SB + COM_PORT + b"\x01" + IAC + SB + COM_PORT + b"\x01" + IAC + SE,
    "negotiation within SB": IAC + SB + COM_PORT + b"\x01" + IAC + WILL + b"\x01" + IAC + SE,
    "subnegotiation without end": IAC + SB + COM_PORT + b"\x01",
    "half an escape": IAC,
    "half a negotiation": IAC + WILL,
    "unknown telnet command": IAC + b"\x01" + IAC + b"\xef",
    "all telnet commands": b"".join(IAC + bytes([code]) for code in range(0xF0, 0xFA) if code != 0xF3),
    "every option offered": b"".join(IAC + WILL + bytes([option]) for option in range(256)),
    "every option asked for": b"".join(IAC + DO + bytes([option]) for option in range(256)),
    "refusal of all": b"".join(
        IAC + verb + bytes([option]) for verb in (WONT, DONT) for option in range(256)
    ),
    "a signature of 64 KiB": command(0, b"x" * 65536),
    "another protocol": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "TLS": bytes.fromhex("16030100c8010000c40303") + bytes(200),
    "suspended and never resumed": command(8),
}

# Much of one thing.
FLOODS = {
    "negotiation": b"".join(
        IAC + DO + bytes([i % 251]) + IAC + DONT + bytes([i % 251]) for i in range(50_000)
    ),
    "questions": command(1, bytes(4)) * 20_000,
    "are-you-theres": (IAC + AYT) * 200_000,
    "empty subnegotiations": (IAC + SB + IAC + SE) * 100_000,
    "a subnegotiation of 16 MiB": IAC + SB + COM_PORT + bytes(16 * MIB),
    "a subnegotiation of 16 MiB, escaped": IAC + SB + COM_PORT + (IAC + IAC) * (8 * MIB),
    "data": bytes(range(32, 127)) * 40_000,
    "0xFF": b"\xff" * (4 * MIB),
}


def make_up(random: Random) -> bytes:
    """A mixture of what is right, what is nearly right, and noise."""
    return b"".join(random.choice(_PARTS)(random) for _ in range(random.randint(1, 12)))


def _right(random: Random) -> bytes:
    code, width = random.choice(
        [(0, 0), (1, 4), (2, 1), (3, 1), (4, 1), (5, 1), (8, 0), (9, 0), (11, 1), (12, 1)]
    )
    return command(code, bytes(random.choice((0, 1, 2, 5, 8, 13, 255)) for _ in range(width)))


def _wrong(random: Random) -> bytes:
    return command(random.randrange(256), random.randbytes(random.choice((0, 1, 2, 3, 4, 5, 40))))


def _truncated(random: Random) -> bytes:
    whole = random.choice((_right, _wrong))(random)
    return whole[: random.randrange(len(whole))]


def _escapes(random: Random) -> bytes:
    # A BREAK is right, but takes its quarter of a second.
    return b"".join(IAC + bytes([random.choice(_NO_BRK)]) for _ in range(random.randint(1, 5)))


def _negotiation(random: Random) -> bytes:
    return b"".join(
        IAC + random.choice((WILL, WONT, DO, DONT)) + random.choice((b"\0", b"\1", b"\3", COM_PORT, b"\xff"))
        for _ in range(random.randint(1, 40))
    )


def _huge(random: Random) -> bytes:
    return IAC + SB + COM_PORT + random.randbytes(1) * random.randint(1000, 40_000)


def _noise(random: Random) -> bytes:
    return random.randbytes(random.randint(1, 60)).replace(IAC + BRK, IAC)


_NO_BRK = [code for code in range(256) if code != BRK[0]]
_PARTS = [_right, _wrong, _truncated, _escapes, _negotiation, _huge, _noise]
