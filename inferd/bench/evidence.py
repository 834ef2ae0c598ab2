"""The results of a tuning in words: the table of evidence, the conclusion, the file that is written, the report.

Never in here: measuring, judging (tune.py), colours.
"""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING, Any

import msgspec

from inferd.bench import report, terminal
from inferd.bench.conclusion import as_fields, conclude
from inferd.bench.findings import duration, number_of
from inferd.bench.tables import Line, Row, Table, stage_words
from inferd.bench.verdicts import one_line
from inferd.engine.configuration.batching import why_alone

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from inferd.bench.climb import Settings
    from inferd.bench.report import Report
    from inferd.bench.tune import Improvement, Target, Trial, Tuned
    from inferd.protocol.inference import ModelConfig

NOW = "as it is now"  # of the model: the settings that a report calls `default`
MOST_REASONS = 4  # why settings could not be served, each told once
SETTINGS = ("provider", "instances", "threads", "rows")
FIGURES = ("in flight", "responses/s", "p50", "p99", "rows a run", "server CPU", "")


def one_of_each(trials: Sequence[Trial]) -> list[Trial]:
    """The trial whose figures are those of its settings, everywhere; the best first."""
    of_each: dict[Settings, list[Trial]] = {}
    for trial in trials:
        of_each.setdefault(trial.settings, []).append(trial)
    return sorted(map(standing_for, of_each.values()), key=lambda trial: -trial.score)


def standing_for(own: Sequence[Trial]) -> Trial:
    """The trial that stands for all of one settings: the median of the rounds that kept the target. Without rounds it is the second
    measurement, since the first of the best is the luckiest; else the best of the search."""
    stages = {stage: [trial for trial in own if trial.stage == stage] for stage in ("final", "again")}
    if rounds := sorted((trial for trial in stages["final"] if trial.score), key=lambda trial: trial.score):
        return rounds[len(rounds) // 2]
    later = stages["final"] or stages["again"]
    return later[-1] if later else max(reversed(own), key=lambda trial: trial.score)


def tables(tuned: Tuned) -> Iterator[Table]:
    """The search, and the rounds in which the best and the default took turns."""
    rows = [Row(cells(trial, tuned), mark(trial, tuned)) for trial in one_of_each(tuned.trials)]
    padded = () if tuned.default.buckets is None else ("buckets",)
    title = "the search, in which requests share no run: batches are of one request" if tuned.unshared else "the search"
    yield Table(title, (*SETTINGS, *padded, *FIGURES), rows)
    if tuned.verdict is not None:
        sides = (tuned.verdict.default, tuned.verdict.best)
        rounds = [(f"{at}", figure(default), figure(best)) for at, (default, best) in enumerate(zip(*sides, strict=True), start=1)]
        name = "median" if all(map(min, sides)) else "median, where kept"
        medians = (name, *(figure(middle(side)) for side in sides))
        yield Table("in turn, responses/s", ("round", NOW, "best of the search"), [*map(Row, rounds), Row(medians, "main")])


def unshared_words(config: ModelConfig) -> str:
    """A notice for users where requests share no run; config: the server's."""
    why, cure = why_alone(config)
    return why and f"Requests of this model share no run ({why}), and tune does not change that" + (f": {cure}" if cure else "")


def figure(score: float) -> str:
    return number_of(score) if score else "not kept"


def middle(scores: Sequence[float]) -> float:
    """The median of the rounds that kept the target, which one of them had; 0 where none did."""
    return statistics.median_high(kept) if (kept := [score for score in scores if score]) else 0.0


def side_words(scores: Sequence[float], goal: str) -> str:
    """One side's result over its rounds."""
    kept = sum(map(bool, scores))
    if not kept:
        return f"not kept in any of {len(scores)} rounds"
    some = "" if kept == len(scores) else f" in {kept} of {len(scores)} rounds, not kept in the others"
    return f"{number_of(middle(scores))}/s{goal}{some}"


def gains(verdict: Improvement) -> list[float]:
    """The gain in each round that both sides kept."""
    return [best / default - 1 for default, best in zip(verdict.default, verdict.best, strict=True) if default and best]


def gain_words(verdict: Improvement) -> str:
    """How far ahead the best was, by the rounds that both sides kept; how often chance alone shows as much."""
    both = gains(verdict)
    luck = f"chance alone does in 1 of {1 / verdict.luck:.0f} tunings"
    if not any(verdict.default) and any(verdict.best):
        return f"the best keeps the target where the model {NOW} fails; {luck}"
    if not both:
        return f"no round was kept by both; {luck}"
    gain = statistics.median(both)
    which = f"{len(both)} rounds in turn" if len(both) == len(verdict.best) else f"the {len(both)} rounds that both kept"
    return f"the median of {which} brought {abs(gain):.1%} {'more' if gain >= 0 else 'less'}; {luck}"


def lost_words(verdict: Improvement, margin: float) -> str:
    """Why the best of the search did not win, by the rounds that both sides kept."""
    both = gains(verdict)
    if not both:
        return "kept the target in too few rounds"
    gain = statistics.median(both)
    if gain < 0:
        return f"was {-100 * gain:.2g} % slower when compared in turns"
    if gain == 0:
        return "was no faster when compared in turns"
    faster = f"was {100 * gain:.2g} % faster when compared in turns"
    return f"{faster}, less than {100 * margin:g} %" if gain < margin else f"{faster}, but in too few of the rounds to be sure"


def cells(trial: Trial, tuned: Tuned) -> tuple[str, ...]:
    settings, measured = trial.settings, trial.measurement
    padded = () if settings.buckets is None else (settings.sizes,)
    first = (settings.provider, str(settings.instances), str(settings.threads), str(settings.rows or "-"), *padded)
    note = ("not served" if measured is None else one_line(trial.why)) or remark(trial, tuned)
    if measured is None:
        return (*first, "", "", "", "", "", "", note)
    server = measured.server
    sizes = server.batch_sizes if server else {}
    runs = sum(sizes.values())
    cpu_us = server.cpu_us_per_request if server else None
    return (
        *first,
        str(trial.in_flight),
        number_of(measured.requests_per_second),
        duration(measured.latency_us.p50),
        duration(measured.latency_us.p99),
        f"{sum(size * count for size, count in sizes.items()) / runs:.3g}" if runs else "",
        duration(cpu_us) if cpu_us else "",
        note,
    )


def remark(trial: Trial, tuned: Tuned) -> str:
    words = [NOW] if trial.settings == tuned.default else []
    if trial.settings == tuned.best and tuned.best != tuned.default:
        words.append("best")
    if trial.measurement and trial.measurement.client_bound:
        words.append("client-bound")
    return ", ".join(words)


def mark(trial: Trial, tuned: Tuned) -> str:
    return "main" if trial.settings == tuned.best and trial.score else ""


LINE_HEAD = f"{'trial':>5}  {'stage':<7}  {'settings':<36}  {'in flight':>9}  {'responses/s':>11}  {'p99':>8}"


def line_of(number: int, trial: Trial) -> str:
    """A trial while the search goes on, below LINE_HEAD."""
    first = f"{number:>5}  {stage_words(trial.stage):<7}  {trial.settings!s:<36}  {trial.in_flight or '':>9}"
    if trial.measurement is None:
        return f"{first}  not served: {one_line(trial.why)}"
    measured = trial.measurement
    p99 = duration(measured.latency_us.p99) if measured.latency_us.max else "none"
    why = f"  not kept: {one_line(trial.why)}" if trial.why else ""
    return f"{first}  {number_of(measured.requests_per_second):>11}  {p99:>8}{why}"


def sentences(tuned: Tuned, target: Target) -> list[Line]:
    """The conclusion, and what has to be known of it."""
    return [*conclusion(tuned, target), Line(f"the search ended: {tuned.ended}"), *doubts(tuned, target)]


def conclusion(tuned: Tuned, target: Target) -> Iterator[Line]:
    verdict, goal = tuned.verdict, f" within {target.slo}" if target.slo else ""
    if not tuned.trials:
        return
    if not tuned.kept:
        whys = [trial.why for trial in tuned.trials if trial.settings == tuned.default]
        wanted = f"keep {target.slo}" if target.slo else "answer all requests"
        yield Line(f"no settings that were tried {wanted}; {NOW}: {one_line(whys[-1])}", "bad")
    elif tuned.out_of_time:
        yield Line(f"nothing but the model {NOW} was tried: {tuned.default}", "bad")
    elif tuned.interrupted:
        yield Line(f"the best so far: {one_of_each(tuned.trials)[0].settings}; it was not held against the model {NOW}", "doubt")
    elif verdict is None:
        yield Line(f"the model stays {NOW}: nothing that was tried is better than {tuned.default}", "main")
    else:
        if verdict.better:
            yield Line(f"best: {tuned.best}: {side_words(verdict.best, goal)}", "main")
            yield Line(f"{NOW}, {tuned.default}: {side_words(verdict.default, goal)}; {gain_words(verdict)}")
        else:
            yield Line(f"the model stays {NOW}: {tuned.default}: {side_words(verdict.default, goal)}", "main")
            yield Line(f"the best of the search, {tuned.found}: {side_words(verdict.best, goal)}")
            yield Line(f"the best of the search {lost_words(verdict, target.margin)}, so nothing was written")


def doubts(tuned: Tuned, target: Target) -> Iterator[Line]:
    if tuned.in_flight and tuned.in_flight < (asked := target.load.connections * target.load.streams):
        yield Line(
            f"with {asked} in flight the model is too slow for this budget, so the search began with {tuned.in_flight}: "
            f"--connections and --concurrency are kept where they are given",
            "doubt",
        )
    unserved = {one_line(trial.why): str(trial.settings) for trial in reversed(tuned.trials) if trial.measurement is None}
    for why, settings in list(unserved.items())[:MOST_REASONS]:
        yield Line(f"{settings} is not served: {why}")
    bound = [trial.measurement for trial in tuned.trials if trial.measurement and trial.measurement.client_bound]
    if bound:
        where = f"client-bound in {len(bound)} of {len(tuned.trials)} measurements"
        yield Line(f"{where}, so differences may be hidden: {one_line(bound[0].client_bound_reason)}", "doubt")


def comments(text: str, tuned: Tuned, target: Target, versions: Mapping[str, str]) -> str:
    """A configuration below the evidence for it."""
    facts = ", ".join(f"{name} {versions[name]}" for name in ("inferd", "onnxruntime", "cpu") if versions.get(name))
    lines = [
        f"written by `inferd tune`: {facts}",
        f'"{NOW}" is the model before this',
        "",
        *(line.text for line in sentences(tuned, target)),
        *filter(None, [tuned.unshared]),
    ]
    for table in tables(tuned):
        lines += ["", table.title, *terminal.aligned(table)]
    return "".join(f"# {one_line_kept(line)}".rstrip() + "\n" for line in lines) + "\n" + text


def one_line_kept(text: str) -> str:
    """Without line breaks, and with the spaces of a table."""
    return "".join(character if character.isprintable() else " " for character in text)


def report_of(
    tuned: Tuned,
    target: Target,
    place: str,
    model: str,
    settings: Mapping[str, Any],
    versions: Mapping[str, str],
    notices: Sequence[str],
    command: str = "",
) -> Report:
    """Every measurement, and what it was of: `summary.trials[i]` says by `measurement` which is its, and by `stands` whether its figures
    are those of its settings."""
    measured = [trial.measurement for trial in tuned.trials if trial.measurement is not None]
    trials: list[dict[str, Any]] = []
    at = 0
    chosen = one_of_each(tuned.trials)
    headline = 0
    for trial in tuned.trials:
        stands = any(trial is one for one in chosen)
        own = {"stage": trial.stage, "settings": msgspec.to_builtins(trial.settings), "in_flight": trial.in_flight, "why": trial.why}
        own |= {"requests_per_second": trial.score, "stands": stands}
        trials.append(own | {"measurement": at if trial.measurement is not None else None})
        if trial.measurement is not None:
            headline = at if stands and trial.settings == tuned.best else headline
            at += 1
    verdict = msgspec.to_builtins(tuned.verdict) if tuned.verdict else None
    if verdict and not math.isfinite(verdict["gain"]):
        verdict["gain"] = None
    summary = {
        "words": [line.text for line in sentences(tuned, target)],
        "outcome": outcome(tuned),
        "unshared": tuned.unshared,
        "default": msgspec.to_builtins(tuned.default),
        "best": msgspec.to_builtins(tuned.best),
        "verdict": verdict,
        "trials": trials,
    }
    made = report.make(
        "tune",
        place,
        model,
        measured,
        headline=headline,
        settings=settings,
        versions=versions,
        summary=summary,
        notices=notices,
        command=command,
    )
    made.verdict = as_fields(conclude(made))
    return made


def outcome(tuned: Tuned) -> str:
    """The run's outcome as a word, for the verdict on it."""
    if not tuned.kept:
        return "missed"
    return "out of time" if tuned.out_of_time else "interrupted" if tuned.interrupted else "done"
