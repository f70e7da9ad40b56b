"""pyserial's client against our server, and our client against pyserial's server."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any, cast

import pytest
import serial
from serial.rfc2217 import PortManager

from serialnet.values.events import InputsChanged, SettingsChanged
from serialnet.values.requests import Configure, GetInputs, InForce, LineRequest, PurgeRequest, SetOutputs
from serialnet.values.settings import FlowControl, Inputs, LineSettings, Outputs, Parity, Purge, StopBits
from serialnet.wire.comport import Answered, ComPortClient, ComPortServer

from .wire_tools import events, grant, sb

# What pyserial 3.5 says when it opens a port, by turns with what it waits for.
OPENING = bytes.fromhex("fffd01 fffb03 fffd03 fffd2c fffb2c")
SETTINGS = sb(1, 0, 1, 0xC2, 0) + sb(2, 8) + sb(3, 1) + sb(4, 1)


def test_the_opening_of_pyserial() -> None:
    server = ComPortServer()
    server.notify(SettingsChanged(LineSettings(), Outputs()))
    server.initiate()
    server.data_to_send()
    assert events(server, OPENING) == []
    assert server.agreed
    assert server.data_to_send() == bytes.fromhex("fffb2c") + sb(107, 0)
    server.receive_data(SETTINGS)
    for reply in (sb(101, 0, 1, 0xC2, 0), sb(102, 8), sb(103, 1), sb(104, 1)):
        assert isinstance(server.next_event(), Configure)
        server.answer(LineSettings())
        assert server.data_to_send() == reply
    assert server.next_event() is None


@contextmanager
def serving(port: Callable[[LineRequest], InForce]) -> Iterator[tuple[str, list[object]]]:
    """Serve one client, data echoed; yields the address and what was asked for."""
    seen: list[object] = []

    def run() -> None:
        connection, _ = listener.accept()
        with connection:
            server = ComPortServer()
            server.notify(SettingsChanged(LineSettings(9600), Outputs()))
            server.notify(InputsChanged(Inputs(), Inputs(dsr=True)))
            server.initiate()
            connection.sendall(server.data_to_send())
            while data := connection.recv(65536):
                server.receive_data(data)
                while True:
                    event = server.next_event()
                    if isinstance(event, bytes):
                        connection.sendall(server.send_data(event))
                    elif event is not None:
                        seen.append(event)
                        server.answer(port(event))
                    else:
                        break
                connection.sendall(server.data_to_send())

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}", seen
        finally:
            thread.join(10)
            assert not thread.is_alive()


@pytest.mark.filterwarnings("ignore::DeprecationWarning:serial")
def test_pyserials_client_can_do_all_it_offers() -> None:
    with (
        serving(grant) as (address, seen),
        closing(serial.serial_for_url(f"rfc2217://{address}", 115200, timeout=5)) as port,
    ):
        assert port.dsr
        assert not port.cts
        assert seen == [
            Configure(LineSettings(), unchanged=LineSettings(9600)),
            *[Configure(LineSettings(), unchanged=LineSettings())] * 4,
            SetOutputs(dtr=True),
            SetOutputs(rts=True, unchanged=Outputs(dtr=True)),
            PurgeRequest(Purge.RECEIVED),
            PurgeRequest(Purge.UNSENT),
        ]
        everything = bytes(range(256)) + b"\xff\xff\xff\r\n\r\0"
        port.write(everything)
        assert port.read(len(everything)) == everything
        seen.clear()
        port.apply_settings(
            {"baudrate": 9600, "parity": "E", "bytesize": 7, "stopbits": 1.5, "xonxoff": True}
        )
        port.break_condition = True
        port.break_condition = False
        port.dtr = False
        port.rts = False
        configured = LineSettings(9600, 7, Parity.EVEN, StopBits.ONE_POINT_FIVE, FlowControl.XONXOFF)
        assert [request.settings for request in seen if isinstance(request, Configure)][-1] == configured
        assert [request.asked for request in seen if isinstance(request, SetOutputs)] == [
            Outputs(True, True, True),
            Outputs(True, True, False),
            Outputs(False, True, False),
            Outputs(False, False, False),
        ]


@pytest.mark.filterwarnings("ignore::DeprecationWarning:serial")
def test_pyserials_client_polls_the_inputs() -> None:
    with (
        serving(grant) as (address, seen),
        closing(serial.serial_for_url(f"rfc2217://{address}?poll_modem")) as port,
    ):
        deadline = time.monotonic() + 10
        while GetInputs(unchanged=Inputs(dsr=True)) not in seen and time.monotonic() < deadline:
            assert port.dsr or port.cts
        assert GetInputs(unchanged=Inputs(dsr=True)) in seen
        while not port.cts and time.monotonic() < deadline:
            pass
        assert port.cd


@pytest.mark.filterwarnings("ignore::DeprecationWarning:serial")
def test_pyserials_client_sees_a_refusal() -> None:
    def refuse(request: LineRequest) -> InForce:
        return request.unchanged if isinstance(request, Configure) else grant(request)

    with serving(refuse) as (address, _), pytest.raises(ValueError, match="rejected"):
        serial.serial_for_url(f"rfc2217://{address}", 115200)


class Outbox:
    """What a PortManager writes to."""

    def __init__(self) -> None:
        self.wire = b""

    def write(self, data: bytes) -> None:
        self.wire += data

    def take(self) -> bytes:
        wire, self.wire = self.wire, b""
        return wire


def test_pyserials_server_answers_our_client() -> None:
    with closing(serial.serial_for_url("loop://", 9600)) as port:
        outbox = Outbox()
        manager: Any = PortManager(cast(Any, port), cast(Any, outbox))
        client = ComPortClient()

        def exchange() -> list[object]:
            found: list[object] = []
            while (to_server := client.data_to_send()) or outbox.wire:
                assert b"".join(manager.filter(to_server)) == b""
                found += events(client, outbox.take())
            return found

        client.initiate()
        first = exchange()
        assert client.agreed
        assert client.inputs is not None
        assert {type(event) for event in first} == {InputsChanged}
        wanted = LineSettings(57600, 7, Parity.ODD, StopBits.TWO, FlowControl.RTSCTS)
        asks = [
            *client.configure(wanted),
            *client.set_outputs(dtr=False, rts=True, brk=False),
            *client.purge(Purge.BOTH),
            *client.get_inputs(),
        ]
        answers = [event for event in exchange() if isinstance(event, Answered)]
        assert answers == [Answered(ask, granted=True) for ask in asks]
        assert (client.settings, client.outputs) == (wanted, Outputs(dtr=False, rts=True))
        assert (port.baudrate, port.bytesize, port.parity, port.stopbits) == (57600, 7, "O", 2)
        assert (port.dtr, port.rts) == (False, True)
        # What it does not answer, it does not mix up either.
        missing = client.ask_signature()
        assert exchange() == []
        client.abandon(missing[0])
        assert b"".join(manager.filter(client.send_data(b"a\xff\r\0"))) == b"a\xff\r\0"
