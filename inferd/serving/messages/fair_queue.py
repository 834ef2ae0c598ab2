"""A queue of items of many connections, which take turns by the scheduler of _core/base/scheduler, one item a turn. Never in here: what
happens in a turn.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar, cast

from inferd._core.base.scheduler import Flow, Scheduler

Item = TypeVar("Item")


class _Line(Flow):
    """The items of one connection, in order."""

    def __init__(self, connection: object) -> None:
        self.connection = connection
        self.items: OrderedDict[object, None] = OrderedDict()


class FairQueue(Generic[Item]):
    """Any item can be removed. A connection that has none left is forgotten in its next turn."""

    def __init__(self) -> None:
        self._scheduler = Scheduler(1)  # an item costs 1: a whole quantum
        self._lines: dict[object, _Line] = {}

    def __len__(self) -> int:
        return sum(len(line.items) for line in self._lines.values())

    def put(self, connection: object, item: Item) -> None:
        line = self._lines.get(connection)
        if line is None:
            line = self._lines[connection] = _Line(connection)
        line.items[item] = None
        self._scheduler.add(line)

    def take(self) -> tuple[object, Item] | None:
        """The next item and its connection; None: nothing waits."""
        while (flow := self._scheduler.next()) is not None:
            line = cast("_Line", flow)
            item = line.items.popitem(last=False)[0] if line.items else None
            self._scheduler.charge(line, 1, bool(line.items))
            if not line.items:
                del self._lines[line.connection]
            if item is not None:
                return line.connection, cast("Item", item)
        return None

    def remove(self, connection: object, item: Item) -> None:
        """Does nothing if the item does not wait."""
        if (line := self._lines.get(connection)) is not None:
            line.items.pop(item, None)
