"""One worker process as its supervisor sees it: its start, its connections, its restarts. Never in here: what a worker does (worker.py),
how connections are divided (dispatcher.py).
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
from inferd.serving.processes.channel import Channel

if TYPE_CHECKING:
    import socket

    from inferd.config import Settings

MAX_CRASHES = 5  # of one worker within WINDOW_NS
WINDOW_NS = 60 * 10**9
BACK_OFF_NS = 10**9  # before the second restart within the window; twice as long before each further one
MAX_FAILURES = 5  # successive failed starts of one worker; then it counts as hopeless
LONGEST_BACK_OFF_NS = 30 * 10**9  # between two starts that fail
MAX_UNTAKEN = 128  # connections on their way to a worker, so that its channel has room for other messages
QUIET_LOOKS = 3  # a worker without a message for more checks than these, one a second, gets no connections


class Restarts:
    """Decides when a worker that crashed, or could not be started, is started again. It has no clock."""

    def __init__(self) -> None:
        self._crashes_ns: deque[int] = deque()
        self._failures = 0  # failed starts since the last good one

    def crashed(self, now_ns: int) -> int | None:
        """Called when a worker that served crashed. Returns the nanoseconds to wait: 0 at first, then longer each time; None: too many
        crashes within a minute."""
        self._crashes_ns.append(now_ns)
        while self._crashes_ns[0] <= now_ns - WINDOW_NS:
            self._crashes_ns.popleft()
        crashes = len(self._crashes_ns)
        if crashes >= MAX_CRASHES:
            return None
        return 0 if crashes == 1 else BACK_OFF_NS << (crashes - 2)

    def failed(self) -> int:
        """Called when a start failed. Returns the nanoseconds to wait: longer each time, up to LONGEST_BACK_OFF_NS."""
        self._failures += 1
        return min(BACK_OFF_NS << min(self._failures - 1, MAX_FAILURES), LONGEST_BACK_OFF_NS)

    def started(self) -> None:
        self._failures = 0

    @property
    def hopeless(self) -> bool:
        """Whether so many successive starts failed that the next one is likely to fail, too."""
        return self._failures >= MAX_FAILURES


class Child:
    """A worker as the supervisor sees it. state: loading, ready, or leaving: it gets no more connections."""

    process: subprocess.Popen[bytes]
    ended: int  # a descriptor that is readable once the process has ended

    def __init__(self, number: int) -> None:
        self.number = number
        self.state = "loading"
        self.silent_looks = 0  # checks of the supervisor since the last message
        self.turn = 0  # when it last got a connection
        self._handed = 0  # connections handed to it, in all
        self._taken = 0  # of these, those that it has taken by its last report
        self._ended = 0  # of these, those that have ended by its last report
        self._able = True  # it has descriptors for more
        self._full = False  # its channel had no room for the last connection
        self._untold: dict[str, dict[str, object]] = {}  # messages that its channel had no room for; the latest of each kind
        self._last_page = -1  # a memfd for its last page of metrics
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
        """Connections handed to it that have not ended, by its last report."""
        return self._handed - self._ended

    @property
    def is_responsive(self) -> bool:
        """Whether its reports show that its event loop runs."""
        return self.silent_looks <= QUIET_LOOKS

    @property
    def takes(self) -> bool:
        """Whether a connection can be given to it now."""
        able = self._able and not self._full and self._handed - self._taken < MAX_UNTAKEN
        return self.state == "ready" and self.is_responsive and able

    def reported(self, taken: int, ended: int, able: bool) -> None:
        """Called with the worker's report: after it has read its channel, if something changed, and every second."""
        self._taken, self._ended, self._able, self._full = taken, ended, able, False

    def hand(self, opened: socket.socket, turn: int, **speaks: bool) -> bool:
        """Hands it a connection. speaks: its protocols. False: its channel is full, and it gets none before its next report."""
        if not self.channel.send("connection", opened.fileno(), **speaks):
            self._full = True
            return False
        self._handed += 1
        self.turn = turn
        return True

    def tell(self, kind: str, **fields: object) -> bool:
        """Sends a message that must not be lost. False: its channel is full or its process has ended, and `tell_again` must send it."""
        self.tell_later(kind, **fields)
        return self.tell_again()

    def tell_later(self, kind: str, **fields: object) -> None:
        """Leaves a message for `tell_again`."""
        self._untold.pop(kind, None)
        self._untold[kind] = fields

    def tell_again(self) -> bool:
        """Sends messages that could not be sent, in order. False: some are left."""
        for kind, fields in list(self._untold.items()):
            if not self.channel.send(kind, self._last_page if kind == "stop" else -1, **fields):
                return False
            del self._untold[kind]
        return True

    def ask_metrics(self) -> int:
        """Asks for its page of metrics. Returns the end of a pipe for `read_page`; without room in the channel, nothing comes."""
        reads, writes = os.pipe()
        self.channel.send("metrics", writes)
        os.close(writes)
        return reads

    def leave(self) -> None:
        """Tells it to drain and end; it gets no more connections."""
        self.state = "leaving"
        with suppress(OSError):  # without a descriptor its last counts are lost
            self._last_page = os.memfd_create("inferd-metrics")
        self.tell("stop")

    def last_page(self) -> Page:
        """The last metrics of a worker that has left; empty for one that crashed."""
        if self._last_page < 0:
            return []
        os.lseek(self._last_page, 0, os.SEEK_SET)
        descriptor, self._last_page = self._last_page, -1
        return read_page(descriptor, time.monotonic())

    def close(self) -> None:
        """Called when the process has ended."""
        self.channel.close()
        os.close(self.ended)


def _start(channel: socket.socket) -> subprocess.Popen[bytes]:
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})  # inherited: else it would end a worker that does not ignore it yet
    try:
        return subprocess.Popen(
            [*interpreter(), "-m", "inferd.serving.processes.worker", str(channel.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # the reader of stdout waits for its end, which no worker may hold up
            pass_fds=(channel.fileno(),),
            process_group=0,  # only the supervisor gets Ctrl-C of the terminal. No new session: Linux divides cores by sessions
            env={name: text for name, text in os.environ.items() if name != "NOTIFY_SOCKET"},
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def read_page(descriptor: int, overdue_s: float) -> Page:
    """Reads a worker's page and closes the descriptor. Empty if the page is not complete by `overdue_s` (of time.monotonic)."""
    content = bytearray()
    ready = select.poll()
    ready.register(descriptor, select.POLLIN)
    try:
        while ready.poll(max(0, int((overdue_s - time.monotonic()) * 1000))):
            piece = os.read(descriptor, 1 << 16)
            if not piece:
                return msgspec.json.decode(content, type=Page)
            content += piece
    except msgspec.DecodeError:  # the worker ended meanwhile
        pass
    finally:
        os.close(descriptor)
    return []
