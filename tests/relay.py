"""A TCP relay that passes so many bytes a second each way, as a real link does: a token bucket for each direction of a connection.

What the link has no room for yet waits in the sender's socket, so that flow control, PINGs and timeouts meet real delays.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from tests.server_fixtures import LIMIT_S

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter

PIECE_NBYTES = 16 << 10  # passed on at once
BURST_S = 0.005  # of silence that a direction makes up for


class Relay:
    """Listens on `address`, "127.0.0.1:port", on a thread of its own from `with` to its end, and connects each client to `target`."""

    def __init__(self, target: str, bytes_per_s: float) -> None:
        host, _, port = target.rpartition(":")
        self._target, self._bytes_per_s = (host, int(port)), bytes_per_s
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        self.address = ""

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(LIMIT_S)
        return self

    def __exit__(self, *exc: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(LIMIT_S)
        assert not self._thread.is_alive(), "the relay does not stop"

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        links: set[asyncio.Task[None]] = set()

        def accepted(reader: StreamReader, writer: StreamWriter) -> None:
            links.add(asyncio.create_task(self._link(reader, writer)))

        server = await asyncio.start_server(accepted, "127.0.0.1", 0, limit=PIECE_NBYTES)
        host, port = server.sockets[0].getsockname()
        self.address = f"{host}:{port}"
        self._started.set()
        await self._stop.wait()
        server.close()
        for link in links:
            link.cancel()
        await asyncio.gather(*links, return_exceptions=True)

    async def _link(self, reader: StreamReader, writer: StreamWriter) -> None:
        """One connection, to the end of both directions."""
        far_reader, far_writer = await asyncio.open_connection(*self._target, limit=PIECE_NBYTES)
        try:
            await asyncio.gather(self._pass_on(reader, far_writer), self._pass_on(far_reader, writer))
        finally:
            writer.transport.abort()
            far_writer.transport.abort()

    async def _pass_on(self, reader: StreamReader, writer: StreamWriter) -> None:
        due_s = 0.0  # when the link is free again
        writer.transport.set_write_buffer_limits(0)
        with suppress(OSError):  # one side is gone, and the other hears of it
            while piece := await reader.read(PIECE_NBYTES):
                due_s = max(due_s, self._loop.time() - BURST_S) + len(piece) / self._bytes_per_s
                if (wait_s := due_s - self._loop.time()) > 0:
                    await asyncio.sleep(wait_s)
                writer.write(piece)
                await writer.drain()
        writer.close()
