"""Which measurements of two reports belong together: those of the same load; of two stresses, those of the same share of each one's
saturation. Never in here: figures and verdicts."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from inferd.bench.findings import per_second
from inferd.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from inferd.bench.measurement import Load, Measurement

GOODPUT = "requests/s"


class Pair(NamedTuple):
    """The measurements of one load on both sides, each a round of it."""

    load: str
    before: list[Measurement]
    after: list[Measurement]
    figures: tuple[str, ...] = ()  # those that can be compared; none: all, and the errors
    is_overload: bool = False  # what comes of it differs much from run to run: only intervals tell

    @property
    def rounds(self) -> int:
        return min(len(self.before), len(self.after))


def same_loads(before: Sequence[Measurement], after: Sequence[Measurement], force: bool) -> Iterator[Pair]:
    """The measurements of each load; of each version, too, where a side has several. With `force`, different loads in their order."""
    by_version = any(len({measured.version for measured in side}) > 1 for side in (before, after))
    old, new = by_load(before, by_version), by_load(after, by_version)
    if old.keys() == new.keys():
        for key, measured in old.items():
            yield Pair(spelled(measured[0], by_version), measured, new[key])
        return
    texts = [", ".join(in_full(measured[0], by_version) for measured in side.values()) for side in (old, new)]
    if not force:
        raise ConfigError(f"the loads differ, {texts[0]} before and {texts[1]} after: measure the same, or give --force")
    if len(old) != len(new):
        raise ConfigError(f"the loads differ in number, {texts[0]} before and {texts[1]} after: even --force cannot pair them")
    for one, other in zip(old.values(), new.values(), strict=True):
        yield Pair(f"{spelled(one[0], by_version)} / {spelled(other[0], by_version)}", one, other)


def by_load(measurements: Sequence[Measurement], by_version: bool) -> dict[tuple[object, ...], list[Measurement]]:
    found: dict[tuple[object, ...], list[Measurement]] = {}
    for measured in measurements:
        found.setdefault((load_key(measured.load), measured.version if by_version else ""), []).append(measured)
    return found


def load_key(load: Load) -> tuple[object, ...]:
    """A key that equal loads share: it has neither the duration, nor the seed, nor the number of generator processes."""
    if load.rate:
        return (load.rate, load.arrivals, load.connections, load.deadline_ms)
    return (load.connections, load.streams, load.deadline_ms)


def spelled(measured: Measurement, by_version: bool) -> str:
    deadline_ms = measured.load.deadline_ms
    version = f", version {measured.version or '(newest)'}" if by_version else ""
    return f"{measured.load}" + (f", deadline {deadline_ms:g} ms" if deadline_ms else "") + version


def in_full(measured: Measurement, by_version: bool) -> str:
    """With the connections, which an open loop does not name."""
    connections = measured.load.connections
    return spelled(measured, by_version) + (f" on {connections} connection{'s' * (connections > 1)}" if measured.load.rate else "")


class Stressed:
    """The measurements of one stress: its closed loops by how many are in flight, its open ones by their share of the saturation."""

    def __init__(self, measurements: Sequence[Measurement]) -> None:
        closed = [measured for measured in measurements if not measured.load.rate]
        if not closed:
            raise ConfigError("a stress has closed loops, and one of these has none")
        self.most = max(closed, key=lambda measured: measured.requests_per_second)
        self.opened = [measured for measured in measurements if measured.load.rate and self.most.requests_per_second]
        self.in_flight = {f"{in_flight(measured)} in flight": measured for measured in closed}
        self.shares = {self.share(measured): measured for measured in self.opened}
        self.deadline_ms = self.opened[0].load.deadline_ms if self.opened else 0.0

    def share(self, measured: Measurement) -> str:
        return f"{measured.load.rate / self.most.requests_per_second:.4g} times the saturation"


def in_flight(measured: Measurement) -> int:
    return measured.load.connections * measured.load.streams


def stresses(before: Sequence[Measurement], after: Sequence[Measurement]) -> Iterator[Pair]:
    """The saturation and the best goodput, then load by load.

    An open loop is meant to overload, and around the saturation its latency is anything up to the deadline. So only its goodput and the
    cost of that can be compared."""
    old, new = Stressed(before), Stressed(after)
    yield Pair(f"saturation ({in_flight(old.most)} / {in_flight(new.most)} in flight)", [old.most], [new.most], (GOODPUT,))
    if old.opened and new.opened:
        one, other = (max(side.opened, key=lambda measured: measured.requests_per_second) for side in (old, new))
        yield Pair(f"best goodput ({per_second(one.load.rate)} / {per_second(other.load.rate)} asked)", [one], [other], (GOODPUT,))
    for name, measured in old.in_flight.items():
        if name in new.in_flight:
            yield Pair(name, [measured], [new.in_flight[name]])
    for name, measured in old.shares.items():
        if name in new.shares:
            rates = [per_second(each.load.rate) for each in (measured, new.shares[name])]
            figures = (GOODPUT, "server CPU/request")
            yield Pair(f"{name} ({' / '.join(rates)} asked)", [measured], [new.shares[name]], figures, is_overload=True)


def unlike(before: Sequence[Measurement], after: Sequence[Measurement]) -> Iterator[str]:
    """The differences between two stresses, as sentences."""
    old, new = Stressed(before), Stressed(after)
    if old.opened and new.opened and old.deadline_ms != new.deadline_ms:
        yield (
            f"the goodput is of {old.deadline_ms:g} ms before and of {new.deadline_ms:g} ms after, ten medians of each: give both one "
            "--deadline"
        )
    alone = [name for what in ("in_flight", "shares") for name in getattr(old, what).keys() ^ getattr(new, what).keys()]
    if alone:
        yield f"measured on one side only, and not compared: {', '.join(sorted(alone))}"
