"""A connection to a broker: paho's client in a thread of its own, its messages in our event loop."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial

import anyio
import anyio.from_thread
import anyio.lowlevel
import paho.mqtt.client as paho

from serialnet import OpenError

# What a broker that goes without a word is given until we notice, in seconds.
KEEPALIVE = 30
# How long the last messages may take at the close.
FAREWELL = 2.0


class Client:
    """One connection to a broker. It is not mended when it breaks: what was lost then, nobody knows.

    :param on_message: called in the event loop with each message of the subscribed topic
    :param on_lost: called there with the reason, once, when the connection has gone
    """

    def __init__(
        self,
        on_message: Callable[[bytes], None],
        on_lost: Callable[[str], None],
        will: tuple[str, bytes] | None = None,
        username: str | None = None,
        password: str | None = None,
    ) -> None:
        self._token = anyio.lowlevel.current_token()
        self._on_message = on_message
        self._on_lost = on_lost
        self._ready = anyio.Event()
        self._refused: str | None = None
        self._closing = False
        self._paho = paho.Client(paho.CallbackAPIVersion.VERSION2, reconnect_on_failure=False)
        if username is not None:
            self._paho.username_pw_set(username, password)
        if will is not None:
            self._paho.will_set(*will, qos=1)
        self._paho.on_connect = self._connected
        self._paho.on_disconnect = self._disconnected
        self._paho.on_subscribe = self._subscribed
        self._paho.on_message = lambda _client, _data, message: self._in_loop(
            partial(self._on_message, message.payload)
        )

    async def connect(self, host: str, port: int, topic: str, timeout: float) -> None:
        """Connect, and subscribe to one topic.

        :raises OpenError: saying why not
        """
        self._topic = topic
        self._paho.connect_timeout = timeout
        where = f"the broker {host}:{port}"
        try:
            with anyio.fail_after(timeout):
                await anyio.to_thread.run_sync(self._paho.connect, host, port, KEEPALIVE)
                self._paho.loop_start()
                await self._ready.wait()
        except BaseException as error:
            await self.aclose()
            if isinstance(error, TimeoutError):
                raise OpenError(f"{where} did not answer within {timeout:g} s") from None
            if isinstance(error, OSError):
                reason = error.strerror or error
                raise OpenError(error.errno, f"cannot connect to {where}: {reason}") from error
            raise
        if self._refused is not None:
            await self.aclose()
            raise OpenError(f"{where} refused: {self._refused}")

    def publish(self, topic: str, payload: bytes) -> None:
        """Queue a message. It is the caller who bounds how many wait."""
        self._paho.publish(topic, payload, qos=1)

    async def aclose(self) -> None:
        """Let the last messages leave, and disconnect."""
        if not self._closing:
            self._closing = True
            with anyio.CancelScope(shield=True):  # it takes no longer than FAREWELL, nearly always nothing
                await anyio.to_thread.run_sync(self._close)

    def _close(self) -> None:
        client = self._paho
        client.disconnect()  # it is sent behind the messages that wait
        client.loop_stop()
        # A pair of sockets is left, which goes with the object: nothing may refer to it any more.
        client.on_connect = client.on_disconnect = client.on_subscribe = client.on_message = None
        del self._paho

    # These are called in paho's thread.

    def _connected(self, _client: object, _data: object, _flags: object, code: object, _more: object) -> None:
        if getattr(code, "is_failure", False):
            self._refused = str(code)
            self._in_loop(self._ready.set)
        else:
            self._paho.subscribe(self._topic, qos=1)

    def _subscribed(
        self, _client: object, _data: object, _mid: object, codes: list[object], _more: object
    ) -> None:
        if any(getattr(code, "is_failure", False) for code in codes):
            self._refused = f"no subscription to {self._topic}"
        self._in_loop(self._ready.set)

    def _disconnected(
        self, _client: object, _data: object, _flags: object, code: object, _more: object
    ) -> None:
        if not self._closing:
            self._in_loop(partial(self._on_lost, f"the connection to the broker has gone: {code}"))

    def _in_loop(self, call: Callable[[], None]) -> None:
        """Call in the event loop, and wait for that: so the broker is read no faster than we can follow."""
        if self._closing:
            return
        with suppress(RuntimeError):  # the event loop has ended
            anyio.from_thread.run_sync(call, token=self._token)
