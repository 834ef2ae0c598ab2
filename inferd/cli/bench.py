"""`inferd bench`: loads on a server or on in-process ONNX Runtime, and a report of what they showed. Flags only; inferd.bench measures."""

from __future__ import annotations

import os
import re
import sys
from contextlib import ExitStack, nullcontext
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from inferd.cli.bench_report import written
from inferd.cli.duration import Duration
from inferd.cli.exit_codes import VERDICTS, ExitCode
from inferd.cli.number import Fraction, Whole
from inferd.cli.reaching import FLAGS, TLS, TOKEN_FILE, reach_of, with_options
from inferd.cli.request_options import REQUESTS
from inferd.cli.say import echo, one_line, say
from inferd.cli.typed import Typed, typed_here
from inferd.config import is_http
from inferd.errors import InferdError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from inferd.bench.interval_log import IntervalLog
    from inferd.bench.measurement import Load, Measurement
    from inferd.bench.modes import Mode, Outcome
    from inferd.bench.report import Report
    from inferd.bench.samples import Samples
    from inferd.bench.schedule import Arrivals
    from inferd.bench.session import Session
    from inferd.bench.terminal import Progress

CLIENT_BOUND, INCONCLUSIVE = "client-bound", "inconclusive"
RESERVED = frozenset(
    {
        *("connection", "content-encoding", "content-length", "content-type", "host", "keep-alive", "te", "transfer-encoding", "upgrade"),
        *("user-agent", "inference-header-content-length", "inferd-timeout-ms"),
    }
)
MOST_STREAMS = 100_000  # in flight, on a connection and in all
POOL = 64  # connections of HTTP/1.1 in an open loop


def of_group(title: str, *options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Options that stand together in --help."""

    def decorate(command: Any) -> Any:
        before = len(getattr(command, "__click_params__", []))
        for parameter in with_options(*options)(command).__click_params__[before:]:
            parameter.group = title
        return command

    return decorate


class Bench(Typed):
    """Shows its options under their groups' titles. A load is what it is about; only `compare` and `report` are verbs of their own."""

    def make_context(self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any) -> click.Context:
        if args[:1] == ["compare"]:
            from inferd.cli.bench_compare import compare

            return compare.make_context(f"{info_name} compare", args[1:], parent, obj=args[1:], **extra)
        if args[:1] == ["report"]:
            from inferd.cli.bench_report import report

            return report.make_context(f"{info_name} report", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            if isinstance(parameter, click.Option) and (row := parameter.get_help_record(ctx)):
                groups.setdefault(getattr(parameter, "group", "Other"), []).append(row)
        for title, rows in groups.items():
            with formatter.section(title):
                formatter.write_dl(rows)


@click.command(cls=Bench)
@click.argument("target")
@click.argument("model", required=False)
@of_group(
    "Load",
    click.option(
        "--connections", type=Whole(1, 10_000), default=4, show_default=True, help="Connections of HTTP/2; over HTTP/1.1 see above."
    ),
    click.option("--concurrency", type=Whole(1, MOST_STREAMS), default=1, show_default=True, help="Requests in flight on each connection."),
    click.option("--rate", type=Fraction(0, min_open=True), help="Open loop: so many requests a second, however slow the server is."),
    click.option(
        "--arrivals", default="constant", show_default=True, help="Pattern of an open loop: constant, poisson, burst:N, trace:FILE."
    ),
    click.option("--duration", type=Duration(), help="Time to measure.  [default: 10s]"),
    click.option("--requests", type=Whole(1, 10**12), help="End after this many requests."),
    click.option("--warm-up", type=Duration(zero=True), default="1s", show_default=True, help="Time before that, not counted."),
    click.option("--deadline", type=Duration(), help="Timeout of each request."),
    click.option("--processes", type=Whole(1, 256), default=1, show_default=True, help="Processes that send requests."),
    click.option(
        "--spin/--no-spin", default=None, help="Open loop: busy-wait before each request, to send on time.  [default: if a core is free]"
    ),
    click.option("--seed", type=Whole(0, 2**63 - 1), default=0, show_default=True, help="Seed of arrivals and random inputs."),
)
@of_group(
    "Modes: one load, unless one of these is given",
    click.option("--steps", metavar="N,N,...", help="Several loads: rates with --rate or --arrivals, else concurrencies."),
    click.option("--ramp", metavar="FROM:TO/N", help="N loads, evenly spaced."),
    click.option("--slo", metavar="p99=10ms", help="Search the highest rate that keeps this; also p50=5ms,p99=50ms,errors=0.1%."),
    click.option("--stress", is_flag=True, help="Overload: goodput at 0.5 to 2 times the saturation."),
    click.option("--soak", is_flag=True, help="One long load: do latency and memory drift?"),
    click.option("--versions", metavar="A,B", help="Measure versions of the model in turn, and compare them."),
    click.option("--rounds", type=Whole(1, 100), help="Repeat --versions, or one load; compare needs 4.  [default: 4 or 1]"),
    click.option(
        "--scenario", type=click.Choice(["SingleStream", "MultiStream", "Server", "Offline"]), help="MLPerf's, driven by its LoadGen."
    ),
)
@of_group(
    "Input: random by the model's signature, unless files are given",
    *REQUESTS,
    click.option("--as-json", is_flag=True, help="Over HTTP: tensors as JSON, even if the server takes them as bytes."),
)
@of_group(
    "Checks",
    click.option("--verify", metavar="FILE", help="Compare responses with a model run here (.onnx, folder), or a .npz of outputs."),
    click.option("--verify-every", type=Whole(1, 10**9), default=100, show_default=True, help="Check one of N responses."),
    click.option("--rtol", type=Fraction(0), help="Relative tolerance.  [default: 0.0001]"),
    click.option("--atol", type=Fraction(0), help="Absolute tolerance.  [default: 0.00001]"),
)
@of_group(
    "For CI: what makes a run fail, with exit code 1",
    click.option("--fail-if", multiple=True, metavar="'p99>50ms,errors>0.1%'", help="Fail if a figure is beyond this; also rate<1000."),
    click.option("--fail-on", multiple=True, type=click.Choice([CLIENT_BOUND, INCONCLUSIVE]), help="Fail if the verdict is this."),
)
@of_group(
    "The server's side",
    click.option("--metrics-url", metavar="URL", help="The server's metrics page.  [default: the port after TARGET's, for inferd]"),
    click.option("--server-pid", type=Whole(1, 2**31 - 1), metavar="PID", help="The server's process on this machine, for CPU and memory."),
    click.option("--dollars-per-hour", type=Fraction(0), help="Price of the machine, for the cost of a million predictions."),
)
@of_group(
    "Output",
    click.option("--json", "json_file", metavar="FILE", help="Write the report, for scripts and compare."),
    click.option("--html", metavar="FILE", help="Write the report as a page: one file, with charts."),
    click.option("--csv", metavar="FILE", help="Write a line a measurement; FILE-intervals.csv has one a second."),
    click.option("--hdr", metavar="FILE", help="Write an HdrHistogram log of the latencies."),
    click.option("--samples", metavar="FILE.npy", help="Write each request of one load: intended, sent, done in ns, code."),
    click.option("--quiet", is_flag=True, help="Show no progress."),
)
@of_group("Access: TLS, and a token", *TLS, TOKEN_FILE)
@of_group(
    "Other",
    click.option("--model-version", default="", metavar="N", help="Version of the model.  [default: the newest]"),
    click.option("--metadata", "pairs", multiple=True, metavar="KEY=VALUE", help="Metadata to send along; no report has its values."),
)
def bench(**given: Any) -> int:
    """Measure a model server. `inferd bench compare A.json B.json` compares two reports, `inferd bench report A.json --html A.html` shows
    one again.

    TARGET is any server of the Open Inference Protocol. Over gRPC it is host:port, unix:/path or unix:@name. Over HTTP/1.1 it is
    http://host:port, https://host:port or http+unix:/path. embedded:PATH runs an ONNX file or repository in this process. MODEL may be
    left out where there is only one.

    HTTP/1.1 has one request in flight on a connection, so --connections times --concurrency are opened; for an open loop 64, unless
    --connections is given.

    Latency counts from the time at which a request was meant to be sent, so a server that stalls cannot hide it.

    \b
    inferd bench localhost:8001 resnet50 --connections 4 --concurrency 2
    inferd bench localhost:8001 resnet50 --rate 200 --arrivals poisson --duration 30s --html report.html
    inferd bench localhost:8001 resnet50 --slo p99=50ms
    inferd bench http://localhost:8000 resnet50 --concurrency 16
    inferd bench models.example:8001 resnet50 --tls-ca ca.pem --token-file token
    """
    from inferd.bench.conditions import parse_conditions
    from inferd.bench.interrupts import interrupted_once
    from inferd.bench.samples import Samples

    reject_unused(given)
    for text in given["fail_if"]:
        parse_conditions(text)  # before a long run
    outputs = {flag: given[flag] for flag in ("json_file", "html", "csv", "hdr", "samples") if given[flag]}
    reject_shared(outputs)
    opened = Samples(given["samples"]) if given["samples"] else nullcontext()
    with interrupted_once(), opened as samples:  # whoever presses Ctrl-C twice wants the report no less
        return measure(given, outputs, samples)


def measure(given: dict[str, Any], outputs: dict[str, str], samples: Samples | None) -> int:
    """Measures as the flags say, shows and writes the result, and returns the exit code."""
    from inferd.bench import inputs, report, terminal
    from inferd.bench.interval_log import IntervalLog
    from inferd.bench.outcome_report import report_of
    from inferd.bench.session import Checks, Looks, Session

    trace = arrivals_of(given)
    load, versions = load_of(given, trace), versions_of(given)
    spin = report.usable_cores() > load.processes if given["spin"] is None else given["spin"]
    tolerances = {name: given[name] for name in ("rtol", "atol") if given[name] is not None}
    with Session(
        given["target"],
        given["model"],
        versions,
        {name: given[name] for name in inputs.OPTIONS},
        metadata=[*map(pair, given["pairs"])],
        reach=reach_of(given),
        checks=Checks(given["verify"], given["verify_every"], **tolerances),
        looks=Looks(given["metrics_url"], given["server_pid"], given["dollars_per_hour"]),
        spin=spin,
        samples=samples,
        log=IntervalLog() if "hdr" in outputs else None,
        trace=trace,
        json=given["as_json"],
    ) as session:
        for notice in session.notices:
            say(one_line(notice), err=True)
        said = report.versions_here(session.server, session.spoken)
        with ExitStack() as stack:
            progress = None if given["quiet"] or sys.stderr is None else stack.enter_context(terminal.Progress(sys.stderr))
            outcome = carry_out(session, given, load, versions, progress)
    settings = settings_of(given, load, spin if any(one.load.rate for one in outcome.measurements) and not session.local else None)
    made = report_of(
        outcome, session.target, session.model, settings=settings, versions=said, notices=session.notices, command=typed_here()
    )
    try:
        echo(terminal.render(made, rich=terminal.is_rich(sys.stdout)))
    finally:  # the table does not wait for a file, nor the files for a reader of the table
        failures = write(made, outputs, samples, session.log)
    if failures:
        raise InferdError("; ".join(failures))
    return exit_code(made, outcome, given["fail_on"])


def reject_shared(outputs: dict[str, str]) -> None:
    """Every file that will be written can be, and none of them over another."""
    from inferd.bench import report

    paths = [*outputs.values(), *([str(beside(outputs["csv"], "-intervals"))] if "csv" in outputs else [])]
    for path in paths:
        report.check_writable(path)
    files = [os.path.realpath(path) for path in paths if os.path.isfile(path) or not os.path.exists(path)]
    if len(set(files)) < len(files):
        raise click.UsageError(
            "expected a file of its own for each of --json, --html, --csv (which writes FILE-intervals.csv, too), --hdr and --samples, "
            "got one twice"
        )


def exit_code(made: Report, outcome: Outcome, fail_on: Sequence[str]) -> ExitCode:
    """The verdict's own code; FAILED also where requests failed beside another verdict, or a flag asks for that."""
    from inferd.bench.conclusion import Word, conclude, conditions_of, is_client_bound
    from inferd.bench.conditions import ERRORS

    if outcome.ended == "interrupted":
        return ExitCode.INTERRUPTED
    word = conclude(made).word
    unwanted = (CLIENT_BOUND in fail_on and is_client_bound(made)) or (INCONCLUSIVE in fail_on and word is Word.INCONCLUSIVE)
    if unwanted or outcome.has_failed(may_fail=any(each.figure == ERRORS for each in conditions_of(made))):
        return ExitCode.FAILED
    return VERDICTS[word.value]


def settings_of(given: dict[str, Any], load: Load, spin: bool | None) -> dict[str, Any]:
    """Every flag in force, as it was in the end, for the report: zeros are flags, too, and a secret in metadata stays one. spin: None
    where nothing spins."""
    found = {name: value for name, value in given.items() if value is not None and value is not False and value not in ((), "")}
    found |= {"duration": load.duration_s, "warm_up": load.warm_up_s, "connections": load.connections}
    if given["versions"]:
        found["rounds"] = rounds_of(given)
    if given["pairs"]:
        found["pairs"] = [f"{text.partition('=')[0]}=***" for text in given["pairs"]]
    return found if spin is None else found | {"spin": spin}


def reject_unused(given: dict[str, Any]) -> None:
    """Flags that would change nothing are a misunderstanding."""
    context = click.get_current_context()
    said = {name for name in given if context.get_parameter_source(name) == ParameterSource.COMMANDLINE}
    modes = {"steps", "ramp", "slo", "stress", "soak", "versions", "scenario"} & said
    local = given["target"].startswith("embedded:")

    def reject(names: set[str], unless: bool, why: str) -> None:
        if not unless and (unused := sorted(names & said)):
            raise click.UsageError(f"--{unused[0].replace('_', '-')} {why}")

    reject({"fail_if"}, not {"versions", "scenario"} & modes, "is for one load: --versions and --scenario have verdicts of their own")
    reject({"rounds"}, not modes - {"versions"}, "is for --versions, or for one load")
    reject({"verify_every", "rtol", "atol"}, "verify" in said, "is for --verify FILE")
    reject({"metrics_url", "server_pid", "dollars_per_hour", "spin", "processes", "deadline", "samples"}, not local, "is for a server")
    reject(set(FLAGS), not local, "is for a server")
    reject({"as_json"}, is_http(given["target"]), "is for a server over HTTP: give its URL, such as http://localhost:8000")
    reject({"concurrency"}, "rate" not in said or "scenario" in modes, "is for a closed loop: leave it or --rate out")
    reject({"concurrency"}, "slo" not in modes or "scenario" in modes, "is for a closed loop, and --slo searches a rate of an open one")
    reject({"concurrency"}, not {"steps", "ramp"} & modes, "is what --steps and --ramp change")
    reject({"concurrency", "rate"}, "stress" not in modes, "is what --stress looks for")
    reject({"rate"}, given["scenario"] in (None, "Server", "Offline"), f"is nothing that --scenario {given['scenario']} asks for")
    reject({"concurrency"}, given["scenario"] in (None, "Offline"), "is for --scenario Offline: the others have their own number in flight")
    reject({"connections"}, given["scenario"] != "SingleStream" or given["connections"] == 1, "is 1 for --scenario SingleStream")
    reject({"slo"}, given["scenario"] in (None, "Server"), "is for --scenario Server: the others have no limit of latency")
    reject({"spin"}, bool({"rate", "slo", "stress", "scenario"} & said) or given["arrivals"] != "constant", "is for an open loop")
    reject({"samples"}, not modes - {"soak"} and (given["rounds"] or 1) == 1, "is for one load")
    reject(
        modes - {"scenario", "slo"} | {"rounds", "requests", "arrivals", "processes", "spin", "samples"},
        "scenario" not in modes,
        "is no part of --scenario",
    )


def carry_out(session: Session, given: dict[str, Any], load: Load, versions: list[str], progress: Progress | None) -> Outcome:
    """Measures as the flags say, and shows its progress."""
    from inferd.bench import findings, modes, scenarios

    watch = progress.watch if progress else None
    if given["scenario"]:
        slo = findings.parse_slo(given["slo"]) if given["slo"] else None
        if progress:
            progress.tell(modes.Progress(1, 1, scenarios.load_of(given["scenario"], load), "", f"MLPerf {given['scenario']}"))
        return session.scenario(given["scenario"], load, slo, watch, lambda notice: say(one_line(notice), err=True))

    def run(load: Load, version: str) -> Measurement:
        measured = session.run(load, version or given["model_version"], watch)
        if progress:
            progress.done(measured)
        return measured

    mode = mode_of(given, load, versions, session)
    with session.watch_memory(load) if given["soak"] else nullcontext():
        return modes.carry_out(mode, run, progress.tell if progress else None)


def arrivals_of(given: dict[str, Any]) -> Arrivals | None:
    """Those of a trace. Whatever is wrong with --arrivals is said now."""
    from inferd.bench import schedule

    is_trace = given["arrivals"].startswith("trace:")
    drawn = schedule.parse(given["arrivals"], given["rate"] or (0.0 if is_trace else 1.0), given["seed"])
    return drawn if is_trace else None


def load_of(given: dict[str, Any], trace: Arrivals | None) -> Load:
    """The load that the flags ask for, or the first of several."""
    from inferd.bench.measurement import Load

    rate, arrivals, duration_s = given["rate"] or 0.0, given["arrivals"], given["duration"]
    warm_up_s, connections = given["warm_up"], given["connections"]
    if given["duration"] == 0 or given["deadline"] == 0:
        raise click.UsageError(f"--{'duration' if given['duration'] == 0 else 'deadline'} 0: expected more than no time at all")
    for what in ("connections", "requests"):
        if given[what] and given[what] < given["processes"]:
            raise click.UsageError(f"--processes {given['processes']}: expected no more than --{what}, {given[what]}: each needs one")
    if not rate and given["connections"] * given["concurrency"] > MOST_STREAMS:
        raise click.UsageError(
            f"--connections {given['connections']} with --concurrency {given['concurrency']}: expected at most {MOST_STREAMS:,} requests "
            "in flight in all"
        )
    if trace is not None:
        rate = trace.rate
        duration_s = duration_s or 0.0  # as long as the trace is
        if given["stress"] or given["slo"] or given["steps"] or given["ramp"]:
            raise click.UsageError("--arrivals trace: is one load; for others give --rate with constant, poisson or burst:N")
        if is_default("warm_up"):
            warm_up_s = 0.0  # it would take the trace's beginning
    elif arrivals != "constant" and not rate and not (given["slo"] or given["stress"] or given["steps"] or given["ramp"]):
        raise click.UsageError(f"--arrivals {arrivals} is for an open loop: give its --rate, too")
    if is_http(given["target"]) and is_open(given) and is_default("connections"):
        connections = POOL
    if duration_s is None:
        duration_s = 0.0 if given["requests"] else 10.0
    return Load(
        connections=connections,
        streams=given["concurrency"],
        rate=rate,
        arrivals=arrivals,
        duration_s=duration_s,
        requests=given["requests"] or 0,
        warm_up_s=warm_up_s,
        deadline_ms=(given["deadline"] or 0.0) * 1e3,
        processes=given["processes"],
        seed=given["seed"],
    )


def is_open(given: dict[str, Any]) -> bool:
    """Whether requests are sent at a rate, which needs as many connections over HTTP/1.1 as are in flight at a time."""
    return bool(given["rate"] or given["slo"] or given["stress"] or given["arrivals"] != "constant")


def is_default(option: str) -> bool:
    return click.get_current_context().get_parameter_source(option) == ParameterSource.DEFAULT


def versions_of(given: dict[str, Any]) -> list[str]:
    if not given["versions"]:
        return [given["model_version"]]
    versions = [text.strip() for text in given["versions"].split(",")]
    if len(versions) < 2 or len(set(versions)) < len(versions) or not all(text.isascii() and text.isdecimal() for text in versions):
        raise click.UsageError(f"--versions {given['versions']}: expected different numbers of versions, such as 3,4")
    if given["model_version"]:
        raise click.UsageError("--versions says which versions are measured: leave --model-version out")
    return versions


def mode_of(given: dict[str, Any], load: Load, versions: list[str], session: Session) -> Mode:
    from msgspec.structs import replace

    from inferd.bench import embedded, findings, modes

    wanted = [flag for flag in ("steps", "ramp", "slo", "stress", "soak", "versions") if given[flag]]
    if len(wanted) > 1:
        raise click.UsageError(f"--{wanted[0]} and --{wanted[1]}: expected one of them")
    if given["steps"] or given["ramp"]:
        values = modes.parse_steps(given["steps"]) if given["steps"] else modes.parse_ramp(given["ramp"])
        if load.arrivals != "constant" and not load.rate:  # steps of rates, the first of them to begin with
            load = replace(load, rate=values[0])
        if not load.rate and (wrong := [value for value in values if value != int(value) or value > MOST_STREAMS]):
            raise click.UsageError(
                f"--{wanted[0]}: expected whole numbers of requests in flight on a connection, {MOST_STREAMS:,} at most, got "
                f"{wrong[0]:.12g}; give --rate for steps of rates"
            )
        loads = modes.along(load, values)
        for one in loads if session.local else ():
            embedded.check_in_flight(one)  # before the first of them is measured
        return modes.steps(loads)
    if given["slo"]:
        return modes.search(load, findings.parse_slo(given["slo"]))
    if given["stress"]:
        return modes.stress(load)
    if given["soak"]:
        return modes.soak(load, session.memory)
    if given["versions"]:
        return modes.versions(load, versions, rounds_of(given))
    if (rounds := rounds_of(given)) > 1:
        return modes.steps([load] * rounds)._replace(name="rounds", find=lambda measured, stopped: None)
    return modes.single(load)


def rounds_of(given: dict[str, Any]) -> int:
    return int(given["rounds"] or (4 if given["versions"] else 1))


def pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")  # the value is in no message: it may be a secret
    if not equals or not re.fullmatch("[A-Za-z0-9_.-]+", key) or not (value.isascii() and value.isprintable()):
        raise click.UsageError(f"--metadata {key}: expected KEY=VALUE, a key of letters, digits and _.- and a value of printable ASCII")
    if key.lower() in RESERVED or key.lower().startswith("grpc-"):
        raise click.UsageError(f"--metadata {key}: expected another name, for HTTP and gRPC use this one themselves")
    if key.lower().endswith("-bin"):
        raise click.UsageError(f"--metadata {key}: names that end in -bin hold bytes, which are not sent: expected another name")
    return key.lower(), value


def write(made: Report, outputs: dict[str, str], samples: Samples | None, log: IntervalLog | None) -> list[str]:
    """The files that were asked for, each for itself: why those that failed did."""
    from inferd.bench import export, report

    def page(path: str) -> None:
        from inferd.bench import html

        report.write_text(path, html.page(made))

    def tables(path: str) -> None:
        report.write_text(path, export.measurements_csv(made))
        report.write_text(beside(path, "-intervals"), export.intervals_csv(made))

    writers: dict[str, Callable[[str], None]] = {
        "json_file": lambda path: report.save(made, path),
        "html": page,
        "csv": tables,
        "hdr": lambda path: report.write_text(path, export.histogram_log(made, log)),
        "samples": lambda path: samples.save() if samples else None,
    }
    return written((path, writers[flag]) for flag, path in outputs.items())


def beside(path: str, ending: str) -> Path:
    from pathlib import Path

    place = Path(path)
    return place.with_name(place.stem + ending + place.suffix)
