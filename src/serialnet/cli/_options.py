"""What the commands that join a port and its users share: options, signals, what is said at the start."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import partial

import anyio

from ..bridge.hook import HookFactory
from ..core.endpoint import Endpoint
from ..core.errors import EndpointError
from ..hooks import FlashAssist, IdleTimeout, OnConnect, OnDisconnect, OnFirstData, SessionLimit, Statistics
from ..resets import SEQUENCES, parse_sequence
from ..serving.access import Access
from ..serving.policies import HOLD, Gap, GapPolicy
from ..serving.sharing import NextWriter, Sharing, SlowWatcher

__all__ = [
    "SEQUENCES_HELP",
    "access_from",
    "add_access_options",
    "add_assist_option",
    "add_gap_options",
    "add_hook_options",
    "add_limit_options",
    "add_sharing_options",
    "announce",
    "assist_from",
    "gap_from",
    "hooks_from",
    "limits_from",
    "sharing_from",
    "until_interrupted",
]

# Seconds between two reports of -vv.
REPORT_EVERY = 10.0

SEQUENCES_HELP = f"""\
SEQUENCE is one of {", ".join(SEQUENCES)},
or a sequence in esptool's mini-language: D0|R1|W0.1|D1|R0|W0.05|D0
"""


def add_hook_options(parser: argparse.ArgumentParser, *, auto_reset: bool = True) -> None:
    """Add what happens on the line when a client comes and goes; :func:`hooks_from` makes the hooks.

    :param auto_reset: whether clients can ask for DTR and RTS, and sequences of theirs be recognised
    """
    for name, help_ in (
        ("--on-connect", "play this when a client comes, for clients that carry no lines"),
        ("--on-first-data", "play this when a client's first bytes come"),
        ("--on-disconnect", "play this when the client has gone"),
    ):
        parser.add_argument(name, metavar="SEQUENCE", help=help_)
    if auto_reset:
        parser.add_argument(
            "--no-auto-reset",
            dest="auto_reset",
            action="store_false",
            help="pass each change of DTR and RTS on as it comes; stock esptool cannot reset a board then",
        )
    parser.add_argument(
        "--no-touch",
        dest="touch",
        action="store_false",
        help="leave the board alone when a client sets 1200 baud and leaves, which restarts many boards with "
        "a USB of their own into their boot loader",
    )


def hooks_from(options: argparse.Namespace) -> list[HookFactory]:
    """Make the hooks that were asked for; ``options.auto_reset`` and ``options.touch`` are for those two."""
    hooks: list[HookFactory] = []
    if options.verbose:
        hooks.append(partial(Statistics, REPORT_EVERY if options.verbose > 1 else None))
    try:
        for sequence, hook in (
            (options.on_connect, OnConnect),
            (options.on_first_data, OnFirstData),
            (options.on_disconnect, OnDisconnect),
        ):
            if sequence is not None:
                parse_sequence(sequence)
                hooks.append(partial(hook, sequence))
    except ValueError as error:
        raise EndpointError(str(error)) from None
    return hooks


def add_limit_options(parser: argparse.ArgumentParser) -> None:
    """Add what ends sessions; :func:`limits_from` makes the hooks."""
    for name, help_ in (
        ("--idle-timeout", "end a session in which nothing passes for so long"),
        ("--session-limit", "end a session after so long"),
    ):
        parser.add_argument(name, type=float, metavar="SECONDS", help=f"{help_}; default: never")


def limits_from(options: argparse.Namespace) -> list[HookFactory]:
    """Make the hooks that were asked for."""
    limits: list[HookFactory] = []
    for name, seconds, hook in (
        ("--idle-timeout", options.idle_timeout, IdleTimeout),
        ("--session-limit", options.session_limit, SessionLimit),
    ):
        if seconds is not None:
            try:
                hook(seconds)
            except ValueError as error:
                raise EndpointError(f"{name}: {error}") from None
            limits.append(partial(hook, seconds))
    return limits


def add_assist_option(parser: argparse.ArgumentParser) -> None:
    """Add whether flashers are kept waiting for a board far away; :func:`assist_from` makes the hook."""
    parser.add_argument(
        "--assist",
        choices=("auto", "esptool", "off"),
        default="auto",
        help="keep esptool waiting while a board's answer is on its way; auto: where it opens a device or "
        "RFC 2217 here, and the port is reached by a network",
    )


# What is on this machine, or as good as that.
NEAR = frozenset({"serial", "usb", "pyserial", "pty", "loop", "sim"})


def assist_from(options: argparse.Namespace, port: Endpoint, *, for_tools: bool) -> list[HookFactory]:
    """Make the hook that was asked for, or is due.

    :param for_tools: whether it is tools for serial ports that come here
    """
    is_due = for_tools and port.schemes[-1] not in NEAR
    return [FlashAssist] if options.assist == "esptool" or (options.assist == "auto" and is_due) else []


def add_access_options(parser: argparse.ArgumentParser) -> None:
    """Add who may connect from beyond this machine; :func:`access_from` has the answer."""
    parser.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="NETWORK",
        help="a network that may connect; repeatable",
    )
    parser.add_argument("--insecure", action="store_true", help="anybody may connect")


def access_from(options: argparse.Namespace) -> Access:
    """Who may connect."""
    return Access(options.allow, insecure=options.insecure)


def add_gap_options(parser: argparse.ArgumentParser) -> None:
    """Add what becomes of sessions while the port is gone; :func:`gap_from` has the answer."""
    parser.add_argument(
        "--gap",
        choices=[policy.value for policy in GapPolicy],
        default=GapPolicy.HOLD.value,
        help="while the port is gone (unplugged, restarting), a session waits (hold, the default), goes on "
        "and loses what it sends (discard), or ends (signal)",
    )
    parser.add_argument(
        "--gap-timeout",
        type=float,
        default=HOLD.timeout,
        metavar="SECONDS",
        help=f"how long a session outlives its port; default: {HOLD.timeout:g}",
    )


def gap_from(options: argparse.Namespace) -> Gap:
    """What becomes of sessions while the port is gone."""
    try:
        return Gap(GapPolicy(options.gap), options.gap_timeout)
    except ValueError as error:
        raise EndpointError(f"--gap-timeout: {error}") from None


def add_sharing_options(parser: argparse.ArgumentParser) -> None:
    """Add what becomes of several clients; :func:`sharing_from` has the answer."""
    parser.add_argument(
        "--next-writer",
        choices=[policy.value for policy in NextWriter],
        default=NextWriter.REFUSE.value,
        help="while a client uses the port, the next one is turned away (refuse, the default), waits for its "
        "turn (wait), disconnects the other (take-over), or has the port until it leaves, while the other is "
        "suspended (borrow)",
    )
    parser.add_argument(
        "--slow-watcher",
        choices=[policy.value for policy in SlowWatcher],
        default=SlowWatcher.LOSE.value,
        help="a watcher that does not keep up loses the oldest data (lose, the default), or is disconnected "
        "(drop)",
    )


def sharing_from(options: argparse.Namespace) -> Sharing:
    """What becomes of several clients."""
    return Sharing(NextWriter(options.next_writer), slow_watcher=SlowWatcher(options.slow_watcher))


def announce(lines: Iterable[str], *, quiet_output: bool = False) -> None:
    """Say something at the start, at once, to whoever reads our output through a pipe, too.

    :param quiet_output: standard output carries data: say it on standard error
    """
    stream = sys.stderr if quiet_output else sys.stdout
    if stream is not None:  # closed, as daemons have it
        for line in lines:
            print(line, file=stream)
        stream.flush()


@asynccontextmanager
async def until_interrupted() -> AsyncIterator[None]:
    """Leave the block, as if it were done, at SIGINT (Ctrl+C) or SIGTERM."""
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_cancel_at_signal, signals, tasks.cancel_scope)
            yield
            tasks.cancel_scope.cancel()


async def _cancel_at_signal(signals: AsyncIterator[signal.Signals], scope: anyio.CancelScope) -> None:
    async for _ in signals:
        scope.cancel()
        return
