"""What can be connected to: whether it answers, in which language, and from how far."""

from __future__ import annotations

import errno
import socket
from collections.abc import AsyncIterator
from dataclasses import replace

import anyio

from ..core.endpoint import Endpoint
from ..core.errors import LineError, OpenError, PortBusyError
from ..core.opening import connect
from ..core.transport import Transport
from ..distance import measure
from ..transports.rfc2217 import RFC2217Transport
from ..wire.comport.session import SIGNATURE
from ._esptool import esptool_at
from ._finding import Finding, Verdict

__all__ = ["examine_stream"]

UNREACHABLE = {errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH}


async def examine_stream(endpoint: Endpoint) -> list[Finding]:
    """Connect, and look at what is there."""
    try:
        transport = await connect(endpoint)
    except OpenError as error:
        return _not_opened(endpoint, error)
    async with transport:
        findings = [Finding("reachable", Verdict.OK, f"connected to {endpoint}")]
        try:
            findings += [finding async for finding in _conversation(endpoint, transport)]
        except (anyio.EndOfStream, anyio.BrokenResourceError, LineError) as error:
            text = f"the connection does not last: {error}" if str(error) else "the connection does not last"
            findings.append(Finding("protocol", Verdict.PROBLEM, text, "see what the server says"))
        return findings


def _not_opened(endpoint: Endpoint, error: OpenError) -> list[Finding]:
    text = str(error)
    if endpoint.schemes[0] == "rfc2217" and error.errno is None:
        findings = [Finding("reachable", Verdict.OK, f"{endpoint.netloc or endpoint} accepts connections")]
        if isinstance(error.__context__, (anyio.EndOfStream, anyio.BrokenResourceError)):
            text = f"{text}; most likely somebody else uses the port"
            advice = "wait until it is free, or ask where the server is: it knows who uses it"
        else:
            raw = replace(endpoint, schemes=endpoint.schemes[1:], options={})
            advice = f"if it carries raw bytes, use {raw}"
        return [*findings, Finding("protocol", Verdict.PROBLEM, f"no RFC 2217 there: {text}", advice)]
    if isinstance(error.__cause__, socket.gaierror):
        advice = f"look for a mistake in the name {endpoint.host}, or give an address in digits"
    elif isinstance(error, PortBusyError):
        advice = "end the program that uses it"
    elif error.errno == errno.ECONNREFUSED:
        advice = (
            "nothing listens there: start the server ('serialnet serve DEVICE --listen ...'), "
            "and compare the port number with the one that it prints"
        )
    elif error.errno in UNREACHABLE:
        advice = "nothing answers: is the machine on, is the address right, does a firewall drop connections?"
    else:
        advice = "set right what this says, and look again"
    return [Finding("reachable", Verdict.PROBLEM, text, advice)]


async def _conversation(endpoint: Endpoint, transport: Transport) -> AsyncIterator[Finding]:
    if isinstance(transport, RFC2217Transport):
        async for finding in _rfc2217(transport, starts_server="rfc2217" not in endpoint.schemes):
            yield finding
    elif transport.line is None:
        yield Finding(
            "lines",
            Verdict.NOTE,
            "raw bytes: no settings, no DTR and RTS; nothing can be reset from here",
            "if the server speaks RFC 2217, use rfc2217://; else let it reset the board "
            "('serialnet serve --on-connect esp-reset ...')",
        )
    else:
        yield Finding("lines", Verdict.OK, f"there is a line, at {transport.line.settings.baudrate} baud")
    if (found := await measure(transport)) is not None:
        least = "" if transport.line is not None else ", as far as the next program on the way"
        yield Finding("distance", Verdict.OK, f"round trip {found}{least}", distance=found)
        yield esptool_at(endpoint, found)


async def _rfc2217(transport: RFC2217Transport, *, starts_server: bool) -> AsyncIterator[Finding]:
    session = transport.session
    if session.inputs is not None:  # gensiot, which tells none, crashes of the question
        await transport.request(session.ask_signature(), transport.timeout)
    signature = session.server_signature
    by = f", spoken by {signature.decode(errors='backslashreplace')}" if signature else ""
    yield Finding("protocol", Verdict.OK, f"RFC 2217{by}")
    if starts_server or signature != SIGNATURE:
        yield Finding(
            "opening",
            Verdict.NOTE,
            "the port may have been opened only now, which raises DTR and RTS: a board may have restarted",
            "a 'serialnet serve' that is running already keeps the port open between clients",
        )
    if session.tells_outputs:
        dtr, rts = ("on" if on else "off" for on in (session.outputs.dtr, session.outputs.rts))
        yield Finding("lines", Verdict.OK, f"the server tells DTR ({dtr}) and RTS ({rts})")
    else:
        yield Finding(
            "lines",
            Verdict.NOTE,
            "the server does not tell DTR and RTS, as many do not; whether it drives them is seen at a reset",
            "try 'serialnet reset URL': the board should restart",
        )
