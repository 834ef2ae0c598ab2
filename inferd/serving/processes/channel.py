"""Messages between a supervisor and a worker, over one pair of Unix sockets, some with a file descriptor.

    to the worker       settings, connection (a descriptor), metrics (a descriptor), reload, log, not_ready,
                        stop (perhaps a descriptor)
    to the supervisor   ready, failed, report, leaving, log

A long message, such as settings with thousands of names, is written to a memfd, and only its descriptor is sent. So it may have any length,
and the channel keeps room for others. A reader without a free descriptor gets `missed` instead.
When either process ends, the other one finds the end of its channel. Never in here: how a reader handles a message.
"""

from __future__ import annotations

import json
import os
import socket
from contextlib import suppress
from typing import Any, NamedTuple, Self

MAX_MESSAGE_BYTES = 16 << 10  # of a message in the channel, which holds some 200 KiB
LONG = "long"  # the kind that announces a message in a memfd


class Message(NamedTuple):
    """kind: one of those above. descriptor: for the reader to close; -1: none."""

    kind: str
    fields: dict[str, Any]
    descriptor: int = -1


class Channel:
    """One end. No method waits: the caller tries again later."""

    def __init__(self, opened: socket.socket) -> None:
        self._socket = opened
        self._socket.setblocking(False)

    @classmethod
    def pair(cls) -> tuple[Self, socket.socket]:
        """This process's end, and the socket of the other process's end."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(ours), theirs

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, kind: str, descriptor: int = -1, /, **fields: object) -> bool:
        """Sends a message. False: the other end is gone or does not read, or the system has no room. The caller closes the descriptor; a
        long message can have none."""
        content = json.dumps([kind, fields]).encode()
        try:
            if len(content) > MAX_MESSAGE_BYTES:
                assert descriptor < 0, "a message has one descriptor"
                with open(os.memfd_create("inferd-message"), "wb") as file:
                    file.write(content)
                    file.seek(0)  # for the reader, which shares the position
                    socket.send_fds(self._socket, [json.dumps([LONG, {}]).encode()], [file.fileno()])
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
        except OSError:  # reset: the other end closed with unread messages
            content, descriptors = b"", []
        if not content:
            raise EOFError
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)  # as for all others that Python makes
        kind, fields = json.loads(content)
        if kind != LONG:
            return Message(kind, fields, *descriptors)
        if not descriptors:
            return Message("missed", {})
        with open(descriptors[0], "rb") as file:
            return Message(*json.loads(file.read()))

    def close(self) -> None:
        with suppress(OSError):
            self._socket.close()
