"""What ``mqtt://`` is made of: its options, and how an endpoint is opened."""

from __future__ import annotations

from dataclasses import dataclass, replace

from serialnet import Endpoint, EndpointError, Listener, Transport, option

from .transport import MqttListener, MqttTransport, new_session

PORT = 1883


@dataclass(frozen=True, slots=True)
class MqttOptions:
    """The options of ``mqtt://``."""

    username: str | None = option(None, "of the broker")
    password: str | None = option(None, "of the broker")
    mqtt_timeout: float = option(10.0, "seconds that the broker, and then the listening end, may take")

    @property
    def login(self) -> dict[str, str | None]:
        """What the client needs."""
        return {"username": self.username, "password": self.password}


class MqttFactory:
    """Opens ``mqtt://`` endpoints."""

    options = MqttOptions
    layer = False

    async def connect(self, endpoint: Endpoint, options: MqttOptions, over: Transport | None) -> Transport:
        """Call whoever listens at the topic."""
        host, port, topic = _parse(endpoint)
        session = new_session()
        transport = MqttTransport(_shown(endpoint), f"{topic}/{session}/up", options.login)
        await transport.open(host, port, f"{topic}/{session}/down", options.mqtt_timeout)
        await transport.call(topic, session, options.mqtt_timeout)
        return transport

    async def listen(self, endpoint: Endpoint, options: MqttOptions, over: Listener | None) -> Listener:
        """Listen at the topic."""
        host, port, topic = _parse(endpoint)
        listener = MqttListener(_shown(endpoint), host, port, topic, options.login, options.mqtt_timeout)
        await listener.open()
        return listener


def _shown(endpoint: Endpoint) -> str:
    """The URL without the layers above, whose listeners add themselves; ``str`` hides the password."""
    return str(replace(endpoint, schemes=endpoint.schemes[-1:]))


def _parse(endpoint: Endpoint) -> tuple[str, int, str]:
    topic = endpoint.path.strip("/")
    if not endpoint.host or not topic or set(topic) & set("+#"):
        raise EndpointError(f"'{endpoint}': expected mqtt://BROKER/TOPIC, and no + or # in the topic")
    return endpoint.host, endpoint.port or PORT, topic
