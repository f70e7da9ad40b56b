"""The copy core: bytes from one descriptor to another, outside the event loop.

``lane`` is one direction, a state machine, ``socket_lane`` the one between two sockets; ``poller`` drives
lanes, when ``readiness`` tells it to and in ``turns`` with the loops; ``thread`` is the one poller that all
bridges share, whatever their event loop, ``onloop`` one for taps; ``passage`` is how a bridge sends a
direction through a poller, and takes it back; ``pools`` and ``waker`` have what they need.
"""
