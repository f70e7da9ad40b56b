"""An Arduino Uno as a port: optiboot, as Arduino ships it, on simavr."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path

import anyio.lowlevel
import pytest
from typing_extensions import Buffer, override

from serialnet import Inputs, LineEvent, LineSettings, Outputs, Purge
from serialnet.core.line import Line
from serialnet.transports.exec import ExecTransport
from serialnet.values.requests import SetOutputs

BOOT_LOADER = Path("/usr/share/arduino/hardware/arduino/avr/bootloaders/optiboot/optiboot_atmega328.hex")
BAUDRATE = 115200

# A program in the machine's words: it answers each byte with the next one, HAL with IBM.
SUCCESSOR = b"".join(
    word.to_bytes(2, "little")
    for word in (
        *(0xE082, 0x9380, 0x00C0, 0xE188, 0x9380, 0x00C1, 0xE180, 0x9380, 0x00C4),  # 115200 baud
        *(0x9180, 0x00C0, 0xFF87, 0xCFFC),  # wait for a byte
        *(0x9180, 0x00C6, 0x9583, 0x9380, 0x00C6, 0xCFF6),  # send its successor
    )
)


def build_uno(directory: Path) -> list[str]:
    """Compile the Uno; the command that runs one."""
    compiler = shutil.which("cc")
    if compiler is None or not Path("/usr/include/simavr/sim_avr.h").exists() or not BOOT_LOADER.exists():
        pytest.skip("needs cc, libsimavr-dev and arduino-core-avr")
    program = directory / "uno"
    source = Path(__file__).with_name("uno.c")
    subprocess.run(
        [compiler, "-O2", "-Wall", "-Wextra", "-Werror", "-o", program, source, "-lsimavr"], check=True
    )
    return [str(program), str(BOOT_LOADER)]


@contextmanager
def uno(command: list[str]) -> Iterator[UnoTransport]:
    """Power an Uno as long as the block lasts."""
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    )
    try:
        yield UnoTransport(process)
    finally:
        process.kill()
        process.wait()


class UnoTransport(ExecTransport):
    """The serial port of an Uno."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        super().__init__(process, "uno")
        self.line: UnoLine = UnoLine(process)

    @override
    async def send_some(self, data: Buffer) -> int:
        if self.line.settings.baudrate != BAUDRATE:  # it hears nothing but noise
            return await super().send_some(b"\xfc" * memoryview(data).nbytes)
        return await super().send_some(data)


class UnoLine(Line):
    """DTR is wired to the reset pin by a capacitor: when it goes on, the chip restarts."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._settings = LineSettings(9600)
        # As an operating system has it after the opening.
        self._outputs = Outputs(dtr=True, rts=True)
        self.resets = 0

    @property
    @override
    def settings(self) -> LineSettings:
        return self._settings

    @property
    @override
    def outputs(self) -> Outputs:
        return self._outputs

    @override
    async def configure(self, settings: LineSettings) -> LineSettings:
        await anyio.lowlevel.checkpoint()
        self._settings = settings
        return settings

    @override
    async def set_outputs(
        self, *, dtr: bool | None = None, rts: bool | None = None, brk: bool | None = None
    ) -> Outputs:
        await anyio.lowlevel.checkpoint()
        before, self._outputs = self._outputs, SetOutputs(dtr, rts, brk, unchanged=self._outputs).asked
        if self._outputs.dtr and not before.dtr:
            self._process.send_signal(signal.SIGUSR1)
            self.resets += 1
        return self._outputs

    @override
    async def get_inputs(self) -> Inputs:
        await anyio.lowlevel.checkpoint()
        return Inputs()

    @override
    async def purge(self, what: Purge) -> None:
        await anyio.lowlevel.checkpoint()

    @override
    async def drain(self) -> None:
        await anyio.lowlevel.checkpoint()

    @override
    def events(self) -> AbstractAsyncContextManager[AsyncIterator[LineEvent]]:
        return self._events()

    @asynccontextmanager
    async def _events(self) -> AsyncIterator[AsyncIterator[LineEvent]]:
        async def none() -> AsyncIterator[LineEvent]:
            await anyio.sleep_forever()
            yield LineEvent  # type: ignore[misc]  # pragma: no cover

        yield none()
