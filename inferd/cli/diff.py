"""`inferd diff`: two models held against each other before one takes the other's place."""

from __future__ import annotations

import sys
import traceback
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from inferd.cli.duration import Duration, timeout_option
from inferd.cli.exit_codes import VERDICTS, ExitCode
from inferd.cli.number import Fraction, Whole, share_option
from inferd.cli.reaching import TOKEN_FILE, reaches_by_tls
from inferd.cli.say import complain, echo, one_line, painted, say
from inferd.cli.typed import Typed, typed_here
from inferd.errors import ConfigError, InferdError, StartError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from inferd.client_inputs.reach import Reach
    from inferd.compare.outputs import Rule

COLOURS = {"WORSE": "red", "SAME": "green", "INCONCLUSIVE": "yellow"}


class Diff(Typed):
    """No error ends with 1, which says that NEW is worse."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except (ConfigError, StartError, click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except InferdError as error:
            complain(one_line(str(error)))
        except OSError as error:
            from inferd.cli import raised_by_echo, silence

            if raised_by_echo(error):
                silence(sys.stdout)
                complain(f"stdout cannot be written: {error.strerror}")
            else:
                complain(f"{error}; the two models were not compared")
        except Exception as error:
            traceback.print_exc()
            complain(one_line(f"a fault of inferd itself ({type(error).__name__}: {error}): the two models were not compared"))
        return ExitCode.UNABLE


@click.command(cls=Diff)
@click.argument("old")
@click.argument("new")
@click.option("--on", metavar="PATH", help="Requests: a record, or a folder of .npz, .json, .npy, .csv, .txt, pictures or sounds.")
@click.option("--recorded-model", default="", metavar="NAME", help="Model of the record, where it holds several.")
@click.option("--first", type=Whole(1, 10_000_000), help="Only the first N requests of --on.")
@click.option("--random", "count", type=Whole(1, 1_000_000), help="So many random requests instead.")
@click.option("--shape", "shapes", multiple=True, metavar="NAME:1,16", help="Shape of a random input where the model leaves sizes open.")
@click.option("--rows", type=Whole(0, 1_000_000), default=1, show_default=True, help="Rows of a request; 0: a file is one request.")
@click.option("--seed", type=Whole(0, 2**62), default=0, show_default=True, help="Seed of random requests and of the noise's batches.")
@click.option("--cast", is_flag=True, help="Convert arrays to the model's datatypes.")
@click.option("--atol", type=Fraction(0), help="Absolute tolerance.  [default: 1e-5, or three times OLD's own noise]")
@click.option("--rtol", type=Fraction(0), help="Relative tolerance.  [default: 1e-4; 1e-2 of FP16, 2e-2 of BF16]")
@click.option("--decide", multiple=True, metavar="OUTPUT=HOW", help="Decision of an output: argmax, ranked, none, or a threshold.")
@click.option("--truth", metavar="OUTPUT=FILE.npy", help="Right labels, one a row: then being right counts, not being the same.")
@share_option("--max-changed", "0%", 0, 1.01, "Requests whose values may change.")
@share_option("--max-flips", "0%", 0, 1.01, "Requests whose decisions may flip.")
@share_option("--max-slower", "5%", 0.001, 10, "Slower p50 that is allowed.")
@share_option("--max-worse", "5%", 0, 1.01, "With --truth: rows that NEW may get wrong more often, as far as the rows tell.")
@click.option("--no-performance", is_flag=True, help="Compare predictions only.")
@click.option("--time", "seconds", type=Duration(), default="30s", show_default=True, help="For performance, at most.")
@click.option("--worst", type=Whole(0, 1000), default=5, show_default=True, help="How many of the requests that differ most to show.")
@click.option("--save-worst", metavar="FOLDER", help="Write their inputs there, as .npz files for `inferd infer`.")
@click.option("--html", metavar="FILE", help="Write a page with charts.")
@click.option("--json", "json_file", metavar="FILE", help="Write the whole report as JSON; - is stdout.")
@click.option("--junit", metavar="FILE", help="Write a test case for each check, for CI.")
@timeout_option("60s", "Time that one request may take.")
@click.option("--metadata", "pairs", multiple=True, metavar="KEY=VALUE", help="Metadata to send along to servers.")
@TOKEN_FILE
@reaches_by_tls
def diff(
    old: str,
    new: str,
    on: str | None,
    recorded_model: str,
    first: int | None,
    count: int | None,
    shapes: tuple[str, ...],
    rows: int,
    seed: int,
    cast: bool,
    atol: float | None,
    rtol: float | None,
    decide: tuple[str, ...],
    truth: str | None,
    max_changed: float,
    max_flips: float,
    max_slower: float,
    max_worse: float,
    no_performance: bool,
    seconds: float,
    worst: int,
    save_worst: str | None,
    html: str | None,
    json_file: str | None,
    junit: str | None,
    timeout: float,
    pairs: tuple[str, ...],
    reach: Reach,
) -> int:
    """Compare two models: predictions on the same requests, and what a request costs.

    OLD and NEW are model files, a version in a repository (models/digits/3), or models on servers (HOST:PORT/MODEL:VERSION).

    \b
    inferd diff old.onnx new.onnx --random 1000
    inferd diff models/digits/1 models/digits/2 --on requests/ --html diff.html
    inferd diff localhost:8001/digits:1 localhost:8001/digits:2 --on recorded/ --max-flips 1%
    """
    if (on is None) == (count is None):
        raise click.UsageError("give the requests: --on PATH or --random N, one of them")

    from inferd.bench import report as files
    from inferd.cli.infer import _pair
    from inferd.compare.outputs import Rule
    from inferd.diff import page, words
    from inferd.diff.report import Limits
    from inferd.diff.requests import is_record, random_requests, recorded_requests, requests_in
    from inferd.diff.run import run
    from inferd.diff.sources import Source, check_inputs

    for path in (html, junit, json_file):
        if path and path != "-":
            files.check_writable(path)
    metadata = [_pair(text) for text in pairs]
    notices: list[str] = []
    watch = progress if sys.stderr.isatty() else lambda _: None
    with Source(old, timeout, metadata, reach) as before, Source(new, timeout, metadata, reach) as after:
        check_inputs(before, after)
        default = Rule(atol, rtol)
        rules = rules_of(decide, default, sorted(before.datatypes))
        if on is not None:
            place = Path(on)
            if is_record(place):
                requests = recorded_requests(place, before.description, recorded_model, cast, notices, first)
            elif place.is_dir():
                requests = requests_in(place, before.description, rows, cast, notices, first)
            else:
                other = "this is a file of another kind; put it into a folder, and name that"
                got = other if place.is_file() else "there is none of this name"
                raise click.UsageError(f"--on {on}: expected a record, or a folder of requests; {got}")
        else:
            requests = random_requests(before.description, count or 0, shapes, seed, notices)
        report = run(
            before,
            after,
            requests,
            f"{len(requests):,} requests of {on}" if on is not None else f"{len(requests):,} random requests (seed {seed})",
            rules=rules,
            default=default,
            limits=Limits(max_changed, max_flips, max_slower, max_worse),
            worst=worst,
            seconds=0.0 if no_performance else seconds,
            seed=seed,
            watch=watch,
            keep=keeper(save_worst) if save_worst else None,
            truth=truth_of(truth, sorted(before.datatypes)) if truth else None,
        )
    watch("")
    report.notices = [*map(one_line, notices), *report.notices]
    report.command = typed_here()
    text = as_json(report)
    if html:
        files.write_text(html, page.page(report))
    if junit:
        files.write_text(junit, words.junit(report))
    if json_file and json_file != "-":
        files.write_text(json_file, text + "\n")
    if json_file == "-":
        say(text)
    else:
        echo(words.plain(report, partial(painted, COLOURS)))
    assert report.verdict is not None
    return VERDICTS[report.verdict.word.value]


def as_json(report: Any) -> str:
    import msgspec

    return msgspec.json.format(msgspec.json.encode(report), indent=2).decode()


def rules_of(decide: Sequence[str], default: Rule, outputs: Sequence[str]) -> dict[str, Rule]:
    """--decide OUTPUT=HOW."""
    from inferd.compare.outputs import ARGMAX, NONE, RANKED, Rule

    found = {}
    for text in decide:
        name, _, how = text.rpartition("=")
        if name not in outputs:
            raise click.UsageError(f"--decide {text}: expected OUTPUT=HOW for one of {', '.join(outputs)}")
        try:
            means = how if how in (ARGMAX, RANKED, NONE) else float(how)
        except ValueError:
            raise click.UsageError(f"--decide {text}: expected argmax, ranked, none or a number, got {how!r}") from None
        found[name] = Rule(default.absolute, default.relative, means)
    return found


def truth_of(text: str, outputs: Sequence[str]) -> tuple[str, list[str]]:
    """--truth OUTPUT=FILE.npy: the labels as decisions are spelled."""
    from inferd.client_inputs.arrays import read_arrays

    name, _, path = text.partition("=")
    if name not in outputs:
        raise click.UsageError(f"--truth {text}: expected OUTPUT=FILE.npy for one of {', '.join(outputs)}")
    found = read_arrays(path, "--truth")
    if isinstance(found, dict):
        raise click.UsageError(f"--truth {text}: expected one array (.npy), got an archive")
    return name, [each.decode("utf-8", "replace") if isinstance(each, bytes) else str(each) for each in found.reshape(-1).tolist()]


def keeper(folder: str) -> Callable[..., None]:
    """Writes the inputs of the worst requests."""
    from inferd.record.npz import write_npz

    place = Path(folder)
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.UsageError(f"--save-worst {folder}: cannot be made: {error.strerror}") from None

    def keep(rank: int, request: Any, *_: Any) -> None:
        try:
            write_npz(place / f"{rank + 1:03d}.npz", request.inputs)
        except OSError as error:
            raise InferdError(f"--save-worst {folder}: cannot be written: {error.strerror or error}") from None

    return keep


def progress(text: str) -> None:
    """On one line, which the next one takes; empty: none is left."""
    click.echo(f"\r\033[K{f'{text} ...' if text else ''}", nl=False, err=True)
