"""`inferd tune`: the settings that serve a model best on this machine, measured, and a configuration that has them."""

from __future__ import annotations

import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TextIO

import click
from click.core import ParameterSource

from inferd.cli.bench_report import written
from inferd.cli.duration import Duration
from inferd.cli.exit_codes import VERDICTS, ExitCode
from inferd.cli.number import Fraction, Whole
from inferd.cli.reaching import with_options
from inferd.cli.request_options import REQUESTS
from inferd.cli.say import echo, one_line, say
from inferd.cli.serve import require_onnxruntime
from inferd.cli.typed import Typed, typed_here
from inferd.client_inputs.targets import require_client
from inferd.config import PROVIDERS
from inferd.errors import ConfigError, InferdError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from inferd.bench.buckets import Lengths
    from inferd.bench.candidate import Subject
    from inferd.bench.climb import Settings, Space
    from inferd.bench.measurement import Interval
    from inferd.bench.report import Report
    from inferd.bench.session import Session
    from inferd.bench.tune import Server, Target, Trial, Tuned

MOST_ROWS = 1024  # of a batch, unless --batch-sizes says otherwise
ALIKE = (
    "the model pads, and no requests of unequal length are seen, so no buckets are tried: give texts or arrays as unequal as those that "
    "will come (--text, --npz, --json-input, --sizes), or --buckets"
)


def numbers(ctx: click.Context, param: click.Parameter, text: str | None) -> list[int] | None:
    """1,2,4."""
    return None if text is None else whole_numbers(text, 65_536)


def sets(ctx: click.Context, param: click.Parameter, texts: tuple[str, ...]) -> tuple[tuple[int, ...], ...]:
    """none or 32,64,128, each a set."""
    return tuple(() if text == "none" else tuple(whole_numbers(text, (1 << 31) - 1)) for text in texts)


def whole_numbers(text: str, most: int) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdecimal() and len(part) < 12 and 0 < int(part) <= most for part in parts):
        raise click.BadParameter(f"expected whole numbers from 1 to {most} such as 1,2,4, got {text!r}")
    return sorted(set(map(int, parts)))


def words(ctx: click.Context, param: click.Parameter, text: str | None) -> list[str] | None:
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if wrong := [part for part in parts if part not in PROVIDERS]:
        raise click.BadParameter(f"expected {', '.join(PROVIDERS)}, got {wrong[0]!r}")
    return list(dict.fromkeys(parts))


@click.command(cls=Typed)
@click.argument("path", type=click.Path(path_type=Path))
@click.argument("model", required=False)
@click.option("--slo", metavar="p99=10ms", help="Only what keeps this latency counts, and the number in flight is looked for, too.")
@click.option("--connections", type=Whole(1, 10_000), default=4, show_default=True, help="HTTP/2 connections.")
@click.option("--concurrency", type=Whole(1, 100_000), default=16, show_default=True, help="Requests in flight on each of them.")
@click.option("--most-in-flight", type=Whole(1, 100_000), default=512, show_default=True, help="That are tried to keep --slo.")
@click.option(
    "--budget", type=Duration(), default="5m", show_default=True, help="A ceiling: 2 to 3 minutes at least; on a busy machine more."
)
@click.option("--duration", type=Duration(), default="2s", show_default=True, help="Least time of each measurement.")
@click.option("--warm-up", type=Duration(zero=True), default="500ms", show_default=True, help="Before each; not counted.")
@click.option("--processes", type=Whole(1, 256), default=1, show_default=True, help="Processes that send requests.")
@click.option("--rounds", type=Whole(5, 12), default=6, show_default=True, help="In which the best and the model as it is now take turns.")
@click.option("--margin", type=Fraction(0, 1), default=0.03, show_default=True, help="A smaller gain is none.")
@click.option("--instances", callback=numbers, metavar="N,N,...", help="Instances to try.  [default: by the cores]")
@click.option("--threads", callback=numbers, metavar="N,N,...", help="Threads of one run to try.  [default: by the cores]")
@click.option("--batch-sizes", callback=numbers, metavar="N,N,...", help="Most rows of a batch to try.  [default: 1, 2, 4, ...]")
@click.option("--buckets", multiple=True, callback=sets, metavar="N,N,...", help="One set of sizes to pad to, or none, to be tried.")
@click.option("--providers", callback=words, metavar="NAME,...", help="Execution providers, to be tried.  [default: all built in]")
@with_options(*REQUESTS)
@click.option("--seed", type=Whole(0, 2**63 - 1), default=0, show_default=True, help="Seed of random inputs.")
@click.option("--output", metavar="FILE", type=click.Path(path_type=Path), help="Where the best goes.  [default: beside the model]")
@click.option("--force", is_flag=True, help="Change a configuration that is there.")
@click.option("--dry-run", is_flag=True, help="Write no configuration.")
@click.option("--json", "json_file", metavar="FILE", help="Write the report: every measurement.")
@click.option("--html", metavar="FILE", help="Write the report as a page: one file, with charts.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
def tune(**given: Any) -> int:
    """Find the settings that serve a model best on this machine.

    PATH is an ONNX file, a model's folder or a repository; MODEL names one of several. `inferd serve` is started again and again with
    other instances, threads, batch sizes and execution providers, and loaded. Then the best settings take turns with the model's present
    ones. If they are faster beyond noise, a configuration is written, with the evidence in it.

    \b
    inferd tune models resnet50
    inferd tune model.onnx --slo p99=10ms --budget 2m
    """
    require_onnxruntime()
    require_client()
    from inferd.bench import evidence, report, terminal
    from inferd.bench import tune as tuning
    from inferd.bench.candidate import locate
    from inferd.bench.interrupts import interrupted_once
    from inferd.bench.tables import heading

    subject = locate(given["path"], given["model"])
    output: Path = given["output"] or subject.output
    check_files(given, subject, output)
    target = target_of(given)
    seen = Seen()
    with interrupted_once():  # no signal leaves a server behind, nor takes what was measured
        with TuneProgress(sys.stderr, given["budget"], quiet=given["quiet"]) as progress:
            tuned = tuning.tune(
                server_of(subject, given, seen, progress.watch),
                lambda default: space_of(given, default, target, seen),
                target,
                tell=progress.tell,
                keep=progress.keep,
            )
        tuned = tuned._replace(unshared=seen.unshared)
        flags = {name: value for name, value in given.items() if value is not None and value is not False and value not in ((), "")}
        place, versions = str(given["path"]), report.versions_here()
        made = evidence.report_of(tuned, target, place, subject.name, flags, versions, seen.notices, typed_here())
        said, failures = write(given, subject, tuned, target, output, made)  # whoever reads the tables
        parts = terminal.Parts(terminal.result(made), heading(made), [*evidence.tables(tuned)], evidence.sentences(tuned, target)[1:])
        echo(terminal.show(parts, rich=terminal.is_rich(sys.stdout)))
        if said:
            click.echo(said)
        if failures:
            raise InferdError("; ".join(failures))
        return ExitCode.INTERRUPTED if tuned.interrupted else VERDICTS[made.verdict["word"]]


def write(given: dict[str, Any], subject: Subject, tuned: Tuned, target: Target, output: Path, made: Report) -> tuple[str, list[str]]:
    """The configuration and the reports, each for itself: what is to be said of the first, and why those that failed did."""
    from inferd.bench import html, report

    said, failures = "", []
    if tuned.best != tuned.default and not given["dry_run"]:
        try:
            write_configuration(subject, tuned, target, output, made.versions)
            said = usage(subject, output)
        except InferdError as error:
            failures.append(str(error))
    writers = {"json_file": lambda path: report.save(made, path), "html": lambda path: report.write_text(path, html.page(made))}
    failures += written((given[flag], writer) for flag, writer in writers.items() if given[flag])
    return said, failures


def check_files(given: dict[str, Any], subject: Subject, output: Path) -> None:
    """Before minutes are spent: whether all that is to be written can be."""
    from inferd.bench import report

    for path in filter(None, (given["json_file"], given["html"])):
        report.check_writable(path)
    if given["dry_run"]:
        return
    report.check_writable(output)
    if output.exists() and not given["force"]:
        does = "replace it" if subject.single or given["output"] else "change its tuning fields (other fields stay, comments are lost)"
        raise click.UsageError(f"{output} exists: give --force to {does}, --output FILE for another place, or --dry-run")
    expected = {".toml"} if subject.single else {".toml", ".pbtxt"}
    if output.suffix not in expected:
        raise click.UsageError(f"--output {output}: expected a name that ends in {' or '.join(sorted(expected))}")


def target_of(given: dict[str, Any]) -> Target:
    from inferd.bench import tune as tuning
    from inferd.bench.findings import parse_slo
    from inferd.bench.measurement import Load

    load = Load(
        connections=given["connections"],
        streams=given["concurrency"],
        duration_s=given["duration"],
        warm_up_s=given["warm_up"],
        processes=given["processes"],
        seed=given["seed"],
    )
    if given["processes"] > given["connections"]:
        raise click.UsageError(f"--processes {given['processes']}: expected at most as many as --connections, {given['connections']}")
    slo = parse_slo(given["slo"]) if given["slo"] else None
    source = click.get_current_context().get_parameter_source
    fixed = any(source(name) is not ParameterSource.DEFAULT for name in ("connections", "concurrency"))
    return tuning.Target(load, slo, given["most_in_flight"], fixed, given["budget"], given["rounds"], given["margin"])


def space_of(given: dict[str, Any], default: Settings, target: Target, seen: Seen) -> Space:
    """The settings to try: those of the flags, else powers of two around the default. No batch is larger than all rows in flight."""
    from inferd.bench.climb import Space
    from inferd.engine.loading.planner import Host
    from inferd.engine.runtime.onnx.library import available_providers

    cores = Host.detect().usable
    in_flight = target.most_in_flight if target.slo else target.load.connections * target.load.streams
    most_rows = min(MOST_ROWS, max(int(in_flight * seen.rows), 1))
    built_in = [name for name in PROVIDERS if any(each.lower().startswith(name) for each in available_providers())]
    return Space(
        given["providers"] or list(dict.fromkeys([default.provider, *built_in])),
        given["instances"] or powers(2 * cores, default.instances),
        given["threads"] or powers(cores, default.threads),
        given["batch_sizes"] or powers(most_rows, default.rows or 1),
        cores,
        given["buckets"] or buckets_for(default, seen.lengths),
    )


def buckets_for(default: Settings, lengths: Lengths | None) -> list[tuple[int, ...]]:
    """The sets to try; none where the model pads nothing, or nothing could be learnt of it."""
    from inferd.bench import buckets

    if default.buckets is None or lengths is None:
        return []
    return list(dict.fromkeys([default.buckets, (), *buckets.sets(lengths)]))


def powers(most: int, also: int) -> list[int]:
    """1, 2, 4 ... and `most` itself."""
    return sorted({also, most, *(1 << power for power in range(most.bit_length()))})


class Seen:
    """Facts that the first server told: rows of a request, how unequal requests are, and notices about the inputs."""

    def __init__(self) -> None:
        self.rows = 1.0
        self.lengths: Lengths | None = None
        self.notices: list[str] = []
        self.unshared = ""

    def look(self, config: Any, session: Session, buckets: Sequence[tuple[int, ...]]) -> None:
        """config: the server's. buckets: sets that are to be tried, if a user said so. ConfigError where the model has no use for them."""
        from inferd.bench.buckets import buckets_of, lengths_of
        from inferd.bench.evidence import unshared_words

        requests, padded = session.requests[""], buckets_of(config) is not None
        if buckets and not padded:
            raise ConfigError("--buckets: the model's configuration pads nothing, or several inputs to sizes of their own: leave it out")
        self.rows, self.lengths = requests.rows, lengths_of(config, requests.inputs)
        self.unshared = unshared_words(config)
        self.notices = [*session.notices, *([ALIKE] if padded and not buckets and not self.lengths else [])]
        for notice in filter(None, [*self.notices, self.unshared]):
            say(one_line(notice), err=True)


def server_of(subject: Subject, given: dict[str, Any], seen: Seen, watch: Callable[[Interval], None]) -> Callable[[Settings | None], Any]:
    """Starts servers of the model; each is asked the same requests."""
    from inferd.bench import inputs
    from inferd.bench.candidate import in_force, serving
    from inferd.bench.session import Looks, Session
    from inferd.bench.tune import Server

    asked = {name: given[name] for name in inputs.OPTIONS}

    @contextmanager
    def serve(settings: Settings | None) -> Iterator[Server]:
        with (
            serving(subject, settings) as running,
            Session(running.address, subject.name, [""], asked, looks=Looks(server_pid=running.pid)) as session,
        ):
            if settings is None:
                config = configured(running.address, subject.name)
                settings = in_force(config)
                if not seen.notices:
                    seen.look(config, session, given["buckets"])
            yield Server(settings, lambda load: session.run(load, watch=watch))

    return serve


def configured(address: str, model: str) -> Any:
    """The configuration that the server runs the model with."""
    with require_client().Client(address, timeout=10) as client:
        return client.model_config(model)


def write_configuration(subject: Subject, tuned: Tuned, target: Target, output: Path, versions: dict[str, str]) -> None:
    from inferd.bench import evidence, report
    from inferd.bench.candidate import configuration

    text = configuration(subject, tuned.best, output)
    report.write_text(output, evidence.comments(text, tuned, target, versions))


def usage(subject: Subject, output: Path) -> str:
    here = Path.cwd().resolve()
    shown = output.resolve().relative_to(here) if output.resolve().is_relative_to(here) else output
    if subject.single:
        return f"written: {shown}; serve it with: inferd serve --config {shown}"
    return f"written: {shown}" + ("" if output.parent.resolve() == subject.path else f"; it belongs into the folder of {subject.name}")


class TuneProgress:
    """How far the tuning is, on stderr: a bar of its budget on a terminal that rich can draw on, a line a trial elsewhere.

    It draws between two intervals of a measurement, on the generator's thread: one of its own would disturb what is measured. Where nobody
    can read it, a terminal having gone, nothing is lost.
    """

    def __init__(self, stream: TextIO, budget_s: float, *, quiet: bool = False) -> None:
        from inferd.bench import terminal

        self._stream, self._budget_s, self._quiet = stream, budget_s, quiet
        self._rich = not quiet and terminal.is_rich(stream)
        self._bar: Any = None
        self._task: Any = None
        self._spent_s = 0.0
        self._trials = 0

    def __enter__(self) -> Self:
        if self._rich:
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as Bar

            columns = (BarColumn(), TextColumn("{task.percentage:>3.0f}%"), TimeElapsedColumn(), TextColumn("{task.description}"))
            self._bar = Bar(*columns, console=Console(file=self._stream, highlight=False), auto_refresh=False, transient=True)
            self._bar.start()
            self._task = self._bar.add_task("", total=self._budget_s)
        return self

    def __exit__(self, *raised: object) -> None:
        if self._bar is not None:
            with suppress(OSError):
                self._bar.stop()

    def tell(self, stage: str, settings: Settings | None, best: float, spent_s: float) -> None:
        """A server is started."""
        self._spent_s = spent_s
        if self._bar is not None:
            from inferd.bench.findings import number_of
            from inferd.bench.tables import stage_words

            so_far = f"; best {number_of(best)}/s" if best else ""
            left = f"at most {max(self._budget_s - spent_s, 0.0):.0f} s left"
            tried = f"{stage_words(stage)}: {settings or 'as it is'}"
            self._update(completed=spent_s, description=f"trial {self._trials + 1}, {tried}{so_far}; {left}")

    def watch(self, interval: Interval) -> None:
        if self._bar is not None and interval.at_s % 0.5 < interval.duration_s:
            self._update(completed=min(self._spent_s + interval.at_s, self._budget_s))

    def keep(self, trial: Trial) -> None:
        """A measurement has ended."""
        from inferd.bench.evidence import LINE_HEAD, line_of

        self._trials += 1
        lines = [LINE_HEAD] if self._trials == 1 else []
        lines.append(line_of(self._trials, trial))
        with suppress(OSError):
            for line in lines:
                if self._bar is not None:
                    self._bar.console.print(line, markup=False, soft_wrap=True)
                elif not self._quiet:
                    click.echo(line, err=True, file=self._stream)

    def _update(self, **changed: Any) -> None:
        with suppress(OSError):
            self._bar.update(self._task, refresh=True, **changed)
