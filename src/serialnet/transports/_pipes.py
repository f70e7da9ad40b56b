"""A transport on two descriptors: one to read from, one to write to."""

from __future__ import annotations

import errno
import os

import anyio
import anyio.lowlevel
from typing_extensions import override

from ._descriptor import DescriptorTransport, part_from

__all__ = ["PipeTransport"]


class PipeTransport(DescriptorTransport):
    """A transport on a pair of non-blocking descriptors, which it owns."""

    def __init__(self, descriptor: int, write_descriptor: int) -> None:
        super().__init__(descriptor, write_descriptor)
        self._writable = True

    @override
    def _read_into(self, view: memoryview) -> int:
        return os.readv(self._descriptor, [view])

    @override
    def _write(self, view: memoryview) -> int:
        if not self._writable:
            raise OSError(errno.EPIPE, "nothing can be sent after the end")
        return os.write(self._write_descriptor, view)

    @override
    async def send_eof(self) -> None:
        with self._sending:
            await anyio.lowlevel.checkpoint()
            self._check_open()
            self._end_writing()

    @override
    async def aclose(self) -> None:
        if not self._closed:
            self._begin_closing()
            await part_from(self._descriptor, self._write_descriptor)
            self._end_writing()
            self._close_descriptor(self._descriptor)
        await anyio.lowlevel.checkpoint()

    def _end_writing(self) -> None:
        if self._writable:
            self._writable = False
            descriptor, self._write_descriptor = self._write_descriptor, self._descriptor
            self._close_descriptor(descriptor)

    def _close_descriptor(self, descriptor: int) -> None:
        os.close(descriptor)
