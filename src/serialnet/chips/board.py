"""A development board: the reset circuit, the chip, its flash, and the serial line to the host."""

from collections.abc import Callable
from enum import Enum
from functools import partial

from ..values.events import LineErrors
from ..values.settings import Inputs, LineSettings, Outputs, Purge
from .circuit import TransistorReset, UsbJtagReset
from .firmware import MARKER, Echo, Nothing, factory_image, find_image
from .flash import Flash
from .loader import Action, Loader, Restart, SetBaudrate
from .models import MODELS, Cause
from .wire import Wire, fits, garble

__all__ = ["Board", "Mode"]

#: The most bytes that wait in each direction; on their way to a paced board: what a driver's buffer holds.
LIMIT = 0x10000
PACED_ROOM = 0x1000

#: The most boots that are remembered.
MOST_BOOTS = 1000

CAPACITORS = 1e-9, 1e-3

USB_SERIAL_JTAG = 0x303A, 0x1001

#: Seconds for which a board that enumerates anew is gone.
GAP = 0.3

#: Seconds until a chip restarts: after its last reply, and after the watchdog was armed (the 2000 ticks of
#: about 136 kHz that flashers ask for).
RESTART_DELAY = 0.01
WATCHDOG_DELAY = 2000 / 136e3

#: Seconds for which a firmware waits whether a touch is taken back.
TOUCH_DELAY = 0.25


class Mode(Enum):
    """What the chip does: kept in reset, running from flash, in the ROM loader, running a stub."""

    RESET = "reset"
    APPLICATION = "application"
    DOWNLOAD = "download"
    STUB = "stub"


class Board:
    """A simulated development board with an ESP32, ESP32-S2 or ESP32-C3, as its host sees it: a serial port.

    A model without I/O. Each input comes with the time ``now`` (seconds, of any clock that does not run
    backwards); what fell due before is carried out first, in the order of time, so that the result does not
    depend on how often or how late :meth:`advance` is called. A new board has been running its factory
    firmware for long.

    What it does:

    - DTR and RTS reset it as the circuit or the logic on such boards does; :attr:`boots` tells into what.
    - Started from flash with a valid image (magic byte 0xE9 at the bootloader's offset: 0x0 on an ESP32-C3,
      0x1000 on the others) it prints a boot log, ``firmware_log`` and, if the first 64 KiB of the image
      contain ``serialnet-app:NAME`` and a NUL, that line; then it sends back each byte that it gets. Without
      an image the ROM prints ``invalid header: 0x...``, once, and does no more.
    - In download mode it speaks the protocol of the ROM loader and, once a flasher has loaded its stub into
      RAM (which is accepted unread), that of the stub.
    - Its UART runs at 115200 baud until a flasher changes that. If the host's rate differs by more than 3 %,
      or the host uses another parity or number of data bits, bytes are garbled both ways. Over native USB
      (``usb_jtag``, ``reenumerate``) the settings do not matter, and nothing is paced.
    - What a host does not read waits, up to 64 KiB; what comes beyond is lost and counted as overrun. An
      unpaced board takes no more than it has room to echo, as with hardware flow control: its echo loses
      nothing.

    :param chip: ``esp32``, ``esp32s2`` or ``esp32c3``
    :param capacitor: at EN, in farads: 1e-6 (13.9 ms until the chip starts) and 1e-7 (1.4 ms) are usual
    :param flash_size: bytes, a power of two from 256 KiB to 16 MiB
    :param pace: bytes take the time that they need at their rate; else they arrive at once
    :param reenumerate: (esp32s2) native USB: when it enters or leaves the download mode, the device
        disappears for 0.3 s and comes back under another name
    :param touch: (with ``reenumerate``) its firmware restarts it into the download mode when the host sets
        1200 baud and drops DTR, as Arduino's does; DTR and RTS do not reset it then
    :param usb_jtag: (esp32c3) connected through its USB Serial/JTAG controller, whose logic resets it
    :param firmware_log: what a firmware prints when it starts
    :raises ValueError: if a value is none of these
    """

    def __init__(
        self,
        chip: str = "esp32",
        *,
        capacitor: float = 1e-6,
        flash_size: int = 4 << 20,
        pace: bool = False,
        reenumerate: bool = False,
        touch: bool = False,
        usb_jtag: bool = False,
        firmware_log: bytes = b"Hello from a simulated board\r\n",
    ) -> None:
        if chip not in MODELS:
            raise ValueError(f"chip must be one of {', '.join(MODELS)}, not {chip!r}")
        if not CAPACITORS[0] <= capacitor <= CAPACITORS[1]:
            raise ValueError(
                f"capacitor must be from {CAPACITORS[0]} to {CAPACITORS[1]} farads, not {capacitor}"
            )
        if reenumerate and chip != "esp32s2":
            raise ValueError(f"only an esp32s2 can have reenumerate, not an {chip}")
        if touch and not reenumerate:
            raise ValueError("only a board with reenumerate can have touch")
        if usb_jtag and chip != "esp32c3":
            raise ValueError(f"only an esp32c3 can have usb_jtag, not an {chip}")
        self._model = MODELS[chip]
        self._circuit = UsbJtagReset() if usb_jtag else TransistorReset(capacitor)
        self._reset_cause = Cause.USB if usb_jtag else Cause.POWER_ON
        self._reenumerate = reenumerate
        self._has_touch = touch
        self._usb_jtag = usb_jtag
        self._has_uart = not (usb_jtag or reenumerate)
        self._firmware_log = firmware_log

        self._now = float("-inf")
        self._settings = LineSettings()
        self._outputs = Outputs()
        self._inputs = Inputs()
        self._errors = LineErrors()
        self._from_host = Wire(pace and self._has_uart)
        self._to_host = Wire(pace and self._has_uart)
        self._output = bytearray()

        self._uart = LineSettings()
        self._program: Echo | Nothing | Loader | None = Echo()
        self._restart: Restart | None = None
        self._restarts: float | None = None
        self._touched: float | None = None
        self._returns: float | None = None
        self._enumerations = 0
        self._known_as_loader = False
        self._log = b""

        #: The flash memory, for tests to read and write.
        self.flash: Flash = Flash(flash_size)
        self.flash.write(self._model.bootloader, factory_image())
        #: Into what the chip booted, each time: ``Mode.APPLICATION`` or ``Mode.DOWNLOAD`` (the last 1000).
        self.boots: list[Mode] = []
        #: How many BREAKs the host sent.
        self.breaks: int = 0
        #: Set it, and the board takes no more data, though it still sees DTR and RTS; a reset clears it.
        self.stalled: bool = False

    # What the host does.

    def receive_data(self, data: bytes | bytearray | memoryview, now: float) -> None:
        """Take bytes from the host (a copy of them). What is beyond :attr:`room` is lost."""
        self.advance(now)
        taken = bytes(data[: self.room])
        if taken:
            self._from_host.put(taken, self._settings, self._now)
            self.advance(now)

    def set_outputs(self, outputs: Outputs, now: float) -> None:
        """See DTR, RTS and BREAK change, in one step."""
        self.advance(now)
        if not self.connected:
            return
        self.breaks += outputs.brk and not self._outputs.brk
        self._outputs = outputs
        if not self._listens_for_touch:
            self._circuit.set_outputs(outputs, self._now)
            if self._circuit.held:
                self._halt()
        self._look_for_touch()
        self.advance(now)

    def configure(self, settings: LineSettings, now: float) -> None:
        """See the host change the settings of its side."""
        self.advance(now)
        self._settings = settings
        self._look_for_touch()

    def purge(self, what: Purge, now: float) -> None:
        """Throw away what the host has not read (``RECEIVED``) or what is on its way to the chip."""
        self.advance(now)
        if Purge.RECEIVED in what:
            self._output.clear()
        if Purge.UNSENT in what:
            self._from_host.clear()

    def advance(self, now: float) -> None:
        """Carry out what is due."""
        now = max(now, self._now)
        while (event := self._next_event()) and event[0] <= now:
            self._now, happen = event
            happen()
        self._now = now

    # What the host sees.

    def data_to_send(self, max_bytes: int = LIMIT) -> bytes:
        """Take bytes that have arrived at the host, as of the latest ``now``."""
        data = bytes(self._output[:max_bytes])
        del self._output[:max_bytes]
        return data

    @property
    def waiting(self) -> int:
        """How many bytes :meth:`data_to_send` has."""
        return len(self._output)

    @property
    def unsent(self) -> int:
        """How many bytes from the host are still on their way to the chip (only with ``pace``)."""
        return self._from_host.pending

    @property
    def room(self) -> int:
        """How many bytes the board takes at present."""
        if self.stalled:
            return 0
        if self._from_host.paced:
            return PACED_ROOM - self._from_host.pending
        return LIMIT - len(self._output)

    @property
    def deadline(self) -> float | None:
        """When :meth:`advance` should be called next."""
        event = self._next_event()
        return event[0] if event else None

    @property
    def inputs(self) -> Inputs:
        """The modem status lines, as the host sees them."""
        return self._inputs

    @property
    def connected(self) -> bool:
        """Whether the device is there at all; while it is not, bytes and line changes are lost."""
        return self._returns is None

    @property
    def chip(self) -> str:
        """Which chip it is."""
        return self._model.name

    @property
    def name(self) -> str:
        """The name of the device: another one after each enumeration."""
        return f"usb{self._enumerations}"

    @property
    def usb(self) -> tuple[int, int] | None:
        """Vendor and product, if it is connected by its own USB."""
        return USB_SERIAL_JTAG if self._usb_jtag else None

    def take_errors(self) -> LineErrors:
        """Give the errors and BREAKs that the host's receiver counted since the last call."""
        errors, self._errors = self._errors, LineErrors()
        return errors

    # What a test sees and does.

    @property
    def mode(self) -> Mode:
        """What the chip does, as of the latest ``now``."""
        match self._program:
            case None:
                return Mode.RESET
            case Loader(in_stub=in_stub):
                return Mode.STUB if in_stub else Mode.DOWNLOAD
            case _:
                return Mode.APPLICATION

    @property
    def settings(self) -> LineSettings:
        """What the host set its side to."""
        return self._settings

    @property
    def outputs(self) -> Outputs:
        """How the host drives DTR, RTS and BREAK."""
        return self._outputs

    @property
    def baudrate(self) -> int:
        """The rate of the chip's UART."""
        return self._uart.baudrate

    def set_inputs(self, inputs: Inputs) -> None:
        """Drive the modem status lines."""
        self._inputs = inputs

    def transmit(self, data: bytes, now: float) -> None:
        """Send bytes to the host, as a firmware does of its own accord."""
        self.advance(now)
        self._send(data)
        self.advance(now)

    def add_errors(self, errors: LineErrors) -> None:
        """Let the host's receiver count errors, or BREAKs that the board sent."""
        self._errors += errors

    # What happens in between.

    def _next_event(self) -> tuple[float, Callable[[], None]] | None:
        events = (
            (self._circuit.deadline, self._leave_reset),
            (self._restarts, self._carry_out_restart),
            (self._touched, partial(self._boot, Cause.SOFTWARE, download=True)),
            (self._returns, self._return),
            (self._from_host.deadline, self._arrive),
            (self._to_host.deadline, self._deliver),
        )
        due = [(at, happen) for at, happen in events if at is not None]
        return min(due, key=lambda event: event[0], default=None)

    def _halt(self) -> None:
        self._program = None
        self._restarts = self._touched = None
        self._uart = LineSettings()
        self._to_host.clear()
        self.stalled = False

    @property
    def _listens_for_touch(self) -> bool:
        """Whether a firmware runs that takes DTR for a message; then RTS has no meaning."""
        return self._has_touch and self.mode is Mode.APPLICATION

    def _look_for_touch(self) -> None:
        is_touch = self._settings.baudrate == 1200 and not self._outputs.dtr
        if not (is_touch and self._listens_for_touch and self.connected):
            self._touched = None
        elif self._touched is None:
            self._touched = self._now + TOUCH_DELAY

    def _leave_reset(self) -> None:
        self._circuit.deadline = None
        self._boot(self._reset_cause, self._circuit.download)

    def _carry_out_restart(self) -> None:
        match self._restart:
            case Restart.WATCHDOG:
                self._boot(Cause.WATCHDOG, self._circuit.download)
            case restart:
                self._boot(Cause.SOFTWARE, restart is Restart.ROM)

    def _boot(self, cause: Cause, download: bool) -> None:
        self._halt()
        self.boots.append(Mode.DOWNLOAD if download else Mode.APPLICATION)
        del self.boots[:-MOST_BOOTS]
        self._log = self._model.boot_log(cause, download)
        if download:
            self._program = Loader(self._model, self.flash)
        else:
            self._start_from_flash()
        if self._reenumerate and download is not self._known_as_loader:
            self._known_as_loader = download
            self._disappear()
        else:
            self._send(self._log)

    def _start_from_flash(self) -> None:
        name = find_image(self._model, self.flash)
        if name is None:
            header = int.from_bytes(self.flash.read(self._model.bootloader, 4), "little")
            self._log += b"invalid header: 0x%08x\r\n" % header
            self._program = Nothing()
            return
        self._log += self._firmware_log
        if name:
            self._log += MARKER + name.encode() + b"\r\n"
        self._program = Echo()

    def _disappear(self) -> None:
        self._output.clear()
        # Nobody drives the lines of a device that is not there.
        self._outputs = Outputs()
        self._circuit.set_outputs(self._outputs, self._now)
        self._returns = self._now + GAP

    def _return(self) -> None:
        self._returns = None
        self._enumerations += 1
        self._send(self._log)

    def _arrive(self) -> None:
        settings, data = self._from_host.take()
        if self._program is None or not self.connected:
            return
        if not self._understood(settings, self._uart):
            data = garble(data)
        for action in self._program.receive(data):
            self._act(action)

    def _act(self, action: Action) -> None:
        match action:
            case SetBaudrate(baudrate):
                self._uart = LineSettings(baudrate)
            case Restart():
                delay = WATCHDOG_DELAY if action is Restart.WATCHDOG else RESTART_DELAY
                self._restart, self._restarts = action, self._to_host.free + delay
            case bytes():
                self._send(action)

    def _send(self, data: bytes) -> None:
        if self._program is not None and self.connected:
            self._to_host.put(self._limited(data, self._to_host.pending), self._uart, self._now)

    def _deliver(self) -> None:
        settings, data = self._to_host.take()
        if not self._understood(settings, self._settings):
            data = garble(data)
            self.add_errors(LineErrors(framing=len(data)))
        self._output += self._limited(data, len(self._output))

    def _limited(self, data: bytes, held: int) -> bytes:
        fitting = data[: LIMIT - held]
        if lost := len(data) - len(fitting):
            self.add_errors(LineErrors(overrun=lost))
        return fitting

    def _understood(self, sender: LineSettings, receiver: LineSettings) -> bool:
        return not self._has_uart or fits(sender, receiver)
