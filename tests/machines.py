"""Two machines and a router between them, in network namespaces: packets get lost without a word."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import anyio

NEAR, FAR = "10.0.1.2", "10.0.2.2"


def reason_not_to() -> str | None:
    """Why there can be none here."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "network namespaces need Linux and root"
    for program in ("ip", "nsenter", "unshare"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    if subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode:
        return "no network namespaces may be made here"
    return None


class Machines:
    """Commands behind ``near`` and ``far`` run there; the addresses are :data:`NEAR` and :data:`FAR`."""

    def __init__(self, near: int, far: int, router: int) -> None:
        self.near = within(near)
        self.far = within(far)
        self._router = within(router)

    async def cut(self) -> None:
        """Let nothing pass."""
        await self._forward(False)

    async def mend(self) -> None:
        """Let all pass again."""
        await self._forward(True)

    async def _forward(self, on: bool) -> None:
        await anyio.run_process([*self._router, "sh", "-c", f"echo {on:d} > /proc/sys/net/ipv4/ip_forward"])


def within(pid: int) -> list[str]:
    return ["nsenter", f"--net=/proc/{pid}/ns/net"]


@asynccontextmanager
async def machines() -> AsyncIterator[Machines]:
    """Have two machines, as long as the block lasts."""
    async with AsyncExitStack() as stack:
        near, far, router = [await _namespace(stack) for _ in range(3)]
        made = Machines(near, far, router)
        for number, (pid, there) in enumerate(((near, made.near), (far, made.far)), 1):
            for where, command in (
                (within(router), f"link add to{number} type veth peer name eth0 netns {pid}"),
                (within(router), f"addr add 10.0.{number}.1/24 dev to{number}"),
                (within(router), f"link set to{number} up"),
                (there, f"addr add 10.0.{number}.2/24 dev eth0"),
                (there, "link set lo up"),
                (there, "link set eth0 up"),
                (there, f"route add default via 10.0.{number}.1"),
            ):
                await anyio.run_process([*where, "ip", *command.split()])
        await made.mend()
        yield made


async def _namespace(stack: AsyncExitStack) -> int:
    """Make a namespace that lasts as long as a process in it."""
    process = await anyio.open_process(
        ["unshare", "--net", "sh", "-c", "echo; exec sleep infinity"], stdin=subprocess.DEVNULL
    )
    await stack.enter_async_context(process)
    stack.callback(process.kill)
    assert process.stdout is not None
    await process.stdout.receive()
    return process.pid
