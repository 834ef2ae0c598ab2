"""Ports: sockets that listen, and the clients that have come and are not served yet. They are let in by turns, a few in each iteration of
the loop: the loop's own server accepts all who wait at once, and everybody else waits for that.

Never in here: HTTP/2, certificates, who may ask.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import re
import select
import socket
import ssl
import struct
from collections import deque
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any

from inferd.descriptors import Spare

if TYPE_CHECKING:
    from collections.abc import Callable

    from inferd._core.http2.poller import Sockets
    from inferd.serving.listeners import Listener

__all__ = ["CLIENT", "Port", "Rejections", "TlsPort", "hello_nbytes", "plain"]

log = logging.getLogger(__name__)

ACCEPTS = 4  # clients that are let in in one iteration of the loop
HANDSHAKE_ITERATIONS = 4  # of the loop for each handshake that begins: it takes much of one of them, the others are everybody else's
GONE = 8  # clients in line for a handshake that are found to be gone, in one iteration
PAUSE_S = 1.0  # that nobody is accepted for when there are no file descriptors, or no memory
REJECTED_LOG_S = 1.0  # between two lines of clients that are rejected: whoever cannot connect could fill the log
LEAST_S = 0.001  # that a handshake has, however late it begins
RECORD_NBYTES = 5  # of a TLS record's header
HANDSHAKE_RECORD = 22
HELLO_NBYTES = 4  # of a handshake message's header
MAX_HELLO_NBYTES = 16 << 10
MAX_HELLO_RECORDS = 4  # all clients that are known send one
LAST_DATA_MS = struct.Struct("=44xI4xI")  # of Linux's struct tcp_info: since data was sent, and since some was received
PYTHONS_OWN = re.compile(r"^\[[^]]*\] | \(_ssl\.c:\d+\)$")  # in its words for an error of OpenSSL

CLIENT: ContextVar[socket.socket] = ContextVar("CLIENT")  # whose handshake the task makes: TLS knows no socket


class Rejections:
    """What the log says of clients that are rejected, for their TLS or for whom their certificate names: a line in REJECTED_LOG_S at most,
    with the number of those that had none."""

    def __init__(self) -> None:
        self._said_s = float("-inf")
        self._unsaid = 0  # clients since

    def tell(self, now_s: float, what: str) -> None:
        if now_s - self._said_s < REJECTED_LOG_S:
            self._unsaid += 1
            return
        log.info("rejected: %s%s", what, f"; {self._unsaid} more were rejected before it" if self._unsaid else "")
        self._said_s, self._unsaid = now_s, 0


class Port:
    """Accepts connections on sockets that listen. connection(made): a protocol for one, which calls made() when it is connected.
    is_full(): whether there are too many already: a further one is closed at once, and rejected() is told. Serves until release().
    """

    def __init__(
        self,
        listeners: list[Listener],
        connection: Callable[[Callable[[], None]], asyncio.BufferedProtocol],
        is_full: Callable[[], bool],
        rejected: Callable[[], None],
    ) -> None:
        self.listeners = listeners
        self._connection, self._is_full, self._rejected = connection, is_full, rejected
        self._loop = asyncio.get_running_loop()
        self._line: deque[socket.socket] = deque()  # clients whose turn comes
        self._turns = False  # it is scheduled
        self._making: dict[socket.socket, asyncio.Task[None]] = {}
        self._spare = Spare() if listeners else None
        for listener in listeners:
            listener.socket.setblocking(False)
            self._watch(listener)

    @property
    def unfinished(self) -> int:
        """Clients that have come and are no connections yet."""
        return len(self._line) + len(self._making)

    def release(self) -> list[Listener]:
        """Accepts nobody by itself any more: these are the caller's, to `accept` there, and to close."""
        released, self.listeners = self.listeners, []
        for listener in released:
            self._loop.remove_reader(listener.socket)
        return released

    def cut_off(self) -> None:
        """Who has come and is no connection yet is sent away."""
        if self._spare is not None:
            self._spare.close()
            self._spare = None
        while self._line:
            self._line.popleft().close()
        for connecting in self._making.values():
            connecting.cancel()

    def accept(self, listener: Listener, most: int) -> bool:
        """Lets in so many of those who have connected. True: nobody waits any more."""
        for _ in range(most):
            try:
                client = self._accepted(listener.socket)
            except BlockingIOError:
                return True
            except ConnectionAbortedError:
                continue
            except OSError:  # no memory, or no descriptor after all: meanwhile connections wait in the kernel
                self._wait_for_descriptors(listener)
                return False
            if client is not None:
                self.take(client)
        return False

    def _accepted(self, listener: socket.socket) -> socket.socket | None:
        """The next client. None: it was closed at once, since no descriptor is left."""
        try:
            return listener.accept()[0]
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE) or self._spare is None:
                raise
        self._spare.reject(listener)
        self._rejected()
        return None

    def take(self, client: socket.socket) -> None:
        """A client that was accepted, here or by another process."""
        if self._is_full():
            client.close()
            self._rejected()
            return
        client.setblocking(False)
        self._greet(client)

    def _watch(self, listener: Listener) -> None:
        if listener in self.listeners:
            self._loop.add_reader(listener.socket, self._accept_some, listener)

    def _wait_for_descriptors(self, listener: Listener) -> None:
        if listener in self.listeners:
            self._loop.remove_reader(listener.socket)
            self._loop.call_later(PAUSE_S, self._watch, listener)

    def _accept_some(self, listener: Listener) -> None:
        self.accept(listener, ACCEPTS - min(len(self._line), ACCEPTS))

    def _greet(self, client: socket.socket) -> None:
        self._line_up(client)

    def _line_up(self, client: socket.socket) -> None:
        self._line.append(client)
        if not self._turns:
            self._turns = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        """Of this iteration."""
        for _ in range(min(len(self._line), ACCEPTS)):
            self._make(self._line.popleft())
        self._turns = bool(self._line)
        if self._turns:
            self._loop.call_soon(self._turn)

    def _make(self, client: socket.socket, **more: Any) -> None:
        self._making[client] = task = self._loop.create_task(self._connect(client, more))
        task.add_done_callback(partial(self._connected, client))

    async def _connect(self, client: socket.socket, more: dict[str, Any]) -> None:
        made = partial(self._made, client)
        peer: object = None
        with suppress(OSError):  # it may have left
            peer = client.getpeername()
        try:
            await self._loop.connect_accepted_socket(lambda: self._connection(made), client, **more)
        except Exception as error:  # of OpenSSL, of a time that is over, or whatever a client may bring about; the socket is closed
            self._count_failed(error, peer)

    def _connected(self, client: socket.socket, task: asyncio.Task[None]) -> None:
        self._made(client)  # or it never will be
        if task.cancelled():
            client.close()

    def _made(self, client: socket.socket) -> None:
        self._making.pop(client, None)

    def _count_failed(self, why: object, peer: object = None) -> None:
        log.debug("a client went before it was served: %s", why)


class TlsPort(Port):
    """Makes the handshakes; the loop's own server would let in any number of clients that never finish theirs. A handshake begins when
    all of the client's hello is there: until then it costs no memory of TLS, and the response, by far the most of the work, is given in its
    turn, however many clients say hello at once. Who has left by then costs nothing. handshake_s: a client has so long.
    """

    def __init__(
        self,
        listeners: list[Listener],
        context: ssl.SSLContext,
        connection: Callable[[Callable[[], None]], asyncio.BufferedProtocol],
        is_full: Callable[[], bool],
        rejected: Callable[[], None],
        rejections: Rejections,
        sockets: Sockets,
        *,
        handshake_s: float,
        shutdown_s: float,
    ) -> None:
        self.failed = 0
        self._rejections, self._sockets = rejections, sockets
        self._context, self._handshake_s, self._shutdown_s = context, handshake_s, shutdown_s
        self._limits: dict[socket.socket, asyncio.TimerHandle] = {}  # of the clients whose handshake has not begun
        self._asked: dict[socket.socket, int] = {}  # bytes that must have come before they are looked at again
        self._since_s: dict[socket.socket, float] = {}  # when the hello, or what follows it, could come first
        self._pause = 0  # iterations of the loop until the next handshake
        super().__init__(listeners, connection, is_full, rejected)

    @property
    def unfinished(self) -> int:
        return len(self._limits) + len(self._making)

    def cut_off(self) -> None:
        for client in list(self._limits):
            self._drop(client)
        super().cut_off()

    def end_silent(self, limit_s: float) -> None:
        """Sends away who could have gone on with its handshake for so long, and has sent nothing meanwhile."""
        for client in [*self._asked, *self._making]:
            if self._loop.time() - self._since_s[client] < limit_s or _silent_s(client) < limit_s:
                continue
            if handshake := self._making.get(client):
                self._count_failed("it is silent")
                handshake.cancel()
            else:
                self._fail(client, "it is silent")

    def _greet(self, client: socket.socket) -> None:
        self._since_s[client] = self._loop.time()
        self._limits[client] = self._loop.call_later(self._handshake_s, self._fail, client, "it is too late")
        self._ask(client, RECORD_NBYTES)

    def _ask(self, client: socket.socket, nbytes: int) -> None:
        self._asked[client] = nbytes
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, nbytes)
        try:
            self._sockets.wake(client.fileno(), client, self._look)
        except OSError as error:  # the kernel has no memory for it
            self._fail(client, str(error))

    def _look(self, client: socket.socket) -> None:
        """So much has come as was asked for, or the client has left."""
        try:
            come = client.recv(MAX_HELLO_NBYTES, socket.MSG_PEEK)
        except BlockingIOError:
            self._ask(client, self._asked[client])
            return
        except OSError:
            come = b""
        wanted = hello_nbytes(come)
        if len(come) < self._asked[client] and _has_left(client):
            self._fail(client, "it has left")
        elif len(come) < wanted <= MAX_HELLO_NBYTES and len(come) >= self._asked[client]:
            self._ask(client, wanted)
        else:  # what is no hello, or too long for one, OpenSSL has a word for
            del self._asked[client]
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
            self._line_up(client)

    def _turn(self) -> None:
        if self._pause > 0:
            self._pause -= 1
        else:
            for _ in range(GONE):
                if not self._line or self._begin(self._line.popleft()):
                    break
        self._turns = self._pause > 0 or bool(self._line)
        if self._turns:
            self._loop.call_soon(self._turn)

    def _begin(self, client: socket.socket) -> bool:
        """False: it has left, or its time is over."""
        if client not in self._limits:
            return False
        if _has_left(client):
            self._fail(client, "it has left")
            return False
        self._pause = HANDSHAKE_ITERATIONS - 1
        self._make(client)
        return True

    def _fail(self, client: socket.socket, why: str) -> None:
        self._count_failed(why)
        self._drop(client)

    def _drop(self, client: socket.socket) -> None:
        self._limits.pop(client).cancel()
        del self._since_s[client]
        if self._asked.pop(client, 0):
            self._sockets.forget(client.fileno(), client)
        client.close()

    async def _connect(self, client: socket.socket, more: dict[str, Any]) -> None:
        CLIENT.set(client)
        await super()._connect(client, more)

    def _made(self, client: socket.socket) -> None:
        super()._made(client)
        self._since_s.pop(client, None)

    def _make(self, client: socket.socket, **more: Any) -> None:
        limit = self._limits.pop(client)
        limit.cancel()
        self._since_s[client] = self._loop.time()
        left_s = max(limit.when() - self._loop.time(), LEAST_S)
        super()._make(client, ssl=self._context, ssl_handshake_timeout=left_s, ssl_shutdown_timeout=self._shutdown_s)

    def _count_failed(self, why: object, peer: object = None) -> None:
        self.failed += 1
        if not isinstance(why, ssl.SSLError) or isinstance(why, ssl.SSLEOFError):  # who went without a word, as many probes do
            log.debug("a client's TLS handshake failed: %s", why)
        else:
            self._rejections.tell(self._loop.time(), f"the TLS handshake of {peer} failed: {plain(why)}")


def hello_nbytes(come: bytes) -> int:
    """How many bytes the hello takes that begins so, or must be there before more can be said of it. No more than have come: it is
    there, or it is none."""
    end = filled = 0
    hello = b""
    for _ in range(MAX_HELLO_RECORDS):
        if len(come) < end + RECORD_NBYTES:
            return end + RECORD_NBYTES
        nbytes = int.from_bytes(come[end + 3 : end + RECORD_NBYTES])
        if come[end] != HANDSHAKE_RECORD or not nbytes:
            break
        filled, end = end + RECORD_NBYTES, end + RECORD_NBYTES + nbytes
        hello += come[filled:end]
        if len(come) < end or (len(hello) >= HELLO_NBYTES and len(hello) >= HELLO_NBYTES + int.from_bytes(hello[1:HELLO_NBYTES])):
            break
    return end


def plain(error: ssl.SSLError) -> str:
    """OpenSSL's own words for what was wrong, with a client's certificate above all, or TlsReader's: without the library, and where in
    Python's source it was found."""
    reason = str(getattr(error, "reason", None) or PYTHONS_OWN.sub("", str(error.args[-1]))).replace("_", " ").lower()
    what = getattr(error, "verify_message", "")
    return f"{reason}: {what}" if what else reason


def _silent_s(client: socket.socket) -> float:
    """For how long it has sent nothing, and nothing was sent to it."""
    try:
        told = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, LAST_DATA_MS.size)
    except OSError:  # it is closed just now
        return 0.0
    sent_ms, received_ms = LAST_DATA_MS.unpack(told)
    return min(int(sent_ms), int(received_ms)) / 1000


def _has_left(client: socket.socket) -> bool:
    """Whether it sends nothing more."""
    looked = select.poll()
    looked.register(client, select.POLLRDHUP)
    return bool(looked.poll(0))
