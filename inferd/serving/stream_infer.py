"""ModelStreamInfer on grpc.aio: the requests of one stream, in flight together and answered in their order. The plain version of
_core/http2/streamed, which the native transport has. Never in here: what a request or a response is."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

__all__ = ["in_flight"]

Call = TypeVar("Call")


async def in_flight(
    next_message: Callable[[], Awaitable[bytes | None]], begin: Callable[[bytes], Call], cancel: Callable[[Call], None], most: int
) -> AsyncGenerator[Call, None]:
    """The calls of a stream's messages, in order, until next_message returns None. While `most` have begun and were not answered, the
    stream is not read. Cancels those that are left when the caller closes this."""
    room = asyncio.Semaphore(most)
    calls: asyncio.Queue[Call | None] = asyncio.Queue()

    async def read() -> None:
        try:
            while True:
                await room.acquire()
                message = await next_message()
                if message is None:
                    return
                calls.put_nowait(begin(message))
        finally:
            calls.put_nowait(None)

    reader = asyncio.create_task(read())
    left: Call | None = None
    try:
        while (left := await calls.get()) is not None:
            yield left
            room.release()
        await reader
    finally:
        reader.cancel()
        while left is not None or not calls.empty():
            if left is not None:
                cancel(left)
            left = None if calls.empty() else calls.get_nowait()
