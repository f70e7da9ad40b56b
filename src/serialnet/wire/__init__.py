"""Wire protocols as pure state machines: bytes in, events out; no I/O, no clock."""
