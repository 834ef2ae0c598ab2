"""The findings of a mode, from its measurements and, of a soak, the memory of the server. A run that was cut short has findings, too.

Never in here: which load comes next (modes.py), and how findings look on a screen or a page.
"""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from inferd.compare.statistics import student
from inferd.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from inferd.bench.measurement import Measurement

ACHIEVED = 0.99  # of the rate asked for; fewer responses mean saturation
UNITS_US = {"us": 1.0, "µs": 1.0, "μs": 1.0, "ms": 1e3, "s": 1e6}  # with the micro sign, and with the Greek letter
FIGURES = ("mean", "p50", "p90", "p99", "p999", "max")
LEAST_SOAK_S = 60.0  # of less each part is so short that whatever else the machine does is a drift
PARTS = (10, 20)  # a soak is cut into so many parts, at least and at most
CONFIDENCE = 0.99
DRIFTS = 0.05  # of the mean, over the whole soak; a certain drift that is smaller is not worth a word


class Slo(msgspec.Struct, frozen=True):
    """The target: each latency figure's limit in microseconds, and the share of requests that may fail."""

    limits_us: dict[str, float]
    errors: float = 0.0

    def __str__(self) -> str:
        kept = [f"{figure} {duration(limit)}" for figure, limit in self.limits_us.items()]
        return ", ".join([*kept, f"errors {self.errors:.3g}"] if self.errors else kept)


def parse_slo(text: str) -> Slo:
    """ "p99=10ms", "p50=2ms,p99.9=50ms,errors=0.1%". Raises ConfigError."""
    limits: dict[str, float] = {}
    errors = 0.0
    for part in text.split(","):
        name, _, value = (piece.strip() for piece in part.partition("="))
        name = "p999" if name == "p99.9" else name
        if name == "errors":
            errors = number_in(value.removesuffix("%")) / (100 if value.endswith("%") else 1)
            if not 0 <= errors < 1:
                raise ConfigError(f"--slo {text}: errors: expected a share from 0 to 1 or a percentage as in errors=0.1%, got {value!r}")
            continue
        unit = next((unit for unit in UNITS_US if value.endswith(unit) and number_in(value.removesuffix(unit)) > 0), "")
        if name not in FIGURES or not unit or name in limits:
            raise ConfigError(f"--slo {text}: expected FIGURE=TIME as in p99=10ms, with {', '.join(FIGURES)} once each and µs, ms or s")
        limits[name] = number_in(value.removesuffix(unit)) * UNITS_US[unit]
    if not limits:
        raise ConfigError(f"--slo {text}: expected a latency, too, as in p99=10ms,errors=0.1%")
    return Slo(limits, errors)


def number_in(text: str) -> float:
    """A finite number; NaN for what is none."""
    try:
        number = float(text)
    except ValueError:
        return math.nan
    return number if math.isfinite(number) else math.nan


def duration(us: float) -> str:
    """In the unit that people would take."""
    unit = "s" if us >= 1e6 else "ms" if us >= 1e3 else "µs"
    return f"{us / UNITS_US[unit]:.3g} {unit}" if us < 1e9 else f"{us / 1e6:.0f} s"


def per_second(rate: float) -> str:
    """With four digits at least, and no exponent."""
    return f"{number_of(rate)}/s"


def number_of(rate: float) -> str:
    """Four digits are what a rate is good for; whole numbers from there on."""
    return f"{rate:,.0f}" if rate >= 1000 else f"{rate:.4g}"


def judge(measurement: Measurement, slo: Slo) -> str:
    """Why the measurement does not keep the target; empty: it does. Whether the generator was the limit is not asked here."""
    failed = measurement.failed / measurement.requests if measurement.requests else 1.0
    if measurement.requests <= measurement.failed:
        return "no request was answered with OK"
    if not measurement.requests_per_second:
        return "no request was answered with OK while it was measured"
    if failed > slo.errors:
        code = max(measurement.errors, key=lambda name: measurement.errors[name])
        return f"{measurement.failed} of {measurement.requests} requests failed, most with {code}"
    for figure, limit_us in slo.limits_us.items():
        if (us := getattr(measurement.latency_us, figure)) > limit_us:
            sent = duration(getattr(measurement.service_us, figure)) if measurement.load.rate and measurement.service_us.max else ""
            late = f", {sent} from the sending" if sent and sent != duration(us) else ""
            return f"{figure} is {duration(us)}{late}"
    if measurement.load.rate and (came := in_time(measurement)) < (due := due_rate(measurement)):
        few = f"less than {per_second(due)}" if per_second(came) == per_second(due) else per_second(came)
        return f"{few} are answered in time, where {per_second(due)} were due"
    return ""


def in_time(measurement: Measurement) -> float:
    """Responses a second, with OK or not, that came while it was measured."""
    return measurement.requests_per_second + measurement.failed / measurement.duration_s if measurement.duration_s else 0.0


def due_rate(measurement: Measurement) -> float:
    """The responses a second that an open loop must reach: 99 % of its requests. Requests outside the measured part by chance
    (three standard deviations of a Poisson stream), or as half a burst, do not count."""
    load, seconds = measurement.load, measurement.duration_s
    if not seconds:
        return 0.0
    kind, _, burst = load.arrivals.partition(":")
    asked = load.rate * seconds
    if kind == "trace":  # its rate is not the same all the time
        asked = min(asked, measurement.requests + measurement.unfinished)
    chance = {"poisson": 3 * math.sqrt(asked), "burst": float(burst) if burst.isdigit() else 0.0}.get(kind, 1.0)
    return max(0.0, ACHIEVED * asked - chance) / seconds


class Point(msgspec.Struct, frozen=True):
    """A measurement as a point of a curve."""

    load: str
    asked: float  # requests a second; 0: a closed loop
    in_flight: int  # of a closed loop; 0: open
    answered: float  # with OK, a second: the goodput
    errors: float  # share of requests
    p50_us: float
    p99_us: float
    client_bound: bool


def point(measurement: Measurement) -> Point:
    load = measurement.load
    return Point(
        load=str(load),
        asked=load.rate,
        in_flight=0 if load.rate else load.connections * load.streams,
        answered=measurement.requests_per_second,
        errors=measurement.failed / measurement.requests if measurement.requests else 0.0,
        p50_us=measurement.latency_us.p50,
        p99_us=measurement.latency_us.p99,
        client_bound=measurement.client_bound,
    )


class Curve(msgspec.Struct, frozen=True, tag_field="mode", tag="curve"):
    """Steps or a ramp."""

    points: list[Point]
    most: float = 0.0  # responses a second, the most of all points
    most_at: str = ""  # the load that had them
    saturated_at: str = ""  # the first load with fewer responses than requests; empty: there is none

    def words(self) -> list[str]:
        told = [f"most responses: {per_second(self.most)} at {self.most_at}"] if self.points else []
        return [*told, f"saturated at {self.saturated_at}"] if self.saturated_at else told


def curve(measurements: Sequence[Measurement]) -> Curve:
    points = [point(measurement) for measurement in measurements]
    if not points:
        return Curve([])
    most = max(points, key=lambda candidate: candidate.answered)
    late = (str(m.load) for m in measurements if m.load.rate and m.requests_per_second < due_rate(m))
    return Curve(points, most.answered, most.load, next(late, ""))


class Judged(msgspec.Struct, frozen=True):
    """A rate that was tried. why: what was not kept; client_bound: the generator may be what did not keep it."""

    rate: float
    kept: bool
    why: str = ""
    client_bound: bool = False
    requests: int = 0
    answered: float = 0.0  # with OK, a second


class Search(msgspec.Struct, frozen=True, tag_field="mode", tag="search"):
    """The highest rate that keeps a target."""

    target: str
    rate: float  # kept; 0: none was
    above: float  # the lowest rate above it that did not keep it, or could not be judged; 0: none was tried
    why: str  # what was not kept there
    stopped: str  # why the search ended
    tried: list[Judged]
    step: int | None = None  # the measurement of `rate`, or else of `above`, by its place in the report
    confirmed: bool = False  # in the end both were measured once more, and were what they had been: the search came to its end
    client_bound: bool = False  # no rate was kept, and the generator may be why

    def words(self) -> list[str]:
        if not self.rate:
            lowest = f"; at {per_second(self.above)} {self.why}" if self.above else ""
            return [f"no rate that was tried keeps {self.target}: {self.stopped}{lowest}"]
        above = f"; {per_second(self.above)} does not: {self.why}" if self.above else ""
        few = [one.requests for one in self.tried if one.rate == self.rate and one.requests < (1000 if "p999" in self.target else 100)]
        thin = [f"that rests on {few[-1]} requests: measure longer"] if few else []
        thin += self._stalls()
        if self.confirmed:
            return [f"{per_second(self.rate)} keeps {self.target}{above}", f"stopped: {self.stopped}", *thin]
        bound = sum(one.client_bound for one in self.tried)
        limit = [f"the generator was the limit in {bound} of {len(self.tried)} steps"] if bound else []
        return [f"{per_second(self.rate)} kept {self.target}{above}", f"the search did NOT finish: {self.stopped}", *limit, *thin]

    def _stalls(self) -> list[str]:
        """A notice about stalls: the target was missed at a rate, and kept when it was measured once more."""
        below = [one for one in self.tried if one.rate <= self.rate]
        missed = [one for one in below if not one.kept]
        if not missed:
            return []
        times = f"{len(missed)} of {len(below)} measurements at {per_second(self.rate)} and below it"
        return [f"{times} did not keep it, once at {per_second(missed[0].rate)} ({missed[0].why}): a longer --duration counts that in"]


def bounds(rates: Iterable[Judged]) -> tuple[float, Judged | None]:
    """The lowest of these rates that misses the target, and the highest below it that keeps it (0: there is none), in reverse order.

    Each rate was judged once."""
    rates = sorted(rates, key=lambda one: one.rate)
    lost = next((one for one in rates if not one.kept), None)
    below = [one.rate for one in rates if lost is None or one.rate < lost.rate]
    return max(below, default=0.0), lost


def found(measurements: Sequence[Measurement], slo: Slo, stopped: str) -> Search:
    """A rate that was measured more than once is what it was the last time."""
    places = [place for place, m in enumerate(measurements) if m.load.rate and not m.ended]
    tried = [judged(measurements[place], slo) for place in places]
    last = {one.rate: (one, place) for one, place in zip(tried, places, strict=True)}
    best, lost = bounds(one for one, _ in last.values())
    of_best = [one.kept for one in tried if one.rate == best]
    alone = bool(measurements) and measurements[-1].client_bound  # one request at a time, if no rate was tried
    return Search(
        target=str(slo),
        rate=best,
        above=lost.rate if lost else 0.0,
        why=lost.why if lost else "",
        stopped=stopped,
        tried=tried,
        step=last[best][1] if best else last[lost.rate][1] if lost else None,
        confirmed=of_best[-2:] == [True, True] and tried[-1].rate == (lost.rate if lost else best),
        client_bound=not best and (lost.client_bound if lost else alone),
    )


def judged(measurement: Measurement, slo: Slo) -> Judged:
    """A generator that is late makes latencies longer, never shorter: a target that is kept all the same is kept."""
    why = judge(measurement, slo)
    bound = bool(why) and measurement.client_bound
    if bound:
        why = f"the generator was the limit ({measurement.client_bound_reason or 'client-bound'})"
    elif why and late_only(measurement, slo):
        why, bound = f"{why}: the generator sent too late", True
    return Judged(measurement.load.rate, not why, why, bound, measurement.requests, measurement.requests_per_second)


def late_only(measurement: Measurement, slo: Slo) -> bool:
    """Whether the target would have been kept, had every request left in time."""
    if not measurement.load.rate or measurement.service_us.max == 0:
        return False
    return not judge(replace(measurement, latency_us=measurement.service_us), slo)


class Stress(msgspec.Struct, frozen=True, tag_field="mode", tag="stress"):
    """The responses that are left past saturation."""

    saturation: float  # responses a second, closed loop
    in_flight: int  # with so many at once
    deadline_ms: float
    closed: list[Point]
    open: list[Point]
    peak: float = 0.0  # the best goodput of the open loop
    kept: float = 0.0  # goodput of the highest rate as a share of the peak: 1 is a plateau, 0 a collapse

    def words(self) -> list[str]:
        told = [f"saturation: {per_second(self.saturation)} with {self.in_flight} in flight"]
        if self.open:
            last = max(self.open, key=lambda entry: entry.asked)
            times = f"{last.asked / self.saturation:.3g} times that"
            told.append(
                f"at {per_second(last.asked)}, {times}, {per_second(last.answered)} are answered within {self.deadline_ms:g} ms: "
                f"{self.kept:.0%} of the best, {per_second(self.peak)}"
            )
            if last.answered >= ACHIEVED * last.asked:
                told.append("that is not past what the server can do: all was answered")
        bound = [entry.load for entry in [*self.closed, *self.open] if entry.client_bound]
        return [*told, f"the generator was the limit at {', '.join(bound)}"] if bound else told


def stressed(measurements: Sequence[Measurement], deadline_ms: float) -> Stress:
    closed = [point(m) for m in measurements if not m.load.rate]
    points = [point(m) for m in measurements if m.load.rate]
    most = max(closed, key=lambda entry: entry.answered)
    peak = max((entry.answered for entry in points), default=0.0)
    deadline_ms = deadline_ms or max((m.load.deadline_ms for m in measurements), default=0.0)
    last = max(points, key=lambda entry: entry.asked, default=None)
    return Stress(most.answered, most.in_flight, deadline_ms, closed, points, peak, last.answered / peak if last and peak else 0.0)


class Drift(msgspec.Struct, frozen=True):
    """A straight line through a figure over time, with the confidence interval of its slope."""

    figure: str
    unit: str
    mean: float
    per_hour: float
    low: float
    high: float
    seconds: float
    drifts: bool  # zero is outside of the interval, and the change over the whole time is worth a word

    def words(self) -> str:
        span = f"{self.signed(self.per_hour)} an hour ({CONFIDENCE:.0%}: {self.signed(self.low)} to {self.signed(self.high)})"
        mean = self.signed(self.mean).removeprefix("+")
        return f"{self.figure} {'DRIFTS' if self.drifts else 'does not drift'}: {span}, mean {mean}"

    def signed(self, value: float) -> str:
        """A change of the figure."""
        sign = "-" if value < 0 else "+"
        return f"{sign}{duration(abs(value)) if self.unit == 'us' else f'{abs(value):.4g} {self.unit}'}"


def drift(figure: str, unit: str, samples: Sequence[tuple[float, float]]) -> Drift | None:
    """The drift of (seconds, value); None: too few samples to tell.

    Neighbouring seconds are alike, which makes a regression over them too sure of itself. So the time is cut into 10 to 20 equal
    parts, and the line goes through the parts' medians. One stall does not move a median. Student's t gives the interval.
    """
    parts = min(PARTS[1], len(samples) // 2)
    if parts < PARTS[0]:
        return None
    groups = [samples[len(samples) * part // parts : len(samples) * (part + 1) // parts] for part in range(parts)]
    xs = [statistics.fmean(at for at, _ in group) for group in groups]
    ys = [statistics.median(value for _, value in group) for group in groups]
    mean, centre = statistics.fmean(ys), statistics.fmean(xs)
    spread = sum((x - centre) ** 2 for x in xs)
    slope = sum((x - centre) * (y - mean) for x, y in zip(xs, ys, strict=True)) / spread
    rest = sum((y - mean - slope * (x - centre)) ** 2 for x, y in zip(xs, ys, strict=True))
    half = student(parts - 2, CONFIDENCE) * math.sqrt(rest / (parts - 2) / spread)
    seconds = samples[-1][0] - samples[0][0]
    drifts = abs(slope) > half and abs(slope) * seconds > DRIFTS * abs(mean)
    low, high = 3600 * (slope - half), 3600 * (slope + half)
    return Drift(figure, unit, mean, 3600 * slope, low, high, seconds, drifts)


class Soak(msgspec.Struct, frozen=True, tag_field="mode", tag="soak"):
    """Whether a long load changed anything."""

    drifts: list[Drift]
    notices: list[str]
    memory: list[tuple[float, float]] = []  # (seconds, bytes) of the server

    def words(self) -> list[str]:
        return [*(entry.words() for entry in self.drifts), *self.notices]


def soaked(measurements: Sequence[Measurement], memory: Sequence[tuple[float, float]]) -> Soak:
    """Latency over all of the time; memory over its second half, for buffers and caches fill in the first."""
    lasted_s = max((entry.at_s + entry.duration_s for measurement in measurements for entry in measurement.intervals), default=0.0)
    if round(lasted_s) < LEAST_SOAK_S:  # a closed loop begins when it has seen that the warm-up is over
        return Soak([], [f"a soak of {lasted_s:.3g} s is too short to tell a drift; {LEAST_SOAK_S:g} s are needed"], list(memory))
    intervals = [entry for measurement in measurements for entry in measurement.intervals if entry.requests]
    series = {
        ("p50", "us"): [(entry.at_s, entry.p50_us) for entry in intervals],
        ("p99", "us"): [(entry.at_s, entry.p99_us) for entry in intervals],
        ("memory", "MiB"): [(at_s, size / 2**20) for at_s, size in memory[len(memory) // 2 :]],
    }
    lines = {name: drift(*name, samples) for name, samples in series.items()}
    notices = [
        f"{figure}: {len(series[figure, unit])} samples are too few to tell a drift; {2 * PARTS[0]} are needed"
        for (figure, unit), line in lines.items()
        if line is None
    ]
    return Soak([line for line in lines.values() if line is not None], notices, list(memory))


class Rounds(msgspec.Struct, frozen=True):
    """The rounds of one version, each a measurement, and the medians over them."""

    version: str
    steps: list[int]  # by their place in the report
    requests_per_second: float
    p50_us: float
    p99_us: float


class Versions(msgspec.Struct, frozen=True, tag_field="mode", tag="versions"):
    """Versions that took turns."""

    rounds: list[Rounds]

    def words(self) -> list[str]:
        return [
            f"version {entry.version}: {per_second(entry.requests_per_second)}, p50 {duration(entry.p50_us)}, p99 {duration(entry.p99_us)}"
            f" (medians of {len(entry.steps)} rounds)"
            for entry in self.rounds
        ]


def took_turns(measurements: Sequence[Measurement], versions: Sequence[str], asked: Sequence[str]) -> Versions:
    """asked: the version of each measurement."""
    rounds = []
    for version in versions:
        steps = [place for place, name in enumerate(asked[: len(measurements)]) if name == version]
        if steps:
            own = [measurements[place] for place in steps]
            figures = ([m.requests_per_second for m in own], [m.latency_us.p50 for m in own], [m.latency_us.p99 for m in own])
            rounds.append(Rounds(version, steps, *map(statistics.median, figures)))
    return Versions(rounds)


class Scenario(msgspec.Struct, frozen=True, tag_field="mode", tag="mlperf"):
    """LoadGen's verdict on a run."""

    scenario: str
    valid: bool
    reasons: list[str]  # why it is not
    metric: str  # what MLPerf compares in this scenario
    value: float
    figures: dict[str, Any]  # of LoadGen's log
    summary: str  # its summary, as it wrote it
    client_bound: str = ""  # why the client, not the server, may have been the limit

    def words(self) -> list[str]:
        if not self.summary:
            return [f"MLPerf {self.scenario}: no result, for {'; '.join(self.reasons)}"]
        verdict = "VALID" if self.valid else f"INVALID ({'; '.join(self.reasons)})"
        bound = f", client-bound: {self.client_bound}" if self.client_bound else ""
        return [f"MLPerf {self.scenario}: {self.value:.6g} {self.metric}: {verdict}{bound}"]


Findings = Curve | Search | Stress | Soak | Versions | Scenario
