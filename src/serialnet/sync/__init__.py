"""The blocking face of serialnet, for scripts without an event loop.

>>> import serialnet.sync
>>> with serialnet.sync.connect("sim://esp32") as port:
...     port.reset()
...     log = port.read_until(b"serialnet-app:factory", timeout=5)

Names, values and errors are those of :mod:`serialnet`. What is open runs on one event loop in a thread of its
own; any thread may use it. ``timeout`` is in seconds, ``None`` waits as long as it takes; what did not happen
in time raises :exc:`TimeoutError`. A :exc:`KeyboardInterrupt` while something waits cancels it, and the
``with`` block closes what is open.
"""

from ._bridge import Bridge
from ._events import Events
from ._held import Resource
from ._line import Line
from ._port import Listener, Port, connect, listen
from ._serving import Link, Server, link, serve

__all__ = [
    "Bridge",
    "Events",
    "Line",
    "Link",
    "Listener",
    "Port",
    "Resource",
    "Server",
    "connect",
    "link",
    "listen",
    "serve",
]
