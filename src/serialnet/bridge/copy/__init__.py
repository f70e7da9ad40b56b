"""The copy core: bytes from one descriptor to another, outside the event loop.

``lane`` is one direction, a state machine; ``poller`` drives lanes; ``thread`` is the one poller that all
bridges share, whatever their event loop; ``passage`` is how a bridge sends a direction through it, and takes
it back; ``pools`` and ``waker`` have what they need.
"""
