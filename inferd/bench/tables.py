"""A report as tables of words: what a terminal and a page show alike. Never in here: colours, markup, measuring."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from inferd.bench.compare import Comparison
from inferd.bench.findings import duration
from inferd.bench.verdicts import cells, interval_words, one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from inferd.bench.measurement import Latency, Measurement
    from inferd.bench.report import Report

__all__ = ["Line", "Row", "Table", "heading", "one_line", "outline", "tables", "time_of", "warnings"]

LATENCY_HEAD = ("mean", "p50", "p90", "p99", "p99.9", "max")
MOST_CODES = 4  # errors that are named, the most frequent first
FEW = 100  # requests; p99 of fewer is the longest of all


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
    """What was measured, and where."""
    return one_line(f"{report.model} at {report.target}")


def warnings(report: Report) -> Iterator[Line]:
    """What stands out: before any figure is believed."""
    measured = report.measurements
    if not measured and not report.summary:
        yield Line("nothing was measured", "bad")
    if bound := [one for one in measured if one.client_bound]:
        which = "" if len(measured) == 1 else f" ({len(bound)} of {len(measured)} measurements)"
        shown = report.main if report.main in bound else bound[0]
        where = "" if len(measured) == 1 else f" at {outline(shown)}"
        reason = f":{where} {one_line(shown.client_bound_reason)}" if shown.client_bound_reason else ""
        yield Line(f"client-bound{which}: the figures are the generator's, not the server's{reason}", "doubt")
    if wrong := report.wrong:
        first = next(one.verified.first_wrong for one in measured if one.verified and one.verified.wrong)
        yield Line(f"{wrong:,} wrong answers: {one_line(first)}".removesuffix(": "), "bad")
    if measured and not report.answered and any(one.requests or not one.ended for one in measured):
        waited = any(one.latency_us.max for one in measured)
        yield Line(f"no request was answered with OK: {'latency is what was waited in vain' if waited else 'there is no latency'}", "bad")
    if report.is_unverified:
        yield Line("--verify checked no answer: it takes some by lot, so give a smaller --verify-every, or more requests", "doubt")
    if unchecked := report.unchecked:
        cure = ": there was no room to keep them until the end. Give a larger --verify-every, or measure for a shorter time"
        why = "" if any(one.ended == "interrupted" for one in measured) else cure
        yield Line(f"{unchecked:,} answers that --verify was to check it did not{why}", "bad")
    for one in measured:
        if one.requests < one.load.requests and not one.ended and one.load.duration_s:
            yield Line(f"{one.requests:,} of {one.load.requests:,} requests were asked: --duration was over before", "doubt")
    yield from failures(measured)
    few = [one for one in measured if 0 < one.requests < FEW]
    if few and report.kind != "search":  # which says it of its result
        which = "" if len(measured) == 1 else f" ({len(few)} of {len(measured)} measurements)"
        yield Line(f"fewer than {FEW} requests{which}: rates and percentiles of so few say little; measure longer", "doubt")
    if held := sum(one.held_back for one in measured):
        yield Line(
            f"{held:,} requests waited in the generator, since the server takes no more streams a connection (its "
            f"MAX_CONCURRENT_STREAMS); their latency counts it: use more --connections",
            "doubt",
        )
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


def failures(measured: list[Measurement]) -> Iterator[Line]:
    """Errors by code, with the first message of each."""
    codes: dict[str, int] = {}
    messages: dict[str, str] = {}
    for one in measured:
        for code, count in one.errors.items():
            codes[code] = codes.get(code, 0) + count
        messages = one.error_messages | messages
    asked = sum(one.requests for one in measured)
    for code, count in sorted(codes.items(), key=lambda entry: -entry[1])[:MOST_CODES]:
        message = f": {one_line(messages[code])}" if messages.get(code) else ""
        yield Line(f"{count:,} of {asked:,} requests failed with {one_line(code)}{message}", "bad")


def tables(report: Report) -> Iterator[Table]:
    """Every measurement in a row if there are several, then the headline in detail."""
    if len(report.measurements) > 1:
        yield overview(report)
    for comparison in report.summary.get("comparisons", []):
        yield compared(msgspec.convert(comparison, Comparison))
    if (main := report.main) is not None:
        if main.latency_us.max:
            yield latencies(main, "latency" if len(report.measurements) == 1 else f"latency at {outline(main)}")
        yield Table("", ("", ""), [Row(fact) for fact in facts(main)])


def outline(measured: Measurement) -> str:
    """Version and load."""
    return one_line((f"version {measured.version}, " if measured.version else "") + str(measured.load))


def overview(report: Report) -> Table:
    versions = len({one.version for one in report.measurements}) > 1
    bound = any(one.client_bound for one in report.measurements)
    head = (*(("version",) if versions else ()), "load", "requests", "errors", "answers/s", "p50", "p99", "p99.9", "max", "client CPU")
    rows = []
    for place, one in enumerate(report.measurements):
        latency = one.latency_us
        cells = (one_line(str(one.load)), f"{one.requests:,}", f"{one.failed:,}", rate(one.requests_per_second))
        times = (*(time_of(latency, name) for name in ("p50", "p99", "p999", "max")), duration(one.client_cpu_us_per_request))
        mark = "bad" if one.failed else "doubt" if one.client_bound else "main" if place == report.headline else ""
        last = ("client-bound" if one.client_bound else "",) if bound else ()
        rows.append(Row(((one.version,) if versions else ()) + cells + times + last, mark))
    return Table("", head + (("",) if bound else ()), rows)


def compared(comparison: Comparison) -> Table:
    rows = [
        Row(cells(change), {"worse": "bad", "better": "main", "unclear": "doubt"}.get(change.verdict, "")) for change in comparison.changes
    ]
    title = f"{one_line(comparison.after)} against {one_line(comparison.before)}"
    return Table(title, ("", "before", "after", "change", interval_words(comparison), ""), rows)


def latencies(measured: Measurement, title: str) -> Table:
    """From the intended start; of an open loop also from the sending, and how late that was."""
    rows = [Row(("latency", *times(measured.latency_us)))]
    if measured.load.rate:
        rows += [Row(("from the sending", *times(measured.service_us))), Row(("sent late by", *times(measured.lateness_us)))]
    return Table(title, ("", *LATENCY_HEAD), rows)


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
    left = f", {measured.unfinished:,} without an answer at the end" if measured.unfinished else ""
    yield "requests", f"{measured.requests:,}, {measured.failed:,} failed{left}"
    if not measured.latency_us.max:
        yield "latency", "none: no request was answered with OK"
    asked = f" of {rate(load.rate)} asked" if load.rate else ""
    yield "answers/s", f"{rate(measured.requests_per_second)}{asked}"
    if measured.client_cpu_us_per_request:
        bound = ", client-bound" if measured.client_bound else ""
        yield "client CPU", f"{duration(measured.client_cpu_us_per_request)} a request{bound}"
    if (verified := measured.verified) is not None:
        beyond = f" ({verified.beyond_numbers:,} by NaN, infinity, shape or text)" if verified.beyond_numbers else ""
        largest = f", largest difference {verified.largest_difference:.3g}" if verified.checked > verified.beyond_numbers else ""
        reference = f" against {one_line(verified.reference)}" if verified.reference else ""
        unchecked = f"; no room for {verified.unchecked:,} more" if verified.unchecked else ""
        yield "verified", f"{verified.checked:,} answers{reference}, {verified.wrong:,} wrong{beyond}{largest}{unchecked}"
    yield from server_facts(measured)


def server_facts(measured: Measurement) -> Iterator[tuple[str, str]]:
    if (server := measured.server) is None:
        return
    named = (("queue", "queue_us"), ("input", "compute_input_us"), ("infer", "compute_infer_us"), ("output", "compute_output_us"))
    stages = [f"{name} {duration(us)}" for name, field in named if (us := getattr(server, field)) is not None]
    if stages:
        yield "server stages", ", ".join(stages) + " (means)"
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


def rate(per_second: float) -> str:
    """Four digits are what a rate is good for; whole numbers from there on."""
    return f"{per_second:,.0f}" if per_second >= 1000 else f"{per_second:.4g}"
