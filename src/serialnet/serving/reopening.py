"""How a port is found again: by its URL, and on USB at the socket where it was."""

from __future__ import annotations

from dataclasses import replace

import anyio
from anyio.to_thread import run_sync

from ..core.endpoint import Endpoint
from ..core.errors import MassStorageError, OpenError
from ..core.opening import Opener, connect, option_names
from ..core.transport import Transport, TransportAttribute
from ..port_list import PortInfo, find_port, list_ports
from ..port_watch import PortAdded, watch_ports
from ..values.settings import FlowControl, LineSettings, Outputs

__all__ = ["Reopening"]

# What names a device, rather than where on a network it is.
DEVICES = {"serial", "usb"}


class Reopening:
    """Opens an endpoint again and again.

    A USB serial port is looked for at its socket first: the boot loader of a board may have another name,
    product and serial number than its firmware. Then it is opened as the endpoint says, but under a name that
    another device has now.
    """

    def __init__(self, opener: Opener) -> None:
        self._opener = opener
        self._endpoint = endpoint = opener.endpoint
        self.tells: bool = endpoint.schemes[-1] in DEVICES
        self._follows = self.tells and endpoint.options.get("follow", "") not in (
            "0",
            "off",
            "no",
            "false",
        )
        self._info: PortInfo | None = None
        self._seen: frozenset[str] = frozenset()

    async def open(self, settings: LineSettings | None = None, outputs: Outputs | None = None) -> Transport:
        """Open the endpoint.

        :param settings: what the line is to be set to, if it has one
        :param outputs: what the line is to drive
        :raises OpenError: if it is not there
        """
        if self.tells:
            # What appears from now on is worth another attempt.
            self._seen = frozenset(port.url for port in await run_sync(list_ports))
        transport = await self._open(_options(self._endpoint, settings, outputs))
        if self._follows:
            url = transport.extra(TransportAttribute.url, "")
            self._info = await run_sync(find_port, Endpoint.parse(url).path) if url else None
        return transport

    async def _open(self, options: dict[str, object]) -> Transport:
        is_disk: MassStorageError | None = None
        if self._info is not None and self._info.location is not None:
            at_socket = replace(
                self._endpoint,
                schemes=("usb",),
                host="",
                path="",
                options={**_others(self._endpoint), "location": self._info.location.partition(":")[0]},
            )
            try:
                return await connect(at_socket, **options)
            except OpenError as error:
                if await self._is_another():
                    raise
                is_disk = error if isinstance(error, MassStorageError) else None
        try:
            return await self._opener.open(options)
        except OpenError:
            if is_disk is not None:  # that says more than that there is none
                raise is_disk from None
            raise

    async def _is_another(self) -> bool:
        """Whether a device that is not ours has our name."""
        if self._endpoint.schemes[-1] != "serial" or self._info is None:
            return False
        found = await run_sync(find_port, self._endpoint.path)
        return found is None or _identity(found) != _identity(self._info)

    async def changed(self) -> None:
        """Return when a device was plugged in; never, for what is none."""
        if not self.tells:
            await anyio.sleep_forever()
        seen = set(self._seen)
        async with watch_ports() as events:
            async for event in events:
                if not isinstance(event, PortAdded):
                    seen.discard(event.port.url)
                elif event.port.url not in seen:
                    return


def _identity(port: PortInfo) -> tuple[object, ...]:
    return port.vid, port.pid, port.serial_number


def _others(endpoint: Endpoint) -> dict[str, str]:
    """The options that do not tell which device is meant."""
    which = {"serial", "location"}
    return {name: value for name, value in endpoint.options.items() if name not in which}


def _options(endpoint: Endpoint, settings: LineSettings | None, outputs: Outputs | None) -> dict[str, object]:
    """The options that open an endpoint with a line as it was."""
    options: dict[str, object] = {}
    if settings is not None:
        options |= {
            "baudrate": settings.baudrate,
            "bytesize": settings.bytesize,
            "parity": settings.parity,
            "stopbits": settings.stopbits,
            "rtscts": settings.flow is FlowControl.RTSCTS,
            "xonxoff": settings.flow is FlowControl.XONXOFF,
        }
    if outputs is not None:
        options |= {"dtr": outputs.dtr, "rts": outputs.rts}
    known = option_names(endpoint) if options else set()
    return {name: value for name, value in options.items() if name in known}
