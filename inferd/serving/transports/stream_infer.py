"""ModelStreamInfer on grpc.aio: the requests of one stream are in flight together, and their responses are in order. The plain version of
_core/http2/streamed, which the native transport has. Never in here: the content of requests and responses."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

STREAMED_NBYTES = 16 << 20  # as in limits.pxd: a stream with so many bytes in flight, with waiting responses, is not read

Call = TypeVar("Call")


class Held:
    """Counts the requests in flight of one stream, and its responses that were not taken."""

    def __init__(self, most: int, most_nbytes: int = STREAMED_NBYTES) -> None:
        self._most, self._most_nbytes = most, most_nbytes
        self._count = self._nbytes = 0
        self._changed = asyncio.Event()

    def change(self, count: int, nbytes: int) -> None:
        self._count += count
        self._nbytes += nbytes
        self._changed.set()

    async def wait(self) -> None:
        """Waits until one more may begin."""
        while self._count >= self._most or self._nbytes >= self._most_nbytes:
            self._changed.clear()
            await self._changed.wait()


async def in_flight(
    next_message: Callable[[], Awaitable[bytes | None]], begin: Callable[[bytes], Call], leave: Callable[[Call], None], held: Held
) -> AsyncGenerator[Call, None]:
    """The calls of a stream's messages, in order, until next_message returns None. The stream is read while `held`, which begin and
    leave change, has room. Each call leaves once its response is taken, or the caller closes this."""
    calls: asyncio.Queue[Call | None] = asyncio.Queue()

    async def read() -> None:
        try:
            while True:
                await held.wait()
                message = await next_message()
                if message is None:
                    return
                calls.put_nowait(begin(message))
                del message
        finally:
            calls.put_nowait(None)

    reader = asyncio.create_task(read())
    left: Call | None = None
    try:
        while (left := await calls.get()) is not None:
            yield left
            leave(left)
        await reader
    finally:
        reader.cancel()
        while left is not None or not calls.empty():
            if left is not None:
                leave(left)
            left = None if calls.empty() else calls.get_nowait()
