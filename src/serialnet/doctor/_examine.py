"""From a URL to findings."""

from __future__ import annotations

import os
from dataclasses import fields, replace

from anyio.to_thread import run_sync

from ..core.endpoint import Endpoint
from ..core.errors import OpenError
from ..core.opening import check
from ..core.options import parse_options
from ..transports import usb
from ..transports._line_options import LineOptions
from ._device import examine_device, is_pty, not_opened
from ._finding import Finding, Verdict
from ._stream import examine_stream

__all__ = ["examine"]

SETS_THE_LINE = {field.name for field in fields(LineOptions)}


async def examine(url: str | Endpoint) -> list[Finding]:
    """Look at a port without disturbing what is behind it.

    No line is changed and no byte is sent. A device of this machine is not opened, for the kernel would raise
    its DTR and RTS; what a server or a command far away does when somebody connects is up to it, and is told.

    :param url: a device or a URL; its options about settings and outputs are left out
    :return: the findings, in the order in which they build on each other
    :raises EndpointError: if the URL cannot be used
    """
    endpoint = check(url)
    options = {name: value for name, value in endpoint.options.items() if name not in SETS_THE_LINE}
    endpoint = replace(endpoint, options=options)
    findings: list[Finding] = []
    if os.name == "posix" and endpoint.schemes in (("serial",), ("usb",)):
        path = endpoint.path
        if endpoint.schemes == ("usb",):
            try:
                path = await run_sync(_find_usb, endpoint)
            except OpenError as error:
                advice = "plug it in, or see with 'serialnet ports' what is"
                return [Finding("device", Verdict.PROBLEM, str(error), advice)]
        findings = await run_sync(examine_device, path)
        if any(finding.verdict is Verdict.PROBLEM for finding in findings):
            return findings
        if not is_pty(path):
            return [*findings, not_opened(path)]
    return [*findings, *await examine_stream(endpoint)]


def _find_usb(endpoint: Endpoint) -> str:
    options = parse_options(usb.UsbOptions, endpoint.options, "usb:")
    return usb.find(endpoint, usb.describe(endpoint, options)).url
