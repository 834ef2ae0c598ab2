"""A report as tables of words: what a terminal and a page show alike. Never in here: colours, markup, measuring."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from inferd.bench.compare import Comparison
from inferd.bench.conclusion import conclude
from inferd.bench.findings import duration, number_of
from inferd.bench.measurement import WHOLE, Stage
from inferd.bench.verdicts import cells, interval_words, one_line
from inferd.config import is_http

if TYPE_CHECKING:
    from collections.abc import Iterator

    from inferd.bench.measurement import Latency, Measurement, ServerSide
    from inferd.bench.report import Report

LATENCY_HEAD = ("mean", "p50", "p90", "p99", "p99.9", "max")
MOST_CODES = 4  # errors that are named, the most frequent first
FEW = 100  # requests; p99 of fewer is the longest of all
MOST_SIZES = 12  # of batches, a line each
BATCHES = "batches"
BAR, BAR_LETTERS = "█", 24
ROUNDS = ("rounds", "versions")  # kinds whose measurements repeat one load
EXPECTING_ERRORS = ("stress", "search")  # kinds that go on until requests fail
WHOLE_WORDS = "whole request"


class Line(NamedTuple):
    """A sentence. mark: bad (responses failed or are wrong), doubt (the figures are not what they seem), or empty."""

    text: str
    mark: str = ""


class Row(NamedTuple):
    cells: tuple[str, ...]
    mark: str = ""  # as of a Line; main: the headline of several


class Table(NamedTuple):
    """The first column is text, the others are numbers; without a head, both columns are text."""

    title: str
    head: tuple[str, ...]
    rows: list[Row]


def heading(report: Report) -> str:
    """The model and the target of the run."""
    return one_line(f"{report.model}: {report.target}" if report.kind == "tune" else f"{report.model} at {report.target}")


def warnings(report: Report) -> Iterator[Line]:
    """Warnings to read before the figures."""
    measured = report.measurements
    if not measured and not report.summary:
        yield Line("nothing was measured", "bad")
    bound = [one for one in measured if one.client_bound]
    # the verdict of a search says it, where its result rests on such a rate
    if bound and report.kind not in ("search", "tune") and not conclude(report).client_bound:
        which = "" if len(measured) == 1 else f" ({len(bound)} of {len(measured)} measurements)"
        shown = report.main if report.main in bound else bound[0]
        where = "" if len(measured) == 1 else f" at {outline(shown)}"
        reason = f":{where} {one_line(shown.client_bound_reason)}" if shown.client_bound_reason else ""
        yield Line(f"client-bound{which}: the figures are the generator's, not the server's{reason}", "doubt")
    if wrong := report.wrong:
        first = next(one.verified.first_wrong for one in measured if one.verified and one.verified.wrong)
        yield Line(f"{wrong:,} wrong responses: {one_line(first)}".removesuffix(": "), "bad")
    if measured and not report.answered and any(one.requests or not one.ended for one in measured):
        waited = any(one.latency_us.max for one in measured)
        yield Line(f"no request was answered with OK: {'latency is what was waited in vain' if waited else 'there is no latency'}", "bad")
    if report.is_unverified:
        yield Line("--verify checked no response: it takes some by lot, so give a smaller --verify-every, or more requests", "doubt")
    if unchecked := report.unchecked:
        cure = ": there was no room to keep them until the end. Give a larger --verify-every, or measure for a shorter time"
        why = "" if any(one.ended == "interrupted" for one in measured) else cure
        yield Line(f"{unchecked:,} responses that --verify was to check were not checked{why}", "bad")
    for one in measured:
        if one.requests < one.load.requests and not one.ended and one.load.duration_s:
            yield Line(f"{one.requests:,} of {one.load.requests:,} requests were sent: --duration was over before", "doubt")
    yield from failures(report)
    few = [one for one in measured if 0 < one.requests < FEW]
    if few and report.kind != "search":  # which says it of its result
        which = "" if len(measured) == 1 else f" ({len(few)} of {len(measured)} measurements)"
        yield Line(f"fewer than {FEW} requests{which}: rates and percentiles of so few say little; measure longer", "doubt")
    if held := sum(one.held_back for one in measured):
        why = "since the server takes no more streams a connection (its MAX_CONCURRENT_STREAMS)"
        why = "until a connection was free (HTTP/1.1 has one request on each)" if is_http(report.target) else why
        yield Line(f"{held:,} requests waited in the generator, {why}; their latency counts it: use more --connections", "doubt")
    if missing := [one for one in measured if one.lacked_connections]:
        worst = max(missing, key=lambda one: one.connections_missing / one.load.connections)
        yield Line(
            f"of {worst.load.connections} connections {worst.connections_missing:.2g} were missing on the average: lost, and not made "
            f"again meanwhile, so the load was less than {worst.load}",
            "bad",
        )
    for ended in dict.fromkeys(one.ended for one in measured if one.ended):
        yield Line(f"ended early: {one_line(ended)}", "doubt")
    told = [f"ended early: {one.ended}" for one in measured]
    doubts = [notice for comparison in report.summary.get("comparisons", []) for notice in comparison["notices"]]
    said = [notice for one in measured if one.server for notice in one.server.notices]
    yield from (Line(one_line(notice)) for notice in dict.fromkeys([*report.notices, *said, *doubts]) if notice not in told)


def failures(report: Report) -> Iterator[Line]:
    """Errors by code, with the first message of each."""
    measured, mark = report.measurements, "" if report.kind in EXPECTING_ERRORS else "bad"
    messages: dict[str, str] = {}
    for one in measured:
        messages = one.error_messages | messages
    asked = sum(one.requests for one in measured)
    for code, count in report.failures.most_common(MOST_CODES):
        message = f": {one_line(messages[code])}" if messages.get(code) else ""
        yield Line(f"{count:,} of {asked:,} requests failed with {one_line(code)}{message}", mark)


def tables(report: Report) -> Iterator[Table]:
    """Every measurement in a row if there are several, then the headline in detail."""
    if len(report.measurements) > 1:
        yield overview(report)
    for comparison in report.summary.get("comparisons", []):
        found = msgspec.convert(comparison, Comparison)
        before, after = (one_line(name.removeprefix(f"{report.model} ")) for name in (found.before, found.after))
        yield compared(found, heads=(before, after))
    if (main := report.main) is not None:
        sides = of_each_version(report) if report.kind == "versions" else [main]
        of = f", {round_of(report, main)}; --json has the others" if len(sides) > 1 else ""
        if main.latency_us.max:
            place = "" if len(report.measurements) == 1 else f" at {name_of(report, report.headline)}"
            place += ", which missed the target" if found_no_rate(report) else ""
            yield latencies(main, f"latency{of or place}")
        for one in sides:
            if one.server and one.server.stages_known:
                yield stages(one, f", {round_of(report, one)}" if len(sides) > 1 else "")
        if main.server and main.server.batch_sizes:
            yield batches(main, of)
        yield Table(of and f"details{of}", ("", ""), [Row(fact) for fact in facts(main)])


def found_no_rate(report: Report) -> bool:
    """Whether a search ended without a rate: its headline is then a load that missed the target."""
    return report.kind == "search" and not report.summary.get("rate")


def round_of(report: Report, measured: Measurement) -> str:
    """Which of its version's measurements it is."""
    rounds = [one for one in report.measurements if one.version == measured.version]
    place = next(place for place, one in enumerate(rounds, start=1) if one is measured)
    return f"round {place} of version {one_line(measured.version)}"


def of_each_version(report: Report) -> list[Measurement]:
    """One of each: that with the median latency."""
    sides: dict[str, list[Measurement]] = {}
    for one in report.measurements:
        sides.setdefault(one.version, []).append(one)
    return [sorted(side, key=lambda one: one.latency_us.mean)[len(side) // 2] for side in sides.values()]


def outline(measured: Measurement) -> str:
    """Version and load."""
    return one_line((f"version {measured.version}, " if measured.version else "") + str(measured.load))


def stage_words(stage: str) -> str:
    """A tuning's stage, for people: a report calls the settings that a model has now `default`."""
    return "now" if stage == "default" else stage


def settings_words(settings: dict[str, Any]) -> str:
    sizes = settings.get("buckets")
    padded = "" if sizes is None else f", buckets {','.join(map(str, sizes)) or 'none'}"
    batches = f"batches of {settings['rows']}" if settings["rows"] else "no batches"
    return f"{settings['provider']}, {settings['instances']} x {settings['threads']} threads, {batches}{padded}"


def name_of(report: Report, place: int) -> str:
    """The name of a measurement: in a tuning its settings, else version and load."""
    trials = report.summary.get("trials", []) if report.kind == "tune" else []
    found = (f"{stage_words(trial['stage'])}: {settings_words(trial['settings'])}" for trial in trials if trial["measurement"] == place)
    return one_line(next(found, outline(report.measurements[place])))


def group_of(report: Report, place: int) -> str:
    """The name of a measurement in a legend. Rounds of one thing share it; other measurements of one load have names of their own."""
    one = report.measurements[place]
    several = len({each.version for each in report.measurements}) > 1
    name = name_of(report, place) if several or report.kind == "tune" else one_line(one.load)
    alike = [other for other, each in enumerate(report.measurements) if (each.load, each.version) == (one.load, one.version)]
    if report.kind == "tune":
        return name
    if report.kind in ROUNDS:
        return f"{name}, {len(alike)} rounds" if len(alike) > 1 else name
    return f"{name}, step {place + 1}" if len(alike) > 1 else name


def overview(report: Report) -> Table:
    versions = len({one.version for one in report.measurements}) > 1
    notes, kind = remarks(report), "settings" if report.kind == "tune" else "load"
    head = (*(("version",) if versions else ()), kind, "requests", "errors", "responses/s", "p50", "p99", "p99.9", "max", "client CPU")
    rows = []
    for place, one in enumerate(report.measurements):
        latency = one.latency_us
        cells = (
            name_of(report, place) if report.kind == "tune" else one_line(str(one.load)),
            f"{one.requests:,}",
            f"{one.failed:,}",
            number_of(one.requests_per_second),
        )
        times = (*(time_of(latency, name) for name in ("p50", "p99", "p999", "max")), duration(one.client_cpu_us_per_request))
        mark = "bad" if one.failed else "doubt" if one.client_bound else "main" if place == report.headline else ""
        rows.append(Row(((one.version,) if versions else ()) + cells + times + ((notes[place],) if any(notes) else ()), mark))
    return Table("", head + (("",) if any(notes) else ()), rows)


def remarks(report: Report) -> list[str]:
    """Remarks on each measurement: whether it keeps a search's target, and whether the client was the limit."""
    notes = ["client-bound" if one.client_bound else "" for one in report.measurements]
    if report.kind == "search":
        notes = ["" if one.load.rate else "first look" for one in report.measurements]
    for place, tried in judged_by(report).items():
        notes[place] = "kept" if tried["kept"] else "client-bound" if tried["client_bound"] else "missed"
    return notes


def judged_by(report: Report) -> dict[int, dict[str, Any]]:
    """The place of each measurement of a rate in a search, and how it was judged."""
    places = [place for place, one in enumerate(report.measurements) if one.load.rate and not one.ended]
    tried = report.summary.get("tried", []) if report.kind == "search" else []
    return dict(zip(places, tried, strict=False))


def compared(comparison: Comparison, load: str | None = None, heads: tuple[str, str] = ("before", "after")) -> Table:
    """All changes, or those of one load. heads: of the two columns of figures."""
    marks = {"worse": "bad", "better": "main", "unclear": "doubt"}
    rows = [Row(cells(change), marks.get(change.verdict, "")) for change in comparison.changes if load in (None, change.load)]
    rounds = ", all rounds together" if comparison.rounds > 1 else ""
    title = f"{one_line(comparison.after)} against {one_line(comparison.before)}{rounds}"
    return Table(title, ("", *heads, "change", interval_words(comparison), ""), rows)


def latencies(measured: Measurement, title: str) -> Table:
    """From the intended start; of an open loop also from the sending, and how late that was."""
    rows = [Row(("latency", *times(measured.latency_us)))]
    if measured.load.rate:
        rows += [Row(("from the sending", *times(measured.service_us))), Row(("sent late by", *times(measured.lateness_us)))]
    return Table(title, ("", *LATENCY_HEAD), rows)


def stages_of(server: ServerSide) -> dict[str, Stage]:
    """The server's stages; older reports have only their means."""
    old = {"queue": server.queue_us, "preprocess": server.compute_input_us, "execute": server.compute_infer_us}
    old["encode"] = server.compute_output_us
    return server.stages or {name: Stage(us) for name, us in old.items() if us is not None}


def stages(measured: Measurement, of: str = "") -> Table:
    """The server's own time, and the rest of the latency: the network, the client, and the wait to be sent."""
    assert measured.server is not None
    found = stages_of(measured.server)
    rows = [
        Row((WHOLE_WORDS if name == WHOLE else name, duration(stage.mean_us), some(stage, "p50_us"), some(stage, "p99_us")))
        for name, stage in found.items()
    ]
    if WHOLE in found and (rest := measured.latency_us.mean - found[WHOLE].mean_us) > 0:
        rows.append(Row(("outside the server", duration(rest), "", "")))
    known = any(stage.p99_us is not None for stage in found.values())
    head = ("with the warm-up", "mean", "p50", "p99") if known else ("with the warm-up", "mean")
    return Table(f"the server, by stage{of}", head, [Row(row.cells[: len(head)]) for row in rows])


def some(stage: Stage, field: str) -> str:
    """Empty: the server does not say. Below the first bound of its histogram nothing more is known."""
    us = getattr(stage, field)
    return "" if us is None else f"< {duration(stage.least_us)}" if us < stage.least_us else duration(us)


def times(latency: Latency) -> tuple[str, ...]:
    return tuple(time_of(latency, name) for name in latency.__struct_fields__)


def time_of(latency: Latency, name: str) -> str:
    """One figure of it: where no request took a time that counts there is none."""
    return duration(getattr(latency, name)) if latency.max else "none"


def facts(measured: Measurement) -> Iterator[tuple[str, str]]:
    """Everything else that one measurement says."""
    load = measured.load
    kind = f"open loop, connections: {load.connections}" if load.rate else "closed loop, connections x streams"
    yield "load", f"{one_line(str(load))} ({kind})" + (f", deadline {load.deadline_ms:g} ms" if load.deadline_ms else "")
    yield "measured", f"{measured.duration_s:.4g} s after {load.warm_up_s:g} s of warm-up"
    left = f", {measured.unfinished:,} without a response at the end" if measured.unfinished else ""
    yield "requests", f"{measured.requests:,}, {measured.failed:,} failed{left}"
    if not measured.latency_us.max:
        yield "latency", "none: no request was answered with OK"
    asked = f" of {number_of(load.rate)} asked" if load.rate else ""
    yield "responses/s", f"{number_of(measured.requests_per_second)}{asked}"
    if measured.client_cpu_us_per_request:
        bound = ", client-bound" if measured.client_bound else ""
        yield "client CPU", f"{duration(measured.client_cpu_us_per_request)} a request{bound}"
    if (verified := measured.verified) is not None:
        beyond = f" ({verified.beyond_numbers:,} by NaN, infinity, shape or text)" if verified.beyond_numbers else ""
        largest = f", largest difference {verified.largest_difference:.3g}" if verified.checked > verified.beyond_numbers else ""
        reference = f" against {one_line(verified.reference)}" if verified.reference else ""
        unchecked = f"; no room for {verified.unchecked:,} more" if verified.unchecked else ""
        yield "verified", f"{verified.checked:,} responses{reference}, {verified.wrong:,} wrong{beyond}{largest}{unchecked}"
    yield from server_facts(measured)


def server_facts(measured: Measurement) -> Iterator[tuple[str, str]]:
    if (server := measured.server) is None:
        return
    if server.batch_sizes:
        runs = sum(server.batch_sizes.values())
        mean = sum(rows * count for rows, count in server.batch_sizes.items()) / runs if runs else 0.0
        yield "batches", f"{runs:,} runs of {mean:.3g} rows on average, at most {max(server.batch_sizes)}"
    if server.cpu_us_per_request is not None:
        yield "server CPU", f"{duration(server.cpu_us_per_request)} a request"
    if server.rss_bytes is not None:
        yield "server memory", f"{server.rss_bytes / (1 << 20):,.0f} MiB"
    if server.dollars_per_million is not None:
        yield "cost", f"${server.dollars_per_million:,.4g} per million predictions"


def batches(measured: Measurement, of: str = "") -> Table:
    """How many runs had so many rows; more than a dozen sizes are put together by powers of two."""
    sizes = measured.server.batch_sizes if measured.server else {}
    together: dict[tuple[int, int], int] = {}
    for size, runs in sorted(sizes.items()):
        high = 1 << (size - 1).bit_length() if len(sizes) > MOST_SIZES else size
        low = high // 2 + 1 if len(sizes) > MOST_SIZES else size
        together[low, high] = together.get((low, high), 0) + runs
    most, whole = max(together.values(), default=0), sum(together.values())
    rows = [
        Row(
            (
                f"{low}" if low == high else f"{low}-{high}",
                f"{runs:,}",
                f"{runs / whole:.1%}",
                BAR * max(1, round(BAR_LETTERS * runs / most)),
            )
        )
        for (low, high), runs in together.items()
    ]
    return Table(BATCHES + of, ("rows", "runs", "share", ""), rows)
