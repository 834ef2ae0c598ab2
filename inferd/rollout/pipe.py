"""Messages between a server and the process that a candidate runs in: msgpack behind its length, and large bytes behind that as they are.

Never in here: what the messages mean.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

HEAD = struct.Struct("<II")  # bytes of the message, and of what follows it
MAX_NBYTES = 1 << 30  # of both
MAX_PARTS = 256  # that one call of the system takes

Message = TypeVar("Message")


class Closed(Exception):
    """The other end has gone, or does not keep to the form."""


class Pipe:
    """One end of a socket. One thread sends, and one receives."""

    def __init__(self, opened: socket.socket) -> None:
        self._socket = opened

    def send(self, message: Any, parts: Sequence[bytes | memoryview] = ()) -> None:
        """parts: bytes that follow. Raises Closed, and TimeoutError where the socket has a time limit and the other end does not read."""
        content = msgspec.msgpack.encode(message)
        left = [HEAD.pack(len(content), sum(len(part) for part in parts)) + content, *parts]
        try:
            while left:
                sent = self._socket.sendmsg(left[:MAX_PARTS])
                while left and sent >= len(left[0]):
                    sent -= len(left.pop(0))
                if sent:
                    left[0] = memoryview(left[0])[sent:]
        except TimeoutError:
            raise
        except OSError:
            raise Closed from None

    def receive(self, kind: type[Message]) -> tuple[Message, bytearray]:
        """The next message, and the bytes that follow it. Raises Closed, and TimeoutError before anything of it has come."""
        size, following = HEAD.unpack(self._read(HEAD.size, first=True))
        if size + following > MAX_NBYTES:
            raise Closed
        content = self._read(size)
        try:
            return msgspec.msgpack.decode(content, type=kind), self._read(following)
        except (msgspec.DecodeError, RecursionError):
            raise Closed from None

    def _read(self, nbytes: int, *, first: bool = False) -> bytearray:
        content = bytearray(nbytes)
        view, got = memoryview(content), 0
        while got < nbytes:
            try:
                count = self._socket.recv_into(view[got:])
            except TimeoutError:
                if first and not got:
                    raise
                raise Closed from None
            except OSError:
                raise Closed from None
            if not count:
                raise Closed
            got += count
        return content
