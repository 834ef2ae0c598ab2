"""What a run looks like: as plain lines, and on a real (pseudo) terminal."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from inferd.bench import report
from inferd.bench.measurement import Interval, Load, Measurement, ServerSide, Stage, Verification
from inferd.bench.modes import Progress as Step
from inferd.bench.terminal import Progress, is_rich, render
from tests.reports import measurement, sample

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture(autouse=True)
def a_usual_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)


def lines(text: str) -> dict[str, str]:
    """The facts, by their first words."""
    found = (re.split(r"\s{2,}", line.strip(" │"), maxsplit=1) for line in ESCAPE.sub("", text).splitlines())
    return {parts[0]: parts[1].rstrip() for parts in found if len(parts) == 2}


@pytest.mark.parametrize(
    ("verified", "said"),
    [
        (Verification(9, 9, beyond_numbers=9), "9 responses, 9 wrong (9 by NaN, infinity, shape or text)"),
        (Verification(9, 4, 2.5, beyond_numbers=3), "9 responses, 4 wrong (3 by NaN, infinity, shape or text), largest difference 2.5"),
        (Verification(), "0 responses, 0 wrong"),
    ],
)
def test_the_largest_difference_is_one_of_numbers(verified, said) -> None:
    assert lines(render(sample(measurements=[measurement(verified=verified)]), rich=False, width=140))["verified"] == said


@pytest.mark.parametrize("rich", [False, True], ids=["plain", "rich"])
def test_one_load(rich) -> None:
    measured = measurement(
        Load(rate=2000.0, arrivals="poisson", deadline_ms=100.0),
        unfinished=3,
        verified=Verification(checked=100, largest_difference=2e-6, reference="mlp.onnx"),
        server=ServerSide(
            stages={"queue": Stage(120.0, 140.0, 2500.0), "request": Stage(400.0, None, 600.0)},
            batch_sizes={1: 10, 8: 10},
            cpu_us_per_request=21.5,
            rss_bytes=200 << 20,
            dollars_per_million=0.125,
        ),
    )
    text = render(sample(measurements=[measured]), rich=rich, width=140)
    found = lines(text)
    assert "mlp at localhost:8001" in text
    assert found["load"] == "2000/s poisson (open loop, connections: 1), deadline 100 ms"
    assert found["requests"] == f"{measured.requests:,}, 0 failed, 3 without a response at the end"
    assert found["verified"] == "100 responses against mlp.onnx, 0 wrong, largest difference 2e-06"
    assert re.split(r"\s{2,}", found["queue"]) == ["120 µs", "140 µs", "2.5 ms"]
    assert re.split(r"\s{2,}", found["whole request"]) == ["400 µs", "600 µs"]
    assert re.split(r"\s{2,}", found["8"])[:2] == ["10", "50.0%"]
    assert found["batches"] == "20 runs of 4.5 rows on average, at most 8"
    assert (found["server CPU"], found["server memory"]) == ("21.5 µs a request", "200 MiB")
    assert found["cost"] == "$0.125 per million predictions"
    assert re.split(r"\s{2,}", found["latency"])[-1] == f"{measured.latency_us.max / 1e3:.3g} ms"
    assert "sent late by" in found
    assert ("\x1b[" in text) == rich


@pytest.mark.parametrize("rich", [False, True], ids=["plain", "rich"])
def test_what_stands_out(rich) -> None:
    first = measurement(
        errors={"UNAVAILABLE": 3, "INTERNAL": 1}, error_messages={"UNAVAILABLE": "shutting\ndown"}, ended="the server went away"
    )
    second = measurement(client_bound=True, client_bound_reason="busy 97 %", verified=Verification(9, 2, first_wrong="y[0]: 1, got 2"))
    second.server.notices = ["no metrics page"]
    text = ESCAPE.sub("", render(sample("steps", [first, second], notices=["ended early: the server went away"]), rich=rich, width=160))
    asked = f"{first.requests + second.requests:,}"
    for line in (
        "! client-bound (1 of 2 measurements): the figures are the generator's, not the server's: at version 1, 4x16 busy 97 %",
        "! 2 wrong responses: y[0]: 1, got 2",
        f"! 3 of {asked} requests failed with UNAVAILABLE: shutting down",
        f"! 1 of {asked} requests failed with INTERNAL",
        "! ended early: the server went away",
        "no metrics page",
    ):
        assert line in [line.rstrip() for line in text.splitlines()]
    assert text.count("ended early") == 1


@pytest.mark.parametrize("width", [1, 20, 40, 60, 73, 74, 80, 106, 107, 200])
def test_a_narrow_terminal_cuts_no_figure(width) -> None:
    """Where a table has no room there are plain lines, which the terminal breaks; sentences are broken within it."""
    one = sample(measurements=[measurement()])
    several = sample("steps", [measurement(Load(rate=rate, arrivals="poisson"), rate=rate) for rate in (100.0, 2000.0)])
    for made in (one, several):
        text = ESCAPE.sub("", render(made, rich=True, width=width))
        assert "…" not in text
        for figure in (f"{made.measurements[0].latency_us.max / 1e3:.3g} ms", "the server, by stage", "queue"):
            assert figure in text
        drawn = "╭" in text
        assert not drawn or max(map(len, text.splitlines())) <= width
        assert drawn or width < 110


def test_several_loads_have_a_row_each() -> None:
    rates = (100.0, 200.0, 400.0)
    made = sample(
        "steps", [measurement(Load(rate=rate), rate=rate, seconds=2) for rate in rates], headline=1, summary={"words": ["found it"]}
    )
    text = render(made)
    rows = [line.split() for line in text.splitlines() if "/s constant " in line]
    assert [row[0] for row in rows] == ["100/s", "200/s", "400/s", "load"]
    assert "latency at version 1, 200/s constant" in text
    assert (
        text.splitlines()[0]
        == text.splitlines()[-1]
        == "✓ OK: the peak was 198.5 responses/s with p99 1.56 ms, at 200/s constant; no request failed"
    )
    assert "found it" in text.splitlines()


def test_versions_show_the_stages_of_each() -> None:
    sides = [measurement(version=version, seconds=1) for version in ("1", "2", "2")]
    text = render(sample("versions", sides))
    which = "round 1 of version 1; --json has the others"
    assert {f"{title}, {which}" for title in ("latency", "batches", "details")} <= set(text.splitlines()), "of the headline"
    shown = [line for line in text.splitlines() if "by stage" in line]
    assert shown == ["the server, by stage, round 1 of version 1", "the server, by stage, round 2 of version 2"]


def test_nothing_measured() -> None:
    assert "! nothing was measured" in render(sample(measurements=[]))
    assert "load" in lines(render(sample(measurements=[Measurement(Load())])))


@pytest.mark.parametrize("rich", [False, True], ids=["plain", "rich"])
def test_where_nothing_was_answered_no_latency_is_shown(rich) -> None:
    """Zeros would be the best latency there is."""
    failed = Measurement(Load(rate=50.0), requests=200, errors={"INTERNAL": 200}, duration_s=4.0)
    text = ESCAPE.sub("", render(sample(measurements=[failed]), rich=rich, width=140))
    assert "! no request was answered with OK: there is no latency" in text
    assert lines(text)["latency"] == "none: no request was answered with OK"
    assert "0 µs" not in text
    text = ESCAPE.sub("", render(sample("steps", [measurement(), failed], headline=0), rich=rich, width=140))
    assert lines(text)["50/s constant"].split()[:7] == ["200", "200", "0", *["none"] * 4]
    assert "there is no latency" not in text, "but in one of them"


def test_an_end_in_the_warm_up_says_nothing_of_responses() -> None:
    text = render(sample(measurements=[Measurement(Load(), ended="interrupted")]))
    assert "! ended early: interrupted" in text
    assert "! no request was answered" not in text


def test_requests_that_the_duration_left_over_are_told() -> None:
    text = render(sample(measurements=[Measurement(Load(rate=1.0, requests=5, duration_s=1.0), requests=1, requests_per_second=1.0)]))
    assert "! 1 of 5 requests were sent: --duration was over before" in text


def test_what_was_waited_in_vain_is_a_latency() -> None:
    silent = measurement(errors={"unanswered": 100})
    silent.requests = 100
    text = render(sample(measurements=[silent]))
    assert "! no request was answered with OK: latency is what was waited in vain" in text
    assert "p99.9" in text


def test_of_few_requests_it_is_said_how_little_they_say() -> None:
    few, some = measurement(seconds=1, rate=20.0), measurement(seconds=1, rate=200.0)
    told = "requests{}: rates and percentiles of so few say little; measure longer"
    assert "! fewer than 100 " + told.format("") in render(sample(measurements=[few]))
    assert "! fewer than 100 " + told.format(" (1 of 2 measurements)") in render(sample("steps", [few, some]))
    assert "say little" not in render(sample(measurements=[some]))
    assert "say little" not in render(sample(measurements=[Measurement(Load())])), "of none nothing is said"
    assert "say little" not in render(sample("search", [few, some])), "most of its rates do not matter"


def test_no_server_moves_the_cursor() -> None:
    measured = measurement(errors={"\x1b[2J": 1}, error_messages={"\x1b[2J": "\x1b]0;title\x07\r[red]"}, version="\x1b[31m")
    for rich in (False, True):
        text = render(report.make("single", "t", "\x1b[5m", [measured]), rich=rich, width=100)
        assert not re.search(r"\x1b\[(2J|5m)|\x1b\]|\x07|\r", text)
        assert "[red]" in text


def run_of(progress: Progress, load: Load, seconds: float, **fields: object) -> None:
    progress.tell(Step(2, 3, load, "4", "why it is", 3))
    step = seconds / 20
    for at in range(20):
        progress.watch(Interval(at * step, step, 100, 1, 900.0, 2100.0, 5000.0))
    progress.done(measurement(load, version="4", **fields))


def test_plain_progress_is_a_line_now_and_then_and_one_aligned_line_a_step() -> None:
    stream = io.StringIO()
    with Progress(stream) as progress:
        run_of(progress, Load(rate=50.0), 40.0)
        run_of(progress, Load(), 1.0, errors={"INTERNAL": 7}, client_bound=True)
    told = stream.getvalue().splitlines()
    assert told[0] == "step 2 of 3, version 4, 50/s constant, why it is  warming up"
    assert told[1] == (
        "step 2 of 3, version 4, 50/s constant, why it is  "
        "10.0 s  505 requests  50/s of 50/s  p50 900 µs  p99 2.1 ms  sent late p99 0 µs  5 errors  11 s left"
    )
    assert len(told) == 1 + 4 + 2 + 1
    head, first, second = told[5], told[6], told[7]
    assert head.split() == ["step", "load", "responses/s", "p50", "p99"]
    assert first.split()[:4] == ["2/3", "version", "4,", "50/s"]
    assert second.endswith("7 ERRORS  CLIENT-BOUND")
    assert first.index(" ms") == second.index(" ms") == head.index("p99")


def test_time_left_is_an_upper_bound_where_the_steps_depend_on_what_they_show() -> None:
    stream = io.StringIO()
    with Progress(stream) as progress:
        progress.tell(Step(7, 0, Load(duration_s=20.0), "", "", 40))
        progress.watch(Interval(0.0, 10.0, 100, 0, 900.0, 2100.0, 5000.0))
    told = stream.getvalue().splitlines()
    assert told[0].startswith("step 7 of at most 40, 1x1  warming up")
    assert told[1].endswith("at most 11 min 43 s left")


def test_the_progress_of_a_silent_server_has_no_percentiles() -> None:
    stream = io.StringIO()
    with Progress(stream) as progress:
        progress.tell(Step(1, 1, Load(), "", ""))
        progress.watch(Interval(0.0, 20.0, 0, 0, 0.0, 0.0, 0.0))
        progress.done(Measurement(Load()))
    assert [line.partition("/s  ")[2] for line in stream.getvalue().splitlines()[1:2]] == ["no latency  0 errors"]


@contextmanager
def terminal() -> Iterator[tuple[io.TextIOWrapper, list[str]]]:
    """A terminal to write to, and what came out of it once it is closed."""
    ours, theirs = os.openpty()
    shown: list[str] = []
    with os.fdopen(theirs, "w") as stream:
        yield stream, shown
        stream.flush()
        os.write(theirs, b"\x00")  # the end
        read = b""
        while not read.endswith(b"\x00"):
            read += os.read(ours, 1 << 16)
    os.close(ours)
    shown.append(read.decode())


def test_a_terminal_shows_a_bar_and_keeps_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "140")
    with terminal() as (stream, shown):
        assert is_rich(stream)
        with Progress(stream) as progress:
            run_of(progress, Load(), 1.0)
            progress.say("a note")
    text = ESCAPE.sub("", shown[0])
    assert "warming up" in text
    assert "━━━" in text
    assert re.search(r"[\d.]+ s  [\d,]+ requests  2,000/s  p50 900 µs  p99 2.1 ms  \d+ errors", text)
    assert re.search(r"2/3  version 4, 1x1  +[\d,.]+  +[\d.]+ .s  +[\d.]+ ms", text)
    assert "\x1b[?25h" in shown[0], "the cursor is shown again"


def test_an_interrupted_run_gives_the_cursor_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")

    def interrupted(stream: io.TextIOWrapper) -> None:
        with Progress(stream) as progress:
            progress.tell(Step(1, 0, Load(), "", ""))
            raise KeyboardInterrupt

    with terminal() as (stream, shown), pytest.raises(KeyboardInterrupt):
        interrupted(stream)
    assert shown[0].rindex("\x1b[?25h") > shown[0].rindex("\x1b[?25l")


def test_without_rich_there_are_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich", None)
    with terminal() as (stream, shown), Progress(stream) as progress:
        run_of(progress, Load(), 1.0)
    assert "warming up" in shown[0]
    assert "\x1b" not in shown[0]
