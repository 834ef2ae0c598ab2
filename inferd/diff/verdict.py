"""Same, worse or inconclusive: what a comparison says of NEW, check by check and in one sentence.

A share of requests is judged by its interval (Clopper and Pearson 1934). It is worse where all of the interval is beyond the limit, the
same where none of it is, else inconclusive. A limit of 0 is different: one request breaks it, and none keeps it on these requests.

Where the truth is known, being right is what counts instead: McNemar's exact test of the rows that only one of the two gets right. If it
finds nothing, and the interval of the difference goes beyond a limit, the rows are too few to tell: inconclusive.
Performance is worse where an interval says so; it is inconclusive where p50's does not tell. Never in here: measuring, how words look.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING

from inferd.compare.outputs import MOST
from inferd.compare.statistics import clopper_pearson, mcnemar
from inferd.config.units import percent
from inferd.diff.report import DiffVerdict, Word

if TYPE_CHECKING:
    from inferd.bench.compare import Change
    from inferd.compare.outputs import OutputDifference
    from inferd.diff.report import Report

CONFIDENCE = 0.95
FEW = 0.05  # share of rows
SOME = 8  # decisions: where NEW were as likely to make one as OLD, none at all has a chance of 1 in 256
SMALL, LARGE = 0.05, 0.2  # relative RMS: a quantised copy's is below, another model's above
FIGURES = {"p50": "p50 latency", "requests/s": "throughput", "CPU/request": "CPU per request"}


def judge(report: Report) -> DiffVerdict:
    """The verdict on a report whose other fields are filled in."""
    checks = [responses(report), shapes(report), *correct(report), *predictions(report), *performance(report)]
    words = [word for _, word, _ in checks]
    word = next(each for each in (Word.WORSE, Word.INCONCLUSIVE, Word.SAME) if each in words or each is Word.SAME)
    if word is Word.SAME:
        sentence = within_limits(report) + "".join(f", and {said}" for name, _, said in checks if name == "performance")
    else:
        found = [(name, said) for name, own, said in checks if own is word]
        more = ", ".join(name for name, _ in found[1:])
        sentence = found[0][1] + (f"; also {word.value.lower()}: {more}" if more else "")
    return DiffVerdict(word, sentence, checks)


def within_limits(report: Report) -> str:
    changed, flipped = report.difference.changed, report.difference.flipped
    if not changed and not flipped:
        return f"NEW gives the same predictions on all {report.difference.requests:,} requests"
    if report.truth is not None:
        return next(said for name, _, said in correct(report))
    return f"NEW changes {changed:,} and flips {flipped:,} of {report.requests:,} requests, which the limits allow"


def responses(report: Report) -> tuple[str, Word, str]:
    failures, compared = report.failures, report.difference.requests
    if failures.only_new:
        said = f"NEW rejects {failures.only_new:,} of {report.requests:,} requests that OLD runs ({failures.first})"
        return "responses", Word.WORSE, said
    if not compared:
        return "responses", Word.INCONCLUSIVE, f"no request got a response of both ({failures.first})"
    return "responses", Word.SAME, f"both run {compared:,} of {report.requests:,} requests"


def shapes(report: Report) -> tuple[str, Word, str]:
    for name, output in report.difference.outputs.items():
        if output.mismatches:
            words = max(output.mismatches, key=output.mismatches.__getitem__)
            more = " and others" if len(output.mismatches) > 1 else ""
            return "signature", Word.WORSE, f"the output {name} cannot be compared in {output.mismatched:,} requests: {words}{more}"
    return "signature", Word.SAME, "outputs have the same names, datatypes and shapes"


def correct(report: Report) -> list[tuple[str, Word, str]]:
    truth = report.truth
    if truth is None:
        return []
    if not truth.rows:
        return [("truth", Word.INCONCLUSIVE, f"no decision of {truth.output} could be held against the truth")]
    rows, apart = truth.rows, truth.only_old + truth.only_new
    chance = mcnemar(truth.only_old, truth.only_new)
    old, new = ((truth.both + own) / rows for own in (truth.only_old, truth.only_new))
    said = f"NEW is right in {percent(new)} of {rows:,} rows, OLD in {percent(old)}"
    said += f": of {apart:,} rows that only one gets right, OLD gets {truth.only_old:,} (p = {chance:.2g})" if apart else ""
    spread = NormalDist().inv_cdf(0.975) * math.sqrt(max(apart - (truth.only_new - truth.only_old) ** 2 / rows, 0)) / rows
    said += f"; the difference is {100 * (new - old):+.2g} ({100 * (new - old - spread):+.2g} to {100 * (new - old + spread):+.2g}) points"
    if chance < 1 - CONFIDENCE and new < old:
        return [("truth", Word.WORSE, said)]
    if new - old - spread < -report.limits.max_worse:
        return [("truth", Word.INCONCLUSIVE, f"{said}; {rows:,} rows are too few for the limit of {percent(report.limits.max_worse)}")]
    return [("truth", Word.SAME, said)]


def predictions(report: Report) -> list[tuple[str, Word, str]]:
    difference, noise, limits = report.difference, report.noise, report.limits
    count = difference.requests
    if not count:
        return []
    checks = []
    flips = [f"{name}: {output.flips:,} of {output.decisions:,}" for name, output in difference.outputs.items() if output.flips]
    by_noise = noise.flipped / noise.requests if noise.requests else 0.0
    told = report.truth is not None  # then differences are told, and the truth judges
    if any(output.has_decisions for output in difference.outputs.values()):
        word = judged(
            difference.flipped, count, max(limits.max_flips, clopper_pearson(noise.flipped, noise.requests)[1] if by_noise else 0)
        )
        said = f"NEW decides {difference.flipped:,} of {count:,} requests differently ({percent(difference.flipped / count)})"
        said = f"{said}{sureness(report)}{never(report)}" if flips else f"all {count:,} requests get the same decision"
        if word is Word.INCONCLUSIVE:
            said += f"; {count:,} requests are too few for the limit of {100 * limits.max_flips:g} %"
        checks.append(("decisions", Word.SAME if told else word, said))
    word = judged(difference.changed, count, limits.max_changed)
    if difference.changed:
        said = f"values change beyond the tolerance in {difference.changed:,} of {count:,} requests: {characters(report)}"
    else:
        said = f"all values are within the tolerance ({largest(report)})"
    checks.append(("values", Word.SAME if told else word, said))
    return checks


def judged(found: int, count: int, limit: float) -> Word:
    if not limit:
        return Word.WORSE if found else Word.SAME
    low, high = clopper_pearson(found, count)
    return Word.WORSE if low > limit else Word.SAME if high <= limit else Word.INCONCLUSIVE


def sureness(report: Report) -> str:
    """Whether OLD was sure of the decisions that flipped."""
    outputs = [output for output in report.difference.outputs.values() if output.flips and output.max_flip_margin]
    if not outputs:
        return ""
    output = max(outputs, key=lambda each: each.max_flip_margin)
    mean = output.sum_flip_margin / output.decision_flips
    return f"; there OLD preferred its own by {mean:.2g} on average, by {output.max_flip_margin:.2g} at most"


def never(report: Report) -> str:
    """Decisions that OLD makes and NEW does not, where chance does not explain it."""
    for distribution in report.distributions.values():
        gone = [(label, old) for label, (old, new) in distribution.shares.items() if not new and old >= SOME]
        if gone:
            return "; NEW never decides " + ", ".join(f"{label} (OLD does {old:,} times)" for label, old in gone[:3])
    return ""


def largest(report: Report) -> str:
    worst = max(report.difference.outputs.items(), key=lambda each: each[1].max_absolute, default=None)
    if worst is None or not worst[1].max_absolute:
        return "bit for bit the same" if worst is not None else "no output has numbers"
    floor = report.noise.outputs.get(worst[0])
    beside = f"; OLD differs from itself by {floor.max_absolute:.2g}" if floor and floor.max_absolute else ""
    return f"the largest difference is {worst[1].max_absolute:.2g}, in {worst[0]}{beside}"


def characters(report: Report) -> str:
    outputs = report.difference.outputs.items()
    words = {name: character(output) for name, output in outputs if output.values_changed or output.not_finite}
    return "; ".join(f"{name} {said}" for name, said in words.items() if said)


def character(output: OutputDifference) -> str:
    """The kind of an output's difference, in words; empty: none."""
    if output.mismatches or not output.changed_rows:
        return ""
    share = output.changed_rows / max(output.rows, 1)
    if output.not_finite:
        return f"has {output.not_finite:,} values that are NaN or infinite on one side only"
    if not output.values:
        return f"differs in {output.changed_rows:,} of {output.rows:,} rows"
    size = "" if output.relative_rms >= MOST else f", {percent(output.relative_rms)} of its size (RMS)"
    moved = f"by {output.max_absolute:.2g} at most and {output.mean_absolute:.2g} on average{size}"
    if share <= FEW:
        return f"differs in {output.changed_rows:,} of {output.rows:,} rows, by {output.max_absolute:.2g} at most; all others are unchanged"
    flips = output.flips / output.decisions if output.has_decisions else 0.0
    if output.relative_rms < SMALL:
        return f"moved a little in {percent(share)} of the rows, as of a quantised or converted copy: {moved}"
    if output.relative_rms > LARGE or flips > FEW:
        return f"differs in {percent(share)} of the rows, as of a model that was trained anew: {moved}"
    return f"moved in {percent(share)} of the rows: {moved}"


def performance(report: Report) -> list[tuple[str, Word, str]]:
    made = report.performance
    if made is None:
        return []
    worse = [change for change in made.changes if change.verdict == "worse"]
    if worse:
        return [("performance", Word.WORSE, f"NEW costs more: {'; '.join(map(costs, worse))}")]
    main = next((change for change in made.changes if change.figure == "p50"), None)
    if main is None or main.high is None:
        return [("performance", Word.INCONCLUSIVE, "no latency could be measured")]
    if main.verdict == "unclear":
        said = f"p50 latency is {interval_words(main)}, which does not tell whether it is within {100 * made.threshold:g} %: measure longer"
        return [("performance", Word.INCONCLUSIVE, said)]
    better = [change for change in made.changes if change.verdict == "better"]
    return [("performance", Word.SAME, f"costs less: {'; '.join(map(costs, better))}" if better else f"costs no more: {costs(main)}")]


def costs(change: Change) -> str:
    name = FIGURES.get(change.figure, change.figure)
    scale, unit, places = {"us": (1e3, " ms", 3), "1/s": (1, "/s", 0)}.get(change.unit, (1, f" {change.unit}", 1))
    return f"{name} {interval_words(change)}, {change.before / scale:,.{places}f} -> {change.after / scale:,.{places}f}{unit}"


def interval_words(change: Change) -> str:
    words = f"{100 * change.change:+.1f} %" if change.change is not None else "?"
    if change.low is None or change.high is None:
        return words
    return f"{words} ({100 * change.low:+.1f} to {100 * change.high:+.1f} %)"
