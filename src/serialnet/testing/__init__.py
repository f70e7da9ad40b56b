"""For tests: a conformance kit for transports; in :mod:`serialnet.testing.pty`, boards on devices."""

from .conformance import check_transport

__all__ = ["check_transport"]
