"""Same, worse, inconclusive; and the words for a kind of difference."""

from __future__ import annotations

import numpy as np
import pytest

from inferd.bench.compare import Change, Comparison
from inferd.compare.outputs import Difference, Rule, compare
from inferd.diff.report import Failures, Limits, Report, Truth, Word
from inferd.diff.verdict import character, judge

RNG = np.random.default_rng(23)


def report(total, limits=None, **fields):
    requests = total.requests + sum(getattr(fields.get("failures"), name, 0) for name in ("only_new", "only_old", "both"))
    made = Report(
        old="a", new="b", on="c", requests=requests, difference=total, noise=Difference(), failures=Failures(), limits=limits or Limits()
    )
    for name, value in fields.items():
        setattr(made, name, value)
    return judge(made)


def of(flips, count):
    """So many requests, of which some are decided differently."""
    total = Difference()
    for number in range(count):
        got = [[0.1, 0.9]] if number < flips else [[0.9, 0.1]]
        total.merge(compare({"p": np.array([[0.9, 0.1]], np.float32)}, {"p": np.array(got, np.float32)}))
    return total


@pytest.mark.parametrize(
    ("flips", "count", "limits", "word"),
    [
        (0, 100, Limits(), Word.SAME),
        (1, 100, Limits(), Word.WORSE),
        (1, 1000, Limits(0.05, 0.05), Word.SAME),
        (1, 20, Limits(0.05, 0.05), Word.INCONCLUSIVE),
        (100, 1000, Limits(0.05, 0.05), Word.WORSE),
    ],
)
def test_a_share_is_held_against_its_limit(flips, count, limits, word) -> None:
    assert report(of(flips, count), limits).word is word


@pytest.mark.parametrize(
    ("verdict", "word", "said"),
    [("worse", Word.WORSE, "costs more"), ("unclear", Word.INCONCLUSIVE, "longer"), ("same", Word.SAME, "costs no more")],
)
def test_performance(verdict, word, said) -> None:
    made = Comparison("a", "b", 0.05, 0.95, [Change("one", "p50", "us", 100, 108, 0.08, 0.01, 0.15, verdict)])
    found = report(of(0, 10), performance=made)
    assert found.word is word
    assert said in found.sentence


def test_a_request_that_only_new_rejects_is_worse() -> None:
    found = report(of(0, 10), failures=Failures(only_new=1, first="row 3: too long"))
    assert found.word is Word.WORSE
    assert "row 3: too long" in found.sentence


def test_nothing_answered_is_inconclusive() -> None:
    assert report(Difference(), failures=Failures(both=3)).word is Word.INCONCLUSIVE


@pytest.mark.parametrize(("only_old", "only_new", "word"), [(40, 4, Word.WORSE), (4, 40, Word.SAME), (5, 4, Word.SAME), (0, 0, Word.SAME)])
def test_the_truth_judges_where_it_is_known(only_old, only_new, word) -> None:
    found = report(of(50, 100), truth=Truth("p", both=400, only_old=only_old, only_new=only_new))
    assert found.word is word
    assert found.sentence.startswith("NEW is right in ")


@pytest.mark.parametrize(("rows", "limit", "word"), [(89, 0.05, Word.INCONCLUSIVE), (89, 0.1, Word.SAME), (400, 0.05, Word.SAME)])
def test_few_rows_that_hide_a_loss_are_inconclusive(rows, limit, word) -> None:
    """Four rows that only OLD gets right: by chance, or 4.5 points (0.2 to 8.8) of 89."""
    found = report(of(0, 100), truth=Truth("p", both=rows - 4, only_old=4), limits=Limits(max_worse=limit))
    said = {name: said for name, _, said in found.checks}["truth"]
    assert found.word is word
    assert ("; 89 rows are too few for the limit of 5 %" in said) == (word is Word.INCONCLUSIVE)


OLD = RNG.normal(size=(1000, 10)).astype(np.float32)


@pytest.mark.parametrize(
    ("new", "words"),
    [
        (OLD, ""),
        (np.where(np.arange(1000)[:, None] == 17, OLD + 1, OLD), "differs in 1 of 1,000 rows, by"),
        (OLD + RNG.normal(size=OLD.shape).astype(np.float32) * 0.003, "quantised"),
        (OLD + RNG.normal(size=OLD.shape).astype(np.float32) * 0.045, "quantised"),  # which flips decisions that were close
        (RNG.normal(size=OLD.shape).astype(np.float32), "trained anew"),
        (np.where(np.arange(1000)[:, None] == 17, np.float32("nan"), OLD), "NaN"),
    ],
)
def test_the_kind_of_a_difference(new, words) -> None:
    said = character(compare({"y": OLD}, {"y": new.astype(np.float32)}, {"y": Rule()}).outputs["y"])
    assert words in said
    assert bool(words) == bool(said)
