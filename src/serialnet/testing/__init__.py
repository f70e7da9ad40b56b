"""For tests: a conformance kit for transports, and simulated boards on devices (:mod:`serialnet.testing.pty`)."""

from .conformance import check_transport

__all__ = ["check_transport"]
