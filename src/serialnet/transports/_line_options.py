"""The options that all transports with a line share."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.line import Line
from ..core.options import option
from ..values.settings import FlowControl, LineSettings, Parity, StopBits

__all__ = ["LineOptions", "SerialOptions"]


@dataclass(frozen=True, slots=True)
class LineOptions:
    """What the line is set to once it is open; what is not named stays as it is found."""

    baudrate: int | None = option(None, "bits per second")
    bytesize: int | None = option(None, "data bits, 5 to 8")
    parity: Parity | None = option(None, "none, odd, even, mark or space")
    stopbits: StopBits | None = option(None, "stop bits")
    rtscts: bool | None = option(None, "hardware flow control")
    xonxoff: bool | None = option(None, "software flow control")
    dtr: bool | None = option(None, "DTR")
    rts: bool | None = option(None, "RTS")

    def __post_init__(self) -> None:
        if self.rtscts and self.xonxoff:
            raise ValueError("rtscts and xonxoff exclude each other")
        self.settings(LineSettings())  # says what is out of range

    def settings(self, found: LineSettings) -> LineSettings:
        """The settings that were asked for, on top of those that were found."""
        flow = found.flow
        if self.rtscts is not None or self.xonxoff is not None:
            flow = (
                FlowControl.RTSCTS
                if self.rtscts
                else FlowControl.XONXOFF
                if self.xonxoff
                else FlowControl.NONE
            )
        return LineSettings(
            found.baudrate if self.baudrate is None else self.baudrate,
            found.bytesize if self.bytesize is None else self.bytesize,
            self.parity or found.parity,
            self.stopbits or found.stopbits,
            flow,
        )

    async def apply(self, line: Line) -> None:
        """Set a line that is open."""
        await line.configure(self.settings(line.settings))
        if self.dtr is not None or self.rts is not None:
            await line.set_outputs(dtr=self.dtr, rts=self.rts)


@dataclass(frozen=True, slots=True)
class SerialOptions(LineOptions):
    """The options of a serial port. It is set to 115200 8N1 but for what is named; DTR and RTS are on."""

    hupcl: bool = option(False, "drop DTR and RTS when the port is closed")
    low_latency: bool = option(True, "ask the driver to pass each byte on at once")
    exclusive: bool = option(True, "keep other programs from opening the port meanwhile")
    follow: bool = option(
        True, "find the device again at its USB socket when it comes back under another name"
    )
