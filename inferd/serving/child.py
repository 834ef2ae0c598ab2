"""One worker process in the eyes of its supervisor: how it is started, what it was given, when it is started again. Never in here: what a
worker does (worker.py), which of them gets what (workers.py).
"""

from __future__ import annotations

import errno
import os
import select
import signal
import subprocess
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from inferd.interpreter import interpreter
from inferd.observe.pages import Page
from inferd.serving.channel import Channel

if TYPE_CHECKING:
    import socket

    from inferd.config import Settings

__all__ = ["MAX_CRASHES", "Child", "Restarts", "read_page"]

MAX_CRASHES = 5  # of one worker, within
WINDOW_NS = 60 * 10**9
BACK_OFF_NS = 10**9  # before the second restart within the window; twice as long before each further one
MAX_FAILURES = 5  # starts of one worker, in a row; then it is taken for one that cannot be started
LONGEST_BACK_OFF_NS = 30 * 10**9  # between two starts that fail
MAX_UNTAKEN = 128  # connections on their way to a worker: its channel has room for other words, too
QUIET_LOOKS = 3  # so often without a word, which comes every second, and others get the next connections


class Restarts:
    """When a worker that crashed, or could not be started, is started again. The policy: no clock."""

    def __init__(self) -> None:
        self._crashes_ns: deque[int] = deque()
        self._failures = 0  # of starts, since one went well

    def crashed(self, now_ns: int) -> int | None:
        """After a crash of one that served, the time to wait, in nanoseconds: none at first, then longer each time; None: too many
        within a minute."""
        self._crashes_ns.append(now_ns)
        while self._crashes_ns[0] <= now_ns - WINDOW_NS:
            self._crashes_ns.popleft()
        crashes = len(self._crashes_ns)
        if crashes >= MAX_CRASHES:
            return None
        return 0 if crashes == 1 else BACK_OFF_NS << (crashes - 2)

    def failed(self) -> int:
        """After a start that failed, the same: longer each time, up to LONGEST_BACK_OFF_NS, and never too many."""
        self._failures += 1
        return min(BACK_OFF_NS << min(self._failures - 1, MAX_FAILURES), LONGEST_BACK_OFF_NS)

    def started(self) -> None:
        self._failures = 0

    @property
    def hopeless(self) -> bool:
        """Whether its starts have failed so often in a row that the next one is not likely to go better."""
        return self._failures >= MAX_FAILURES


class Child:
    """A worker as the supervisor sees it. state: loading, ready, or leaving, which gets no connection more."""

    process: subprocess.Popen[bytes]
    ended: int  # a descriptor that can be read once the process has ended

    def __init__(self, number: int) -> None:
        self.number = number
        self.state = "loading"
        self.silent_looks = 0  # of the supervisor, since a word came last
        self.turn = 0  # when it was given a connection last
        self._handed = 0  # connections, in all
        self._taken = 0  # of them, as it said last
        self._ended = 0  # of them, likewise
        self._able = True  # it has descriptors for more
        self._full = False  # its channel, when it was to be given a connection last
        self._untold: dict[str, dict[str, object]] = {}  # words that its channel had no room for: of two of a kind the later one
        self._last_page = -1  # a file in memory for what it has counted when it leaves
        self.channel, self.theirs = Channel.pair()

    def start(self, settings: Settings) -> None:
        """Starts the process. Raises OSError where the system allows none."""
        with self.theirs:
            told = self.channel.send("settings", number=self.number, settings=msgspec.structs.asdict(settings))
            try:
                if not told:
                    raise OSError(errno.EMFILE, "no file descriptor is left for its settings")
                self.process = _start(self.theirs)
                self.ended = os.pidfd_open(self.process.pid)
            except OSError:
                self.channel.close()
                raise

    def __str__(self) -> str:
        return f"worker {self.number} (process {self.process.pid})"

    @property
    def connections(self) -> int:
        """Those that it was handed, less those of which it said that they have ended."""
        return self._handed - self._ended

    @property
    def answers(self) -> bool:
        """Whether its event loop turns, as far as is known."""
        return self.silent_looks <= QUIET_LOOKS

    @property
    def takes(self) -> bool:
        """Whether a connection can be given to it now."""
        able = self._able and not self._full and self._handed - self._taken < MAX_UNTAKEN
        return self.state == "ready" and self.answers and able

    def reported(self, taken: int, ended: int, able: bool) -> None:
        """The worker says this once it has read what waited, where something has changed, and every second."""
        self._taken, self._ended, self._able, self._full = taken, ended, able, False

    def hand(self, opened: socket.socket, turn: int, **speaks: bool) -> bool:
        """Gives it a connection, and what is spoken there; False where its channel takes none, and then it gets none before its next
        report."""
        if not self.channel.send("connection", opened.fileno(), **speaks):
            self._full = True
            return False
        self._handed += 1
        self.turn = turn
        return True

    def tell(self, kind: str, **fields: object) -> bool:
        """Says something that is not to be lost. False where its channel has no room, or its process has ended: `tell_again` says it."""
        self.tell_later(kind, **fields)
        return self.tell_again()

    def tell_later(self, kind: str, **fields: object) -> None:
        """In `tell_again`."""
        self._untold.pop(kind, None)
        self._untold[kind] = fields

    def tell_again(self) -> bool:
        """All that could not be said, in order; False where something is left."""
        for kind, fields in list(self._untold.items()):
            if not self.channel.send(kind, self._last_page if kind == "stop" else -1, **fields):
                return False
            del self._untold[kind]
        return True

    def ask_metrics(self) -> int:
        """The end of a pipe that its page will come out of, for `read_page`. Where it cannot be asked, nothing comes."""
        reads, writes = os.pipe()
        self.channel.send("metrics", writes)
        os.close(writes)
        return reads

    def leave(self) -> None:
        """Tells it to drain and end; it gets no connection more."""
        self.state = "leaving"
        with suppress(OSError):  # without a descriptor its last counts are lost
            self._last_page = os.memfd_create("inferd-metrics")
        self.tell("stop")

    def last_page(self) -> Page:
        """What one that has left had counted; nothing of one that crashed."""
        if self._last_page < 0:
            return []
        os.lseek(self._last_page, 0, os.SEEK_SET)
        descriptor, self._last_page = self._last_page, -1
        return read_page(descriptor, time.monotonic())

    def close(self) -> None:
        """Of one that has ended."""
        self.channel.close()
        os.close(self.ended)


def _start(channel: socket.socket) -> subprocess.Popen[bytes]:
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})  # inherited: else it would end a worker that does not ignore it yet
    try:
        return _opened(channel)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _opened(channel: socket.socket) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*interpreter(), "-m", "inferd.serving.worker", str(channel.fileno())],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,  # whose reader waits for its end, which no worker may hold up
        pass_fds=(channel.fileno(),),
        process_group=0,  # Ctrl-C on the terminal is the supervisor's to answer. No new session: Linux shares cores out by sessions
        env={name: text for name, text in os.environ.items() if name != "NOTIFY_SOCKET"},
    )


def read_page(descriptor: int, overdue_s: float) -> Page:
    """What a worker writes there, which is closed then; nothing where it has not all come by `overdue_s` (of time.monotonic)."""
    content = bytearray()
    ready = select.poll()
    ready.register(descriptor, select.POLLIN)
    try:
        while ready.poll(max(0, int((overdue_s - time.monotonic()) * 1000))):
            piece = os.read(descriptor, 1 << 16)
            if not piece:
                return msgspec.json.decode(content, type=Page)
            content += piece
    except msgspec.DecodeError:  # it ended meanwhile
        pass
    finally:
        os.close(descriptor)
    return []
