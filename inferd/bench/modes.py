"""Which loads to measure: one, steps, the highest that keeps a target, past saturation, for long, versions in turn.

A mode is a policy without a clock: it asks for a load, sees what that showed, asks for the next. `carry_out` runs it, keeps what was
measured when a run is interrupted or a server dies, and has the findings worked out of that.
Never in here: requests, terminals, files.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from inferd.bench import findings
from inferd.bench.findings import Findings, Judged, Slo, judge, judged, number_in, per_second
from inferd.bench.measurement import Load, Measurement
from inferd.errors import ConfigError, InferdError

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_STEPS = 1000  # of --steps and --ramp
SEARCH_STEPS = 40
MOST_BOUND = 3  # rates at which the generator is the limit, while none keeps the target: lower ones would measure it, not the server
STEEPEST = 16.0  # a search goes down by so many times at most
FACTORS = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0)  # of the saturation: where a stress measures
GAIN = 1.05  # saturated: twice as many in flight give less than this much more
PATIENCE = 2  # times in a row, for one may be noise
MOST_IN_FLIGHT = 4096
FURTHER, MOST_FURTHER = 1.5, 6  # while the server keeps up, a stress raises the rate so many times, so often
UNREACHABLE = {"connection", "UNAVAILABLE"}


class Progress(NamedTuple):
    """The next measurement. of: how many there will be; 0: their results decide, and there are `most` at most."""

    step: int
    of: int
    load: Load
    version: str
    why: str
    most: int = 0


class Ask(NamedTuple):
    """A load that a policy wants measured. version: empty for the one that was asked for."""

    load: Load
    version: str = ""
    why: str = ""


Policy = Generator[Ask, Measurement, str]  # returns why it stopped
Run = Callable[[Load, str], Measurement]


class Mode(NamedTuple):
    """A policy, and what its measurements and the reason of its end say. loads: how many; 0: not known before, `most` at most."""

    name: str
    policy: Policy
    find: Callable[[list[Measurement], str], Findings | None]
    loads: int = 0
    most: int = 0


class Outcome(NamedTuple):
    """ended: why it stopped before its time; empty: it did not."""

    mode: str
    measurements: list[Measurement]
    findings: Findings | None
    ended: str

    def has_failed(self, *, may_fail: bool = False) -> bool:
        """Whether responses were wrong, or requests failed where a mode does not go looking for failures. may_fail: somebody said how
        many requests may fail, and that is judged elsewhere."""
        if any(m.verified and m.verified.wrong for m in self.measurements):
            return True
        excused = may_fail or isinstance(self.findings, findings.Search | findings.Stress)
        return not excused and any(m.failed or m.unfinished for m in self.measurements)


def carry_out(mode: Mode, run: Run, tell: Callable[[Progress], None] | None = None) -> Outcome:
    """Measures what the mode asks for, by `run(load, version)`.

    Ctrl-C, an InferdError, an OSError or a measurement that ended early end it; what was measured is returned. Where nothing was, the
    error is raised.
    """
    measurements: list[Measurement] = []
    ended = ""
    try:
        ask = next(mode.policy)
        while not ended:
            if tell:
                tell(Progress(len(measurements) + 1, mode.loads, ask.load, ask.version, ask.why, mode.loads or mode.most))
            measurement = run(ask.load, ask.version)
            ended = measurement.ended
            if measurement.requests or not ended or not measurements:  # of one that ended in its warm-up there is nothing to tell
                measurements.append(measurement)
            if not ended:
                ask = mode.policy.send(measurement)
    except StopIteration as finished:
        return Outcome(mode.name, measurements, mode.find(measurements, str(finished.value)), "")
    except KeyboardInterrupt:
        if not measurements:
            raise
        ended = "interrupted"
    except (InferdError, OSError) as error:
        if not measurements:
            raise
        ended = str(error)
    mode.policy.close()
    return Outcome(mode.name, measurements, mode.find(measurements, ended), ended)


def single(load: Load) -> Mode:
    return Mode("single", _each([load]), lambda measured, stopped: None, 1)


def steps(loads: Sequence[Load]) -> Mode:
    """One after another."""
    return Mode("steps", _each(loads), lambda measured, stopped: findings.curve(measured), len(loads))


def _each(loads: Sequence[Load]) -> Policy:
    for load in loads:
        yield Ask(load)
    return "all were measured"


def along(load: Load, values: Sequence[float]) -> list[Load]:
    """The load with each of the rates where it has one (an open loop); else with so many streams a connection."""
    if load.rate:
        return [replace(load, rate=value) for value in values]
    if wrong := [value for value in values if value != int(value)]:
        raise ConfigError(f"--steps: expected whole numbers of streams in a closed loop, got {wrong[0]:g}; give --rate for rates")
    return [replace(load, streams=int(value)) for value in values]


def parse_steps(text: str) -> list[float]:
    """ "1000,2000,4000"."""
    values = [_positive(part) for part in text.split(",")]
    if 0.0 in values or len(values) > MOST_STEPS:
        raise ConfigError(f"--steps {text}: expected up to {MOST_STEPS} numbers above 0 as in 1000,2000,4000")
    return values


def parse_ramp(text: str) -> list[float]:
    """ "FROM:TO/N": N steps, evenly spaced, the first FROM and the last TO."""
    ends, _, count = text.partition("/")
    first, last = (_positive(part) for part in (ends.split(":") if ends.count(":") == 1 else ("", "")))
    if not first or not last or not (count.isascii() and count.isdigit() and len(count) < 5 and 2 <= int(count) <= MOST_STEPS):
        raise ConfigError(f"--ramp {text}: expected FROM:TO/N as in 100:1000/10, the ends above 0 and N from 2 to {MOST_STEPS}")
    return [first + (last - first) * step / (int(count) - 1) for step in range(int(count))]


def _positive(text: str) -> float:
    """0 for what is no number above 0."""
    value = number_in(text)
    return value if 0 < value < 1e12 else 0.0


def search(load: Load, slo: Slo, *, width: float = 0.03, highest: float = 1e7) -> Mode:
    """The highest rate that keeps the target: doubling until one does not, then halving the gap until it is at most `width` of the
    rate. It starts at load.rate; without one, at half of what one request at a time reaches. highest: no rate above it is tried.

    Neither a short stall nor luck must make the result. So each rate that misses the target is measured once more: a short stall looks like
    a rate that is far too high. When the gap is narrow, both of its ends are measured once more, the upper one last. An end that turns out
    to be on the other side moves the gap, and the search goes on from there."""
    return Mode(
        "search", _search(load, slo, width, highest), lambda measured, stopped: findings.found(measured, slo, stopped), most=SEARCH_STEPS
    )


def _search(load: Load, slo: Slo, width: float, highest: float) -> Policy:
    rate, steps = load.rate, SEARCH_STEPS
    if not rate:
        looks = yield from _one_at_a_time(load, slo)
        if why := judge(looks[-1], slo):
            bound = looks[-1].client_bound
            return (
                f"{'the generator was the limit with one request at a time' if bound else 'one request at a time does not keep it'}: {why}"
            )
        rate, steps = looks[-1].requests_per_second / 2, steps - len(looks)
    return (yield from _narrow_down(replace(load, rate=min(rate, highest)), slo, width, highest, steps))


def _one_at_a_time(load: Load, slo: Slo) -> Generator[Ask, Measurement, list[Measurement]]:
    """To know where to start; once more where that misses the target."""
    alone = replace(load, connections=1, streams=1)
    looks = [(yield Ask(alone, why="one at a time, to know where to start"))]
    if why := judge(looks[0], slo):
        looks.append((yield Ask(alone, why=f"one at a time once more: {why}")))
    return looks


def _narrow_down(load: Load, slo: Slo, width: float, highest: float, steps: int) -> Policy:
    """The search itself, from load.rate on, in so many measurements at most."""
    rate, why = load.rate, "the first"
    last: dict[float, Judged] = {}  # what each rate showed
    sure: set[float] = set()  # of a narrow gap the ends that showed it once more
    bound: dict[float, str] = {}  # rates that the generator did not keep, twice, as words
    for _ in range(steps):
        measured = yield Ask(replace(load, rate=rate), why=why)
        before, result = last.get(rate), judged(measured, slo)
        last[rate] = result
        if before and before.kept != result.kept:
            sure.discard(rate)
        if not result.kept and (before is None or before.kept):
            why = f"{per_second(rate)} once more: {result.why}"
            continue
        if gone := _gone(measured):
            return gone
        kept, lost = findings.bounds(last.values())
        if result.client_bound:
            bound[rate] = per_second(rate)
        if not kept and len(bound) == MOST_BOUND:
            return f"the generator was the limit at {', '.join(bound.values())}"
        if not kept and lost and lost.rate * (load.duration_s or 1.0) < 1:
            return "even a request now and then does not keep it"
        if not (stopped := _narrow(kept, lost, width, highest)):
            rate, why = _between(kept, lost, highest), _place(kept, lost)
        elif unsure := [end for end in (kept, lost.rate if lost else kept) if end not in sure]:
            rate, why = unsure[0], f"{per_second(unsure[0])} once more, to be sure"
            sure.add(rate)
        else:
            return stopped
    return f"{SEARCH_STEPS} steps were measured: measure longer, or with a more generous target"


def _narrow(kept: float, lost: Judged | None, width: float, highest: float) -> str:
    """Why nothing between the two, or above, has to be tried; empty: it has."""
    if kept >= highest:
        return f"{highest:g}/s is the highest rate that may be tried"
    if not kept or not lost or lost.rate - kept > width * kept:
        return ""
    if lost.client_bound:
        return f"at {per_second(lost.rate)} the generator was the limit; the server may do more"
    return f"the gap is at most {width:.2g} of it"


def _between(kept: float, lost: Judged | None, highest: float) -> float:
    """The rate to try next. kept: 0 for none; then the share of responses at the lost rate says how far down to go."""
    if lost is None:
        return min(kept * 2, highest)
    if not kept:
        return lost.rate / min(max(lost.rate / lost.answered if lost.answered else 0.0, 2.0), STEEPEST)
    return (kept + lost.rate) / 2


def _gone(measured: Measurement) -> str:
    """Why nothing more can be measured; empty: it can."""
    if measured.errors and measured.requests == measured.failed and measured.errors.keys() <= UNREACHABLE:
        return f"nothing is answered any more: {next(iter(measured.error_messages.values()), 'no connection')}"
    return ""


def _place(kept: float, lost: Judged | None) -> str:
    keeps = f"{per_second(kept)} keeps the target" if kept else ""
    loses = f"{per_second(lost.rate)} does not" if lost else ""
    return ", ".join(filter(None, (keeps, loses if keeps else f"{loses} keep the target")))


def stress(load: Load, factors: Sequence[float] = FACTORS) -> Mode:
    """Finds the saturation by closed loops with ever more in flight. Then sends open loops at `factors` of that rate.

    The rate rises further while the server keeps up: a closed loop does not find the best batches of every server.

    Each request of the open loop has load.deadline_ms; without one, ten times the first closed loop's median, at least 10 ms.
    """
    closed = max(1, MOST_IN_FLIGHT // load.connections).bit_length()
    most = closed + len(factors) + MOST_FURTHER
    return Mode("stress", _stress(load, factors), lambda measured, stopped: findings.stressed(measured, load.deadline_ms), most=most)


def _stress(load: Load, factors: Sequence[float]) -> Policy:
    closed = replace(load, rate=0.0, streams=1, arrivals="constant", deadline_ms=0.0)
    first = yield Ask(closed, why="the saturation is looked for")
    saturation, idle = first.requests_per_second, 0
    while saturation and idle < PATIENCE and closed.connections * closed.streams * 2 <= MOST_IN_FLIGHT:
        closed = replace(closed, streams=closed.streams * 2)
        measured = yield Ask(closed, why=f"{per_second(saturation)} so far")
        idle = 0 if measured.requests_per_second >= GAIN * saturation else idle + 1
        saturation = max(saturation, measured.requests_per_second)
    if not saturation:
        return "nothing was answered with OK"
    deadline_ms = load.deadline_ms or max(10.0, round(first.latency_us.p50 / 100, 1))
    further = [max(factors) * FURTHER**step for step in range(1, MOST_FURTHER + 1)]
    for factor in [*factors, *further]:
        if factor in further and (measured.client_bound or measured.requests_per_second < findings.due_rate(measured)):
            break
        asked = replace(load, rate=factor * saturation, deadline_ms=deadline_ms)
        measured = yield Ask(asked, why=f"{factor:.3g} times the saturation of {per_second(saturation)}")
    return "all were measured"


def soak(load: Load, memory: Sequence[tuple[float, float]] = ()) -> Mode:
    """One long load. memory: (seconds, bytes) of the server; whoever watches the run appends to it."""
    return Mode("soak", _each([load]), lambda measured, stopped: findings.soaked(measured, memory), 1)


def versions(load: Load, names: Sequence[str], rounds: int = 4) -> Mode:
    """Each version `rounds` times, in turn and back again (A B B A A B B A): so the machine disturbs all alike."""
    asked = [name for turn in range(rounds) for name in (names if turn % 2 == 0 else list(reversed(names)))]
    policy = _in_turn(load, asked, len(names))
    return Mode("versions", policy, lambda measured, stopped: findings.took_turns(measured, names, asked), len(asked))


def _in_turn(load: Load, asked: Sequence[str], count: int) -> Policy:
    for place, name in enumerate(asked):
        yield Ask(load, name, f"round {place // count + 1}")
    return "all were measured"
