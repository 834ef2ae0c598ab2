"""The conclusion of a run: one word, one sentence, and how far both can be trusted. It needs only a report, so old reports have it, too.

Never in here: colours, markup, exit codes, measuring.
"""

from __future__ import annotations

import statistics
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from inferd.bench.conditions import ERRORS, broken, parse_conditions
from inferd.bench.findings import ACHIEVED, Drift, due_rate, duration, in_time, number_of, parse_slo, per_second
from inferd.bench.report import ENDED
from inferd.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from inferd.bench.compare import Comparison
    from inferd.bench.conditions import Condition
    from inferd.bench.findings import Slo
    from inferd.bench.measurement import Measurement
    from inferd.bench.report import Report

FEW, FEW_FOR_P99 = 100, 1000  # requests
STEADY = 0.10  # rounds whose rates differ by less are alike
ENOUGH_ROUNDS = 4
COLLAPSED = 0.8  # of its best goodput: a server that keeps less under overload degrades
# How the words of a mode begin that its verdict states, too.
STATED: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("steps", "ramp"), ("most responses: ", "saturated at ")),
    "stress": ("at ", "the generator was the limit at "),
}
MOST_FIGURES = 3  # that a sentence about versions names


class Word(Enum):
    """The verdict."""

    OK = "OK"
    KEPT = "SLO KEPT"
    MISSED = "SLO MISSED"
    BETTER = "BETTER"
    SAME = "NO CHANGE"
    WORSE = "WORSE"
    BEHIND = "BEHIND"
    DEGRADED = "DEGRADED"
    CLIENT_BOUND = "CLIENT-BOUND"
    INCONCLUSIVE = "INCONCLUSIVE"
    FAILED = "FAILED"

    @property
    def mark(self) -> str:
        """As of a Line: bad, doubt, or good."""
        if self in (Word.MISSED, Word.WORSE, Word.BEHIND, Word.DEGRADED, Word.FAILED):
            return "bad"
        return "doubt" if self in (Word.CLIENT_BOUND, Word.INCONCLUSIVE) else "good"


class Confidence(Enum):
    """How far the sentence can be trusted."""

    HIGH = "high"
    FAIR = "fair"
    LOW = "low"


class Conclusion(NamedTuple):
    """client_bound: the generator was the limit of what the sentence is about. because: why the confidence is what it is."""

    word: Word
    sentence: str
    confidence: Confidence
    because: str
    client_bound: bool = False

    def __str__(self) -> str:
        return f"{self.word.value}: {self.sentence}"


def conclude(report: Report) -> Conclusion:
    """The verdict on a run: first whether it was one, then the conditions of --fail-if, then the mode's own question."""
    main = report.main
    if main is None:
        return Conclusion(Word.FAILED, "nothing was measured", Confidence.LOW, "there is no measurement")
    found = next(_not_a_run(report), None) or _by_conditions(report, main)
    return found or _OF_KIND.get(report.kind, _one_load)(report, main)


def beside(report: Report) -> list[str]:
    """The mode's findings beside the verdict."""
    words, found = list(map(str, report.summary.get("words", []))), conclude(report)
    said = STATED.get(report.kind, ())
    if report.kind == "search" and found.word is Word.KEPT:
        said = (*words[:1], "stopped: ")
    return [text for text in words if not text.startswith(said) and text not in found.sentence]


def is_client_bound(report: Report) -> bool:
    """Whether the generator was the limit of anything that the report rests on. A search goes on past such a rate: there its verdict
    says it."""
    return conclude(report).client_bound or (report.kind != "search" and any(one.client_bound for one in report.measurements))


def as_fields(found: Conclusion) -> dict[str, Any]:
    """For a file."""
    return {"word": found.word.value, "sentence": found.sentence, "confidence": found.confidence.value, "because": found.because}


def slo_of(report: Report) -> Slo | None:
    """--slo of the run, whichever its mode."""
    try:
        return parse_slo(str(report.settings["slo"])) if report.settings.get("slo") else None
    except ConfigError:  # of a file that somebody wrote
        return None


def conditions_of(report: Report) -> list[Condition]:
    """--fail-if of the run."""
    try:
        return [each for text in report.settings.get("fail_if", ()) for each in parse_conditions(str(text))]
    except (ConfigError, TypeError):
        return []


def failing(report: Report) -> list[str]:
    """Each condition of --fail-if that holds for the headline measurement, with its figure."""
    return list(filter(None, (broken(each, report.main) for each in conditions_of(report)))) if report.main else []


# ---------------------------------------------------------------------------------------------------------------------
# Before the mode's own question


def _not_a_run(report: Report) -> Iterator[Conclusion]:
    measured = report.measurements
    if report.wrong:
        checked = sum(one.verified.checked for one in measured if one.verified)
        yield Conclusion(
            Word.FAILED, f"{report.wrong:,} of {checked:,} checked responses were wrong", Confidence.HIGH, "see the first below"
        )
    if not report.answered:
        why = next((f": {text}" for one in measured for text in one.error_messages.values()), "")
        yield Conclusion(Word.FAILED, f"no request was answered with OK{why}", Confidence.HIGH, "see the errors below")
    if report.is_unverified or report.unchecked:
        sentence = "not all responses that --verify was to check were checked"
        yield Conclusion(Word.INCONCLUSIVE, sentence, Confidence.LOW, "see the reason below")
    if (ended := _ended(report)) and report.kind not in ("search", "mlperf", "tune"):
        yield Conclusion(Word.INCONCLUSIVE, f"the run ended early: {ended}", Confidence.LOW, _amount(measured[report.headline]))
    missing = [one for one in measured if one.lacked_connections]
    if missing and report.kind not in ("search", "stress", "tune"):  # which go on until something gives way
        sentence = f"connections were missing, so the load was less than {missing[0].load}"
        yield Conclusion(Word.INCONCLUSIVE, sentence, Confidence.LOW, f"{missing[0].connections_missing:.2g} on average")


def _ended(report: Report) -> str:
    """Why the run did not come to its end; empty: it did."""
    told = [notice.removeprefix(ENDED) for notice in report.notices if notice.startswith(ENDED)]
    return next(filter(None, [*(one.ended for one in report.measurements), *told]), "")


def _by_conditions(report: Report, main: Measurement) -> Conclusion | None:
    asked = conditions_of(report)
    if not asked:
        return None
    if failed := failing(report):
        too_many_errors = any(each.figure == ERRORS and broken(each, main) for each in asked)  # which no late generator makes
        if main.client_bound and not too_many_errors:
            sentence = f"{'; '.join(failed)}, but the load generator was the limit"
            return Conclusion(
                Word.INCONCLUSIVE, sentence, Confidence.LOW, main.client_bound_reason or "its own waiting is in the latency", True
            )
        return Conclusion(Word.MISSED, "; ".join(failed), *_trust(report, main))
    if main.failed and not any(each.figure == ERRORS for each in asked):
        return None  # nobody said how many may fail
    if report.kind not in ("single", "rounds"):
        return None  # the mode has a question of its own
    return Conclusion(Word.KEPT, f"{_figures(main)}; kept: {', '.join(each.kept for each in asked)}", *_trust(report, main))


# ---------------------------------------------------------------------------------------------------------------------
# By mode


def _one_load(report: Report, main: Measurement) -> Conclusion:
    """A single load, rounds of it, steps, a ramp: the headline measurement."""
    failed = ""
    if errors := report.failures:
        asked = sum(one.requests for one in report.measurements)
        failed = f"{errors.total():,} of {asked:,} requests failed, most with {errors.most_common(1)[0][0]}"
    if main.requests < FEW and not failed:
        return Conclusion(Word.INCONCLUSIVE, f"only {main.requests} requests were measured: measure longer", *_trust(report, main))
    if main.client_bound:
        bound = _client_bound(main)
        return bound._replace(sentence=f"{bound.sentence}; {failed}") if failed else bound
    if failed:
        return Conclusion(Word.FAILED, failed, *_trust(report, main))
    if report.kind in ("single", "rounds") and main.load.rate and in_time(main) < due_rate(main):
        return Conclusion(Word.BEHIND, f"the server answers {_figures(main)}, and {main.load} was asked", *_trust(report, main))
    late = report.summary.get("saturated_at")
    words = f"the peak was {_figures(main)}, at {main.load}" if report.kind in ("steps", "ramp") else _figures(main)
    words = f"the median round had {words}" if report.kind == "rounds" else words
    return Conclusion(Word.OK, f"{words}; {f'saturated at {late}' if late else 'no request failed'}", *_trust(report, main))


def _search(report: Report, main: Measurement) -> Conclusion:
    found = report.summary
    rate, target, above = found.get("rate", 0.0), found.get("target", "the target"), found.get("above", 0.0)
    tried = found.get("tried", [])
    bound = next((one["client_bound"] for one in reversed(tried) if one["rate"] == above), False)
    stopped = str(found.get("stopped", "it did not end"))
    if not rate:
        if found.get("client_bound"):
            sentence = f"CLIENT-BOUND: {stopped}, so no rate was found that keeps {target}"
            return Conclusion(Word.INCONCLUSIVE, sentence, Confidence.LOW, main.client_bound_reason or "the generator was late", True)
        if ended := _ended(report):
            return Conclusion(Word.INCONCLUSIVE, f"the run ended early: {ended}", Confidence.LOW, _amount(main))
        words = next(iter(found.get("words", [])), f"no rate that was tried keeps {target}: {stopped}")
        return Conclusion(Word.MISSED, words, Confidence.HIGH, f"{len(report.measurements)} measurements")
    if not found.get("confirmed"):
        sentence = f"the search did not finish: {stopped}; {per_second(rate)} kept {target} once"
        return Conclusion(Word.INCONCLUSIVE, sentence, Confidence.LOW, "neither end of the gap was measured twice with one result")
    missed = sum(not one["kept"] for one in tried if one["rate"] <= rate)
    because = f"{per_second(rate)} and {per_second(above)} were measured twice" if above else f"{per_second(rate)} was measured twice"
    if missed:
        because += f"; {missed} of the measurements up to that rate missed it"
    if main.requests < FEW_FOR_P99:
        because += f"; it rests on {main.requests} requests"
    level = Confidence.FAIR if missed or main.requests < FEW_FOR_P99 else Confidence.HIGH
    if bound:
        sentence = f"{per_second(rate)} keeps {target}; at {per_second(above)} the load generator was the limit, so the server may do more"
        return Conclusion(Word.KEPT, sentence, level, because, client_bound=True)
    return Conclusion(Word.KEPT, found["words"][0], level, because)


def _stress(report: Report, main: Measurement) -> Conclusion:
    found = report.summary
    points = [*found.get("closed", []), *found.get("open", [])]
    bound = [point["load"] for point in points if point["client_bound"]]
    saturation, opened = found.get("saturation", 0.0), found.get("open", [])
    if bound:
        sentence = f"the load generator was the limit at {_some(bound)}, so the server does at least {per_second(saturation)}"
        return Conclusion(Word.INCONCLUSIVE, sentence, Confidence.LOW, "give the generator more --processes, or a machine of its own", True)
    if not opened:
        return Conclusion(Word.INCONCLUSIVE, "no rate past saturation was measured", Confidence.LOW, "the run ended before that")
    last = max(opened, key=lambda point: point["asked"])
    if last["answered"] >= ACHIEVED * last["asked"]:
        sentence = f"the server answered all that was asked, up to {per_second(last['asked'])}: it was not overloaded"
        return Conclusion(Word.INCONCLUSIVE, sentence, Confidence.LOW, "the saturation was looked for with too few in flight")
    times, kept = last["asked"] / saturation if saturation else 0.0, found.get("kept", 0.0)
    sentence = (
        f"at {times:.3g} times its saturation of {per_second(saturation)} the server still answers {per_second(last['answered'])} within "
        f"{found.get('deadline_ms', 0.0):g} ms, {kept:.0%} of its best"
    )
    return Conclusion(Word.OK if kept >= COLLAPSED else Word.DEGRADED, sentence, *_trust(report, main))


def _soak(report: Report, main: Measurement) -> Conclusion:
    drifts = [msgspec.convert(each, Drift) for each in report.summary.get("drifts", [])]
    if not drifts:
        why = next(iter(report.summary.get("notices", [])), "it was too short to tell a drift")
        return Conclusion(Word.INCONCLUSIVE, why, Confidence.LOW, "a soak is for hours: give a longer --duration")
    if main.client_bound:
        return _client_bound(main)
    rising = [each for each in drifts if each.drifts and each.per_hour > 0]
    lasted = duration(1e6 * main.duration_s) if main.duration_s < 600 else f"{main.duration_s / 3600:.2g} h"
    because = f"99 % intervals over {lasted}, {main.requests:,} requests"
    if rising:
        told = ", ".join(f"{each.figure} by {each.signed(each.per_hour).removeprefix('+')}" for each in rising)
        return Conclusion(Word.DEGRADED, f"in an hour this rises: {told}", Confidence.HIGH, because)
    steady = ", ".join(each.figure for each in drifts)
    return Conclusion(Word.OK, f"nothing rises in {lasted} ({steady}); {_figures(main)}", Confidence.HIGH, because)


def _versions(report: Report, main: Measurement) -> Conclusion:
    comparisons = report.summary.get("comparisons", [])
    if not comparisons:
        return Conclusion(Word.INCONCLUSIVE, "only one version was measured", Confidence.LOW, "the run ended before the second")
    rounds = min((len(each["steps"]) for each in report.summary.get("rounds", [])), default=0)
    doubts, spoilt = _doubts(report.measurements)
    level = Confidence.LOW if rounds < ENOUGH_ROUNDS or spoilt else Confidence.FAIR if doubts else Confidence.HIGH
    return compared(comparisons, level, ", ".join([f"{rounds} rounds of each version, in turn", *doubts]))


def _doubts(measured: Sequence[Measurement]) -> tuple[list[str], bool]:
    """Which measurements of each version say little, and whether those are half of a version's or more."""
    sides: dict[str, list[Measurement]] = {}
    for one in measured:
        sides.setdefault(one.version, []).append(one)
    words, spoilt = [], False
    for version, side in sides.items():
        bound, few = sum(one.client_bound for one in side), sum(one.requests < FEW for one in side)
        for count, what in ((bound, "were client-bound"), (few, f"had fewer than {FEW} requests")):
            if count:
                words.append(f"{count} of version {version}'s {len(side)} measurements {what}")
            spoilt = spoilt or 2 * count >= len(side)
    return words, spoilt


def of_comparison(made: Comparison) -> Conclusion:
    """The verdict on two reports."""
    level = Confidence.HIGH if made.rounds >= ENOUGH_ROUNDS else Confidence.LOW
    because = f"{made.rounds} rounds of each load" if made.rounds > 1 else f"single runs; --rounds {ENOUGH_ROUNDS} tells smaller changes"
    named = msgspec.to_builtins(made)
    if made.before == made.after:
        named |= {"before": "before", "after": "after"}
    return compared([named], level, because)


def compared(comparisons: Sequence[Mapping[str, Any]], level: Confidence, because: str) -> Conclusion:
    """The verdict on comparisons: the worst of all changes decides."""
    for word, verdict in ((Word.WORSE, "worse"), (Word.BETTER, "better")):
        for each in comparisons:
            if changes := [change for change in each["changes"] if change["verdict"] == verdict]:
                some = ", ".join(map(_change, changes[:MOST_FIGURES]))
                more = f" and {len(changes) - MOST_FIGURES} more" if len(changes) > MOST_FIGURES else ""
                return Conclusion(word, f"{each['after']} is {verdict} than {each['before']}: {some}{more}", level, because)
    unclear = [change["figure"] for each in comparisons for change in each["changes"] if change["verdict"] == "unclear"]
    names = f"{comparisons[0]['before']} and {comparisons[0]['after']}"
    if unclear:
        sentence = f"nothing is worse or better beyond noise, and these are unclear: {_some(list(dict.fromkeys(unclear)))}"
        return Conclusion(Word.INCONCLUSIVE, sentence, Confidence.LOW, f"{because}; more rounds tell more")
    return Conclusion(Word.SAME, f"{names} do not differ by more than {100 * comparisons[0]['threshold']:g} %", level, because)


def _change(change: Mapping[str, Any]) -> str:
    figure = change["figure"].replace("p999", "p99.9")
    if change["unit"] == "%":
        return f"{figure} {change['before']:.3g} % to {change['after']:.3g} %"
    return figure if change["change"] is None else f"{figure} {100 * change['change']:+.3g} %"


def _mlperf(report: Report, main: Measurement) -> Conclusion:
    found = report.summary
    words = next(iter(found.get("words", [])), "")
    if not found.get("valid"):
        why = next(iter(found.get("reasons", [])), "no result")
        return Conclusion(Word.FAILED, f"MLPerf {found.get('scenario', '')} is INVALID: {why}", Confidence.HIGH, "LoadGen's own verdict")
    if found.get("client_bound"):
        sentence = f"MLPerf {found.get('scenario', '')} is VALID, but the client was late, so its figures are in part the client's own"
        return Conclusion(Word.CLIENT_BOUND, sentence, Confidence.LOW, str(found["client_bound"]), True)
    return Conclusion(Word.OK, words, Confidence.FAIR, f"one run, {_amount(main)}")


def _tune(report: Report, main: Measurement) -> Conclusion:
    found, unshared = _tuning(report), report.summary.get("unshared")
    return found._replace(sentence=f"{found.sentence}. {unshared}") if unshared else found


def _tuning(report: Report) -> Conclusion:
    found = report.summary
    words, verdict = next(iter(found.get("words", [])), ""), found.get("verdict")
    outcome = found.get("outcome", "")
    if outcome == "missed":
        return Conclusion(Word.MISSED, words, Confidence.HIGH, f"{len(report.measurements)} measurements")
    if outcome in ("interrupted", "out of time"):
        return Conclusion(Word.INCONCLUSIVE, words, Confidence.LOW, "the best was not held against the model as it is now")
    if verdict is None:
        return Conclusion(Word.SAME, words, Confidence.FAIR, f"{len(report.measurements)} measurements, each setting once or twice")
    scores = [*verdict["default"], *verdict["best"]]
    if 2 * (kept := sum(map(bool, scores))) < len(scores) and not verdict["better"]:
        because = f"{kept} of {len(scores)} rounds kept the target: measure longer, or on a quieter machine"
        return Conclusion(Word.INCONCLUSIVE, words, Confidence.LOW, because)
    because = f"{len(verdict['best'])} rounds of each, in turn"
    bound = any(one.client_bound for one in report.measurements)
    level = Confidence.FAIR if bound else Confidence.HIGH
    if not verdict["better"]:
        return Conclusion(Word.SAME, words, level, because, bound)
    because += f"; chance alone shows as much in 1 of {1 / verdict['luck']:.0f} tunings"
    gain = "" if any(verdict["default"]) else ", where the model as it is now misses the target"
    if all(scores):
        gain = f", {verdict['gain']:.0%} more than as it is now"
    return Conclusion(Word.BETTER, f"{words}{gain}", level, because, bound)


_OF_KIND = {"search": _search, "stress": _stress, "soak": _soak, "versions": _versions, "mlperf": _mlperf, "tune": _tune}


# ---------------------------------------------------------------------------------------------------------------------
# Confidence


def _client_bound(main: Measurement) -> Conclusion:
    sentence, why = "the load generator was late, so these latencies are in part its own", main.client_bound_reason
    if not main.load.rate:
        sentence = f"the load generator was the limit, so the server can do at least {per_second(main.requests_per_second)}"
    return Conclusion(Word.CLIENT_BOUND, sentence, Confidence.LOW, why or "the generator had no time left", True)


def _trust(report: Report, main: Measurement) -> tuple[Confidence, str]:
    """How far figures of one load can be trusted: rounds tell how much runs differ, one run does not."""
    if main.requests < FEW_FOR_P99:
        return Confidence.LOW, f"{_amount(main)}: p99 of fewer than {FEW_FOR_P99:,} says little"
    rates = [one.requests_per_second for one in report.measurements if one.load == main.load and one.version == main.version]
    if len(rates) >= ENOUGH_ROUNDS and min(rates) > 0:
        spread = max(rates) / min(rates) - 1
        level = Confidence.HIGH if spread <= STEADY else Confidence.FAIR
        return level, f"{len(rates)} rounds, which differ by {100 * spread:.2g} %"
    seen = [part.requests / part.duration_s for part in main.intervals if part.duration_s]
    wavers = statistics.pstdev(seen) / statistics.fmean(seen) if len(seen) > 1 and any(seen) else 0.0
    steady = f", its throughput wavers by {100 * wavers:.2g} %" if len(seen) > 1 else ""
    level = Confidence.FAIR if wavers <= STEADY else Confidence.LOW
    if len(report.measurements) > 1:
        return level, f"each load was measured once, this one with {_amount(main)}{steady}"
    return level, f"one run, {_amount(main)}{steady}; --rounds {ENOUGH_ROUNDS} tells how much runs differ"


def _amount(measured: Measurement) -> str:
    return f"{measured.requests:,} requests in {measured.duration_s:.3g} s"


def _figures(measured: Measurement) -> str:
    return f"{number_of(measured.requests_per_second)} responses/s with p99 {duration(measured.latency_us.p99)}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:MOST_FIGURES]) + (f" and {len(names) - MOST_FIGURES} more" if len(names) > MOST_FIGURES else "")
