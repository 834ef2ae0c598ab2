"""A run on a terminal: how far it is while it lasts, and what it showed in the end. Plain lines where there is no terminal.

rich draws, if it is installed. Never in here: what a figure means (tables), measuring.
"""

from __future__ import annotations

import io
from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TextIO

from inferd.bench.conclusion import beside, conclude
from inferd.bench.findings import duration, number_of
from inferd.bench.measurement import Load
from inferd.bench.modes import Progress as Step
from inferd.bench.tables import Line, Table, heading, tables, warnings
from inferd.bench.verdicts import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from inferd.bench.measurement import Interval, Measurement
    from inferd.bench.report import Report

STYLES = {"good": "bold green", "bad": "bold red", "doubt": "bold yellow", "main": "bold", "": ""}
MARKS = {"good": "✓", "bad": "✗", "doubt": "?"}
REFRESH_S = 0.25  # of the measurement's time: drawing must not disturb it
PLAIN_S = 10.0  # between two plain lines of one measurement
LOAD_LETTERS = 26  # of the column of loads
LATE_SHARE = 0.1  # of p99: a lateness that shows in it
FRAME = 4  # columns that a frame takes
NARROWEST, WIDEST = 24, 1000  # of sentences in a table; of a table


def is_rich(stream: TextIO | None) -> bool:
    """Whether to draw on it: a terminal, and rich is there. None: it was closed when the program began."""
    return stream is not None and stream.isatty() and find_spec("rich") is not None


class Parts(NamedTuple):
    """The parts of a shown run, in this order; the first line of the verdict stands last, too."""

    verdict: list[Line]
    title: str
    tables: list[Table]
    lines: list[Line]


def render(report: Report, *, rich: bool = False, width: int | None = None) -> str:
    """A report: the verdict, the tables, and what stands out."""
    return show(Parts(result(report), heading(report), list(tables(report)), sentences(report)), rich=rich, width=width)


def show(parts: Parts, *, rich: bool = False, width: int | None = None) -> str:
    """A run as text. rich: with colours and lines, `width` columns wide (the terminal's own by default).

    Where that is too narrow for a table, lines are plain: a terminal breaks those and never cuts them."""
    return (rich_text(parts, width) if rich else "") or "\n".join(plain_lines(parts))


def result(report: Report) -> list[Line]:
    """The verdict, and how far it can be trusted: stands first and last."""
    found = conclude(report)
    said = Line(one_line(f"{MARKS[found.word.mark]} {found}"), found.word.mark)
    return [said, Line("  " + one_line(f"confidence {found.confidence.value}: {found.because}"))]


def sentences(report: Report) -> list[Line]:
    """Warnings, and the mode's findings beside the verdict."""
    return [*warnings(report), *(Line(one_line(text), "main") for text in beside(report))]


def plain_lines(parts: Parts) -> Iterator[str]:
    verdict = [line.text for line in parts.verdict]
    yield from verdict
    yield ""
    yield parts.title
    for table in parts.tables:
        yield ""
        if table.title:
            yield table.title
        yield from aligned(table)
    if parts.lines:
        yield ""
        yield from (f"{'! ' if line.mark in ('bad', 'doubt') else ''}{line.text}" for line in parts.lines)
    yield ""
    yield verdict[0]


def aligned(table: Table) -> Iterator[str]:
    """Columns of their widest cell; numbers, which have a head, to the right."""
    cells = [table.head, *(row.cells for row in table.rows)] if any(table.head) else [row.cells for row in table.rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(table.head))]
    for row in cells:
        columns = zip(table.head, row, widths, strict=True)
        yield (
            "  "
            + "  ".join(
                cell.rjust(size) if head and place else cell.ljust(size) for place, (head, cell, size) in enumerate(columns)
            ).rstrip()
        )


def rich_text(parts: Parts, width: int | None) -> str:
    """Empty: it does not fit."""
    from rich.console import Console, Group
    from rich.panel import Panel
    from rich.text import Text

    drawn = io.StringIO()
    # rich heeds a width on a dumb terminal only where a height is given, too; nothing here is as high as it.
    console = Console(file=drawn, force_terminal=True, width=width, height=100 if width else None, highlight=False)
    shown: list[Any] = [rich_table(table) for table in parts.tables]
    if any(least_width(console, one, any(table.head)) + FRAME > console.width for table, one in zip(parts.tables, shown, strict=True)):
        return ""
    verdict, title = parts.verdict, Text(parts.title, "bold")
    for line in verdict:
        console.print(Text(line.text, STYLES[line.mark] or "dim"))
    console.print(Panel(Group(*shown), title=title, title_align="left", expand=False) if shown else title)
    for line in parts.lines:
        console.print(Text(("! " if line.mark in ("bad", "doubt") else "") + line.text, STYLES[line.mark]))
    console.print(Text(verdict[0].text, STYLES[verdict[0].mark]))
    return drawn.getvalue().rstrip("\n")


def least_width(console: Any, drawn: Any, headed: bool) -> int:
    """The least width of a table that cuts nothing. A sentence may be broken, a figure not."""
    width = console.measure(drawn, options=console.options.update(max_width=WIDEST))
    return int(width.maximum if headed else width.minimum)


def rich_table(table: Table) -> Any:
    from rich import box
    from rich.table import Table as Drawn
    from rich.text import Text

    headed = any(table.head)
    drawn = Drawn(
        box=box.SIMPLE_HEAD if headed else None, show_header=headed, title=table.title or None, title_justify="left", padding=(0, 1)
    )
    for place, name in enumerate(table.head):
        drawn.add_column(
            Text(name),
            justify="right" if name and place else "left",
            style="" if headed or place else "dim",
            no_wrap=headed or not place,
            min_width=0 if headed or not place else NARROWEST,
        )
    for row in table.rows:
        drawn.add_row(*map(Text, row.cells), style=STYLES[row.mark])
    return drawn


class Progress:
    """How far a run is, on a stream that is not the one of the results: stderr. That nobody can read it, a disk being full or a terminal
    having gone, is no reason to lose what is measured.

    with Progress(sys.stderr) as progress:
        outcome = carry_out(mode, run, progress.tell)     # where run has the generator call progress.watch, and then progress.done
    """

    def __init__(self, stream: TextIO, *, rich: bool | None = None) -> None:
        self._stream = stream
        self._rich = is_rich(stream) if rich is None else rich
        self._live: Any = None
        self._title = self._load_words = ""
        self._load = Load()
        self._step = Step(1, 1, self._load, "", "")
        self._headed = False
        self._begin()

    def _begin(self) -> None:
        self._requests = self._errors = 0
        self._at_s = self._shown_s = 0.0

    def __enter__(self) -> Self:
        if self._rich:
            from rich.console import Console
            from rich.live import Live

            console = Console(file=self._stream, highlight=False)
            self._live = Live(console=console, auto_refresh=False, transient=True)  # a thread that draws would disturb the generator
            self._live.start()
        return self

    def __exit__(self, *raised: object) -> None:
        if self._live is not None:
            with suppress(OSError):
                self._live.update("", refresh=True)
            with suppress(OSError):
                self._live.stop()

    def tell(self, step: Step) -> None:
        """A measurement begins."""
        self._begin()
        self._load, self._step = step.load, step
        version = f"version {step.version}" if step.version else ""
        self._load_words = one_line(", ".join(filter(None, (version, str(step.load)))))
        self._title = one_line(", ".join(filter(None, (self._place(), self._load_words, step.why))))
        if self._live is not None or not self._headed:  # each of the others has its line when it is over
            self._show("warming up" if step.load.warm_up_s else "")

    def _place(self) -> str:
        """Which step of how many it is."""
        step = self._step
        if step.of == 1 or not step.most:
            return ""
        return f"step {step.step} of {step.of}" if step.of else f"step {step.step} of at most {step.most}"

    def _left(self) -> str:
        """How long the rest takes, where that is known."""
        load, step = self._load, self._step
        if not load.duration_s or load.requests:
            return ""
        later = max(step.most - step.step, 0) * (load.duration_s + load.warm_up_s)
        seconds = round(max(load.duration_s - self._at_s, 0.0) + later)
        if not seconds:
            return ""
        shown = f"{seconds} s" if seconds < 60 else f"{seconds // 60} min {seconds % 60} s"
        return f"{shown} left" if step.of else f"at most {shown} left"

    def watch(self, interval: Interval) -> None:
        """An interval of it is over."""
        self._requests += interval.requests + interval.errors
        self._errors += interval.errors
        self._at_s = interval.at_s + interval.duration_s
        if self._at_s - self._shown_s >= (REFRESH_S if self._live is not None else PLAIN_S):
            self._shown_s = self._at_s
            self._show("  ".join(filter(None, (figures(interval, self._requests, self._errors, self._load), self._left()))))

    def done(self, measured: Measurement) -> None:
        """It is over: its line stays, below those of the others, under one head."""
        step = self._step
        if not self._headed:
            self._headed = True
            self.say(f"{'step':>7}  {'load':<{LOAD_LETTERS}}  {'responses/s':>11}  {'p50':>8}  {'p99':>8}")
        number = f"{step.step}/{step.of}" if step.of else str(step.step)
        latency = measured.latency_us
        times = (duration(latency.p50), duration(latency.p99)) if latency.max else ("none", "none")
        notes = (
            f"{measured.failed:,} ERRORS" if measured.failed else "",
            f"{measured.verified.wrong:,} WRONG RESPONSES" if measured.verified and measured.verified.wrong else "",
            f"sent late p99 {duration(measured.lateness_us.p99)}" if measured.lateness_us.p99 > LATE_SHARE * latency.p99 else "",
            "CLIENT-BOUND" if measured.client_bound else "",
        )
        cells = (
            f"{number:>7}  {self._load_words:<{LOAD_LETTERS}}  {number_of(measured.requests_per_second):>11}  {times[0]:>8}  {times[1]:>8}"
        )
        bad = measured.failed or (measured.verified and measured.verified.wrong)
        self.say("  ".join(filter(None, (cells, *notes))), "bad" if bad else "doubt" if measured.client_bound else "")

    def say(self, text: str, mark: str = "") -> None:
        """A line that stays."""
        if self._live is None:
            self._write(text)
        else:
            from rich.text import Text

            with suppress(OSError):
                self._live.update("", refresh=True)  # else it would be drawn again below
                self._live.console.print(Text(text, STYLES[mark]), soft_wrap=True)

    def _show(self, text: str) -> None:
        if self._live is None:
            self._write(f"{self._title}  {text}".rstrip())
            return
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table as Drawn
        from rich.text import Text

        line = Drawn.grid(padding=(0, 1))
        line.add_row(ProgressBar(total=1.0, completed=self._part(), width=24), Text(text, "red" if self._errors else "", no_wrap=True))
        with suppress(OSError):
            self._live.update(Group(Text(self._title, "bold", no_wrap=True), line), refresh=True)

    def _part(self) -> float:
        """The share of the measurement that is over, by whichever limit is nearer."""
        load = self._load
        by_time = self._at_s / load.duration_s if load.duration_s else 0.0
        return min(1.0, max(by_time, self._requests / load.requests if load.requests else 0.0))

    def _write(self, text: str) -> None:
        with suppress(OSError):
            self._stream.write(text + "\n")
            self._stream.flush()


def figures(interval: Interval, requests: int, errors: int, load: Load) -> str:
    """Now, and so far."""
    now = interval.requests / interval.duration_s if interval.duration_s else 0.0
    asked = f" of {number_of(load.rate)}/s" if load.rate else ""
    late = f"  sent late p99 {duration(interval.late_p99_us)}" if load.rate else ""
    latency = f"p50 {duration(interval.p50_us)}  p99 {duration(interval.p99_us)}" if interval.p99_us else "no latency"
    return (
        f"{interval.at_s + interval.duration_s:.1f} s  {requests:,} requests  {number_of(now)}/s{asked}  {latency}{late}  {errors:,} errors"
    )
