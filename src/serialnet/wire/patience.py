"""Patience for flashers: keeps a tool waiting while the answer of an Espressif chip is still on its way.

esptool gives a chip 0.1 s to answer SYNC and 0.2 s to start the stub (MEM_END); what comes later finds
nobody who waits for it. Its clock starts anew with each frame, though, and it skips frames that are no
answer. So while the chip's own answer is under way, the end near the tool sends it frames that are empty,
which RFC 1055 has any receiver ignore.

Nothing is ever said in the chip's place, and nothing of what it says is held back: each success that a tool
reports is the chip's own, and where the chip refuses or is silent, the tool fails as it does on the device
itself, only later. What is sent to the chip is left alone altogether.
"""

from __future__ import annotations

from struct import Struct

from . import slip

__all__ = ["Patience"]

_HEADER = Struct("<BBHI")  # direction, command, size, checksum
_REQUEST, _ANSWER = 0, 1
_MEM_END, _SYNC = 0x06, 0x08
_SYNC_DATA = bytes([0x07, 0x07, 0x12, 0x20]) + 32 * b"\x55"
SYNC = _HEADER.pack(_REQUEST, _SYNC, len(_SYNC_DATA), 0) + _SYNC_DATA
_SYNC_FRAME = slip.encode(SYNC)
_MAX_FRAME = 64  # longer ones are none of those that matter

EMPTY_FRAME = slip.END + slip.END
INTERVAL = 0.04
"""Seconds from one empty frame to the next: well below the 0.1 s that a tool waits, and in less than 100 of
them, which is how many esptool skips, the longest wait is over."""
LONGEST_WAIT = {_SYNC: 1.0, _MEM_END: 3.0}
"""Seconds that an answer may be under way. A chip that is not in its loader never answers SYNC, and the tool
shall find that out in time; it has no reason to stay silent on MEM_END."""


class Patience:
    """Looks at both directions, and tells when the tool is to be sent what.

    It wakes up at SYNC, which no other protocol has: before, nothing happens whatever passes. Sans-I/O: bytes
    and the time in, empty frames and a deadline out.
    """

    def __init__(self) -> None:
        self.deadline: float | None = None
        """When :meth:`expire` is to be called, or ``None``."""
        self._round_trip: float | None = None
        self.forget()

    def forget(self) -> None:
        """Start anew: the chip was reset, or another program has come."""
        self._in_session = False
        self._tail = b""  # of what was sent, where a SYNC may have begun
        self._syncing = False
        self._stop_waiting()

    def measured(self, round_trip: float) -> None:
        """Hear how long something took that the far end answered: no answer is under way for much longer.

        :param round_trip: in seconds; the longest counts
        """
        self._round_trip = max(self._round_trip or 0.0, round_trip)

    @property
    def ends_in_sync(self) -> bool:
        """Whether the last that was sent is a SYNC: without an answer, a tool throws it away for another."""
        return self._syncing and not self._requests.in_frame

    def sent(self, data: bytes | memoryview, now: float) -> None:
        """Look at what goes to the chip."""
        if not self._in_session:
            seen = self._tail + data
            begin = seen.find(_SYNC_FRAME)
            if begin < 0:
                self._tail = seen[1 - len(_SYNC_FRAME) :]
                return
            self._in_session = True
            self._requests = slip.Decoder(_MAX_FRAME)
            data = seen[begin:]
        for frame in self._requests.receive(bytes(data)):
            self._request(frame, now)

    def received(self, data: bytes | memoryview) -> None:
        """Look at what comes from the chip, before it goes on to the tool."""
        if self.deadline is not None:
            for frame in self._answers.receive(bytes(data)):
                if frame[:2] == bytes([_ANSWER, self._awaited]):
                    self._stop_waiting()
                    return

    def expire(self, now: float) -> bytes:
        """Give what the tool is to be sent at once, after what was received and before what comes next."""
        if now >= self._until:
            self._stop_waiting()
            return b""
        self.deadline = min(now + INTERVAL, self._until)
        return b"" if self._answers.in_frame else EMPTY_FRAME

    def _request(self, frame: bytes, now: float) -> None:
        self._syncing = frame == SYNC
        if len(frame) < _HEADER.size or frame[0] != _REQUEST:
            return
        self._stop_waiting()
        _, command, size, _ = _HEADER.unpack_from(frame)
        if frame == SYNC or (command == _MEM_END and size == len(frame) - _HEADER.size == 8):
            wait = LONGEST_WAIT[command]
            if self._round_trip is not None:
                wait = min(wait, 2 * self._round_trip)
            self._awaited = command
            self._until = now + wait
            self._answers = slip.Decoder(_MAX_FRAME)
            self.deadline = min(now + INTERVAL, self._until)

    def _stop_waiting(self) -> None:
        self.deadline = None
        self._awaited = 0
        self._until = 0.0
