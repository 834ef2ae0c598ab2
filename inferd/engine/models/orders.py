"""Orders to load, unload and compare models, and the one thread that carries them out.

Callers that ask for the same thing share one waiting order, which is dropped when all of them have cancelled. The thread carries out one
order at a time. Never in here: what an order does (lifecycle.py).
"""

from __future__ import annotations

import logging
import queue
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from inferd.errors import InferdError, ResourceExhausted, Unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

log = logging.getLogger("inferd.engine")

MAX_ORDERS = 4096  # waiting orders
MAX_SENT_NBYTES = 256 << 20  # files that clients sent: those of the current load and of waiting ones
SWITCH_S = 0.0005  # the longest time that Python code of a load holds up the loop; otherwise it is Python's 5 ms


Work = Callable[[], "Sequence[threading.Thread] | None"]  # returns threads that it has started, if any; the order ends with them


@dataclass(slots=True)
class Order:
    """A task for one model, or for all ('')."""

    name: str
    key: tuple[Any, ...]  # two orders of one key do the same
    work: Work
    nbytes: int = 0  # memory that it holds
    asked: list[Future[None]] = field(default_factory=list)  # one for each caller that waits for it
    left: int = 0  # cancelled futures

    def begin(self) -> bool:
        """Called before it is carried out: it cannot be cancelled any more. False: every caller has cancelled."""
        self.asked = [each for each in self.asked if each.set_running_or_notify_cancel()]
        return bool(self.asked)

    def carry_out(self) -> None:
        try:
            begun = self.work()
        except Exception as error:
            if not isinstance(error, InferdError):
                log.exception("a model could not be loaded or unloaded")
            self.end(error)
        else:
            if begun:
                threading.Thread(target=self._finish, args=(begun,), name="unload", daemon=True).start()
            else:
                self.end()

    def end(self, error: Exception | None = None) -> None:
        if error is not None:
            error.__context__ = error.__cause__ = error.__traceback__ = None  # their frames hold a client's files
        asked, self.asked = self.asked, []  # else a cycle keeps the error, and frames of its callers
        for each in asked:
            each.set_result(None) if error is None else each.set_exception(error)

    def _finish(self, begun: Sequence[threading.Thread]) -> None:
        for thread in begun:
            thread.join()
        self.end()


class Orders:
    """Owns the waiting orders and the loader's thread, which carries them out. Its methods return at once, on any thread; futures have
    the results. begin(), end(): called first and last on the loader's thread."""

    def __init__(self, begin: Callable[[], object], end: Callable[[], object]) -> None:
        self._begin, self._end = begin, end
        self._orders: queue.SimpleQueue[Order | None] = queue.SimpleQueue()
        self._last: dict[str, Order] = {}  # the last waiting order of each model
        self._waiting = self._sent_nbytes = 0
        self._lock = threading.Lock()  # guards the four above, and `is_stopping`
        self.is_stopping = False
        self._thread = threading.Thread(target=self._carry_out, name="loader", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def leave(self) -> None:
        """Fails waiting orders and new ones. An order under way goes on."""
        with self._lock:
            self.is_stopping = True
        self._orders.put(None)

    def stop(self, timeout_s: float) -> bool:
        """Leaves, and waits for the current order. False: it still runs after that time."""
        self.leave()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def give(self, name: str, key: tuple[Any, ...], work: Work, nbytes: int = 0) -> Future[None]:
        """A new future for this caller. A waiting order is dropped when all its callers have cancelled theirs."""
        asked: Future[None] = Future()
        with self._lock:
            order = self._last.get(name)
            if order is not None and order.key == key:
                order.asked.append(asked)
            elif error := self._rejection(nbytes):
                asked.set_exception(error)
                return asked
            else:
                self._last[name] = order = Order(name, key, work, nbytes, [asked])
                self._waiting += 1
                self._sent_nbytes += nbytes
                self._orders.put(order)
        asked.add_done_callback(partial(self._left, order))
        return asked

    def _rejection(self, nbytes: int) -> InferdError | None:
        if self.is_stopping:
            return stops()
        if self._waiting >= MAX_ORDERS:
            return ResourceExhausted(f"{MAX_ORDERS} loads and unloads wait, which is the limit; retry later")
        if nbytes and self._sent_nbytes + nbytes > MAX_SENT_NBYTES:
            return ResourceExhausted(
                f"loads that wait hold {self._sent_nbytes} bytes of files that clients sent: with {nbytes} more they would pass the limit "
                f"of {MAX_SENT_NBYTES}; retry later"
            )
        return None

    def _left(self, order: Order, asked: Future[None]) -> None:
        """Called when a caller has cancelled its future, or has the result."""
        if not asked.cancelled():
            return
        with self._lock:
            order.left += 1
            is_wanted = order.left < len(order.asked)
            if not is_wanted and self._last.get(order.name) is order:
                del self._last[order.name]
        if not is_wanted:
            self._drop(order)

    def _drop(self, order: Order) -> None:
        """Frees the memory of an order that is carried out or cancelled."""
        with self._lock:
            self._sent_nbytes -= order.nbytes
            order.key, order.work, order.nbytes = (), lambda: None, 0

    def _carry_out(self) -> None:
        self._begin()
        while (order := self._orders.get()) is not None:
            with self._lock:
                self._waiting -= 1
                if self._last.get(order.name) is order:
                    del self._last[order.name]
                if not order.begin():
                    continue
            if self.is_stopping:
                order.end(stops())
                continue
            interval_s = sys.getswitchinterval()
            sys.setswitchinterval(SWITCH_S)
            try:
                order.carry_out()
            finally:
                sys.setswitchinterval(interval_s)
            self._drop(order)
        self._end()


def stops() -> Unavailable:
    """The error of an order that is not carried out."""
    return Unavailable("the server stops: it loads and unloads no models any more")
