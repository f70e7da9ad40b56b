"""A relay as anybody would write it with asyncio's streams: the peer that is always there.

python -m benchmarks.programs.streams FAR [--busy]
"""

from __future__ import annotations

import asyncio
import sys

from .busy import in_python, keep_busy


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


async def main() -> None:
    async def relay(near_reader: asyncio.StreamReader, near_writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", int(sys.argv[1]))
        try:
            await asyncio.gather(copy(near_reader, far_writer), copy(far_reader, near_writer))
        finally:
            near_writer.close()
            far_writer.close()

    server = await asyncio.start_server(relay, "127.0.0.1", 0, backlog=1024)
    print(f"listening on tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    async with server:
        if "--busy" in sys.argv:
            await keep_busy(in_python)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
