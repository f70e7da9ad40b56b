"""Sharing and linking ports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..bridge import BridgeEnd
from ..serving.link import Link as AsyncLink
from ..serving.link import LinkEvent, LinkStats
from ..serving.link import link as async_link
from ..serving.server import Server as AsyncServer
from ..serving.server import ServerEvent, ServerStats
from ..serving.server import serve as async_serve
from ..serving.sharing import Role
from ._events import Events
from ._held import Held, Resource, opened_as

__all__ = ["Link", "Server", "link", "serve"]


class Server(Resource[AsyncServer]):
    """A port that is being served, until this is closed."""

    @property
    def urls(self) -> Sequence[str]:
        """Where it listens, with the ports that were chosen."""
        return self._held.value.urls

    @property
    def roles(self) -> Mapping[str, Role]:
        """What who comes in at each of :attr:`urls` may do."""
        return self._held.value.roles

    @property
    def stats(self) -> ServerStats:
        """What it has done so far."""
        return self._held.value.stats

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the port is lost for good; for ever, mostly.

        :raises ~anyio.BrokenResourceError: when it is
        :raises TimeoutError: if it is still being served after that time
        """
        self._held.call(timeout, self._held.value.wait)

    def events(self) -> Events[ServerEvent]:
        """Watch clients come and go: ``with server.events() as events: for event in events: ...``."""
        return Events(Held(self._held.value.events()))


class Link(Resource[AsyncLink]):
    """Two endpoints that are kept joined, until this is closed."""

    @property
    def urls(self) -> Sequence[str]:
        """Where it listens, with the ports that were chosen."""
        return self._held.value.urls

    @property
    def stats(self) -> LinkStats:
        """What it has done so far, the sessions that run included."""
        return self._held.value.stats

    def wait(self, timeout: float | None = None) -> BridgeEnd:
        """Wait for the end; see :meth:`serialnet.Link.wait`.

        :raises TimeoutError: if they are still joined after that time
        """
        return self._held.call(timeout, self._held.value.wait)

    def events(self) -> Events[LinkEvent]:
        """Watch sessions begin and end: ``with link.events() as events: for event in events: ...``."""
        return Events(Held(self._held.value.events()))


@opened_as(async_serve)
def serve(held: Held[AsyncServer]) -> Server:
    """Share a port: ``with serve("/dev/ttyUSB0", "rfc2217://127.0.0.1:4000") as server: ...``.

    Parameters and errors are those of :func:`serialnet.serve`; of an open port, give ``port.transport``.
    """
    return Server(held)


@opened_as(async_link)
def link(held: Held[AsyncLink]) -> Link:
    """Keep two endpoints joined: ``with link("listen:tcp://127.0.0.1:4001", "/dev/ttyUSB0") as link: ...``.

    Parameters and errors are those of :func:`serialnet.link`.
    """
    return Link(held)
