"""Simulated boards, for tests and demonstrations: bytes, lines and the time in; bytes and a deadline out.

:class:`Board` is a whole development board (its reset circuit, the chip with its ROM loader and flash, the
firmware in it) as a model without I/O, threads or a clock of its own. Flashers of the esptool family can
identify, write, verify, read and erase it. ``sim://`` URLs connect to one; embed it to test a program of your
own.

The least that a driver of a board does, with ``clock`` and a way to send and to receive::

    board.receive_data(received, clock())  # or set_outputs, configure
    send(board.data_to_send())
    wait_for_input_or_until(board.deadline)
    board.advance(clock())
"""

from .board import Board, Mode
from .flash import Flash

__all__ = ["Board", "Flash", "Mode"]
