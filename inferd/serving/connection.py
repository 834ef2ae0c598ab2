"""One client's connection on the native transport: between asyncio's socket, by TLS or not, and `_core.http2`, which speaks on it.

Never in here: HTTP/2 frames, and what concerns several connections (native.py).
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import struct
import termios
from collections import Counter
from contextlib import suppress
from socket import AF_UNIX, IPPROTO_TCP, TCP_INFO
from typing import TYPE_CHECKING

from inferd._core.http2.session import Session
from inferd.serving.tls import ALPN

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from inferd._core.http2.tls_reader import TlsReader
    from inferd.serving.access import Identity
    from inferd.serving.method import Method
    from inferd.serving.native import NativeTransport

__all__ = ["Connection"]

WRITE_HIGH_BYTES = 64 << 10  # a transport that holds more takes no more output: backpressure to HTTP/2's windows
TLS_WRITE_HIGH_BYTES = 16 << 10  # the same for what TLS has encrypted and uvloop's socket does not take
TLS_WRITE_BYTES = 64 << 10  # one write by TLS, which OpenSSL and uvloop each buffer whole
CLOSING_S = 1.0  # a client whose kernel has all, and that says nothing for so long, has read it, and need not close first
CLOSE_TIMEOUT_S = 5.0  # in which a client takes the rest of its last bytes, or min_rate_bytes a second of them; else it is cut off
ACKNOWLEDGED = struct.Struct("=120xQ")  # of Linux's struct tcp_info, since 4.1
JUDGED_NBYTES = 64 << 10  # are read of whom an error ended; who sends more is cut off as soon as its kernel has all


class Connection(Session, asyncio.BufferedProtocol):
    """One client's connection. get_buffer and buffer_updated, the hot half of the protocol, are Session's, in native code.
    made(): is called when it is connected."""

    def __init__(self, transport: NativeTransport, made: Callable[[], None]) -> None:
        super().__init__(transport.endpoint)
        self._owner, self._made = transport, made
        self._socket: asyncio.Transport | None = None
        self._tls: TlsReader | None = None
        self._descriptor = -1  # of its socket
        self.held_bytes = 0  # at most, beside its messages; the owner's to say
        self._held = self._asleep = self._is_local = False
        self._cut_off: asyncio.TimerHandle | None = None  # once it closes
        self._silent_since_s = 0.0  # once it closes: for so long there was nothing to wait for
        self._left_nbytes = self._taken_nbytes = 0  # of its last bytes, when it closed, or CLOSE_TIMEOUT_S later
        self._unwanted_nbytes = 0  # that may still be read of it then
        self._was_heard = False  # since the last look
        self._identity: Identity | None = None  # whom the client's certificate names
        self._told = False  # in the log
        self.streams: Counter[Method] = Counter()  # open ones of methods that have a limit for each connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._socket = transport
        self._made()
        self._tls = handshake = transport.get_extra_info("ssl_object")
        if handshake is not None and handshake.selected_alpn_protocol() != ALPN:
            self._owner.reject_protocol(transport)
            return
        transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES if handshake is None else TLS_WRITE_HIGH_BYTES)
        self._owner.admit(self, tls=handshake is not None)
        if handshake is not None:
            self.write_nbytes = TLS_WRITE_BYTES
            handshake.take_turns(self._owner.loop.call_soon, self._tls_told)
            self._identity = _identity(handshake)
            self.ask_who_it_is()
        socket = transport.get_extra_info("socket")
        self._descriptor = socket.fileno()
        self._is_local = socket.family == AF_UNIX
        low_water = handshake is None and not self._is_local  # which the kernel does not look at there; TLS has a buffer of its own
        write = transport.write if handshake is None else self._write_by_tls
        self.open(write, self._close_socket, self._descriptor if low_water else -1, self._owner.age_ns())
        if handshake is None:
            self._owner.loop.call_soon(self._read)  # the loop begins to read when this is over
        if self._owner.draining:
            self.leave()

    def _write_by_tls(self, content: bytes) -> None:
        """uvloop warns of each write to a socket that is gone, of which the connection hears an iteration later."""
        if self._socket is None or self._socket.is_closing():
            self.pause_writing()
        else:
            self._socket.write(content)

    def connection_lost(self, error: Exception | None) -> None:
        self._owner.sockets.forget(self._descriptor, self)
        self._socket = None
        self.lose()
        self._owner.end_soon(self._end)

    def _end(self) -> None:
        self._owner.discard(self)
        self.close()
        if self._tls is not None:
            self._tls.take_turns(None, None)
        self._tls = None
        if self._cut_off is not None:
            self._cut_off.cancel()  # which holds this connection, and all that it has
            self._cut_off = None

    def ask_who_it_is(self) -> None:
        """Of a client by TLS: whether it may ask. Said in the log when that is news."""
        if self._socket is None or self._socket.get_extra_info("ssl_object") is None:
            return
        rejection = self._owner.rejection_of(self._identity)
        is_news = not self._told or (rejection is None) != (self.rejection is None)
        self.rejection, self._told = rejection, True
        if self._identity is not None and is_news:
            self._owner.tell(self._identity, self.rejection, self.peer)

    @property
    def peer(self) -> object:
        """Its client's address, for the log; a Unix socket's has none."""
        return (self._socket is not None and self._socket.get_extra_info("peername")) or "a Unix socket"

    @property
    def is_closing(self) -> bool:
        """Whether HTTP/2 is over, and its last bytes are on their way."""
        return self._cut_off is not None

    def waiting_nbytes(self) -> int:
        """Bytes that the socket has not taken yet."""
        return self._socket.get_write_buffer_size() if self._socket is not None else 0

    def unsent_nbytes(self) -> int:
        """Bytes that the client's kernel has not said to have; of a Unix socket, that the client has not read."""
        return self.waiting_nbytes() + _kernel_nbytes(self._socket) if self._socket is not None else 0

    def taken_nbytes(self) -> int:
        """A count of the bytes that the client's kernel, of a Unix socket the client, has taken: what it grows by has moved, wherever the
        others wait. uvloop does not say how many TLS has encrypted for it, and gives a socket that was full none before a third is free."""
        if self._socket is None:
            return 0
        return self.written_nbytes - self.unsent_nbytes() if self._is_local else _acknowledged_nbytes(self._socket)

    def hold_reading(self, held: bool) -> None:
        """What is read waits for the connection's next turn."""
        self._held = held
        if self._socket is None or self._socket.is_closing() or self._cut_off is not None:
            return
        if held:
            if self._tls is None:
                self._owner.sockets.forget(self._descriptor, self)
            self._socket.pause_reading()
        elif self._tls is None:
            self._read()
        else:
            self._tls.begin_turn()
            self._socket.resume_reading()

    def hang_up(self, error: int) -> None:
        """The client says nothing more, or is gone: the connection ends when it is its turn."""
        self._owner.end_soon(self.abort if error else self._finish)

    def sleep_if_silent(self) -> None:
        """By TLS the loop reads nothing of a connection that is silent until something comes, and it is its turn."""
        if self._tls is None or self._socket is None or self._asleep or self._socket.is_closing() or not self.is_silent():
            return
        self._owner.sockets.wake(self._descriptor, self, Connection._wake)
        self._asleep = True
        self._socket.set_read_buffer_limits(high=0)  # type: ignore[attr-defined]  # a pause holds back what is decrypted

    def _wake(self) -> None:
        self._asleep = False
        if self._socket is not None and not self._socket.is_closing():
            self._socket.set_read_buffer_limits()  # type: ignore[attr-defined]

    def _read(self) -> None:
        """Without TLS the socket is read natively, not by the loop."""
        if self._socket is not None and not self._socket.is_closing() and not self._held:
            if self._cut_off is not None:
                self._socket.pause_reading()
                return
            try:
                self._owner.sockets.read(self._descriptor, self)
            except OSError:  # the kernel has no memory for it
                self._socket.resume_reading()
            else:
                self._socket.pause_reading()

    def leave(self) -> None:
        """GOAWAY in two steps, between which requests that are on their way arrive."""
        self.announce_drain()
        self._owner.loop.call_later(self._owner.notice_s, self.drain)

    def abort(self) -> None:
        """Cuts the connection off; what was not sent is lost."""
        if self._socket is not None:
            self._owner.sockets.forget(self._descriptor, self)
            self._socket.abort()

    def _tls_told(self, idle_records: int) -> None:
        if self.count_idle(idle_records, self.waiting_nbytes()):
            self.abort()
        elif self._tls is not None and self._tls.is_over:
            self.wait_for_turn()

    def _close_socket(self) -> None:
        """HTTP/2 is done. A kernel answers what comes to a socket that is closed with a reset, and its client loses what it has not read:
        so the client closes first. It hears that nothing more comes after what was written, and what it says is thrown away meanwhile."""
        if self._socket is None or self._cut_off is not None:
            return
        if self._tls is not None:
            self._tls.close()
            self._wake()
            self._socket.close()  # TLS says so itself, and waits
        elif not self._socket.is_closing():
            self._owner.sockets.forget(self._descriptor, self)
            self._socket.pause_reading()
            self.gather_no_more()
            with suppress(OSError):  # the client is gone, which is read next
                self._socket.write_eof()
            self._unwanted_nbytes = JUDGED_NBYTES if self.judged else self.endpoint.connection_window_nbytes
            self._wait_for_unwanted()
        self._wait_for_client()

    def eof_received(self) -> None:
        """By TLS the client says that it says nothing more. asyncio sends it what was written, no more, and closes the socket."""
        self._wait_for_client()

    def _finish(self) -> None:
        """The client says nothing more: what was written leaves, and no reset can follow."""
        if self._socket is not None:
            self._socket.close()
            self._wait_for_client()

    def _wait_for_client(self) -> None:
        """Until it has taken its last bytes, for which only the socket is needed any more."""
        if self._cut_off is not None:
            return
        self._left_nbytes, self._taken_nbytes = self.unsent_nbytes(), self.taken_nbytes()
        self._silent_since_s = self._owner.loop.time()
        self._cut_off = self._owner.loop.call_later(CLOSE_TIMEOUT_S, self._cut_off_unless_moved)
        self._owner.end_soon(self.close)

    def _wait_for_unwanted(self) -> None:
        with suppress(OSError):  # the kernel has no memory for it: nothing is read, and the looks end the connection
            self._owner.sockets.wake(self._descriptor, self, Connection._throw_away)

    def _throw_away(self) -> None:
        """One read, in a turn among those that were silent; no more of them than who keeps to the windows has use for, and few after an
        error: each connection of a flood would have as many."""
        if self._socket is None or self._socket.is_closing():
            return
        self._was_heard = True
        try:
            nbytes = os.readv(self._descriptor, (self.endpoint,))
        except BlockingIOError:
            nbytes = 1  # nothing after all
        except OSError:
            self.abort()
            return
        if nbytes == 0:
            self._finish()
            return
        self._unwanted_nbytes -= nbytes
        if self._unwanted_nbytes > 0:
            self._wait_for_unwanted()
        elif self._is_unheard():
            self.abort()

    def _is_deaf(self) -> bool:
        """Its client has said all that is read once it closes; TLS reads by itself."""
        return self._tls is None and self._unwanted_nbytes <= 0

    def _is_unheard(self) -> bool:
        """An error ended it, its client has said more than is read after that, and has all."""
        return self.judged and self._is_deaf() and self.unsent_nbytes() == 0

    def _cut_off_unless_moved(self) -> None:
        """Each CLOSE_TIMEOUT_S. Whose connection ended for an error has one of them."""
        least_nbytes = max(1, min(self._left_nbytes, int(self.endpoint.min_rate * CLOSE_TIMEOUT_S)))
        before_nbytes, self._taken_nbytes = self._taken_nbytes, self.taken_nbytes()
        self._left_nbytes = self.unsent_nbytes()
        if self.judged or self._taken_nbytes - before_nbytes < least_nbytes:
            self.abort()
        else:
            self._cut_off = self._owner.loop.call_later(CLOSE_TIMEOUT_S, self._cut_off_unless_moved)

    def look_at_closing(self, draining: bool, now_s: float) -> None:
        """Nobody waits for a client that closes late, or never. TLS waits for its word at the end (close_notify), but not in a drain.
        now_s: of the loop's clock."""
        if self._cut_off is None or self._socket is None or (self._tls is not None and not draining):
            return
        if self._is_unheard():
            self.abort()
            return
        # What the kernel has for a Unix socket can be read of one that was closed, too. Who has said all that is read is heard no more.
        if self._was_heard or self._is_deaf() or (self.waiting_nbytes() if self._is_local else self.unsent_nbytes()):
            self._was_heard, self._silent_since_s = False, now_s
        elif now_s - self._silent_since_s >= CLOSING_S:
            self.abort()


def _identity(handshake: TlsReader) -> Identity | None:
    """Whom the client's certificate names; None: it has none."""
    der = handshake.getpeercert(True)
    if der is None:
        return None
    from inferd.serving.certificate import identity_of

    return identity_of(der)


def _acknowledged_nbytes(transport: asyncio.Transport) -> int:
    """Of all that was sent on a TCP connection, TLS' own words among it."""
    socket = _open_socket(transport)
    if socket is None:
        return 0
    (nbytes,) = ACKNOWLEDGED.unpack(socket.getsockopt(IPPROTO_TCP, TCP_INFO, ACKNOWLEDGED.size))
    return int(nbytes)


def _kernel_nbytes(transport: asyncio.Transport) -> int:
    """What the kernel has, and the client's kernel has not said to have. A loop has bytes of its own only while this is full."""
    socket = _open_socket(transport)
    if socket is None:
        return 0
    try:
        unsent = fcntl.ioctl(socket.fileno(), termios.TIOCOUTQ, bytes(4))
    except OSError:
        return 0
    (nbytes,) = struct.unpack("i", unsent)
    return int(nbytes)


def _open_socket(transport: asyncio.Transport) -> Any:
    """asyncio's view of it, or None: by TLS it is closed before its connection hears of that."""
    socket = transport.get_extra_info("socket")
    return None if socket is None or socket.fileno() < 0 else socket
