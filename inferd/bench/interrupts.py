"""Ctrl-C in a run: the first one ends the measurement, a second one does nothing, so that results are always shown.

SIGHUP does the same; it comes several times when the terminal goes. SIGTERM does, too, but a second one ends the program, unless it follows
at once. A terminal or timeout(1) may send them to every process of a group: only the first process handles them. Never in here: measuring,
reports.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

OF_TERMINALS = frozenset({signal.SIGINT, signal.SIGHUP})
NUMBERS = (*OF_TERMINALS, signal.SIGTERM)
AGAIN_S = 0.5  # timeout(1) sends SIGTERM to its child and to the group, so that one comes twice: only a later one is a second


class Once:
    """A handler: the first signal raises KeyboardInterrupt, a later one of a terminal nothing."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.seen = False
        self._now, self._terminated_s = now, -math.inf  # when SIGTERM came last

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if not self.note(number):
            raise KeyboardInterrupt

    def note(self, number: int) -> bool:
        """One came; whether it says nothing that was not said before."""
        if number in OF_TERMINALS:
            known, self.seen = self.seen, True
            return known
        before_s, self.seen, self._terminated_s = self._terminated_s, True, self._now()
        return self._terminated_s - before_s < AGAIN_S


@contextmanager
def interrupted_once(now: Callable[[], float] = time.monotonic) -> Iterator[None]:
    """For all of a command, its report included. Signals that are ignored already stay so; after one that came, those of terminals are."""
    once = Once(now)
    before = {number: signal.signal(number, once) for number in NUMBERS if signal.getsignal(number) is not signal.SIG_IGN}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if once.seen and number in OF_TERMINALS else handler)


@contextmanager
def interrupts_noted() -> Iterator[Callable[[], bool]]:
    """In the block Ctrl-C and the like raise nothing: an exception could cut a piece in two on its way. The result tells whether one
    came."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    handlers = {number: signal.getsignal(number) for number in NUMBERS}
    raising = {number: each for number, each in handlers.items() if each is signal.default_int_handler or isinstance(each, Once)}
    seen: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        seen.append(number)
        if isinstance(once := raising[signal.Signals(number)], Once):
            once.note(number)

    for number in raising:
        signal.signal(number, note)
    try:
        yield lambda: bool(seen)
    finally:
        for number, handler in raising.items():
            signal.signal(number, handler)


@contextmanager
def interrupts_held() -> Iterator[None]:
    """In the block the signals wait, and raise KeyboardInterrupt at its end. In a process that is started there they wait, too, while
    that imports what it needs, until it calls `ignore_interrupts`."""
    resource_tracker.ensure_running()  # it comes with the first process, and its coming lets through what is blocked
    with interrupts_noted() as interrupted:  # for a thread that blocks nothing may have it
        before = signal.pthread_sigmask(signal.SIG_BLOCK, NUMBERS)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if interrupted():
        raise KeyboardInterrupt


def ignore_interrupts() -> None:
    """For all of this process, which is not the first one: that ends it by its pipe, or kills it."""
    for number in NUMBERS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, NUMBERS)
