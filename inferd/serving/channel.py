"""What a supervisor and a worker say to each other: whole messages over one pair of Unix sockets, some with a descriptor.

    to the worker       settings, connection (a descriptor), metrics (a descriptor), reload, log, turn_away, stop
    to the supervisor   ready, failed, report, leaving, log

A long one, as settings with thousands of names are, goes in a file in memory, whose descriptor comes instead: it may be of any length, and
the channel keeps room for others. A reader that has no descriptor for it finds `missed` in its place.
When either process ends, however it does, the other one finds the end of its channel. Never in here: what a message makes of its reader.
"""

from __future__ import annotations

import json
import os
import socket
from contextlib import suppress
from typing import Any, NamedTuple, Self

__all__ = ["Channel", "Message"]

MAX_MESSAGE_BYTES = 16 << 10  # of one that goes as it is: a channel holds some 200 KiB
LONG = "long"  # instead of the kind of one that goes in a file


class Message(NamedTuple):
    """kind: one of those above. descriptor: the reader's to close; -1: none came along."""

    kind: str
    fields: dict[str, Any]
    descriptor: int = -1


class Channel:
    """One end. Nothing waits: what cannot be sent or read now is for the caller to try again."""

    def __init__(self, opened: socket.socket) -> None:
        self._socket = opened
        self._socket.setblocking(False)

    @classmethod
    def pair(cls) -> tuple[Self, socket.socket]:
        """Our end, and the other one, which goes to the other process."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(ours), theirs

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, kind: str, descriptor: int = -1, /, **fields: object) -> bool:
        """False where the other end is gone, or reads nothing, and where the system has no room. The descriptor stays the caller's to
        close; none goes along with a long message."""
        content = json.dumps([kind, fields]).encode()
        try:
            if len(content) > MAX_MESSAGE_BYTES:
                assert descriptor < 0, "a message has one descriptor"
                file = _write_long(content)
                try:
                    socket.send_fds(self._socket, [json.dumps([LONG, {}]).encode()], [file])
                finally:
                    os.close(file)
            elif descriptor >= 0:
                socket.send_fds(self._socket, [content], [descriptor])
            else:
                self._socket.send(content)
        except OSError:
            return False
        return True

    def receive(self) -> Message | None:
        """The next message; None: there is none now. Raises EOFError once the other end is gone."""
        try:
            content, descriptors, _, _ = socket.recv_fds(self._socket, MAX_MESSAGE_BYTES, 1)
        except BlockingIOError:
            return None
        except OSError:  # reset: it went with something unread
            content, descriptors = b"", []
        if not content:
            raise EOFError
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)  # as all others that Python makes
        kind, fields = json.loads(content)
        if kind == LONG:
            return _read_long(descriptors)
        return Message(kind, fields, *descriptors)

    def close(self) -> None:
        with suppress(OSError):
            self._socket.close()


def _write_long(content: bytes) -> int:
    """The descriptor of a file in memory, which is read from its beginning. OSError."""
    descriptor = os.memfd_create("inferd-message")
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(content)
            file.seek(0)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _read_long(descriptors: list[int]) -> Message:
    if not descriptors:
        return Message("missed", {})
    with open(descriptors[0], "rb") as file:
        return Message(*json.loads(file.read()))
