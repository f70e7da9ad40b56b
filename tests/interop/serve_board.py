"""A program: share a simulated board on the event loop named on the command line, and tell where."""

import sys

import anyio

import serialnet

BACKENDS = {"asyncio": ("asyncio", {}), "trio": ("trio", {}), "uvloop": ("asyncio", {"use_uvloop": True})}


async def main() -> None:
    async with serialnet.serve("sim://esp32", "rfc2217://127.0.0.1:0") as server:
        print(server.urls[0], flush=True)
        await server.wait()


if __name__ == "__main__":
    backend, options = BACKENDS[sys.argv[1]]
    anyio.run(main, backend=backend, backend_options=options)
